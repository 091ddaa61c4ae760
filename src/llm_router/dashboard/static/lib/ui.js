// The parts that screens are made of.

import { ApiError, once } from "./api.js";
import { h, on, replace, uid } from "./dom.js";
import { ago, fullTime, time } from "./format.js";
import { icon } from "./icons.js";

// --- Small things -----------------------------------------------------------

/** `button("Save", {onclick, tone: "primary" | "danger" | "quiet", icon: "plus", type: "submit", small: true})`. */
export function button(label, { tone = "plain", icon: name, small, onclick, type = "button", disabled, title, ...rest } = {}) {
  const node = h("button.button", { class: [tone, small && "small", !label && "only-icon"], type, disabled, title, "aria-label": label ? null : title, ...rest }, name && icon(name, { size: 16 }), label && h("span", label));
  if (onclick)
    node.addEventListener("click", async (event) => {
      const result = onclick(event);
      if (!(result instanceof Promise)) return;
      busy(node, true);
      try {
        await result;
      } catch (error) {
        if (error.name !== "AbortError") toast(messageOf(error), { tone: "bad" });
      } finally {
        busy(node, false);
      }
    });
  return node;
}

/** Show that a button is at work, and take no clicks meanwhile. */
export function busy(node, is) {
  node.setAttribute("aria-busy", String(is));
  node.disabled = is;
}

/** A link that looks like a button. */
export const linkButton = (label, href, { tone = "plain", icon: name, small, ...rest } = {}) =>
  h("a.button", { class: [tone, small && "small"], href, ...rest }, name && icon(name, { size: 16 }), h("span", label));

/** A word with a colour: tone is good, warn, bad, info or plain. A dot in front of it where `dot`. */
export const badge = (text, tone = "plain", { dot = false } = {}) => h("span.badge", { class: [tone, dot && "dot"] }, text);

/** What went wrong, in words for people. */
export const messageOf = (error) => (error instanceof ApiError ? error.message : `Something went wrong in this page: ${error.message}`);

/** A moment: how long ago, with all of it as tooltip. */
export const when = (value, { exact = false } = {}) => (value ? h("time", { datetime: new Date(value).toISOString(), title: fullTime(value) }, exact ? time(value) : ago(value)) : "–");

/** A short message at the corner of the page, read out by screen readers. */
export function toast(text, { tone = "plain", ms = 5000 } = {}) {
  const holder = document.getElementById("toasts");
  const node = h("div.toast", { class: tone }, icon(tone === "bad" ? "warning" : "check", { size: 16 }), h("p", text), h("button.icon-button", { type: "button", "aria-label": "Dismiss", onclick: () => node.remove() }, icon("close", { size: 14 })));
  holder.append(node);
  if (tone !== "bad") setTimeout(() => node.remove(), ms);
  while (holder.children.length > 4) holder.firstChild.remove();
}

export async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const area = h("textarea.offscreen", { value: text, readonly: true });
    (document.querySelector("dialog[open]") ?? document.body).append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
}

/** Copies a text (or what a function says) and tells so. */
export function copyButton(text, { label = "Copy", small = true, bare = false } = {}) {
  const word = h("span", bare ? "" : label);
  const said = h("span.offscreen", { "aria-live": "polite" });
  const holder = h("span.swap", icon("copy", { size: 15 }));
  const node = h("button.button", { class: ["quiet", small && "small", bare && "only-icon"], type: "button", title: label, "aria-label": bare ? label : null }, holder, bare ? null : word, said);
  let timer = 0;
  node.addEventListener("click", async (event) => {
    event.stopPropagation();
    await copyText(typeof text === "function" ? text() : text);
    replace(holder, icon("check", { size: 15 }));
    said.textContent = "Copied";
    clearTimeout(timer);
    timer = setTimeout(() => {
      replace(holder, icon("copy", { size: 15 }));
      said.textContent = "";
    }, 1600);
  });
  return node;
}

/** Text as it is typed somewhere, with a button that copies it. */
export const codeBlock = (text, { label = "Code" } = {}) => h("div.code", h("pre", { tabindex: 0, role: "region", "aria-label": label }, h("code", text)), copyButton(text, { bare: true, label: `Copy ${label.toLowerCase()}` }));

/** The head of a screen. */
export const pageHead = (title, { text, actions = [] } = {}) => h("header.page-head", h("div", h("h1", { tabindex: -1 }, title), text && h("p", text)), actions.length ? h("div.actions", actions) : null);

