// A result's settings as others run them: curl and the openai client against this server, the library, the command line.
import { base, key } from "./api.js";
import { call, EDITED, edited, given, Inline, MADE, within } from "./asked.js";
import { members, secondsOf, sizeOf } from "./settings.js";

const medium = (settings) => `medium.${settings.format}`;
const shell = (text) => (/^[\w.,:/=-]+$/.test(text) ? text : `'${String(text).replaceAll("'", `'\\''`)}'`);

// How a body of JSON is sent; base64 of files is put in by jq, as a line of a shell cannot hold it.
function sentJson(body) {
  const text = JSON.stringify(body, (_, value) => (value instanceof Inline ? undefined : value));
  const found = within(body);
  if (!found.length) return { before: "", data: `-d ${shell(text)}` };
  const read = found.map(([, name], k) => `--rawfile f${k} <(base64 < ${name} | tr -d '\\n')`);
  const put = found.map(([path], k) => `${path} = $f${k}`).join(" | ");
  return { before: `jq -n --argjson body ${shell(text)} ${read.join(" ")} '$body | ${put}' |\n  `, data: "-d @-" };
}

export function asCurl(settings, model) {
  const { path, body, files: named } = call(settings, model);
  const auth = key() ? [`-H "Authorization: Bearer $MULTIGEN_KEY"`] : [];
  const lines = [`curl -fsS ${base()}${path}`, ...auth];
  let before = "";
  if (path === EDITED[model.modality] || path === MADE.video || Object.keys(named).length) {
    for (const [name, file] of Object.entries(named)) lines.push(`-F ${name}=@${file}`);
    for (const [name, value] of Object.entries(body)) {
      lines.push(`--form-string ${shell(`${name}=${typeof value === "object" ? JSON.stringify(value) : value}`)}`);
    }
  } else {
    const json = sentJson(body);
    before = json.before;
    lines.push(`-H "Content-Type: application/json"`, json.data);
  }
  const sent = (more) => before + [...lines, ...more].join(" \\\n  ");
  if (path === "/jobs") return polled(sent([]), path, settings, auth);
  if (model.modality === "audio") return sent([`-o ${medium(settings)}`]);
  if (model.modality === "image") return `${sent([])} |\n  jq -r '.data[0].b64_json' | base64 --decode > ${medium(settings)}`;
  return polled(sent([]), path, settings, auth);
}

// It is asked for until it ends, well or not.
function polled(sent, path, settings, auth) {
  const ask = [`curl -fsS "${base()}${path}/$id"`, ...auth].join(" ");
  const found = path === "/jobs" ? ".data[0].url" : JSON.stringify(`${base()}/videos/`) + " + .id + \"/content\"";
  const ended = `if .status == "completed" then ${found} else error("\\(.status): \\(.error.message)") end`;
  return `id=$(${sent} | jq -r .id)
while job=$(${ask}) && printf %s "$job" | jq -e '.status == "queued" or .status == "in_progress"' > /dev/null; do sleep 1; done
url=$(printf %s "$job" | jq -er '${ended}') &&
curl -fsS "$url"${path === "/jobs" ? "" : auth.map((one) => ` ${one}`).join("")} -o ${medium(settings)}`;
}

export function python(value) {
  if (value === null || value === undefined) return "None";
  if (value === true) return "True";
  if (value === false) return "False";
  if (value instanceof Inline) return `inline(${JSON.stringify(value.name)})`;
  if (Array.isArray(value)) return `[${value.map(python).join(", ")}]`;
  if (typeof value === "object") {
    return `{${Object.entries(value).map(([k, v]) => `${JSON.stringify(k)}: ${python(v)}`).join(", ")}}`;
  }
  return JSON.stringify(value);
}
const INLINE = `def inline(path):
    return base64.b64encode(Path(path).read_bytes()).decode()
`;
const keywords = (values) => Object.entries(values).map(([name, value]) => `${name}=${python(value)}`).join(", ");

export function asClient(settings, model) {
  const { path, body, files: named } = call(settings, model);
  const opened = Object.entries(named).map(([name, file]) => [name, `open("${file}", "rb")`]);
  const { model: id, prompt, size, ...more } = body;
  const plain = keywords({ model: id, prompt, ...(size && { size }) });
  const extra = `extra_body=${python(more)}`;
  const args = [...opened.map(([name, text]) => `${name}=${text}`), plain, extra].join(", ");
  const inline = within(body).length > 0;
  const job = path === "/jobs";
  const head = `${(model.modality === "image" && !job) || inline ? "import base64\n" : ""}${key() ? "import os\n" : ""}from pathlib import Path

from openai import OpenAI

client = OpenAI(base_url="${base()}", api_key=${key() ? `os.environ["MULTIGEN_KEY"]` : `"none"`})
${inline ? INLINE : ""}`;
  const out = `Path("${medium(settings)}")`;
  if (model.modality === "image" && !job) {
    return `${head}answer = client.images.${opened.length ? "edit" : "generate"}(${args})
${out}.write_bytes(base64.b64decode(answer.data[0].b64_json))`;
  }
  if (model.modality === "video" && !job) {
    return `${head}video = client.videos.create_and_poll(${args})
client.videos.download_content(video.id).write_to_file(${out})`;
  }
  if (job) {
    return `import time
${head.replace("from pathlib import Path", "from pathlib import Path\nfrom urllib.request import urlopen")}job = client.post("/jobs", cast_to=object, body=${python(body)})
while job["status"] in ("queued", "in_progress"):
    time.sleep(1)
    job = client.get("/jobs/" + job["id"], cast_to=object)
if job["status"] != "completed":
    raise SystemExit(job["status"] + ": " + job["error"]["message"])
${out}.write_bytes(urlopen(job["data"][0]["url"]).read())`;
  }
  const form = opened.length
    ? `, files={${opened.map(([name, text]) => `"${name}": ${text}`)}}, options={"headers": {"Content-Type": "multipart/form-data"}}`
    : "";
  return `${head}answer = client.post("${path}", cast_to=bytes, body=${python(body)}${form})
${out}.write_bytes(answer)`;
}

// What `multigen sample` and `Model.generate` take beside the prompt, by their names.
function local(settings, model) {
  const { edit } = settings;
  const { model: _, prompt, options, ...out } = members(settings, model);
  if (!edit && sizeOf(settings, model)) out.size = sizeOf(settings, model);
  if (!edit && secondsOf(settings, model)) out.duration = settings.seconds;
  if (edit?.mask) out.mask = "mask.png";
  return { ...out, ...(edit?.options ?? {}) };
}

// Where the model is loaded from: a shipped one's name. Others lie where only the server knows.
const source = (model) => model.shipped ?? model.id;
const note = (model) => (model.shipped ? "" : `# ${model.id}: the file or folder that the server loads\n`);

export function asPython(settings, model) {
  const { size, fast, ...values } = local(settings, model);
  const options = given(settings);
  const all = [settings.edit && python(edited(settings)[0][0]), python(settings.prompt), keywords(values)];
  if (size) all.push(`size=(${size.split("x").toReversed().join(", ")})`);
  if (options.length) all.push(`options=${python(Object.fromEntries(options))}`);
  return `import multigen

${note(model)}model = multigen.load(${python(source(model))}${fast ? ", fast=True" : ""})
(medium,) = model.${settings.edit ? "edit" : "generate"}(${all.filter(Boolean).join(", ")})
medium.save("${medium(settings)}")`;
}

export function asCommand(settings, model) {
  const { edit } = settings;
  const parts = [`multigen ${edit ? "edit" : "sample"} ${shell(source(model))}`];
  if (edit) parts.push(`--input ${edited(settings)[0][0]}`);
  const values = { prompt: settings.prompt, ...local(settings, model), ...Object.fromEntries(given(settings)) };
  for (const [name, value] of Object.entries(values)) {
    const flag = `--${name.replaceAll("_", "-")}`;
    // A text that begins with a dash would be read as an option.
    const sign = typeof value === "string" && value.startsWith("-") ? "=" : " ";
    parts.push(value === true ? flag : `${flag}${sign}${shell(String(value))}`);
  }
  parts.push("-n 1");
  if (settings.format !== model.format) parts.push(`--format ${settings.format}`);
  return note(model) + parts.join(" ");
}

export const KINDS = { curl: asCurl, "OpenAI client": asClient, Python: asPython, "Command line": asCommand };
