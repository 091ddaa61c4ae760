// The shell: who is here, what they may see, which screen the address names, and what the keyboard reaches.

import { api, ApiError, configure } from "./lib/api.js";
import { h, on, replace, uid } from "./lib/dom.js";
import { icon, mark } from "./lib/icons.js";
import { dialog, empty, failure, field, form, linkButton, menu, messageOf, pageHead, skeleton, toast } from "./lib/ui.js";
import { gates } from "./screens/gates.js";
import { screen as home } from "./screens/home.js";
import { screen as audit } from "./screens/audit.js";
import { screen as keys } from "./screens/keys.js";
import { screen as logs } from "./screens/logs.js";
import { screen as models } from "./screens/models.js";
import { screen as playground } from "./screens/playground.js";
import { screen as routing } from "./screens/routing.js";
import { pages } from "./screens/public.js";
import { screen as settings } from "./screens/settings.js";
import { screen as team } from "./screens/team.js";
import { screen as usage } from "./screens/usage.js";

/** Every screen, in the order of the navigation. */
const SCREENS = [
  home,
  playground,
  models,
  keys,
  logs,
  usage,
  routing,
  team,
  settings,
  audit,
];

const GROUPS = [["", ""], ["build", "Build"], ["observe", "Observe"], ["manage", "Manage"]];

const app = document.getElementById("app");
const state = { me: null, account: null, accounts: [], more: false, screen: null, leave: null, abort: null, shell: null, turn: 0 };

// --- Who is here -------------------------------------------------------------

const memory = {
  get: (name) => {
    try {
      return localStorage.getItem(name);
    } catch {
      return null;
    }
  },
  set: (name, value) => {
    try {
      if (value === null) localStorage.removeItem(name);
      else localStorage.setItem(name, value);
    } catch {
      // a browser that keeps nothing: the choice holds for this page
    }
  },
};

const permissions = () => new Set([...(state.me?.permissions[state.account] ?? []), ...(state.me?.house ?? [])]);

/** Whether the signed-in person may do something in the account shown, such as "key:write" or "house:read". */
export const can = (permission) => state.me?.operator || permissions().has(permission);

function seen(screen) {
  if (screen.roles && !state.me.operator && !screen.roles.includes(state.me.accounts[state.account])) return false;
  return !screen.needs || can(screen.needs);
}

async function enter() {
  state.me = await api.get("/api/v1/me", {}, { quiet: true });
  const own = Object.keys(state.me.accounts);
  state.accounts = own.map((id) => ({ id, title: id }));
  try {
    const page = await api.get("/api/v1/accounts", { limit: 200 });
    if (page.data.length) state.accounts = page.data.filter((each) => !each.closed);
    state.more = page.has_more;
  } catch {
    // the names of one's own accounts are enough
  }
  const wanted = memory.get("account");
  if (wanted) await isOurs(wanted);
  const ids = state.accounts.map((each) => each.id);
  state.account = [wanted, ...(own.includes("default") || state.me.operator ? ["default"] : []), ...own, ids[0]].find((id) => ids.includes(id)) ?? null;
  configure({ account: state.account, team: teamFor(state.account), onSignedOut: signedOut });
}

/** The team that models are asked for: of who is in several the one chosen last. */
function teamFor(account) {
  const teams = state.me.teams[account] ?? [];
  const kept = memory.get(`team:${account}`);
  return teams.length > 1 ? (teams.includes(kept) ? kept : teams[0]) : null;
}

function chooseTeam(team) {
  memory.set(`team:${state.account}`, team);
  configure({ team });
}

function signedOut(error) {
  if (!state.me) return;
  state.me = null;
  state.shell = null;
  configure({ account: null, team: null });
  toast(error.code === "session_ended" ? "Your session has ended. Sign in again." : error.message);
  const back = location.pathname + location.search;
  navigate(`/sign-in?to=${encodeURIComponent(back)}`, { replace: true });
}

