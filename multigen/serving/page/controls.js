// Controls of forms: each with a label that a screen reader reads, and with what is wrong with it beside it.
import { html, useId, useRef } from "./controls-base.js";

const said = (id, hint, error) => [error && `${id}-wrong`, hint && `${id}-hint`].filter(Boolean).join(" ") || null;

export function Wrong({ id, text }) {
  return text ? html`<span class="wrong" id=${id} role="alert">${text}</span>` : null;
}

export function Field({ label, hint, error, children, id, wide }) {
  return html`<div class=${`field ${wide ? "wide" : ""}`}>
    <label for=${id}>${label}</label>
    ${children}
    <${Wrong} id=${`${id}-wrong`} text=${error} />
    ${hint && html`<span class="hint" id=${`${id}-hint`}>${hint}</span>`}
  </div>`;
}

export function TextArea({ label, value, onChange, rows = 3, hint, error, onSubmit, placeholder }) {
  const id = useId();
  const keys = (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && onSubmit) {
      event.preventDefault();
      onSubmit();
    }
  };
  return html`<${Field} label=${label} hint=${hint} error=${error} id=${id} wide>
    <textarea id=${id} rows=${rows} value=${value} placeholder=${placeholder} onKeyDown=${keys} aria-invalid=${Boolean(error)}
      onInput=${(e) => onChange(e.target.value)} aria-describedby=${said(id, hint, error)}></textarea>
  <//>`;
}

// A number; null where the field is empty. Values outside the range are brought into it when the field is left.
export function NumberField({ label, value, onChange, min, max, step = 1, hint, error, disabled, wide }) {
  const id = useId();
  const left = (event) => {
    const given = event.target.valueAsNumber;
    if (Number.isNaN(given)) return onChange(null);
    const inside = within(given, min, max, step);
    event.target.value = inside;
    onChange(inside);
  };
  const typed = (event) => {
    const given = event.target.valueAsNumber;
    if (!Number.isNaN(given) && event.target.validity.valid) onChange(given);
  };
  return html`<${Field} label=${label} hint=${hint} error=${error} id=${id} wide=${wide}>
    <input id=${id} type="number" inputmode="decimal" value=${value ?? ""} min=${min} max=${max} step=${step} disabled=${disabled}
      onInput=${typed} onBlur=${left} aria-describedby=${said(id, hint, error)} aria-invalid=${Boolean(error)} />
  <//>`;
}

function within(given, min, max, step) {
  const whole = step === "any" ? given : Number((Math.round(given / step) * step).toPrecision(15));
  return Math.min(Math.max(whole, min ?? -Infinity), max ?? Infinity);
}

// A slider with a number beside it, for the same value.
export function Slider({ label, value, onChange, min, max, step = 1, own, hint, error }) {
  const id = useId();
  const changed = (event) => {
    const given = event.target.valueAsNumber;
    const inside = Number.isNaN(given) ? value : within(given, min, max, step);
    event.target.value = inside;
    onChange(inside);
  };
  return html`<div class="field wide">
    <div class="row spread"><label for=${id}>${label}</label>
      ${own !== undefined && own !== null && own !== value
        ? html`<button type="button" class="plain tiny" onClick=${() => onChange(own)}
            aria-label=${`${label}: back to the model's own, ${own}`}>model's own: ${own}</button>`
        : null}</div>
    <div class="slider">
      <input id=${id} type="range" min=${min} max=${max} step=${step} value=${value ?? min} onInput=${changed}
        aria-describedby=${said(id, hint, error)} aria-invalid=${Boolean(error)} />
      <input type="number" aria-label=${`${label}, as a number`} min=${min} max=${max} step=${step} value=${value ?? ""}
        onChange=${changed} />
    </div>
    <${Wrong} id=${`${id}-wrong`} text=${error} />
    ${hint && html`<span class="hint" id=${`${id}-hint`}>${hint}</span>`}
  </div>`;
}

export function Select({ label, value, onChange, options, hint, error, wide }) {
  const id = useId();
  return html`<${Field} label=${label} hint=${hint} error=${error} id=${id} wide=${wide}>
    <select id=${id} value=${value} onChange=${(e) => onChange(e.target.value)} aria-describedby=${said(id, hint, error)}>
      ${options.map(([key, text]) => html`<option value=${key} selected=${key === value}>${text}</option>`)}
    </select>
  <//>`;
}

export function Check({ label, checked, onChange, hint }) {
  const id = useId();
  return html`<div class="check wide">
    <input id=${id} type="checkbox" checked=${checked} onChange=${(e) => onChange(e.target.checked)} aria-describedby=${said(id, hint)} />
    <label for=${id}>${label}</label>
    ${hint && html`<span class="hint" id=${`${id}-hint`}>${hint}</span>`}
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
