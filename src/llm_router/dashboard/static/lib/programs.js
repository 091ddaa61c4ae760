// A request as programs write it: curl, Python and JavaScript. What is copied runs as it stands and prints the answer.

const PICTURE_CHARS_MAX = 133_400;

/** Of a text that a shell takes as one argument. */
const ARGUMENT_CHARS_MAX = 60_000;

/**
 * The same body with marks in the place of large pictures, and the files that they stand for: `{body, files: [{mark, name, type, url}]}`. Pictures of up to
 * 100 kB in all stay where they are.
 */
function withoutPictures(body) {
  const files = [];
  let room = PICTURE_CHARS_MAX;
  const fileOf = (url) => {
    const old = files.find((each) => each.url === url);
    if (old) return old;
    const type = /^data:([\w.+-]+\/[\w.+-]+)/.exec(url)?.[1] ?? "image/png";
    const [kind, form] = type.split("/");
    const file = { mark: `picture-${once()}`, name: `${kind === "image" ? "picture" : "file"}-${files.length + 1}.${form.replace("jpeg", "jpg").replace(/\W.*/, "")}`, type, url };
    files.push(file);
    return file;
  };
  const each = (value) => {
    if (typeof value === "string") {
      if (!/^data:[^,]*;base64,/.test(value)) return value;
      if (value.length > room) return fileOf(value).mark;
      room -= value.length;
      return value;
    }
    if (Array.isArray(value)) return value.map(each);
    return value && typeof value === "object" ? Object.fromEntries(Object.entries(value).map(([key, part]) => [key, each(part)])) : value;
  };
  return { body: each(body), files };
}

/** A mark that no text holds by chance. */
const once = () => crypto.getRandomValues(new Uint32Array(4)).join("");

const indented = (text, by) => text.replaceAll("\n", `\n${" ".repeat(by)}`);

/** JSON as Python writes it. */
function python(value, by = 0) {
  const pad = " ".repeat(by + 4);
  if (value === null || value === undefined) return "None";
  if (value === true) return "True";
  if (value === false) return "False";
  if (typeof value !== "object") return JSON.stringify(value);
  const [open, close] = Array.isArray(value) ? "[]" : "{}";
  const parts = Array.isArray(value) ? value.map((each) => python(each, by + 4)) : Object.entries(value).map(([key, each]) => `${JSON.stringify(key)}: ${python(each, by + 4)}`);
  const line = `${open}${parts.join(", ")}${close}`;
  return line.length < 72 && !line.includes("\n") ? line : `${open}\n${pad}${parts.join(`,\n${pad}`)},\n${" ".repeat(by)}${close}`;
}

/** Members that OpenAI's clients know by themselves; others go in `extra_body`. */
const KNOWN = new Set(["model", "messages", "stream", "temperature", "top_p", "max_tokens", "max_completion_tokens", "reasoning_effort", "response_format", "tools", "tool_choice", "seed", "stop", "n", "logprobs", "parallel_tool_calls", "presence_penalty", "frequency_penalty", "user"]);

/** Long bodies and files come by a pipe: a shell takes no argument of that size. curl leaves line ends out of what it reads by -d. */
function curl(base, path, body, files) {
  const text = JSON.stringify(body, null, 2);
  const head = `curl ${body.stream ? "-N " : ""}${base}${path} \\\n  -H "Authorization: Bearer $LLM_ROUTER_KEY" \\\n  -H "Content-Type: application/json" \\\n  -d`;
  if (!files.length && text.length <= ARGUMENT_CHARS_MAX) return `${head} '${text.replaceAll("'", "'\\''")}'`;
  if (!files.length) return `${head} @- <<'JSON'\n${text}\nJSON`;
  const pieces = text.split(new RegExp(`(${files.map((file) => file.mark).join("|")})`));
  const said = (piece) => {
    const file = files.find((each) => each.mark === piece);
    return file ? `base64 < ${file.name}` : `cat <<'JSON'\n${piece}\nJSON`;
  };
  const before = (piece, at) => {
    const next = files.find((file) => file.mark === pieces[at + 1]);
    return next ? `${piece}data:${next.type};base64,` : piece;
  };
  return `{\n${pieces.map(before).map(said).join("\n")}\n} | ${head} @-`;
}

const PYTHON_PICTURE = `\n\n\ndef picture(name, kind):\n    with open(name, "rb") as file:\n        return f"data:{kind};base64," + base64.b64encode(file.read()).decode()\n\n`;

/** The text of a program with the marks of files replaced by a call that reads them. */
const reading = (text, files) => files.reduce((all, file) => all.replaceAll(`"${file.mark}"`, `picture("${file.name}", "${file.type}")`), text);

