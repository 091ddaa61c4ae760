// The pages for anybody, where the operator shows them: prices and status.

import { h, replace } from "../lib/dom.js";
import { compact, count, fullTime, perMillion, plural } from "../lib/format.js";
import { icon, mark } from "../lib/icons.js";
import { search } from "../lib/models.js";
import { badge, card, empty, failure, linkButton, skeleton, table } from "../lib/ui.js";

const head = (ctx, title, text, other) =>
  h("header.page-head", h("div.gate-head", mark(36), h("div", h("h1", { tabindex: -1 }, title), h("p", text))), h("div.actions", h("a.button.quiet", { href: other[0] }, other[1]), ctx.me ? h("a.button", { href: "/" }, "Dashboard") : h("a.button", { href: "/sign-in" }, "Sign in")));

/** Why there is nothing to see, and what who is signed in can do about it. */
const hidden = (ctx, title) => [
  h("header.gate-head", mark(36), h("h1", { tabindex: -1 }, title)),
  empty({
    icon: "shield",
    title: "This is not public here",
    text: ctx.me?.operator ? "You can switch it on: anybody sees the prices and the status then, without signing in." : "The operator of this gateway shows its prices and status to nobody but those who sign in.",
    action: ctx.me?.operator ? linkButton("To the gateway's settings", "/settings/gateway") : ctx.me ? linkButton("To the models", "/models") : linkButton("Sign in", "/sign-in"),
  }),
];

/** Show what an address of the API says, or why it says nothing. */
async function shown(place, ctx, title, path, draw, again) {
  replace(place, skeleton(8, { height: 420 }));
  try {
    replace(place, draw(await ctx.api.get(path, {}, { quiet: true })));
  } catch (error) {
    replace(place, error.status === 404 ? hidden(ctx, title) : failure(error, again));
  }
}

async function pricing(place, ctx) {
  await shown(place, ctx, "Prices", "/api/v1/public/prices", ({ data }) => {
    const box = h("input", { type: "search", placeholder: "Search models", "aria-label": "Search models", autocomplete: "off", spellcheck: "false" });
    const rate = (name) => (model) => model.price_per_mtok[name] ?? null;
    const list = table({
      label: "Prices",
      rows: data,
      columns: [
        { key: "name", label: "Model", sort: true, wide: true, render: (model) => h("span", model.name, h("span.cell-sub", h("code", model.id))) },
        { key: "developer", label: "Made by", sort: true, hideOnPhone: true },
        { key: "context_length", label: "Context", sort: true, align: "end", hideOnPhone: true, render: (model) => compact(model.context_length) },
        { key: "input", label: "Input / M", sort: rate("input"), align: "end", render: (model) => perMillion(rate("input")(model)) },
        { key: "cache", label: "Cached / M", sort: rate("cache_read"), align: "end", hideOnPhone: true, render: (model) => perMillion(rate("cache_read")(model)) },
        { key: "output", label: "Output / M", sort: rate("output"), align: "end", render: (model) => perMillion(rate("output")(model)) },
      ],
      empty: { icon: "search", title: "No model is like that", text: "Search for something else." },
    });
    box.addEventListener("input", () => list.setRows(search(data, box.value)));
    return [head(ctx, "Prices", "US dollars a million tokens.", ["/status", "Status"]), h("div.filters", h("div.search-box", icon("search", { size: 16 }), box), h("span.end-note", plural(data.length, "model"))), card({ flush: true }, list)];
  }, () => pricing(place, ctx));
}

const WORDS = { up: ["All models can be asked", "good"], degraded: ["Some models do not answer now", "warn"], down: ["No model answers now", "bad"] };

async function status(place, ctx) {
  await shown(place, ctx, "Status", "/api/v1/public/status", (found) => {
    const [word, tone] = WORDS[found.status];
    return [
      head(ctx, "Status", `As of ${fullTime(found.checked)}.`, ["/pricing", "Prices"]),
      h("div.notice", { class: tone, role: "status" }, icon(tone === "good" ? "check" : "warning"), h("div", h("h2", word), h("p", found.unavailable.length ? `${count(found.models - found.unavailable.length)} of ${plural(found.models, "model")} can be asked.` : `${plural(found.models, "model")}, and no fault is known.`))),
      found.unavailable.length ? card({ title: "Not answering", flush: true }, table({ label: "Models that do not answer", rows: found.unavailable, columns: [{ key: "name", label: "Model", wide: true, render: (model) => h("span", model.name, h("span.cell-sub", h("code", model.id))) }, { key: "state", label: "State", render: () => badge("unavailable", "bad", { dot: true }) }] })) : null,
    ];
  }, () => status(place, ctx));
}

export const pages = [
  { path: "/pricing", title: "Prices", wide: true, mount: pricing },
  { path: "/status", title: "Status", wide: true, mount: status },
];
