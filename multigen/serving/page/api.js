// The server's API: requests with the key, errors as text, events of a stream. All that the page asks goes through here.
import { set } from "./store.js";

const KEY = "multigen-key";

export const key = () => sessionStorage.getItem(KEY) ?? "";
export const setKey = (value) => (value ? sessionStorage.setItem(KEY, value) : sessionStorage.removeItem(KEY));
// Where the API stands, behind a proxy with a path of its own too.
export const base = () => new URL("v1", document.baseURI).href;

// An address that the server gave out, on the host that this page comes from, whatever a proxy calls it.
function own(url) {
  const { pathname, search } = new URL(url, document.baseURI);
  return `${pathname}${search}`;
}

// param: the member of the request that is wrong. after: seconds after which another try makes sense, or null.
export class ApiError extends Error {
  constructor(message, status, { param = null, code = null, after = null } = {}) {
    super(message);
    Object.assign(this, { status, param, code, after });
  }
}

async function answer(url, options) {
  let response;
  try {
    response = await fetch(url, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError("The server does not answer.", 0);
  }
  if (response.ok) return response;
  let said = {};
  try {
    said = (await response.json()).error ?? {};
  } catch {
    // an answer that is not of this server, such as a proxy's
  }
  const after = response.headers.get("retry-after");
  throw new ApiError(said.message ?? `The server answered ${response.status}.`, response.status, {
    param: said.param, code: said.code, after: after === null ? null : Number(after) || 1,
  });
}

export async function request(path, { json, form, method, signal, headers: more = {} } = {}) {
  const headers = { ...more };
  if (key()) headers.authorization = `Bearer ${key()}`;
  if (json) headers["content-type"] = "application/json";
  const body = json ? JSON.stringify(json) : form;
  try {
    return await answer(`${base()}${path}`, { method: method ?? (body ? "POST" : "GET"), headers, body, signal });
  } catch (error) {
    if (error.status === 401) set({ keyWanted: true, keyed: true, locked: true });
    throw error;
  }
}

// A file at an address that the server gave out: the address is signed, and needs no key.
export async function file(url, signal) {
  return (await answer(own(url), { signal })).blob();
}

export async function models() {
  return (await (await request("/models")).json()).data;
}

// What a file tells of how it was made.
export async function told(file) {
  const form = new FormData();
  form.append("file", file, "file"); // its name is nobody's business
  return (await request("/media/info", { form })).json();
}

// Events of a stream, one after the other: {id, data}.
export async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      text += value;
      const parts = text.split("\n\n");
      text = parts.pop();
      for (const part of parts) {
        const lines = part.split("\n");
        const of = (name) => lines.filter((l) => l.startsWith(`${name}:`)).map((l) => l.slice(name.length + 1).trim());
        const data = of("data").join("\n");
        if (data && data !== "[DONE]") yield { id: of("id")[0], data: JSON.parse(data) };
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

export function blobOf(base64, type) {
  const bytes = Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
  return new Blob([bytes], { type });
}