async function signOut() {
  await api.post("/api/v1/sign-out", {}, { quiet: true }).catch(() => null);
  state.me = null;
  state.shell = null;
  configure({ account: null, team: null });
  navigate("/sign-in");
}

function takeAccount(id) {
  state.account = id;
  memory.set("account", id);
  configure({ account: id, team: teamFor(id) });
  state.shell = null;
}

function chooseAccount(id) {
  takeAccount(id);
  show();
}

/** Whether an account may be chosen; one of the operator's that is beyond the first page is asked for, and listed from then on. */
async function isOurs(id) {
  if (state.accounts.some((each) => each.id === id)) return true;
  if (!state.more) return false;
  const found = await api.get(`/api/v1/accounts/${encodeURIComponent(id)}`).catch(() => null);
  if (!found || found.closed) return false;
  state.accounts.push(found);
  return true;
}

function askForAccount() {
  const node = dialog({
    title: "Another account",
    text: `The list shows ${state.accounts.length}. Name any other by its id.`,
    body: form({
      fields: [field({ label: "Account", name: "account", required: true, maxlength: 100, autocomplete: "off", spellcheck: "false" })],
      action: "Open it",
      cancel: () => node.close(),
      submit: async ({ account }) => {
        if (!(await isOurs(account.trim()))) throw new ApiError({ status: 404, param: "account", message: `There is no open account '${account.trim()}'.` });
        node.close();
        chooseAccount(account.trim());
      },
    }),
  });
}

/** An account that the address names is chosen, if it is one of ours; then the address names it no more. */
async function heedAddress() {
  const named = new URLSearchParams(location.search).get("account");
  if (named === null) return;
  setQuery({ account: null });
  if (named === state.account) memory.set("account", named);
  else if (await isOurs(named)) takeAccount(named);
  else toast(`There is no account '${named}' that you may see.`, { tone: "bad" });
}

// --- Where we are ------------------------------------------------------------

function compile(path) {
  const names = [];
  const text = path.replace(/\/:(\w+)(\?)?/g, (_, name, optional) => (names.push(name), optional ? "(?:/([^/]+))?" : "/([^/]+)"));
  return { pattern: new RegExp(`^${text}/?$`), names };
}

const ROUTES = SCREENS.map((screen) => ({ screen, ...compile(screen.path) }));

function find(path) {
  for (const { screen, pattern, names } of ROUTES) {
    const match = pattern.exec(path);
    if (match) return { screen, params: Object.fromEntries(names.map((name, at) => [name, match[at + 1] === undefined ? null : decodeURIComponent(match[at + 1])])) };
  }
  return null;
}

/** Go to a path of this page. */
export function navigate(path, { replace: instead = false } = {}) {
  history[instead ? "replaceState" : "pushState"]({}, "", path);
  return show();
}

/** Change the query of the address without drawing the screen again. */
function setQuery(values) {
  const url = new URL(location.href);
  for (const [name, value] of Object.entries(values)) {
    if (value === null || value === undefined || value === "") url.searchParams.delete(name);
    else url.searchParams.set(name, value);
  }
  history.replaceState({}, "", url.pathname + url.search);
}

function leaveScreen() {
  state.abort?.abort();
  document.querySelectorAll("#layers dialog").forEach((each) => each.close());
  try {
    state.leave?.();
  } finally {
    state.leave = null;
  }
}

