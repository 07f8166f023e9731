// The form: what is to be made, with controls that fit the model.
import { Check, NumberField, Select, Slider, TextArea, Wrong } from "./controls.js";
import { generate } from "./run.js";
import { forModel, formats, isFast, kindName, kinds, naturalSeconds, randomSeed, tooLarge } from "./settings.js";
import { get, set } from "./store.js";
import { html } from "./vendor/htm-preact.js";

// Change settings; what was said of them is said no more.
export const change = (part) =>
  set((s) => ({ settings: { ...s.settings, ...part }, errors: without(s.errors, Object.keys(part)) }));
const without = (errors, names) => Object.fromEntries(Object.entries(errors).filter(([name]) => !names.includes(name)));

export function ModelPicker({ state, only }) {
  const { models, settings } = state;
  const model = models.find((m) => m.id === settings.model);
  const pick = (id) => {
    const next = models.find((m) => m.id === id);
    set({ settings: forModel(settings, next, models), base: null, errors: {} });
  };
  const some = kinds(models).filter((k) => !only || k === only);
  return html`<div class="field wide">
    <label for="model">Model</label>
    <select id="model" value=${settings.model} onChange=${(e) => pick(e.target.value)} aria-describedby="model-hint">
      ${some.map((kind) => {
        const those = models.filter((m) => m.modality === kind);
        return those.length
          ? html`<optgroup label=${kindName(kind)}>
              ${those.map((m) => html`<option value=${m.id} selected=${m.id === settings.model}>${m.id}</option>`)}
            </optgroup>`
          : null;
      })}
    </select>
    <span class="hint" id="model-hint">${model.description}</span>
  </div>`;
}

export function Prompt({ settings, model, errors, onSubmit }) {
  return html`
    <${TextArea} label="Prompt" value=${settings.prompt} error=${errors.prompt} onChange=${(prompt) => change({ prompt })} onSubmit=${onSubmit} />
    <div class="chips" role="group" aria-label="Prompts that this model knows">
      ${model.prompts.slice(0, 10).map(
        (prompt) => html`<button type="button" class="chip" aria-pressed=${prompt === settings.prompt}
          onClick=${() => change({ prompt })}>${prompt}</button>`,
      )}
    </div>
    ${!isFast(settings, model) &&
    html`<${TextArea} label="Negative prompt" rows=${1} value=${settings.negative_prompt} error=${errors.negative_prompt}
      onChange=${(negative_prompt) => change({ negative_prompt })} placeholder="what to avoid" />`}`;
}

export function Seed({ settings, lock, errors }) {
  return html`<div class="field wide">
    <label for="seed">Seed</label>
    <div class="row tight">
      <input id="seed" type="number" min="0" max=${2 ** 53 - 1} step="1" value=${settings.seed} aria-invalid=${Boolean(errors.seed)}
        onInput=${(e) => e.target.validity.valid && e.target.value && (change({ seed: e.target.valueAsNumber }), set({ lock: true }))} />
      <button type="button" onClick=${() => change({ seed: randomSeed() })} aria-label="Roll another seed" title="Roll another seed">⚄</button>
      <button type="button" class="lock" aria-pressed=${lock} onClick=${() => set({ lock: !lock })}
        title=${lock ? "The seed stays" : "Each time another seed"}>${lock ? "Locked" : "Lock"}</button>
    </div>
    <${Wrong} text=${errors.seed} />
  </div>`;
}

const capital = (text) => text[0].toUpperCase() + text.slice(1);

function Size({ settings, model, errors }) {
  const large = tooLarge(settings, model);
  const natural = naturalSeconds(model);
  return html`
    ${settings.width !== null &&
    html`<div class="pair">
      <${NumberField} label="Width" value=${settings.width} min=${model.size_multiple} step=${model.size_multiple} max=${4096}
        error=${errors.width} onChange=${(width) => change({ width })} />
      <${NumberField} label="Height" value=${settings.height} min=${model.size_multiple} step=${model.size_multiple} max=${4096}
        onChange=${(height) => change({ height })} />
    </div>`}
    ${natural !== null &&
    html`<${NumberField} label=${model.time_unit === "seconds" ? "Seconds" : capital(model.time_unit)} wide value=${settings.seconds} min=${0.01} max=${600} step="any" error=${errors.seconds}
      onChange=${(seconds) => change({ seconds })} hint=${`The model's own: ${natural} ${model.time_unit === "seconds" ? "s" : model.time_unit}`} />`}
    ${(large || settings.sliding_window) &&
    html`<${Check} label="Sliding window" checked=${settings.sliding_window}
      onChange=${(sliding_window) => change({ sliding_window, tile: settings.tile && sliding_window })}
      hint="Larger than the model's own: made in overlapping windows" />`}
    ${settings.sliding_window &&
    html`<${Check} label=${natural === null ? "Tiles without a seam" : "Loops without a seam"} checked=${settings.tile}
      onChange=${(tile) => change({ tile })} />`}`;
}

