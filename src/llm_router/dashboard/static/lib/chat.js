// Asking models: one answer as it grows, alone or beside others, over the gateway's own API.

import { ApiError, api, currentAccount } from "./api.js";

/** An answer that comes. Its `model` is the string that was asked for. */
export class Answer {
  constructor(model) {
    Object.assign(this, { model, text: "", reasoning: "", details: [], calls: [], pictures: [], usage: null, cost: null, finish: null, error: null, stopped: false, settled: "waited", over: false, provider: null, answeredBy: null, id: null, replyId: null, comparison: null, latencyMs: null, firstMs: null });
    this.began = performance.now();
  }

  /** Take a chunk of a stream in. */
  take(chunk) {
    if (chunk.error) throw new ApiError({ status: chunk.error.status ?? 502, ...chunk.error });
    this.replyId ??= chunk.id ?? null;
    const choice = chunk.choices?.[0];
    const delta = choice?.delta ?? {};
    const said = delta.content || delta.reasoning_content || delta.tool_calls || delta.images;
    if (said && this.firstMs === null) this.firstMs = performance.now() - this.began;
    if (delta.content) this.text += delta.content;
    if (delta.reasoning_content) this.reasoning += delta.reasoning_content;
    if (delta.reasoning_details) this.details.push(...delta.reasoning_details);
    for (const image of delta.images ?? []) if (image.image_url?.url) this.pictures.push(image.image_url.url);
    for (const call of delta.tool_calls ?? []) {
      const at = call.index ?? this.calls.length;
      const old = (this.calls[at] ??= { id: "", type: "function", function: { name: "", arguments: "" } });
      if (call.id) old.id = call.id;
      if (call.function?.name) old.function.name += call.function.name;
      if (call.function?.arguments) old.function.arguments += call.function.arguments;
      if (call.extra_content) old.extra_content = call.extra_content;
    }
    if (choice?.finish_reason) this.finish = choice.finish_reason;
    if (chunk.usage) {
      this.usage = chunk.usage;
      this.cost = chunk.usage.cost ?? this.cost;
    }
  }

  end(error = null) {
    if (this.over) return;
    this.over = true;
    this.latencyMs ??= performance.now() - this.began;
    if (error?.name === "AbortError") this.stopped = true;
    else this.error = error;
  }

  /** The answer as the conversation has it from now on. */
  get message() {
    const message = { role: "assistant", content: this.text || null };
    if (this.reasoning) message.reasoning_content = this.reasoning;
    if (this.details.length) message.reasoning_details = this.details;
    if (this.calls.length) message.tool_calls = this.calls;
    return message;
  }

  /** Whether the conversation can go on from it. */
  get good() {
    return this.over && !this.error && Boolean(this.text || this.calls.length || this.pictures.length);
  }
}

/** Ask one model, and tell of each change. The answer is over when this resolves; it never throws. */
export async function askOne(answer, body, { signal, changed }) {
  try {
    let whole = false;
    const onResponse = (response) => {
      answer.provider = response.headers.get("x-llm-router-provider");
      answer.answeredBy = response.headers.get("x-llm-router-model");
      answer.id = response.headers.get("x-generation-id");
    };
    for await (const { data } of api.stream("POST", "/v1/chat/completions", { params: { account: currentAccount() }, body: { ...body, model: answer.model, stream: true }, signal, onResponse })) {
      if (data === "[DONE]") {
        whole = true;
        break;
      }
      answer.take(JSON.parse(data));
      changed(answer);
    }
    answer.end(whole ? null : new ApiError({ status: 0, message: "The answer broke off before its end." }));
  } catch (error) {
    answer.end(error);
  }
  changed(answer);
}

