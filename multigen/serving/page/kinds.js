// Kinds of files: what a browser tells of one, and what a model takes.
const NAMES = { image: "a picture", audio: "a sound", video: "a clip", notes: "MIDI or MusicXML" };
const TYPES = { image: /^image\//, video: /^(video\/|image\/(gif|webp|apng)$)/, audio: /^(audio\/|video\/(mp4|webm)$)/ };
const ACCEPTS = { image: "image/*", video: "video/*,image/gif,image/webp", audio: "audio/*,video/mp4,video/webm" };
const SCORES = ["mid", "midi", "musicxml", "mxl"]; // browsers know no types of them, or several
const SUFFIXES = { jpeg: "jpg", mpeg: "mp3", "x-wav": "wav", wave: "wav", "x-flac": "flac", quicktime: "mov" };

export const aFile = (kind) => NAMES[kind] ?? `a file of ${kind}`;
export const accepted = (kind) => (kind === "notes" ? SCORES.map((one) => `.${one}`).join() : (ACCEPTS[kind] ?? ""));
export const isFile = (value) => value instanceof Blob;

// The suffix of a file, without the dot.
export function suffixOfFile({ name = "", type }) {
  const said = /\.(\w{1,8})$/.exec(name)?.[1].toLowerCase();
  const kind = type.split(";")[0].split("/")[1] ?? "";
  return said ?? SUFFIXES[kind] ?? (kind || "bin");
}

// What a file is, as far as that is known here; null otherwise.
export function kindOf(file) {
  if (SCORES.includes(suffixOfFile(file))) return "notes";
  return ["image", "audio", "video"].find((kind) => file.type.startsWith(`${kind}/`)) ?? null;
}

// Whether a file may be of a kind; where neither its type nor its name tells, the server looks.
export function fits(kind, file) {
  const found = kindOf(file);
  if (!found || !(kind in NAMES)) return true;
  return found === kind || (found !== "notes" && Boolean(TYPES[kind]?.test(file.type)));
}

// Why a model does not take a file for what should be of a kind; null where it does.
export function refusal(kind, file, most) {
  if (!file.size) return `${file.name}: the file is empty.`;
  if (!fits(kind, file)) return `${file.name} is ${aFile(kindOf(file))}; give ${aFile(kind)}.`;
  if (file.size > most) return `${file.name}: larger than ${(most / 1e6).toFixed(0)} MB, which this server takes.`;
  return null;
}

// The files among a request's options: [[name, file]].
export const filesOf = (options) => Object.entries(options).filter(([, value]) => isFile(value));
const size = (bytes) => (bytes < 1e6 ? `${Math.ceil(bytes / 1000)} kB` : `${(bytes / 1e6).toFixed(1)} MB`);
export const named = (file) => `${file.name}, ${size(file.size)}`;
