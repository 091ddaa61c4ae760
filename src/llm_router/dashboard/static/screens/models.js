// The catalogue: what there is, what it costs, what it can do, and what it would cost on one's own traffic.

import { h, on } from "../lib/dom.js";
import { ago, clock, compact, count, day, dollars, duration, percent, perMillion, plural } from "../lib/format.js";
import { icon } from "../lib/icons.js";
import { isAlive, models, noModels, search, standings } from "../lib/models.js";
import { programs } from "../lib/programs.js";
import { badge, button, card, codeBlock, copyButton, drawer, facts, pageHead, table, tabs } from "../lib/ui.js";

const MONTH_MS = 30 * 86_400_000;

const ABILITIES = [
  ["tools", "Tools", (model) => model.capabilities.tools],
  ["schema", "JSON schema", (model) => model.capabilities.json_schema],
  ["vision", "Sees pictures", (model) => model.capabilities.vision],
  ["audio", "Hears", (model) => model.capabilities.audio_input],
  ["files", "Reads files", (model) => model.capabilities.file_input],
  ["reasoning", "Reasons", (model) => model.capabilities.reasoning],
  ["open", "Open weights", (model) => model.open_weights],
];

const STATES = { active: ["active", "good"], preview: ["preview", "info"], deprecated: ["deprecated", "warn"], shutdown: ["shut down", "bad"] };

/** `[in price_per_mtok, in pricing, shown]` */
const RATES = [
  ["input", "prompt", "Input"], ["cache_read", "input_cache_read", "Input from the cache"], ["cache_write", "input_cache_write", "Input into the cache"],
  ["cache_write_1h", "input_cache_write_1h", "Input into the cache for an hour"], ["input_audio", "audio", "Sound in"], ["output", "completion", "Output"],
  ["reasoning", "internal_reasoning", "Reasoning"], ["output_audio", "audio_output", "Sound out"], ["output_image", "image_output", "Pictures out"],
];

const standing = (model, gone) => {
  if (gone.has(model.id)) return badge("unavailable", "bad", { dot: true });
  const [word, tone] = STATES[model.status] ?? [model.status, "plain"];
  return badge(word, tone, { dot: true });
};

/** What tokens cost at a model's price; null where a price is missing. */
function costOf(model, traffic) {
  const price = model.price_per_mtok;
  if (!price || !traffic?.requests || price.input === undefined) return null;
  const fresh = traffic.input_tokens - traffic.cached_tokens;
  return (fresh * price.input + traffic.cached_tokens * (price.cache_read ?? price.input) + traffic.output_tokens * (price.output ?? 0)) / 1e6;
}

/** What the account used in 30 days: `{total, by: Map(model id -> sums)}`; null where the role does not show it. */
async function ownTraffic(ctx) {
  if (!ctx.can("usage:read")) return null;
  try {
    const from = new Date(Date.now() - MONTH_MS).toISOString();
    const report = await ctx.api.get("/api/v1/usage", { by: "model", from }, { signal: ctx.signal });
    return { total: report.total, by: new Map(report.data.map((row) => [row.model, row])) };
  } catch (error) {
    if (error.name === "AbortError") throw error;
    return null; // the catalogue is worth seeing without
  }
}

