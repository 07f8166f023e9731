// The gallery: all results, newest first.
import { alive, cancel, remove } from "./run.js";
import { described, Medium, Waiting } from "./media.js";
import { memo, set } from "./store.js";
import { html, useState } from "./vendor/htm-preact.js";

export const Tile = memo(({ r, picked, onPick }) => {
  if (alive(r)) return html`<li class=${`tile ${r.modality}`}><${Waiting} r=${r} onCancel=${() => cancel(r.id)} /></li>`;
  if (r.status !== "done") {
    return html`<li class=${`tile ${r.modality} ended`}>
      <p>${r.status === "cancelled" ? "Cancelled" : r.error}</p>
      <button type="button" class="plain tiny" onClick=${() => remove(r.id)} aria-label=${`Remove: ${described(r)}`}>Remove</button>
    </li>`;
  }
  const show = () => set({ open: r.id });
  return html`<li class=${`tile ${r.modality}`}>
    ${r.modality === "audio"
      ? html`<${Medium} r=${r} />`
      : html`<button type="button" class="shown" onClick=${show} aria-label=${`Open: ${described(r)}`}><${Medium} r=${r} /></button>`}
    <div class="caption">
      <button type="button" class="plain title" onClick=${show} title=${r.settings.prompt} aria-label=${`Details: ${described(r)}`}>${r.settings.prompt || "no prompt"}</button>
      ${onPick &&
      html`<input type="checkbox" checked=${picked} onChange=${() => onPick(r.id)} aria-label=${`Compare: ${described(r)}`} title="Compare" />`}
    </div>
  </li>`;
});

// Two can be compared; a third takes the place of the first.
function pick(id) {
  set((s) => {
    if (s.pair.includes(id)) return { pair: s.pair.map((p) => (p === id ? null : p)) };
    const [a, b] = s.pair;
    return { pair: a === null ? [id, b] : b === null ? [a, id] : [b, id] };
  });
}

export function Gallery({ results, pair, models, onCancelAll }) {
  const [only, setOnly] = useState("");
  const shown = only ? results.filter((r) => r.settings.model === only) : results;
  const known = [...new Set(results.map((r) => r.settings.model))];
  const busy = results.filter(alive).length;
  return html`<section class="gallery" aria-label="Results">
    <div class="bar">
      <h2>Results</h2>
      <span class="hint" aria-live="polite">${busy ? `${busy} under way` : ""}</span>
      ${busy > 0 && html`<button type="button" class="plain" onClick=${onCancelAll}>Cancel all</button>`}
      ${pair.every((id) => id !== null) && html`<a class="button" href="#compare">Compare the two</a>`}
      ${known.length > 1 &&
      html`<select class="filter" aria-label="Show the results of" value=${only} onChange=${(e) => setOnly(e.target.value)}>
        <option value="">all models</option>
        ${known.map((id) => html`<option value=${id}>${id}</option>`)}
      </select>`}
    </div>
    ${shown.length
      ? html`<ul class="tiles">
          ${shown.map((r) => html`<${Tile} key=${r.id} r=${r} picked=${pair.includes(r.id)} onPick=${pick} />`)}
        </ul>`
      : html`<p class="empty">What you make is shown here. It stays in this browser.</p>`}
  </section>`;
}
