// How the operator hears of what goes wrong: ways of the configuration, which are only shown, and those that are kept here.

import { h } from "../../lib/dom.js";
import { count, plural } from "../../lib/format.js";
import { badge, button, card, codeBlock, confirm, copyButton, dialog, field, form, menu, messageOf, table, toast, when } from "../../lib/ui.js";

const KINDS = [["webhook", "Webhook"], ["mail", "E-mail"]];
const kindOf = (row) => KINDS.find(([name]) => name === row.kind)?.[1] ?? "cannot be opened";
const pathOf = (row) => `/api/v1/gateway/alerts/${encodeURIComponent(row.name)}`;
const ownIn = (row) => row.source === "config";

/** A sentence with `names` in it as the API writes them. */
const withCode = (text) => text.split("`").map((part, at) => (at % 2 ? h("code", part) : part));

const addresses = (text) => text.split(/[\s,;]+/).filter(Boolean);

/** The secret that the gateway made, this once. */
function showSecret(row) {
  dialog({
    title: `What ${row.name} is signed with`,
    text: "It is shown this once. Each notice has the header llm-router-signature: an HMAC-SHA256 under this secret.",
    body: codeBlock(row.secret, { label: "Secret" }),
    actions: [copyButton(row.secret, { label: "Copy the secret", small: false })],
  });
}

/** Fields for one kind, of which those of the other are not there for the browser's checks either. */
function only(fields, kind, wanted) {
  for (const each of fields) {
    each.hidden = kind !== wanted;
    each.control.disabled = kind !== wanted;
  }
}

