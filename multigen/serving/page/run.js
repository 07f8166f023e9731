// From settings to results: each result is a job of its own; the server puts them into the same network calls.
import * as history from "./history.js";
import { ApiError } from "./api.js";
import * as jobs from "./jobs.js";
import { get, notify, result, set, setResult } from "./store.js";
import { randomSeed } from "./settings.js";

const AT_ONCE = 4; // a browser opens six connections to a host; some must stay free for cancelling
const waiting = []; // ids of jobs that nobody follows yet: they go on, and their events wait
const following = new Map(); // id -> AbortController

export const alive = (r) => r.status === "queued" || r.status === "running";

// Begin the results of some settings; their ids.
export function begin(settings, { parent = null, count = settings.n } = {}) {
  const model = get().models.find((m) => m.id === settings.model);
  const fresh = Array.from({ length: count }, (_, k) => ({
    id: crypto.randomUUID?.() ?? `${Date.now()}-${Math.random()}`,
    created: Date.now() + k / 1000,
    settings: { ...settings, n: 1, seed: settings.seed + k },
    modality: model.modality,
    status: "queued",
    job: null, // its id on the server
    line: null, // how many media stand before it
    step: 0,
    of: 0,
    preview: null, // address of the latest preview
    blob: null, // the medium's file
    error: null,
    parent,
  }));
  set((s) => ({ results: [...fresh.toReversed(), ...s.results] }));
  submitAll(fresh.map((r) => r.id));
  return fresh.map((r) => r.id);
}

export function generate() {
  const { settings, lock, base } = get();
  const seeded = lock ? settings : { ...settings, seed: randomSeed() };
  set({ settings: seeded });
  return begin(seeded, { parent: base });
}

export function cancel(id) {
  const at = waiting.indexOf(id);
  if (at >= 0) waiting.splice(at, 1);
  following.get(id)?.abort();
  const one = result(id);
  if (!one || !alive(one)) return;
  setResult(id, { status: "cancelled", preview: null });
  history.remove(id);
  if (one.job) jobs.cancel(one.job);
}

export function cancelAll() {
  get().results.filter(alive).forEach((r) => cancel(r.id));
}

export async function remove(id) {
  cancel(id);
  const one = result(id);
  if (one?.url) URL.revokeObjectURL(one.url);
  set((s) => ({
    results: s.results.filter((r) => r.id !== id),
    open: s.open === id ? null : s.open,
    pair: s.pair.map((p) => (p === id ? null : p)),
  }));
  await history.remove(id);
}

export async function restore() {
  const kept = await history.load();
  set((s) => ({ results: [...s.results, ...kept.map((r) => ({ ...r, url: r.blob && URL.createObjectURL(r.blob) }))] }));
  waiting.push(...kept.filter(alive).map((r) => r.id));
  next();
}

// One after the other: that is the order in which they stand in line.
async function submitAll(ids) {
  for (const id of ids) await submit(id);
}

function change(id, part) {
  const now = result(id);
  if (!now || !alive(now)) return;
  if (part.preview && now.preview) URL.revokeObjectURL(now.preview);
  setResult(id, part);
}

// Put it into the server's line. Its job is kept in the history, so that a reload does not lose it.
async function submit(id) {
  const one = result(id);
  if (!one || !alive(one)) return;
  const model = get().models.find((m) => m.id === one.settings.model);
  try {
    const job = await jobs.begin(one.settings, model);
    if (!result(id) || !alive(result(id))) return jobs.cancel(job.id); // cancelled meanwhile
    change(id, { job: job.id, line: job.line });
    await history.save(result(id));
    waiting.push(id);
    next();
  } catch (error) {
    fail(id, error);
  }
}

function next() {
  while (following.size < AT_ONCE && waiting.length) follow(waiting.shift());
}

async function follow(id) {
  const control = new AbortController();
  following.set(id, control);
  try {
    const blob = await jobs.follow(result(id).job, { tell: (part) => change(id, part), signal: control.signal });
    await done(id, blob);
  } catch (error) {
    if (error.name !== "AbortError") fail(id, error);
  } finally {
    following.delete(id);
    next();
  }
}

async function done(id, blob) {
  const now = result(id);
  if (!now || !alive(now)) return;
  if (now.preview) URL.revokeObjectURL(now.preview);
  const seconds = (Date.now() - now.created) / 1000;
  setResult(id, { status: "done", blob, url: URL.createObjectURL(blob), preview: null, seconds });
  if (!(await history.save(result(id)))) notify("This browser keeps no history; download what you need.");
}

function fail(id, error) {
  const text = error instanceof ApiError ? error.message : `The page failed: ${error.message}`;
  const now = result(id);
  if (!now || !alive(now)) return;
  setResult(id, { status: "failed", error: text, preview: null });
  history.remove(id);
  notify(text, true);
}
