// The log: every request with what became of it, and those that end while one looks.

import { EMPTY } from "../lib/api.js";
import { h, debounce, replace } from "../lib/dom.js";
import { clock, compact, dollars, duration, fullTime, plural, time } from "../lib/format.js";
import { icon } from "../lib/icons.js";
import { button, card, empty, failure, menu, messageOf, pageHead, segments, skeleton } from "../lib/ui.js";
import { keyName, openExchange } from "./exchange.js";

const HOUR = 3_600_000;

const RANGES = [["hour", "1 h", HOUR], ["day", "24 h", 24 * HOUR], ["week", "7 days", 168 * HOUR], ["month", "30 days", 720 * HOUR], ["all", "All", null]];

const ROWS_MAX = 500;
const LOOKS = 6;

/** In the address: of no model, no key and so on. */
export const NONE = "~none";
const NO = { model: "No model", provider: "Nobody was asked", key: "No key", user: "no user", session: "no session", tag: "no tag" };
const FILTERS = ["outcome", "model", "provider", "key", "user", "session", "tag"];

/** What an exchange ended as, in a word and a tone. */
export function outcomeOf(row) {
  if (row.error) return [row.status >= 400 ? `${row.status}` : "broke off", "bad", row.error.replaceAll("_", " ")];
  if (row.client_gone) return ["left", "warn", "the client left before the end"];
  return [String(row.status), "good", ""];
}

/** An exact time of an ISO text in the past, for the API. */
const since = (ms) => new Date(Date.now() - ms).toISOString();

/** Names of keys by their ids. */
const keyNames = (ctx) => (ctx.can("key:read") ? ctx.api.get("/api/v1/keys", { limit: 200 }, { signal: ctx.signal }).then((found) => new Map(found.data.map((key) => [key.hash, key.name || key.label])), () => new Map()) : Promise.resolve(new Map()));

/** So long the rows wait for the names in them, which would shift the columns. */
const NAMES_MS = 1000;

async function choices(ctx) {
  const seen = (by) => (ctx.can("usage:read") ? ctx.api.get("/api/v1/usage", { by, from: since(90 * 24 * HOUR) }, { signal: ctx.signal }).then((found) => found.data.map((row) => row[by]).filter(Boolean), () => []) : []);
  const [models, providers, keys] = await Promise.all([seen("model"), seen("provider"), seen("key")]);
  return { models, providers, keys };
}

function pick(label, all, options, value, change) {
  return h("select.pick", { "aria-label": label, value: value ?? "", onchange: (event) => change(event.target.value) }, h("option", { value: "" }, all), options.map(([each, text]) => h("option", { value: each }, text)));
}

