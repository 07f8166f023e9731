// Results on their way: sent one after the other, followed a few at once, the others asked for now and then.
import * as history from "./history.js";
import { ApiError } from "./api.js";
import * as jobs from "./jobs.js";
import { fieldOf } from "./settings.js";
import { get, notify, result, set, setResult } from "./store.js";

const AT_ONCE = 4; // a browser opens six connections to a host; some must stay free for cancelling
const EVERY = 1500; // ms between two looks at those that nobody follows

const unsent = []; // ids that the server does not know yet, in the order in which they will stand in line
const waiting = []; // ids of jobs that nobody follows yet: they go on, and their events wait
const following = new Map(); // id -> AbortController
let sending = false;
let timer = null;

export const alive = (r) => r.status === "queued" || r.status === "running";
const living = (id) => result(id) && alive(result(id));
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

// Results that have just begun, or that a reload has interrupted.
export function take(results) {
  unsent.push(...results.filter((r) => !r.job).map((r) => r.id));
  waiting.push(...results.filter((r) => r.job).map((r) => r.id));
  resume();
}

// Go on after the server has taken the key.
export function resume() {
  send();
  next();
}

// Forget a result; the server stops it.
export function leave(id) {
  for (const list of [unsent, waiting]) if (list.includes(id)) list.splice(list.indexOf(id), 1);
  following.get(id)?.abort();
  if (result(id)?.job) jobs.cancel(result(id).job);
}

function change(id, part) {
  const now = result(id);
  if (!now || !alive(now)) return;
  if (part.preview && now.preview) URL.revokeObjectURL(now.preview);
  setResult(id, part);
}

async function send() {
  if (sending) return;
  sending = true;
  while (unsent.length && get().models.length && !get().locked) {
    const [id] = unsent;
    if (living(id) && !(await sent(id))) continue; // once more, or not before there is a key
    if (unsent[0] === id) unsent.shift();
  }
  sending = false;
}

// Put one into the server's line. False where it is to be tried again.
async function sent(id) {
  const { settings } = result(id);
  const model = get().models.find((m) => m.id === settings.model);
  try {
    if (!model) throw new ApiError(`The server does not offer ${settings.model} any more.`, 404);
    const job = await jobs.begin(settings, model, id);
    if (!living(id)) {
      jobs.cancel(job.id); // cancelled meanwhile
      return true;
    }
    change(id, { job: job.id, line: job.line ?? null, held: null });
    await history.save(result(id));
    waiting.push(id);
    next();
  } catch (error) {
    if (error.status === 401) return false;
    const wait = pause(error);
    if (wait) {
      change(id, { held: wait.text });
      await sleep(wait.seconds * 1000);
      return false;
    }
    refuse(id, error);
  }
  return true;
}

// How long to wait before the next try, and what is said meanwhile; null for what no other try would change.
function pause({ status, after }) {
  if (status === 0) return { seconds: 2, text: "The server does not answer; trying again" };
  if (![429, 503].includes(status) || after === null) return null;
  return { seconds: after, text: `The server is busy; it is asked again in ${after} s` };
}

// A member that the form shows is said there, once for all that were asked with it.
function refuse(id, error) {
  const { group } = result(id);
  const field = [400, 413, 415].includes(error.status) && group ? fieldOf(error.param) : null;
  if (!field) return fail(id, error);
  const ids = get().results.filter((r) => r.group === group && unsent.includes(r.id)).map((r) => r.id);
  ids.forEach((one) => (leave(one), history.remove(one)));
  set((s) => ({
    results: s.results.filter((r) => !ids.includes(r.id)),
    errors: { ...s.errors, [field]: error.message },
  }));
}

function next() {
  const most = document.hidden ? 0 : AT_ONCE;
  while (following.size < most && waiting.length && !get().locked) follow(waiting.shift());
  timer ??= waiting.length ? setTimeout(lookAll, EVERY) : null;
}

async function follow(id) {
  const control = new AbortController();
  following.set(id, control);
  try {
    const blob = await jobs.follow(result(id).job, { tell: (part) => change(id, part), signal: control.signal });
    await done(id, blob);
  } catch (error) {
    if (error.status === 401) waiting.unshift(id);
    else if (error.name !== "AbortError") fail(id, error);
    else if (living(id)) waiting.unshift(id);
  } finally {
    following.delete(id);
    next();
  }
}

// Tabs of one browser share its few connections to a host: one that nobody sees only looks now and then.
document.addEventListener("visibilitychange", () => {
  if (document.hidden) following.forEach((control) => control.abort());
  else next();
});

async function lookAll() {
  for (const id of [...waiting]) {
    if (!waiting.includes(id) || get().locked) continue;
    try {
      const { part, blob } = await jobs.look(result(id).job);
      if (part) change(id, part);
      if (!blob) continue;
      if (waiting.includes(id)) waiting.splice(waiting.indexOf(id), 1);
      await done(id, blob);
    } catch (error) {
      if (!waiting.includes(id) || !error.status || error.status === 401) continue;
      waiting.splice(waiting.indexOf(id), 1);
      fail(id, error);
    }
  }
  timer = null;
  next();
}

async function done(id, blob) {
  const now = result(id);
  if (!now || !alive(now)) return;
  if (now.preview) URL.revokeObjectURL(now.preview);
  const seconds = (Date.now() - now.created) / 1000;
  setResult(id, { status: "done", blob, url: URL.createObjectURL(blob), preview: null, held: null, seconds });
  if (!(await history.save(result(id)))) notify("This browser keeps no history; download what you need.");
}

function fail(id, error) {
  const text = error instanceof ApiError ? error.message : `The page failed: ${error.message}`;
  const now = result(id);
  if (!now || !alive(now)) return;
  setResult(id, { status: "failed", error: text, preview: null, held: null });
  history.remove(id);
}
