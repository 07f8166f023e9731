// Outpainting: the borders of a picture are dragged outwards; what is added is made anew.
import { NumberField } from "./controls.js";
import { html, useEffect, useRef } from "./vendor/htm-preact.js";

const SIDES = { left: "Left", top: "Top", right: "Right", bottom: "Bottom" };
const NONE = { left: 0, top: 0, right: 0, bottom: 0 };

export const pixels = (extend) => {
  const [left, top, right, bottom] = (extend ?? "0,0,0,0").split(",").map(Number);
  return { left, top, right, bottom };
};

function Handle({ side, value, most, scale, onChange }) {
  const start = useRef(null);
  const across = side === "left" || side === "right";
  const sign = side === "left" || side === "top" ? -1 : 1;
  const set = (v) => onChange(Math.min(most, Math.max(0, Math.round(v))));
  const down = (e) => {
    e.currentTarget.setPointerCapture(e.pointerId);
    start.current = { at: across ? e.clientX : e.clientY, value, scale: scale() };
  };
  const move = (e) => {
    if (!start.current) return;
    set(start.current.value + (sign * ((across ? e.clientX : e.clientY) - start.current.at)) / start.current.scale);
  };
  const keys = (e) => {
    const out = { left: "ArrowLeft", right: "ArrowRight", top: "ArrowUp", bottom: "ArrowDown" }[side];
    const inside = { left: "ArrowRight", right: "ArrowLeft", top: "ArrowDown", bottom: "ArrowUp" }[side];
    if (e.key !== out && e.key !== inside) return;
    e.preventDefault();
    set(value + (e.key === out ? 1 : -1) * (e.shiftKey ? 8 : 1));
  };
  return html`<div class=${`handle ${side}`} role="slider" tabindex="0" aria-label=${`${SIDES[side]}: pixels added`}
    aria-orientation=${across ? "horizontal" : "vertical"} aria-valuenow=${value} aria-valuemin="0" aria-valuemax=${most}
    onPointerDown=${down} onPointerMove=${move} onPointerUp=${() => (start.current = null)} onKeyDown=${keys}></div>`;
}

export function Outpaint({ source, extend, onExtend, multiple }) {
  const { width, height, url } = source;
  const room = useRef(null);
  const frame = useRef(null);
  const picture = useRef(null);
  const now = extend ? pixels(extend) : NONE;
  // A side goes to where the whole is a multiple of what the model needs.
  const change = (side) => (value) => {
    const across = side === "left" || side === "right";
    const rest = across ? width + now.left + now.right - now[side] : height + now.top + now.bottom - now[side];
    const next = { ...now, [side]: Math.max(0, (value ?? 0) + ((multiple - ((rest + (value ?? 0)) % multiple)) % multiple)) };
    const all = [next.left, next.top, next.right, next.bottom];
    onExtend(all.some(Boolean) ? all.join(",") : null);
  };
  // The room shows the picture with its own half again on each side.
  useEffect(() => {
    const share = (value, of) => `${(value / (2 * of)) * 100}%`;
    room.current.style.aspectRatio = `${width} / ${height}`;
    Object.assign(picture.current.style, { left: "25%", top: "25%", width: "50%", height: "50%" });
    const inset = (value, of) => `calc(25% - ${share(value, of)})`;
    frame.current.style.inset = [
      inset(now.top, height), inset(now.right, width), inset(now.bottom, height), inset(now.left, width),
    ].join(" ");
  }, [extend, width, height]);
  const scale = () => room.current.getBoundingClientRect().width / (2 * width);
  return html`<div class="workspace">
    <p class="hint" role="status">Drag a border outwards. The picture is ${width} × ${height} pixels; the result will be ${width + now.left + now.right} × ${height + now.top + now.bottom}.</p>
    <div class="room" ref=${room}>
      <img ref=${picture} class=${width < 200 ? "crisp" : ""} src=${url} alt="The picture that is edited" draggable=${false} />
      <div class="frame" ref=${frame}>
        ${Object.keys(SIDES).map(
          (side) => html`<${Handle} key=${side} side=${side} value=${now[side]} scale=${scale} onChange=${change(side)}
            most=${Math.floor((side === "left" || side === "right" ? width : height) / 2)} />`,
        )}
      </div>
    </div>
    <div class="four">
      ${Object.entries(SIDES).map(([side, name]) => html`<${NumberField} key=${side} label=${name} min=${0} max=${4096} value=${now[side]} onChange=${change(side)} />`)}
    </div>
  </div>`;
}

// The source with the borders that are added, empty: what "before" shows beside the result.
export async function padded(source, extend) {
  const { left, top, right, bottom } = pixels(extend);
  const bitmap = await createImageBitmap(source);
  const canvas = new OffscreenCanvas(bitmap.width + left + right, bitmap.height + top + bottom);
  canvas.getContext("2d").drawImage(bitmap, left, top);
  return canvas.convertToBlob({ type: "image/png" });
}
