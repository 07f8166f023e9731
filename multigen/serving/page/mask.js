// Painting a mask over a picture: what is painted is made anew. Brush, eraser, undo; with the keyboard, too.
import { colour, parts } from "./colour.js";
import { Choice, Slider } from "./controls.js";
import { html, useEffect, useRef, useState } from "./vendor/htm-preact.js";

const UNDO = 30;
const FAST = { willReadFrequently: true };

// The mask as a file: white is made anew, black stays. null where nothing is painted.
async function file(canvas) {
  const out = new OffscreenCanvas(canvas.width, canvas.height);
  const context = out.getContext("2d", FAST);
  const data = canvas.getContext("2d", FAST).getImageData(0, 0, canvas.width, canvas.height);
  let any = false;
  for (let k = 0; k < data.data.length; k += 4) {
    const painted = data.data[k + 3] > 127;
    any ||= painted;
    data.data.fill(painted ? 255 : 0, k, k + 3);
    data.data[k + 3] = 255;
  }
  context.putImageData(data, 0, 0);
  return any ? out.convertToBlob({ type: "image/png" }) : null;
}

function invert(canvas) {
  const context = canvas.getContext("2d", FAST);
  const old = context.getImageData(0, 0, canvas.width, canvas.height);
  const rgb = parts("--new");
  for (let k = 0; k < old.data.length; k += 4) {
    const painted = old.data[k + 3] > 127;
    old.data.set([...rgb, painted ? 0 : 255], k);
  }
  context.putImageData(old, 0, 0);
}

// A mask that was painted before.
async function show(canvas, mask) {
  const bitmap = await createImageBitmap(mask);
  const context = canvas.getContext("2d", FAST);
  context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  const old = context.getImageData(0, 0, canvas.width, canvas.height);
  const rgb = parts("--new");
  for (let k = 0; k < old.data.length; k += 4) old.data.set([...rgb, old.data[k] > 127 ? 255 : 0], k);
  context.putImageData(old, 0, 0);
}

export function Mask({ source, onMask }) {
  const { width, height, url } = source;
  const canvas = useRef(null);
  const ring = useRef(null);
  const undo = useRef([]);
  const last = useRef(null);
  const context = () => canvas.current.getContext("2d", FAST);
  const [tool, setTool] = useState("brush");
  const [size, setSize] = useState(Math.max(2, Math.round(Math.min(width, height) / 5)));
  const [spot, setSpot] = useState({ x: width / 2, y: height / 2, seen: false });

  useEffect(() => {
    undo.current = [];
    context().clearRect(0, 0, width, height);
    if (source.mask) show(canvas.current, source.mask);
  }, [url]);
  useEffect(() => {
    const style = ring.current.style;
    style.left = `${(spot.x / width) * 100}%`;
    style.top = `${(spot.y / height) * 100}%`;
    style.width = `${(size / width) * 100}%`;
  }, [spot, size]);

  const done = async () => onMask(await file(canvas.current));
  const keep = () => {
    undo.current.push(context().getImageData(0, 0, width, height));
    if (undo.current.length > UNDO) undo.current.shift();
  };
  const stroke = (from, to) => {
    const c = context();
    c.globalCompositeOperation = tool === "eraser" ? "destination-out" : "source-over";
    c.strokeStyle = colour("--new");
    c.lineWidth = size;
    c.lineCap = "round";
    c.beginPath();
    c.moveTo(from.x, from.y);
    c.lineTo(to.x + 1e-3, to.y);
    c.stroke();
  };
  const at = (e) => {
    const box = canvas.current.getBoundingClientRect();
    return { x: ((e.clientX - box.left) / box.width) * width, y: ((e.clientY - box.top) / box.height) * height };
  };
  const down = (e) => {
    if (e.button) return;
    e.currentTarget.setPointerCapture(e.pointerId);
    keep();
    last.current = at(e);
    stroke(last.current, last.current);
  };
  const move = (e) => {
    const here = at(e);
    setSpot({ ...here, seen: true });
    if (!last.current) return;
    stroke(last.current, here);
    last.current = here;
  };
  const up = () => {
    if (last.current) done();
    last.current = null;
  };
  const change = (work) => () => {
    keep();
    work();
    done();
  };
  const back = () => {
    const before = undo.current.pop();
    if (before) context().putImageData(before, 0, 0);
    done();
  };
  const keys = (e) => {
    const by = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[e.key];
    if (by) {
      const pace = Math.max(1, size / 4);
      setSpot({ x: clip(spot.x + by[0] * pace, width), y: clip(spot.y + by[1] * pace, height), seen: true });
    } else if (e.key === " " || e.key === "Enter") change(() => stroke(spot, spot))();
    else if (e.key === "z" && (e.ctrlKey || e.metaKey)) back();
    else if (e.key === "b") setTool("brush");
    else if (e.key === "e") setTool("eraser");
    else if (e.key === "[") setSize(Math.max(1, size - 1));
    else if (e.key === "]") setSize(size + 1);
    else return;
    e.preventDefault();
  };
  return html`<div class="workspace">
    <div class="row toolbar" role="toolbar" aria-label="Mask">
      <${Choice} label="Tool" value=${tool} onChange=${setTool} options=${[["brush", "Brush"], ["eraser", "Eraser"]]} />
      <${Slider} label="Size in pixels" value=${size} min=${1} max=${Math.max(8, Math.round(Math.max(width, height) / 2))} onChange=${setSize} />
      <button type="button" onClick=${back}>Undo</button>
      <button type="button" onClick=${change(() => context().clearRect(0, 0, width, height))}>Clear</button>
      <button type="button" onClick=${change(() => invert(canvas.current))}>Invert</button>
    </div>
    <div class="canvas-frame">
      <img class=${width < 200 ? "crisp" : ""} src=${url} alt="The picture that is edited" draggable=${false} />
      <canvas ref=${canvas} width=${width} height=${height} tabindex="0" role="application" class="mask"
        aria-label="Mask: paint what is made anew. Arrow keys move the brush, Space paints, B brush, E eraser, brackets change its size."
        onPointerDown=${down} onPointerMove=${move} onPointerUp=${up} onPointerCancel=${up}
        onPointerLeave=${() => setSpot((s) => ({ ...s, seen: false }))} onKeyDown=${keys}></canvas>
      <div ref=${ring} class=${`ring ${spot.seen ? "seen" : ""}`}></div>
    </div>
  </div>`;
}

const clip = (value, most) => Math.min(Math.max(value, 0), most);
