// Where requests go and why: a dry run, the deployments as they fare, presets, experiments with their verdict.

import { h, replace } from "../lib/dom.js";
import { ago, compact, count, dollars, duration, percent, plural } from "../lib/format.js";
import { icon } from "../lib/icons.js";
import { badge, button, card, codeBlock, confirm, drawer, facts, field, form, load, pageHead, reveal, segments, stat, stats, table, toast, when } from "../lib/ui.js";
import { candidates } from "./exchange.js";
import { rehearsal } from "./rehearsal.js";

const SORTS = [["", "As configured"], ["price", "Cheapest first"], ["latency", "Quickest to begin"], ["throughput", "Most tokens a second"], ["exacto", "Best with tools"]];

const words = (text) => String(text).replaceAll("_", " ");

/** The time to the first token for short inputs, else for the shortest that is known. */
const firstToken = (row) => Object.values(row.ttft_ms).find((ms) => ms !== null) ?? null;

function stateOf(row) {
  if (!row.available) return [row.reason ? words(row.reason) : "not available", "bad"];
  if (row.state === "half_open") return ["trying again", "warn"];
  if (row.share < 1) return [`coming back, ${percent(row.share, { digits: 0 })}`, "warn"];
  if (!row.called) return ["not asked yet", "plain"];
  return ["well", "good"];
}

// --- A dry run -----------------------------------------------------------------

function dryRun(ctx) {
  const place = h("div", { "aria-live": "polite" });
  const names = h("datalist", { id: "dry-run-models" });
  ctx.api.get("/v1/models", { account: ctx.account }, { signal: ctx.signal }).then((found) => replace(names, found.data.filter((each) => each.available).map((each) => h("option", { value: each.id }))), () => null);
  const model = field({ label: "Model, preset or auto", name: "model", required: true, list: "dry-run-models", placeholder: "gpt-5-mini, @support, auto", autocomplete: "off", spellcheck: "false" });
  const sort = field({ label: "Who goes first", name: "sort", type: "select", options: SORTS });
  const text = field({ label: "Message", name: "text", type: "textarea", value: "Hello", hint: "Its length and what it asks for count; nothing is sent to a provider, and nothing is charged." });
  const inner = form({
    fields: [h("div.form-row", model, sort), text],
    action: "Ask what would happen",
    tone: "plain",
    submit: async () => {
      const body = { model: model.value.trim(), messages: [{ role: "user", content: text.value }], ...(sort.value ? { provider: { sort: sort.value } } : {}) };
      const found = await ctx.api.post("/v1/explain", body, { params: { account: ctx.account } });
      replace(place, outcome(found));
    },
  });
  return card({ title: "Dry run", text: "Who would answer a request now, in which order, and why." }, inner, names, place);
}

function outcome(found) {
  const first = found.candidates.find((each) => each.place === 1);
  return h(
    "div.stack.tight.dry-run",
    found.error
      ? h("div.notice.bad", icon("warning"), h("div", h("b", words(found.error.code ?? "refused")), h("p.break", found.error.message)))
      : stats(
          stat("Goes to", h("span.dry-first.break", first ? first.deployment : (found.plan[0] ?? "–"))),
          stat("Expected cost", dollars(found.forecast?.expected), { note: found.forecast ? `at most ${dollars(found.forecast.max)}` : null }),
          stat("Then", plural(Math.max(0, found.plan.length - 1), "other"), { note: `strategy ${words(found.strategy)}` }),
        ),
    found.names.length ? facts(found.names.map((each) => [each.asked, each.note])) : null,
    candidates(found, "Who can answer"),
  );
}

// --- Deployments ---------------------------------------------------------------

