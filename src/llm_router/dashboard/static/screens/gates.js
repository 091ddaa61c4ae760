// What one sees before being signed in: signing in, setting up, joining, a new password.

import { h, replace } from "../lib/dom.js";
import { plural } from "../lib/format.js";
import { icon, mark } from "../lib/icons.js";
import { button, failure, field, form, messageOf, skeleton } from "../lib/ui.js";

const WORD = { minlength: 12, maxlength: 256 };

const head = (title, text) => h("header.gate-head", mark(36), h("div", h("h1", { tabindex: -1 }, title), text && h("p", text)));

const link = (text, run) => h("button", { type: "button", onclick: run }, text);

/** The token behind the # of a link: it is never sent to a server, and leaves the address when it was used. */
const token = () => decodeURIComponent(location.hash.slice(1));

const email = (extra = {}) => field({ label: "E-mail", name: "email", type: "email", required: true, autocomplete: "username", ...extra });
const password = (extra = {}) => field({ label: "Password", name: "password", type: "password", required: true, autocomplete: "current-password", ...extra });
const newPassword = (extra = {}) => password({ hint: "At least 12 characters. A few words that only you would put together are good.", autocomplete: "new-password", ...WORD, ...extra });
const name = () => field({ label: "Your name", name: "name", required: true, autocomplete: "name", maxlength: 100 });

function present(place, ...content) {
  replace(place, content);
  (place.querySelector("input") ?? place.querySelector("h1"))?.focus();
}

/** What a refusal for too many tries says, with how long to wait. */
async function patient(work) {
  try {
    return await work;
  } catch (error) {
    if (error.status === 429 && error.retryAfterS > 0) error.message = `Too many wrong tries. Try again in ${waited(error.retryAfterS)}.`;
    throw error;
  }
}

const waited = (s) => (s < 90 ? plural(Math.ceil(s), "second") : plural(Math.ceil(s / 60), "minute"));

async function begun(place, ctx, answer) {
  if (!answer.second_factor) return ctx.signedIn();
  let recovery = false;
  const draw = () =>
    present(
      place,
      head("Your second factor", recovery ? "One of the codes for recovery that you kept. Each is good for once." : "The code that your authenticator shows now."),
      form({
        fields: [field({ label: recovery ? "Recovery code" : "Code", name: "code", required: true, autocomplete: "one-time-code", inputmode: recovery ? "text" : "numeric", class: "code-input", maxlength: 40 })],
        action: "Continue",
        wide: true,
        submit: async ({ code }) => begun(place, ctx, await patient(ctx.api.post("/api/v1/sign-in/code", { code: code.trim() }, { quiet: true }))),
      }),
      h("p.gate-foot", link(recovery ? "Use the authenticator" : "Use a recovery code", () => ((recovery = !recovery), draw()))),
    );
  draw();
}

/** What went wrong at an issuer: the gateway left it for this page, to be read once. */
function trouble() {
  const found = /(?:^|; )llm_router_trouble=([^;]*)/.exec(document.cookie);
  if (!found) return null;
  document.cookie = "llm_router_trouble=; Path=/sign-in; Max-Age=0";
  return decodeURIComponent(found[1]);
}

async function signIn(place, ctx) {
  const wrong = trouble();
  replace(place, head("Sign in"), skeleton(3, { height: 210 }));
  let ways;
  try {
    ways = await ctx.api.get("/api/v1/sign-in", {}, { quiet: true });
  } catch (error) {
    return replace(place, failure(error, () => signIn(place, ctx)));
  }
  if (ways.set_up) return replace(place, head("Welcome to LLM Router", "Nobody has set this gateway up yet. When it started, it printed a link of its own that makes you its operator: open that."), h("div.notice", h("div", h("p", "The link is gone from the screen? A new one is printed by")), ), h("div.code", h("pre", h("code", "llm-router people set-up"))), button("I have set it up", { onclick: () => signIn(place, ctx) }));
  present(
    place,
    head("Sign in", "Welcome back."),
    wrong && h("div.notice.bad", { role: "alert" }, icon("warning"), h("div", h("p", wrong), h("p.muted", ways.oidc ? `Sign in with ${ways.oidc} again, or with a password.` : "Sign in with a password."))),
    form({
      fields: [email(), password()],
      action: "Sign in",
      wide: true,
      submit: async (values) => begun(place, ctx, await patient(ctx.api.post("/api/v1/sign-in", values, { quiet: true }))),
    }),
    ways.oidc ? h("a.button.wide", { href: `/api/v1/sign-in/oidc?back=${encodeURIComponent(new URLSearchParams(location.search).get("to") ?? "/")}`, target: "_self" }, `Sign in with ${ways.oidc}`) : null,
    h("p.gate-foot", link("Forgot your password?", () => forgot(place, ctx)), ways.sign_up ? link("Make an account", () => signUp(place, ctx, ways.mail)) : null),
  );
}

function forgot(place, ctx) {
  present(
    place,
    head("A new password", "We mail you a link that is good for an hour."),
    form({
      fields: [email()],
      action: "Send the link",
      wide: true,
      submit: async (values) => {
        const { mailed } = await ctx.api.post("/api/v1/password/forgot", values, { quiet: true });
        present(
          place,
          head(mailed ? "Look into your mail" : "No mail leaves here", mailed ? `If ${values.email} may sign in here, a link is on its way.` : "This gateway has no mail server. Ask its operator: the command people reset makes a link for you."),
          h("p.gate-foot", link("Back to signing in", () => signIn(place, ctx))),
        );
      },
    }),
    h("p.gate-foot", link("Back to signing in", () => signIn(place, ctx))),
  );
}

