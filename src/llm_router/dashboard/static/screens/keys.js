// API keys: making them, what they may do and spend, another text, the end.

import { h } from "../lib/dom.js";
import { day, dollars } from "../lib/format.js";
import { meter } from "../lib/chart.js";
import { snippetTabs } from "../lib/snippets.js";
import { badge, button, card, codeBlock, confirm, dialog, drawer, facts, field, form, menu, pageHead, stat, stats, table, toast, when } from "../lib/ui.js";

const SCOPES = [
  ["inference", "Inference", "ask models"],
  ["models", "Models", "list the models"],
  ["usage", "Usage", "read balance, records, budgets and limits"],
  ["keys", "Keys", "make and change keys: a management key"],
  ["admin", "Admin", "all that an admin of the account may, but no inference"],
];
const PLAIN = ["inference", "models", "usage"];
const RESETS = [["", "in all"], ["daily", "a day"], ["weekly", "a week"], ["monthly", "a month"]];
const TONES = { active: "good", disabled: "warn", expired: "warn", revoked: "bad" };

const words = (list) => (list ?? []).join(", ");
const split = (text) => {
  const found = text.split(/[\s,]+/).filter(Boolean);
  return found.length ? found : null;
};
const whole = (text) => (text.trim() === "" ? null : Number(text));

/** The teams that a key of who asks may belong to, as options. Keys that somebody makes for their own use alone belong to one of their teams. */
async function teamsFor(ctx, key = null) {
  const own = !ctx.can("member:write");
  const found = own ? (await ctx.api.get(`/api/v1/members/${ctx.me.id}`, {}, { signal: ctx.signal })).teams : (await ctx.api.get("/api/v1/teams", { limit: 200 }, { signal: ctx.signal })).data.map((each) => each.title);
  const named = [...new Set([...found, key?.team].filter(Boolean))];
  if (!named.length) return [];
  return [...(own && (key ? key.team : true) ? [] : [["", "no team"]]), ...named.map((each) => [each, each])];
}

/** The fields of a key, filled with what it has. */
function keyFields(teams, key = null) {
  const limits = key?.limits ?? {};
  return [
    field({ label: "Name", name: "name", required: true, maxlength: 100, value: key?.name, placeholder: "What it is for, such as: website", autocomplete: "off" }),
    h("div.form-row", field({ label: "May spend", name: "limit", type: "number", min: 0, step: "any", optional: true, value: key?.limit, placeholder: "US dollars", inputmode: "decimal" }), field({ label: "Counted", name: "limit_reset", type: "select", options: RESETS, value: key?.limit_reset ?? (key ? "" : "monthly") })),
    teams.length ? field({ label: "Team", name: "team", type: "select", options: teams, value: key?.team ?? teams[0][0], hint: "Whose budgets and limits it counts against, too." }) : [],
    field({ label: "Ends", name: "expires", type: "datetime-local", optional: true, value: key?.expires ? localTime(key.expires) : "", hint: "Refused from then on. Empty: it does not end." }),
    h("details.more", h("summary", "What it may do"), h("div.form", [
      field({ label: "Scopes", name: "scopes", type: "checks", options: SCOPES, value: key?.scopes ?? PLAIN }),
      field({ label: "Models", name: "models", optional: true, value: words(key?.models), placeholder: "gpt-5*, claude-*", hint: "Names or patterns, with commas. Empty: all.", autocomplete: "off" }),
      field({ label: "Providers", name: "providers", optional: true, value: words(key?.providers), placeholder: "openai, anthropic", hint: "Only these may serve it. Empty: all.", autocomplete: "off" }),
      field({ label: "Addresses", name: "ip_ranges", optional: true, value: words(key?.ip_ranges), placeholder: "203.0.113.0/24, 2001:db8::/32", hint: "From where it may be used. Empty: from anywhere.", autocomplete: "off" }),
      field({ label: "Tags", name: "tags", optional: true, value: words(key?.tags), placeholder: "shop, batch", hint: "What all its requests are called in the usage, with commas.", autocomplete: "off" }),
      h("div.form-row", [["requests_per_minute", "Requests a minute"], ["tokens_per_minute", "Tokens a minute"], ["concurrency", "At a time"]].map(([name, label]) => field({ label, name, type: "number", min: 1, step: 1, optional: true, value: limits[name], inputmode: "numeric" }))),
    ])),
  ];
}

const localTime = (iso) => {
  const at = new Date(iso);
  return new Date(at.getTime() - at.getTimezoneOffset() * 60000).toISOString().slice(0, 16);
};

/** Whether the text from before the last rotation works. */
const oldWorks = (key) => key.status === "active" && Boolean(key.old_text_until) && new Date(key.old_text_until) > new Date();

