// One result from the server: the request that is sent, and what is heard of it until the medium is there.
import { ApiError, blobOf, events, request } from "./api.js";
import { members, sizeOf } from "./settings.js";

// The path and the members of a request, for the server and for "copy as curl".
export function call(settings, model) {
  const body = members(settings, model);
  const size = sizeOf(settings, model);
  if (size) body.size = size;
  if (settings.format !== "png") body.output_format = settings.format;
  return { path: "/images/generations", body };
}

// The medium's file. tell({...}) hears of it on the way.
export async function make(settings, model, { tell, signal }) {
  const { path, body } = call(settings, model);
  const response = await request(path, { json: { ...body, stream: true, partial_images: 3 }, signal });
  tell({ status: "running" });
  for await (const { kind, data } of events(response)) {
    if (kind === "error") throw new ApiError(data.error.message, 500);
    const blob = blobOf(data.b64_json, `image/${data.output_format}`);
    if (kind.endsWith(".completed")) return blob;
    tell({ preview: URL.createObjectURL(blob) });
  }
  throw new ApiError("The stream ended before the medium was there.", 0);
}
