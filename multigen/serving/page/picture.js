// Pictures. Small ones are enlarged without smoothing, so that their pixels are seen as they are.
import { html } from "./vendor/htm-preact.js";

const SMALL = 200; // pixels

export function crisp(event) {
  const one = event.target;
  const width = one.naturalWidth || one.videoWidth;
  one.classList.toggle("crisp", width > 0 && width < SMALL);
}

export function Picture({ url, alt, name = "medium", inner }) {
  return html`<img class=${name} ref=${inner} src=${url} alt=${alt} onLoad=${crisp} draggable=${false} />`;
}
