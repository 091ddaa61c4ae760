// What was used and what it cost: over time, by whom and for what; the balance, the books, statements and exports.

import { h, replace } from "../lib/dom.js";
import { chart } from "../lib/chart.js";
import { compact, count, day, dollars, duration, percent, signedDollars, time } from "../lib/format.js";
import { icon } from "../lib/icons.js";
import { badge, button, card, dialog, drawer, empty, facts, field, form, linkButton, load, pageHead, reveal, saveFile, segments, skeleton, stat, stats, statsRoom, table, toast } from "../lib/ui.js";
import { keyName } from "./exchange.js";
import { NONE as OF_NONE } from "./logs.js";

const HOUR = 3_600_000;
const DAY = 24 * HOUR;

const RANGES = [["day", "24 hours"], ["week", "7 days"], ["month", "30 days"], ["year", "12 months"]];
const SIZES = { day: [24 * HOUR, "hour", HOUR], week: [7 * DAY, "day", DAY], month: [30 * DAY, "day", DAY], year: [365 * DAY, "day", DAY] };

const DIMENSIONS = [["model", "Model"], ["provider", "Provider"], ["key", "Key"], ["user", "User"], ["team", "Team"], ["tag", "Tag"]];
const NONE = { model: "no model", provider: "nobody was asked", key: "no key", user: "no user named", team: "no team", tag: "no tag" };

const MEASURES = [["cost", "Spend"], ["requests", "Requests"], ["tokens", "Tokens"]];

/** Keeps the room of a line. */
const NO_NOTE = "\u2007";

const KINDS = { grant: "Credit", use: "Use", adjust: "Correction" };

const tokensOf = (row) => row.input_tokens + row.output_tokens;
const valueOf = (row, measure) => (measure === "tokens" ? tokensOf(row) : row[measure]);
const shown = (measure) => (measure === "cost" ? dollars : compact);

/** The full hours or days (UTC) from a moment until now. */
function moments(begin, step) {
  const found = [];
  for (let at = Math.floor(begin / step) * step; at <= Date.now(); at += step) found.push(at);
  return found;
}

/** The rows of a report as one series each for the largest, and one for all others. */
function seriesOf(rows, dimension, time_, x, measure, nameOf) {
  const places = new Map(x.map((at, index) => [at, index]));
  const each = new Map();
  for (const row of rows) {
    const at = places.get(Date.parse(row[time_]));
    if (at === undefined) continue;
    const id = row[dimension];
    if (!each.has(id)) each.set(id, { id, total: 0, values: x.map(() => 0) });
    const one = each.get(id);
    one.values[at] += valueOf(row, measure);
    one.total += valueOf(row, measure);
  }
  const sorted = [...each.values()].sort((a, b) => b.total - a.total);
  const series = sorted.slice(0, 7).map((one) => ({ name: nameOf(one.id), values: one.values }));
  if (sorted.length > 7) series.push({ name: `${sorted.length - 7} others`, values: x.map((_, at) => sorted.slice(7).reduce((sum, one) => sum + one.values[at], 0)) });
  return series;
}

