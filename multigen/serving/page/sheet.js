// The batch sheet: a grid over two settings, all else as in the form, each cell with the same seed.
import { NumberField, Select, TextArea, Wrong } from "./controls.js";
import { change, ModelPicker, Prompt } from "./form.js";
import { begin } from "./run.js";
import { label, sized } from "./settings.js";
import { Grid } from "./sheet-grid.js";
import { set } from "./store.js";
import { html, useState } from "./vendor/htm-preact.js";

const MOST = 100; // cells
const NUMBERS = { steps: "8, 16, 32", guidance_scale: "1, 2, 4", seed: "1, 2, 3", seconds: "2, 4", width: "", height: "" };
const LISTS = { prompt: "one a line", negative_prompt: "one a line", sampler: "names, with commas" };

function choices(model) {
  const unfit = [...(sized(model) ? [] : ["width", "height"]), ...(model.duration === null ? ["seconds"] : [])];
  const names = [...Object.keys(NUMBERS), ...Object.keys(LISTS)].filter((name) => !unfit.includes(name));
  return names.filter((name) => name !== "guidance_scale" || model.guidance_scale !== null);
}

// The values of an axis. Error for what is none.
export function values(name, text, model) {
  const parts = text.split(name.endsWith("prompt") ? "\n" : ",").map((part) => part.trim()).filter(Boolean);
  if (!parts.length) throw new Error(`${label(name)}: give at least one value.`);
  if (name === "sampler") {
    const unknown = parts.find((part) => !model.samplers.includes(part));
    if (unknown) throw new Error(`Sampler: ${unknown} is not known. Known: ${model.samplers.join(", ")}.`);
  }
  if (name in LISTS) return parts;
  const numbers = parts.map(Number);
  const wrong = parts.find((_, k) => !Number.isFinite(numbers[k]));
  if (wrong !== undefined) throw new Error(`${label(name)}: ${wrong} is no number.`);
  return numbers;
}

function Axis({ title, name, text, model, onName, onText, other }) {
  const options = choices(model).filter((one) => one !== other).map((one) => [one, label(one)]);
  const hint = name in LISTS ? LISTS[name] : "numbers, with commas";
  return html`<fieldset class="axis">
    <legend>${title}</legend>
    <${Select} label=${`${title}: setting`} value=${name} options=${options} onChange=${onName} wide />
    <${TextArea} label=${`${title}: values`} rows=${name.endsWith("prompt") ? 4 : 1} value=${text} onChange=${onText} hint=${hint} />
  </fieldset>`;
}

function suggestion(name, model) {
  if (name === "prompt") return model.prompts.slice(0, 3).join("\n");
  if (name === "sampler") return model.samplers.slice(0, 3).join(", ");
  if (name === "width" || name === "height") return String(model.shape.at(name === "width" ? -1 : -2));
  return NUMBERS[name] ?? "";
}

export function Sheet({ state }) {
  const { settings, models, sheet, results, errors } = state;
  const model = models.find((m) => m.id === settings.model);
  const [axes, setAxes] = useState({ across: "steps", down: "guidance_scale", texts: {} });
  const names = choices(model);
  const across = names.includes(axes.across) ? axes.across : names[0];
  const down = names.includes(axes.down) && axes.down !== across ? axes.down : names.find((n) => n !== across);
  const text = (name) => axes.texts[name] ?? suggestion(name, model);
  const write = (name) => (value) => {
    setAxes({ ...axes, texts: { ...axes.texts, [name]: value } });
    if (errors.sheet) set({ errors: {} });
  };
  const make = (event) => {
    event.preventDefault();
    try {
      const columns = values(across, text(across), model);
      const lines = values(down, text(down), model);
      if (columns.length * lines.length > MOST) throw new Error(`${columns.length * lines.length} cells; ${MOST} at most.`);
      const rows = lines.map((value) => ({
        value,
        ids: columns.map((column) => begin({ ...settings, edit: null, fast: false, [across]: column, [down]: value }, { count: 1 })[0]),
      }));
      set({ sheet: { across, down, columns, rows } });
    } catch (error) {
      set({ errors: { sheet: error.message } });
    }
  };
  return html`<div class="columns">
    <form class="panel" onSubmit=${make} aria-label="What the sheet varies">
      <div class="fields">
        <${ModelPicker} state=${state} />
        <${Prompt} settings=${settings} model=${model} errors=${errors} />
        <${NumberField} label="Seed" wide value=${settings.seed} min=${0} max=${2 ** 53 - 1} onChange=${(seed) => seed !== null && change({ seed })} />
        <${Axis} title="Across" name=${across} other=${down} text=${text(across)} model=${model}
          onName=${(name) => setAxes({ ...axes, across: name })} onText=${write(across)} />
        <${Axis} title="Down" name=${down} other=${across} text=${text(down)} model=${model}
          onName=${(name) => setAxes({ ...axes, down: name })} onText=${write(down)} />
      </div>
      <div class="go one"><${Wrong} text=${errors.sheet} /><button class="primary">Make the sheet</button></div>
    </form>
    <section class="gallery" aria-label="Batch sheet">
      ${sheet ? html`<${Grid} sheet=${sheet} results=${results} />` : html`<p class="empty">A grid over two settings: one goes across, the other down, and all cells have the same seed.</p>`}
    </section>
  </div>`;
}
