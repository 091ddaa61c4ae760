// A request as programs write it: curl, Python and JavaScript.

const PICTURE = "data:image/png;base64,YOUR_IMAGE";

/** The same body with long pictures left out: nobody wants to read them. */
const shortened = (value) =>
  typeof value === "string" ? (value.startsWith("data:") && value.length > 200 ? PICTURE : value)
  : Array.isArray(value) ? value.map(shortened)
  : value && typeof value === "object" ? Object.fromEntries(Object.entries(value).map(([key, each]) => [key, shortened(each)]))
  : value;

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

function curl(base, path, body) {
  const text = JSON.stringify(body, null, 2).replaceAll("'", "'\\''");
  return `curl ${body.stream ? "-N " : ""}${base}${path} \\\n  -H "Authorization: Bearer $LLM_ROUTER_KEY" \\\n  -H "Content-Type: application/json" \\\n  -d '${text}'`;
}

function pythonOf(base, path, body) {
  if (path !== "/chat/completions")
    return `import os\n\nimport httpx\n\nanswer = httpx.post(\n    "${base}${path}",\n    headers={"Authorization": f"Bearer {os.environ['LLM_ROUTER_KEY']}"},\n    json=${python(body, 4)},\n    timeout=300,\n)\nfor lane in answer.json()["lanes"]:\n    print(lane["model"], lane["cost"], lane.get("response", lane.get("error")))`;
  const own = Object.entries(body).filter(([key]) => KNOWN.has(key));
  const extra = Object.fromEntries(Object.entries(body).filter(([key]) => !KNOWN.has(key)));
  const args = own.map(([key, value]) => `    ${key}=${python(value, 4)},`);
  if (Object.keys(extra).length) args.push(`    extra_body=${python(extra, 4)},`);
  const reading = body.stream ? `for chunk in answer:\n    if chunk.choices:\n        print(chunk.choices[0].delta.content or "", end="")` : "print(answer.choices[0].message.content)";
  return `import os\n\nfrom openai import OpenAI\n\nclient = OpenAI(base_url="${base}", api_key=os.environ["LLM_ROUTER_KEY"])\nanswer = client.chat.completions.create(\n${args.join("\n")}\n)\n${reading}`;
}

function javascript(base, path, body) {
  const text = JSON.stringify(body, null, 2);
  if (path !== "/chat/completions")
    return `const answer = await fetch("${base}${path}", {\n  method: "POST",\n  headers: { authorization: \`Bearer \${process.env.LLM_ROUTER_KEY}\`, "content-type": "application/json" },\n  body: JSON.stringify(${indented(text, 2)}),\n});\nfor (const lane of (await answer.json()).lanes) console.log(lane.model, lane.cost, lane.response ?? lane.error);`;
  const reading = body.stream ? `for await (const chunk of answer) process.stdout.write(chunk.choices[0]?.delta?.content ?? "");` : "console.log(answer.choices[0].message.content);";
  return `import OpenAI from "openai";\n\nconst client = new OpenAI({ baseURL: "${base}", apiKey: process.env.LLM_ROUTER_KEY });\nconst answer = await client.chat.completions.create(${text});\n${reading}`;
}

/** `[[name, title, text], ...]` of a request to a path under /v1. */
export function snippets(path, body) {
  const base = `${location.origin}/v1`;
  const shown = shortened(body);
  return [["curl", "curl", curl(base, path, shown)], ["python", "Python", pythonOf(base, path, shown)], ["javascript", "JavaScript", javascript(base, path, shown)]];
}
