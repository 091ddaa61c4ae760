// The catalogue as the account may use it, and a box to choose a model from.

import { api, currentAccount } from "./api.js";
import { h, replace, uid } from "./dom.js";
import { compact, perMillion } from "./format.js";
import { icon } from "./icons.js";
import { dialog, empty, linkButton } from "./ui.js";

const kept = new Map();

/** All models of the account, asked for once a minute at most. */
export async function models({ signal } = {}) {
  const account = currentAccount();
  const old = kept.get(account);
  if (old && Date.now() - old.at < 60_000) return old.data;
  const { data } = await api.get("/v1/models", { account }, { signal });
  kept.set(account, { at: Date.now(), data });
  return data;
}

/** Whether a request to it would be answered by it now. */
export const isAlive = (model) => model.available && model.status !== "shutdown";

/** What stands in the place of models where none can be asked, with what to do about it. */
export const noModels = (ctx) =>
  empty({
    icon: "cube",
    title: "No model can be asked yet",
    text: ctx.can("provider:write")
      ? "No provider has a key here, and no local model was found. Give one under Settings, Providers; or start the gateway with --sandbox to try everything without one."
      : "No provider has a key here. Ask the operator of this gateway to give it one.",
    action: ctx.can("provider:write") ? linkButton("Give a key", "/settings/providers", { tone: "primary" }) : null,
  });

/** Which models nobody answers for now and which of their providers rest: `{gone: Set(id), resting: Map("model provider" -> row)}`. */
export async function standings({ api: gateway, signal }) {
  try {
    const found = await gateway.get("/api/v1/models/status", {}, { signal });
    return { gone: new Set(found.unavailable), resting: new Map(found.resting.map((row) => [`${row.model} ${row.provider}`, row])) };
  } catch (error) {
    if (error.name === "AbortError") throw error;
    return { gone: new Set(), resting: new Map() }; // the models are worth seeing without
  }
}

/** What stands under a model's name in lists. */
export function brief(model) {
  const price = model.price_per_mtok;
  return [model.developer, model.context_length ? `${compact(model.context_length)} tokens` : null, price ? `${perMillion(price.input)} in, ${perMillion(price.output)} out` : "no price"].filter(Boolean).join(" · ");
}

const names = (model) => [model.id, model.name, ...(model.aliases ?? [])].map((name) => name.toLowerCase());

/** The models that a text fits: those called exactly that, then those that begin with it, then the rest, the best first. */
export function search(all, typed) {
  const whole = typed.trim().toLowerCase();
  const words = whole.split(/\s+/).filter(Boolean);
  if (!words.length) return all;
  const score = (model) => {
    const id = model.id.toLowerCase();
    const text = `${id} ${model.name} ${model.developer} ${model.family ?? ""} ${(model.aliases ?? []).join(" ")}`.toLowerCase();
    const called = names(model);
    let sum = called.includes(whole) ? 1000 : called.some((name) => name.startsWith(whole)) ? 100 : 0;
    for (const word of words) {
      if (!text.includes(word)) return -1;
      sum += id.startsWith(word) ? 4 : id.includes(word) ? 2 : 1;
    }
    return sum;
  };
  return all.map((model) => [score(model), model]).filter(([points]) => points > 0).sort((a, b) => b[0] - a[0]).map(([, model]) => model);
}

const ROWS_MAX = 60;

/** Ask for a model: resolves to its id (or any other model string that is typed), null if none was chosen. */
export function pick(all, { title = "Choose a model", value = "", others = [] } = {}) {
  return new Promise((resolve) => {
    let chosen = null;
    let shown = [];
    let at = 0;
    const id = uid("models");
    const list = h("ul.pick-list", { id, role: "listbox", "aria-label": "Models" });
    const input = h("input", { type: "search", role: "combobox", "aria-expanded": "true", "aria-controls": id, "aria-label": "Search models", placeholder: "Search, or type any model string", autocomplete: "off", spellcheck: "false" });
    const usable = all.filter((model) => isAlive(model) && model.operations.includes("chat"));
    const known = new Set(all.map((model) => model.id));
    const take = (name) => {
      chosen = name;
      node.close();
    };
    const move = (next) => {
      at = next;
      [...list.children].forEach((each, index) => each.setAttribute("aria-selected", String(index === at)));
      list.children[at]?.scrollIntoView({ block: "nearest" });
      if (shown.length) input.setAttribute("aria-activedescendant", `${id}-${at}`);
      else input.removeAttribute("aria-activedescendant");
    };
    const draw = () => {
      const typed = input.value.trim();
      const special = others.filter(([name, text]) => `${name} ${text}`.toLowerCase().includes(typed.toLowerCase()));
      const found = search(usable, typed).slice(0, ROWS_MAX);
      shown = [...(typed ? [] : special.map(([name, text]) => ({ id: name, title: name, text }))), ...found.map((model) => ({ id: model.id, title: model.name, text: brief(model), model })), ...(typed ? special.map(([name, text]) => ({ id: name, title: name, text })) : [])];
      if (typed && !shown.some((row) => row.id === typed)) shown.push({ id: typed, title: typed, text: "as it is typed" });
      if (known.has(typed) || special.some(([name]) => name === typed)) shown.sort((a, b) => Number(b.id === typed) - Number(a.id === typed));
      replace(list, shown.map((row, index) => h("li", { id: `${id}-${index}`, role: "option", "aria-selected": "false", onclick: () => take(row.id), onpointermove: () => at !== index && move(index) }, h("span", h("b", row.title), row.title === row.id ? null : h("code", row.id)), h("small", row.text), row.id === value ? icon("check", { size: 16 }) : null)));
      move(Math.max(0, typed ? 0 : shown.findIndex((row) => row.id === value)));
    };
    input.addEventListener("input", draw);
    input.addEventListener("keydown", (event) => {
      const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
      if (step && shown.length) {
        event.preventDefault();
        move((at + step + shown.length) % shown.length);
      } else if (event.key === "Enter" && shown[at]) {
        event.preventDefault();
        take(shown[at].id);
      }
    });
    const node = dialog({ title, body: [h("div.search-box.pick-box", icon("search", { size: 16 }), input), list], onClose: () => resolve(chosen) });
    draw();
    input.focus();
  });
}
