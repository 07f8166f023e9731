// One result: large, with all its settings and what can be done with it.
import { Choice } from "./controls.js";
import { BeforeAfter } from "./edit-results.js";
import { files } from "./asked.js";
import { KINDS } from "./copy.js";
import { filesOf } from "./kinds.js";
import { Medium } from "./media.js";
import { Shown } from "./options.js";
import { remove } from "./run.js";
import { described, difference, randomSeed, suffixOf } from "./settings.js";
import { canEdit, fromEdit, fromResult } from "./source.js";
import { notify, set } from "./store.js";
import { html, useEffect, useRef, useState } from "./vendor/htm-preact.js";

// The form as it was for a result: with its seed, or with another.
async function again(r, locked) {
  const seed = locked ? r.settings.seed : randomSeed();
  if (r.settings.edit) {
    await fromEdit(r);
    set((s) => ({ settings: { ...s.settings, seed }, lock: locked }));
    return;
  }
  const n = locked || r.modality !== "image" ? 1 : 4;
  set({ settings: { ...r.settings, seed, n }, lock: locked, base: locked ? r.id : null, open: null, errors: {} });
  location.hash = "create";
}

async function copy(text, kind) {
  try {
    await navigator.clipboard.writeText(text);
    notify(`Copied: ${kind}.`);
  } catch {
    notify("This browser does not let the page copy; select the text instead.", { error: true });
  }
}

function Actions({ r, partner }) {
  const compare = () => {
    set({ pair: [partner ? partner.id : null, r.id], open: null });
    location.hash = "compare";
  };
  return html`<div class="actions">
    <a class="button primary" href=${r.url} download=${`${r.settings.model}_seed${r.settings.seed}.${suffixOf(r.settings)}`}>Download</a>
    <button type="button" onClick=${() => again(r, true)}>Same seed, change one thing</button>
    <button type="button" onClick=${() => again(r, false)}>Use these settings</button>
    ${canEdit(r) && html`<button type="button" onClick=${() => fromResult(r)}>Edit</button>`}
    ${r.modality !== "file" && html`<button type="button" onClick=${compare}>${partner ? "Compare with the one before" : "Compare"}</button>`}
    <button type="button" class="danger" onClick=${() => remove([r.id])}>Delete</button>
  </div>`;
}

// A link to a file that the page holds; its address lives as long as the link.
function FileLink({ name, blob }) {
  const [url, setUrl] = useState(null);
  useEffect(() => {
    const made = URL.createObjectURL(blob);
    setUrl(made);
    return () => URL.revokeObjectURL(made);
  }, [blob]);
  return html`<a href=${url} download=${name}>${name}</a>`;
}

function Copies({ r, model }) {
  const [kind, setKind] = useState("curl");
  if (!model) return html`<p class="hint">The server does not offer ${r.settings.model} any more.</p>`;
  const text = KINDS[kind](r.settings, model);
  const needed = files(r.settings);
  return html`<div class="copies">
    <h3>Copy as</h3>
    <${Choice} label="Copy as" value=${kind} onChange=${setKind} options=${Object.keys(KINDS).map((name) => [name, name])} />
    <pre tabindex="0" aria-label=${kind}>${text}</pre>
    <div class="row spread">
      <span class="hint">${needed.length > 0 && html`It reads ${needed.map(([name, blob]) => html`<${FileLink} key=${name} name=${name} blob=${blob} /> `)}`}</span>
      <button type="button" class="tiny" onClick=${() => copy(text, kind)}>Copy ${kind}</button>
    </div>
  </div>`;
}

// The media that it was made for.
function Given({ r, model }) {
  return filesOf(r.settings.options).map(
    ([name, file]) => html`<figure class="given" key=${name}>
      <${Shown} file=${file} kind=${model?.options.find((o) => o.name === name)?.media} label=${`${name}: ${file.name}`} />
      <figcaption class="hint">The ${name} that it was made for</figcaption>
    </figure>`,
  );
}

function Body({ r, state }) {
  const parent = state.results.find((other) => other.id === r.parent && other.status === "done");
  const model = state.models.find((m) => m.id === r.settings.model);
  const changed = parent ? difference(parent.settings, r.settings) : [];
  return html`<div class="detail">
    <div class=${`stage ${r.modality}`}>
      ${r.settings.edit ? html`<${BeforeAfter} key=${r.id} r=${r} />` : html`<${Medium} key=${r.id} r=${r} large />`}
    </div>
    <div class="facts">
      <h2 id="detail-title">${r.settings.prompt || "no prompt"}</h2>
      <${Actions} r=${r} partner=${parent} />
      ${parent &&
      html`<p class="changed">${changed.length
        ? changed.map(([name, before, after]) => html`<span>${name}: ${before} → ${after}</span>`)
        : "The same settings as the one before."}</p>`}
      <dl>
        ${described(r.settings, model?.time_unit).map(([, name, text]) => html`<div><dt>${name}</dt><dd>${text}</dd></div>`)}
        ${r.seconds && html`<div><dt>Took</dt><dd>${r.seconds.toFixed(1)} s</dd></div>`}
        <div><dt>Made</dt><dd>${new Date(r.created).toLocaleString()}</dd></div>
      </dl>
      <${Given} r=${r} model=${model} />
      <${Copies} r=${r} model=${model} />
    </div>
  </div>`;
}

export function Detail({ state }) {
  const dialog = useRef(null);
  const done = state.results.filter((r) => r.status === "done");
  const at = done.findIndex((r) => r.id === state.open);
  const r = done[at];
  useEffect(() => {
    if (r && !dialog.current.open) dialog.current.showModal();
    if (!r && dialog.current.open) dialog.current.close();
  }, [r]);
  const go = (by) => done[at + by] && set({ open: done[at + by].id });
  const keys = (event) => {
    if (event.target.matches("input, textarea, select, video, pre")) return;
    if (event.key === "ArrowRight") go(1);
    if (event.key === "ArrowLeft") go(-1);
  };
  return html`<dialog ref=${dialog} class="large" aria-labelledby="detail-title" onKeyDown=${keys}
    onClose=${() => set({ open: null })} onClick=${(e) => e.target === dialog.current && set({ open: null })}>
    ${r &&
    html`<div class="row end close">
        <button type="button" class="plain" disabled=${at <= 0} onClick=${() => go(-1)} aria-label="Newer result">‹</button>
        <button type="button" class="plain" disabled=${at >= done.length - 1} onClick=${() => go(1)} aria-label="Older result">›</button>
        <button type="button" class="plain" onClick=${() => set({ open: null })} aria-label="Close">×</button>
      </div>
      <${Body} r=${r} state=${state} />`}
  </dialog>`;
}
