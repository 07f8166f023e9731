// Options that a model declares: choices, texts and numbers, and media, which come as files.
import { FileButton, NumberField, Select, TextArea, Wrong } from "./controls.js";
import { useId } from "./controls-base.js";
import { accepted, aFile, filesOf, named, refusal } from "./kinds.js";
import { capital } from "./settings.js";
import { set } from "./store.js";
import { html, useEffect, useState } from "./vendor/htm-preact.js";

const spoken = (name) => (name === "lufs" ? "Loudness in LUFS" : name);
export const member = (name) => `options.${name}`; // as errors name an option

function change(name, value, wrong = null) {
  set((s) => {
    const errors = Object.fromEntries(Object.entries(s.errors).filter(([one]) => one !== member(name)));
    const settings = wrong ? s.settings : { ...s.settings, options: { ...s.settings.options, [name]: value } };
    return { settings, errors: wrong ? { ...errors, [member(name)]: wrong } : errors };
  });
}

// A choice, a text or a number.
function Plain({ o, value, error }) {
  const shared = { label: spoken(o.name), hint: o.help, error };
  if (o.choices.length) {
    return html`<${Select} ...${shared} value=${value ?? ""} onChange=${(one) => change(o.name, one || null)}
      options=${[["", "the model's own"], ...o.choices.map((one) => [one, one])]} />`;
  }
  if (o.text) return html`<${TextArea} ...${shared} rows=${1} value=${value ?? ""} onChange=${(text) => change(o.name, text || null)} />`;
  return html`<${NumberField} ...${shared} value=${value} min=${o.low} max=${o.high} step="any" onChange=${(one) => change(o.name, one)} />`;
}

export function PlainOptions({ settings, model, errors }) {
  return model.options
    .filter((o) => !o.media && (!o.needs || settings.options[o.needs])) // what is said of a medium comes with it
    .map((o) => html`<${Plain} key=${o.name} o=${o} value=${settings.options[o.name] ?? null} error=${errors[member(o.name)]} />`);
}

// An address of a file that lasts as long as what shows it.
export function useAddress(file) {
  const [url, setUrl] = useState(null);
  useEffect(() => {
    if (!file) return setUrl(null);
    const made = URL.createObjectURL(file);
    setUrl(made);
    return () => URL.revokeObjectURL(made);
  }, [file]);
  return url;
}

// What is in a file, where the browser can show or play it.
export function Shown({ file, kind, label }) {
  const url = useAddress(file);
  const [blind, setBlind] = useState(null);
  const shared = { src: url, onError: () => setBlind(file) };
  if (!url) return null;
  if (blind === file || !["image", "audio", "video"].includes(kind)) {
    return html`<p class="hint">${file.name}: this browser cannot show it; the server can read it all the same.</p>`;
  }
  if (kind === "image" || file.type === "image/gif") return html`<img ...${shared} alt=${label} />`;
  if (kind === "audio") return html`<audio ...${shared} controls aria-label=${label}></audio>`;
  return html`<video ...${shared} controls loop muted playsinline aria-label=${label}></video>`;
}

function Medium({ o, said, file, most, error }) {
  const id = useId();
  const [over, setOver] = useState(false);
  const label = capital(spoken(o.name));
  const take = (one) => {
    const wrong = refusal(o.media, one, most);
    change(o.name, one, wrong);
  };
  const drop = (e) => {
    e.preventDefault();
    setOver(false);
    const [one] = e.dataTransfer.files;
    if (one) take(one);
  };
  return html`<div class=${`field wide given ${over ? "over" : ""}`} role="group" aria-labelledby=${`${id}-name`}
      aria-describedby=${`${id}-hint`} onDragOver=${(e) => (e.preventDefault(), setOver(true))} onDragLeave=${() => setOver(false)} onDrop=${drop}>
    <span id=${`${id}-name`}>${label}</span>
    <span class="hint" id=${`${id}-hint`}>${capital(o.help)}: ${aFile(o.media)}. Drop a file here, or open one.</span>
    ${file && html`<${Shown} file=${file} kind=${o.media} label=${`${label}: ${file.name}`} />`}
    <div class="row">
      <${FileButton} label=${file ? `Open another ${o.name}` : `Open a ${o.name}`} accept=${accepted(o.media)} onFile=${take} />
      ${file && html`<button type="button" class="plain" onClick=${() => [o, ...said].forEach((one) => change(one.name, null))} aria-label=${`Remove the ${o.name}`}>Remove</button>`}
    </div>
    <span class="hint" role="status">${file ? named(file) : ""}</span>
    <${Wrong} id=${`${id}-wrong`} text=${error} />
  </div>`;
}

// Fields for the options of a model that are media.
export function MediaOptions({ settings, model, errors }) {
  return model.options
    .filter((o) => o.media)
    .map((o) => html`<${Medium} key=${`${model.id}-${o.name}`} o=${o} said=${model.options.filter((one) => one.needs === o.name)} file=${settings.options[o.name] ?? null} most=${model.limits.inline - filesOf(settings.options).reduce((sum, [name, one]) => sum + (name === o.name ? 0 : one.size), 0)} error=${errors[member(o.name)]} />`);
}
