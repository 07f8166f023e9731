// One result from the server: a job, and what is heard of it until the medium is there. See /v1/jobs.
import { filesOf } from "./kinds.js";
import { ApiError, blobOf, events, file, request } from "./api.js";
import { members, secondsOf, sizeOf } from "./settings.js";

const PREVIEWS = 8;
const LONGEST = 10000; // ms between two tries

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
  for (const [name, file] of filesOf(settings.options)) out.options = { ...out.options, [name]: await base64(file) };
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

// Begin a job. The same `once` gives the same job again, so that a page that was reloaded meanwhile makes nothing twice.
export async function begin(settings, model, once) {
  const headers = { "idempotency-key": once };
  return (await request("/jobs", { json: await body(settings, model), headers })).json();
}

export async function cancel(id) {
  try {
    await request(`/jobs/${id}`, { method: "DELETE" });
  } catch {
    // it has ended meanwhile, or the server is gone
  }
}

// A job that nobody follows, asked for once: what there is to tell of it, and its medium's file where it is done.
export async function look(id) {
  const job = await (await request(`/jobs/${id}`)).json();
  if (job.status === "completed") return { blob: await medium(job) };
  if (job.status === "failed" || job.status === "cancelled") ended(job.status, job);
  if (job.status === "queued") return { part: { line: job.line } };
  const { step, of } = job.steps?.[0] ?? {};
  return { part: { status: "running", step: step ?? 0, of: of ?? 0 } };
}

// Follow a job to its end; the medium's file. tell({...}) hears of it on the way.
export async function follow(id, { tell, signal }) {
  let last = null;
  for (let wait = 500; ; wait = Math.min(2 * wait, LONGEST)) {
    try {
      const headers = last === null ? {} : { "last-event-id": last };
      const response = await request(`/jobs/${id}/events`, { headers, signal });
      tell({ held: null });
      for await (const event of events(response)) {
        last = event.id ?? last;
        const job = heard(event.data, tell);
        if (job) return await medium(job, signal);
        wait = 500;
      }
    } catch (error) {
      if (error.name === "AbortError" || error.status) throw error;
    }
    if (signal.aborted) throw new DOMException("stopped", "AbortError");
    tell({ held: "The server does not answer; trying again" });
    await new Promise((resolve) => setTimeout(resolve, wait));
  }
}

// What an event says; the job, where it is the last.
function heard(data, tell) {
  if (data.type === "queued") tell({ line: data.line });
  if (data.type === "running") tell({ status: "running" });
  if (data.type === "step") tell({ status: "running", step: data.step, of: data.of });
  if (data.type === "preview") tell({ preview: URL.createObjectURL(blobOf(data.b64_json, "image/png")) });
  if (data.type === "failed" || data.type === "cancelled") ended(data.type, data.job);
  return data.type === "done" ? data.job : null;
}

function ended(status, job) {
  if (status === "cancelled") throw new ApiError("It was cancelled.", 499);
  throw new ApiError(job.error?.message ?? "The server failed to make this.", 500);
}

const medium = (job, signal) => file(job.data[0].url, signal);
