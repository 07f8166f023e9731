// Frames of a clip: those that are marked stay, the others are made anew.
import { html, useEffect, useRef, useState } from "./vendor/htm-preact.js";

const MOST = 120; // frames that are shown

// "0:2f,14f:" from the marks. null where all or none stay.
export function kept(marks) {
  if (marks.every(Boolean) || !marks.some(Boolean)) return null;
  const parts = [];
  for (let k = 0; k < marks.length; k += 1) {
    if (!marks[k] || marks[k - 1]) continue;
    let end = k;
    while (end < marks.length && marks[end]) end += 1;
    parts.push(end === marks.length ? `${k}f:` : `${k}:${end}f`);
  }
  return parts.join(",");
}

// The marks of what `keep` says.
export function marksOf(keep, count) {
  if (!keep) return Array(count).fill(true);
  const spans = keep.split(",").map((part) => part.split(":").map((end) => parseInt(end, 10)));
  return Array.from({ length: count }, (_, k) => spans.some(([from, to]) => k >= from && (Number.isNaN(to) || k < to)));
}

async function seek(video, time) {
  await new Promise((resolve) => {
    video.onseeked = resolve;
    video.currentTime = time;
  });
}

async function* frames(blob, fps) {
  const video = document.createElement("video");
  video.muted = true;
  video.preload = "auto";
  video.src = URL.createObjectURL(blob);
  try {
    await new Promise((resolve, reject) => {
      video.onloadeddata = resolve;
      video.onerror = reject;
    });
    const count = Math.min(MOST, Math.max(1, Math.round(video.duration * fps)));
    for (let k = 0; k < count; k += 1) {
      await seek(video, Math.min((k + 0.5) / fps, video.duration));
      const canvas = new OffscreenCanvas(video.videoWidth, video.videoHeight);
      canvas.getContext("2d").drawImage(video, 0, 0);
      yield { url: URL.createObjectURL(await canvas.convertToBlob()), count };
    }
  } finally {
    URL.revokeObjectURL(video.src);
  }
}

export function Frames({ source, fps, keep, onKeep }) {
  const [shown, setShown] = useState([]);
  const [marks, setMarks] = useState([]);
  const [failed, setFailed] = useState(false);
  const last = useRef(null);
  useEffect(() => {
    let live = true;
    const made = [];
    (async () => {
      try {
        for await (const { url } of frames(source.blob, fps)) {
          made.push(url);
          if (!live) return;
          setShown([...made]);
        }
        setMarks(marksOf(keep, made.length));
      } catch {
        if (live) setFailed(true);
      }
    })();
    return () => {
      live = false;
      made.forEach((url) => URL.revokeObjectURL(url));
    };
  }, [source.blob]);
  const write = (next) => {
    setMarks(next);
    onKeep(kept(next));
  };
  const toggle = (k, range) => {
    const value = !marks[k];
    const [from, to] = range && last.current !== null ? [Math.min(k, last.current), Math.max(k, last.current)] : [k, k];
    last.current = k;
    write(marks.map((m, j) => (j >= from && j <= to ? value : m)));
  };
  if (failed) return html`<p class="empty">This browser cannot show the frames of this file. An mp4 or webm file works.</p>`;
  const ready = marks.length > 0;
  return html`<div class="workspace">
    <p class="hint" role="status">${ready
      ? `${marks.filter(Boolean).length} of ${marks.length} frames stay. Press those that are to be made anew; with Shift, all from the last one on.`
      : "Reading the frames …"}</p>
    <ol class="frames">
      ${shown.map(
        (url, k) => html`<li key=${url}><button type="button" class="cell" aria-pressed=${Boolean(marks[k])} disabled=${!ready}
          aria-label=${`Frame ${k + 1}: ${marks[k] ? "stays" : "new"}`} onClick=${(e) => toggle(k, e.shiftKey)}>
          <img src=${url} alt="" class="crisp" draggable=${false} /><span>${marks[k] ? "stays" : "new"}</span></button></li>`,
      )}
    </ol>
    <div class="row">
      <button type="button" disabled=${!ready} onClick=${() => write(marks.map(() => true))}>Keep all</button>
      <button type="button" disabled=${!ready} onClick=${() => write(marks.map(() => false))}>Keep none</button>
    </div>
  </div>`;
}
