// How the popular clients are told of this gateway and a key, by what the key is for.

import { h } from "./dom.js";
import { codeBlock, tabs } from "./ui.js";

export const origin = () => location.origin;

const curl = (path, key, more = "") => `curl ${origin()}${path} \\\n  -H "Authorization: Bearer ${key}"${more}`;

const JSON_BODY = (body) => ` \\\n  -H "Content-Type: application/json" \\\n  -d '${body}'`;

/** `[name, title, text]` for each client. Keys and the origin hold nothing that a shell or a string would read as more than text. */
export function snippets({ key = "sk-lr-...", model = "auto" } = {}) {
  const base = `${origin()}/v1`;
  return [
    ["curl", "curl", curl("/v1/chat/completions", key, JSON_BODY(`{"model": "${model}", "messages": [{"role": "user", "content": "Say hello."}]}`))],
    ["python", "Python", `from openai import OpenAI\n\nclient = OpenAI(base_url="${base}", api_key="${key}")\nreply = client.chat.completions.create(\n    model="${model}",\n    messages=[{"role": "user", "content": "Say hello."}],\n)\nprint(reply.choices[0].message.content)`],
    ["javascript", "JavaScript", `import OpenAI from "openai";\n\nconst client = new OpenAI({ baseURL: "${base}", apiKey: "${key}" });\nconst reply = await client.chat.completions.create({\n  model: "${model}",\n  messages: [{ role: "user", content: "Say hello." }],\n});\nconsole.log(reply.choices[0].message.content);`],
    ["claude", "Claude Code", `export ANTHROPIC_BASE_URL=${origin()}\nexport ANTHROPIC_AUTH_TOKEN=${key}\nexport ANTHROPIC_API_KEY=\nclaude`],
    ["anthropic", "Anthropic SDK", `from anthropic import Anthropic\n\nclient = Anthropic(base_url="${origin()}", auth_token="${key}")\nreply = client.messages.create(\n    model="${model}",\n    max_tokens=300,\n    messages=[{"role": "user", "content": "Say hello."}],\n)\nprint(reply.content[0].text)`],
    ["env", "Environment", `export OPENAI_BASE_URL=${base}\nexport OPENAI_API_KEY=${key}`],
  ];
}

/** What a key that asks no models is for, scope by scope. */
function others(key, scopes) {
  const has = (name) => scopes.includes(name);
  return [
    has("keys") || has("admin") ? ["list", "List keys", curl("/api/v1/keys", key)] : null,
    has("keys") || has("admin") ? ["make", "Make a key", curl("/api/v1/keys", key, JSON_BODY('{"name": "website", "limit": 5, "limit_reset": "monthly"}'))] : null,
    has("admin") ? ["members", "Members", curl("/api/v1/members", key)] : null,
    has("usage") || has("admin") ? ["usage", "Usage", curl("/api/v1/usage?by=model", key)] : null,
    has("usage") || has("keys") || has("admin") ? ["credits", "Balance", curl("/v1/credits", key)] : null,
    has("models") ? ["models", "Models", curl("/v1/models", key)] : null,
  ].filter(Boolean);
}

/** Whether a key with these scopes asks models; null: one that names none. */
export const asksModels = (scopes) => scopes === null || scopes === undefined || scopes.includes("inference");

/** The first of the models that a key is bound to that is a name and no pattern; `auto` for one that is not bound. */
const modelOf = (models) => (models ? (models.find((name) => !name.includes("*")) ?? models[0]?.replaceAll("*", "...")) : undefined);

/** The same as panels to choose from, for a key with these scopes and models. */
export function snippetTabs({ key, scopes, models } = {}) {
  const shown = asksModels(scopes) ? snippets({ key, model: modelOf(models) }) : others(key ?? "sk-lr-...", scopes);
  const panels = shown.length ? tabs(shown.map(([name, title, text]) => [name, title, () => codeBlock(text, { label: title })]), { label: "Clients" }) : null;
  return asksModels(scopes) ? panels : h("div.stack.tight", h("p.muted", scopes.some((name) => name === "keys" || name === "admin") ? "A key for managing: it asks no models itself." : "It asks no models."), panels);
}