async function mount(root, ctx) {
  const pickOf = (name, options, other) => (options.some(([each]) => each === ctx.query.get(name)) ? ctx.query.get(name) : other);
  const state = { range: pickOf("range", RANGES, "month"), by: pickOf("by", DIMENSIONS, "model"), measure: pickOf("measure", MEASURES, "cost") };
  let names = new Map();
  const naming = ctx.can("key:read") ? ctx.api.get("/api/v1/keys", { limit: 200 }, { signal: ctx.signal }).then((page) => (names = new Map(page.data.map((key) => [key.hash, key.name || key.label]))), () => null) : Promise.resolve();
  const nameOf = (id) => (id === null ? NONE[state.by] : state.by === "key" ? keyName(id, names) : id);

  const figures = h("div");
  const over = h("div", { style: { "min-height": "324px" } }, skeleton(0, { height: 312 })); // with its padding
  const breakdown = h("div", skeleton(8));
  let report = null;
  let begin = 0;

  const span = () => {
    const [ms, by, step] = SIZES[state.range];
    begin = Math.floor((Date.now() - ms + step) / step) * step;
    return { from: new Date(begin).toISOString(), by, step };
  };

  const redraw = load(figures, async () => {
    const { from, by } = span();
    const [found] = await Promise.all([ctx.api.get("/api/v1/usage", { by: `${by},${state.by}`, from }, { signal: ctx.signal }), naming]);
    report = found;
    drawChart();
    drawBreakdown();
    const { total } = found;
    return stats(
      stat("Spend", dollars(total.cost), { note: total.requests ? `${dollars(total.cost / total.requests)} a request` : NO_NOTE }),
      stat("Requests", compact(total.requests), { note: total.errors ? `${percent(total.errors / total.requests)} failed` : total.requests ? "none failed" : NO_NOTE }),
      stat("Tokens in", compact(total.input_tokens), { note: total.input_tokens ? `${percent(total.cached_tokens / total.input_tokens, { digits: 0 })} from caches` : NO_NOTE }),
      stat("Tokens out", compact(total.output_tokens), { note: NO_NOTE }),
      stat("First token", duration(total.first_token_ms), { note: "mean, of streams" }),
    );
  }, { room: () => statsRoom(["Spend", "Requests", "Tokens in", "Tokens out", "First token"]) });

  function drawChart() {
    const { by, step } = span();
    const x = moments(begin, step);
    if (!report.data.length) return replace(over, empty({ icon: "chart", title: "Nothing was used in this time", text: "Requests show up here as soon as they end." }));
    const series = seriesOf(report.data, state.by, by, x, state.measure, nameOf);
    // Days are those of the books, in UTC: in the reader's zone they would be written as the day before.
    const marks = by === "hour" ? x : x.map((at) => new Date(at)).map((at) => new Date(at.getUTCFullYear(), at.getUTCMonth(), at.getUTCDate()));
    replace(over, chart({ x: marks, series, kind: "bar", by: by === "hour" ? "hour" : "day", format: shown(state.measure), label: `${MEASURES.find(([name]) => name === state.measure)[1]} by ${state.by}`, height: 260, legend: true }));
  }

  function drawBreakdown() {
    const each = new Map();
    for (const row of report.data) {
      const sum = each.get(row[state.by]) ?? { id: row[state.by], requests: 0, errors: 0, input_tokens: 0, output_tokens: 0, cost: 0 };
      for (const name of ["requests", "errors", "input_tokens", "output_tokens", "cost"]) sum[name] += row[name];
      each.set(row[state.by], sum);
    }
    const rows = [...each.values()].sort((a, b) => b.cost - a.cost);
    const top = Math.max(...rows.map((row) => row.cost), 0);
    const canOpen = ctx.can("exchange:read") && state.by !== "team";
    replace(
      breakdown,
      table({
        label: "Use in parts",
        rows,
        sort: { key: "cost", down: true },
        empty: { icon: "chart", title: "Nothing yet" },
        onRow: canOpen ? (row) => ctx.navigate(`/logs?${new URLSearchParams({ [state.by]: row.id || OF_NONE, range: state.range === "year" ? "all" : state.range })}`) : undefined,
        columns: [
          { key: "id", label: DIMENSIONS.find(([name]) => name === state.by)[1], wide: true, sort: (row) => nameOf(row.id), render: (row) => h("span.break", nameOf(row.id)) },
          { key: "requests", label: "Requests", align: "end", sort: true, render: (row) => count(row.requests) },
          { key: "errors", label: "Failed", align: "end", sort: true, hideOnPhone: true, render: (row) => (row.errors ? percent(row.errors / row.requests) : "–") },
          { key: "input_tokens", label: "Tokens in", align: "end", sort: true, hideOnPhone: true, render: (row) => compact(row.input_tokens) },
          { key: "output_tokens", label: "Tokens out", align: "end", sort: true, hideOnPhone: true, render: (row) => compact(row.output_tokens) },
          { key: "cost", label: "Cost", align: "end", sort: true, render: (row) => h("span.share", h("span.share-bar", { "aria-hidden": "true" }, h("i", { style: { width: `${top ? (100 * row.cost) / top : 0}%` } })), h("span.money", dollars(row.cost))) },
        ],
      }),
    );
  }

  const change = (values, again) => {
    Object.assign(state, values);
    ctx.setQuery({ range: state.range === "month" ? null : state.range, by: state.by === "model" ? null : state.by, measure: state.measure === "cost" ? null : state.measure });
    if (again || !report) return void redraw({ quiet: true });
    drawChart();
  };

  const exportOf = (format) => `/api/v1/usage/export?${new URLSearchParams({ format, account: ctx.account, from: span().from })}`;
  const exports_ = ctx.can("exchange:read") ? ["csv", "jsonl"].map((format) => linkButton(format === "csv" ? "CSV" : "JSON lines", exportOf(format), { icon: "download", onclick: (event) => event.currentTarget.setAttribute("href", exportOf(format)), download: `usage.${format}`, title: "Every request of this time" })) : [];
  root.append(
    pageHead("Usage & billing", { text: "What was used, by whom, and what it cost.", actions: [segments(RANGES, state.range, (range) => change({ range }, true), { label: "Time" })] }),
    figures,
    card({ title: "Over time", text: state.range === "day" ? null : "Days are those of UTC, as on statements.", actions: [segments(MEASURES, state.measure, (measure) => change({ measure }), { label: "What is shown" })] }, over),
    card({ flush: true, title: "In parts", actions: [segments(DIMENSIONS, state.by, (by) => change({ by }, true), { label: "By" }), exports_] }, breakdown),
  );
  if (ctx.can("credit:read")) await billing(root, ctx);
}

