// Media: pictures and players, large and as thumbnails, and what a result shows while it is made.
import { Clip } from "./clip.js";
import { Picture } from "./picture.js";
import { suffixOf } from "./settings.js";
import { get } from "./store.js";
import { html } from "./vendor/htm-preact.js";
import { Wave } from "./wave.js";

export const described = (r) => `${r.settings.prompt || "no prompt"}, seed ${r.settings.seed}`;

export function Medium({ r, large = false, player }) {
  const alt = described(r);
  const model = get().models.find((m) => m.id === r.settings.model);
  if (r.modality === "audio") return html`<${Wave} blob=${r.blob} rate=${model?.rate ?? undefined} label=${alt} large=${large} player=${player} />`;
  if (r.modality === "video") {
    return html`<${Clip} url=${r.url} alt=${alt} format=${r.settings.format} large=${large} fps=${model?.fps ?? 25} player=${player} />`;
  }
  if (r.modality === "image") return html`<${Picture} url=${r.url} alt=${alt} />`;
  return html`<${File} r=${r} large=${large} />`;
}

// What no browser shows, such as a score: what it is, to be taken along.
function File({ r, large }) {
  const text = html`<span class="note" aria-hidden="true">♪</span> ${suffixOf(r.settings)}`;
  return large ? html`<p class="blank">${text}: a file for other programs. Download it.</p>` : html`<span class="blank">${text}</span>`;
}

// Results as small buttons, for whoever picks one.
export function Few({ results, verb, onPick }) {
  return html`<ul class="few">${results.map(
    (r) => html`<li key=${r.id}><button type="button" aria-label=${`${verb}: ${described(r)}`} onClick=${() => onPick(r)}>
      <${Thumbnail} r=${r} /><span>${r.settings.prompt || "no prompt"}</span></button></li>`,
  )}</ul>`;
}

function Thumbnail({ r }) {
  if (r.modality === "audio" || r.modality === "file") return html`<span class="note" aria-hidden="true">♪</span>`;
  if (r.modality === "image" || r.settings.format === "gif") return html`<${Picture} url=${r.url} alt="" name="small" />`;
  return html`<video class="small crisp" src=${r.url} muted playsinline preload="auto" aria-hidden="true" tabindex="-1"></video>`;
}

// Some samplers call the network twice a step: what is said is in the steps that were asked for.
function step({ step, of, settings: { steps } }) {
  return of > steps ? `Step ${Math.ceil((step * steps) / of)} of ${steps}` : `Step ${step} of ${of}`;
}

function place(r) {
  if (r.held) return r.held;
  if (r.status === "running") return r.of ? step(r) : "Being made";
  if (r.line === null) return r.job ? "In line" : "Being sent";
  return r.line === 0 ? "Next in line" : `${r.line} before it`;
}

export function Waiting({ r, onCancel }) {
  return html`<div class="waiting">
    ${r.preview ? html`<${Picture} url=${r.preview} alt="Preview" />` : html`<div class="blank"></div>`}
    <div class="progress">
      <span>${place(r)}</span>
      <button type="button" class="plain tiny" onClick=${onCancel} aria-label=${`Cancel: ${described(r)}`}>Cancel</button>
    </div>
    <progress value=${r.of ? r.step : null} max=${r.of || 1} aria-label=${`Progress: ${described(r)}`}></progress>
  </div>`;
}