function deployments(ctx) {
  const place = h("div");
  const state = { what: "called", text: "" };
  let rows = [];
  const pickRows = () => {
    const text = state.text.toLowerCase();
    return rows.filter((row) => (state.what === "all" || (state.what === "called" ? row.called : !row.available || row.state !== "closed" || row.share < 1)) && row.deployment.toLowerCase().includes(text));
  };
  const none = () => ({ called: { icon: "route", title: "No deployment was asked yet", text: "What the gateway learns of providers by asking them shows up here." }, unwell: { icon: "check", title: "All deployments are well" }, all: { icon: "cube", title: "Nothing is called that" } })[state.text ? "all" : state.what];
  const build = () =>
    table({
      label: "Deployments",
      rows: pickRows(),
      empty: none(),
      sort: { key: "calls", down: true },
      columns: [
        { key: "deployment", label: "Deployment", wide: true, sort: true, render: (row) => h("span.break", row.deployment) },
        { key: "state", label: "State", sort: (row) => stateOf(row)[0], render: (row) => { const [word, tone] = stateOf(row); return h("span", badge(word, tone, { dot: true }), row.back ? h("span.cell-sub", `again ${ago(row.back)}`) : null); } },
        { key: "calls", label: "Calls", align: "end", sort: true, hideOnPhone: true, render: (row) => h("span", count(row.calls), row.in_flight ? h("span.cell-sub", `${count(row.in_flight)} now`) : null) },
        { key: "error_rate", label: "Failed", align: "end", sort: true, render: (row) => (row.error_rate === null ? "–" : percent(row.error_rate)) },
        { key: "ttft", label: "First token", align: "end", sort: firstToken, hideOnPhone: true, render: (row) => duration(firstToken(row) === null ? null : Math.round(firstToken(row))) },
        { key: "tokens_per_s", label: "Tokens/s", align: "end", sort: true, hideOnPhone: true, render: (row) => (row.tokens_per_s === null ? "–" : compact(Math.round(row.tokens_per_s))) },
        { key: "price", label: "Price in · out", align: "end", sort: (row) => row.price_per_mtok?.input ?? null, hideOnPhone: true, render: (row) => (row.price_per_mtok ? h("span.money", dollars(row.price_per_mtok.input), h("span.faint", " · "), dollars(row.price_per_mtok.output)) : "–") },
      ],
    });
  const draw = () => replace(place, build());
  const reload = load(place, async () => {
    rows = (await ctx.api.get("/api/v1/health", {}, { signal: ctx.signal })).data;
    return build();
  }, { lines: 6 });
  const timer = setInterval(() => document.visibilityState === "visible" && !place.contains(document.activeElement) && reload({ quiet: true }), 10_000);
  const search = h("label.search-box", icon("search", { size: 16 }), h("input", { type: "search", "aria-label": "Find a deployment", placeholder: "Find", oninput: (event) => ((state.text = event.target.value.trim()), draw()) }));
  const head = [search, segments([["called", "Asked"], ["unwell", "Not well"], ["all", "All"]], "called", (what) => ((state.what = what), draw()), { label: "Which" })];
  return [card({ flush: true, title: "Deployments", text: "As this gateway finds them; prices are dollars per million tokens.", actions: head }, place), () => clearInterval(timer)];
}

// --- Presets and experiments -----------------------------------------------------

/** The operator sees what is in a preset; others what it is for. */
function openPreset(ctx, { name }) {
  const place = h("div");
  drawer({ title: `@${name}`, text: `A request names it as @${name}, or one version as @${name}:1.`, body: place, wide: true });
  load(place, async () => {
    const found = await ctx.api.get(`/api/v1/presets/${encodeURIComponent(name)}`, {}, { signal: ctx.signal });
    return h("div.stack", found.versions.map(presetVersion));
  }, { lines: 8 });
}

const settings = (members, label) => codeBlock(JSON.stringify(members, null, 2), { label });

function presetVersion(each) {
  const rows = [
    ["Models", each.models.join(", ") || "those of the request"],
    each.description && ["For", each.description],
    each.system && ["System prompt", h("div.break", each.system)],
    Object.keys(each.parameters).length > 0 && ["Parameters", settings(each.parameters, "Parameters")],
    Object.keys(each.provider).length > 0 && ["Providers", settings(each.provider, "Providers")],
    each.dial !== null && ["Dial of auto", String(each.dial)],
    ["Saved", when(each.created, { exact: true })],
  ];
  return h("section.stack.tight", h("h3", `Version ${each.version}`), each.deleted ? h("p.muted", "Deleted with this version.") : facts(rows));
}

function presets(ctx) {
  return card(
    { flush: true, title: "Presets", text: "Saved sets of models, parameters and instructions: a request names one as @name." },
    table({
      label: "Presets",
      load: () => ctx.api.get("/api/v1/presets", {}, { signal: ctx.signal }).then((found) => ({ data: found.data, next: null })),
      empty: { icon: "star", title: "No preset yet", text: "Save one from the playground." },
      onRow: ctx.can("house:read") ? (row) => openPreset(ctx, row) : null,
      columns: [
        { key: "name", label: "Name", render: (row) => h("span", h("code", `@${row.name}`), h("span.cell-sub", `version ${row.version}`)) },
        { key: "models", label: "Models", wide: true, render: (row) => h("span.break", row.models.join(", ") || "–") },
        { key: "description", label: "For", hideOnPhone: true, render: (row) => h("span.break.faint", row.description ?? "–") },
      ],
    }),
  );
}

