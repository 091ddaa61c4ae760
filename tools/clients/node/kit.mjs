// What the scripts of the Node clients share; see python/kit.py, whose lines they print.
import { readFileSync } from "node:fs";
import { deepStrictEqual } from "node:assert";

export const ROOT = process.env.LLM_ROUTER_ROOT;
export const KEY = process.env.LLM_ROUTER_KEY;
export const MODELS = JSON.parse(process.env.LLM_ROUTER_MODELS);
export const WRONG_KEY = "sk-lr-" + "0".repeat(43);
export const UNKNOWN = "no-such-model";
export const PNG_BASE64 = "iVBORw0KGgoAAAANSUhEUgAAAAYAAAAECAIAAAAiZtkUAAAAEUlEQVR42mNQSFiAhhiopNMAAAAaFwWBk7pZ6wAAAABJRU5ErkJggg==";
export const PNG_URL = "data:image/png;base64," + PNG_BASE64;
export const SCHEMA = {
  type: "object",
  properties: { city: { type: "string" } },
  required: ["city"],
  additionalProperties: false,
};

export class Client {
  constructor(name, pkg) {
    this.name = name;
    this.version = JSON.parse(readFileSync(new URL(`./node_modules/${pkg}/package.json`, import.meta.url))).version;
    this.checks = [];
  }
  each(name, check) {
    this.checks.push([name, check, Object.entries(MODELS)]);
  }
  once(name, check) {
    this.checks.push([name, check, [["", ""]]]);
  }
  async report() {
    for (const [check, run, models] of this.checks) {
      for (const [upstream, model] of models) {
        const line = { client: this.name, version: this.version, check, upstream, ok: true, detail: "", ms: 0 };
        const started = Date.now();
        try {
          line.detail = String((await run(model)) ?? "");
        } catch (error) {
          line.ok = false;
          line.detail = `${error?.name}: ${error?.message}`.slice(0, 600);
        }
        line.ms = Date.now() - started;
        console.log(JSON.stringify(line));
      }
    }
  }
}

export function has(text, ...words) {
  for (const word of words) {
    if (typeof text !== "string" || !text.includes(word)) throw new Error(`'${word}' is not in ${JSON.stringify(text)}`);
  }
}

export function same(found, wanted) {
  deepStrictEqual(JSON.parse(JSON.stringify(found ?? null)), wanted);
}

export async function raises(kind, call) {
  try {
    await call();
  } catch (error) {
    if (error instanceof kind) return error.constructor.name;
    throw error;
  }
  throw new Error("nothing was thrown");
}
