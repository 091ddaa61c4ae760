// The official OpenAI client for Node: chat completions and responses.
import OpenAI from "openai";
import { zodResponseFormat } from "openai/helpers/zod";
import { z } from "zod";
import { Client, has, KEY, PNG_URL, ROOT, SCHEMA, UNKNOWN, WRONG_KEY, raises, same } from "./kit.mjs";

const row = new Client("openai (node)", "openai");
const client = new OpenAI({ baseURL: `${ROOT}/v1`, apiKey: KEY, maxRetries: 0 });
const tool = { type: "function", function: { name: "get_weather", description: "Get the weather of a city", parameters: SCHEMA } };
const user = (content) => [{ role: "user", content }];

row.each("whole", async (model) => {
  const reply = await client.chat.completions.create({ model, messages: user("Reply with exactly: pong") });
  has(reply.choices[0].message.content, "pong");
});
row.each("stream", async (model) => {
  let text = "";
  const stream = await client.chat.completions.create({ model, messages: user("Reply with exactly: pong"), stream: true });
  for await (const chunk of stream) text += chunk.choices[0]?.delta?.content ?? "";
  has(text, "pong");
  const response = await client.responses.stream({ model, input: "Reply with exactly: pong" }).finalResponse();
  has(response.output_text, "pong");
});
row.each("tools", async (model) => {
  const messages = user("What is the weather in Paris?");
  const said = (await client.chat.completions.create({ model, messages, tools: [tool] })).choices[0].message;
  same(JSON.parse(said.tool_calls[0].function.arguments), { city: "Paris" });
  messages.push(said, { role: "tool", tool_call_id: said.tool_calls[0].id, content: "sunny" });
  has((await client.chat.completions.create({ model, messages, tools: [tool] })).choices[0].message.content, "sunny");
});
row.each("vision", async (model) => {
  const content = [{ type: "text", text: "What is this?" }, { type: "image_url", image_url: { url: PNG_URL } }];
  has((await client.chat.completions.create({ model, messages: user(content) })).choices[0].message.content, "1 image");
});
row.each("structured", async (model) => {
  const format = zodResponseFormat(z.object({ name: z.string(), age: z.number().int() }), "person");
  const reply = await client.chat.completions.parse({ model, messages: user("Ada Lovelace is 36 years old."), response_format: format });
  same(reply.choices[0].message.parsed, { name: "Ada Lovelace", age: 36 });
});
row.once("wrong_key", () => raises(OpenAI.AuthenticationError, () => client.withOptions({ apiKey: WRONG_KEY }).chat.completions.create({ model: "gpt-4o", messages: user("hi") })));
row.once("unknown_model", () => raises(OpenAI.NotFoundError, () => client.chat.completions.create({ model: UNKNOWN, messages: user("hi") })));
row.once("bad_request", () => raises(OpenAI.BadRequestError, () => client.chat.completions.create({ model: "gpt-4o", messages: user("hi"), temperature: 7 })));
await row.report();
