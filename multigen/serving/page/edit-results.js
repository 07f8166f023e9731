// What came of an edit: tiles, and before and after under one slider.
import { Tile } from "./gallery.js";
import { kindOf } from "./kinds.js";
import { Medium } from "./media.js";
import { padded } from "./outpaint.js";
import { Slide } from "./slide.js";
import { Transport } from "./transport.js";
import { html, useEffect, useRef, useState } from "./vendor/htm-preact.js";

// The address of the source as it lies under the result: with the borders that were added.
function useBefore(r) {
  const [url, setUrl] = useState(null);
  useEffect(() => {
    let live = true;
    let made = null;
    (async () => {
      const { source, options } = r.settings.edit;
      made = URL.createObjectURL(r.modality === "image" && options.extend ? await padded(source, options.extend) : source);
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
  if (!before) return null;
  if (r.modality === "image") return html`<${Slide} before=${before} after=${r.url} />`;
  return html`<${Beside} r=${r} before=${before} />`;
}

// Of sounds and videos: both players, and both under one control where they begin together.
function Beside({ r, before }) {
  const players = [useRef(null), useRef(null)];
  const { source, suffix, options } = r.settings.edit;
  const score = kindOf({ name: `.${suffix}`, type: "" }) === "notes";
  const old = { ...r, modality: score ? "file" : r.modality, blob: source, url: before, settings: { ...r.settings, format: suffix, prompt: "before" } };
  return html`<div class="before-after">
    <h3>Before</h3>
    <${Medium} r=${old} large=${r.modality === "video"} player=${players[0]} />
    <h3>After</h3>
    <${Medium} r=${r} large player=${players[1]} />
    ${!options.extend && !score && html`<${Transport} players=${players} />`}
  </div>`;
}

export function EditResults({ edit, results }) {
  const mine = edit.results.map((id) => results.find((r) => r.id === id)).filter(Boolean);
  const done = mine.filter((r) => r.status === "done");
  const [picked, setPicked] = useState(null);
  const list = useRef(null);
  const latest = edit.results[0];
  const before = useRef(latest);
  useEffect(() => {
    if (latest !== before.current) list.current?.scrollIntoView({ block: "nearest" });
    before.current = latest;
  }, [latest]);
  const shown = done.find((r) => r.id === picked) ?? done[0];
  if (!mine.length) return null;
  return html`<div class="edit-results">
    <h2>Results</h2>
    <ul class="tiles" ref=${list}>${mine.map((r) => html`<${Tile} key=${r.id} r=${r} />`)}</ul>
    ${shown &&
    html`<div class="bar"><h2>Before and after</h2>
        ${done.length > 1 &&
        html`<select class="filter" aria-label="Which result" value=${shown.id} onChange=${(e) => setPicked(e.target.value)}>
          ${done.map((r) => html`<option value=${r.id}>seed ${r.settings.seed}</option>`)}
        </select>`}</div>
      <${BeforeAfter} key=${shown.id} r=${shown} />`}
  </div>`;
}