/** The values of the form as the API takes them. */
function wanted(values) {
  const plain = values.scopes.length === PLAIN.length && PLAIN.every((each) => values.scopes.includes(each));
  return {
    name: values.name.trim(),
    limit: whole(values.limit),
    limit_reset: values.limit_reset || null,
    ...("team" in values ? { team: values.team || null } : {}),
    expires: values.expires ? new Date(values.expires).toISOString().replace(/\.\d+Z$/, "Z") : null,
    scopes: plain ? null : values.scopes,
    models: split(values.models),
    providers: split(values.providers),
    ip_ranges: split(values.ip_ranges),
    tags: split(values.tags),
    requests_per_minute: whole(values.requests_per_minute),
    tokens_per_minute: whole(values.tokens_per_minute),
    concurrency: whole(values.concurrency),
  };
}

/** Show the text of a key, this once. */
function showText(made, title, onClose) {
  dialog({
    title,
    wide: true,
    text: "Copy it now: it is not stored, and not shown again.",
    body: [codeBlock(made.key, { label: "Key" }), h("h3", "Use it"), snippetTabs({ key: made.key, scopes: made.data.scopes, models: made.data.models })],
    actions: [button("Done", { tone: "primary", onclick: (event) => event.target.closest("dialog").close() })],
    onClose,
  });
}

/** Ask for a key and make it. `after(made)` is called when its text was seen. */
export async function makeKey(ctx, after) {
  const teams = await teamsFor(ctx);
  const node = dialog({
    title: "New key",
    text: `For the account ${ctx.account}.`,
    body: form({
      fields: keyFields(teams),
      action: "Make the key",
      cancel: () => node.close(),
      submit: async (values, { headers }) => {
        const made = await ctx.api.post("/api/v1/keys", Object.fromEntries(Object.entries(wanted(values)).filter(([, value]) => value !== null)), { headers });
        node.close();
        showText(made, `“${made.data.name}” is made`, () => after?.(made));
      },
    }),
  });
}

/** The hour (of today) or the day (of the books, in UTC) of its last request. */
function lastUsed({ last_used_at: told }) {
  if (!told) return h("span.muted", "not within a month");
  const at = new Date(told);
  const now = new Date();
  if (now - at < 3_600_000) return "within the hour";
  return told.slice(0, 10) === now.toISOString().slice(0, 10) ? when(told) : day(new Date(at.getUTCFullYear(), at.getUTCMonth(), at.getUTCDate()));
}

function spent(key) {
  if (key.limit === null) return dollars(key.usage_monthly);
  const used = key.limit - key.limit_remaining;
  return h("div.stack.tight", h("span", `${dollars(used)} of ${dollars(key.limit)}`), meter(key.limit > 0 ? used / key.limit : 1, { label: `${dollars(used)} of ${dollars(key.limit)} spent` }));
}

