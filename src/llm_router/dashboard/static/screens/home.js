// The first screen: how the account stands, what was spent on what, what needs a look, and the first steps of a new gateway.

import { chart, meter } from "../lib/chart.js";
import { h, replace } from "../lib/dom.js";
import { ago, compact, count, day, dollars, duration, percent, plural } from "../lib/format.js";
import { icon } from "../lib/icons.js";
import { keysById, stillBounds } from "../lib/keys.js";
import { asksModels, snippetTabs } from "../lib/snippets.js";
import { badge, button, card, empty, linkButton, load, pageHead, segments, stat, stats, statsRoom } from "../lib/ui.js";
import { makeKey } from "./keys.js";

const HOUR = 3_600_000;
const RANGES = [["24h", "24 hours", 24, "hour"], ["7d", "7 days", 7, "day"], ["30d", "30 days", 30, "day"], ["90d", "90 days", 90, "day"]];
const METRICS = [
  ["cost", "Spend", (row) => row.cost, dollars, "bar"],
  ["requests", "Requests", (row) => row.requests, compact, "bar"],
  ["tokens", "Tokens", (row) => row.input_tokens + row.output_tokens, compact, "bar"],
  ["errors", "Errors", (row) => (row.requests ? row.errors / row.requests : null), percent, "line"],
  ["first", "First token", (row) => row.first_token_ms, duration, "line"],
];
const BY = [["model", "Model"], ["key", "Key"], ["provider", "Provider"]];
const SHOWN = 6;

/** The moments of a chart, with the text that the API's rows name them by. */
function moments(range) {
  const [, , amount, step] = RANGES.find(([name]) => name === range);
  const size = step === "hour" ? HOUR : 24 * HOUR;
  const last = Math.floor(Date.now() / size) * size;
  const at = Array.from({ length: amount }, (_, index) => new Date(last - (amount - 1 - index) * size));
  return { at, names: at.map((each) => each.toISOString().slice(0, step === "hour" ? 13 : 10)), from: at[0].toISOString(), step, cut: step === "hour" ? 13 : 10 };
}

/** Days are those of the books, in UTC: shown in the reader's zone they would move to the day before. */
const shownDay = (when) => new Date(when.getUTCFullYear(), when.getUTCMonth(), when.getUTCDate());

/** One series for each of the largest, the rest together. */
function seriesOf(rows, by, metric, span, names) {
  const [, , read, , kind] = METRICS.find(([name]) => name === metric);
  const weight = new Map();
  for (const row of rows) weight.set(row[by], (weight.get(row[by]) ?? 0) + (kind === "bar" ? read(row) : row.requests));
  const ranked = [...weight].filter(([, size]) => size > 0).sort((a, b) => b[1] - a[1]).map(([name]) => name);
  const keep = ranked.slice(0, ranked.length > SHOWN + 1 ? SHOWN : SHOWN + 1);
  const place = new Map(span.names.map((name, at) => [name, at]));
  const found = keep.map((name) => ({ name: names(name), values: span.names.map(() => (kind === "bar" ? 0 : null)) }));
  const rest = span.names.map(() => 0);
  for (const row of rows) {
    const at = place.get(row[span.step].slice(0, span.cut));
    const which = keep.indexOf(row[by]);
    if (at === undefined) continue;
    if (which < 0 && kind === "bar") rest[at] += read(row);
    else if (which >= 0) found[which].values[at] = read(row);
  }
  if (kind === "bar" && ranked.length > keep.length) found.push({ name: `${ranked.length - keep.length} others`, values: rest, colour: 8 });
  return found;
}

