// The gallery: all results, newest first.
import { alive } from "./follow.js";
import { cancel, cancelAll, generate, remove, retry } from "./run.js";
import { described, Medium, Waiting } from "./media.js";
import { suffixOf } from "./settings.js";
import { memo, set } from "./store.js";
import { html, useEffect, useRef, useState } from "./vendor/htm-preact.js";

export const Tile = memo(({ r, picked, onPick }) => {
  if (alive(r)) return html`<li class=${`tile ${r.modality}`}><${Waiting} r=${r} onCancel=${() => cancel(r.id)} /></li>`;
  if (r.status !== "done") {
    return html`<li class=${`tile ${r.modality} ended`}>
      <p class=${r.status === "failed" ? "wrong" : ""}>${r.status === "cancelled" ? "Cancelled" : r.error}</p>
      <div class="row">
        <button type="button" class="plain tiny" onClick=${() => retry(r.id)} aria-label=${`Try again: ${described(r)}`}>Try again</button>
        <button type="button" class="plain tiny" onClick=${() => remove([r.id])} aria-label=${`Remove: ${described(r)}`}>Remove</button>
      </div>
    </li>`;
  }
  const show = () => set({ open: r.id });
  return html`<li class=${`tile ${r.modality}`}>
    ${r.modality === "audio"
      ? html`<${Medium} r=${r} />`
      : html`<button type="button" class="shown" onClick=${show} aria-label=${`Open: ${described(r)}${r.modality === "file" ? `, ${suffixOf(r.settings)}` : ""}`}><${Medium} r=${r} /></button>`}
    <button type="button" class="plain caption" onClick=${show} title=${r.settings.prompt} aria-label=${`Details: ${described(r)}`}>${r.settings.prompt || "no prompt"}</button>
    ${onPick &&
    html`<label class="mark"><input type="checkbox" checked=${picked} onChange=${() => onPick(r.id)} aria-label=${`Compare: ${described(r)}`} /><span>Compare</span></label>`}
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

// What a screen reader hears of results that come and go; the tiles themselves would say each step.
function useNews(results) {
  const before = useRef(0);
  const busy = results.filter(alive).length;
  const [news, setNews] = useState("");
  useEffect(() => {
    if (busy) setNews(`${busy} under way`);
    else if (before.current) setNews("All are done.");
    before.current = busy;
    const timer = busy ? null : setTimeout(() => setNews(""), 6000);
    return () => clearTimeout(timer);
  }, [busy]);
  return [busy, news];
}

function Empty({ model }) {
  const start = (prompt) => {
    set((s) => ({ settings: { ...s.settings, prompt } }));
    generate();
  };
  return html`<div class="empty">
    <p>What you make is shown here. It stays in this browser.</p>
    ${model.prompts.length > 0 &&
    html`<p class="hint">Begin with one of these:</p>
      <div class="row starters">${model.prompts.slice(0, 3).map((prompt) => html`<button type="button" onClick=${() => start(prompt)}>Make: ${prompt}</button>`)}</div>`}
  </div>`;
}

export function Gallery({ state }) {
  const { results, pair, models, settings } = state;
  const [only, setOnly] = useState("");
  const known = [...new Set(results.map((r) => r.settings.model))];
  const shown = known.includes(only) ? results.filter((r) => r.settings.model === only) : results;
  const [busy, news] = useNews(results);
  const ended = shown.filter((r) => !alive(r)).map((r) => r.id);
  return html`<section class="gallery" aria-label="Results">
    <div class="bar">
      <h2>Results</h2>
      <span class="hint" role="status">${news}</span>
      ${busy > 0 && html`<button type="button" class="plain" onClick=${cancelAll}>Cancel all</button>`}
      ${pair.every((id) => id !== null) && html`<a class="button" href="#compare">Compare the two</a>`}
      <div class="row right">
        ${ended.length > 1 && html`<button type="button" class="plain danger" onClick=${() => remove(ended)}>${shown === results ? "Delete all" : "Delete these"}</button>`}
        ${known.length > 1 &&
        html`<select class="filter" aria-label="Show the results of" value=${only} onChange=${(e) => setOnly(e.target.value)}>
          <option value="">all models</option>
          ${known.map((id) => html`<option value=${id}>${id}</option>`)}
        </select>`}
      </div>
    </div>
    ${shown.length
      ? html`<ul class="tiles">
          ${shown.map((r) => html`<${Tile} key=${r.id} r=${r} picked=${pair.includes(r.id)} onPick=${pick} />`)}
        </ul>`
      : html`<${Empty} model=${models.find((m) => m.id === settings.model)} />`}
  </section>`;
}