/** Ask several models the same under one hold. */
export async function askAll(answers, body, { signal, changed }) {
  const open = () => answers.filter((answer) => !answer.over);
  try {
    for await (const { event, data } of api.stream("POST", "/v1/compare", { params: { account: currentAccount() }, body: { ...body, models: answers.map((answer) => answer.model), stream: true }, signal, onResponse: (response) => answers.forEach((answer) => (answer.comparison = response.headers.get("x-comparison-id"))) })) {
      if (data === "[DONE]" || event === "end") continue;
      const told = JSON.parse(data);
      const answer = answers[told.lane];
      if (event === "lane") {
        try {
          answer.take(told.chunk);
        } catch (error) {
          answer.end(error);
        }
      } else if (event === "lane_end") laneEnd(answer, told);
      changed(answer);
    }
    for (const answer of open()) answer.end(new ApiError({ status: 0, message: "The answer broke off before its end." }));
  } catch (error) {
    for (const answer of open()) answer.end(error);
  }
  answers.forEach(changed);
}

function laneEnd(answer, told) {
  answer.latencyMs = told.latency_ms ?? null;
  answer.firstMs = told.first_token_ms ?? answer.firstMs;
  answer.cost = told.cost ?? answer.cost;
  answer.provider = told.answered_by?.provider ?? null;
  answer.answeredBy = told.answered_by?.model ?? null;
  answer.id = told.id ?? null;
  answer.finish ??= told.finish_reason ?? null;
  answer.end(told.success ? null : new ApiError({ status: told.status, ...told.error }));
}

// --- What a stopped answer costs ------------------------------------------------------

/** Every so often it is looked; a provider that bills to the end is read on for some minutes at most. */
const LOOKS_MS = [250, 500, 1000, 2000, ...Array.from({ length: 60 }, () => 5000)];

/** Rows of so long before the first of them can be theirs: clocks differ. */
const BEFORE_MS = 120_000;

const pause = (ms, signal) =>
  new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    signal?.addEventListener("abort", () => (clearTimeout(timer), resolve()), { once: true });
  });

/** The row of the log that a stopped answer has. One that nothing had come of is known by its model, and that its client went. */
const rowOf = (answer, rows, taken) =>
  rows.find((row) => row.id === answer.id || (answer.replyId !== null && row.reply_id === answer.replyId)) ??
  (answer.id === null && answer.replyId === null ? rows.find((row) => row.client_gone && row.asked_model === answer.model && !taken.has(row.id) && row.comparison === (answer.comparison ?? row.comparison)) : undefined);

function charge(answer, row) {
  answer.id = row.id;
  answer.provider ??= row.provider;
  answer.answeredBy ??= row.model;
  answer.cost = Number(row.cost);
  answer.usage = { prompt_tokens: row.input_tokens, completion_tokens: row.output_tokens, prompt_tokens_details: { cached_tokens: row.cached_tokens } };
  answer.settled = row.flags.includes("drained") ? "whole" : Number(row.cost) > 0 ? "part" : "nothing";
}

/**
 * Wait until the log tells what stopped answers cost, and tell of each change. `of`: who asks, as the log names it; null where the role does not show the log.
 * `taken`: the rows of other answers. It never throws.
 */
export async function settle(answers, { api: gateway, signal, changed, of, taken }) {
  const open = new Set(of === null ? [] : answers);
  const from = new Date(Date.now() - BEFORE_MS - Math.max(...answers.map((answer) => performance.now() - answer.began))).toISOString();
  for (const ms of LOOKS_MS) {
    if (!open.size) break;
    await pause(ms, signal);
    if (signal?.aborted) return;
    const found = await gateway.get("/api/v1/exchanges", { key: of, from, limit: 50 }, { signal, quiet: true }).catch(() => null);
    for (const answer of open) {
      const row = rowOf(answer, found?.data ?? [], taken);
      if (row === undefined) continue;
      taken.add(row.id);
      open.delete(answer);
      charge(answer, row);
      changed(answer);
    }
  }
  for (const answer of answers)
    if (answer.settled === "waited") {
      answer.settled = "unknown";
      changed(answer);
    }
}
