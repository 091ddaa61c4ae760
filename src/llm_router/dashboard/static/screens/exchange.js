// One request with all that is known of it: when each attempt ran, why it went there, and what every cent was for.

import { h, replace } from "../lib/dom.js";
import { compact, count, dollars, duration, fullTime, plural } from "../lib/format.js";
import { icon } from "../lib/icons.js";
import { badge, button, codeBlock, copyButton, drawer, empty, facts, messageOf, skeleton, stat, stats, tabs } from "../lib/ui.js";
import { saidPanels } from "./said.js";

const APIS = { openai_chat: "OpenAI chat", openai_responses: "OpenAI responses", anthropic_messages: "Anthropic messages", gemini_generate: "Gemini" };

const BUCKETS = {
  input_tokens: "Input", cache_read_tokens: "Cached input", cache_write_tokens: "Cache writes", cache_write_1h_tokens: "Cache writes (1 h)", input_audio_tokens: "Audio input", output_tokens: "Output",
  reasoning_tokens: "Reasoning", output_audio_tokens: "Audio output", output_image_tokens: "Image output", requests: "Requests", request: "Request",
};

const words = (text) => String(text).replaceAll("_", " ");
const bucket = (name) => BUCKETS[name] ?? words(name).replace(/^./, (letter) => letter.toUpperCase());

const TONES = { delivered: "good", failed: "bad", aborted: "warn", outrun: "plain", unknown: "warn" };
const WHY = { first: "first choice", other: "next in line", retry: "tried again", hedge: "raced against the first", fallback: "fallback", continued: "went on with the answer" };

/** The name of a key for people; who asks here without one asks as himself. */
export const keyName = (id, names) => names.get(id) ?? (id.startsWith("session:") ? "dashboard" : id);

/** A time that is counted in whole milliseconds. */
const took = (ms) => (ms < 1 ? "under 1 ms" : duration(ms));

const part = (title, note, ...content) => h("section.part", h("header", h("h3", title), note ? h("p", note) : null), content);

/** Bars of the attempts on one scale of time. */
function timeline(row, attempts) {
  const starts = row.attempts_began_ms;
  const all = Math.max(row.duration_ms, ...attempts.map((each, index) => starts[index] + each.duration_ms), 1);
  const at = (ms) => `${Math.min(100, Math.max(0, (100 * ms) / all))}%`;
  return h(
    "div.timeline",
    attempts.map((each, index) =>
      h(
        "div.attempt",
        h("div.attempt-head", h("b.break", each.deployment), badge(each.outcome, TONES[each.outcome] ?? "plain"), h("span.faint", WHY[each.why] ?? words(each.why)), h("span.attempt-ms", duration(each.duration_ms))),
        h("div.track", h("i.wait", { class: each.outcome, style: { left: at(starts[index]), width: at(each.first_byte_ms ?? each.duration_ms) } }), each.first_byte_ms === null ? null : h("i.run", { class: each.outcome, style: { left: at(starts[index] + each.first_byte_ms), width: at(each.duration_ms - each.first_byte_ms) } })),
        each.cause || each.message ? h("p.attempt-why", [each.status && `HTTP ${each.status}`, each.cause && words(each.cause), each.message].filter(Boolean).join(" · ")) : null,
      ),
    ),
    h("div.scale", h("span", "0"), h("span", duration(all / 2)), h("span", duration(all))),
  );
}

/** A limit as it stood when the request came. */
function limitOf({ kind, limit, remaining, window, scope, model }) {
  const one = Number(limit) === 1;
  const what = kind === "concurrency" ? `${one ? "request" : "requests"} at a time` : one ? words(kind).replace(/s$/, "") : words(kind);
  const of = [scope ? `of the ${words(scope)}` : null, model ? `for ${model}` : null].filter(Boolean).join(" ");
  const most = `${count(limit)} ${what}${window && kind !== "concurrency" ? ` ${window === "hour" ? "an" : "a"} ${words(window)}` : ""}${of ? ` ${of}` : ""}`;
  return remaining === null || remaining === undefined ? most : `${most}, ${count(remaining)} left`;
}

const STRATEGIES = { priority: "in the order of the configuration", price: "the cheapest first", latency: "the quickest to begin first", throughput: "the most tokens a second first", exacto: "the best with tools first" };

