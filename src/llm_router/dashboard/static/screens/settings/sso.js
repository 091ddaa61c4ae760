// Single sign-on: the issuer that people sign in at. What the configuration names is only shown; the secret never is.

import { ApiError } from "../../lib/api.js";
import { h, replace, uid } from "../../lib/dom.js";
import { icon } from "../../lib/icons.js";
import { badge, button, card, codeBlock, confirm, facts, field, form, load, messageOf, toast, when } from "../../lib/ui.js";
import { ROLES } from "../team.js";

const PATH = "/api/v1/gateway/sso";
const ROLE_OPTIONS = ROLES.map(([name, title]) => [name, title]);

const CHECKS = {
  description: "Its description can be read",
  issuer: "It calls itself as it is called here",
  endpoints: "It says where one signs in",
  keys: "It has keys that can be used",
  signing: "It signs in a way that can be checked",
  pkce: "It takes PKCE",
  scopes: "It knows what is asked for",
  client: "It knows the client",
};

const listed = (text) => text.split(/[\s,;]+/).filter(Boolean);
const lines = (text) => text.split("\n").map((each) => each.trim()).filter(Boolean);
const roleName = (role) => ROLES.find(([name]) => name === role)?.[1] ?? role;

/** Groups of the issuer with the role of each, as rows that one adds and removes. */
function roleRows(roles) {
  const id = uid("roles");
  const complaint = h("p.field-error", { role: "alert", id: `${id}-error` });
  const list = h("div.stack.tight");
  const add = (group = "", role = "developer") => {
    const row = h("div.role-row", h("input", { type: "text", value: group, "aria-label": "Group", placeholder: "Group", autocomplete: "off", spellcheck: "false", "aria-describedby": `${id}-error` }), h("select", { "aria-label": `Role of the group ${group}`.trim(), value: role }, ROLE_OPTIONS.map(([name, title]) => h("option", { value: name }, title))), h("button.icon-button", { type: "button", "aria-label": `Remove the group ${group}`.trim(), onclick: () => (row.remove(), more.focus()) }, icon("close", { size: 16 })));
    list.append(row);
    return row;
  };
  const more = button("Add a group", { small: true, icon: "plus", onclick: () => void add().querySelector("input").focus() });
  for (const [group, role] of Object.entries(roles)) add(group, role);
  const node = h("div.field", { role: "group", "aria-labelledby": id }, h("span.label", { id }, "Roles of groups"), list, h("div", more), h("p.field-hint", "Of several groups, the one with most rights counts."), complaint);
  Object.defineProperty(node, "value", { get: () => [...list.children].map((row) => [row.querySelector("input").value.trim(), row.querySelector("select").value]).filter(([group]) => group) });
  Object.assign(node, { control: more, fieldName: "roles", fieldLabel: "Roles of groups", error: (text) => (complaint.textContent = text ?? "") });
  return node;
}

const redirect = (found) => h("div.field", h("span.label", "Address to enter at the issuer"), codeBlock(found.redirect_uri, { label: "Redirect URI" }), h("p.field-hint", "Issuers call it redirect URI or callback."));

/** What holds, for who may not change it here. */
const shown = (found) =>
  facts([
    ["Issuer", h("span.break", found.issuer ?? "–")],
    ["Client ID", h("span.break", found.client_id ?? "–")],
    ["Client secret", found.client_secret_set ? "set, and never shown" : "none: a public client"],
    ["Called on the button", found.name],
    ["Account", found.account],
    ["Roles of groups", Object.keys(found.roles).length ? Object.entries(found.roles).map(([group, role]) => h("div", group, h("span.muted", ` · ${roleName(role)}`))) : "none"],
    ["Who is in none of them", found.default_role ? roleName(found.default_role) : "is let in only as a member"],
    ["Groups that run the gateway", found.operators.join(", ") || "none"],
    ["Domains of addresses", found.domains.join(", ") || "any"],
    ["Asked for", found.scopes],
    ["Claim that lists groups", h("code", found.groups_claim)],
  ]);

/** What a test found, one thing below the other. */
const outcome = (tested) =>
  h(
    "div.stack.tight",
    h("div.notice", { class: tested.ok ? "good" : "bad" }, icon(tested.ok ? "check" : "warning"), h("div", h("b", tested.ok ? "People can sign in there" : "One cannot sign in there yet"), h("p.break", tested.issuer))),
    h("ul.checked", tested.checks.map((each) => h("li", { class: each.ok ? "good" : "bad" }, icon(each.ok ? "check" : "close", { size: 16 }), h("div", h("span.offscreen", each.ok ? "Well: " : "Not well: "), h("b", CHECKS[each.check] ?? each.check), each.problem || each.found ? h("p.break", each.problem ?? each.found) : null)))),
  );

