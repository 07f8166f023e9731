// Settings: what one result is made from. null means "as the model's recipe says".
import { filesOf, isFile, named } from "./kinds.js";

const MODALITIES = { image: "Pictures", audio: "Sounds", video: "Videos", notes: "Notes" };
// The kinds of models that there are, each with its name: the page's own order, then those of other packages.
export const kinds = (models) => [...new Set([...Object.keys(MODALITIES), ...models.map((m) => m.modality)])];
export const kindName = (kind) => MODALITIES[kind] ?? kind;
export const sized = (model) => model.modality === "image" || model.modality === "video";

export function defaults(model) {
  return {
    model: model.id,
    prompt: model.prompts[0] ?? "",
    negative_prompt: "",
    seed: randomSeed(),
    steps: model.steps,
    guidance_scale: model.guidance_scale,
    sampler: null,
    fast: false,
    width: sized(model) ? model.shape.at(-1) : null,
    height: sized(model) ? model.shape.at(-2) : null,
    seconds: naturalSeconds(model),
    sliding_window: false,
    tile: false,
    options: {},
    n: model.modality === "image" ? 4 : 1,
    format: formats(model)[0],
    edit: null, // see edit.js
  };
}

export const randomSeed = () => Math.floor(Math.random() * 2 ** 31);

// Seconds (of notes quarters) of the model's own size, rounded as a person would write them; null for pictures.
export const naturalSeconds = (model) => (model.duration === null ? null : Math.round(model.duration * 100) / 100);

// The settings as they are after another model was picked: what both have stays.
export function forModel(settings, model, models) {
  const fresh = defaults(model);
  const before = models.find((m) => m.id === settings?.model);
  if (!settings || !before) return fresh;
  const prompt = before.prompts.includes(settings.prompt) ? fresh.prompt : settings.prompt;
  const takes = (name, kind) => model.options.some((o) => o.name === name && o.media === kind);
  const files = filesOf(settings.options).filter(([name]) => takes(name, before.options.find((o) => o.name === name)?.media));
  return { ...fresh, prompt, negative_prompt: settings.negative_prompt, seed: settings.seed, options: Object.fromEntries(files) };
}

// The field of the form that shows a member of a request; null for what it does not show.
export function fieldOf(param) {
  if (param?.startsWith("options.")) return param;
  const name = param?.split(".").at(-1);
  const field = { size: "width", duration: "seconds" }[name] ?? name;
  return FIELDS.includes(field) ? field : null;
}
const FIELDS = [
  "prompt", "negative_prompt", "seed", "steps", "guidance_scale", "fast", "width", "seconds", "sampler", "strength", "feather",
  "resample", "purify",
];

// The form as it was before a reload; null where there was none, or its model has gone.
export function recall(models) {
  try {
    const kept = JSON.parse(sessionStorage.getItem(KEPT));
    return models.some((m) => m.id === kept?.settings.model) ? kept : null;
  } catch {
    return null;
  }
}
export function keep({ settings, lock, sheet }) {
  const options = Object.fromEntries(Object.entries(settings.options).filter(([, value]) => !isFile(value)));
  sessionStorage.setItem(KEPT, JSON.stringify({ settings: { ...settings, options, edit: null }, lock, sheet }));
}
const KEPT = "multigen-form";

// Whether the model's student samples: it has its own steps, sampler and guidance.
export const isFast = (settings, model) => Boolean(settings.fast) && model.fast !== null;

// The members of a request that differ from the model's own, as the API takes them; files among its options are not read.
export function members(settings, model) {
  const body = { model: settings.model, prompt: settings.prompt, seed: settings.seed };
  const fast = isFast(settings, model);
  if (fast) body.fast = true;
  if (settings.negative_prompt && !fast) body.negative_prompt = settings.negative_prompt;
  if (!fast && settings.steps !== null && settings.steps !== model.steps) body.steps = settings.steps;
  if (!fast && settings.guidance_scale !== null && settings.guidance_scale !== model.guidance_scale) {
    body.guidance_scale = settings.guidance_scale;
  }
  if (settings.sampler && !fast) body.sampler = settings.sampler;
  if (settings.sliding_window) body.sliding_window = true;
  if (settings.tile) body.tile = true;
  const given = Object.entries(settings.options).filter(([, value]) => value !== null && value !== "");
  if (given.length) body.options = Object.fromEntries(given);
  return body;
}

