// Settings: the account, its budgets and limits, oneself, and, for the operator, the gateway.

import { h, replace } from "../lib/dom.js";
import { count, dollars, plural } from "../lib/format.js";
import { badge, button, card, codeBlock, confirm, copyButton, dialog, empty, facts, field, form, linkButton, load, menu, messageOf, pageHead, reveal, saveFile, table, toast, when } from "../lib/ui.js";
import { meter } from "../lib/chart.js";
import { alerts } from "./settings/alerts.js";
import { ownKeys } from "./settings/own_keys.js";
import { retention } from "./settings/retention.js";
import { sso } from "./settings/sso.js";
import { keysById, stillBounds } from "../lib/keys.js";
import { qrCode } from "../lib/qr.js";

const attempt = async (work, told) => {
  try {
    await work();
    toast(told);
    return true;
  } catch (error) {
    toast(messageOf(error), { tone: "bad" });
    return false;
  }
};

/** Do what takes a code or password: a wrong one is told at its field. */
async function proved(name, work) {
  try {
    return await work;
  } catch (error) {
    if (error.code === "sign_in_refused") error.param ??= name;
    throw error;
  }
}

// --- Oneself --------------------------------------------------------------------

function profile(ctx) {
  return card(
    { title: "You" },
    form({
      fields: [field({ label: "Name", name: "name", required: true, maxlength: 100, value: ctx.me.name, autocomplete: "name" }), field({ label: "E-mail", name: "email", value: ctx.me.email, disabled: true, hint: "What you sign in with." })],
      submit: async ({ name }) => {
        await ctx.api.patch("/api/v1/me", { name: name.trim() });
        toast("Saved.");
        await ctx.reloadMe();
      },
    }),
  );
}

function password(ctx) {
  const draw = () =>
    form({
      fields: [
        h("input", { type: "text", name: "username", autocomplete: "username", value: ctx.me.email, hidden: true, "aria-label": "E-mail" }),
        field({ label: "Present password", name: "current", type: "password", required: true, autocomplete: "current-password" }),
        field({ label: "New password", name: "password", type: "password", required: true, minlength: 12, maxlength: 256, autocomplete: "new-password", hint: "At least 12 characters. All your other sessions end." }),
      ],
      action: "Change the password",
      submit: async ({ current, password: wanted }) => {
        await proved("current", ctx.api.post("/api/v1/me/password", { current, password: wanted }));
        toast("Changed. Your other sessions have ended.");
        replace(place, draw());
      },
    });
  const place = h("div", draw());
  return card({ title: "Password" }, place);
}

function secondFactor(ctx) {
  const place = h("div.row.between");
  const draw = (on) =>
    replace(place, on ? badge("In use", "good", { dot: true }) : badge("Not in use", "plain", { dot: true }), on ? button("Do without", { onclick: end }) : button("Set up", { tone: "primary", onclick: begin }));

  async function begin() {
    const { secret, uri } = await ctx.api.post("/api/v1/me/second-factor");
    const node = dialog({
      title: "A second factor",
      text: "Scan this with your authenticator, then type the code that it shows.",
      body: [
        h("div.qr-place", qrCode(uri, { label: "QR code for the authenticator" })),
        h("details.more", h("summary", "It cannot be scanned"), h("div.stack.tight", h("p.muted", "Type this secret into the authenticator, or copy its address if it runs on this device."), codeBlock(secret.replace(/(.{4})(?=.)/g, "$1 "), { label: "Secret" }), h("div", copyButton(uri, { label: "Copy the address" })))),
        form({
          fields: [field({ label: "Code", name: "code", required: true, inputmode: "numeric", autocomplete: "one-time-code", class: "code-input", maxlength: 8 })],
          action: "Put it in use",
          cancel: () => node.close(),
          submit: async ({ code }) => {
            const { codes } = await proved("code", ctx.api.post("/api/v1/me/second-factor/confirm", { code: code.trim() }));
            node.close();
            draw(true);
            dialog({
              title: "Codes for recovery",
              text: "Each is good for once, when your authenticator is not at hand. They are shown this once: keep them.",
              body: h("div.codes", codes.map((each) => h("span", each))),
              actions: [button("Save as a file", { icon: "download", onclick: () => saveFile("llm-router-recovery-codes.txt", `${codes.join("\n")}\n`) }), copyButton(codes.join("\n"), { small: false })],
            });
          },
        }),
      ],
    });
  }

  function end() {
    const node = dialog({
      title: "Do without a second factor",
      body: form({
        fields: [field({ label: "Code", name: "code", required: true, autocomplete: "one-time-code", hint: "Of the authenticator, or one for recovery." })],
        action: "Do without",
        tone: "danger",
        cancel: () => node.close(),
        submit: async ({ code }) => {
          await proved("code", ctx.api.post("/api/v1/me/second-factor/end", { code: code.trim() }));
          node.close();
          draw(false);
        },
      }),
    });
  }

  draw(ctx.me.second_factor);
  return card({ title: "Second factor", text: "A code of an authenticator besides the password, so that the password alone opens nothing." }, place);
}