export function sso(ctx) {
  const writes = ctx.can("house:write");
  const body = h("div");
  const tested = h("div", { "aria-live": "polite" });
  const actions = h("div.actions");
  const frame = card({ title: "Single sign-on", text: "People sign in where they do anyway: Entra ID, Okta, Google, Keycloak, or whoever else speaks OpenID Connect.", actions }, body, tested);

  async function test(typed) {
    try {
      replace(tested, outcome(await ctx.api.post(`${PATH}/test`, typed ? { issuer: typed } : {})));
      tested.scrollIntoView({ block: "nearest" });
    } catch (error) {
      toast(messageOf(error), { tone: "bad" });
    }
  }

  async function remove() {
    if (!(await confirm({ title: "Do without single sign-on?", text: "Nobody signs in at the issuer any more. Who has no password asks for one by “Forgot your password”. Sessions go on.", action: "Do without" }))) return;
    try {
      await ctx.api.del(PATH);
      toast("Removed.");
    } catch (error) {
      toast(messageOf(error), { tone: "bad" });
    }
    replace(tested);
    await draw();
  }

  function editor(found, accounts) {
    const issuer = field({ label: "Issuer", name: "issuer", type: "url", required: true, value: found.issuer ?? "", placeholder: "https://login.example.com", autocomplete: "off", hint: "Its address, exactly as it calls itself." });
    const without = found.client_secret_set ? field({ label: "Do without a secret", name: "without", type: "checkbox", hint: "The one that is kept is thrown away." }) : [];
    const node = form({
      fields: [
        issuer,
        h("div.form-row", field({ label: "Client ID", name: "client_id", required: true, value: found.client_id ?? "", autocomplete: "off", spellcheck: "false" }), field({ label: "Client secret", name: "client_secret", type: "password", optional: true, autocomplete: "new-password", hint: found.client_secret_set ? "One is kept. Empty: it stays, for the same client." : "None for a public client." })),
        without,
        redirect(found),
        h("div.form-row", field({ label: "Account", name: "account", type: "select", value: found.account, options: accounts, hint: "In which groups give roles." }), field({ label: "Who is in no group", name: "default_role", type: "select", value: found.default_role ?? "", options: [["", "Only who is a member already"], ...ROLE_OPTIONS], hint: "The role they get there." })),
        roleRows(found.roles),
        h(
          "details.more",
          { open: found.operators.length > 0 || found.domains.length > 0 || found.emails_verified },
          h("summary", "More"),
          h(
            "div.stack.tight",
            field({ label: "Only addresses of these domains", name: "domains", optional: true, value: found.domains.join(", "), placeholder: "example.com", autocomplete: "off", hint: "With commas. Empty: any." }),
            field({ label: "Groups that run the gateway", name: "operators", type: "textarea", optional: true, rows: 2, value: found.operators.join("\n"), hint: "One a line. Their people see and change everything." }),
            h("div.form-row", field({ label: "Called on the button", name: "name", value: found.name, maxlength: 100, autocomplete: "off" }), field({ label: "Claim that lists groups", name: "groups_claim", value: found.groups_claim, autocomplete: "off", spellcheck: "false" }), field({ label: "Asked for", name: "scopes", value: found.scopes, autocomplete: "off", spellcheck: "false" })),
            field({ label: "The issuer has verified all addresses", name: "emails_verified", type: "checkbox", value: found.emails_verified, hint: "Only if it does not say so in its tokens, and lets nobody take an address that is not theirs." }),
          ),
        ),
      ],
      action: found.source === "stored" ? "Save" : "Put it in use",
      submit: async (values) => {
        const { without: none, client_secret: secret, ...rest } = values;
        const roles = Object.fromEntries(rest.roles);
        if (Object.keys(roles).length < rest.roles.length) throw new ApiError({ message: "One group is there twice.", param: "roles" });
        await ctx.api.put(PATH, {
          issuer: rest.issuer.trim(),
          client_id: rest.client_id.trim(),
          client_secret: none ? "" : secret || null,
          account: rest.account,
          roles,
          default_role: rest.default_role || null,
          domains: listed(rest.domains),
          operators: lines(rest.operators),
          emails_verified: rest.emails_verified,
          name: rest.name.trim() || null,
          groups_claim: rest.groups_claim.trim() || null,
          scopes: rest.scopes.trim() || null,
        });
        toast("Saved. It holds for the next sign-in.");
        await draw();
      },
    });
    replace(actions, button("Test", { icon: "play", onclick: () => test(issuer.value.trim() === (found.issuer ?? "") ? null : issuer.value.trim()) }), found.kept ? button("Remove", { onclick: remove }) : null);
    return node;
  }

  const standing = (found) => (found.source === "config" ? badge("set by the configuration", "info", { dot: true }) : found.source === "stored" ? badge("in use", "good", { dot: true }) : badge("not in use", "plain", { dot: true }));

  async function look() {
    const [found, accounts] = await Promise.all([ctx.api.get(PATH, {}, { signal: ctx.signal }), ctx.api.get("/api/v1/accounts", { limit: 200 }, { signal: ctx.signal })]);
    const fixed = found.source === "config";
    const options = accounts.data.map((each) => [each.id, each.title || each.id]);
    if (!options.some(([id]) => id === found.account)) options.push([found.account, found.account]);
    replace(actions, writes && found.issuer ? button("Test", { icon: "play", onclick: () => test(null) }) : null, fixed && found.kept && writes ? button("Forget what was set here", { onclick: remove }) : null);
    return h(
      "div.stack",
      h("div.row", standing(found), found.changed && !fixed ? h("span.faint", "changed ", when(found.changed)) : null),
      found.problem ? h("div.notice.bad", icon("warning"), h("p.break", found.problem)) : null,
      fixed ? h("div.notice", icon("info"), h("p", "The configuration says this, under ", h("code", "[oidc]"), ", and is where it is changed.", found.kept ? " What was set here waits until it says nothing of it." : "")) : null,
      fixed || !writes ? [shown(found), redirect(found)] : editor(found, options),
    );
  }

  const draw = load(body, look, { height: 420 });
  return frame;
}
