// A sound: its waveform (wavesurfer.js), its spectrogram where there is room, and a player.
import { html, useEffect, useRef, useState } from "./vendor/htm-preact.js";
import Spectrogram from "./vendor/wavesurfer-spectrogram.js";
import WaveSurfer from "./vendor/wavesurfer.js";

export const nonce = document.querySelector("meta[name=csp-nonce]").content;
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
export const clock = (s) => `${Math.floor(s / 60)}:${(s % 60).toFixed(1).padStart(4, "0")}`;

// A waveform in an element; whoever makes it destroys it.
export function waveform(container, { height, plugins = [] }) {
  return WaveSurfer.create({
    container, height, plugins, cspNonce: nonce, normalize: true, cursorWidth: 2, barWidth: 2, barGap: 1, barRadius: 2,
    waveColor: colour("--wave"), progressColor: colour("--accent"), cursorColor: colour("--text"),
  });
}

export function Wave({ blob, label, large, player }) {
  const place = useRef(null);
  const wave = useRef(null);
  const [playing, setPlaying] = useState(false);
  const [loop, setLoop] = useState(false);
  const [time, setTime] = useState([0, 0]);
  const looping = useRef(false);
  looping.current = loop;
  useEffect(() => {
    const plugins = large ? [Spectrogram.create({ height: 140, labels: false, frequencyMax: 10000, scale: "mel" })] : [];
    const one = waveform(place.current, { height: large ? 120 : 72, plugins });
    wave.current = one;
    if (player) player.current = one;
    one.on("play", () => setPlaying(true));
    one.on("pause", () => setPlaying(false));
    one.on("finish", () => looping.current && one.play());
    one.on("ready", (seconds) => setTime([0, seconds]));
    one.on("timeupdate", (now) => setTime(([, seconds]) => [now, seconds]));
    one.loadBlob(blob).catch(() => {});
    return () => {
      if (player) player.current = null;
      one.destroy();
    };
  }, [blob, large]);
  return html`<div class="wave" role="group" aria-label=${label}>
    <div class="canvas" ref=${place} aria-hidden="true"></div>
    <div class="row tight player">
      <button type="button" onClick=${() => wave.current.playPause()} aria-label=${playing ? "Pause" : "Play"}>${playing ? "❚❚" : "►"}</button>
      <input type="range" min="0" max=${time[1] || 1} step="0.01" value=${time[0]} aria-label="Position in seconds"
        onInput=${(e) => wave.current.setTime(Number(e.target.value))} />
      <span class="time">${clock(time[0])} / ${clock(time[1])}</span>
      <button type="button" class="plain tiny" aria-pressed=${loop} onClick=${() => setLoop(!loop)}>Loop</button>
    </div>
  </div>`;
}
