// Media: pictures, players, what a result shows while it is made.
import { html } from "./vendor/htm-preact.js";
import { Wave } from "./wave.js";

export const described = (r) => `${r.settings.prompt || "no prompt"}, seed ${r.settings.seed}`;

// Small pictures are enlarged without smoothing, so that their pixels are seen as they are.
function crisp(event) {
  const picture = event.target;
  const width = picture.naturalWidth || picture.videoWidth;
  picture.classList.toggle("crisp", width > 0 && width < 200);
}

export function Picture({ url, alt }) {
  return html`<img class="medium" src=${url} alt=${alt} onLoad=${crisp} draggable=${false} />`;
}

export function Clip({ url, alt, format, controls, player }) {
  if (format === "gif") return html`<${Picture} url=${url} alt=${alt} />`;
  return html`<video class="medium" ref=${player} src=${url} aria-label=${alt} loop muted playsinline autoplay=${!still()}
    controls=${controls} onLoadedMetadata=${crisp}></video>`;
}

const still = () => matchMedia("(prefers-reduced-motion: reduce)").matches;

export function Medium({ r, large = false, player }) {
  const alt = described(r);
  if (r.modality === "audio") return html`<${Wave} blob=${r.blob} label=${alt} large=${large} player=${player} />`;
  if (r.modality === "video") {
    return html`<${Clip} url=${r.url} alt=${alt} format=${r.settings.format} controls=${large} player=${player} />`;
  }
  return html`<${Picture} url=${r.url} alt=${alt} />`;
}

export function Waiting({ r, onCancel }) {
  const place = r.line === null ? "In line" : r.line === 0 ? "Next in line" : `${r.line} before it`;
  const text = r.status === "queued" ? place : r.of ? `Step ${r.step} of ${r.of}` : "Being made";
  return html`<div class="waiting">
    ${r.preview ? html`<${Picture} url=${r.preview} alt="Preview" />` : html`<div class="blank"></div>`}
    <div class="progress">
      <span>${text}</span>
      <button type="button" class="plain tiny" onClick=${onCancel} aria-label=${`Cancel: ${described(r)}`}>Cancel</button>
    </div>
    <progress value=${r.of ? r.step : null} max=${r.of || 1} aria-label="Progress"></progress>
  </div>`;
}