async function mount(root, ctx) {
  const wanted = { q: ctx.query.get("q") ?? "", developer: ctx.query.get("developer") ?? "", use: ctx.query.get("use") ?? "chat", all: ctx.query.get("all") === "1", can: new Set(ctx.query.getAll("can")) };
  const [all, traffic, now] = await Promise.all([models({ signal: ctx.signal }), ownTraffic(ctx), standings(ctx)]);
  const developers = [...new Set(all.map((model) => model.developer))].sort((a, b) => a.localeCompare(b));
  const spent = traffic?.total.requests ? traffic : null;

  const box = h("input", { type: "search", value: wanted.q, placeholder: "Search models", "aria-label": "Search models", "aria-keyshortcuts": "/", autocomplete: "off", spellcheck: "false" });
  const note = h("span.end-note", { role: "status" });
  const select = (label, options, name) => {
    const node = h("select", { "aria-label": label, value: wanted[name] }, options.map(([value, text]) => h("option", { value }, text)));
    node.addEventListener("change", () => ((wanted[name] = node.value), draw()));
    return node;
  };
  const toggle = (label, pressed, change) => {
    const node = h("button.toggle", { type: "button", "aria-pressed": String(pressed) }, label);
    node.addEventListener("click", () => {
      const now = node.getAttribute("aria-pressed") !== "true";
      node.setAttribute("aria-pressed", String(now));
      change(now);
      draw();
    });
    return node;
  };
  const filters = h(
    "div.filters", { role: "search" },
    h("div.search-box", icon("search", { size: 16 }), box),
    select("Made by", [["", "All makers"], ...developers.map((each) => [each, each])], "developer"),
    select("For", [["chat", "Chat"], ["embed", "Embeddings"], ["", "Everything"]], "use"),
    ABILITIES.map(([name, label]) => toggle(label, wanted.can.has(name), (now) => (now ? wanted.can.add(name) : wanted.can.delete(name)))),
    toggle("Also what cannot be asked", wanted.all, (now) => (wanted.all = now)),
    note,
  );

  const columns = [
    { key: "name", label: "Model", sort: true, wide: true, render: (model) => h("span.model-name", model.name, h("span.cell-sub", h("code", model.id)), now.gone.has(model.id) ? h("span.cell-sub.phone-only", badge("unavailable", "bad", { dot: true })) : null) },
    { key: "developer", label: "Made by", sort: true, hideOnPhone: true },
    { key: "context_length", label: "Context", sort: true, align: "end", hideOnPhone: true, render: (model) => compact(model.context_length) },
    { key: "input", label: "Input / M", sort: (model) => rate(model, "input"), align: "end", render: (model) => perMillion(rate(model, "input")) },
    { key: "output", label: "Output / M", sort: (model) => rate(model, "output"), align: "end", render: (model) => perMillion(rate(model, "output")) },
    spent ? { key: "own", label: "On your traffic", sort: (model) => costOf(model, spent.total), align: "end", hideOnPhone: true, render: (model) => onTraffic(model, spent) } : null,
    { key: "released", label: "Released", sort: (model) => model.released ?? "", align: "end", hideOnPhone: true, render: (model) => (model.released ? day(model.released) : "–") },
    { key: "status", label: "Status", hideOnPhone: true, sort: (model) => `${now.gone.has(model.id) ? 1 : isAlive(model) ? 0 : 2}${model.status}`, render: (model) => (isAlive(model) || model.status === "shutdown" ? standing(model, now.gone) : badge("no provider", "plain", { dot: true })) },
  ].filter(Boolean);
  const list = table({ columns, rows: [], label: "Models", sort: wanted.q ? null : { key: "released", down: true }, onRow: (model) => open(model), empty: { icon: "search", title: "No model is like that", text: "Take a filter away, or search for something else.", action: button("Show all", { onclick: () => { ctx.navigate("/models"); } }) } });

  const none = all.some(isAlive) ? null : h("div", noModels(ctx));
  if (none) none.append(card({ flush: true }, list));

  function draw() {
    const fitting = (model) =>
      (!wanted.developer || model.developer === wanted.developer) && (!wanted.use || model.operations.includes(wanted.use)) && (wanted.all || isAlive(model)) && ABILITIES.every(([name, , has]) => !wanted.can.has(name) || has(model));
    const shown = search(all.filter(fitting), wanted.q);
    list.setRows(shown);
    if (none) none.lastChild.hidden = !shown.length;
    note.textContent = plural(shown.length, "model");
    ctx.setQuery({ q: wanted.q, developer: wanted.developer, use: wanted.use === "chat" ? null : wanted.use || null, all: wanted.all ? "1" : null });
  }
  box.addEventListener("input", () => ((wanted.q = box.value.trim()), draw()));
  const stop = on(document, "keydown", (event) => {
    if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]") || /^(input|textarea|select)$/i.test(event.target.tagName)) return;
    event.preventDefault();
    box.focus();
    box.select();
  });

  const open = (model) => {
    ctx.setQuery({ model: model.id });
    const closed = () => location.pathname === "/models" && new URLSearchParams(location.search).get("model") === model.id && ctx.setQuery({ model: null });
    showModel(ctx, all, model, { traffic, now }, closed, open);
  };

  root.classList.add("wide");
  root.append(
    pageHead("Models", { text: spent ? `Prices are dollars a million tokens, as you pay them. "On your traffic" is what the ${plural(spent.total.requests, "request")} of your last 30 days would have cost with each model.` : "Prices are dollars a million tokens, as you pay them." }),
    filters,
    none ?? card({ flush: true }, list),
  );
  draw();
  const named = all.find((model) => model.id === ctx.query.get("model") || model.aliases?.includes(ctx.query.get("model")));
  if (named) open(named);
  return stop;
}

const rate = (model, name) => model.price_per_mtok?.[name] ?? null;

