// The page: header, views, notices.
import * as api from "./api.js";
import { Compare } from "./compare.js";
import { Detail } from "./detail.js";
import { Edit } from "./edit.js";
import { Form } from "./form.js";
import { Gallery } from "./gallery.js";
import { KeyDialog } from "./key.js";
import { alive, resume } from "./follow.js";
import { Origin } from "./origin.js";
import { restore } from "./run.js";
import { defaults, keep, recall } from "./settings.js";
import { Sheet } from "./sheet.js";
import { get, notify, set, useStore } from "./store.js";
import { ThemeButton } from "./theme.js";
import { html, render, useEffect, useState } from "./vendor/htm-preact.js";

const VIEWS = { create: "Create", edit: "Edit", compare: "Compare", sheet: "Batch sheet", origin: "Check" };

function useView() {
  const read = () => (location.hash.slice(1) in VIEWS ? location.hash.slice(1) : "create");
  const [view, setView] = useState(read());
  useEffect(() => {
    const changed = () => setView(read());
    addEventListener("hashchange", changed);
    return () => removeEventListener("hashchange", changed);
  }, []);
  return view;
}

// Ask for the models; what waits for a key goes on then.
async function connect() {
  try {
    const models = await api.models();
    const form = get().settings ? {} : recall(models) ?? (models.length ? { settings: defaults(models[0]) } : {});
    set({ models, keyWanted: false, locked: false, keyed: get().keyed || api.key() !== "", ...form });
    if (!models.length) notify("The server offers no models.", { error: true });
    resume();
  } catch (error) {
    if (error.status !== 401) set({ unreachable: error.message });
  }
}

function retry() {
  set({ unreachable: null });
  connect();
}

function Header({ view, keyed }) {
  return html`<header class="masthead">
    <a class="brand" href="#create"><img src="page/icon.svg" alt="" width="24" height="24" />multigen</a>
    <nav aria-label="Views">
      ${Object.entries(VIEWS).map(
        ([id, name]) => html`<a href=${`#${id}`} aria-current=${view === id ? "page" : null}>${name}</a>`,
      )}
    </nav>
    <div class="tools">
      ${keyed && html`<button class="plain" onClick=${() => set({ keyWanted: true })}>Key</button>`}
      <${ThemeButton} />
    </div>
  </header>`;
}

function Notice({ notice }) {
  return html`<div class=${`notice ${notice?.error ? "error" : ""}`} role="status" aria-live="polite" hidden=${!notice}>
    ${notice?.text}
    ${notice?.undo && html`<button class="plain" onClick=${notice.undo}>Undo</button>`}
    ${notice && html`<button class="plain" aria-label="Close the notice" onClick=${() => set({ notice: null })}>×</button>`}
  </div>`;
}

function Create({ state }) {
  return html`<div class="columns">
    <${Form} state=${state} />
    <${Gallery} state=${state} />
  </div>`;
}

function View({ view, state }) {
  if (!state.settings) return html`<${Start} state=${state} />`;
  if (view === "edit") return html`<${Edit} state=${state} />`;
  if (view === "compare") return html`<${Compare} state=${state} />`;
  if (view === "sheet") return html`<${Sheet} state=${state} />`;
  if (view === "origin") return html`<${Origin} />`;
  return html`<${Create} state=${state} />`;
}

// Before there are models.
function Start({ state }) {
  if (state.unreachable) {
    return html`<div class="empty"><p role="alert">${state.unreachable}</p><button onClick=${retry}>Try again</button></div>`;
  }
  if (!state.locked) return html`<p class="empty" role="status">Loading the models …</p>`;
  return html`<div class="empty"><p>The server wants a key.</p><button class="primary" onClick=${() => set({ keyWanted: true })}>Give a key</button></div>`;
}

// The title says how many are under way, and a reload keeps what the form says.
function useTraces(state) {
  const { settings, lock, sheet } = state;
  const busy = state.results.filter(alive).length;
  useEffect(() => {
    document.title = busy ? `(${busy}) multigen` : "multigen";
  }, [busy]);
  useEffect(() => {
    if (settings) keep({ settings, lock, sheet });
  }, [settings, lock, sheet]);
}

function App() {
  const state = useStore();
  const view = useView();
  useTraces(state);
  return html`
    <a class="skip" href="#main" onClick=${skip}>Skip to the content</a>
    <${Header} view=${view} keyed=${state.keyed} />
    <main id="main" tabindex="-1"><h1 class="hidden">${VIEWS[view]}</h1><${View} view=${view} state=${state} /></main>
    <${Detail} state=${state} />
    <${KeyDialog} open=${state.keyWanted} wrong=${state.locked && api.key() !== ""} onDone=${connect} />
    <${Notice} notice=${state.notice} />
  `;
}

function skip(event) {
  event.preventDefault();
  document.getElementById("main").focus();
}

render(html`<${App} />`, document.getElementById("app"));
await connect();
await restore();