async function show() {
  const turn = ++state.turn;
  const gate = [...gates, ...pages].find((each) => each.path === location.pathname);
  leaveScreen();
  if (gate || !state.me) {
    if (!gate) return navigate(location.pathname === "/" ? "/sign-in" : `/sign-in?to=${encodeURIComponent(location.pathname + location.search)}`, { replace: true });
    document.title = `${gate.title} · LLM Router`;
    state.shell = null;
    const place = h("main.gate-in", { id: "main", class: gate.wide && "wide" });
    replace(app, h("div.gate", place));
    await gate.mount(place, { api, navigate, signedIn, me: state.me });
    return;
  }
  await heedAddress();
  if (turn !== state.turn) return;
  const shell = (state.shell ??= drawShell());
  const found = find(location.pathname);
  const root = h("div.screen");
  replace(shell.main, root);
  shell.unfold(false);
  shell.follow(found?.screen ?? null);
  if (!found || !seen(found.screen)) {
    document.title = "Not found · LLM Router";
    return replace(root, pageHead(found ? found.screen.title : "Not found"), failureOf(found));
  }
  document.title = `${found.screen.title} · LLM Router`;
  state.abort = new AbortController();
  const ctx = {
    api, can, navigate, setQuery, toast, me: state.me, account: state.account, params: found.params,
    query: new URLSearchParams(location.search), signal: state.abort.signal, setTitle: (text) => (document.title = `${text} · LLM Router`), reloadMe, chooseAccount, chooseTeam,
    has: (path) => { const there = find(path); return Boolean(there && seen(there.screen)); },
  };
  try {
    const leave = await found.screen.mount(root, ctx);
    if (turn !== state.turn) return leave?.();
    state.leave = typeof leave === "function" ? leave : null;
  } catch (error) {
    if (error.name === "AbortError" || turn !== state.turn) return;
    replace(root, pageHead(found.screen.title), failure(error, show));
  }
  if (document.activeElement === document.body) root.querySelector("h1")?.focus({ preventScroll: true });
  scrollTo(0, 0);
}

const failureOf = (found) =>
  found
    ? empty({ icon: "shield", title: "Your role does not show you this", text: "Ask an owner or admin of this account for another role." })
    : empty({ icon: "search", title: "There is no such page", text: `Nothing is at ${location.pathname}.`, action: linkButton("To Home", "/") });

async function reloadMe() {
  await enter();
  state.shell = null;
  await show();
}

/** After signing in: to where the person wanted to go, if that is a page of ours. */
async function signedIn() {
  await enter();
  const to = new URLSearchParams(location.search).get("to") ?? "/";
  await navigate(/^\/(?![/\\])[\x20-\x7e]*$/.test(to) ? to : "/", { replace: true });
}

// --- What is around a screen ---------------------------------------------------

function drawShell() {
  const main = h("main.main", { id: "main" });
  const links = SCREENS.filter((each) => !each.hidden && seen(each)).map((screen) => ({ screen, node: h("a", { href: screen.path.replace(/\/:.*$/, "") || "/" }, icon(screen.icon), screen.title) }));
  const nav = h("nav", { "aria-label": "Screens" }, GROUPS.map(([group, title]) => {
    const own = links.filter(({ screen }) => (screen.group ?? "") === group);
    if (!own.length) return null;
    const id = uid("group");
    return h("div.nav-group", { role: "group", "aria-labelledby": title ? id : null }, title ? h("h2", { id }, title) : null, own.map(({ node }) => node));
  }));
  const opener = () => h("button.icon-button", { type: "button", "aria-label": "Search and commands", onclick: palette }, icon("search"));
  const node = h("div.shell");
  const side = h("aside.side", { id: "side", "aria-label": "Navigation" }, h("a.brand", { href: "/" }, mark(26), "LLM Router"), h("button.find", { type: "button", onclick: palette }, icon("search", { size: 15 }), h("span", "Search"), h("kbd", navigator.platform.startsWith("Mac") ? "⌘K" : "Ctrl K")), accountPick(), nav, state.me.sandbox ? h("p.sandbox-mark", "Sandbox: answers are simulated") : null, person());
  const menuButton = h("button.icon-button", { type: "button", "aria-label": "Menu", "aria-expanded": "false", "aria-controls": "side", onclick: () => unfold(!node.classList.contains("open")) }, icon("menu", { size: 20 }));
  /** Show or hide the navigation of phones. What lies under it cannot be reached meanwhile. */
  const unfold = (open) => {
    node.classList.toggle("open", open);
    main.inert = open;
    menuButton.setAttribute("aria-expanded", String(open));
    if (open) side.querySelector("nav a")?.focus();
  };
  const bar = h("header.topbar", menuButton, h("a.brand", { href: "/" }, mark(22), "LLM Router"), state.me.sandbox ? h("span.sandbox-mark", { title: "Answers are simulated" }, "Sandbox") : null, opener());
  replace(node, bar, side, main);
  node.addEventListener("click", (event) => event.target === node && unfold(false));
  replace(app, h("a.skip", { href: "#main" }, "Skip to the content"), node);
  const follow = (screen) => links.forEach((each) => (each.screen === screen ? each.node.setAttribute("aria-current", "page") : each.node.removeAttribute("aria-current")));
  const escape = () => node.classList.contains("open") && (unfold(false), menuButton.focus());
  return { node, main, follow, unfold, escape };
}

