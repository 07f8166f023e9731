// Videos: in a tile they run by themselves; large ones have a player with single frames and speed.
import { Picture, crisp } from "./picture.js";
import { clock } from "./wave.js";
import { html, useEffect, useRef, useState } from "./vendor/htm-preact.js";

const SPEEDS = [0.25, 0.5, 1, 2];
const still = () => matchMedia("(prefers-reduced-motion: reduce)").matches;

export function Clip({ url, alt, format, large, fps, player }) {
  const mine = useRef(null);
  const video = player ?? mine;
  if (format === "gif") return html`<${Picture} url=${url} alt=${alt} />`;
  const shown = html`<video class="medium" ref=${video} src=${url} aria-label=${alt} loop muted playsinline autoplay=${!still()}
    onLoadedMetadata=${crisp}></video>`;
  return large ? html`<div class="clip" role="group" aria-label=${alt}>${shown}<${Bar} video=${video} fps=${fps} /></div>` : shown;
}

function Bar({ video, fps }) {
  const [now, setNow] = useState({ time: 0, seconds: 0, playing: false, muted: true });
  const [speed, setSpeed] = useState(1);
  useEffect(() => {
    const one = video.current;
    const read = () => setNow({ time: one.currentTime, seconds: one.duration || 0, playing: !one.paused, muted: one.muted });
    const kinds = ["timeupdate", "seeked", "play", "pause", "loadedmetadata", "volumechange"];
    kinds.forEach((kind) => one.addEventListener(kind, read));
    read();
    return () => kinds.forEach((kind) => one.removeEventListener(kind, read));
  }, []);
  const frame = (by) => {
    const one = video.current;
    one.pause();
    // The middle of a frame, so that rounding shows no other.
    const at = Math.floor(one.currentTime * fps + 0.01) + by;
    one.currentTime = Math.min(Math.max((at + 0.5) / fps, 0), one.duration);
  };
  const pace = (value) => {
    setSpeed(value);
    video.current.playbackRate = value;
  };
  return html`<div class="row tight player">
    <button type="button" onClick=${() => (now.playing ? video.current.pause() : video.current.play())}
      aria-label=${now.playing ? "Pause" : "Play"}>${now.playing ? "❚❚" : "►"}</button>
    <button type="button" onClick=${() => frame(-1)} aria-label="One frame back">‹</button>
    <button type="button" onClick=${() => frame(1)} aria-label="One frame on">›</button>
    <input type="range" min="0" max=${now.seconds || 1} step="any" value=${now.time} aria-label="Position in seconds"
      onInput=${(e) => (video.current.currentTime = e.target.valueAsNumber)} />
    <span class="time">${clock(now.time)} / ${clock(now.seconds)}</span>
    <select aria-label="Speed" value=${speed} onChange=${(e) => pace(Number(e.target.value))}>
      ${SPEEDS.map((value) => html`<option value=${value} selected=${value === speed}>${value}×</option>`)}
    </select>
    <button type="button" class="plain tiny" aria-pressed=${!now.muted} onClick=${() => (video.current.muted = !video.current.muted)}>Sound</button>
  </div>`;
}