function onTraffic(model, { total, by }) {
  const cost = costOf(model, total);
  if (cost === null) return "–";
  const own = by.get(model.id);
  return h("span", dollars(cost), own ? h("span.cell-sub", `used for ${dollars(own.cost)}`) : null);
}

// --- One model --------------------------------------------------------------------------

function showModel(ctx, all, model, { traffic, now }, onClose, open) {
  const can = ABILITIES.filter(([, , has]) => has(model)).map(([, label]) => badge(label));
  const embeds = !model.operations.includes("chat");
  const go = (id) => {
    const other = all.find((each) => each.id === id);
    return other ? h("button.row-link", { type: "button", onclick: () => { node.close(); open(other); } }, other.name) : h("code", id);
  };
  const part = (title, ...content) => h("section.drawer-part", h("h3", title), content);
  const prices = h("div", { hidden: true });
  void priceHistory(ctx, model).then((found) => {
    if (!found) return;
    prices.hidden = false;
    prices.append(part("Price history", found));
  });
  const node = drawer({
    title: model.name,
    text: `${model.developer} · ${model.id}`,
    wide: true,
    onClose,
    body: [
      h("div.row", standing(model, now.gone), isAlive(model) ? null : badge(model.status === "shutdown" ? "cannot be asked" : "no provider has a key here", "warn"), can.length ? h("span.abilities", can) : null),
      h("div.row", embeds || !isAlive(model) || !ctx.can("inference:use") ? null : button("Try it", { icon: "chat", tone: "primary", onclick: () => { node.close(); ctx.navigate(`/playground?model=${encodeURIComponent(model.id)}`); } }), copyButton(model.id, { label: "Copy the id", small: false })),
      note(model, go),
      part("Figures", facts([
        ["Context", model.context_length ? `${count(model.context_length)} tokens` : "–"],
        ["Longest answer", model.max_output_tokens ? `${count(model.max_output_tokens)} tokens` : "–"],
        ["Takes", model.architecture.input_modalities.join(", ")],
        ["Gives", model.architecture.output_modalities.join(", ")],
        model.capabilities.reasoning_levels.length ? ["Reasoning levels", model.capabilities.reasoning_levels.join(", ")] : null,
        model.released ? ["Released", day(model.released)] : null,
        model.strengths.length ? ["Good at", model.strengths.join(", ")] : null,
        model.aliases.length ? ["Also called", model.aliases.join(", ")] : null,
      ])),
      part("Price", priceTable(model)),
      prices,
      part("Providers", providerTable(model, now)),
      traffic ? part("Your last 30 days", ownPart(model, traffic)) : null,
      part("Use it", useIt(model, embeds)),
    ],
  });
}

/** What the model cost the account before, at each provider; null where there is nothing to tell. */
async function priceHistory(ctx, model) {
  let found;
  try {
    found = await ctx.api.get(`/api/v1/models/${encodeURIComponent(model.id)}/prices`, { account: ctx.account }, { signal: ctx.signal });
  } catch {
    return null; // the rest of the drawer is worth seeing without
  }
  const rows = found.providers.flatMap((provider) => provider.history.map((step) => ({ provider: provider.id, ...step })));
  if (!rows.length) return null;
  const sameDay = (row) => rows.some((other) => other !== row && other.provider === row.provider && day(other.from) === day(row.from));
  return table({
    label: "Price history",
    rows,
    columns: [
      { key: "from", label: "From", render: (row) => h("span", day(row.from), sameDay(row) ? h("span.cell-sub", clock(row.from)) : null) },
      { key: "provider", label: "Provider", wide: true },
      { key: "input", label: "Input / M", align: "end", render: (row) => (row.price ? perMillion(row.price.input) : "–") },
      { key: "output", label: "Output / M", align: "end", render: (row) => (row.price ? perMillion(row.price.output) : "–") },
    ],
  });
}

function note(model, go) {
  if (model.status === "shutdown") return h("div.notice.warn", icon("warning"), h("div", h("p", `It was shut down${model.shutdown ? ` on ${day(model.shutdown)}` : ""}.`), model.answered_by ? h("p", "Requests for it are answered by ", go(model.answered_by), ", at that model's price.") : model.successor ? h("p", "Its successor is ", go(model.successor), ".") : null));
  if (model.status === "deprecated") return h("div.notice.warn", icon("clock"), h("div", h("p", model.shutdown ? `It will be shut down on ${day(model.shutdown)}.` : "Its maker advises against it for new work."), model.successor ? h("p", "Its successor is ", go(model.successor), ".") : null));
  return null;
}