/** What a browser calls itself, in short. */
function browser(agent) {
  const name = [["Edg/", "Edge"], ["OPR/", "Opera"], ["Firefox/", "Firefox"], ["Chrome/", "Chrome"], ["Safari/", "Safari"]].find(([mark]) => agent.includes(mark))?.[1];
  const system = [["Android", "Android"], ["iPhone", "iPhone"], ["iPad", "iPad"], ["Mac OS", "macOS"], ["Windows", "Windows"], ["Linux", "Linux"]].find(([mark]) => agent.includes(mark))?.[1];
  return [name, system].filter(Boolean).join(" on ") || agent.slice(0, 60) || "unknown";
}

function sessions(ctx) {
  const rows = table({
    label: "Sessions",
    columns: [
      { key: "agent", label: "Where", wide: true, render: (each) => h("span", browser(each.agent), each.current ? [" ", badge("this one", "good")] : null, h("span.cell-sub", each.ip)) },
      { key: "how", label: "By", hideOnPhone: true },
      { key: "seen", label: "Last seen", render: (each) => when(each.seen) },
      { key: "more", align: "end", render: (each) => (each.current ? h("span") : button("End", { tone: "quiet", small: true, onclick: async () => { if (await attempt(() => ctx.api.del(`/api/v1/me/sessions/${each.id}`), "Ended.")) await rows.reload(); } })) },
    ],
    load: () => ctx.api.get("/api/v1/me/sessions", {}, { signal: ctx.signal }),
  });
  return card({ title: "Sessions", text: "Where you are signed in.", flush: true }, rows);
}

// --- The account ------------------------------------------------------------------

function account(ctx) {
  const place = h("div");
  load(place, async () => {
    const found = await ctx.api.get(`/api/v1/accounts/${encodeURIComponent(ctx.account)}`, {}, { signal: ctx.signal });
    if (!ctx.can("account:write")) return facts([["Title", found.title], ["Name", h("span.mono", found.id)], ["Your role", found.role ?? "operator"]]);
    return form({
      fields: [field({ label: "Title", name: "title", required: true, maxlength: 100, value: found.title }), field({ label: "Name", name: "id", value: found.id, disabled: true, hint: "What keys and books know it by, for good." })],
      submit: async ({ title }) => {
        await ctx.api.patch(`/api/v1/accounts/${encodeURIComponent(ctx.account)}`, { title: title.trim() });
        toast("Saved.");
        await ctx.reloadMe();
      },
    });
  });
  return card({ title: "Account" }, place);
}

const SCOPES = [["account", "The whole account"], ["team", "A team"], ["user", "A user"], ["key", "A key"]];
const WINDOWS = [["month", "month"], ["week", "week"], ["day", "day"], ["hour", "hour"], ["lifetime", "in all"]];
const EACH = [["month", "a month"], ["week", "a week"], ["day", "a day"], ["hour", "an hour"], ["lifetime", "in all"]];
const KINDS = [["requests", "Requests"], ["tokens", "Tokens"], ["concurrency", "At the same time"]];
const most = ({ kind, amount }) => (kind === "concurrency" ? `${count(amount)} at the same time` : plural(amount, kind.replace(/s$/, "")));
const SPANS = [["minute", "a minute"], ["hour", "an hour"], ["day", "a day"]];