function reasons(found) {
  const why = found.explanation;
  const lines = [];
  for (const each of why.names) lines.push([each.asked, each.note]);
  if (why.experiment) lines.push(["Experiment", `${why.experiment.name}, arm ${why.experiment.arm}`]);
  if (why.auto) lines.push(["Chosen by auto", why.auto.reason]);
  lines.push(["Order", STRATEGIES[why.strategy] ?? words(why.strategy)]);
  if (why.cache.stayed_with) lines.push(["Kept its place", `stayed with ${why.cache.stayed_with}, where its cache is`]);
  for (const each of why.limits) lines.push(["Limit", limitOf(each)]);
  for (const note of why.notes) lines.push(["Note", note]);
  return h("dl.facts", lines.map(([name, value]) => h("div", h("dt.break", name), h("dd", value))));
}

/** Who could have answered and who could not, of an explanation. */
export function candidates({ candidates: all, rejected }, title = "Who could have answered") {
  const known = (name) => all.some((each) => each[name] !== null && each[name] !== undefined);
  const timed = known("ttft_ms");
  const scored = known("score");
  const rows = all.map((each) =>
    h(
      "tr",
      h("td.num", each.place ?? "–"),
      h("td", h("span.break", each.deployment), each.own_key ? h("span.cell-sub", "own key") : null),
      h("td.end", dollars(each.forecast_cost)),
      timed && h("td.end.not-phone", each.ttft_ms === null || each.ttft_ms === undefined ? "–" : duration(each.ttft_ms)),
      scored && h("td.end.not-phone", each.score === null || each.score === undefined ? "–" : h("span", { title: each.score_unit ?? null }, compact(each.score))),
    ),
  );
  const left = Map.groupBy ? Map.groupBy(rejected, (each) => each.reason) : rejected.reduce((groups, each) => groups.set(each.reason, [...(groups.get(each.reason) ?? []), each]), new Map());
  return [
    rows.length ? h("div.table-wrap.framed", { tabindex: 0, role: "region", "aria-label": title }, h("table", h("thead", h("tr", h("th.place", { scope: "col" }, "#"), h("th.grow", { scope: "col" }, title), h("th.end", { scope: "col" }, "Forecast"), timed && h("th.end.not-phone", { scope: "col" }, "First token"), scored && h("th.end.not-phone", { scope: "col" }, "Score"))), h("tbody", rows))) : null,
    rejected.length ? h("details.more", h("summary", plural(rejected.length, "deployment was left out", "deployments were left out")), h("dl.facts", [...left].map(([reason, list]) => h("div", h("dt", words(reason)), h("dd", list.map((each) => each.deployment).join(", ")))))) : null,
  ];
}

function costs(found) {
  const { settlement, hold } = found.explanation;
  const rows = settlement.lines.map((line) => h("tr", h("td", bucket(line.bucket)), h("td.end", count(line.quantity)), h("td.end", dollars(line.rate_per_mtok)), h("td.end.money", dollars(line.amount))));
  return [
    rows.length
      ? h("div.table-wrap.framed", { tabindex: 0, role: "region", "aria-label": "Cost" }, h("table", h("thead", h("tr", h("th", { scope: "col" }, "For"), h("th.end", { scope: "col" }, "Quantity"), h("th.end", { scope: "col" }, "Per million"), h("th.end", { scope: "col" }, "Amount"))), h("tbody", rows, h("tr.total", h("td", "Total"), h("td"), h("td"), h("td.end.money", dollars(settlement.cost))))))
      : h("p.muted", "Nothing was charged."),
    facts([
      hold && ["Held beforehand", `${dollars(hold.amount)}${hold.output_cap ? ` for up to ${plural(hold.output_cap, "output token")}` : ""}`],
      Number(settlement.absorbed) > 0 && ["Borne by the operator", dollars(settlement.absorbed)],
      settlement.price_version && ["Price", h("code.break", settlement.price_version)],
      settlement.flags.length ? ["Remarks", settlement.flags.map(words).join(", ")] : null,
    ]),
  ];
}