async function mount(root, ctx) {
  const say = { range: RANGES.some(([name]) => name === ctx.query.get("range")) ? ctx.query.get("range") : "7d", metric: "cost", by: "model" };
  const top = h("div");
  const drawing = h("div", { style: { "min-height": "292px" } });
  const budgets = h("div");
  const health = h("div");
  const first = h("div", { hidden: true });
  const uses = ctx.can("usage:read");
  const well = ctx.can("health:read") ? ctx.api.get("/api/v1/health", { only: "unwell" }, { signal: ctx.signal }) : null;
  well?.catch(() => null); // who waits for it tells
  let keyNames = new Map();

  const named = keysById(ctx).then((keys) => (keyNames = new Map([...keys].map(([id, key]) => [id, key.name]))), () => keyNames);

  const nameOf = (by) => (name) => (name === null || name === "" ? "none" : by === "key" ? (keyNames.get(name) ?? (name.startsWith("session:") ? "Playground" : name)) : name);
  const usage = async (by) => {
    if (by === "key") await named;
    const span = moments(say.range);
    const found = await ctx.api.get("/api/v1/usage", { by: [span.step, by].filter(Boolean).join(","), from: span.from }, { signal: ctx.signal });
    return { ...found, span };
  };

  async function figures() {
    const [credits, found] = await Promise.all([ctx.can("credit:read") ? ctx.api.get("/api/v1/credits", {}, { signal: ctx.signal }) : null, uses ? usage() : null]);
    const all = found?.total;
    const since = RANGES.find(([name]) => name === say.range)[1];
    return stats(
      credits && stat("Balance", dollars(Math.floor(credits.data.credits_remaining * 100) / 100), { note: credits.data.held > 0 ? `${dollars(credits.data.held)} held` : "left to spend", tone: credits.data.credits_remaining <= 0 ? "bad" : null }),
      all && stat("Spend", dollars(all.cost), { note: `in ${since}` }),
      all && stat("Requests", compact(all.requests), { note: all.requests ? `${dollars(all.cost / all.requests)} each` : "none yet" }),
      all && stat("Tokens", compact(all.input_tokens + all.output_tokens), { note: `${compact(all.input_tokens)} in, ${compact(all.output_tokens)} out` }),
      all && stat("Errors", all.requests ? percent(all.errors / all.requests) : "–", { note: plural(all.errors, "request"), tone: all.requests && all.errors / all.requests > 0.05 ? "bad" : null }),
      all && stat("First token", duration(all.first_token_ms), { note: "mean, of streams" }),
    );
  }

  async function draw() {
    const found = await usage(say.by);
    const [, title, , format, kind] = METRICS.find(([name]) => name === say.metric);
    const series = seriesOf(found.data, say.by, say.metric, found.span, nameOf(say.by));
    if (!series.length) return empty({ icon: "chart", title: "Nothing here yet", text: `No requests in the last ${RANGES.find(([name]) => name === say.range)[1]}.` });
    return chart({ x: found.span.step === "day" ? found.span.at.map(shownDay) : found.span.at, series, kind, format, by: found.span.step, label: `${title} by ${say.by}`, height: 236, legend: true });
  }

  const loads = [load(top, figures, { room: () => statsRoom([ctx.can("credit:read") && "Balance", ...(uses ? ["Spend", "Requests", "Tokens", "Errors", "First token"] : [])].filter(Boolean)) })];
  if (uses) loads.push(load(drawing, draw, { height: 280 }));
  const redraw = uses ? loads[1] : () => null;

  root.append(
    pageHead("Home", { actions: uses ? [segments(RANGES.map(([name, , amount, step]) => [name, step === "hour" ? `${amount} h` : `${amount} d`]), say.range, (value) => { say.range = value; ctx.setQuery({ range: value === "7d" ? null : value }); loads.forEach((each) => void each({ quiet: true })); }, { label: "Time" })] : [] }),
    first,
    top,
    uses && card({ title: null }, h("div.row.between", segments(METRICS.map(([name, text]) => [name, text]), say.metric, (value) => { say.metric = value; void redraw({ quiet: true }); }, { label: "What" }), segments(BY, say.by, (value) => { say.by = value; void redraw({ quiet: true }); }, { label: "By" })), drawing),
    h("div.grid-2", ctx.can("budget:read") ? card({ title: "Budgets", text: "What may still be spent." }, budgets) : null, ctx.can("health:read") ? card({ title: "Health", text: "Where requests can go now." }, health) : null),
  );
  if (ctx.can("budget:read")) load(budgets, () => budgetList(ctx), { height: 88 });
  if (ctx.can("health:read")) load(health, () => healthList(well), { height: 88 });
  await steps(first, ctx, well, () => loads.forEach((each) => void each({ quiet: true })));
}