function accountPick() {
  if (state.accounts.length < 2 && !state.more) return null;
  const choose = ({ target }) => {
    if (target.value) return chooseAccount(target.value);
    target.value = state.account;
    askForAccount();
  };
  const select = h("select", { "aria-label": "Account", value: state.account, onchange: choose }, state.accounts.map((each) => h("option", { value: each.id }, each.title || each.id)), state.more ? h("option", { value: "" }, "Another …") : null);
  return h("div.account-pick", select);
}

const initials = (name) => (name.match(/\p{L}|\p{N}/gu) ?? ["?"]).slice(0, 1).join("").toUpperCase();

function person() {
  const { me } = state;
  const role = me.accounts[state.account] ?? (me.operator ? "operator" : "");
  const trigger = h("button.me", { type: "button" }, h("span.avatar", { "aria-hidden": "true" }, initials(me.name)), h("span", h("b.clip", me.name), h("small.clip", [role, state.account].filter(Boolean).join(" · "))), icon("more", { size: 16 }));
  return menu(
    [
      { label: "Light", icon: "sun", run: () => setTheme("light") },
      { label: "Dark", icon: "moon", run: () => setTheme("dark") },
      { label: "As the system", icon: "screen", run: () => setTheme(null) },
      find("/settings") && { label: "Settings", icon: "gear", run: () => navigate("/settings") },
      { label: "Sign out", icon: "door", run: () => void signOut() },
    ],
    { trigger },
  );
}

function setTheme(theme) {
  memory.set("theme", theme);
  if (theme === null) delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
}

// --- The keyboard --------------------------------------------------------------

function commands() {
  const list = SCREENS.filter((each) => !each.hidden && seen(each)).map((screen) => ({ label: screen.title, note: "Go to", icon: screen.icon, run: () => navigate(screen.path.replace(/\/:.*$/, "") || "/") }));
  for (const screen of SCREENS) if (screen.commands && seen(screen)) for (const each of screen.commands) if (!each.needs || can(each.needs)) list.push({ ...each, note: each.note ?? screen.title, run: () => each.run({ navigate, api, can }) });
  for (const each of state.accounts) if (each.id !== state.account) list.push({ label: each.title || each.id, note: "Switch account", icon: "building", run: () => chooseAccount(each.id) });
  list.push(
    { label: "Light colours", note: "Theme", icon: "sun", run: () => setTheme("light") },
    { label: "Dark colours", note: "Theme", icon: "moon", run: () => setTheme("dark") },
    { label: "Colours of the system", note: "Theme", icon: "screen", run: () => setTheme(null) },
    { label: "Sign out", note: "Session", icon: "door", run: signOut },
  );
  return list;
}

/** How well a text fits what was typed: all letters in their order, better from the beginning of words. */
export function fit(text, typed) {
  const low = text.toLowerCase();
  let at = -1;
  let score = 0;
  for (const letter of typed.toLowerCase().replace(/\s+/g, "")) {
    const next = low.indexOf(letter, at + 1);
    if (next < 0) return -1;
    score += next === at + 1 ? 3 : /[\s/:-]/.test(low[next - 1] ?? " ") ? 2 : 0;
    at = next;
  }
  return score;
}

