// The server's API: requests with the key, errors as text, events of a stream.
import { set } from "./store.js";

const KEY = "multigen-key";

export const key = () => sessionStorage.getItem(KEY) ?? "";
export const setKey = (value) => (value ? sessionStorage.setItem(KEY, value) : sessionStorage.removeItem(KEY));
// Where the API stands, behind a proxy with a path of its own too.
export const base = () => new URL("v1", document.baseURI).href;

// An address that the server gave out, on the host that this page comes from, whatever a proxy calls it.
export function own(url) {
  const { pathname, search } = new URL(url, document.baseURI);
  return `${pathname}${search}`;
}

export class ApiError extends Error {
  constructor(message, status, param = null, code = null) {
    super(message);
    Object.assign(this, { status, param, code });
  }
}

export async function request(path, { json, method, signal, headers: more = {} } = {}) {
  const headers = { ...more };
  if (key()) headers.authorization = `Bearer ${key()}`;
  if (json) headers["content-type"] = "application/json";
  const body = json && JSON.stringify(json);
  let response;
  try {
    response = await fetch(`${base()}${path}`, { method: method ?? (body ? "POST" : "GET"), headers, body, signal });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError("The server does not answer.", 0);
  }
  if (response.ok) return response;
  if (response.status === 401) set({ keyWanted: true });
  let said = {};
  try {
    said = (await response.json()).error ?? {};
  } catch {
    // an answer that is not of this server, such as a proxy's
  }
  throw new ApiError(said.message ?? `The server answered ${response.status}.`, response.status, said.param, said.code);
}

export async function models() {
  return (await (await request("/models")).json()).data;
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