async function named(ctx) {
  const [keys, teams] = await Promise.all([keysById(ctx).catch(() => new Map()), ctx.api.get("/api/v1/teams", { limit: 200 }, { signal: ctx.signal }).catch(() => ({ data: [] }))]);
  const live = [...keys.values()].filter((key) => key.status !== "revoked");
  return { keys, key: live.map((key) => [key.id, key.name]), team: teams.data.map((team) => [team.title, team.title]) };
}

/** The rows that still bound something, with the names of the keys that they are of. */
async function bounding(ctx, known, path) {
  const found = await ctx.api.get(path, {}, { signal: ctx.signal });
  const ids = found.data.filter((row) => row.scope === "key").map((row) => row.scope_id);
  if (ids.some((id) => !known.keys.has(id))) known.keys = await keysById(ctx, ids).catch(() => known.keys);
  return { ...found, data: found.data.filter(stillBounds(known.keys)) };
}

/** What a budget or limit is of, as two fields of which the second depends on the first. */
function scopeFields(known) {
  const of = h("div");
  const choose = field({ label: "Of", name: "scope", type: "select", options: SCOPES.filter(([name]) => name === "account" || name === "user" || known[name].length) });
  const draw = () => {
    const scope = choose.value;
    replace(of, scope === "account" ? null : scope === "user" ? field({ label: "User", name: "scope_id", required: true, hint: "As keys and requests name them.", autocomplete: "off" }) : field({ label: scope === "key" ? "Key" : "Team", name: "scope_id", type: "select", options: known[scope] }));
  };
  choose.control.addEventListener("change", draw);
  draw();
  return { fields: [choose, of], values: () => ({ scope: choose.value, scope_id: of.querySelector("select,input")?.value ?? null }) };
}

const whose = (known) => (row) => (row.scope === "account" ? "The whole account" : h("span", (row.scope === "key" ? known.keys.get(row.scope_id)?.name : null) ?? row.scope_id, h("span.cell-sub", row.scope)));
const wordOf = (list, name) => list.find(([each]) => each === name)?.[1] ?? name ?? "";

async function budgets(ctx) {
  const known = await named(ctx);
  const writes = ctx.can("budget:write");
  const rows = table({
    label: "Budgets",
    columns: [
      { key: "scope", label: "Of", wide: true, render: whose(known) },
      { key: "amount", label: "Spent", render: (row) => { const spend = row.spends[0] ?? { spent: 0, held: 0 }; return h("div.stack.tight", h("span.num.one-line", `${dollars(spend.spent)} of ${dollars(row.amount)}`, h("span.muted", ` ${wordOf(EACH, row.window)}`)), meter(row.amount > 0 ? (spend.spent + spend.held) / row.amount : 1, { label: "Part that is spent" })); } },
      { key: "resets", label: "Begins anew", hideOnPhone: true, render: (row) => when(row.spends[0]?.resets) },
      { key: "more", align: "end", render: (row) => (writes ? button("Remove", { tone: "quiet", small: true, onclick: async () => { if ((await confirm({ title: "Remove this budget?", text: "Nothing is bounded by it any more.", action: "Remove" })) && (await attempt(() => ctx.api.del(`/api/v1/budgets/${row.id}`), "Removed."))) await rows.reload(); } }) : h("span")) },
    ],
    load: () => bounding(ctx, known, "/api/v1/budgets"),
    empty: { icon: "card", title: "No budgets", text: "Without one, the account spends what credit it has." },
  });
  const add = () => {
    const scope = scopeFields(known);
    const node = dialog({
      title: "New budget",
      text: "A budget of the same scope and window gets the new amount.",
      body: form({
        fields: [...scope.fields, h("div.form-row", field({ label: "US dollars", name: "amount", type: "number", min: 0, step: "any", required: true, inputmode: "decimal" }), field({ label: "For each", name: "window", type: "select", options: WINDOWS }))],
        action: "Set the budget",
        cancel: () => node.close(),
        submit: async (values, { headers }) => {
          await ctx.api.post("/api/v1/budgets", { ...scope.values(), amount: Number(values.amount), window: values.window }, { headers });
          node.close();
          await rows.reload();
        },
      }),
    });
  };
  return card({ title: "Budgets", text: "What may be spent in a time. What would go beyond is refused.", flush: true, actions: writes ? button("New budget", { small: true, icon: "plus", onclick: add }) : null }, rows);
}