function content(ctx, found, { names, onFilter, close }) {
  const attempts = found.explanation.attempts;
  const produced = found.output_tokens && found.first_token_ms !== null && found.duration_ms - found.first_token_ms >= 100 ? (1000 * found.output_tokens) / (found.duration_ms - found.first_token_ms) : null;
  const like = (name, value, text = value) => (value ? h("button.link", { type: "button", title: "Show only these", onclick: () => (close(), onFilter({ [name]: value })) }, text) : null);
  const receipt = h("div");
  return [
    found.error ? h("div.notice.bad", { role: "note" }, icon("warning"), h("div", h("b", words(found.error)), h("p.break", found.error_message ?? ""))) : null,
    stats(stat("Cost", dollars(found.cost)), stat("First token", duration(found.first_token_ms)), stat("Took", took(found.duration_ms), { note: found.overhead_us === null ? null : `${took(Math.min(Math.floor(found.overhead_us / 1000), found.duration_ms))} in the gateway` }), stat("Speed", produced === null ? "–" : `${compact(Math.round(produced))}/s`, { note: `${compact(found.output_tokens)} tokens out` })),
    part("What happened", attempts.length ? null : "Nobody was asked.", attempts.length ? timeline(found, attempts) : null, found.explanation.stopped ? h("p.muted", `Then it stopped: ${words(found.explanation.stopped)}.`) : null),
    part("Why it went there", null, reasons(found), candidates(found.explanation)),
    part("Cost", null, costs(found)),
    found.losses.length ? part("Adapted on the way", "What the other API cannot say as it was said.", h("ul.losses", found.losses.map((each) => h("li", h("code.break", each))))) : null,
    part(
      "Details",
      null,
      facts([
        ["Time", fullTime(found.created_ms)],
        ["Asked for", h("code.break", found.asked_model)],
        ["API", `${APIS[found.api] ?? words(found.api)} · ${words(found.operation)}${found.stream ? " · streamed" : ""}`],
        found.key && ["Key", like("key", found.key, keyName(found.key, names))],
        found.team && ["Team", found.team],
        found.user && ["User", like("user", found.user)],
        found.session && ["Session", like("session", found.session)],
        found.tags.length && ["Tags", h("span.row", found.tags.map((tag) => like("tag", tag)))],
        ...Object.entries(found.usage).filter(([, value]) => typeof value === "number" && value > 0).map(([name, value]) => [bucket(name), `${count(value)}${/tokens$/.test(name) ? " tokens" : ""}`]),
        ["Counted by", words(found.usage_provenance)],
        found.finish && ["Ended with", found.native_finish && found.native_finish !== found.finish ? `${words(found.finish)} (${found.native_finish})` : words(found.finish)],
        found.comparison && ["Comparison", h("code.break", found.comparison)],
        ["Id", h("span.with-copy", h("code.break", found.id), copyButton(found.id, { bare: true, label: "Copy the id" }))],
        found.reply_id && ["Reply", h("code.break", found.reply_id)],
      ]),
      Number(found.cost) > 0
        ? h("div.row", button("Signed receipt", { icon: "shield", small: true, onclick: async () => replace(receipt, codeBlock(JSON.stringify(await ctx.api.get(`/api/v1/exchanges/${encodeURIComponent(found.id)}/receipt`), null, 2), { label: "Receipt" })) }))
        : null,
      receipt,
    ),
  ];
}

/** Open the sheet of a request. Rejects if there is none of that id. */
export async function openExchange(ctx, id, { row, names = new Map(), onClose, onFilter = () => {} } = {}) {
  const path = `/api/v1/exchanges/${encodeURIComponent(id)}`;
  const early = row ? null : await ctx.api.get(path, {}, { signal: ctx.signal });
  const place = h("div", { "aria-busy": "true" }, skeleton(10));
  const known = row ?? early;
  const node = drawer({ title: known.model ?? known.asked_model, text: [known.provider ?? "nobody was asked", fullTime(known.created_ms)].join(" · "), body: place, wide: true, onClose });
  try {
    const found = early ?? (await ctx.api.get(path, {}, { signal: ctx.signal }));
    const story = h("div.exchange", content(ctx, found, { names, onFilter, close: () => node.close() }));
    replace(place, ctx.can("content:read") ? tabs([["story", "Overview", () => story], ...saidPanels(ctx, found.id)], { label: "Of this request" }) : story);
  } catch (error) {
    if (error.name !== "AbortError") replace(place, empty({ icon: "warning", title: "This could not be loaded", text: messageOf(error) }));
  }
  place.setAttribute("aria-busy", "false");
}