function signUp(place, ctx, mail) {
  const account = field({ label: "Name of the account", name: "account", required: true, hint: "Lower-case letters, digits and hyphens. Keys and books know it by this, for good.", pattern: "[a-z0-9][a-z0-9\\-]*", maxlength: 60 });
  present(
    place,
    head("Make an account", mail ? "We mail you a link that is good for a day." : undefined),
    form({
      fields: mail ? [email(), account] : [name(), email(), account, newPassword()],
      action: mail ? "Send the link" : "Make the account",
      wide: true,
      submit: async (values) => {
        const answer = await ctx.api.post("/api/v1/sign-up", values, { quiet: true });
        if (!answer.mailed) return begun(place, ctx, answer);
        present(place, head("Look into your mail", `A message to ${values.email} says how to go on.`), h("p.gate-foot", link("Back to signing in", () => signIn(place, ctx))));
      },
    }),
    h("p.gate-foot", link("Back to signing in", () => signIn(place, ctx))),
  );
}

const broken = (place, ctx, text) => replace(place, head("This link is not whole", text), button("To signing in", { onclick: () => ctx.navigate("/sign-in") }));

async function setUp(place, ctx) {
  if (!token()) return broken(place, ctx, "Open the link that the gateway printed when it started, with all that stands behind the #.");
  const ways = await ctx.api.get("/api/v1/sign-in", {}, { quiet: true }).catch(() => null);
  if (ways && !ways.set_up) return replace(place, head("This gateway is set up", "Its link for that is used. Sign in, or ask an operator for an invitation. Who has lost the password gets a new link by:"), h("div.code", h("pre", h("code", "llm-router people reset E-MAIL"))), button("To signing in", { tone: "primary", onclick: () => ctx.navigate("/sign-in") }));
  present(
    place,
    head("Set up LLM Router", "You become the operator of this gateway and the owner of its first account."),
    form({
      fields: [name(), email(), newPassword()],
      action: "Begin",
      wide: true,
      submit: async (values) => begun(place, ctx, await ctx.api.post("/api/v1/set-up", { ...values, token: token() }, { quiet: true })),
    }),
  );
}

async function join(place, ctx) {
  if (!token()) return broken(place, ctx, "Open the link of the invitation, with all that stands behind the #.");
  if (ctx.me) {
    return replace(
      place,
      head("You are invited", `Take the invitation up as ${ctx.me.email}.`),
      button("Take it up", { tone: "primary wide", onclick: async () => { await ctx.api.post("/api/v1/me/invitations", { token: token() }); await ctx.signedIn(); } }),
      h("p.gate-foot", link("Not now", () => ctx.navigate("/"))),
    );
  }
  present(
    place,
    head("You are invited", "Choose how you are called and a password."),
    form({
      fields: [name(), newPassword()],
      action: "Join",
      wide: true,
      submit: async (values) => begun(place, ctx, await ctx.api.post("/api/v1/join", { ...values, token: token() }, { quiet: true })),
    }),
    h("p.gate-foot", link("I sign in here already", () => takeUp(place, ctx))),
  );
}

/** What was mailed to who signs up leads here. */
async function signedUp(place, ctx) {
  if (!token()) return ctx.navigate("/sign-in", { replace: true });
  present(
    place,
    head("Make your account", "Choose how you are called and a password."),
    form({
      fields: [name(), newPassword()],
      action: "Make the account",
      wide: true,
      submit: async (values) => begun(place, ctx, await ctx.api.post("/api/v1/join", { ...values, token: token() }, { quiet: true })),
    }),
  );
}

/** Take an invitation up as somebody who has a password here. */
function takeUp(place, ctx) {
  const invited = token();
  present(
    place,
    head("Take the invitation up", "Sign in; the invitation is taken up then."),
    form({
      fields: [email(), password()],
      action: "Sign in",
      wide: true,
      submit: async (values) => {
        const answer = await patient(ctx.api.post("/api/v1/sign-in", values, { quiet: true }));
        const accept = async () => {
          try {
            await ctx.api.post("/api/v1/me/invitations", { token: invited }, { quiet: true });
          } catch (error) {
            return replace(place, head("You are signed in", messageOf(error)), button("Go on", { tone: "primary", onclick: ctx.signedIn }));
          }
          return ctx.signedIn();
        };
        await begun(place, { ...ctx, signedIn: accept }, answer);
      },
    }),
  );
}

async function reset(place, ctx) {
  if (!token()) return broken(place, ctx, "Open the link that was mailed to you, with all that stands behind the #.");
  present(
    place,
    head("A new password", "It ends all your other sessions."),
    form({
      fields: [newPassword({ label: "New password" })],
      action: "Set it",
      wide: true,
      submit: async (values) => {
        await ctx.api.post("/api/v1/password/reset", { ...values, token: token() }, { quiet: true });
        replace(place, head("That is your password now"), button("Sign in", { tone: "primary wide", onclick: () => ctx.navigate("/sign-in") }));
      },
    }),
  );
}

export const gates = [
  { path: "/sign-in", title: "Sign in", mount: signIn },
  { path: "/set-up", title: "Set up", mount: setUp },
  { path: "/join", title: "Join", mount: join },
  { path: "/sign-up", title: "Make your account", mount: signedUp },
  { path: "/reset", title: "New password", mount: reset },
];
