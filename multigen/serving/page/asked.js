// A result's request as the API takes it: its route, its members, and the files that it reads.
import { filesOf, suffixOfFile } from "./kinds.js";
import { members, secondsOf, sizeOf } from "./settings.js";

export const MADE = { image: "/images/generations", audio: "/audio/generations", video: "/videos" };
export const EDITED = { image: "/images/edits", audio: "/audio/edits", video: "/videos" };
const MEMBER = { image: "image", audio: "audio", video: "input_reference" };

// A file within JSON, where its base64 stands.
export class Inline {
  constructor(name) {
    this.name = name;
  }
}
const fileName = (name, file) => `${name}.${suffixOfFile(file)}`;
// A request's options, with files as what they are called here.
export const given = ({ options }, called = (name) => name) => {
  const names = Object.fromEntries(filesOf(options).map(([name, file]) => [name, called(fileName(name, file))]));
  return Object.entries({ ...options, ...names }).filter(([, value]) => value !== null && value !== "");
};

// The files that an edit reads: [name, blob].
export function edited({ edit }) {
  if (!edit) return [];
  return [[`input.${edit.suffix}`, edit.source], ...(edit.mask ? [["mask.png", edit.mask]] : [])];
}
// All files that a request reads.
export const files = (settings) => [...edited(settings), ...filesOf(settings.options).map(([name, file]) => [fileName(name, file), file])];

// The same request in OpenAI's shape: its route, its members, the names of the files by their members.
export function call(settings, model) {
  const { edit, format } = settings;
  const inline = filesOf(settings.options).length > 0;
  const clip = model.modality === "audio" && format === "mp4"; // which OpenAI's route of sounds does not send
  if (!MADE[model.modality] || clip || (inline && (edit || model.modality === "video"))) return asJob(settings, model);
  const body = { ...asked(settings, model), ...(edit?.options ?? {}) };
  const size = edit ? null : sizeOf(settings, model);
  const seconds = edit ? null : secondsOf(settings, model);
  if (size) body.size = size;
  if (seconds) body.seconds = seconds;
  if (model.modality === "audio") body.response_format = format;
  else if (format !== model.formats[0]) body.output_format = format;
  const [input, mask] = edited(settings).map(([name]) => name);
  const named = { ...(input && { [MEMBER[model.modality]]: input }), ...(mask && { mask }) };
  return { path: (edit ? EDITED : MADE)[model.modality], body, files: named };
}

function asked(settings, model) {
  const { options: _, ...body } = members(settings, model);
  const options = given(settings, (name) => new Inline(name));
  return options.length ? { ...body, options: Object.fromEntries(options) } : body;
}

// What OpenAI has no route for: a job.
function asJob(settings, model) {
  const { edit } = settings;
  const body = { ...asked(settings, model), format: settings.format };
  if (edit) {
    const [media, mask] = edited(settings).map(([name]) => new Inline(name));
    body.edit = { ...edit.options, media, ...(mask && { mask }) };
    return { path: "/jobs", body, files: {} };
  }
  const size = sizeOf(settings, model);
  const seconds = secondsOf(settings, model);
  if (size) body.size = size;
  if (seconds) body.duration = seconds;
  return { path: "/jobs", body, files: {} };
}

// Files within a body: [path, name].
export function within(body, path = "") {
  if (body instanceof Inline) return [[path, body.name]];
  if (body === null || typeof body !== "object") return [];
  return Object.entries(body).flatMap(([key, value]) => within(value, `${path}.${key}`));
}
