// What an account has kept of requests and answers, and its deletion.

import { h, replace } from "../../lib/dom.js";
import { bytes, count, day, plural } from "../../lib/format.js";
import { badge, button, card, confirm, dialog, facts, field, form, messageOf, table, toast } from "../../lib/ui.js";

const KINDS = [["email", "E-mail addresses"], ["phone", "Phone numbers"], ["card", "Card numbers"], ["iban", "Bank accounts (IBAN)"], ["ip", "IP addresses"]];
const DEFAULTS = { share: 1, redact: ["email", "phone", "card", "iban", "ip"], patterns: [], files: false, bytes_max: 262144, retention_days: 30 };

const percentOf = (share) => Math.round(share * 1e6) / 1e4;

/** A rule in words. */
function told(rule) {
  if (!rule || rule.share === 0) return "nothing is kept";
  const out = ["credentials", ...KINDS.filter(([name]) => rule.redact.includes(name)).map(([, text]) => text.toLowerCase()), ...(rule.patterns.length ? [plural(rule.patterns.length, "pattern")] : [])];
  return `${count(percentOf(rule.share))} % for ${plural(rule.retention_days, "day")}, without ${out.join(", ")}`;
}

/** The form of a rule. `save(rule, options)`. */
function ruleForm(rule, { save, cancel, extra = [], action = "Save" }) {
  return form({
    fields: [
      ...extra,
      h(
        "div.form-row",
        field({ label: "Part of the requests, in percent", name: "share", type: "number", min: 0, max: 100, step: "any", required: true, value: percentOf(rule.share), inputmode: "decimal" }),
        field({ label: "Days", name: "retention_days", type: "number", min: 1, max: 3650, step: 1, required: true, value: rule.retention_days, inputmode: "numeric", hint: "Then it is deleted." }),
        field({ label: "Kilobytes each", name: "bytes_max", type: "number", min: 1, max: 4096, step: 1, required: true, value: Math.round(rule.bytes_max / 1024), inputmode: "numeric", hint: "The rest is cut off." }),
      ),
      field({ label: "Taken out besides credentials", name: "redact", type: "checks", options: KINDS, value: rule.redact, hint: "Keys, tokens and passwords are always taken out." }),
      field({ label: "Patterns of more to take out", name: "patterns", type: "textarea", optional: true, value: rule.patterns.join("\n"), class: "mono", spellcheck: false, hint: "Regular expressions, one a line, such as \\bEMP-\\d{6}\\b." }),
      field({ label: "Keep pictures and other files too", name: "files", type: "checkbox", value: rule.files, hint: "Else their type and size alone." }),
    ],
    action,
    cancel,
    submit: async (values, options) => {
      const wanted = {
        share: Number(values.share) / 100,
        redact: values.redact,
        patterns: values.patterns.split("\n").map((each) => each.trim()).filter(Boolean),
        files: values.files,
        bytes_max: Number(values.bytes_max) * 1024,
        retention_days: Number(values.retention_days),
      };
      try {
        await save(wanted, values, options);
      } catch (error) {
        if (String(error.param).startsWith("patterns")) error.param = "patterns";
        throw error;
      }
    },
  });
}

async function attempt(work, told) {
  try {
    const done = await work();
    toast(typeof told === "function" ? told(done) : told);
    return true;
  } catch (error) {
    toast(messageOf(error), { tone: "bad" });
    return false;
  }
}

