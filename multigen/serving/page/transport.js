// Two players, videos or waveforms, under one control.
import { html, useEffect, useState } from "./vendor/htm-preact.js";

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

export function Transport({ players }) {
  const [now, setNow] = useState([0, 1, false]);
  const both = () => players.map((p) => control(p.current)).filter(Boolean);
  useEffect(() => {
    const timer = setInterval(() => {
      const there = both();
      if (there.length) setNow([there[0].time, there[0].seconds || 1, there.some((one) => one.playing)]);
    }, 100);
    return () => clearInterval(timer);
  }, []);
  const toggle = () => {
    const playing = now[2];
    both().forEach((one) => {
      if (!playing) one.seek(now[0] >= now[1] - 0.05 ? 0 : now[0]);
      playing ? one.pause() : one.play();
    });
  };
  return html`<div class="row tight transport">
    <button type="button" onClick=${toggle}>${now[2] ? "Pause both" : "Play both"}</button>
    <input type="range" min="0" max=${now[1]} step="0.01" value=${now[0]} aria-label="Position of both, in seconds"
      onInput=${(e) => both().forEach((one) => one.seek(Number(e.target.value)))} />
  </div>`;
}
