// The official Google Gen AI client for Node.
import { ApiError, GoogleGenAI } from "@google/genai";
import { Client, has, KEY, PNG_BASE64, ROOT, SCHEMA, UNKNOWN, WRONG_KEY, raises, same } from "./kit.mjs";

const row = new Client("google-genai (node)", "@google/genai");
const make = (apiKey) => new GoogleGenAI({ apiKey, httpOptions: { baseUrl: ROOT } });
const client = make(KEY);
const ask = (model, contents, config = {}) => client.models.generateContent({ model, contents, config });
const tools = [{ functionDeclarations: [{ name: "get_weather", description: "Get the weather of a city", parametersJsonSchema: SCHEMA }] }];

row.each("whole", async (model) => has((await ask(model, "Reply with exactly: pong")).text, "pong"));
row.each("stream", async (model) => {
  let text = "";
  for await (const chunk of await client.models.generateContentStream({ model, contents: "Reply with exactly: pong" })) text += chunk.text ?? "";
  has(text, "pong");
});
row.each("tools", async (model) => {
  const asked = { role: "user", parts: [{ text: "What is the weather in Paris?" }] };
  const said = await ask(model, [asked], { tools });
  const call = said.functionCalls[0];
  same(call.args, { city: "Paris" });
  const part = { functionResponse: { id: call.id, name: call.name, response: { result: "sunny" } } };
  has((await ask(model, [asked, said.candidates[0].content, { role: "user", parts: [part] }], { tools })).text, "sunny");
});
row.each("vision", async (model) => {
  has((await ask(model, [{ inlineData: { mimeType: "image/png", data: PNG_BASE64 } }, { text: "What is this?" }])).text, "1 image");
});
row.once("wrong_key", () => raises(ApiError, () => make(WRONG_KEY).models.generateContent({ model: "gemini-2.5-flash", contents: "hi" })));
row.once("unknown_model", () => raises(ApiError, () => ask(UNKNOWN, "hi")));
row.once("bad_request", () => raises(ApiError, () => ask("gemini-2.5-flash", "hi", { temperature: 7 })));
await row.report();