async function limits(ctx) {
  const known = await named(ctx);
  const writes = ctx.can("limit:write");
  const rows = table({
    label: "Limits",
    columns: [
      { key: "scope", label: "Of", wide: true, render: whose(known) },
      { key: "amount", label: "At most", render: (row) => h("span.num", most(row), row.kind === "concurrency" ? null : h("span.muted", ` ${wordOf(SPANS, row.window ?? "minute")}`)) },
      { key: "model", label: "Of models", hideOnPhone: true, render: (row) => row.model ?? "all" },
      { key: "more", align: "end", render: (row) => (writes ? button("Remove", { tone: "quiet", small: true, onclick: async () => { if (await attempt(() => ctx.api.del(`/api/v1/limits/${row.id}`), "Removed.")) await rows.reload(); } }) : h("span")) },
    ],
    load: () => bounding(ctx, known, "/api/v1/limits"),
    empty: { icon: "sliders", title: "No limits", text: "Requests, tokens and calls at a time are not bounded here." },
  });
  const add = () => {
    const scope = scopeFields(known);
    const node = dialog({
      title: "New limit",
      body: form({
        fields: [...scope.fields, h("div.form-row", field({ label: "What", name: "kind", type: "select", options: KINDS }), field({ label: "At most", name: "amount", type: "number", min: 1, step: 1, required: true, inputmode: "numeric" }), field({ label: "In", name: "window", type: "select", options: SPANS })), field({ label: "Models", name: "model", optional: true, hint: "A name or pattern such as gpt-5*. Empty: all together.", autocomplete: "off" })],
        action: "Set the limit",
        cancel: () => node.close(),
        submit: async (values, { headers }) => {
          await ctx.api.post("/api/v1/limits", { ...scope.values(), kind: values.kind, amount: Number(values.amount), window: values.kind === "concurrency" ? null : values.window, model: values.model.trim() || null }, { headers });
          node.close();
          await rows.reload();
        },
      }),
    });
  };
  return card({ title: "Limits", text: "How much in a time, and how much at once.", flush: true, actions: writes ? button("New limit", { small: true, icon: "plus", onclick: add }) : null }, rows);
}

// --- The gateway -------------------------------------------------------------------

function providers(ctx) {
  const rows = table({
    label: "Providers",
    columns: [
      { key: "name", label: "Provider", sort: true, wide: true, render: (row) => h("span", row.name, h("span.cell-sub", row.env[0] ?? row.id)) },
      { key: "models", label: "Models", sort: true, align: "end", hideOnPhone: true, render: (row) => count(row.models) },
      { key: "active", label: "State", sort: (row) => (row.active ? 0 : 1), render: (row) => (row.active && row.models === 0 ? badge("no models", "plain", { dot: true }) : row.active ? badge("can be asked", "good", { dot: true }) : badge("no key", "plain", { dot: true })) },
      { key: "key", label: "Key", hideOnPhone: true, render: (row) => (row.key === "stored" ? h("span", "given here", row.key_mark ? h("span.cell-sub.mono", row.key_mark) : null) : row.key === "configured" ? (row.key_required ? "configured" : "none needed") : "–") },
      { key: "more", align: "end", render: (row) => (!row.takes_key || !ctx.can("provider:write") ? h("span") : h("span.row.tight", row.key === "stored" ? button("Remove", { tone: "quiet", small: true, onclick: () => remove(row) }) : null, button(row.key === "stored" ? "Replace" : "Set key", { tone: "quiet", small: true, onclick: () => give(row) }))) },
    ],
    load: async () => ctx.api.get("/api/v1/gateway/providers", {}, { signal: ctx.signal }),
  });

  function give(row) {
    const node = dialog({
      title: `A key of ${row.name}`,
      text: "It is kept sealed, never shown again, and holds from the next request on.",
      body: form({
        fields: [field({ label: "Key", name: "key", type: "password", required: true, autocomplete: "off" })],
        action: "Keep it",
        cancel: () => node.close(),
        submit: async ({ key }) => {
          const done = await ctx.api.put(`/api/v1/gateway/providers/${encodeURIComponent(row.id)}/key`, { key: key.trim() });
          node.close();
          toast(done.active ? `${row.name} can be asked now.` : "Kept.");
          await rows.reload();
        },
      }),
    });
  }

  async function remove(row) {
    if (!(await confirm({ title: `Remove the key of ${row.name}?`, text: "What the configuration and the environment say of it holds again.", action: "Remove" }))) return;
    if (await attempt(() => ctx.api.del(`/api/v1/gateway/providers/${encodeURIComponent(row.id)}/key`), "Removed.")) await rows.reload();
  }

  return card({ title: "Providers", text: "Whom the gateway can ask, and with whose key. Keys of the environment or the configuration hold unless another is given here.", flush: true }, rows);
}