/** A framed part of a screen. */
export const card = ({ title, text, actions, flush = false } = {}, ...children) =>
  h("section.card", { class: flush && "flush" }, title || actions ? h("header.card-head", h("div", title && h("h2", title), text && h("p", text)), actions && h("div.actions", actions)) : null, h("div.card-body", children));

/** A figure with its name; `note` says what it compares to. */
export const stat = (label, value, { note, tone } = {}) => h("div.stat", h("dt", label), h("dd", { class: tone }, value), note ? h("dd.note", note) : null);

export const stats = (...each) => h("dl.stats", each);

/** Room for figures of these names, of the size that they will have. */
export const statsRoom = (names) => h("div", { "aria-hidden": "true", class: "skeleton-stats skeleton" }, h("div.stats", names.map((name) => h("div.stat", h("div.stat-name", name), h("div.stat-value", "\u2007"), h("div.stat-note", "\u2007")))));

/** Names and values below one another. Rows that are null are left out. */
export const facts = (rows) => h("dl.facts", rows.filter(Boolean).map(([name, value]) => h("div", h("dt", name), h("dd", value))));

/** What stands where there is nothing yet. */
export const empty = ({ icon: name = "info", title, text, action }) => h("div.empty", h("div.empty-icon", icon(name, { size: 22 })), h("p.empty-title", title), text && h("p", text), action);

/** Room for what is on its way, of its size, so that nothing jumps. */
export const skeleton = (lines = 3, { height } = {}) => h("div.skeleton", { "aria-hidden": "true", style: height ? { "min-height": `${height}px` } : {} }, height ? h("i.block") : Array.from({ length: lines }, (_, at) => h("i", { style: { width: `${92 - ((at * 23) % 48)}%` } })));

/** What could not be had, with a way to try again. */
export const failure = (error, retry) => empty({ icon: "warning", title: error.status === 403 ? "Your role does not show you this" : "This could not be loaded", text: messageOf(error), action: retry && button("Try again", { icon: "refresh", onclick: () => void retry() }) });

/** Fill a place with what a promise brings: room before, a failure with another try after. Returns what reloads it. */
export function load(place, work, { lines = 4, height, room } = {}) {
  let turn = 0;
  const run = async ({ quiet = false } = {}) => {
    const mine = ++turn;
    if (!quiet) replace(place, room?.() ?? skeleton(lines, { height }));
    place.setAttribute("aria-busy", "true");
    try {
      const found = await work();
      if (mine === turn) replace(place, found);
    } catch (error) {
      if (mine === turn && error.name !== "AbortError") replace(place, failure(error, run));
    } finally {
      if (mine === turn) place.setAttribute("aria-busy", "false");
    }
  };
  place.filled = run();
  return run;
}

const PATIENCE_MS = 2000;

/**
 * Put parts in their place when all of them have what they load, so that none pushes another down as it grows; meanwhile, and no longer than for two seconds,
 * there is room for them.
 */
export async function reveal(place, parts, signal) {
  const room = skeleton(6, { height: 320 });
  place.append(room);
  const fillings = (nodes) => nodes.flatMap((node) => [node, ...node.querySelectorAll("*")]).map((node) => node.filled).filter(Boolean);
  const all = (async () => {
    let known = 0;
    for (let found = fillings(parts); found.length > known; found = fillings(parts)) {
      known = found.length;
      await Promise.all(found);
    }
  })();
  await Promise.race([all, new Promise((resolve) => setTimeout(resolve, PATIENCE_MS))]);
  if (!signal?.aborted) room.replaceWith(...parts);
}

/** One of a few, side by side: `segments([["day", "Day"], ...], "day", (value) => ...)`. */
export function segments(options, value, change, { label = "Choose" } = {}) {
  const buttons = options.map(([name, text]) => h("button", { type: "button", "aria-pressed": String(name === value), onclick: () => choose(name) }, text));
  const choose = (name) => {
    options.forEach(([each], at) => buttons[at].setAttribute("aria-pressed", String(each === name)));
    change(name);
  };
  return h("div.segments", { role: "group", "aria-label": label }, buttons);
}

