// Who did what: the log of administration.

import { h } from "../lib/dom.js";
import { fullTime } from "../lib/format.js";
import { button, card, drawer, facts, pageHead, saveFile, segments, table, toast, when } from "../lib/ui.js";

const shown = (value) => h("pre", h("code", value === null ? "nothing" : JSON.stringify(value, null, 2)));

const KINDS = { house: "gateway settings", bodies: "retention", byok: "own keys", sso: "single sign-on", settings: "gateway settings" };

/** What an entry's act is called, in words: "keys.create" as "keys: create". */
function named(action) {
  const [kind, act] = action.split(".", 2);
  return `${KINDS[kind] ?? kind.replaceAll("_", " ")}${act ? `: ${act.replaceAll("_", " ")}` : ""}`;
}

/** The members that an act changed, in words. */
const changed = ({ before, after }) => Object.keys(after ?? {}).filter((name) => name !== "version" && JSON.stringify(after[name]) !== JSON.stringify(before?.[name])).map((name) => name.replaceAll("_", " "));

/** What it was done to: a row, or else the account or the gateway as a whole. */
function objectOf(entry) {
  if (entry.action === "house.change") return changed(entry).filter((name) => name !== "id").join(", ") || "nothing new";
  return entry.object && entry.object !== "None" ? entry.object : entry.account || "the gateway";
}

function open(entry) {
  drawer({
    title: named(entry.action),
    text: fullTime(entry.at),
    body: [
      facts([["Who", h("span", entry.actor_name || "the gateway", h("span.cell-sub.mono", entry.actor))], ["From", entry.ip || "the gateway's own machine"], ["Account", entry.account || "the gateway"], ["What", h("span.mono.break", objectOf(entry))], ["Number", String(entry.seq)], ["Chained by", h("span.mono.break", entry.hash)]]),
      h("div.diff", h("h3", "Before"), shown(entry.before), h("h3", "After"), shown(entry.after)),
    ],
  });
}

async function mount(root, ctx) {
  const house = ctx.can("house:read");
  let all = house && ctx.query.get("of") === "gateway";
  const fetchPage = (after, limit) => ctx.api.get(all ? "/api/v1/gateway/audit" : "/api/v1/audit", { after, limit }, { signal: ctx.signal });
  const rows = table({
    label: "Audit log",
    columns: [
      { key: "action", label: "Act", wide: true, render: (entry) => h("span", named(entry.action), h("span.cell-sub.mono.clip", objectOf(entry))) },
      { key: "actor_name", label: "Who", render: (entry) => h("span.break", entry.actor_name || "the gateway") },
      { key: "account", label: "Account", hideOnPhone: true, render: (entry) => entry.account || "–" },
      { key: "ip", label: "From", hideOnPhone: true, render: (entry) => h("span.mono", entry.ip || "–") },
      { key: "at", label: "When", render: (entry) => when(entry.at) },
    ],
    load: fetchPage,
    onRow: open,
    empty: { icon: "shield", title: "Nothing was done yet", text: "Every act of administration is written down here, and cannot be changed or deleted." },
  });

  /** Everything, page by page, as a file of JSON lines. */
  async function download() {
    const lines = [];
    let after = null;
    do {
      const page = await fetchPage(after, 200);
      lines.push(...page.data.map((entry) => JSON.stringify(entry)));
      after = page.next;
    } while (after !== null);
    saveFile(`audit-${all ? "gateway" : ctx.account}.jsonl`, `${lines.join("\n")}\n`, "application/jsonl");
    toast(`${lines.length} entries.`);
  }

  root.append(
    pageHead("Audit", {
      text: "Every act of administration, chained by hashes so that none can be changed or left out.",
      actions: [
        house ? segments([["account", "This account"], ["gateway", "Whole gateway"]], all ? "gateway" : "account", (value) => { all = value === "gateway"; ctx.setQuery({ of: all ? "gateway" : null }); rows.setRows([]); void rows.reload(); }, { label: "Of" }) : null,
        button("Export", { icon: "download", onclick: download }),
      ].filter(Boolean),
    }),
    card({ flush: true }, rows),
  );
}

export const screen = { path: "/audit", title: "Audit", icon: "shield", group: "manage", needs: "audit:read", mount };