async function house(ctx) {
  const found = await ctx.api.get("/api/v1/gateway/settings", {}, { signal: ctx.signal });
  const open = field({ label: "Strangers may make themselves an account", name: "sign_up", type: "checkbox", value: found.sign_up, hint: "Otherwise people come by invitation alone." });
  open.control.addEventListener("change", async () => {
    if (!(await attempt(() => ctx.api.patch("/api/v1/gateway/settings", { sign_up: open.value }), "Saved."))) open.control.checked = !open.control.checked;
  });
  const shown = field({ label: "Prices and status are public", name: "public_pages", type: "checkbox", value: found.public_pages, hint: "Anybody may open /pricing and /status, without signing in. They tell of models, and not of providers." });
  shown.control.addEventListener("change", async () => {
    if (!(await attempt(() => ctx.api.patch("/api/v1/gateway/settings", { public_pages: shown.value }), "Saved."))) shown.control.checked = !shown.control.checked;
  });
  return card({ title: "Open to anybody" }, open, shown);
}

function accounts(ctx) {
  const rows = table({
    label: "Accounts",
    columns: [
      { key: "title", label: "Title", sort: true, wide: true, render: (each) => h("span", each.title, h("span.cell-sub.mono", each.id)) },
      { key: "closed", label: "State", render: (each) => (each.closed ? badge("closed", "warn") : badge("open", "good")) },
      { key: "created", label: "Made", sort: true, hideOnPhone: true, render: (each) => when(each.created) },
      { key: "more", align: "end", render: (each) => button(each.closed ? "Open" : "Close", { tone: "quiet", small: true, onclick: () => turn(each) }) },
    ],
    load: (after, limit) => ctx.api.get("/api/v1/accounts", { after, limit }, { signal: ctx.signal }),
  });
  async function turn(each) {
    if (!each.closed && !(await confirm({ title: `Close ${each.title}?`, text: "Nobody asks models for it any more until it is opened again. Its books stay.", action: "Close" }))) return;
    if (await attempt(() => ctx.api.patch(`/api/v1/accounts/${encodeURIComponent(each.id)}`, { closed: !each.closed }), each.closed ? "Opened." : "Closed.")) await rows.reload();
  }
  const add = () => {
    const node = dialog({
      title: "New account",
      text: "You become its owner.",
      body: form({
        fields: [field({ label: "Title", name: "title", required: true, maxlength: 100 }), field({ label: "Name", name: "id", required: true, maxlength: 60, hint: "What keys and books know it by, for good.", autocomplete: "off" })],
        action: "Make the account",
        cancel: () => node.close(),
        submit: async (values, { headers }) => {
          await ctx.api.post("/api/v1/accounts", values, { headers });
          node.close();
          await ctx.reloadMe();
        },
      }),
    });
  };
  return card({ title: "Accounts", flush: true, actions: button("New account", { small: true, icon: "plus", onclick: add }) }, rows);
}