async function mount(root, ctx) {
  const state = {
    range: RANGES.some(([name]) => name === ctx.query.get("range")) ? ctx.query.get("range") : "day",
    outcome: ctx.query.get("outcome") ?? "",
    model: ctx.query.get("model") ?? "",
    provider: ctx.query.get("provider") ?? "",
    key: ctx.query.get("key") ?? "",
    user: ctx.query.get("user") ?? "",
    session: ctx.query.get("session") ?? "",
    tag: ctx.query.get("tag") ?? "",
    live: true,
  };
  let names = new Map();
  const naming = keyNames(ctx).then((found) => (names = found));
  let rows = [];
  let next = null;
  let turn = 0;
  let tail = null;
  let waiting = [];
  let open = null;

  const body = h("tbody");
  const under = h("div.table-none");
  const foot = h("div.table-foot", { hidden: true });
  const told = h("span.offscreen", { "aria-live": "polite" });
  const heads = [["Time"], ["Model", "grow"], ["Result"], ["Key", "not-phone"], ["Tokens", "end not-phone"], ["First token", "end not-phone"], ["Took", "end not-phone"], ["Cost", "end"]];
  const wrap = h("div.table-wrap", { tabindex: 0, role: "region", "aria-label": "Requests" }, h("table.log", h("thead", h("tr", heads.map(([text, kind]) => h("th", { scope: "col", class: kind }, text)))), body));
  const liveButton = h("button.button.live", { type: "button", "aria-pressed": "true", onclick: () => setLive(!state.live) }, h("i.pulse", { "aria-hidden": "true" }), h("span", "Live"));
  const filters = h("div.filters", skeleton(1));

  const search = h("input", { type: "search", placeholder: "Find by id", "aria-label": "Find a request by its id", autocomplete: "off", spellcheck: "false", onkeydown: (event) => event.key === "Enter" && event.target.value.trim() && show(event.target.value.trim()) });
  const problem = h("p.field-error", { role: "alert" });
  search.addEventListener("input", () => (problem.textContent = ""));

  const exports_ = menu(
    ["csv", "jsonl"].map((format) => ({ label: format === "csv" ? "CSV for spreadsheets" : "JSON lines", icon: "download", run: () => void download(format) })),
    { trigger: button("Export", { icon: "download" }), label: "Export" },
  );
  root.append(
    pageHead("Logs", { text: "Every request, where it went, and what it cost.", actions: [liveButton, exports_] }),
    h("div.filter-bar", h("div.row", segments(RANGES.map(([name, text]) => [name, text]), state.range, (range) => change({ range }), { label: "Time" }), h("label.search-box", icon("search", { size: 16 }), search)), problem, filters),
    card({ flush: true }, h("div", wrap, under, foot)),
    told,
  );

  const filter = () => Object.fromEntries(FILTERS.map((name) => [name, state[name] === NONE ? EMPTY : state[name] || null]));
  const span = () => {
    const ms = RANGES.find(([name]) => name === state.range)[2];
    return ms === null ? {} : { from: since(ms) };
  };

  function change(values) {
    Object.assign(state, values);
    ctx.setQuery({ range: state.range === "day" ? null : state.range, ...Object.fromEntries(FILTERS.map((name) => [name, state[name]])) });
    drawFilters();
    void reload();
  }

  function drawFilters() {
    const marks = ["user", "session", "tag"].filter((name) => state[name]).map((name) => h("span.chip", state[name] === NONE ? NO[name] : `${name} ${state[name]}`, h("button.icon-button", { type: "button", "aria-label": `Any ${name}`, onclick: () => change({ [name]: "" }) }, icon("close", { size: 13 }))));
    const text = (name, value) => (value === NONE ? NO[name] : name === "key" ? keyName(value, names) : value);
    const listed = (values, own) => [...new Set([...values, ...(own ? [own] : [])])].sort();
    const any = FILTERS.some((name) => state[name]);
    replace(
      filters,
      pick("Result", "Any result", [["succeeded", "Succeeded"], ["failed", "Failed"]], state.outcome, (outcome) => change({ outcome })),
      pick("Model", "Any model", listed(known.models, state.model).map((each) => [each, text("model", each)]), state.model, (model) => change({ model })),
      pick("Provider", "Any provider", listed(known.providers, state.provider).map((each) => [each, text("provider", each)]), state.provider, (provider) => change({ provider })),
      pick("Key", "Any key", listed(known.keys, state.key).map((each) => [each, text("key", each)]), state.key, (key) => change({ key })),
      marks,
      any ? button("Clear", { tone: "quiet", small: true, onclick: () => change({ outcome: "", model: "", provider: "", key: "", user: "", session: "", tag: "" }) }) : null,
    );
  }

  function line(row, fresh = false) {
    const [word, tone, why] = outcomeOf(row);
    const near = Date.now() - row.created_ms < 20 * HOUR;
    const node = h(
      "tr.opens",
      { class: fresh && "fresh", data: { id: row.id }, onclick: () => void show(row.id, row) },
      h("td", h("button.row-link.when", { type: "button", title: fullTime(row.created_ms), onclick: (event) => (event.stopPropagation(), void show(row.id, row)) }, near ? clock(row.created_ms) : time(row.created_ms))),
      h("td", h("span.log-model", row.model ?? row.asked_model), h("span.cell-sub", row.provider ?? "nobody was asked", row.attempts > 1 ? ` · ${row.attempts} attempts` : "", row.lost ? " · adapted" : "")),
      h("td", h("span.badge.dot", { class: tone, title: why || null }, word), why ? h("span.cell-sub.not-phone", why) : null),
      h("td.not-phone", h("span.clip.narrow", row.key ? keyName(row.key, names) : "–")),
      h("td.end.not-phone", row.input_tokens || row.output_tokens ? h("span", compact(row.input_tokens), h("span.faint", " → "), compact(row.output_tokens)) : "–"),
      h("td.end.not-phone", duration(row.first_token_ms)),
      h("td.end.not-phone", duration(row.duration_ms)),
      h("td.end.money", dollars(row.cost)),
    );
    return node;
  }

  function nothing() {
    const filtered = Object.values(filter()).some(Boolean);
    if (filtered || state.range !== "all")
      return empty({ icon: "filter", title: "No requests here", text: filtered ? "Nothing in this time fits the filters." : "Nothing was asked for in this time.", action: button("Look at everything", { onclick: () => change({ range: "all", outcome: "", model: "", provider: "", key: "", user: "", session: "", tag: "" }) }) });
    return empty({ icon: "list", title: "No requests yet", text: "The first one appears here a moment after it ends. Make a key and ask a model, and watch." });
  }

  function drawFoot(searchedTo) {
    foot.hidden = !next;
    if (next) replace(foot, rows.length ? null : h("p.muted", `Nothing since ${time(searchedTo)}. `), button(rows.length ? "Show older" : "Look further back", { onclick: more }));
    replace(under, rows.length || next ? null : nothing());
    wrap.hidden = !rows.length;
  }

  /** The next page. A look may end before it found anything: then it goes on a few times. */
  async function fetchPage() {
    let searchedTo = null;
    for (let look = 0; look < LOOKS; look += 1) {
      const page = await ctx.api.get("/api/v1/exchanges", { ...filter(), ...span(), after: next, limit: 50 }, { signal: ctx.signal });
      next = page.next;
      searchedTo = page.searched_to;
      if (page.data.length || !next) return [page.data, searchedTo];
    }
    return [[], searchedTo];
  }

  async function more() {
    const mine = turn;
    const [found, searchedTo] = await fetchPage();
    if (mine !== turn) return;
    rows = [...rows, ...found];
    body.append(...found.map((row) => line(row)));
    drawFoot(searchedTo);
  }

  async function reload() {
    const mine = ++turn;
    stopTail();
    next = null;
    if (!rows.length) {
      wrap.hidden = true;
      replace(under, skeleton(8));
    } else wrap.setAttribute("aria-busy", "true");
    listen();
    try {
      const [found, searchedTo] = await fetchPage();
      await Promise.race([naming, new Promise((resolve) => setTimeout(resolve, NAMES_MS))]);
      if (mine !== turn) return;
      rows = found;
      replace(body, rows.map((row) => line(row)));
      drawFoot(searchedTo);
      flush();
    } catch (error) {
      if (mine !== turn || error.name === "AbortError") return;
      rows = [];
      wrap.hidden = foot.hidden = true;
      replace(under, failure(error, reload));
    } finally {
      if (mine === turn) wrap.setAttribute("aria-busy", "false");
    }
  }

  const flush = debounce(() => {
    if (wrap.getAttribute("aria-busy") === "true" || !waiting.length) return;
    const held = new Set(rows.map((row) => row.id));
    const fresh = waiting.filter((row) => !held.has(row.id)).sort((a, b) => b.created_ms - a.created_ms);
    waiting = [];
    if (!fresh.length) return;
    const kept = [...fresh, ...rows].slice(0, Math.max(ROWS_MAX, rows.length));
    body.prepend(...fresh.map((row) => line(row, true)));
    while (body.children.length > kept.length) body.lastChild.remove();
    rows = kept;
    wrap.hidden = false;
    replace(under);
    told.textContent = `${plural(fresh.length, "new request")}`;
  }, 150);

  function stopTail() {
    tail?.abort();
    tail = null;
    waiting = [];
  }

  /** Watch what ends. The stream ends from time to time, and is asked for again. */
  async function listen() {
    if (!state.live) return;
    const mine = (tail = new AbortController());
    let pause = 1000;
    while (!mine.signal.aborted) {
      try {
        const found = ctx.api.stream("GET", "/api/v1/exchanges/live", { params: filter(), signal: mine.signal, onResponse: () => mark(true) });
        for await (const { event, data } of found) {
          pause = 1000;
          if (event === "exchange") {
            waiting.push(JSON.parse(data));
            if (waiting.length > ROWS_MAX) waiting.shift();
            flush();
          }
        }
      } catch (error) {
        if (mine.signal.aborted || error.name === "AbortError") return;
        if (error.status === 401 || error.status === 403 || error.status === 404) return setLive(false);
        pause = Math.min(pause * 2, 30_000);
      }
      if (mine.signal.aborted) return;
      mark(false);
      await new Promise((resolve) => setTimeout(resolve, pause));
    }
  }

  const mark = (connected) => liveButton.classList.toggle("on", connected && state.live);

  function setLive(live) {
    state.live = live;
    liveButton.setAttribute("aria-pressed", String(live));
    mark(false);
    if (live) void reload();
    else stopTail();
  }

  async function download(format) {
    const query = new URLSearchParams({ format, account: ctx.account, ...span() });
    const link = h("a", { href: `/api/v1/usage/export?${query}`, download: `usage.${format}` });
    root.append(link);
    link.click();
    link.remove();
  }

  async function show(id, row) {
    if (open) return;
    open = id;
    ctx.setQuery({ id });
    try {
      await openExchange(ctx, id, { row, names, onClose: () => ((open = null), ctx.setQuery({ id: null })), onFilter: (values) => change(values) });
    } catch (error) {
      open = null;
      ctx.setQuery({ id: null });
      if (error.name !== "AbortError") problem.textContent = messageOf(error);
    }
  }

  let known = { models: [], providers: [], keys: [] };
  drawFilters();
  void reload();
  void naming.then(() => rows.length && replace(body, rows.map((row) => line(row))));
  Promise.all([choices(ctx), naming]).then(([found]) => {
    known = found;
    drawFilters();
  }, () => null);
  if (ctx.query.get("id")) void show(ctx.query.get("id"));
  return () => {
    turn += 1;
    stopTail();
  };
}

export const screen = { path: "/logs", title: "Logs", icon: "list", group: "observe", needs: "exchange:read", mount };
