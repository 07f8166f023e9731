// The key of a server that wants one: kept in the session storage of this tab alone.
import { key, setKey } from "./api.js";
import { set } from "./store.js";
import { html, useEffect, useRef } from "./vendor/htm-preact.js";

export function KeyDialog({ open, wrong, onDone }) {
  const dialog = useRef(null);
  const field = useRef(null);
  useEffect(() => {
    if (open && !dialog.current.open) dialog.current.showModal();
    if (!open && dialog.current.open) dialog.current.close();
  }, [open]);
  const done = (event) => {
    event.preventDefault();
    setKey(field.current.value.trim());
    set({ keyWanted: false });
    onDone();
  };
  return html`<dialog ref=${dialog} class="small" aria-labelledby="key-title" onCancel=${() => set({ keyWanted: false })}>
    <form onSubmit=${done}>
      <h2 id="key-title">Key of the server</h2>
      <p class="hint">It stays in this tab and is forgotten when the tab is closed.</p>
      <label class="field"><span>Key</span>
        <input type="password" autocomplete="off" ref=${field} defaultValue=${key()} aria-invalid=${wrong} aria-describedby=${wrong ? "key-wrong" : null} /></label>
      ${wrong && html`<p class="wrong" id="key-wrong" role="alert">The server does not take this key.</p>`}
      <div class="row end">
        <button type="button" onClick=${() => set({ keyWanted: false })}>Cancel</button>
        <button class="primary">Use the key</button>
      </div>
    </form>
  </dialog>`;
}