const PYTHON_LANES = `if answer.is_error:
    raise SystemExit(answer.text)
for lane in answer.json()["lanes"]:
    if not lane["success"]:
        print(f"\\n## {lane['model']}: {lane['error']['message']}")
        continue
    tokens, message = lane["tokens"], lane["response"]["choices"][0]["message"]
    print(f"\\n## {lane['model']}: {tokens['prompt']} tokens in, {tokens['completion']} out, \${lane['cost']:.8f}")
    print(message.get("content") or "")
    for call in message.get("tool_calls") or []:
        print(call["function"]["name"], call["function"]["arguments"])`;

function pythonOf(base, path, body, files) {
  const head = (imports, after) => `${files.length ? "import base64\n" : ""}import os\n\n${imports}${files.length ? PYTHON_PICTURE : "\n"}\n${after}`;
  if (path !== "/chat/completions")
    return head("import httpx", `answer = httpx.post(\n    "${base}${path}",\n    headers={"Authorization": f"Bearer {os.environ['LLM_ROUTER_KEY']}"},\n    json=${reading(python(body, 4), files)},\n    timeout=600,\n)\n${PYTHON_LANES}`);
  const own = Object.entries(body).filter(([key]) => KNOWN.has(key));
  const extra = Object.fromEntries(Object.entries(body).filter(([key]) => !KNOWN.has(key)));
  const args = own.map(([key, value]) => `    ${key}=${reading(python(value, 4), files)},`);
  if (Object.keys(extra).length) args.push(`    extra_body=${reading(python(extra, 4), files)},`);
  const calls = `\n        for call in choice.delta.tool_calls or []:\n            name = call.function.name\n            print(f"\\n{name}: " if name else "", call.function.arguments or "", sep="", end="")`;
  const read = body.stream ? `for chunk in answer:\n    for choice in chunk.choices:\n        print(choice.delta.content or "", end="", flush=True)${body.tools ? calls : ""}\nprint()` : "print(answer.choices[0].message.content)";
  return head("from openai import OpenAI", `client = OpenAI(base_url="${base}", api_key=os.environ["LLM_ROUTER_KEY"])\nanswer = client.chat.completions.create(\n${args.join("\n")}\n)\n${read}`);
}

const JAVASCRIPT_PICTURE = 'import { readFileSync } from "node:fs";\n\nconst picture = (name, kind) => `data:${kind};base64,${readFileSync(name).toString("base64")}`;\n';

const JAVASCRIPT_LANES = `if (!answer.ok) throw new Error(await answer.text());
for (const lane of (await answer.json()).lanes) {
  if (!lane.success) {
    console.log(\`\\n## \${lane.model}: \${lane.error.message}\`);
    continue;
  }
  const { message } = lane.response.choices[0];
  console.log(\`\\n## \${lane.model}: \${lane.tokens.prompt} tokens in, \${lane.tokens.completion} out, $\${lane.cost.toFixed(8)}\`);
  console.log(message.content ?? "");
  for (const call of message.tool_calls ?? []) console.log(call.function.name, call.function.arguments);
}`;

function javascript(base, path, body, files) {
  const text = reading(JSON.stringify(body, null, 2), files);
  const pictures = files.length ? JAVASCRIPT_PICTURE : "";
  if (path !== "/chat/completions")
    return `${pictures}${pictures && "\n"}const answer = await fetch("${base}${path}", {\n  method: "POST",\n  headers: { authorization: \`Bearer \${process.env.LLM_ROUTER_KEY}\`, "content-type": "application/json" },\n  body: JSON.stringify(${indented(text, 2)}),\n});\n${JAVASCRIPT_LANES}`;
  const calls = `\n  for (const call of delta?.tool_calls ?? []) process.stdout.write((call.function?.name ? \`\\n\${call.function.name}: \` : "") + (call.function?.arguments ?? ""));`;
  const read = body.stream ? `for await (const chunk of answer) {\n  const delta = chunk.choices[0]?.delta;\n  process.stdout.write(delta?.content ?? "");${body.tools ? calls : ""}\n}` : "console.log(answer.choices[0].message.content);";
  return `import OpenAI from "openai";\n${pictures}\nconst client = new OpenAI({ baseURL: "${base}", apiKey: process.env.LLM_ROUTER_KEY });\nconst answer = await client.chat.completions.create(${text});\n${read}`;
}

/** A request to a path under /v1 as programs: `{languages: [[name, title, text], ...], files: [{name, url}, ...]}`, the files being those that they read. */
export function programs(path, request) {
  const base = `${location.origin}/v1`;
  const { body, files } = withoutPictures(request);
  return { files, languages: [["curl", "curl", curl(base, path, body, files)], ["python", "Python", pythonOf(base, path, body, files)], ["javascript", "JavaScript", javascript(base, path, body, files)]] };
}
