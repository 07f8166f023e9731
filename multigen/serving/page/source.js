// The medium that is edited: from the gallery or a file, measured, and scaled to what the model makes if need be.
import { accepted, kindOf, suffixOfFile } from "./kinds.js";
import { described } from "./media.js";
import { defaults, forModel, suffixOf } from "./settings.js";
import { get, notify, set } from "./store.js";

const KINDS = { image: /^image\/(png|jpeg|webp)$/, audio: /^audio\//, video: /^(video\/|image\/gif)/ };
const SUFFIX = { jpeg: "jpg", mpeg: "mp3", "x-wav": "wav", wave: "wav", "x-flac": "flac", quicktime: "mov", ogg: "ogg" };
export const ACCEPT = `image/png,image/jpeg,image/webp,audio/*,video/*,image/gif,${accepted("notes")}`;

export async function fromFile(file) {
  const score = kindOf(file) === "notes";
  const modality = score ? "notes" : Object.keys(KINDS).find((kind) => KINDS[kind].test(file.type));
  const model = modality && modelFor(modality);
  if (!model) return notify(`${file.name}: no model here edits such a file (${file.type || "unknown type"}).`, { error: true });
  const kind = file.type.split("/")[1];
  await open({ blob: file, modality, name: file.name, suffix: score ? suffixOfFile(file) : (SUFFIX[kind] ?? kind), from: null }, forModel(get().settings, model, get().models));
}

// What the file of a result is, of those that the page edits; null for others. Notes are edited in a score, not as they sound.
const isScore = (suffix) => kindOf({ name: `.${suffix}`, type: "" }) === "notes";
function kindOfResult(r) {
  if (r.modality === "file") return isScore(suffixOf(r.settings)) ? "notes" : null;
  return KINDS[r.modality] ? r.modality : null;
}
export function canEdit(r) {
  const model = get().models.find((m) => m.id === r.settings.model);
  const kind = kindOfResult(r);
  return Boolean(kind) && (!model || model.modality === kind);
}

export async function fromResult(r) {
  const source = { blob: r.blob, modality: kindOfResult(r), name: described(r), suffix: suffixOf(r.settings), from: r.id };
  await open(source, { ...r.settings, n: r.modality === "image" ? 4 : 1 });
}

// The edit that a result came of, as it was: its source, and what of it was made anew.
export async function fromEdit(r) {
  const { source, suffix, mode, options, mask, name } = r.settings.edit;
  const again = { blob: source, modality: isScore(suffix) ? "notes" : r.modality, name, suffix, from: r.parent, ready: true };
  await open(again, { ...r.settings, n: 1 }, { mode, options, mask });
}

function modelFor(modality) {
  const { models, settings } = get();
  const now = models.find((m) => m.id === settings.model);
  return now?.modality === modality ? now : models.find((m) => m.modality === modality);
}

async function open(source, settings, how = {}) {
  const model = get().models.find((m) => m.id === settings.model) ?? modelFor(source.modality);
  if (!model) return notify("The server offers no model for this medium any more.", { error: true });
  const fitting = settings.model === model.id ? settings : defaults(model);
  try {
    const measured = await measure(source, model);
    const url = URL.createObjectURL(measured.blob);
    set((s) => {
      if (s.edit) URL.revokeObjectURL(s.edit.url);
      return { edit: { ...measured, url, mode: "part", options: {}, mask: null, results: [], ...how }, settings: { ...fitting, edit: null }, open: null, errors: {} };
    });
    location.hash = "edit";
  } catch {
    notify(`${source.name}: this browser cannot read it.`, { error: true });
  }
}

async function measure(source, model) {
  if (source.modality === "image") return picture(source, model);
  if (source.modality === "notes") return { ...source, seconds: null }; // the server reads scores, the browser does not
  const element = document.createElement(source.modality);
  const url = URL.createObjectURL(source.blob);
  try {
    element.preload = "auto";
    element.src = url;
    if (source.suffix === "gif") return { ...source, seconds: null };
    await new Promise((resolve, reject) => {
      element.onloadedmetadata = resolve;
      element.onerror = reject;
    });
    return { ...source, seconds: element.duration, width: element.videoWidth, height: element.videoHeight };
  } finally {
    URL.revokeObjectURL(url);
  }
}

// A picture larger than the model's own size is cut to its shape and scaled down to it.
async function picture(source, model) {
  const bitmap = await createImageBitmap(source.blob);
  const [height, width] = model.shape.slice(-2);
  if (bitmap.width <= width && bitmap.height <= height) {
    return { ...source, width: bitmap.width, height: bitmap.height };
  }
  if (source.from || source.ready) return { ...source, width: bitmap.width, height: bitmap.height };
  const canvas = new OffscreenCanvas(width, height);
  const scale = Math.max(width / bitmap.width, height / bitmap.height);
  const [w, h] = [bitmap.width * scale, bitmap.height * scale];
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, (width - w) / 2, (height - h) / 2, w, h);
  notify(`Cut and scaled to ${width} × ${height} pixels, the model's own size.`);
  return { ...source, blob: await canvas.convertToBlob({ type: "image/png" }), suffix: "png", width, height };
}