async function budgetList(ctx) {
  const found = await ctx.api.get("/api/v1/budgets", {}, { signal: ctx.signal });
  const ids = found.data.filter((budget) => budget.scope === "key").map((budget) => budget.scope_id);
  const keys = ids.length ? await keysById(ctx, ids).catch(() => new Map()) : new Map();
  const data = found.data.filter(stillBounds(keys));
  if (!data.length) return h("p.muted", "No budgets. The account spends what credit it has; keys may be given budgets of their own.");
  const rows = data.map((budget) => ({ budget, spend: budget.spends[0] ?? { spent: 0, held: 0, left: budget.amount, resets: null } }));
  const share = ({ budget, spend }) => (budget.amount > 0 ? (spend.spent + spend.held) / budget.amount : 1);
  return h("div.stack", rows.sort((a, b) => share(b) - share(a)).slice(0, 5).map((row) => {
    const { budget, spend } = row;
    const whose = budget.scope === "account" ? "Account" : budget.scope === "key" ? (keys.get(budget.scope_id)?.name ?? budget.scope_id) : `${budget.scope} ${budget.scope_id}`;
    return h("div.stack.tight", h("div.row.between", h("span", whose, h("span.muted", ` · ${budget.window}`)), h("span.num", `${dollars(spend.spent)} of ${dollars(budget.amount)}`)), meter(share(row), { label: `${whose}: ${percent(share(row))} used` }), spend.resets ? h("span.faint", `begins anew ${["hour", "day"].includes(budget.window) ? ago(spend.resets) : `on ${day(spend.resets)}`}`) : null);
  }));
}

async function healthList(asked) {
  const { data: ill, deployments, providers } = await asked;
  if (!deployments) return h("p.muted", "No provider has a key, so no model can be asked.");
  if (!ill.length) return h("div.row", badge("All well", "good", { dot: true }), h("span.muted", `${plural(deployments, "deployment")} of ${plural(providers, "provider")} can be called.`));
  return h("div.stack.tight", h("div.row", badge(`${count(ill.length)} not well`, "warn", { dot: true }), h("span.muted", `of ${plural(deployments, "deployment")}`)), ill.slice(0, 6).map((each) => h("div.row.between", h("span.break", each.model, h("span.cell-sub", each.provider)), h("span.end", each.available ? badge(`${percent(each.error_rate)} errors`, "warn") : badge(each.reason ?? each.state, "bad"), each.back ? h("span.cell-sub", `tried again ${ago(each.back)}`) : null))));
}

// --- The first steps -----------------------------------------------------------

