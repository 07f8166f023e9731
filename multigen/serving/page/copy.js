// A result's settings as others run them: curl, Python, the openai client, the command line.
import { base, key } from "./api.js";
import { call } from "./jobs.js";
import { secondsOf, sizeOf } from "./settings.js";

const shell = (text) => (/^[\w.,:/=-]+$/.test(text) ? text : `'${String(text).replaceAll("'", `'\\''`)}'`);

export function python(value) {
  if (value === null || value === undefined) return "None";
  if (value === true) return "True";
  if (value === false) return "False";
  if (Array.isArray(value)) return `[${value.map(python).join(", ")}]`;
  if (typeof value === "object") {
    return `{${Object.entries(value).map(([k, v]) => `${JSON.stringify(k)}: ${python(v)}`).join(", ")}}`;
  }
  return JSON.stringify(value);
}

export function asCurl(settings, model) {
  const { path, body, files } = call(settings, model);
  const lines = [`curl ${base()}${path}`];
  if (key()) lines.push(`-H "Authorization: Bearer $MULTIGEN_KEY"`);
  if (Object.keys(files).length) {
    for (const [name, file] of Object.entries(files)) lines.push(`-F ${name}=@${file}`);
    for (const [name, value] of Object.entries(body)) {
      lines.push(`-F ${shell(`${name}=${typeof value === "object" ? JSON.stringify(value) : value}`)}`);
    }
  } else {
    lines.push(`-H "Content-Type: application/json"`, `-d ${shell(JSON.stringify(body))}`);
  }
  return lines.join(" \\\n  ");
}

// What `multigen sample` and `Model.generate` take beside the prompt, by their names.
function plain(settings, model) {
  const { edit } = settings;
  const out = {};
  if (settings.negative_prompt) out.negative_prompt = settings.negative_prompt;
  out.seed = settings.seed;
  if (settings.steps !== null && settings.steps !== model.steps) out.steps = settings.steps;
  if (settings.guidance_scale !== null && settings.guidance_scale !== model.guidance_scale) {
    out.guidance_scale = settings.guidance_scale;
  }
  if (settings.sampler) out.sampler = settings.sampler;
  if (!edit && sizeOf(settings, model)) out.size = sizeOf(settings, model);
  if (!edit && secondsOf(settings, model)) out.duration = settings.seconds;
  if (settings.sliding_window) out.sliding_window = true;
  if (settings.tile) out.tile = true;
  if (edit?.mask) out.mask = "mask.png";
  return { ...out, ...(edit?.options ?? {}) };
}

export function asPython(settings, model) {
  const given = plain(settings, model);
  if (given.size) {
    const [width, height] = given.size.split("x").map(Number);
    given.size = `(${height}, ${width})`;
  }
  const options = Object.entries(settings.options).filter(([, value]) => value !== null && value !== "");
  if (options.length) given.options = Object.fromEntries(options);
  const text = ([name, value]) => `${name}=${name === "size" ? value : python(value)}`;
  const first = settings.edit ? `"input.${settings.edit.suffix}", ${python(settings.prompt)}` : python(settings.prompt);
  const all = [first, ...Object.entries(given).map(text)].join(", ");
  return `import multigen

model = multigen.load(${python(settings.model)})
(medium,) = model.${settings.edit ? "edit" : "generate"}(${all})
medium.save("medium.${settings.format}")`;
}

export function asCommand(settings, model) {
  const { edit } = settings;
  const parts = [`multigen ${edit ? "edit" : "sample"} ${shell(settings.model)}`];
  if (edit) parts.push(`--input input.${edit.suffix}`);
  parts.push(`--prompt ${shell(settings.prompt)}`);
  const options = Object.entries(settings.options).filter(([, value]) => value !== null && value !== "");
  for (const [name, value] of [...Object.entries(plain(settings, model)), ...options]) {
    const flag = `--${name.replaceAll("_", "-")}`;
    parts.push(value === true ? flag : `${flag} ${shell(String(value))}`);
  }
  parts.push("-n 1");
  if (settings.format !== model.formats[0]) parts.push(`--format ${settings.format}`);
  return parts.join(" ");
}

export const KINDS = { curl: asCurl, Python: asPython, "Command line": asCommand };