async function billing(root, ctx) {
  const balance = h("div");
  const entries = h("div");
  const months = h("div");
  let missing = {};
  const reload = load(balance, async () => {
    const [{ data }, ways] = await Promise.all([ctx.api.get("/api/v1/credits", {}, { signal: ctx.signal }), ctx.can("credit:write") ? ctx.api.get("/api/v1/credits/ways", {}, { signal: ctx.signal }) : null]);
    const again = () => (reload({ quiet: true }), books.reload());
    return h(
      "div.balance",
      h("div", h("p.muted", "Balance"), h("p.balance-sum", dollars(data.credits_remaining)), h("p.faint", `${dollars(data.total_credits)} credited · ${dollars(data.total_usage)} used${data.held ? ` · ${dollars(data.held)} held for requests that run` : ""}`)),
      ways && h("div.actions", ways.top_up ? button("Top up", { tone: "primary", icon: "plus", onclick: () => topUp(ctx, ways) }) : null, button("Redeem a voucher", { icon: "ticket", onclick: () => redeem(ctx, again) })),
    );
  }, { height: 84 });
  const books = table({
    label: "The account's books",
    load: (after, limit) => ctx.api.get("/api/v1/credits/entries", { after, limit }, { signal: ctx.signal }),
    limit: 10,
    empty: { icon: "card", title: "Nothing is booked yet", text: "Credit and the cost of each request show up here." },
    columns: [
      { key: "created", label: "When", render: (row) => time(row.created) },
      { key: "kind", label: "What", render: (row) => KINDS[row.kind] ?? row.kind },
      { key: "note", label: "For", wide: true, hideOnPhone: true, render: (row) => h("span.break.faint", row.note || row.id) },
      { key: "amount", label: "Amount", align: "end", render: (row) => h("span.money", { class: Number(row.amount) > 0 && "good" }, signedDollars(row.amount)) },
    ],
  });
  replace(entries, books);
  replace(
    months,
    table({
      label: "Statements",
      load: async () => {
        const found = await ctx.api.get("/api/v1/statements", {}, { signal: ctx.signal });
        missing = found.missing_formats;
        return { data: found.data, next: null };
      },
      empty: { icon: "card", title: "No statement yet" },
      onRow: (row) => openStatement(ctx, row.month, missing),
      columns: [
        { key: "month", label: "Month", wide: true, render: (row) => monthName(row.month) },
        { key: "issued", label: "State", render: (row) => (row.issued ? badge(row.invoice_number ?? "issued", "good") : badge("running")) },
        { key: "used", label: "Used", align: "end", render: (row) => dollars(row.used) },
        { key: "closing", label: "Balance", align: "end", render: (row) => dollars(row.closing) },
      ],
    }),
  );
  await reveal(root, [card({}, balance), card({ flush: true, title: "Statements and invoices" }, months), card({ flush: true, title: "Books", text: "Every credit and every charge, the newest first." }, h("div.books", entries))], ctx.signal);
}

const monthName = (month) => new Intl.DateTimeFormat(undefined, { month: "long", year: "numeric", timeZone: "UTC" }).format(new Date(`${month}-01T00:00:00Z`));

function topUp(ctx, ways) {
  const node = dialog({
    title: "Top up",
    text: "You pay at Stripe; the credit is there as soon as the payment is.",
    body: form({
      fields: [field({ label: "US dollars", name: "amount", inputmode: "decimal", required: true, value: "20", pattern: "[0-9]{1,7}([.][0-9]{1,2})?", hint: `From ${dollars(ways.minimum)} to ${dollars(ways.maximum)}` })],
      action: "Go to the payment",
      cancel: () => node.close(),
      submit: async ({ amount }, { headers }) => {
        const { url } = await ctx.api.post("/api/v1/credits/top-up", { amount: Number(amount) }, { headers });
        location.assign(url);
      },
    }),
  });
}

