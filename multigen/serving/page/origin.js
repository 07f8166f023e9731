// Where a file comes from: what its signature, its metadata and this server's watermark tell.
import { told } from "./api.js";
import { FileButton } from "./controls.js";
import { get } from "./store.js";
import { html, useState } from "./vendor/htm-preact.js";

const SIGNATURE = {
  trusted: (by) => `Intact, and signed by ${by}.`,
  signed: (by) => `Intact, and signed by ${by}, whom nobody here vouches for.`,
  altered: (by) => `Altered since ${by || "somebody"} signed it.`,
  unreadable: () => "There is a signature, but it cannot be read.",
  unsigned: () => "Not signed.",
  not_checked: () => "Not checked: this server lacks the extra “provenance”.",
};
const WATERMARK = {
  found: (p) => `Found: this server marked it (p = ${p.toExponential(0)}).`,
  absent: () => "None of this server.",
  small: () => "None: it is too small for one.",
  no_key: () => "Not looked for: this server has no key of watermarks.",
  not_checked: () => "Not looked for in such a file.",
};
const TYPES = {
  trainedAlgorithmicMedia: "made by a model",
  compositeWithTrainedAlgorithmicMedia: "edited with a model",
};
const NAMES = {
  digital_source_type: "Kind", software: "Software", model: "Model", weights_hash: "Weights", prompt: "Prompt", seed: "Seed",
  request: "Request", recipe: "Recipe", needs: "Also needs",
};

const kind = (url) => TYPES[String(url).split("/").at(-1)] ?? url;
const intact = (found) => ["trusted", "signed"].includes(found.signature.state);

function headline({ said, signature, watermark, actions }) {
  if (signature.state === "altered") return "This file was changed after it was signed";
  if (said.model) return `${kind(said.digital_source_type) === TYPES.compositeWithTrainedAlgorithmicMedia ? "Edited" : "Made"} with ${said.model}`;
  if (watermark.state === "found") return "Made by this server";
  return actions.length ? "Signed by another tool" : "This file says nothing of how it was made";
}

function Fact({ name, children }) {
  return html`<div><dt>${name}</dt><dd>${children}</dd></div>`;
}

function Found({ found, name }) {
  const { signature, watermark, said } = found;
  const rows = Object.entries(NAMES).filter(([key]) => key in said);
  return html`<section class="origin" aria-label="What the file tells" aria-live="polite">
    <h2>${headline(found)}</h2>
    <dl>
      <${Fact} name="File">${name}<//>
      <${Fact} name="Signature">${SIGNATURE[signature.state](signature.by)}
        ${signature.faults.length > 0 && html`<span class="hint"> ${signature.faults[0]}</span>`}<//>
      <${Fact} name="Watermark">${WATERMARK[watermark.state](watermark.p_value)}<//>
      ${found.sources.map((title) => html`<${Fact} name="Made from">${title}<//>`)}
      ${!rows.length && found.actions.map((one) => html`<${Fact} name="Done">${[one.action, one.digital_source_type && kind(one.digital_source_type), one.software].filter(Boolean).join(", ")}<//>`)}
      ${rows.map(([key, title]) => html`<${Fact} name=${title}>${
        key === "recipe" ? html`<pre tabindex="0" aria-label="Recipe">${said[key]}</pre>` : key === "digital_source_type" ? kind(said[key]) : String(said[key])
      }<//>`)}
    </dl>
    ${rows.length > 0 && !intact(found) && html`<p class="hint">No signature vouches for this: anybody can write it into a file.</p>`}
    ${!rows.length && !found.actions.length && watermark.state !== "found" && html`<p class="hint">It may be generated all the same: what a file says is lost when it is saved anew.</p>`}
  </section>`;
}

export function Origin() {
  const [over, setOver] = useState(false);
  const [shown, setShown] = useState({});
  const look = async (file) => {
    const most = get().models[0]?.limits.upload ?? Infinity;
    if (file.size > most) return setShown({ error: `${file.name}: larger than ${(most / 1e6).toFixed(0)} MB, which this server takes.` });
    setShown({ busy: file.name });
    try {
      setShown({ found: await told(file), name: file.name });
    } catch (error) {
      setShown({ error: `${file.name}: ${error.message}` });
    }
  };
  const drop = (e) => {
    e.preventDefault();
    setOver(false);
    const [file] = e.dataTransfer.files;
    if (file) look(file);
  };
  return html`<div class=${`pick ${over ? "over" : ""}`} onDragOver=${(e) => (e.preventDefault(), setOver(true))}
      onDragLeave=${() => setOver(false)} onDrop=${drop}>
    <h2>Where does a file come from?</h2>
    <p class="hint">A picture, a sound or a clip, of any tool. It is looked at and not kept. Drop it here, or</p>
    <${FileButton} label="Open a file" accept="image/*,audio/*,video/*" onFile=${look} />
    ${shown.busy && html`<p role="status">Looking at ${shown.busy} …</p>`}
    ${shown.error && html`<p class="wrong" role="alert">${shown.error}</p>`}
    ${shown.found && html`<${Found} found=${shown.found} name=${shown.name} />`}
  </div>`;
}
