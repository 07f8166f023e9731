// The grid of a batch sheet, and the sheet of pictures as one file.
import { alive } from "./follow.js";
import { Tile } from "./gallery.js";
import { cancel } from "./run.js";
import { label } from "./settings.js";
import { html } from "./vendor/htm-preact.js";

const GAP = 8;
const HEAD = 26;
const LEFT = 150;
const SIDE = 128; // pixels of a cell, where its pictures are smaller

const name = (setting, value) => `${label(setting)} ${value}`;

// The whole sheet as a picture, with what the rows and columns say.
async function drawn(sheet, cell) {
  const bitmaps = await Promise.all(sheet.rows.map((row) => Promise.all(row.ids.map((id) => createImageBitmap(cell(id).blob)))));
  const all = bitmaps.flat();
  const [width, height] = [Math.max(...all.map((b) => b.width)), Math.max(...all.map((b) => b.height))];
  const scale = Math.max(1, Math.ceil(SIDE / width)); // whole, so that pixels stay squares
  const [w, h] = [width * scale + GAP, height * scale + GAP];
  const canvas = new OffscreenCanvas(LEFT + w * sheet.columns.length, HEAD + h * sheet.rows.length);
  const context = canvas.getContext("2d");
  context.fillStyle = "#fff";
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.imageSmoothingEnabled = false;
  context.fillStyle = "#1b1c1f";
  context.font = "14px system-ui, sans-serif";
  sheet.columns.forEach((value, k) => context.fillText(name(sheet.across, value), LEFT + k * w, 18, w - GAP));
  sheet.rows.forEach((row, k) => {
    context.fillText(name(sheet.down, row.value), GAP, HEAD + k * h + 18, LEFT - 2 * GAP);
    bitmaps[k].forEach((b, j) => context.drawImage(b, LEFT + j * w, HEAD + k * h, b.width * scale, b.height * scale));
  });
  return canvas.convertToBlob({ type: "image/png" });
}

async function download(sheet, cell) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(await drawn(sheet, cell));
  link.download = `sheet_${sheet.down}_${sheet.across}.png`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
}

export function Grid({ sheet, results }) {
  const cell = (id) => results.find((r) => r.id === id);
  const all = sheet.rows.flatMap((row) => row.ids);
  const busy = all.filter((id) => cell(id) && alive(cell(id)));
  const pictures = all.every((id) => cell(id)?.status === "done" && cell(id).modality === "image");
  return html`<div class="sheet-scroll" tabindex="0" role="region" aria-label="The sheet">
    <div class="bar">
      <h2>${label(sheet.down)} and ${label(sheet.across)}</h2>
      <span class="hint" role="status">${busy.length ? `${busy.length} of ${all.length} under way` : "Complete"}</span>
      ${busy.length > 0 && html`<button type="button" class="plain" onClick=${() => busy.forEach(cancel)}>Cancel the sheet</button>`}
      ${pictures && html`<button type="button" onClick=${() => download(sheet, cell)}>Download the sheet</button>`}
    </div>
    <table class="grid">
      <caption class="hidden">${label(sheet.down)} down, ${label(sheet.across)} across</caption>
      <thead><tr><td></td>${sheet.columns.map((value) => html`<th scope="col">${name(sheet.across, value)}</th>`)}</tr></thead>
      <tbody>
        ${sheet.rows.map(
          (row) => html`<tr>
            <th scope="row">${name(sheet.down, row.value)}</th>
            ${row.ids.map((id) => html`<td><ul>${cell(id) && html`<${Tile} key=${id} r=${cell(id)} />`}</ul></td>`)}
          </tr>`,
        )}
      </tbody>
    </table>
  </div>`;
}
