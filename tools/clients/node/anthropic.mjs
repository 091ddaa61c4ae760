// The official Anthropic client for Node.
import Anthropic from "@anthropic-ai/sdk";
import { Client, has, KEY, PNG_BASE64, ROOT, SCHEMA, UNKNOWN, WRONG_KEY, raises, same } from "./kit.mjs";

const row = new Client("anthropic (node)", "@anthropic-ai/sdk");
const client = new Anthropic({ baseURL: ROOT, apiKey: KEY, maxRetries: 0 });
const tool = { name: "get_weather", description: "Get the weather of a city", input_schema: SCHEMA };
const user = (content) => [{ role: "user", content }];
const ask = (model, messages, more = {}) => client.messages.create({ model, max_tokens: 4000, messages, ...more });
const text = (reply) => reply.content.filter((b) => b.type === "text").map((b) => b.text).join("");

row.each("whole", async (model) => has(text(await ask(model, user("Reply with exactly: pong"))), "pong"));
row.each("stream", async (model) => {
  const final = await client.messages.stream({ model, max_tokens: 4000, messages: user("Reply with exactly: pong") }).finalMessage();
  has(text(final), "pong");
});
row.each("tools", async (model) => {
  const messages = user("What is the weather in Paris?");
  const said = await ask(model, messages, { tools: [tool] });
  const call = said.content.find((b) => b.type === "tool_use");
  same(call.input, { city: "Paris" });
  messages.push({ role: "assistant", content: said.content }, ...user([{ type: "tool_result", tool_use_id: call.id, content: "sunny" }]));
  has(text(await ask(model, messages, { tools: [tool] })), "sunny");
});
row.each("vision", async (model) => {
  const source = { type: "base64", media_type: "image/png", data: PNG_BASE64 };
  has(text(await ask(model, user([{ type: "image", source }, { type: "text", text: "What is this?" }]))), "1 image");
});
row.once("wrong_key", () => raises(Anthropic.AuthenticationError, () => client.withOptions({ apiKey: WRONG_KEY }).messages.create({ model: "claude-sonnet-4-5", max_tokens: 9, messages: user("hi") })));
row.once("unknown_model", () => raises(Anthropic.NotFoundError, () => ask(UNKNOWN, user("hi"))));
row.once("bad_request", () => raises(Anthropic.BadRequestError, () => ask("claude-sonnet-4-5", user("hi"), { temperature: 7 })));
await row.report();
