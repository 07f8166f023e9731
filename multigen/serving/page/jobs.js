// One result from the server: the request that is sent, and what is heard of it until the medium is there.
import { ApiError, blobOf, events, request } from "./api.js";
import { members, secondsOf, sizeOf } from "./settings.js";

const ROUTES = {
  image: ["/images/generations", "/images/edits", "image"],
  audio: ["/audio/generations", "/audio/edits", "audio"],
  video: ["/videos", "/videos", "input_reference"],
};

// The route and the members of a request, for the server and for "copy as curl". files: member -> {blob, name}.
export function call(settings, model) {
  const [make, change, member] = ROUTES[model.modality];
  const { edit } = settings;
  const body = { ...members(settings, model), ...(edit?.options ?? {}) };
  const size = edit ? null : sizeOf(settings, model);
  const seconds = edit ? null : secondsOf(settings, model);
  if (size) body.size = size;
  if (seconds) body.seconds = seconds;
  if (model.modality === "audio") body.response_format = settings.format;
  else if (settings.format !== model.formats[0]) body.output_format = settings.format;
  const files = {};
  if (edit) files[member] = { blob: edit.source, name: `input.${edit.suffix}` };
  if (edit?.mask) files.mask = { blob: edit.mask, name: "mask.png" };
  return { path: edit ? change : make, body, files };
}

function sent({ body, files }, more = {}) {
  const all = { ...body, ...more };
  if (!Object.keys(files).length) return { json: all };
  const form = new FormData();
  for (const [name, value] of Object.entries(all)) form.append(name, typeof value === "object" ? JSON.stringify(value) : value);
  for (const [name, { blob, name: as }] of Object.entries(files)) form.append(name, blob, as);
  return { form };
}

// The medium's file. tell({...}) hears of it on the way.
export async function make(settings, model, { tell, signal }) {
  const asked = call(settings, model);
  if (model.modality === "image") return picture(asked, { tell, signal });
  tell({ status: "running" });
  return (await request(asked.path, { ...sent(asked), signal })).blob();
}

async function picture(asked, { tell, signal }) {
  const response = await request(asked.path, { ...sent(asked, { stream: true, partial_images: 3 }), signal });
  tell({ status: "running" });
  for await (const { kind, data } of events(response)) {
    if (kind === "error") throw new ApiError(data.error.message, 500);
    const blob = blobOf(data.b64_json, `image/${data.output_format}`);
    if (kind.endsWith(".completed")) return blob;
    tell({ preview: URL.createObjectURL(blob) });
  }
  throw new ApiError("The stream ended before the medium was there.", 0);
}
