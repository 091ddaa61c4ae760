// How the popular clients are told of this gateway and a key.

import { codeBlock, tabs } from "./ui.js";

export const origin = () => location.origin;

/** `[name, title, text]` for each client. Keys and the origin hold nothing that a shell or a string would read as more than text. */
export function snippets({ key = "sk-lr-...", model = "auto" } = {}) {
  const base = `${origin()}/v1`;
  return [
    ["curl", "curl", `curl ${base}/chat/completions \\\n  -H "Authorization: Bearer ${key}" \\\n  -H "Content-Type: application/json" \\\n  -d '{"model": "${model}", "messages": [{"role": "user", "content": "Say hello."}]}'`],
    ["python", "Python", `from openai import OpenAI\n\nclient = OpenAI(base_url="${base}", api_key="${key}")\nreply = client.chat.completions.create(\n    model="${model}",\n    messages=[{"role": "user", "content": "Say hello."}],\n)\nprint(reply.choices[0].message.content)`],
    ["javascript", "JavaScript", `import OpenAI from "openai";\n\nconst client = new OpenAI({ baseURL: "${base}", apiKey: "${key}" });\nconst reply = await client.chat.completions.create({\n  model: "${model}",\n  messages: [{ role: "user", content: "Say hello." }],\n});\nconsole.log(reply.choices[0].message.content);`],
    ["claude", "Claude Code", `export ANTHROPIC_BASE_URL=${origin()}\nexport ANTHROPIC_AUTH_TOKEN=${key}\nexport ANTHROPIC_API_KEY=\nclaude`],
    ["anthropic", "Anthropic SDK", `from anthropic import Anthropic\n\nclient = Anthropic(base_url="${origin()}", auth_token="${key}")\nreply = client.messages.create(\n    model="${model}",\n    max_tokens=300,\n    messages=[{"role": "user", "content": "Say hello."}],\n)\nprint(reply.content[0].text)`],
    ["env", "Environment", `export OPENAI_BASE_URL=${base}\nexport OPENAI_API_KEY=${key}`],
  ];
}

/** The same as panels to choose from. */
export const snippetTabs = (options) => tabs(snippets(options).map(([name, title, text]) => [name, title, () => codeBlock(text, { label: title })]), { label: "Clients" });