/** Panels of which one is seen: `tabs([["curl", "curl", () => node], ...])`. */
export function tabs(panels, { label = "Views", value = panels[0]?.[0] } = {}) {
  const id = uid("tab");
  const place = h("div.tab-panel", { role: "tabpanel", id: `${id}-panel`, tabindex: 0 });
  const buttons = panels.map(([name, text, build]) => h("button", { type: "button", role: "tab", id: `${id}-${name}`, "aria-controls": `${id}-panel`, onclick: () => choose(name, build) }, text));
  const choose = (name, build) => {
    panels.forEach(([each], at) => {
      buttons[at].setAttribute("aria-selected", String(each === name));
      buttons[at].tabIndex = each === name ? 0 : -1;
    });
    place.setAttribute("aria-labelledby", `${id}-${name}`);
    replace(place, build());
  };
  const list = h("div.tabs", { role: "tablist", "aria-label": label }, buttons);
  list.addEventListener("keydown", (event) => {
    const at = buttons.indexOf(document.activeElement);
    const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: -1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    const next = buttons[(to + buttons.length) % buttons.length];
    next.focus();
    next.click();
  });
  const first = panels.find(([name]) => name === value) ?? panels[0];
  if (first) choose(first[0], first[2]);
  return h("div.tabbed", list, place);
}

// --- Layers -----------------------------------------------------------------

function layer(kind, { title, text, body, actions, onClose, wide = false, labelledby }) {
  const heading = labelledby ?? uid("title");
  const before = document.activeElement;
  const node = h(
    `dialog.${kind}`,
    { class: wide && "wide", "aria-labelledby": heading },
    h("div.layer-in", h("header.layer-head", h("div", h("h2", { id: heading }, title), text && h("p", text)), h("button.icon-button", { type: "button", "aria-label": "Close", onclick: () => node.close() }, icon("close"))), h("div.layer-body", body), actions?.length ? h("footer.layer-foot", actions) : null),
  );
  node.addEventListener("click", (event) => event.target === node && node.close());
  node.addEventListener("close", () => {
    node.remove();
    if (before?.isConnected) before.focus();
    onClose?.();
  });
  document.getElementById("layers").append(node);
  node.showModal();
  const first = node.querySelector(".layer-body :is(input, select, textarea):not([type=hidden])");
  if (kind === "modal") (first ?? node.querySelector(".layer-foot .button.primary") ?? node.querySelector(".icon-button")).focus();
  return node;
}

/** A window over the page: `dialog({title, text, body, actions: [button], onClose})`. Close it by `.close()`. */
export const dialog = (options) => layer("modal", options);

/** A sheet from the side, for the details of a row. */
export const drawer = (options) => layer("drawer", options);

/** Ask before something that cannot be undone. Resolves to true or false. */
export function confirm({ title, text, action = "Delete", tone = "danger" }) {
  return new Promise((resolve) => {
    let sure = false;
    const yes = button(action, { tone, onclick: () => ((sure = true), node.close()) });
    const node = dialog({ title, body: h("p", text), actions: [button("Cancel", { onclick: () => node.close() }), yes], onClose: () => resolve(sure) });
  });
}

/** A button that opens a list of actions: `menu([{label, icon, tone, run}, ...])`. */
export function menu(items, { label = "More", trigger } = {}) {
  const id = uid("menu");
  const list = h("div.menu", { id, role: "menu" });
  list.popover = "auto";
  const node = trigger ?? h("button.icon-button", { type: "button" }, icon("more"));
  node.setAttribute("aria-haspopup", "menu");
  node.setAttribute("aria-expanded", "false");
  if (!trigger) node.setAttribute("aria-label", label);
  replace(list, items.filter(Boolean).map((item) => h("button", { type: "button", role: "menuitem", class: item.tone, onclick: (event) => { event.stopPropagation(); list.hidePopover(); item.run(); } }, item.icon && icon(item.icon, { size: 16 }), h("span", item.label), item.note && h("span.menu-note", item.note))));
  node.addEventListener("click", (event) => {
    event.stopPropagation();
    const box = node.getBoundingClientRect();
    list.showPopover();
    const wide = list.offsetWidth;
    const high = list.offsetHeight;
    list.style.left = `${Math.max(8, Math.min(box.right - wide, innerWidth - wide - 8))}px`;
    list.style.top = `${box.bottom + 6 + high > innerHeight ? Math.max(8, box.top - high - 6) : box.bottom + 6}px`;
    list.querySelector("button")?.focus();
  });
  list.addEventListener("toggle", (event) => node.setAttribute("aria-expanded", String(event.newState === "open")));
  list.addEventListener("keydown", (event) => {
    const each = [...list.querySelectorAll("button")];
    const at = each.indexOf(document.activeElement);
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: -1 }[event.key];
    if (event.key === "Tab") list.hidePopover();
    if (to === undefined) return;
    event.preventDefault();
    each[(to + each.length) % each.length].focus();
  });
  return h("span.menu-anchor", node, list);
}