function people(ctx) {
  const rows = table({
    label: "People",
    columns: [
      { key: "name", label: "Name", sort: true, wide: true, render: (each) => h("span", each.name, h("span.cell-sub", each.email)) },
      { key: "operator", label: "State", render: (each) => (each.operator ? badge("operator", "info") : each.disabled ? badge("may not sign in", "warn") : h("span")) },
      { key: "created", label: "Since", sort: true, hideOnPhone: true, render: (each) => when(each.created) },
      { key: "more", align: "end", render: (each) => (each.id === ctx.me.id ? h("span") : menu([{ label: each.operator ? "No operator any more" : "Make operator", icon: "shield", run: () => turn(each, { operator: !each.operator }) }, { label: each.disabled ? "Let in" : "Lock out", icon: each.disabled ? "door" : "close", tone: each.disabled ? null : "danger", run: () => turn(each, { disabled: !each.disabled }) }], { label: `Actions for ${each.name}` })) },
    ],
    load: (after, limit) => ctx.api.get("/api/v1/gateway/people", { after, limit }, { signal: ctx.signal }),
  });
  async function turn(each, change) {
    const title = "operator" in change ? (change.operator ? `Make ${each.name} an operator?` : `Take the operator's rights from ${each.name}?`) : change.disabled ? `Lock ${each.name} out?` : `Let ${each.name} in again?`;
    const text = change.operator ? "Operators see and change all accounts and the gateway itself." : change.disabled ? "Their sessions end, and they cannot sign in." : "It holds from now on.";
    if ((await confirm({ title, text, action: "Do it", tone: change.operator || change.disabled ? "danger" : "primary" })) && (await attempt(() => ctx.api.patch(`/api/v1/gateway/people/${each.id}`, change), "Changed."))) await rows.reload();
  }
  return card({ title: "People", text: "Everybody who can sign in.", flush: true }, rows);
}

const SECTIONS = [
  { name: "you", title: "You", parts: [profile, password, secondFactor, sessions] },
  { name: "account", title: "Account", needs: "account:read", parts: [account] },
  { name: "limits", title: "Budgets and limits", needs: "budget:read", parts: [budgets, limits] },
  { name: "own-keys", title: "Own keys", needs: "provider_key:read", parts: [ownKeys] },
  { name: "retention", title: "Retention", needs: "settings:read", parts: [retention] },
  { name: "providers", title: "Providers", needs: "provider:read", parts: [providers] },
  { name: "gateway", title: "Gateway", needs: "house:read", parts: [house, accounts, people] },
  { name: "sso", title: "Single sign-on", needs: "house:read", parts: [sso] },
  { name: "alerts", title: "Alerts", needs: "house:read", parts: [alerts] },
];

async function mount(root, ctx) {
  const seen = SECTIONS.filter((each) => !each.needs || ctx.can(each.needs));
  const wanted = ctx.params.section ?? "you";
  const section = seen.find((each) => each.name === wanted) ?? null;
  const place = h("div.stack");
  root.append(
    pageHead("Settings"),
    h("div.sections", h("nav", { "aria-label": "Settings" }, seen.map((each) => h("a", { href: `/settings/${each.name}`, "aria-current": each === section ? "page" : null }, each.title))), place),
  );
  root.querySelector(".sections > nav [aria-current]")?.scrollIntoView({ block: "nearest", inline: "nearest" });
  if (section === null) {
    const known = SECTIONS.some((each) => each.name === wanted);
    return void place.append(
      empty({
        icon: known ? "shield" : "search",
        title: known ? "Your role does not show you this" : "There is no such part of the settings",
        text: known ? "Ask an owner or admin of this account for another role." : null,
        action: linkButton("To your own settings", "/settings/you"),
      }),
    );
  }
  const parts = section.parts.map((part) => {
    const holder = h("div");
    const made = part(ctx);
    if (made instanceof Promise) load(holder, () => made, { height: 160 });
    else holder.append(made);
    return holder;
  });
  await reveal(place, parts, ctx.signal);
}

const commands = SECTIONS.map(({ name, title, needs }) => ({ label: title, note: "Settings", icon: "gear", needs, run: ({ navigate }) => navigate(`/settings/${name}`) }));

export const screen = { path: "/settings/:section?", title: "Settings", icon: "gear", group: "manage", commands, mount };