const VERDICTS = { running: ["running", "info"], over: ["over", "plain"] };

function experiments(ctx) {
  const list = table({
    label: "Experiments",
    load: () => ctx.api.get("/api/v1/experiments", {}, { signal: ctx.signal }).then((found) => ({ data: found.data, next: null })),
    empty: { icon: "flask", title: "No experiment runs", text: "llm-router experiments create begins one: a split, a canary, or a shadow that nobody sees." },
    onRow: (row) => openExperiment(ctx, row, () => list.reload()),
    columns: [
      { key: "name", label: "Name", wide: true, render: (row) => h("span", row.name, h("span.cell-sub", row.description ?? row.of)) },
      { key: "kind", label: "Kind", render: (row) => words(row.kind) },
      { key: "of", label: "Of", hideOnPhone: true, render: (row) => h("code.break", row.of) },
      { key: "state", label: "State", render: (row) => badge(...(VERDICTS[row.state] ?? [row.state, "plain"])) },
    ],
  });
  return card({ flush: true, title: "Experiments", text: "Models and settings compared on real requests." }, list);
}

const rate = (part) => (part.rate === null ? "–" : percent(part.rate));

function openExperiment(ctx, row, again) {
  const place = h("div");
  const stop = async () => {
    if (!(await confirm({ title: `Stop ${row.name}?`, text: "Its requests are served as if there were no experiment. What was counted stays.", action: "Stop it" }))) return;
    await ctx.api.post(`/api/v1/experiments/${encodeURIComponent(row.name)}/stop`, {});
    node.close();
    toast(`${row.name} is over.`);
    again();
  };
  const node = drawer({ title: row.name, text: `${words(row.kind)} of ${row.of}`, body: place, wide: true, actions: row.state === "running" ? [button("Stop the experiment", { onclick: stop })] : [] });
  load(place, async () => {
    const found = await ctx.api.get(`/api/v1/experiments/${encodeURIComponent(row.name)}`, {}, { signal: ctx.signal });
    return h(
      "div.stack",
      found.reason ? h("div.notice", icon("info"), h("p", `Ended by the ${found.ended_by}: ${found.reason}`)) : null,
      h("section.stack.tight", h("h3", "Verdict"), found.verdict.length ? h("ul.verdict", found.verdict.map((line) => h("li", line))) : h("p.muted", "Too few requests took part to say anything.")),
      table({
        label: "Arms",
        rows: found.arms,
        columns: [
          { key: "name", label: "Arm", wide: true, render: (arm) => h("span", arm.name, h("span.cell-sub", Object.keys(arm.models).join(", "))) },
          { key: "requests", label: "Requests", align: "end", render: (arm) => count(arm.requests) },
          { key: "errors", label: "Failed", align: "end", render: (arm) => rate(arm.errors) },
          { key: "first", label: "First token", align: "end", hideOnPhone: true, render: (arm) => duration(arm.first_token_ms.mean) },
          { key: "took", label: "Took", align: "end", hideOnPhone: true, render: (arm) => duration(arm.latency_ms.mean) },
          { key: "cost", label: "Cost a request", align: "end", render: (arm) => dollars(arm.cost_usd.mean) },
          { key: "good", label: "Liked", align: "end", hideOnPhone: true, render: (arm) => rate(arm.feedback.good) },
        ],
      }),
    );
  }, { lines: 8 });
}

async function mount(root, ctx) {
  let stop = () => {};
  const parts = [];
  const first = ctx.can("inference:use") ? dryRun(ctx) : null;
  if (ctx.can("health:read")) {
    const [shown, end] = deployments(ctx);
    parts.push(shown);
    stop = end;
  }
  if (ctx.can("preset:read")) parts.push(presets(ctx));
  if (ctx.can("house:read")) parts.push(experiments(ctx), rehearsal(ctx));
  root.append(pageHead("Routing", { text: "Where requests go, and why." }), first);
  await reveal(root, parts, ctx.signal);
  return stop;
}

export const screen = { path: "/routing", title: "Routing", icon: "route", group: "observe", needs: "preset:read", mount };
