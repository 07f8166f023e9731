// From settings to results: each result is a request of its own; the server puts them into the same network calls.
import * as history from "./history.js";
import { ApiError } from "./api.js";
import { make } from "./jobs.js";
import { get, notify, result, set, setResult } from "./store.js";
import { randomSeed } from "./settings.js";

const AT_ONCE = 4; // a browser opens six connections to a host; some must stay free for cancelling
const waiting = [];
const running = new Map(); // id -> AbortController

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
    line: null, // how many media stand before it
    step: 0,
    of: 0,
    preview: null, // address of the latest preview
    blob: null, // the medium's file
    error: null,
    parent,
  }));
  set((s) => ({ results: [...fresh.toReversed(), ...s.results] }));
  waiting.push(...fresh.map((r) => r.id));
  next();
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
  running.get(id)?.abort();
  const one = result(id);
  if (one && alive(one)) setResult(id, { status: "cancelled", preview: null });
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
}

function next() {
  while (running.size < AT_ONCE && waiting.length) work(waiting.shift());
}

async function work(id) {
  const control = new AbortController();
  running.set(id, control);
  const one = result(id);
  const model = get().models.find((m) => m.id === one.settings.model);
  const tell = (part) => {
    const now = result(id);
    if (!now || !alive(now)) return;
    if (part.preview && now.preview) URL.revokeObjectURL(now.preview);
    setResult(id, part);
  };
  try {
    const blob = await make(one.settings, model, { tell, signal: control.signal });
    const now = result(id);
    if (now && alive(now)) {
      if (now.preview) URL.revokeObjectURL(now.preview);
      const seconds = (Date.now() - now.created) / 1000;
      setResult(id, { status: "done", blob, url: URL.createObjectURL(blob), preview: null, seconds });
      if (!(await history.save(result(id)))) notify("This browser keeps no history; download what you need.");
    }
  } catch (error) {
    if (error.name !== "AbortError") fail(id, error);
  } finally {
    running.delete(id);
    next();
  }
}

function fail(id, error) {
  const text = error instanceof ApiError ? error.message : `The page failed: ${error.message}`;
  const now = result(id);
  if (now && alive(now)) setResult(id, { status: "failed", error: text, preview: null });
  notify(text, true);
}
