// Members of the account, their roles, teams, and who is invited.

import { h } from "../lib/dom.js";
import { badge, button, card, codeBlock, confirm, copyButton, dialog, field, form, menu, messageOf, pageHead, reveal, table, toast, when } from "../lib/ui.js";

export const ROLES = [
  ["owner", "Owner", "everything, the account itself included"],
  ["admin", "Admin", "members, keys, budgets, settings"],
  ["developer", "Developer", "asks models, makes own keys, sees the log"],
  ["billing", "Billing", "credit, budgets, statements"],
  ["viewer", "Viewer", "sees figures, changes nothing"],
];
const ORDER = ROLES.map(([name]) => name);

async function mount(root, ctx) {
  const writes = ctx.can("member:write");
  const mine = ctx.me.accounts[ctx.account];
  const grantable = ROLES.filter(([name]) => ctx.me.operator || mine === "owner" || name !== "owner");
  const teams = await ctx.api.get("/api/v1/teams", { limit: 200 }, { signal: ctx.signal }).then((page) => page.data);
  const options = grantable.map(([name, title, text]) => [name, `${title}: ${text}`]);
  const teamField = (value) => (teams.length ? field({ label: "Teams", name: "teams", type: "checks", value, options: teams.map((each) => [each.title, each.title]) }) : []);

  const attempt = async (work, told, ...reloads) => {
    try {
      await work();
      toast(told);
    } catch (error) {
      toast(messageOf(error), { tone: "bad" });
    }
    await Promise.all(reloads.map((each) => each.reload()));
  };

  const members = table({
    label: "Members",
    columns: [
      { key: "name", label: "Name", sort: true, wide: true, render: (each) => h("span", each.name, each.person === ctx.me.id ? h("span.muted", " (you)") : null, h("span.cell-sub", each.email)) },
      { key: "role", label: "Role", sort: (each) => ORDER.indexOf(each.role), render: (each) => h("span", badge(each.role), each.role_from_groups ? h("span.cell-sub", "from the issuer") : null) },
      { key: "teams", label: "Teams", hideOnPhone: true, render: (each) => each.teams.join(", ") || "–" },
      { key: "created", label: "Since", sort: true, hideOnPhone: true, render: (each) => when(each.created) },
      { key: "more", align: "end", render: (each) => (each.person === ctx.me.id ? menu([{ label: "Leave the account", icon: "door", tone: "danger", run: () => leave() }], { label: "Your membership" }) : writes && (mine === "owner" || ctx.me.operator || each.role !== "owner") ? menu([{ label: "Change role and teams", icon: "edit", run: () => change(each) }, { label: "Remove", icon: "trash", tone: "danger", run: () => remove(each) }], { label: `Actions for ${each.name}` }) : h("span")) },
    ],
    load: (after, limit) => ctx.api.get("/api/v1/members", { after, limit }, { signal: ctx.signal }),
    empty: { icon: "people", title: "Nobody is a member yet", text: "Invite who is to work with this account." },
  });

  const invitations = table({
    label: "Invitations",
    columns: [
      { key: "email", label: "E-mail", sort: true, wide: true, render: (each) => h("span.break", each.email) },
      { key: "role", label: "Role", render: (each) => badge(each.role) },
      { key: "teams", label: "Teams", hideOnPhone: true, render: (each) => each.teams.join(", ") || "–" },
      { key: "expires", label: "Ends", sort: true, hideOnPhone: true, render: (each) => when(each.expires) },
      { key: "more", align: "end", render: (each) => (writes ? button("Withdraw", { tone: "quiet", small: true, onclick: () => attempt(() => ctx.api.del(`/api/v1/invitations/${each.id}`), "Withdrawn: its link leads nowhere now.", invitations) }) : h("span")) },
    ],
    load: (after, limit) => ctx.api.get("/api/v1/invitations", { after, limit }, { signal: ctx.signal }),
    empty: { icon: "mail", title: "Nobody is invited", text: "An invitation is a link that is good for a week." },
  });

  const teamTable = table({
    label: "Teams",
    columns: [
      { key: "title", label: "Name", sort: true, wide: true, render: (each) => h("span", each.title, h("span.cell-sub.mono", each.id)) },
      { key: "created", label: "Made", sort: true, render: (each) => when(each.created) },
      { key: "more", align: "end", render: (each) => (ctx.can("team:write") ? button("Remove", { tone: "quiet", small: true, onclick: () => removeTeam(each) }) : h("span")) },
    ],
    rows: teams,
    empty: { icon: "building", title: "No teams", text: "Teams share budgets and limits, and group what keys and people spend." },
  });

  async function leave() {
    if (!(await confirm({ title: `Leave ${ctx.account}?`, text: "You see and do nothing there any more, until somebody invites you again.", action: "Leave" }))) return;
    try {
      await ctx.api.post(`/api/v1/accounts/${encodeURIComponent(ctx.account)}/leave`);
      await ctx.reloadMe();
    } catch (error) {
      toast(messageOf(error), { tone: "bad" });
    }
  }

  async function remove(each) {
    if (await confirm({ title: `Remove ${each.name}?`, text: "They lose all access to this account now. Keys that they made go on working: look at those, too.", action: "Remove" })) await attempt(() => ctx.api.del(`/api/v1/members/${each.person}`), "Removed.", members);
  }

  async function removeTeam(each) {
    if (!(await confirm({ title: `Remove the team ${each.title}?`, text: "Its members stay in the account. Keys, budgets and limits that name it go on doing so: look at those, too.", action: "Remove" }))) return;
    await attempt(() => ctx.api.del(`/api/v1/teams/${each.id}`), "Removed.");
    await ctx.navigate("/team", { replace: true });
  }

  function change(each) {
    const node = dialog({
      title: each.name,
      text: each.role_from_groups ? `${each.email}. Groups at the issuer gave the role: they give it again at the next sign-in, where it is the greater one.` : each.email,
      body: form({
        fields: [field({ label: "Role", name: "role", type: "select", options, value: each.role }), teamField(each.teams)],
        cancel: () => node.close(),
        submit: async (values) => {
          await ctx.api.patch(`/api/v1/members/${each.person}`, values);
          await members.reload(); // before the dialog goes, so that no menu of a row is drawn anew under the hand
          node.close();
          toast("Changed.");
        },
      }),
    });
  }

  function invite() {
    const node = dialog({
      title: "Invite somebody",
      text: `To the account ${ctx.account}.`,
      body: form({
        fields: [field({ label: "E-mail", name: "email", type: "email", required: true, autocomplete: "off" }), field({ label: "Role", name: "role", type: "select", options, value: "developer" }), teamField([])],
        action: "Invite",
        cancel: () => node.close(),
        submit: async (values, { headers }) => {
          const made = await ctx.api.post("/api/v1/invitations", values, { headers });
          node.close();
          await invitations.reload();
          if (made.mailed) dialog({ title: "Invited", text: `The link was mailed to ${made.email}, and is shown to nobody else.` });
          else dialog({ title: "Invited", text: `Send this link to ${made.email}: it is shown this once, and was not mailed.`, body: codeBlock(made.url, { label: "Link" }), actions: [copyButton(made.url, { label: "Copy the link", small: false })] });
        },
      }),
    });
  }

  function makeTeam() {
    const node = dialog({
      title: "New team",
      body: form({
        fields: [field({ label: "Name", name: "title", required: true, maxlength: 100, autocomplete: "off" })],
        action: "Make the team",
        cancel: () => node.close(),
        submit: async (values, { headers }) => {
          await ctx.api.post("/api/v1/teams", values, { headers });
          node.close();
          await ctx.navigate("/team", { replace: true });
        },
      }),
    });
  }

  root.append(pageHead("Team", { text: "Who works with this account, and what they may do.", actions: writes ? [button("Invite", { tone: "primary", icon: "plus", onclick: invite })] : [] }));
  await reveal(root, [
    card({ flush: true }, members),
    card({ title: "Invitations", flush: true }, invitations),
    card({ title: "Teams", flush: true, actions: ctx.can("team:write") ? button("New team", { small: true, icon: "plus", onclick: makeTeam }) : null }, teamTable),
  ], ctx.signal);
}

export const screen = { path: "/team", title: "Team", icon: "people", group: "manage", needs: "member:read", mount };