function redeem(ctx, again) {
  const node = dialog({
    title: "Redeem a voucher",
    body: form({
      fields: [field({ label: "Code", name: "code", required: true, autocomplete: "off", spellcheck: "false" })],
      action: "Redeem",
      cancel: () => node.close(),
      submit: async ({ code }, { headers }) => {
        const found = await ctx.api.post("/api/v1/credits/redeem", { code: code.trim() }, { headers });
        node.close();
        toast(found.amount === undefined ? "The voucher is booked." : `${dollars(found.amount)} are booked.`);
        again();
      },
    }),
  });
}

/** A file of the API, or in words why there is none. */
async function download(ctx, path, name) {
  const response = await ctx.api.raw("GET", path, { accept: "*/*", signal: ctx.signal });
  saveFile(name, await response.blob(), response.headers.get("content-type"));
}

async function openStatement(ctx, month, missing) {
  const place = h("div");
  const fileOf = (format) => `/api/v1/statements/${month}/file?${new URLSearchParams({ format, account: ctx.account })}`;
  const hint = h("p.muted", { role: "status" });
  const title = (format) => format.toUpperCase();
  /** What this gateway cannot make is not offered, with the reason. */
  const away = (format, why) => {
    hint.textContent = why;
    return button(title(format), { icon: "download", title: why, disabled: true, "aria-label": `${title(format)}: not available here` });
  };
  const keep = async (node, format) => {
    try {
      await download(ctx, fileOf(format), `${ctx.account}-${month}.${format}`);
    } catch (error) {
      if (!["extra_missing", "font_missing"].includes(error.code)) throw error;
      node.replaceWith(away(format, error.message));
    }
  };
  const files = ["pdf", "html", "csv"].map((format) => {
    if (missing?.[format]) return away(format, missing[format]);
    const node = button(title(format), { icon: "download", title: `Statement as ${title(format)}`, onclick: () => keep(node, format) });
    return node;
  });
  drawer({ title: monthName(month), text: "Statement", body: [hint, place], wide: true, actions: files });
  load(place, async () => {
    const found = await ctx.api.get(`/api/v1/statements/${month}`, {}, { signal: ctx.signal });
    const { invoice } = found;
    return h(
      "div.stack",
      found.issued ? null : h("div.notice", icon("info"), h("p", "The month is not issued yet: this is how it stands now.")),
      facts([
        ["Opening balance", dollars(found.opening)],
        Number(found.late_credits) !== 0 && ["Credits booked late", dollars(found.late_credits)],
        Number(found.late_usage) !== 0 && ["Use booked late", dollars(found.late_usage)],
        ...found.credits.map((line) => [line.note || line.kind, h("span", `${signedDollars(line.amount)} `, h("span.faint", day(line.created)))]),
        ["Used", dollars(found.used)],
        ["Closing balance", h("b", dollars(found.closing))],
      ]),
      table({
        label: "Use by model",
        rows: found.usage,
        empty: { icon: "chart", title: "Nothing was used" },
        columns: [
          { key: "model", label: "Model", wide: true, render: (row) => row.model ?? "no model" },
          { key: "requests", label: "Requests", align: "end", render: (row) => count(row.requests) },
          { key: "tokens", label: "Tokens", align: "end", hideOnPhone: true, render: (row) => compact(tokensOf(row)) },
          { key: "cost", label: "Cost", align: "end", render: (row) => dollars(row.cost) },
        ],
      }),
      invoice && card({ title: `Invoice ${found.invoice_number}`, text: invoice.issuer.join(", ") }, facts([["To", invoice.customer.join(", ")], ["Net", dollars(invoice.net)], ...invoice.taxes.map((tax) => [`${tax.name} ${tax.percent} %`, dollars(tax.amount)]), ["Total", dollars(invoice.total)], ["Paid", dollars(invoice.paid)], ["Due", h("b", dollars(invoice.due))]]), invoice.notes.map((note) => h("p.muted", note))),
    );
  }, { lines: 8 });
}

export const screen = { path: "/usage", title: "Usage & billing", icon: "chart", group: "observe", needs: "usage:read", mount };
