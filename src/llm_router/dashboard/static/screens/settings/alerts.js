// How the operator hears of what goes wrong: the ways that the configuration names, and whether alerts arrive.

import { h } from "../../lib/dom.js";
import { count } from "../../lib/format.js";
import { badge, button, card, messageOf, table, toast, when } from "../../lib/ui.js";

const NAMES = { webhook: "Webhook", mail: "E-mail" };

export function alerts(ctx) {
  const rows = table({
    label: "Alerts",
    columns: [
      { key: "name", label: "By", wide: true, render: (row) => h("span", NAMES[row.name] ?? row.name, row.problem ? h("span.cell-sub.break", row.problem) : null) },
      { key: "delivered", label: "Last try", render: (row) => (row.delivered === null ? h("span.muted", "not yet") : h("span", badge(row.delivered ? "taken" : "refused", row.delivered ? "good" : "bad", { dot: true }), " ", when(row.last_tried))) },
      { key: "waiting", label: "Waiting", align: "end", hideOnPhone: true, render: (row) => count(row.waiting) },
      { key: "more", align: "end", render: (row) => (ctx.can("house:write") ? button("Send a test", { tone: "quiet", small: true, onclick: () => test(row) }) : h("span")) },
    ],
    load: () => ctx.api.get("/api/v1/gateway/alerts", {}, { signal: ctx.signal }),
    empty: { icon: "info", title: "Alerts leave in no way", text: "Name a webhook or a mail server under [alerts] in the configuration: low balances and failed top-ups are told of." },
  });
  async function test(row) {
    try {
      const done = await ctx.api.post(`/api/v1/gateway/alerts/${encodeURIComponent(row.name)}/test`);
      toast(done.delivered ? "It was taken." : `It was not taken: ${done.problem}`, { tone: done.delivered ? "plain" : "bad" });
    } catch (error) {
      toast(messageOf(error), { tone: "bad" });
    }
    await rows.reload();
  }
  return card({ title: "Alerts", text: "Low balances, failed top-ups and the like. The configuration names where they go.", flush: true }, rows);
}
