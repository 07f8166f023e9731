// One result from the server: a job, and what is heard of it until the medium is there. See /v1/jobs.
import { ApiError, blobOf, events, own, request } from "./api.js";
import { members, secondsOf, sizeOf } from "./settings.js";

const PREVIEWS = 8;
const TRIES = 5; // streams that are opened again after they broke

const base64 = (blob) =>
  new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result.slice(reader.result.indexOf(",") + 1));
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(blob);
  });

async function body(settings, model) {
  const { edit } = settings;
  const out = { ...members(settings, model), n: 1, previews: PREVIEWS, format: settings.format };
  if (edit) {
    out.edit = { media: await base64(edit.source), ...edit.options };
    if (edit.mask) out.edit.mask = await base64(edit.mask);
    return out;
  }
  const size = sizeOf(settings, model);
  const seconds = secondsOf(settings, model);
  if (size) out.size = size;
  if (seconds) out.duration = seconds;
  return out;
}

// Begin a job: {id, line}.
export async function begin(settings, model, signal) {
  const job = await (await request("/jobs", { json: await body(settings, model), signal })).json();
  return { id: job.id, line: job.line ?? null };
}

export async function cancel(id) {
  try {
    await request(`/jobs/${id}`, { method: "DELETE" });
  } catch {
    // it has ended meanwhile, or the server is gone
  }
}

// Follow a job to its end; the medium's file. tell({...}) hears of it on the way.
export async function follow(id, { tell, signal }) {
  let last = null;
  for (let left = TRIES; left > 0; left -= 1) {
    try {
      const headers = last === null ? {} : { "last-event-id": last };
      const response = await request(`/jobs/${id}/events`, { headers, signal });
      for await (const event of events(response)) {
        last = event.id ?? last;
        const job = heard(event.data, tell);
        if (job) return await media(job, signal);
        left = TRIES;
      }
    } catch (error) {
      if (error.name === "AbortError" || error.status) throw error;
    }
    await new Promise((resolve) => setTimeout(resolve, 1000));
  }
  throw new ApiError("The connection to the server broke.", 0);
}

// What an event says; the job, where it is the last.
function heard(data, tell) {
  if (data.type === "queued") tell({ line: data.line });
  if (data.type === "running") tell({ status: "running" });
  if (data.type === "step") tell({ status: "running", step: data.step, of: data.of });
  if (data.type === "preview") tell({ preview: URL.createObjectURL(blobOf(data.b64_json, "image/png")) });
  if (data.type === "failed") throw new ApiError(data.job.error?.message ?? "The server failed to make this.", 500);
  if (data.type === "cancelled") throw new ApiError("It was cancelled.", 499);
  return data.type === "done" ? data.job : null;
}

async function media(job, signal) {
  const response = await fetch(own(job.data[0].url), { signal });
  if (!response.ok) throw new ApiError("The server does not keep this result any more.", response.status);
  return response.blob();
}

// --- the same request in OpenAI's shape, for "copy as curl" ---------------------------------------------------------

const ROUTES = {
  image: ["/images/generations", "/images/edits", "image"],
  audio: ["/audio/generations", "/audio/edits", "audio"],
  video: ["/videos", "/videos", "input_reference"],
};

// The route, the members and the names of the files: member -> name.
export function call(settings, model) {
  const [make, change, member] = ROUTES[model.modality];
  const { edit } = settings;
  const out = { ...members(settings, model), ...(edit?.options ?? {}) };
  const size = edit ? null : sizeOf(settings, model);
  const seconds = edit ? null : secondsOf(settings, model);
  if (size) out.size = size;
  if (seconds) out.seconds = seconds;
  if (model.modality === "audio") out.response_format = settings.format;
  else if (settings.format !== model.formats[0]) out.output_format = settings.format;
  const files = {};
  if (edit) files[member] = `input.${edit.suffix}`;
  if (edit?.mask) files.mask = "mask.png";
  return { path: edit ? change : make, body: out, files };
}
