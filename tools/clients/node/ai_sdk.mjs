// The AI SDK with its providers for OpenAI (responses), compatible hosts (chat), Anthropic and Google.
import { APICallError, generateObject, generateText, stepCountIs, streamText, tool } from "ai";
import { createAnthropic } from "@ai-sdk/anthropic";
import { createGoogleGenerativeAI } from "@ai-sdk/google";
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { z } from "zod";
import { Client, has, KEY, PNG_URL, ROOT, UNKNOWN, raises, same } from "./kit.mjs";

const kinds = {
  responses: createOpenAI({ baseURL: `${ROOT}/v1`, apiKey: KEY }),
  compatible: createOpenAICompatible({ name: "router", baseURL: `${ROOT}/v1`, apiKey: KEY, supportsStructuredOutputs: true }),
  anthropic: createAnthropic({ baseURL: `${ROOT}/v1`, apiKey: KEY }),
  google: createGoogleGenerativeAI({ baseURL: `${ROOT}/v1beta`, apiKey: KEY }),
};

for (const [kind, make] of Object.entries(kinds)) {
  const row = new Client(`ai-sdk (${kind})`, "ai");
  row.each("whole", async (model) => has((await generateText({ model: make(model), prompt: "Reply with exactly: pong" })).text, "pong"));
  row.each("stream", async (model) => has(await streamText({ model: make(model), prompt: "Reply with exactly: pong" }).text, "pong"));
  row.each("tools_automatic", async (model) => {
    const asked = [];
    const execute = async ({ city }) => (asked.push(city), "sunny");
    const get_weather = tool({ description: "Get the weather of a city", inputSchema: z.object({ city: z.string() }), execute });
    const reply = await generateText({ model: make(model), prompt: "What is the weather in Paris?", tools: { get_weather }, stopWhen: stepCountIs(3) });
    same(asked, ["Paris"]);
    has(reply.text, "sunny");
  });
  row.each("vision", async (model) => {
    const content = [{ type: "text", text: "What is this?" }, { type: "image", image: PNG_URL }];
    has((await generateText({ model: make(model), messages: [{ role: "user", content }] })).text, "1 image");
  });
  row.each("structured", async (model) => {
    const schema = z.object({ name: z.string(), age: z.number().int() });
    same((await generateObject({ model: make(model), schema, prompt: "Ada Lovelace is 36 years old." })).object, { name: "Ada Lovelace", age: 36 });
  });
  row.once("unknown_model", () => raises(APICallError, () => generateText({ model: make(UNKNOWN), prompt: "hi", maxRetries: 0 })));
  await row.report();
}
