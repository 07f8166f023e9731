// Controls of forms: each with a label that a screen reader reads.
import { html, useId, useRef } from "./controls-base.js";

export function Field({ label, hint, children, id, wide }) {
  return html`<div class=${`field ${wide ? "wide" : ""}`}>
    <label for=${id}>${label}</label>
    ${children}
    ${hint && html`<span class="hint" id=${`${id}-hint`}>${hint}</span>`}
  </div>`;
}

export function TextArea({ label, value, onChange, rows = 3, hint, onSubmit, placeholder }) {
  const id = useId();
  const keys = (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && onSubmit) {
      event.preventDefault();
      onSubmit();
    }
  };
  return html`<${Field} label=${label} hint=${hint} id=${id} wide>
    <textarea id=${id} rows=${rows} value=${value} placeholder=${placeholder} onKeyDown=${keys}
      onInput=${(e) => onChange(e.target.value)} aria-describedby=${hint ? `${id}-hint` : null}></textarea>
  <//>`;
}

export function Text({ label, value, onChange, hint, placeholder }) {
  const id = useId();
  return html`<${Field} label=${label} hint=${hint} id=${id} wide>
    <input id=${id} type="text" value=${value} placeholder=${placeholder}
      onInput=${(e) => onChange(e.target.value)} aria-describedby=${hint ? `${id}-hint` : null} />
  <//>`;
}

// A number; null where the field is empty. Values outside the range are brought into it when the field is left.
export function NumberField({ label, value, onChange, min, max, step = 1, hint, disabled, wide }) {
  const id = useId();
  const left = (event) => {
    const given = event.target.valueAsNumber;
    if (Number.isNaN(given)) return onChange(null);
    const whole = step === "any" ? given : Math.round(given / step) * step;
    const inside = Math.min(Math.max(whole, min ?? -Infinity), max ?? Infinity);
    event.target.value = inside;
    onChange(inside);
  };
  const typed = (event) => {
    const given = event.target.valueAsNumber;
    if (!Number.isNaN(given) && event.target.validity.valid) onChange(given);
  };
  return html`<${Field} label=${label} hint=${hint} id=${id} wide=${wide}>
    <input id=${id} type="number" inputmode="decimal" value=${value ?? ""} min=${min} max=${max} step=${step}
      disabled=${disabled} onInput=${typed} onBlur=${left} aria-describedby=${hint ? `${id}-hint` : null} />
  <//>`;
}

// A slider with a number beside it, for the same value.
export function Slider({ label, value, onChange, min, max, step = 1, own, hint }) {
  const id = useId();
  const changed = (event) => {
    const given = Number(event.target.value);
    if (event.target.value !== "" && given >= min && given <= max) onChange(given);
  };
  return html`<div class="field wide">
    <div class="row spread"><label for=${id}>${label}</label>
      ${own !== undefined && own !== null && own !== value
        ? html`<button type="button" class="plain tiny" onClick=${() => onChange(own)}
            aria-label=${`${label}: back to the model's own, ${own}`}>model's own: ${own}</button>`
        : null}</div>
    <div class="slider">
      <input id=${id} type="range" min=${min} max=${max} step=${step} value=${value ?? min} onInput=${changed}
        aria-describedby=${hint ? `${id}-hint` : null} />
      <input type="number" aria-label=${`${label}, as a number`} min=${min} max=${max} step=${step} value=${value ?? ""}
        onChange=${changed} />
    </div>
    ${hint && html`<span class="hint" id=${`${id}-hint`}>${hint}</span>`}
  </div>`;
}

export function Select({ label, value, onChange, options, hint, wide }) {
  const id = useId();
  return html`<${Field} label=${label} hint=${hint} id=${id} wide=${wide}>
    <select id=${id} value=${value} onChange=${(e) => onChange(e.target.value)}>
      ${options.map(([key, text]) => html`<option value=${key} selected=${key === value}>${text}</option>`)}
    </select>
  <//>`;
}

export function Check({ label, checked, onChange, hint }) {
  const id = useId();
  return html`<div class="check wide">
    <input id=${id} type="checkbox" checked=${checked} onChange=${(e) => onChange(e.target.checked)} />
    <label for=${id}>${label}</label>
    ${hint && html`<span class="hint">${hint}</span>`}
  </div>`;
}

// One of a few, as buttons beside each other.
export function Choice({ label, value, onChange, options }) {
  const name = useId();
  return html`<fieldset class="choice">
    <legend class="hidden">${label}</legend>
    ${options.map(
      ([key, text]) => html`<label class=${key === value ? "on" : ""}>
        <input type="radio" name=${name} value=${key} checked=${key === value} onChange=${() => onChange(key)} />${text}
      </label>`,
    )}
  </fieldset>`;
}

export function FileButton({ label, accept, onFile }) {
  const input = useRef(null);
  const picked = (event) => {
    const [file] = event.target.files;
    if (file) onFile(file);
    event.target.value = "";
  };
  return html`<span class="file">
    <input ref=${input} type="file" accept=${accept} onChange=${picked} aria-label=${label} class="hidden" tabindex="-1" />
    <button type="button" onClick=${() => input.current.click()}>${label}</button>
  </span>`;
}