// --- Forms ------------------------------------------------------------------

/**
 * A labelled control. `field({label, name, type: "text" | "number" | "password" | "email" | "select" | "textarea" | "checkbox" | "checks", options: [[value, text]], value,
 * hint, required, placeholder})`. It has `.value` to read, `.error(text)` to complain and `.control`.
 */
export function field({ label, name, type = "text", options = [], value, hint, required, optional, ...rest }) {
  const id = uid("field");
  const hintId = `${id}-hint`;
  const errorId = `${id}-error`;
  const shared = { id, name, required, "aria-describedby": `${hintId} ${errorId}`, ...rest };
  let control;
  if (type === "select") control = h("select", shared, options.map(([each, text]) => h("option", { value: each }, text)));
  else if (type === "textarea") control = h("textarea", { rows: 3, ...shared });
  else if (type === "checkbox") control = h("input", { type, ...shared });
  else if (type === "checks") control = h("div.checks", { id, role: "group", "aria-labelledby": `${id}-label`, "aria-describedby": `${hintId} ${errorId}` }, options.map(([each, text, note]) => h("label.check", h("input", { type: "checkbox", value: each, checked: (value ?? []).includes(each) }), h("span", text, note && h("small", note)))));
  else control = h("input", { type, ...shared });
  if (type === "checkbox") control.checked = Boolean(value);
  else if (type !== "checks" && value !== undefined && value !== null) control.value = value;
  const complaint = h("p.field-error", { id: errorId, role: "alert" });
  const hintNode = hint ? h("p.field-hint", { id: hintId }, hint) : h("span", { id: hintId, hidden: true });
  const title = type === "checks" ? h("span.label", { id: `${id}-label` }, label) : h("label.label", { for: id }, label, optional && h("span.optional", "optional"));
  const node = type === "checkbox" ? h("div.field.switch", h("label.check", { for: id }, control, h("span", label, hint && h("small", { id: hintId }, hint))), complaint) : h("div.field", title, control, hintNode, complaint);
  Object.defineProperty(node, "value", {
    get: () => (type === "checkbox" ? control.checked : type === "checks" ? [...control.querySelectorAll("input:checked")].map((each) => each.value) : control.value),
  });
  node.control = control;
  node.fieldName = name;
  node.fieldLabel = label;
  node.error = (text) => {
    complaint.textContent = text ?? "";
    control.setAttribute("aria-invalid", String(Boolean(text)));
  };
  control.addEventListener("input", () => node.error(null));
  return node;
}

/** An error's text with the label of the field in the place of the API's name for it. */
const told = (text, { fieldName, fieldLabel }) => (fieldName.includes("_") && fieldLabel ? text.replaceAll(`'${fieldName}'`, fieldLabel).replaceAll(fieldName, fieldLabel) : text);

/**
 * A form. `fields` are nodes of `field` (or any others); `submit(values, {headers})` gets their values by name, and what it throws is shown at the
 * field that the API names, else above the button. A double click sends once.
 */
export function form({ fields, action = "Save", submit, cancel, tone = "primary", wide = false, autocomplete }) {
  const complaint = h("p.form-error", { role: "alert" });
  const go = h("button.button", { class: [tone, wide && "wide"], type: "submit" }, h("span", action));
  let headers = once();
  const node = h("form.form", { novalidate: true, autocomplete, method: "post" }, fields, complaint, h("div.form-foot", cancel && button("Cancel", { onclick: cancel }), go));
  const named = [...node.querySelectorAll(".field")].filter((each) => each.fieldName);
  const lead = (each) => {
    for (let at = each.closest("details"); at; at = at.parentElement.closest("details")) at.open = true;
    each.control.focus();
  };
  node.addEventListener("input", () => (headers = once()));
  node.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (go.disabled) return;
    complaint.textContent = "";
    let wrong = null;
    for (const each of named) {
      const text = each.control.validationMessage || null;
      each.error(text);
      if (text) wrong ??= each;
    }
    if (wrong) return lead(wrong);
    busy(go, true);
    try {
      await submit(Object.fromEntries(named.map((each) => [each.fieldName, each.value])), { headers });
    } catch (error) {
      if (error.name === "AbortError") return;
      const at = named.find((each) => each.fieldName === error.param);
      if (at) {
        at.error(told(error.message, at));
        lead(at);
      } else complaint.textContent = messageOf(error);
      headers = once();
    } finally {
      busy(go, false);
    }
  });
  return node;
}

// --- Tables -----------------------------------------------------------------