export function alerts(ctx) {
  const writes = ctx.can("house:write");
  let types = [];

  const rows = table({
    label: "Alerts",
    columns: [
      { key: "name", label: "By", wide: true, render: (row) => h("span", row.name, row.enabled ? null : [" ", badge("off")], ownIn(row) ? [" ", badge("configuration")] : null, h("span.cell-sub.break", [kindOf(row), row.url ?? row.to?.join(", ")].filter(Boolean).join(" · ")), row.problem ? h("span.cell-sub.break", row.problem) : null) },
      { key: "types", label: "Told of", hideOnPhone: true, render: (row) => (row.types.length ? row.types.map((each) => h("code.block", each)) : "everything") },
      { key: "delivered", label: "Last try", render: (row) => lastTry(row) },
      { key: "waiting", label: "Waiting", align: "end", hideOnPhone: true, render: (row) => count(row.waiting) },
      { key: "more", align: "end", render: (row) => (writes ? h("span.row.tight", row.kind === null ? null : h("span.not-phone", button("Send a test", { tone: "quiet", small: true, onclick: () => test(row) })), h("span", { class: ownIn(row) && "phone-only" }, menu(actionsOf(row), { label: `Actions for ${row.name}` }))) : h("span")) },
    ],
    load: async () => {
      const found = await ctx.api.get("/api/v1/gateway/alerts", {}, { signal: ctx.signal });
      types = found.types;
      return { data: found.data, next: null };
    },
    empty: {
      icon: "info",
      title: "Nobody is told",
      text: "Add a webhook or, where the configuration names a mail server, addresses: they are told of low balances, failed top-ups and the like.",
      action: writes ? button("Add a way", { tone: "primary", icon: "plus", onclick: () => add() }) : null,
    },
  });

  const lastTry = (row) => {
    if (row.delivered === null) return h("span.muted", "not yet");
    return h("span", badge(row.delivered ? "taken" : "refused", row.delivered ? "good" : "bad", { dot: true }), h("span.cell-sub", when(row.last_tried)));
  };

  /** What cannot be opened, since it was sealed by another installation, can only be removed. */
  const actionsOf = (row) => [row.kind !== null && { label: "Send a test", icon: "up", run: () => test(row) }, ...(ownIn(row) ? [] : changesOf(row))];

  const changesOf = (row) => [
    row.kind !== null && { label: "Change", icon: "edit", run: () => change(row) },
    row.kind !== null && { label: row.enabled ? "Switch off" : "Switch on", icon: row.enabled ? "close" : "check", run: () => attempt(() => ctx.api.patch(pathOf(row), { enabled: !row.enabled }), row.enabled ? "Nothing is sent there now." : "It is told again.") },
    row.kind === "webhook" && { label: "Make another secret", icon: "refresh", run: () => another(row) },
    { label: "Remove", icon: "trash", tone: "danger", run: () => remove(row) },
  ];

  async function attempt(work, told) {
    try {
      const done = await work();
      toast(told);
      return done;
    } catch (error) {
      toast(messageOf(error), { tone: "bad" });
      return null;
    } finally {
      await rows.reload();
    }
  }

  async function test(row) {
    try {
      const done = await ctx.api.post(`${pathOf(row)}/test`);
      toast(done.delivered ? "It was taken." : `It was not taken: ${done.problem}`, { tone: done.delivered ? "plain" : "bad" });
    } catch (error) {
      toast(messageOf(error), { tone: "bad" });
    }
    await rows.reload();
  }

  async function another(row) {
    if (!(await confirm({ title: `Another secret for ${row.name}?`, text: "Notices are signed with the new one at once. Who checks them with the old one refuses them.", action: "Make it" }))) return;
    const done = await attempt(() => ctx.api.patch(pathOf(row), { new_secret: true }), "Made.");
    if (done?.secret) showSecret(done);
  }

  async function remove(row) {
    const waits = row.waiting ? ` ${plural(row.waiting, "notice")} that ${row.waiting === 1 ? "waits" : "wait"} for it ${row.waiting === 1 ? "is" : "are"} not sent.` : "";
    if (await confirm({ title: `Remove ${row.name}?`, text: `No alert leaves that way any more.${waits}`, action: "Remove" })) await attempt(() => ctx.api.del(pathOf(row)), "Removed.");
  }

  const told = (value) => field({ label: "Told of", name: "types", type: "checks", value, options: types.map((each) => [each.type, h("code", each.type), withCode(each.what)]), hint: "Nothing ticked: everything, also what later versions tell of." });
  const to = (value, more) => field({ label: "Addresses", name: "to", required: true, autocomplete: "off", spellcheck: "false", value: value?.join(", "), placeholder: "ops@example.com, boss@example.com", ...more });

  function add() {
    const kind = field({ label: "By", name: "kind", type: "select", options: KINDS });
    const hook = [
      field({ label: "URL", name: "url", type: "url", required: true, autocomplete: "off", placeholder: "https://ops.example.com/llm-router", hint: "Notices are posted there as JSON, and again until it answers 2xx." }),
      field({ label: "Secret", name: "secret", type: "password", optional: true, minlength: 16, maxlength: 200, autocomplete: "new-password", hint: "What notices are signed with. Empty: the gateway makes one, and shows it once." }),
    ];
    const mail = [to(null)];
    const follow = () => (only(hook, kind.value, "webhook"), only(mail, kind.value, "mail"));
    kind.control.addEventListener("change", follow);
    follow();
    const node = dialog({
      title: "Another way for alerts",
      body: form({
        fields: [h("div.form-row", field({ label: "Name", name: "name", required: true, maxlength: 40, pattern: "[a-z0-9][a-z0-9_\\-]*", autocomplete: "off", placeholder: "ops", title: "Small letters, digits, - and _" }), kind), hook, mail, told([])],
        action: "Add it",
        cancel: () => node.close(),
        submit: async (values, { headers }) => {
          const own = values.kind === "webhook" ? { url: values.url.trim(), ...(values.secret ? { secret: values.secret } : {}) } : { to: addresses(values.to) };
          const made = await ctx.api.post("/api/v1/gateway/alerts", { name: values.name.trim(), kind: values.kind, types: values.types, ...own }, { headers });
          node.close();
          await rows.reload();
          if (made.secret) showSecret(made);
          else toast("Added. Send a test to see it arrive.");
        },
      }),
    });
  }

  function change(row) {
    const hook = row.kind === "webhook" && [
      field({ label: "URL", name: "url", type: "url", optional: true, autocomplete: "off", placeholder: row.url, hint: "Empty: it stays as it is." }),
      field({ label: "Another secret", name: "secret", type: "password", optional: true, minlength: 16, maxlength: 200, autocomplete: "new-password", hint: "Empty: it stays as it is." }),
    ];
    const node = dialog({
      title: row.name,
      text: kindOf(row),
      body: form({
        fields: [hook || to(row.to), told(row.types)],
        cancel: () => node.close(),
        submit: async (values, { headers }) => {
          const wanted = { types: values.types };
          if (values.to !== undefined) wanted.to = addresses(values.to);
          if (values.url) wanted.url = values.url.trim();
          if (values.secret) wanted.secret = values.secret;
          await ctx.api.patch(pathOf(row), wanted, { headers });
          await rows.reload(); // before the dialog goes, so that no menu of a row is drawn anew under the hand
          node.close();
          toast("Changed. Send a test to see it arrive.");
        },
      }),
    });
  }

  return card({ title: "Alerts", text: "Who is told of low balances, failed top-ups and the like. What the configuration names is changed there, under [alerts].", flush: true, actions: writes ? button("Add a way", { small: true, icon: "plus", onclick: add }) : null }, rows);
}
