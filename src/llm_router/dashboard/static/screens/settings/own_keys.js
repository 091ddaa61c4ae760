// Keys of the account's own at providers: kept sealed, used in place of the gateway's, never shown again.

import { h } from "../../lib/dom.js";
import { badge, button, card, confirm, dialog, field, form, messageOf, table, toast, when } from "../../lib/ui.js";

export function ownKeys(ctx) {
  const writes = ctx.can("provider_key:write");
  let known = [];
  const nameOf = (id) => known.find((each) => each.id === id)?.name ?? id;
  const rows = table({
    label: "Own provider keys",
    columns: [
      { key: "provider", label: "Provider", wide: true, render: (row) => h("span", nameOf(row.provider), h("span.cell-sub", row.readable ? row.origins.join(", ") : "cannot be opened")) },
      { key: "fallback", label: "Where it fails", hideOnPhone: true, render: (row) => (row.readable ? (row.fallback ? "the gateway's keys" : "the request fails") : badge("set it again", "bad")) },
      { key: "set", label: "Set", hideOnPhone: true, render: (row) => when(row.set) },
      { key: "more", align: "end", render: (row) => (writes ? h("span.row.tight", button("Remove", { tone: "quiet", small: true, onclick: () => remove(row) }), button("Replace", { tone: "quiet", small: true, onclick: () => give(row) })) : h("span")) },
    ],
    load: async () => {
      const found = await ctx.api.get("/api/v1/provider-keys", {}, { signal: ctx.signal });
      known = found.providers;
      return found;
    },
    empty: { icon: "key", title: "No keys of your own", text: "Requests go to providers with the gateway's keys, at the gateway's prices." },
  });

  function give(row) {
    const choose = row ? [] : [field({ label: "Provider", name: "provider", type: "select", options: known.map((each) => [each.id, each.name]) })];
    const node = dialog({
      title: row ? `Another key at ${nameOf(row.provider)}` : "A key of your own",
      text: "It is kept sealed, sent to that provider's own address alone, and never shown again.",
      body: form({
        fields: [...choose, field({ label: "Key", name: "key", type: "password", required: true, autocomplete: "off" }), field({ label: "Use the gateway's keys where it fails", name: "fallback", type: "checkbox", value: row?.fallback ?? false, hint: "Such requests cost what they usually do." })],
        action: "Keep it",
        cancel: () => node.close(),
        submit: async (values) => {
          await ctx.api.put(`/api/v1/provider-keys/${encodeURIComponent(row?.provider ?? values.provider)}`, { key: values.key.trim(), fallback: values.fallback });
          node.close();
          toast("Kept. The next request goes with it.");
          await rows.reload();
        },
      }),
    });
  }

  async function remove(row) {
    if (!(await confirm({ title: `Remove the key at ${nameOf(row.provider)}?`, text: "Requests go there with the gateway's key again, if it has one.", action: "Remove" }))) return;
    try {
      await ctx.api.del(`/api/v1/provider-keys/${encodeURIComponent(row.provider)}`);
      toast("Removed.");
      await rows.reload();
    } catch (error) {
      toast(messageOf(error), { tone: "bad" });
    }
  }

  return card({ title: "Keys of your own at providers", text: "Requests of this account go to those providers with them, and are billed there.", flush: true, actions: writes ? button("Add a key", { small: true, icon: "plus", onclick: () => give(null) }) : null }, rows);
}