function palette() {
  if (!state.me || document.querySelector("dialog[open]")) return;
  const all = commands();
  const id = uid("palette");
  const list = h("ul", { id, role: "listbox", "aria-label": "Commands" });
  const input = h("input", { type: "text", role: "combobox", "aria-expanded": "true", "aria-controls": id, "aria-label": "Search screens and commands", placeholder: "Search screens and commands", autocomplete: "off", spellcheck: "false" });
  const node = h("dialog.palette", { "aria-label": "Commands" }, h("div.palette-box", icon("search"), input), list);
  let shown = [];
  let at = 0;
  const run = (command) => {
    node.close();
    Promise.resolve(command.run()).catch((error) => toast(messageOf(error), { tone: "bad" }));
  };
  const choose = (next) => {
    at = next;
    [...list.children].forEach((each, index) => each.setAttribute("aria-selected", String(index === at)));
    list.children[at]?.scrollIntoView({ block: "nearest" });
    if (shown.length) input.setAttribute("aria-activedescendant", `${id}-${at}`);
    else input.removeAttribute("aria-activedescendant");
  };
  const draw = () => {
    const typed = input.value.trim().toLowerCase();
    const named = ({ label }) => (label.toLowerCase() === typed ? 2000 : label.toLowerCase().startsWith(typed) ? 1000 : 0);
    shown = all.map((each) => [fit(`${each.label} ${each.note}`, input.value), each]).filter(([score]) => score >= 0).map(([score, each]) => [score + named(each), each]);
    shown = (input.value ? shown.sort((a, b) => b[0] - a[0]) : shown).map(([, each]) => each);
    replace(list, shown.map((each, index) => h("li", { id: `${id}-${index}`, role: "option", "aria-selected": "false", onclick: () => run(each), onpointermove: () => at !== index && choose(index) }, icon(each.icon), h("span", each.label), h("small", each.note))));
    if (!shown.length) list.append(h("li.none", { role: "option", "aria-disabled": "true", "aria-selected": "false" }, "Nothing is called that."));
    choose(0);
  };
  input.addEventListener("input", draw);
  input.addEventListener("keydown", (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step && shown.length) {
      event.preventDefault();
      choose((at + step + shown.length) % shown.length);
    } else if (event.key === "Enter" && shown[at]) {
      event.preventDefault();
      run(shown[at]);
    }
  });
  node.addEventListener("click", (event) => event.target === node && node.close());
  node.addEventListener("close", () => node.remove());
  document.getElementById("layers").append(node);
  draw();
  node.showModal();
  input.focus();
}

on(document, "keydown", (event) => {
  if ((event.metaKey || event.ctrlKey) && event.key.toLowerCase() === "k") {
    event.preventDefault();
    palette();
  }
  if (event.key === "Escape" && !document.querySelector("dialog[open], :popover-open")) state.shell?.escape();
});

on(document, "click", (event) => {
  const link = event.target.closest?.("a[href]");
  if (!link || event.defaultPrevented || event.button || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
  if (link.target || link.hasAttribute("download") || link.origin !== location.origin) return;
  if (/^\/(api|v1|v1beta|assets|\.well-known)\//.test(link.pathname) || link.getAttribute("href").startsWith("#")) return;
  event.preventDefault();
  void navigate(link.pathname + link.search + link.hash);
});

on(window, "popstate", () => void show());

try {
  replace(app, h("div.gate", h("div.gate-in", skeleton(3))));
  if ((await api.get("/api/v1/sign-in", {}, { quiet: true })).signed_in) await enter();
  await show();
} catch (error) {
  replace(app, h("div.gate", failure(error, () => location.reload())));
  throw error;
}