async function steps(place, ctx, well, changed) {
  const hidden = `first-steps:${ctx.account}`;
  if (!ctx.can("key:write") || localStorage.getItem(hidden)) return;
  const known = { key: null, text: null, answer: null, asking: false, problem: null, credit: null, ways: null };
  const look = async () => {
    const [usage, keys, health, credit, ways] = await Promise.all([
      ctx.api.get("/api/v1/usage", { by: "day", from: "2020-01-01" }, { signal: ctx.signal }).catch(() => null),
      ctx.api.get("/api/v1/keys", { limit: 200 }, { signal: ctx.signal }),
      well?.catch(() => null),
      ctx.can("credit:read") ? ctx.api.get("/api/v1/credits", {}, { signal: ctx.signal }).catch(() => null) : null,
      ctx.can("credit:write") ? ctx.api.get("/api/v1/credits/ways", {}, { signal: ctx.signal }).catch(() => null) : null,
    ]);
    known.credit = credit?.data.credits_remaining ?? null;
    known.ways = ways;
    known.requests = usage?.total.requests ?? 0;
    const active = keys.data.filter((key) => key.status === "active");
    known.key = active.find((key) => key.by === ctx.me.id) ?? active[0] ?? null;
    known.deployments = health?.deployments ?? null;
    known.providers = health?.providers ?? 0;
  };
  try {
    await look();
  } catch {
    return;
  }
  if (known.requests > 0 && known.key) return;
  place.hidden = false;

  const ask = async () => {
    known.asking = true;
    known.problem = null;
    known.answer = "";
    draw();
    const line = place.querySelector(".answer");
    try {
      const headers = known.text && asksModels(known.scopes) ? { authorization: `Bearer ${known.text}` } : {};
      const body = { model: "auto", stream: true, messages: [{ role: "user", content: "Greet me in one short sentence." }] };
      for await (const { data } of ctx.api.stream("POST", "/v1/chat/completions", { body, headers, signal: ctx.signal, quiet: true, onResponse: (response) => (known.simulated = response.headers.has("x-llm-router-simulated")) })) {
        if (data === "[DONE]") break;
        const chunk = JSON.parse(data);
        if (chunk.error) throw new Error(chunk.error.message);
        known.answer += chunk.choices[0]?.delta?.content ?? "";
        known.cost = chunk.usage?.cost ?? known.cost;
        known.model = chunk.model ?? known.model;
        line.textContent = known.answer;
      }
      known.credit = null;
      known.requests += 1;
      changed();
    } catch (error) {
      if (error.name === "AbortError") return;
      known.problem = error.message;
      if (error.status === 402) known.credit = 0;
    }
    known.asking = false;
    draw();
  };

  const step = (number, done, title, text, action, more) => h("li.step", { class: done && "done" }, h("span.step-mark", { role: "img", "aria-label": done ? "Done" : `Step ${number}` }, done ? icon("check", { size: 14 }) : number), h("div", h("h3", title), h("p", text)), action ?? null, more ? h("div.more-body", more) : null);

  /** What brings credit into an account that has none. */
  function credit() {
    const own = known.ways !== null;
    const text = own ? (known.ways.top_up ? "It has none yet. Buy some, or redeem a voucher." : "It has none yet. Redeem a voucher, or ask the operator of this gateway for some.") : "It has none yet. Ask its owner, or the operator of this gateway.";
    const operator = ctx.me.operator ? h("span", " You run the gateway: ", h("code.break", `llm-router credits add --account ${ctx.account} 5`), " gives it some.") : null;
    return [text, operator, own ? linkButton(known.ways.top_up ? "Top up" : "Redeem a voucher", "/usage", { tone: "primary" }) : null];
  }

  function draw() {
    const ready = known.deployments === null || known.deployments > 0;
    const asked = known.requests > 0;
    const poor = known.credit !== null && known.credit <= 0;
    const [creditText, creditHint, creditAction] = poor ? credit() : [];
    replace(
      place,
      card(
        { title: "First steps", text: "From here to the first answer takes a minute.", actions: button("Hide", { tone: "quiet", small: true, onclick: () => { localStorage.setItem(hidden, "1"); place.hidden = true; } }), flush: true },
        h("ol.steps",
          step(1, ready, ready ? "Models can be asked" : "Give it a provider", ready ? (known.deployments ? `${plural(known.deployments, "deployment")} of ${plural(known.providers, "provider")} can be called.` : "Your operator has seen to that.") : ctx.can("provider:write") ? "The key of any provider, given here or by the environment of the gateway. Or start it with --sandbox: simulated providers answer then, at no cost." : "Ask the operator of this gateway for a provider.", !ready && ctx.can("provider:write") ? linkButton("Give a key", "/settings/providers", { tone: "primary" }) : null),
          step(2, Boolean(known.key), known.key ? `The key “${known.key.name}”` : "Make a key", known.key && !known.text ? "Its text was shown when it was made. Programs send it with their requests." : "Programs send it with their requests. It can have a budget and limits of its own.", known.text ? null : button(known.key ? "Make another" : "Make a key", { tone: ready && !known.key ? "primary" : "plain", onclick: () => makeKey(ctx, (made) => { Object.assign(known, { key: made.data, text: made.key, scopes: made.data.scopes, models: made.data.models }); draw(); }) })),
          poor ? step(3, false, "Credit for the account", [creditText, creditHint], creditAction) : null,
          step(poor ? 4 : 3, asked && !known.asking, asked && !known.asking ? "The first answer" : "Ask a model", known.answer === null ? "From your own program, or here and now." : "", asked ? null : button("Ask now", { tone: known.key && !poor ? "primary" : "plain", disabled: !ready || known.asking, onclick: ask }), known.answer !== null || known.problem ? h("div.stack.tight", h("p.answer", { "aria-live": "polite" }, known.answer), known.problem ? h("p.bad", known.problem) : null, known.asking ? null : known.answer ? h("p.faint", [known.model, known.cost === undefined ? null : dollars(known.cost), known.simulated ? "simulated by the sandbox" : null].filter(Boolean).join(" · ")) : null) : known.text && !asked ? snippetTabs({ key: known.text, scopes: known.scopes, models: known.models }) : null),
          step(poor ? 5 : 4, asked && !known.asking, "See where it went", asked ? "Each request is in the log, with what was tried, why, and what it cost." : "Each request appears in the log, with what was tried, why, and what it cost.", asked && !known.asking && ctx.has("/logs") ? linkButton("Open the log", "/logs") : null),
        ),
      ),
    );
  }
  draw();
}

export const screen = { path: "/", title: "Home", icon: "home", group: "", mount };