const RATE_NAMES = Object.fromEntries(RATES.map(([, name, label]) => [name, label]));

/** Dollars a token, as they stand in `pricing`, by our names and for a million. */
const perMtok = (rates) => Object.fromEntries(Object.entries(rates ?? {}).filter(([name]) => RATE_NAMES[name]).map(([name, text]) => [RATE_NAMES[name], Number(text) * 1e6]));

function priceTable(model) {
  const price = model.price_per_mtok;
  if (!price) return h("p.muted", "It has no price here: requests for it are refused until the operator gives it one.");
  const sets = [["Standard", Object.fromEntries(RATES.filter(([name]) => price[name] !== undefined).map(([name, , label]) => [label, price[name]]))]];
  for (const tier of model.pricing.long_context ?? []) sets.push([`Above ${compact(tier.above_prompt_tokens)} tokens`, perMtok(tier)]);
  if (model.pricing.off_peak) sets.push([`${model.pricing.off_peak.hours_utc.join(", ")} UTC`, perMtok(model.pricing.off_peak)]);
  for (const [name, rates] of Object.entries(model.pricing.service_tiers ?? {})) sets.push([`Tier "${name}"`, perMtok(rates)]);
  const names = [...new Set(sets.flatMap(([, rates]) => Object.keys(rates)))];
  const foot = [price.valid_from ? `Since ${day(price.valid_from)}.` : null, model.pricing.web_search ? `${dollars(model.pricing.web_search)} a web search.` : null, Number(model.pricing.request) ? `${dollars(model.pricing.request)} a request.` : null].filter(Boolean).join(" ");
  return [
    h("div.price-table", { tabindex: 0, role: "region", "aria-label": "Price" }, h("table", h("caption", "US dollars a million tokens"), h("thead", h("tr", h("th", { scope: "col" }, "Rate"), sets.map(([name]) => h("th.end", { scope: "col" }, name)))), h("tbody", names.map((name) => h("tr", h("td", name), sets.map(([, rates]) => h("td.end", perMillion(rates[name])))))))),
    foot ? h("p.field-hint", foot) : null,
  ];
}

function providerTable(model, { resting }) {
  const state = (row) => {
    if (!row.available) return badge("no key", "plain", { dot: true });
    const rests = resting.get(`${model.id} ${row.id}`);
    return rests ? h("span", badge("unavailable", "bad", { dot: true }), rests.back ? h("span.cell-sub", `tried again ${ago(rests.back)}`) : null) : badge("ready", "good", { dot: true });
  };
  const columns = [
    { key: "id", label: "Provider", render: (row) => h("span", row.id, h("span.cell-sub", h("code", row.upstream_model))) },
    { key: "price", label: "In · out / M", align: "end", render: (row) => (row.price_per_mtok ? h("span.money", perMillion(row.price_per_mtok.input), h("span.faint", " · "), perMillion(row.price_per_mtok.output)) : "–") },
    { key: "context", label: "Context", align: "end", hideOnPhone: true, render: (row) => compact(row.context_length) },
    { key: "available", label: "Here", render: state },
  ];
  const rows = [...model.providers].sort((a, b) => Number(b.available) - Number(a.available));
  return h("div.price-table", table({ columns, rows, label: "Providers" }));
}

function ownPart(model, { total, by }) {
  const own = by.get(model.id);
  const would = costOf(model, total);
  return facts([
    own ? ["Requests", `${count(own.requests)}${own.errors ? `, ${percent(own.errors / own.requests)} failed` : ""}`] : ["Requests", "none"],
    own ? ["Tokens", `${compact(own.input_tokens)} in, ${compact(own.output_tokens)} out`] : null,
    own ? ["Cost", dollars(own.cost)] : null,
    own?.first_token_ms ? ["First token", `${duration(own.first_token_ms)} on average`] : null,
    would !== null ? ["All of your traffic", `about ${dollars(would)} with this model; it did cost ${dollars(total.cost)}`] : null,
  ]);
}

function useIt(model, embeds) {
  const [path, body] = embeds ? ["/embeddings", { model: model.id, input: "Hello!" }] : ["/chat/completions", { model: model.id, messages: [{ role: "user", content: "Hello!" }], stream: true }];
  const { languages } = programs(path, body);
  const all = embeds ? languages.slice(0, 1) : languages;
  return tabs(all.map(([name, title, text]) => [name, title, () => codeBlock(text, { label: title })]), { label: "Languages" });
}

export const screen = { path: "/models", title: "Models", icon: "cube", group: "build", needs: "model:read", mount };
