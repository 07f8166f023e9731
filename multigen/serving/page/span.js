// Spans of a sound: what is selected is made anew, the rest stays. Drag over the waveform, or give seconds.
import { parts } from "./colour.js";
import { NumberField } from "./controls.js";
import { html, useEffect, useRef, useState } from "./vendor/htm-preact.js";
import Regions from "./vendor/wavesurfer-regions.js";
import { waveform } from "./wave.js";

const round = (s) => Math.round(s * 100) / 100;

// What stays, as the API takes it: "0:1.2s,2.5s:". null where nothing is selected, or all is.
export function kept(spans, seconds) {
  const sorted = [...spans].sort((a, b) => a.start - b.start);
  const parts = [];
  let from = 0;
  for (const { start, end } of sorted) {
    if (start > from + 0.005) parts.push(`${round(from)}:${round(start)}s`);
    from = Math.max(from, end);
  }
  if (from < seconds - 0.005) parts.push(`${round(from)}s:`);
  return spans.length && parts.length ? parts.join(",") : null;
}

// What is made anew, where `keep` stays: the other way round.
export function spansOf(keep, seconds) {
  if (!keep) return [];
  const stays = keep.split(",").map((part) => part.split(":").map((end) => parseFloat(end)));
  const spans = [];
  let from = 0;
  for (const [start, end] of stays) {
    if (start > from) spans.push({ start: from, end: start });
    from = Number.isNaN(end) ? seconds : end;
  }
  if (from < seconds - 0.005) spans.push({ start: from, end: seconds });
  return spans;
}

export function Span({ source, keep, onKeep }) {
  const place = useRef(null);
  const tools = useRef(null);
  const [spans, setSpans] = useState([]);
  const [playing, setPlaying] = useState(false);
  const { seconds } = source;
  useEffect(() => {
    const regions = Regions.create();
    const wave = waveform(place.current, { height: 140, plugins: [regions] });
    const tint = `rgb(${parts("--new").join(" ")} / 35%)`;
    const read = () => {
      const now = regions.getRegions().map(({ id, start, end }) => ({ id, start: round(start), end: round(end) }));
      setSpans(now);
      onKeep(kept(now, seconds));
    };
    tools.current = { wave, regions, read, tint };
    wave.on("play", () => setPlaying(true));
    wave.on("pause", () => setPlaying(false));
    wave.on("ready", () => {
      spansOf(keep, seconds).forEach((span) => regions.addRegion({ ...span, color: tint }));
      regions.enableDragSelection({ color: tint });
    });
    regions.on("region-created", read);
    regions.on("region-updated", read);
    regions.on("region-removed", read);
    wave.loadBlob(source.blob).catch(() => {});
    return () => wave.destroy();
  }, [source.blob]);
  const region = (id) => tools.current.regions.getRegions().find((r) => r.id === id);
  const move = (id, part) => {
    region(id).setOptions(part);
    tools.current.read();
  };
  const add = () => {
    const start = round(seconds / 3);
    tools.current.regions.addRegion({ start, end: round((2 * seconds) / 3), color: tools.current.tint });
  };
  return html`<div class="workspace">
    <p class="hint">Drag over what is to be made anew. The rest stays as it is.</p>
    <div class="wave-frame" ref=${place} aria-hidden="true"></div>
    <div class="row">
      <button type="button" onClick=${() => tools.current.wave.playPause()}>${playing ? "Pause" : "Play"}</button>
      <button type="button" onClick=${add}>Add a span</button>
      <button type="button" onClick=${() => tools.current.regions.clearRegions()} disabled=${!spans.length}>Clear</button>
    </div>
    ${spans.map(
      (s, k) => html`<div class="row span" key=${s.id} role="group" aria-label=${`Span ${k + 1}`}>
        <${NumberField} label="From, in seconds" value=${s.start} min=${0} max=${s.end} step="any" onChange=${(v) => v !== null && move(s.id, { start: v })} />
        <${NumberField} label="To, in seconds" value=${s.end} min=${s.start} max=${round(seconds)} step="any" onChange=${(v) => v !== null && move(s.id, { end: v })} />
        <button type="button" class="plain" onClick=${() => tools.current.wave && region(s.id).play()}>Play</button>
        <button type="button" class="plain" onClick=${() => region(s.id).remove()} aria-label=${`Remove span ${k + 1}`}>Remove</button>
      </div>`,
    )}
  </div>`;
}