/**
 * A table. `columns`: {key, label, render(row), sort(row) | true, align: "end", wide, hideOnPhone}; `rows`: an array, or `load(cursor, limit)` that resolves to
 * `{data, next}` as the API's pages do. `onRow(row)` opens a row (a click, or Enter on its first cell). `empty` as for `empty()`. It has `.reload()` and `.rows`.
 */
export function table({ columns, rows, load: fetchPage, onRow, empty: none, label, sort: sorted, limit = 50 }) {
  const body = h("tbody");
  const foot = h("div.table-foot", { hidden: true });
  const below = h("div.table-none");
  let shown = rows ?? [];
  let next = null;
  let order = sorted ?? null;
  const heads = columns.map((column) => {
    const content = column.sort ? h("button.sort", { type: "button", onclick: () => sortBy(column.key) }, column.label, icon("down", { size: 12 })) : (column.label ?? h("span.offscreen", "Actions"));
    return h("th", { scope: "col", class: [column.align, column.hideOnPhone && "not-phone", column.wide && "grow"] }, content);
  });
  const keyOf = (column) => (typeof column.sort === "function" ? column.sort : (row) => row[column.key]);
  const compare = (a, b) => {
    if (a === b) return 0;
    if (a === null || a === undefined) return 1;
    if (b === null || b === undefined) return -1;
    return typeof a === "string" && typeof b === "string" ? a.localeCompare(b, undefined, { numeric: true }) : a < b ? -1 : 1;
  };
  function draw() {
    columns.forEach((column, at) => column.sort && heads[at].setAttribute("aria-sort", order?.key === column.key ? (order.down ? "descending" : "ascending") : "none"));
    const column = columns.find((each) => each.key === order?.key);
    const seen = column ? [...shown].sort((a, b) => compare(keyOf(column)(a), keyOf(column)(b)) * (order.down ? -1 : 1)) : shown;
    replace(body, seen.map(line));
    replace(below, !seen.length && none ? empty(none) : null);
    wrap.hidden = !seen.length && Boolean(none);
    foot.hidden = !next;
  }
  function line(row) {
    const cells = columns.map((column, at) => {
      const value = column.render ? column.render(row) : row[column.key];
      const content = at === 0 && onRow ? h("button.row-link", { type: "button", onclick: (event) => { event.stopPropagation(); onRow(row); } }, value) : value;
      return h("td", { class: [column.align, column.hideOnPhone && "not-phone"] }, content ?? "–");
    });
    const node = h("tr", { class: onRow && "opens" }, cells);
    if (onRow) node.addEventListener("click", (event) => !event.target.closest("button,a,input,label,.menu") && onRow(row));
    return node;
  }
  function sortBy(key) {
    order = { key, down: order?.key === key ? !order.down : typeof keyOf(columns.find((each) => each.key === key))(shown[0] ?? {}) === "number" };
    draw();
  }
  async function more() {
    const page = await fetchPage(next, limit);
    shown = [...shown, ...page.data];
    next = page.next ?? null;
    draw();
  }
  replace(foot, button("Show more", { onclick: more }));
  const wrap = h("div.table-wrap", { tabindex: 0, role: "region", "aria-label": label }, h("table", h("thead", h("tr", heads)), body));
  const node = h("div.table", wrap, below, foot);
  node.reload = async () => {
    if (!fetchPage) return draw();
    if (!shown.length) {
      wrap.hidden = true;
      replace(below, skeleton(6));
    }
    try {
      const page = await fetchPage(null, limit);
      shown = page.data;
      next = page.next ?? null;
      draw();
    } catch (error) {
      if (error.name === "AbortError") return;
      wrap.hidden = true;
      foot.hidden = true;
      replace(below, failure(error, node.reload));
    }
  };
  node.setRows = (given, { next: after = null } = {}) => {
    shown = given;
    next = after;
    draw();
  };
  Object.defineProperty(node, "rows", { get: () => shown });
  node.filled = node.reload();
  return node;
}

/** Make `element` follow a media query or any event until the screen goes: collects what has to be undone. */
export function cleanups() {
  const all = [];
  const add = (undo) => (all.push(undo), undo);
  return { add, on: (...given) => add(on(...given)), run: () => all.splice(0).forEach((undo) => undo()) };
}

/** Hand a text or a blob to the browser as a file. */
export function saveFile(name, text, type = "text/plain") {
  const url = URL.createObjectURL(new Blob([text], { type }));
  const link = h("a", { download: name });
  link.href = url;
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}
