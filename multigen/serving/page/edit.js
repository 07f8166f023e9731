// Editing: a medium, what of it is made anew, and what came of it.
import { FileButton, Choice, NumberField, Slider, TextArea, Wrong } from "./controls.js";
import { change, ModelPicker, More, Prompt, Sampling, Seed } from "./form.js";
import { MediaOptions } from "./options.js";
import { EditResults } from "./edit-results.js";
import { Frames } from "./frames.js";
import { Mask } from "./mask.js";
import { Outpaint, pixels } from "./outpaint.js";
import { Few, Medium } from "./media.js";
import { begin } from "./run.js";
import { capital, naturalSeconds, randomSeed } from "./settings.js";
import { ACCEPT, canEdit, fromFile, fromResult } from "./source.js";
import { Span } from "./span.js";
import { set } from "./store.js";
import { html, useState } from "./vendor/htm-preact.js";

const MODES = {
  image: [["part", "Paint a mask"], ["extend", "Outpaint"], ["vary", "Vary"]],
  audio: [["part", "Select a span"], ["extend", "Extend"], ["vary", "Vary"]],
  video: [["part", "Keep frames"], ["extend", "Extend"], ["vary", "Vary"]],
  notes: [["part", "Rewrite bars or voices"], ["extend", "Extend"], ["vary", "Vary"]],
};
const MISSING = {
  image: { part: "Paint over what is to be made anew.", extend: "Drag a border outwards." },
  audio: { part: "Select what is to be made anew.", extend: "Say how many seconds are added." },
  video: { part: "Mark the frames that are to be made anew.", extend: "Say how many seconds are added." },
  notes: { part: "Say what stays, such as: all but bars 3-4.", extend: "Say how many quarters are added." },
};

export const changeEdit = (part) => set((s) => ({ edit: { ...s.edit, ...part }, errors: {} }));
const option = (part) => set((s) => ({ edit: { ...s.edit, options: { ...s.edit.options, ...part } }, errors: {} }));

// What the request says of the edit, as `EditRequest` names it. null where something is still missing.
export function request(edit) {
  const { mode, options, mask, modality } = edit;
  const { strength = null, extend = null, keep = null, feather = null, resample = 1, purify = null } = options;
  const shared = { ...(resample > 1 ? { resample } : {}), ...(purify === null ? {} : { purify }) };
  if (mode === "vary") return { options: { strength: strength ?? 0.6, ...shared } };
  const width = feather === null ? {} : { feather };
  if (mode === "extend") return extend ? { options: { extend, ...width, ...shared } } : null;
  if (modality === "image") return mask ? { mask, options: { ...width, ...shared } } : null;
  return keep ? { options: { keep, ...width, ...shared } } : null;
}

// Whether what comes of it is larger than the model makes in one piece.
function large(edit, model) {
  if (edit.modality === "image") {
    const { left, top, right, bottom } = pixels(edit.mode === "extend" ? edit.options.extend : null);
    return edit.width + left + right > model.shape.at(-1) || edit.height + top + bottom > model.shape.at(-2);
  }
  if (edit.seconds === null && edit.modality === "notes") return true; // it may be: only the server reads it
  const added = edit.mode === "extend" ? (edit.options.extend ?? "0").split(",").reduce((sum, s) => sum + parseFloat(s), 0) : 0;
  return (edit.seconds ?? 0) + added > naturalSeconds(model) + 0.02;
}

function make(state, model) {
  const { edit, settings, lock } = state;
  const asked = request(edit);
  if (!asked) return set({ errors: { edit: MISSING[edit.modality][edit.mode] } });
  const seed = lock ? settings.seed : randomSeed();
  change({ seed });
  const whole = {
    ...settings, seed, width: null, height: null, seconds: null, tile: false, sliding_window: large(edit, model),
    edit: { mask: null, ...asked, source: edit.blob, suffix: edit.suffix, mode: edit.mode, name: edit.name },
  };
  changeEdit({ results: [...begin(whole, { parent: edit.from, form: true }), ...edit.results] });
}

// The medium as it is.
function Whole({ edit }) {
  if (edit.modality === "notes") return html`<p class="blank"><span class="note" aria-hidden="true">♪</span> ${edit.name}</p>`;
  return html`<${Medium} r=${{ ...edit, settings: { prompt: edit.name, seed: "–", format: edit.suffix } }} large />`;
}

function Extend({ edit, model }) {
  const [before, after] = (edit.options.extend ?? "0,0").split(",").map(parseFloat);
  const unit = model.time_unit === "seconds" ? "s" : "";
  const name = capital(model.time_unit);
  const write = (a, b) => option({ extend: a || b ? `${a}${unit},${b}${unit}` : null });
  return html`<div class="workspace">
    <${Whole} edit=${edit} />
    <div class="pair">
      <${NumberField} label=${`${name} before`} value=${before} min=${0} max=${120} step="any" onChange=${(v) => write(v ?? 0, after)} />
      <${NumberField} label=${`${name} after`} value=${after} min=${0} max=${120} step="any" onChange=${(v) => write(before, v ?? 0)} />
    </div>
  </div>`;
}

const STAYS = ["all but bars 3-4", "bars 1-2", "soprano", "bars 1-2, bass", "0:8"];