// Few calls of the network, by the model's student; guidance is within it.
export function Fast({ settings, model, errors }) {
  if (model.fast === null) return null;
  return html`<${Check} label="Fast" checked=${settings.fast} onChange=${(fast) => change({ fast })}
      hint=${`${model.fast} steps of the model's student, with its guidance built in; little is lost`} />
    <${Wrong} text=${errors.fast} />`;
}

export function Sampling({ settings, model, errors }) {
  if (isFast(settings, model)) return html`<${Fast} settings=${settings} model=${model} errors=${errors} />`;
  return html`
    <${Fast} settings=${settings} model=${model} errors=${errors} />
    <${Slider} label="Steps" value=${settings.steps} min=${1} max=${Math.min(model.limits.steps, Math.max(100, model.steps))} own=${model.steps}
      error=${errors.steps} onChange=${(steps) => change({ steps })} />
    ${settings.guidance_scale !== null &&
    html`<${Slider} label="Guidance" value=${settings.guidance_scale} min=${1} max=${12} step=${0.1} own=${model.guidance_scale}
      error=${errors.guidance_scale} onChange=${(guidance_scale) => change({ guidance_scale })}
      hint=${settings.guidance_scale === 1 ? "1 is off" : null} />`}`;
}

// An option that the model declares: a choice, a text or a number.
function Own({ o, value, onChange }) {
  const label = o.name === "lufs" ? "Loudness in LUFS" : o.name;
  if (o.choices.length) {
    return html`<${Select} label=${label} value=${value ?? ""} hint=${o.help} onChange=${(one) => onChange(one || null)}
      options=${[["", "the model's own"], ...o.choices.map((one) => [one, one])]} />`;
  }
  if (o.text) return html`<${TextArea} label=${label} rows=${1} value=${value ?? ""} hint=${o.help} onChange=${(text) => onChange(text || null)} />`;
  return html`<${NumberField} label=${label} value=${value} min=${o.low} max=${o.high} step="any" hint=${o.help} onChange=${onChange} />`;
}

export function More({ settings, model, errors }) {
  const setOption = (name, value) => change({ options: { ...settings.options, [name]: value } });
  return html`<details class="more">
    <summary>More</summary>
    <div class="fields">
      ${!isFast(settings, model) &&
      html`<${Select} label="Sampler" value=${settings.sampler ?? ""} onChange=${(sampler) => change({ sampler: sampler || null })} error=${errors.sampler}
        options=${[["", `the model's own (${model.sampler})`], ...model.samplers.map((name) => [name, name])]} />`}
      <${Select} label="File format" value=${settings.format} onChange=${(format) => change({ format })}
        options=${formats(model).map((name) => [name, name])} />
      ${model.options
        .filter((o) => !o.media && !o.needs) // media, and what is said of them, come over the API alone
        .map((o) => html`<${Own} key=${o.name} o=${o} value=${settings.options[o.name] ?? null} onChange=${(value) => setOption(o.name, value)} />`)}
    </div>
  </details>`;
}

function Base({ base, results }) {
  const one = results.find((r) => r.id === base);
  if (!one) return null;
  return html`<div class="base">
    ${one.modality === "image" && one.url && html`<img src=${one.url} alt="" width="40" height="40" />`}
    <span>Same seed: change one thing, then generate.</span>
    <button type="button" class="plain" onClick=${() => set({ base: null, lock: false })}>Stop</button>
  </div>`;
}

// On a phone the results stand under the form: go there.
function show() {
  if (Object.keys(get().errors).length || !matchMedia("(max-width: 900px)").matches) return;
  document.querySelector(".gallery").scrollIntoView({ block: "start" });
}

export function Form({ state }) {
  const { settings, models, lock, errors } = state;
  const model = models.find((m) => m.id === settings.model);
  const submit = (event) => {
    event?.preventDefault();
    generate();
    show();
  };
  const shared = { settings, model, errors };
  return html`<form class="panel" onSubmit=${submit} aria-label="What to make">
    <div class="fields">
      <${Base} base=${state.base} results=${state.results} />
      <${ModelPicker} state=${state} />
      <${Prompt} ...${shared} onSubmit=${submit} />
      <${Size} ...${shared} />
      <${Sampling} ...${shared} />
      <${Seed} ...${shared} lock=${lock} />
      <${More} ...${shared} />
    </div>
    <div class="go">
      <${NumberField} label="How many" value=${settings.n} min=${1} max=${32} onChange=${(n) => change({ n: n ?? 1 })} />
      <button class="primary">Generate</button>
    </div>
  </form>`;
}
