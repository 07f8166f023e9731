// The page: header, views, notices.
import * as api from "./api.js";
import { Compare } from "./compare.js";
import { Detail } from "./detail.js";
import { Edit } from "./edit.js";
import { Form } from "./form.js";
import { Gallery } from "./gallery.js";
import { KeyDialog } from "./key.js";
import { cancelAll, restore } from "./run.js";
import { forModel } from "./settings.js";
import { Sheet } from "./sheet.js";
import { get, notify, set, useStore } from "./store.js";
import { ThemeButton } from "./theme.js";
import { html, render, useEffect, useState } from "./vendor/htm-preact.js";

const VIEWS = { create: "Create", edit: "Edit", compare: "Compare", sheet: "Batch sheet" };

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

export async function connect() {
  try {
    const models = await api.models();
    set((s) => ({ models, keyWanted: false, settings: s.settings ?? (models.length ? forModel(null, models[0], models) : null) }));
  } catch (error) {
    if (error.status !== 401) notify(error.message, true);
  }
}

function Header({ view }) {
  return html`<header class="masthead">
    <a class="brand" href="#create"><img src="page/icon.svg" alt="" width="24" height="24" />multigen</a>
    <nav aria-label="Views">
      ${Object.entries(VIEWS).map(
        ([id, name]) => html`<a href=${`#${id}`} aria-current=${view === id ? "page" : null}>${name}</a>`,
      )}
    </nav>
    <div class="tools">
      <button class="plain" onClick=${() => set({ keyWanted: true })}>Key</button>
      <${ThemeButton} />
    </div>
  </header>`;
}

function Notice({ notice }) {
  return html`<div class=${`notice ${notice?.error ? "error" : ""}`} role="status" aria-live="polite" hidden=${!notice}>
    ${notice?.text}
    ${notice && html`<button class="plain" aria-label="Close the notice" onClick=${() => set({ notice: null })}>×</button>`}
  </div>`;
}

function Create({ state }) {
  return html`<div class="columns">
    <${Form} state=${state} />
    <${Gallery} results=${state.results} pair=${state.pair} models=${state.models} onCancelAll=${cancelAll} />
  </div>`;
}

function View({ view, state }) {
  if (!state.settings) return html`<p class="empty">${state.keyWanted ? "The server wants a key." : "Loading the models …"}</p>`;
  if (view === "edit") return html`<${Edit} state=${state} />`;
  if (view === "compare") return html`<${Compare} state=${state} />`;
  if (view === "sheet") return html`<${Sheet} state=${state} />`;
  return html`<${Create} state=${state} />`;
}

function App() {
  const state = useStore();
  const view = useView();
  return html`
    <a class="skip" href="#main" onClick=${skip}>Skip to the content</a>
    <${Header} view=${view} />
    <main id="main" tabindex="-1"><h1 class="hidden">${VIEWS[view]}</h1><${View} view=${view} state=${state} /></main>
    <${Detail} state=${state} />
    <${KeyDialog} open=${state.keyWanted} onDone=${connect} />
    <${Notice} notice=${state.notice} />
  `;
}

function skip(event) {
  event.preventDefault();
  document.getElementById("main").focus();
}

render(html`<${App} />`, document.getElementById("app"));
await Promise.all([connect(), restore()]);
if (!get().models.length && !get().keyWanted) notify("The server offers no models.", true);