export async function retention(ctx) {
  const root = h("div.stack");
  const writes = ctx.can("content:write");
  const read = () => ctx.api.get("/api/v1/content", {}, { signal: ctx.signal });
  const names = new Map((await ctx.api.get("/api/v1/keys", { limit: 200 }, { signal: ctx.signal }).catch(() => ({ data: [] }))).data.map((key) => [key.id ?? key.hash, key.name]));

  const draw = async () => replace(root, await parts());
  const put = async (rule) => {
    await ctx.api.put("/api/v1/content/rule", rule);
    await draw();
  };

  async function parts() {
    const found = await read();
    return [whole(found), writes || Object.keys(found.keys).length ? ofKeys(found) : null, writes ? deletion() : null];
  }

  function whole(found) {
    const state = facts([
      ["Kept now", found.kept ? `${plural(found.kept, "request")}, ${bytes(found.size_bytes)}` : "nothing"],
      found.oldest && ["The oldest", day(found.oldest)],
    ]);
    const text = "Off unless you want it. What is kept is sealed, and read by owners, admins and developers of this account; it is noted who reads.";
    if (!writes) return card({ title: "Requests and answers", text }, facts([["Rule", told(found.rule)]]), state);
    if (!found.rule) {
      const begin = () => {
        const node = dialog({ title: "Keep requests and answers", text: "From the next request on, of all keys of this account.", body: ruleForm(DEFAULTS, { cancel: () => node.close(), action: "Keep them", save: async (rule) => { await put(rule); node.close(); } }) });
      };
      return card({ title: "Requests and answers", text, actions: button("Keep them", { small: true, tone: "primary", onclick: begin }) }, h("div.row", badge("nothing is kept", "plain", { dot: true })), state);
    }
    const stop = async () => {
      if ((await confirm({ title: "Keep nothing any more?", text: "It holds from the next request on. What is kept stays until its time is over: delete it below if it should go now.", action: "Keep nothing" })) && (await attempt(() => ctx.api.del("/api/v1/content/rule"), "Nothing is kept from now on."))) await draw();
    };
    return card({ title: "Requests and answers", text, actions: button("Keep nothing", { small: true, onclick: stop }) }, state, ruleForm(found.rule, { save: async (rule) => { await put(rule); toast("Saved. It holds from the next request on."); } }));
  }

  function ofKeys(found) {
    const rows = table({
      label: "Keys that differ",
      columns: [
        { key: "id", label: "Key", wide: true, render: (row) => h("span", names.get(row.id) ?? row.id, h("span.cell-sub", told(row.rule))) },
        { key: "more", align: "end", render: (row) => (writes ? h("span.row.tight", button("Remove", { tone: "quiet", small: true, onclick: () => remove(row) }), button("Change", { tone: "quiet", small: true, onclick: () => change(row) })) : h("span")) },
      ],
      rows: Object.entries(found.keys).map(([id, rule]) => ({ id, rule })),
      empty: { icon: "key", title: "No key differs", text: "What the account says holds for all of them." },
    });
    const remove = async (row) => {
      if (await attempt(() => ctx.api.del("/api/v1/content/rule", { params: { key: row.id } }), "What the account says holds for it again.")) await draw();
    };
    const change = (row) => {
      const free = [...names].filter(([id]) => !(id in found.keys));
      const extra = row ? [] : [field({ label: "Key", name: "key", type: "select", options: free })];
      const node = dialog({ title: row ? `What is kept of ${names.get(row.id) ?? row.id}` : "Another rule for a key", text: "0 percent keeps nothing of it.", body: ruleForm(row?.rule ?? { ...DEFAULTS, share: 0 }, { extra, cancel: () => node.close(), save: async (rule, values) => { await put({ ...rule, key: row?.id ?? values.key }); node.close(); } }) });
    };
    return card({ title: "Keys that differ", flush: true, actions: writes && names.size ? button("Add a key", { small: true, icon: "plus", onclick: () => change(null) }) : null }, rows);
  }

  function deletion() {
    const value = h("div");
    const choose = field({ label: "What", name: "what", type: "select", options: [["user", "Of a user"], ["key", "Of a key"], ["before", "Before a day"], ["id", "Of one request"], ["everything", "Everything of this account"]] });
    const inputs = {
      user: () => field({ label: "User", name: "user", required: true, autocomplete: "off", hint: "As keys and requests name them." }),
      key: () => field({ label: "Key", name: "key", type: "select", options: [...names] }),
      before: () => field({ label: "Before", name: "before", type: "date", required: true }),
      id: () => field({ label: "Id of the request", name: "id", required: true, autocomplete: "off" }),
      everything: () => h("p.muted", "Kept responses, conversations and the state of earlier turns go too."),
    };
    const pick = () => replace(value, inputs[choose.value]());
    choose.control.addEventListener("change", pick);
    const node = form({
      fields: [h("div.form-row", choose, value)],
      action: "Delete",
      tone: "danger",
      submit: async () => {
        const what = choose.value;
        const control = value.querySelector("input,select");
        if (control && !control.checkValidity()) return control.reportValidity();
        if (!(await confirm({ title: "Delete what was said?", text: "It is gone for good, also of requests that run now. Records and costs of the requests stay.", action: "Delete" }))) return;
        const done = await ctx.api.post("/api/v1/content/delete", { [what]: what === "everything" ? true : control.value });
        toast(`Deleted: ${plural(done.deleted, "request")}${done.responses_deleted ? `, ${plural(done.responses_deleted, "kept response")}` : ""}.`);
        await draw();
      },
    });
    pick(); // now: a form checks the fields that it was made with
    return card({ title: "Delete on request", text: "What was said, and the responses that clients have kept here, as far as they can be told." }, node);
  }

  await draw();
  return root;
}