// "28x28", or null where it is the model's own.
export function sizeOf(settings, model) {
  const { width, height } = settings;
  if (!width || !height || (width === model.shape.at(-1) && height === model.shape.at(-2))) return null;
  return `${width}x${height}`;
}

// Seconds, or null where they are the model's own.
export function secondsOf(settings, model) {
  return settings.seconds && settings.seconds !== naturalSeconds(model) ? settings.seconds : null;
}

// Whether the medium is larger than the model makes in one piece.
export function tooLarge(settings, model) {
  if (settings.edit) return false;
  const natural = naturalSeconds(model);
  const longer = natural !== null && settings.seconds > natural + 0.005;
  return longer || (sized(model) && (settings.width > model.shape.at(-1) || settings.height > model.shape.at(-2)));
}

const LABELS = {
  model: "Model", prompt: "Prompt", negative_prompt: "Negative prompt", seed: "Seed", steps: "Steps",
  guidance_scale: "Guidance", sampler: "Sampler", fast: "Fast", width: "Width", height: "Height", seconds: "Seconds",
  sliding_window: "Sliding window", tile: "Tile", format: "Format", strength: "Strength", extend: "Extend",
  keep: "Keep", feather: "Feather", resample: "Resample", purify: "Purify", mask: "Mask", lufs: "Loudness (LUFS)",
};
export const label = (name) => LABELS[name] ?? name;
export const capital = (text) => text[0].toUpperCase() + text.slice(1);

// [name, label, text] of everything that was set, for people.
export function described(settings, unit = "seconds") {
  const { options, edit, n, ...plain } = settings;
  const all = { ...plain, ...options, ...(edit?.options ?? {}) };
  if (edit?.mask) all.mask = "painted";
  return Object.entries(all)
    .filter(([, value]) => value !== null && value !== "" && value !== false && value !== undefined)
    .map(([name, value]) => [name, name === "seconds" ? capital(unit) : label(name), value === true ? "yes" : isFile(value) ? named(value) : String(value)]);
}

// Formats that browsers show or play.
const SHOWN = {
  image: ["png", "jpeg", "webp"],
  audio: ["wav", "mp3", "flac", "opus"],
  video: ["mp4", "webm", "gif"],
};
// What the page shows comes first: notes are heard before they are taken along.
export const formats = (model) => {
  if (makesClips(model)) return ["mp4", ...SHOWN.audio];
  const shown = SHOWN[model.modality] ?? (model.formats.some(isSound) ? model.formats.filter(isSound) : []);
  return sized(model) || model.modality === "audio" ? shown : [...shown, ...model.formats.filter((name) => !shown.includes(name))];
};
// A sound that is made for a clip goes into one file with it.
const makesClips = (model) => model.modality === "audio" && model.formats.includes("mp4") && model.options.some((o) => o.media === "video");
const isSound = (name) => SHOWN.audio.includes(name);
// An mp4 of it without a clip, and of an edit, would hold the sound alone, and lose some of it.
export const formatOf = (model, settings) =>
  makesClips(model) && settings.format === "mp4" && (settings.edit || !filesOf(settings.options).length) ? "wav" : settings.format;
// As what a result is shown: notes in a file of sound are a sound, in a score they are a file.
export const shownAs = (model, settings) =>
  makesClips(model) && formatOf(model, settings) === "mp4" ? "video"
  : SHOWN[model.modality] ? model.modality : isSound(settings.format) ? "audio" : "file";
export const suffixOf = (settings) => ({ jpeg: "jpg" })[settings.format] ?? settings.format;

// What differs between two results' settings: [label, first, second].
export function difference(a, b) {
  const first = new Map(described(a).map(([name, , text]) => [name, text]));
  const second = new Map(described(b).map(([name, , text]) => [name, text]));
  return [...new Set([...first.keys(), ...second.keys()])]
    .filter((name) => first.get(name) !== second.get(name))
    .map((name) => [label(name), first.get(name) ?? "–", second.get(name) ?? "–"]);
}
