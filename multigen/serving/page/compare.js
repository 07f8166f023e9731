// Two results side by side, with linked controls, or one over the other under a slider.
import { Choice, Check, Select } from "./controls.js";
import { described, Medium } from "./media.js";
import { difference } from "./settings.js";
import { set } from "./store.js";
import { html, useEffect, useRef, useState } from "./vendor/htm-preact.js";

// Before and after: the second picture lies over the first, and is cut off at the slider.
export function Slide({ before, after, labels = ["Before", "After"] }) {
  const [at, setAt] = useState(50);
  const top = useRef(null);
  const line = useRef(null);
  useEffect(() => {
    top.current.style.clipPath = `inset(0 0 0 ${at}%)`;
    line.current.style.left = `${at}%`;
  }, [at]);
  const crisp = (e) => e.target.classList.toggle("crisp", e.target.naturalWidth < 200);
  return html`<div class="slide">
    <div class="layers">
      <img src=${before} alt=${labels[0]} onLoad=${crisp} draggable=${false} />
      <img src=${after} alt=${labels[1]} onLoad=${crisp} ref=${top} draggable=${false} />
      <div class="cut" ref=${line}></div>
      <input type="range" min="0" max="100" step="0.5" value=${at} aria-label=${`Border between ${labels[0]} and ${labels[1]}, in percent`}
        onInput=${(e) => setAt(Number(e.target.value))} />
    </div>
    <div class="row spread hint"><span>${labels[0]}</span><span>${labels[1]}</span></div>
  </div>`;
}

// A video or a waveform as one kind of player.
function control(player) {
  if (!player) return null;
  const wave = "setTime" in player;
  return {
    play: () => player.play(),
    pause: () => player.pause(),
    playing: wave ? player.isPlaying() : !player.paused,
    time: wave ? player.getCurrentTime() : player.currentTime,
    seconds: (wave ? player.getDuration() : player.duration) || 0,
    seek: (s) => (wave ? player.setTime(s) : (player.currentTime = s)),
  };
}

function Transport({ players, linked }) {
  const [now, setNow] = useState([0, 1, false]);
  useEffect(() => {
    const timer = setInterval(() => {
      const first = control(players[0].current) ?? control(players[1].current);
      if (first) setNow([first.time, first.seconds || 1, first.playing]);
    }, 100);
    return () => clearInterval(timer);
  }, []);
  const both = () => players.map((p) => control(p.current)).filter(Boolean);
  const toggle = () => {
    const playing = now[2];
    both().forEach((one) => {
      if (!playing) one.seek(now[0] >= now[1] - 0.05 ? 0 : now[0]);
      playing ? one.pause() : one.play();
    });
  };
  if (!linked) return null;
  return html`<div class="row tight transport">
    <button type="button" onClick=${toggle}>${now[2] ? "Pause both" : "Play both"}</button>
    <input type="range" min="0" max=${now[1]} step="0.01" value=${now[0]} aria-label="Position of both, in seconds"
      onInput=${(e) => both().forEach((one) => one.seek(Number(e.target.value)))} />
  </div>`;
}

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
  return html`<div class="zoomed" onWheel=${wheel} onPointerDown=${down} onPointerMove=${move} onPointerUp=${() => (drag.current = null)}>
    <div ref=${inner}><${Medium} r=${r} /></div>
  </div>`;
}

const HOME = { zoom: 1, x: 0, y: 0 };

function Side({ r, which, results, view, onView, player }) {
  const pick = (id) => set((s) => ({ pair: s.pair.map((p, k) => (k === which ? id || null : p)) }));
  const options = [["", "pick a result"], ...results.map((one) => [one.id, `${one.settings.model}: ${described(one)}`])];
  return html`<section class="side" aria-label=${which ? "Second" : "First"}>
    <${Select} label=${which ? "Second" : "First"} value=${r?.id ?? ""} options=${options} onChange=${pick} wide />
    ${r
      ? r.modality === "audio"
        ? html`<${Medium} key=${r.id} r=${r} large player=${player} />`
        : r.modality === "video"
          ? html`<${Medium} key=${r.id} r=${r} player=${player} />`
          : html`<${Zoomed} r=${r} view=${view} onView=${onView} />
              <input type="range" min="1" max="16" step="0.1" value=${view.zoom} aria-label=${`Zoom of the ${which ? "second" : "first"}`}
                onInput=${(e) => onView({ ...(e.target.value === "1" ? HOME : view), zoom: Number(e.target.value) })} />`
      : html`<p class="empty">Pick a result here, or mark two in the gallery.</p>`}
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
  return html`<div class="compare">
    <div class="bar">
      <h2>Compare</h2>
      ${pictures &&
      html`<${Choice} label="How to compare" value=${mode} onChange=${setMode}
        options=${[["beside", "Side by side"], ["over", "Slider"]]} />`}
      <${Check} label="Linked controls" checked=${linked} onChange=${setLinked} />
      <button type="button" class="plain" onClick=${() => set({ pair: state.pair.toReversed() })}>Swap</button>
    </div>
    ${pictures && mode === "over"
      ? html`<${Slide} before=${a.url} after=${b.url} labels=${["First", "Second"]} />`
      : html`<div class="sides">
          ${[a, b].map((r, k) => html`<${Side} key=${k} r=${r} which=${k} results=${done} view=${views[k]} onView=${change(k)} player=${players[k]} />`)}
        </div>`}
    ${timed && html`<${Transport} players=${players} linked=${linked} />`}
    ${a && b && html`<${Difference} a=${a} b=${b} />`}
  </div>`;
}
