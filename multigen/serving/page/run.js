// From settings to results: each result is a job of its own; the server puts them into the same network calls.
import * as history from "./history.js";
import { alive, leave, take } from "./follow.js";
import { get, notify, result, set, setResult } from "./store.js";
import { formatOf, randomSeed, shownAs } from "./settings.js";

const newId = () => crypto.randomUUID?.() ?? `${Date.now()}-${Math.random()}`;

// Begin the results of some settings; their ids. form: whether what the server refuses is said in the form.
export function begin(settings, { parent = null, count = settings.n, form = false } = {}) {
  const model = get().models.find((m) => m.id === settings.model);
  const group = form ? newId() : null;
  const fresh = Array.from({ length: count }, (_, k) => ({
    id: newId(),
    group,
    created: Date.now() + k / 1000,
    settings: { ...settings, format: formatOf(model, settings), n: 1, seed: settings.seed + k },
    modality: shownAs(model, settings),
    status: "queued",
    job: null, // its id on the server
    line: null, // how many media stand before it
    held: null, // why it does not go on, if so
    step: 0,
    of: 0,
    preview: null, // address of the latest preview
    blob: null, // the medium's file
    error: null,
    parent,
  }));
  set((s) => ({ results: [...fresh.toReversed(), ...s.results], errors: {} }));
  fresh.forEach(history.save);
  take(fresh);
  return fresh.map((r) => r.id);
}

export function generate() {
  const { settings, lock, base } = get();
  const seeded = lock ? settings : { ...settings, seed: randomSeed() };
  set({ settings: seeded });
  return begin(seeded, { parent: base, form: true });
}

// What has failed or was cancelled, once more as it was.
export function retry(id) {
  const { settings, parent } = result(id);
  const [fresh] = begin(settings, { parent, count: 1 });
  set((s) => ({
    results: s.results.filter((r) => r.id !== id),
    edit: s.edit && { ...s.edit, results: s.edit.results.map((one) => (one === id ? fresh : one)) },
    sheet: s.sheet && { ...s.sheet, rows: s.sheet.rows.map((row) => ({ ...row, ids: row.ids.map((one) => (one === id ? fresh : one)) })) },
  }));
}

export function cancel(id) {
  const one = result(id);
  if (!one || !alive(one)) return;
  leave(id);
  if (one.preview) URL.revokeObjectURL(one.preview);
  setResult(id, { status: "cancelled", preview: null });
  history.remove(id);
}

export const cancelAll = () => get().results.filter(alive).forEach((r) => cancel(r.id));

// Delete results; for as long as the notice is there, they can come back.
export async function remove(ids) {
  ids.forEach(cancel);
  const gone = get().results.filter((r) => ids.includes(r.id));
  const { pair } = get();
  set((s) => ({
    results: s.results.filter((r) => !ids.includes(r.id)),
    open: ids.includes(s.open) ? null : s.open,
    pair: s.pair.map((p) => (ids.includes(p) ? null : p)),
  }));
  const kept = gone.filter((r) => r.status === "done");
  if (kept.length) notify(kept.length > 1 ? `${kept.length} results deleted.` : "Deleted.", { undo: () => restoreThese(kept, pair) });
  await Promise.all(ids.map(history.remove));
}

function restoreThese(kept, pair) {
  set((s) => ({ results: [...s.results, ...kept].toSorted((a, b) => b.created - a.created), pair, notice: null }));
  kept.forEach(history.save);
}

// The results of earlier times; those that were under way go on.
export async function restore() {
  const kept = (await history.load()).map((r) => ({ ...r, url: r.blob && URL.createObjectURL(r.blob) }));
  set((s) => ({ results: [...s.results, ...kept] }));
  take(kept.filter(alive).toReversed()); // in the order in which they were asked for
}
