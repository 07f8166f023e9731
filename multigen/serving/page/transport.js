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
  return html`<div class="row tight transport">
    <button type="button" onClick=${toggle}>${now[2] ? "Pause both" : "Play both"}</button>
    <input type="range" min="0" max=${now[1]} step="0.01" value=${now[0]} aria-label="Position of both, in seconds"
      onInput=${(e) => both().forEach((one) => one.seek(Number(e.target.value)))} />
  </div>`;
}
