// What came of an edit: tiles, and before and after under one slider.
import { Slide } from "./compare.js";
import { Tile } from "./gallery.js";
import { padded } from "./outpaint.js";
import { html, useEffect, useState } from "./vendor/htm-preact.js";

// The address of the source as it lies under the result: with the borders that were added.
function useBefore(r) {
  const [url, setUrl] = useState(null);
  useEffect(() => {
    let live = true;
    let made = null;
    (async () => {
      const { source, options } = r.settings.edit;
      made = URL.createObjectURL(options.extend ? await padded(source, options.extend) : source);
      if (live) setUrl(made);
      else URL.revokeObjectURL(made);
    })();
    return () => {
      live = false;
      if (made) URL.revokeObjectURL(made);
    };
  }, [r.id]);
  return url;
}

export function BeforeAfter({ r }) {
  const before = useBefore(r);
  return before && html`<${Slide} before=${before} after=${r.url} />`;
}

export function EditResults({ edit, results }) {
  const mine = edit.results.map((id) => results.find((r) => r.id === id)).filter(Boolean);
  const done = mine.filter((r) => r.status === "done");
  const [picked, setPicked] = useState(null);
  const shown = done.find((r) => r.id === picked) ?? done[0];
  if (!mine.length) return null;
  return html`<div class="edit-results">
    <h2>Results</h2>
    <ul class="tiles">${mine.map((r) => html`<${Tile} key=${r.id} r=${r} />`)}</ul>
    ${edit.modality === "image" && shown &&
    html`<div class="bar"><h2>Before and after</h2>
        ${done.length > 1 &&
        html`<select class="filter" aria-label="Which result" value=${shown.id} onChange=${(e) => setPicked(e.target.value)}>
          ${done.map((r) => html`<option value=${r.id}>seed ${r.settings.seed}</option>`)}
        </select>`}</div>
      <${BeforeAfter} key=${shown.id} r=${shown} />`}
  </div>`;
}
