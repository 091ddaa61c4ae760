// A dry run of a change of the configuration: what it would have done to the requests that came last.

import { h, replace } from "../lib/dom.js";
import { count, dollars, fullTime, plural } from "../lib/format.js";
import { icon } from "../lib/icons.js";
import { badge, button, card, drawer, empty, facts, field, form, linkButton, stat, stats, table, when } from "../lib/ui.js";

const EXAMPLES = [
  ["Cheapest first", '[routing]\nstrategy = "cheapest"\n'],
  ["Without a provider", "[providers.openai]\nenabled = false\n"],
  ["Quickest first", '[routing]\nstrategy = "fastest"\n'],
];

/** A sum that is more or less than before, with its sign. */
const more = (amount) => (amount === null ? "–" : amount === 0 ? "the same" : `${amount > 0 ? "+" : "−"}${dollars(Math.abs(amount))}`);

const first = (route) => (route === null ? "–" : route.error ? h("span.bad", route.error.code ?? "refused") : (route.plan[0] ?? "nobody"));

function verdict(row) {
  if (row.unknown !== null) return badge("cannot be said", "plain");
  if (row.fails) return badge("fails", "bad", { dot: true });
  if (row.before?.error && !row.after?.error) return badge("answered again", "good", { dot: true });
  if (row.moved) return badge("goes elsewhere", "info", { dot: true });
  return badge("the same", "plain");
}

const weight = (row) => (row.fails ? 3 : row.before?.error && !row.after?.error ? 2 : row.moved ? 1 : 0);

/** Pages of the requests, those that fail first, then those that go elsewhere. */
function pages(requests) {
  const sorted = [...requests].sort((a, b) => weight(b) - weight(a) || Math.abs(b.change ?? 0) - Math.abs(a.change ?? 0));
  return async (after, limit) => ({ data: sorted.slice(after ?? 0, (after ?? 0) + limit), next: (after ?? 0) + limit < sorted.length ? (after ?? 0) + limit : null });
}

/** One plan, whole. */
const planned = (title, route) =>
  h(
    "section.stack.tight",
    h("h3", title),
    route === null
      ? h("p.muted", "Not known.")
      : [
          route.error ? h("div.notice.bad", icon("warning"), h("p.break", route.error.message ?? route.error.code)) : null,
          facts([
            ["Model", route.model ?? "–"],
            ["In this order", route.plan.length ? h("ol.plan", route.plan.map((each) => h("li.break", each))) : "nobody"],
            ["Strategy", route.strategy.replaceAll("_", " ")],
            ["Expected cost", route.expected_cost === null ? "not known" : `${dollars(route.expected_cost)}${route.max_cost === null ? "" : `, at most ${dollars(route.max_cost)}`}`],
            route.rejected.length > 0 && ["Left out", route.rejected.map((each) => h("div.break", each.deployment, h("span.muted", ` · ${each.reason.replaceAll("_", " ")}`)))],
          ]),
        ],
  );

function open(row, ctx) {
  drawer({
    title: row.asked_model,
    text: `${fullTime(row.at)}, of the account ${row.account}`,
    wide: true,
    body: [row.unknown !== null ? h("div.notice", icon("info"), h("p.break", row.unknown)) : null, h("div.grid-2", planned("Now", row.before), planned("With the change", row.after))],
    actions: ctx.has("/logs") ? [linkButton("See it in the log", `/logs?${new URLSearchParams({ range: "all", id: row.id })}`)] : [],
  });
}

function outcome(found, ctx) {
  if (!found.all) return empty({ icon: "list", title: "No request to try it on", text: "The log has none like that yet. Ask a model, or ask for those of all accounts." });
  return h(
    "div.stack.tight.rehearsed",
    stats(
      stat("Tried on", count(found.all), { note: found.unknown ? `${count(found.unknown)} cannot be said` : plural(found.all, "request").replace(/^\S+ /, "") }),
      stat("Go elsewhere", count(found.moved)),
      stat("Fail that did not", count(found.failing), { tone: found.failing ? "bad" : null }),
      stat("Answered again", count(found.mended), { tone: found.mended ? "good" : null }),
      stat("Expected cost", more(found.change), { note: "all of them together" }),
    ),
    found.warnings.map((each) => h("div.notice.warn", icon("warning"), h("p.break", each))),
    table({
      label: "What changes",
      load: pages(found.requests),
      limit: 25,
      onRow: (row) => open(row, ctx),
      empty: { icon: "check", title: "Nothing changes", text: `All ${count(found.all)} go where they went, for the same cost.` },
      columns: [
        { key: "asked_model", label: "Asked for", wide: true, render: (row) => h("span.break", row.asked_model, h("span.cell-sub", when(row.at))) },
        { key: "verdict", label: "What happens", render: verdict },
        { key: "before", label: "Goes to now", hideOnPhone: true, render: (row) => h("span.break", first(row.before)) },
        { key: "after", label: "With the change", hideOnPhone: true, render: (row) => h("span.break", first(row.after)) },
        { key: "change", label: "Cost", align: "end", render: (row) => h("span.money", more(row.change)) },
      ],
    }),
  );
}

export function rehearsal(ctx) {
  const place = h("div", { "aria-live": "polite" });
  const text = field({ label: "The change, as TOML", name: "text", type: "textarea", rows: 6, class: "mono", spellcheck: "false", placeholder: EXAMPLES[0][1], hint: "Nothing is saved, and nothing is sent to a provider. What the configuration does not name stays as it is." });
  const kind = field({ label: "It is", name: "kind", type: "select", options: [["change", "laid over the configuration of now"], ["config", "a whole configuration in its place"]] });
  const whose = field({ label: "Requests of", name: "account", type: "select", options: [["", "all accounts"], [ctx.account, `the account ${ctx.account}`]] });
  const examples = h("div.row.try-these", h("span.muted", "For example:"), EXAMPLES.map(([title, example]) => button(title, { small: true, onclick: () => { text.control.value = example; text.error(null); text.control.focus(); } })));
  const inner = form({
    fields: [text, examples, h("div.form-row", kind, whose, field({ label: "How many, the last", name: "last", type: "number", min: 1, max: 500, step: 1, required: true, value: 100, inputmode: "numeric" })), field({ label: "Show those for which nothing changes, too", name: "all", type: "checkbox" })],
    action: "Try the change",
    tone: "plain",
    submit: async (values) => {
      try {
        const found = await ctx.api.post("/api/v1/gateway/routes/test", { [values.kind]: values.text, last: Number(values.last), account: values.account || null, all: values.all });
        replace(place, outcome(found, ctx));
      } catch (error) {
        replace(place);
        if (["change", "config"].includes(error.param)) error.param = "text";
        throw error;
      }
    },
  });
  return card({ title: "Dry run of a change", text: "What a change of the configuration would have done to the last requests: where they would go, what they would cost, and which would fail." }, inner, place);
}
