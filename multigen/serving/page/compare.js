// Two results side by side, with linked controls, or one over the other under a slider.
import { Choice, Check, Select } from "./controls.js";
import { described, Few, Medium } from "./media.js";
import { difference } from "./settings.js";
import { Slide } from "./slide.js";
import { set } from "./store.js";
import { Transport } from "./transport.js";
import { html, useEffect, useRef, useState } from "./vendor/htm-preact.js";

// A picture that is zoomed with the wheel or the slider and moved by dragging; `view` is shared where both are linked.
function Zoomed({ r, view, onView }) {
  const inner = useRef(null);
  const drag = useRef(null);
  useEffect(() => {
    inner.current.style.transform = `translate(${view.x}px, ${view.y}px) scale(${view.zoom})`;
  }, [view]);
  const wheel = (e) => {
    if (!e.ctrlKey && !e.altKey) return;
    e.preventDefault();
    onView({ ...view, zoom: Math.min(16, Math.max(1, view.zoom * (e.deltaY < 0 ? 1.15 : 1 / 1.15))) });
  };
  const move = (e) => {
    if (!drag.current) return;
    onView({ ...view, x: drag.current.x + e.clientX, y: drag.current.y + e.clientY });
  };
  const down = (e) => {
    e.currentTarget.setPointerCapture(e.pointerId);
    drag.current = { x: view.x - e.clientX, y: view.y - e.clientY };
  };
  const keys = (e) => {
    const by = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[e.key];
    if (!by) return;
    e.preventDefault();
    onView({ ...view, x: view.x - 20 * by[0], y: view.y - 20 * by[1] });
  };
  return html`<div class="zoomed" role="group" tabindex="0" aria-label="Arrow keys move the picture" onKeyDown=${keys} onWheel=${wheel} onPointerDown=${down} onPointerMove=${move} onPointerUp=${() => (drag.current = null)}>
    <div ref=${inner}><${Medium} r=${r} /></div>
  </div>`;
}

const HOME = { zoom: 1, x: 0, y: 0 };

function Side({ r, which, results, linked, view, onView, player }) {
  const name = which ? "Second" : "First";
  const pick = (id) => set((s) => ({ pair: s.pair.map((p, k) => (k === which ? id || null : p)) }));
  const options = [["", "pick a result"], ...results.map((one) => [one.id, `${one.settings.model}: ${described(one)}`])];
  const shown = () => {
    if (r.modality !== "image") return html`<${Medium} key=${r.id} r=${r} large=${r.modality === "audio" || !linked} player=${player} />`;
    return html`<${Zoomed} r=${r} view=${view} onView=${onView} />
      <input type="range" min="1" max="16" step="0.1" value=${view.zoom} aria-label=${`Zoom of the ${name.toLowerCase()}`}
        onInput=${(e) => onView({ ...(e.target.value === "1" ? HOME : view), zoom: Number(e.target.value) })} />`;
  };
  return html`<section class="side" aria-label=${name}>
    <${Select} label=${name} value=${r?.id ?? ""} options=${options} onChange=${pick} wide />
    ${r ? shown() : html`<${Few} results=${results.slice(0, 12)} verb=${name} onPick=${(one) => pick(one.id)} />`}
  </section>`;
}

function Difference({ a, b }) {
  const rows = difference(a.settings, b.settings);
  if (!rows.length) return html`<p class="hint">Both have the same settings.</p>`;
  return html`<table class="difference">
    <caption class="hidden">What differs</caption>
    <thead><tr><th scope="col">Setting</th><th scope="col">First</th><th scope="col">Second</th></tr></thead>
    <tbody>${rows.map(([name, x, y]) => html`<tr><th scope="row">${name}</th><td>${x}</td><td>${y}</td></tr>`)}</tbody>
  </table>`;
}

export function Compare({ state }) {
  const [linked, setLinked] = useState(true);
  const [mode, setMode] = useState("beside");
  const [views, setViews] = useState([HOME, HOME]);
  const players = [useRef(null), useRef(null)];
  const done = state.results.filter((r) => r.status === "done");
  const [a, b] = state.pair.map((id) => done.find((r) => r.id === id));
  const pictures = a?.modality === "image" && b?.modality === "image";
  const timed = a && b && a.modality !== "image" && b.modality !== "image";
  const change = (which) => (view) => setViews((old) => old.map((v, k) => (linked || k === which ? view : v)));
  if (done.length < 2) {
    return html`<div class="compare"><p class="empty">Two results can be compared here. <a href="#create">Make some first.</a></p></div>`;
  }
  const beside = html`<div class="sides">
    ${[a, b].map((r, k) => html`<${Side} key=${k} r=${r} which=${k} results=${done} linked=${linked} view=${views[k]} onView=${change(k)} player=${players[k]} />`)}
  </div>`;
  return html`<div class="compare">
    <div class="bar">
      <h2>Compare</h2>
      ${pictures &&
      html`<${Choice} label="How to compare" value=${mode} onChange=${setMode}
        options=${[["beside", "Side by side"], ["over", "Slider"]]} />`}
      ${a && b && html`<${Check} label="Linked controls" checked=${linked} onChange=${setLinked} />
        <button type="button" class="plain" onClick=${() => set({ pair: state.pair.toReversed() })}>Swap</button>`}
    </div>
    ${pictures && mode === "over" ? html`<${Slide} before=${a.url} after=${b.url} labels=${["First", "Second"]} />` : beside}
    ${timed && linked && html`<${Transport} players=${players} />`}
    ${a && b && html`<${Difference} a=${a} b=${b} />`}
  </div>`;
}