// Bars and voices that stay, in a musician's words; see `multigen edit --keep`.
function Words({ edit }) {
  const keep = edit.options.keep ?? "";
  return html`<div class="workspace">
    <${Whole} edit=${edit} />
    <${TextArea} label="What stays" rows=${1} value=${keep} onChange=${(text) => option({ keep: text.trim() ? text : null })}
      hint="Bars, voices, or spans of quarters, with commas between them; the rest is written anew" />
    <div class="chips" role="group" aria-label="Examples of what stays">
      ${STAYS.map((text) => html`<button type="button" class="chip" aria-pressed=${text === keep} onClick=${() => option({ keep: text })}>${text}</button>`)}
    </div>
  </div>`;
}

function Workspace({ edit, model }) {
  const { modality, mode } = edit;
  if (mode === "vary") return html`<div class="workspace whole"><${Whole} edit=${edit} /></div>`;
  if (modality === "notes" && mode === "part") return html`<${Words} edit=${edit} />`;
  if (modality === "image" && mode === "part") return html`<${Mask} source=${edit} onMask=${(mask) => changeEdit({ mask })} />`;
  if (modality === "image") return html`<${Outpaint} source=${edit} extend=${edit.options.extend} multiple=${model.size_multiple} onExtend=${(extend) => option({ extend })} />`;
  if (mode === "extend") return html`<${Extend} edit=${edit} model=${model} />`;
  if (modality === "audio") return html`<${Span} source=${edit} keep=${edit.options.keep} onKeep=${(keep) => option({ keep })} />`;
  return html`<${Frames} source=${edit} fps=${model.fps} keep=${edit.options.keep} onKeep=${(keep) => option({ keep })} />`;
}

function Options({ edit, errors }) {
  const unit = edit.modality === "audio" ? "seconds" : "pixels";
  const { strength, feather, resample, purify } = edit.options;
  const clean = html`<${NumberField} label="Purify" value=${purify ?? null} min=${0.001} max=${100} step="any" error=${errors.purify}
    onChange=${(value) => option({ purify: value })} hint="Noise on the source that the model removes first, such as 0.3: hidden changes go; empty: none" />`;
  if (edit.mode === "vary") {
    return html`<${Slider} label="Strength" value=${strength ?? 0.6} min=${0.05} max=${1} step=${0.05} error=${errors.strength}
        onChange=${(value) => option({ strength: value })} hint="How much changes: little to all" />
      ${clean}`;
  }
  return html`
    ${edit.modality !== "notes" && html`<${NumberField} label=${`Feather in ${unit}`} value=${feather ?? null} min=${0} max=${512} step="any" error=${errors.feather}
      onChange=${(value) => option({ feather: value })} hint="The fade between kept and new; empty: the server's own" />`}
    <${NumberField} label="Resample" value=${resample ?? 1} min=${1} max=${10} error=${errors.resample}
      onChange=${(value) => option({ resample: value ?? 1 })} hint="Each step so often: joins better, takes longer" />
    ${clean}`;
}

function Pick({ state }) {
  const [over, setOver] = useState(false);
  const drop = (e) => {
    e.preventDefault();
    setOver(false);
    const [file] = e.dataTransfer.files;
    if (file) fromFile(file);
  };
  const done = state.results.filter((r) => r.status === "done" && canEdit(r)).slice(0, 12);
  return html`<div class=${`pick ${over ? "over" : ""}`} onDragOver=${(e) => (e.preventDefault(), setOver(true))}
      onDragLeave=${() => setOver(false)} onDrop=${drop}>
    <h2>What do you want to edit?</h2>
    <p class="hint">A picture, a sound, a clip or a score. Drop a file here, or</p>
    <${FileButton} label="Open a file" accept=${ACCEPT} onFile=${fromFile} />
    ${done.length > 0 &&
    html`<p class="hint">or take one of the latest results:</p>
      <${Few} results=${done} verb="Edit" onPick=${fromResult} />`}
  </div>`;
}

export function Edit({ state }) {
  const { edit, settings, models, errors } = state;
  const model = models.find((m) => m.id === settings.model);
  if (!edit || model.modality !== edit.modality) return html`<${Pick} state=${state} />`;
  const submit = (event) => {
    event?.preventDefault();
    make(state, model);
  };
  const shared = { settings, model, errors };
  return html`<div class="columns editing">
    <form class="panel" onSubmit=${submit} aria-label="What to change">
      <div class="fields">
        <${ModelPicker} state=${state} only=${edit.modality} />
        <${Prompt} ...${shared} onSubmit=${submit} />
        <${MediaOptions} ...${shared} />
        <${Options} edit=${edit} errors=${errors} />
        <${Sampling} ...${shared} />
        <${Seed} ...${shared} lock=${state.lock} />
        <${More} ...${shared} />
      </div>
      <div class="go">
        <${Wrong} text=${errors.edit} />
        <${NumberField} label="How many" value=${settings.n} min=${1} max=${32} onChange=${(n) => change({ n: n ?? 1 })} />
        <button class="primary">Make it</button>
      </div>
    </form>
    <section class="gallery" aria-label="The medium">
      <div class="bar">
        <${Choice} label="How to edit" value=${edit.mode} options=${MODES[edit.modality]} onChange=${(mode) => changeEdit({ mode })} />
        <span class="hint source">${edit.name}</span>
        <button type="button" class="plain" onClick=${() => set({ edit: null, errors: {} })}>Edit another</button>
      </div>
      <${Workspace} key=${`${edit.url}-${edit.mode}`} edit=${edit} model=${model} />
      <${EditResults} edit=${edit} results=${state.results} />
    </section>
  </div>`;
}
