// A sound: its waveform (wavesurfer.js), its spectrogram where there is room, and a player.
import { colour } from "./colour.js";
import { html, useEffect, useRef, useState } from "./vendor/htm-preact.js";
import Spectrogram from "./vendor/wavesurfer-spectrogram.js";
import WaveSurfer from "./vendor/wavesurfer.js";

const RATE = 44100; // Hz, where the model's is not known
const nonce = document.querySelector("meta[name=csp-nonce]").content;
export const clock = (s) => `${Math.floor(s / 60)}:${(s % 60).toFixed(1).padStart(4, "0")}`;

// A waveform in an element; whoever makes it destroys it. rate: at which it is decoded; a spectrogram shows half of it.
export function waveform(container, { height, rate = RATE, plugins = [] }) {
  return WaveSurfer.create({
    container, height, plugins, sampleRate: rate, cspNonce: nonce, normalize: true, cursorWidth: 2, barWidth: 2, barGap: 1,
    barRadius: 2, waveColor: colour("--wave"), progressColor: colour("--accent"), cursorColor: colour("--text"),
  });
}

// Calls when an element is first seen: a long gallery decodes only what is looked at.
function whenSeen(element, call) {
  const seen = new IntersectionObserver((entries) => {
    if (!entries.some((entry) => entry.isIntersecting)) return;
    seen.disconnect();
    call();
  });
  seen.observe(element);
  return () => seen.disconnect();
}

export function Wave({ blob, rate = RATE, label, large, player }) {
  const place = useRef(null);
  const wave = useRef(null);
  const [playing, setPlaying] = useState(false);
  const [loop, setLoop] = useState(false);
  const [time, setTime] = useState([0, 0]);
  const looping = useRef(false);
  looping.current = loop;
  useEffect(() => {
    const begin = () => {
      const plugins = large
        ? [Spectrogram.create({ height: 160, labels: true, labelsColor: colour("--bright"), labelsHzColor: colour("--bright"), frequencyMax: rate / 2, scale: "mel" })]
        : [];
      const one = waveform(place.current, { height: large ? 120 : 100, rate, plugins });
      wave.current = one;
      // The element's own loop: between an end and a play of ours it would not be playing, and "Pause both" would be lost.
      one.getMediaElement().loop = looping.current;
      if (player) player.current = one;
      one.on("play", () => setPlaying(true));
      one.on("pause", () => setPlaying(false));
      one.on("ready", (seconds) => setTime([0, seconds]));
      one.on("timeupdate", (now) => setTime(([, seconds]) => [now, seconds]));
      one.loadBlob(blob).catch(() => {});
    };
    const unseen = whenSeen(place.current, begin);
    return () => {
      unseen();
      if (player) player.current = null;
      wave.current?.destroy();
    };
  }, [blob, large]);
  useEffect(() => {
    if (wave.current) wave.current.getMediaElement().loop = loop;
  }, [loop]);
  return html`<div class="wave" role="group" aria-label=${label}>
    <div class="canvas" ref=${place} aria-hidden="true"></div>
    <div class="row tight player">
      <button type="button" onClick=${() => wave.current?.playPause()} aria-label=${playing ? "Pause" : "Play"}>${playing ? "❚❚" : "►"}</button>
      <input type="range" min="0" max=${time[1] || 1} step="0.01" value=${time[0]} aria-label="Position in seconds"
        onInput=${(e) => wave.current?.setTime(Number(e.target.value))} />
      <span class="time">${clock(time[0])} / ${clock(time[1])}</span>
      <button type="button" class="plain tiny" aria-pressed=${loop} onClick=${() => setLoop(!loop)}>Loop</button>
    </div>
  </div>`;
}