async function mount(root, ctx) {
  const writes = ctx.can("key:write");
  const mayChange = (key) => writes && key.status !== "revoked" && (ctx.can("member:write") || key.by === ctx.me.id);
  const rows = table({
    label: "Keys",
    columns: [
      { key: "name", label: "Name", sort: true, wide: true, render: (key) => h("span", key.name, h("span.cell-sub.mono", key.label), oldWorks(key) ? h("span.cell-sub", "the old text works until ", when(key.old_text_until, { exact: true })) : null) },
      { key: "status", label: "Status", sort: true, render: (key) => badge(key.status, TONES[key.status], { dot: true }) },
      { key: "usage_monthly", label: "Spent", sort: true, align: "end", render: spent },
      { key: "usage", label: "In all", sort: true, align: "end", hideOnPhone: true, render: (key) => dollars(key.usage) },
      { key: "last_used_at", label: "Last used", sort: true, hideOnPhone: true, render: lastUsed },
      { key: "more", align: "end", render: (key) => (mayChange(key) ? menu(actions(key), { label: `Actions for ${key.name}` }) : h("span")) },
    ],
    load: (after, limit) => ctx.api.get("/api/v1/keys", { after, limit }, { signal: ctx.signal }),
    onRow: open,
    empty: { icon: "key", title: "No keys yet", text: "A key is what programs send with their requests. Each has a budget, limits and records of its own.", action: writes ? button("Make a key", { tone: "primary", icon: "plus", onclick: () => makeKey(ctx, rows?.reload) }) : null },
  });

  const actions = (key) => [
    { label: "Change", icon: "edit", run: () => change(key) },
    { label: "Rotate", icon: "refresh", run: () => rotate(key) },
    oldWorks(key) && { label: "End the old text now", icon: "clock", run: () => endOld(key) },
    key.status === "disabled" ? { label: "Switch on", icon: "play", run: () => patch(key, { disabled: false }, "The key works again.") } : { label: "Switch off", icon: "pause", run: () => patch(key, { disabled: true }, "The key is refused until you switch it on.") },
    { label: "Revoke", icon: "trash", tone: "danger", run: () => revoke(key) },
  ];

  async function patch(key, changes, told) {
    try {
      await ctx.api.patch(`/api/v1/keys/${key.id}`, { ...changes, version: key.version });
      toast(told);
    } catch (error) {
      toast(error.message, { tone: "bad" });
    }
    await rows.reload();
  }

  async function endOld(key) {
    if (await confirm({ title: `End the old text of “${key.name}”?`, text: "Who still sends the text from before the rotation is refused from now on. The new one works as it does.", action: "End it" })) await patch(key, { old_text_until: null }, "The old text is refused now.");
  }

  async function change(key) {
    const teams = await teamsFor(ctx, key);
    const node = dialog({
      title: `Change “${key.name}”`,
      body: form({
        fields: keyFields(teams, key),
        cancel: () => node.close(),
        submit: async (values) => {
          const asked = wanted(values);
          if (asked.limit === null) delete asked.limit_reset;
          if (asked.team === key.team) delete asked.team;
          if (values.expires === (key.expires ? localTime(key.expires) : "")) delete asked.expires;
          await ctx.api.patch(`/api/v1/keys/${key.id}`, { ...asked, version: key.version });
          node.close();
          toast("Changed.");
          await rows.reload();
        },
      }),
    });
  }

  function rotate(key) {
    const node = dialog({
      title: `Rotate “${key.name}”`,
      text: "It gets another text, with the same limits, budgets and records.",
      body: form({
        fields: [field({ label: "The old text works on for", name: "overlap", type: "select", value: "86400", options: [["0", "no time at all"], ["3600", "an hour"], ["86400", "a day"], ["604800", "a week"]], hint: "Long enough to change it everywhere." })],
        action: "Rotate",
        cancel: () => node.close(),
        submit: async (values, { headers }) => {
          const made = await ctx.api.post(`/api/v1/keys/${key.id}/rotate`, { overlap_s: Number(values.overlap) }, { headers });
          node.close();
          showText(made, "The new text", rows.reload);
        },
      }),
    });
  }

  async function revoke(key) {
    if (!(await confirm({ title: `Revoke “${key.name}”?`, text: "It is refused from now on, for good. Its records stay.", action: "Revoke" }))) return;
    try {
      await ctx.api.del(`/api/v1/keys/${key.id}`);
      toast("Revoked.");
    } catch (error) {
      toast(error.message, { tone: "bad" });
    }
    await rows.reload();
  }

  function open(key) {
    const changeable = mayChange(key);
    const node = drawer({
      title: key.name,
      text: h("span.mono", key.label),
      body: [
        stats(stat("Today", dollars(key.usage_daily)), stat("This month", dollars(key.usage_monthly)), stat("In all", dollars(key.usage))),
        facts([
          ["Status", badge(key.status, TONES[key.status], { dot: true })],
          ["May spend", key.limit === null ? "what the account has" : [dollars(key.limit), " ", Object.fromEntries(RESETS)[key.limit_reset ?? ""], `, ${dollars(key.limit_remaining)} left`]],
          ["Scopes", words(key.scopes ?? PLAIN)],
          ["Models", key.models ? words(key.models) : "all"],
          ["Providers", key.providers ? words(key.providers) : "all"],
          ["Addresses", key.ip_ranges ? words(key.ip_ranges) : "from anywhere"],
          key.limits.requests_per_minute !== null && ["Requests a minute", String(key.limits.requests_per_minute)],
          key.limits.tokens_per_minute !== null && ["Tokens a minute", String(key.limits.tokens_per_minute)],
          key.limits.concurrency !== null && ["At a time", String(key.limits.concurrency)],
          key.team && ["Team", key.team],
          key.user && ["User", key.user],
          key.tags.length > 0 && ["Tags", words(key.tags)],
          key.held.length > 0 && ["Held", h("span", words(key.held.map((each) => each.replaceAll("_", " "))), h("span.cell-sub", "Set by somebody who manages the keys of others: whoever made the key makes these narrower alone."))],
          ["Last used", lastUsed(key)],
          ["Made", when(key.created, { exact: true })],
          ["Ends", key.expires ? when(key.expires, { exact: true }) : "not by itself"],
          key.rotated && ["Rotated", when(key.rotated, { exact: true })],
          key.old_text_until && [oldWorks(key) ? "The old text works until" : "The old text worked until", when(key.old_text_until, { exact: true })],
          key.revoked && ["Revoked", when(key.revoked, { exact: true })],
          ["Id", h("span.mono", key.id)],
        ]),
        h("h3", "Use it"),
        snippetTabs({ scopes: key.scopes, models: key.models }),
      ],
      actions: changeable ? actions(key).filter(Boolean).map((each) => button(each.label, { tone: each.tone ?? "plain", onclick: () => { node.close(); each.run(); } })) : null,
    });
  }

  root.append(
    pageHead("Keys", { text: "What programs send with their requests. Each has its own budget, limits and records.", actions: writes ? [button("New key", { tone: "primary", icon: "plus", onclick: () => makeKey(ctx, rows.reload) })] : [] }),
    card({ flush: true }, rows),
  );
  if (ctx.query.has("new") && writes) {
    ctx.setQuery({ new: null });
    makeKey(ctx, rows.reload);
  }
}

export const screen = {
  path: "/keys", title: "Keys", icon: "key", group: "build", needs: "key:read", mount,
  commands: [{ label: "Make a key", icon: "plus", needs: "key:write", run: ({ navigate }) => navigate("/keys?new") }],
};
