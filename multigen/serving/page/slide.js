// Before and after: the second picture lies over the first, and is cut off at the slider.
import { Picture } from "./picture.js";
import { html, useEffect, useRef, useState } from "./vendor/htm-preact.js";

export function Slide({ before, after, labels = ["Before", "After"] }) {
  const [at, setAt] = useState(50);
  const top = useRef(null);
  const line = useRef(null);
  useEffect(() => {
    top.current.style.clipPath = `inset(0 0 0 ${at}%)`;
    line.current.style.left = `${at}%`;
  }, [at]);
  return html`<div class="slide">
    <div class="layers">
      <${Picture} url=${before} alt=${labels[0]} name="under" />
      <${Picture} url=${after} alt=${labels[1]} name="over" inner=${top} />
      <div class="cut" ref=${line}></div>
      <input type="range" min="0" max="100" step="0.5" value=${at} aria-label=${`Border between ${labels[0]} and ${labels[1]}, in percent`}
        onInput=${(e) => setAt(Number(e.target.value))} />
    </div>
    <div class="row spread hint"><span>${labels[0]}</span><span>${labels[1]}</span></div>
  </div>`;
}
