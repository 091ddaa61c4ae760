"""Commands on accounts, who is in them, the gateway's providers, and who did what."""

from __future__ import annotations

from llm_router.cli.grammar import Command, Option, View
from llm_router.cli.kinds import count, names, yes_no

ROLES = ("owner", "admin", "developer", "billing", "viewer")

_ACCOUNT = Option("--account", "whose (default)", default="default")
_EMAIL = Option("email", "the address of e-mail", metavar="EMAIL")
_TEAMS = Option("--teams", "titles of teams of the account", metavar="A,B", read=names)
_ROLE = Option("--role", "owner, admin, developer, billing or viewer", choices=ROLES)

HOUSE = (
    Command(
        "accounts list",
        "list all accounts",
        operation="accounts.list",
        view=View(
            "accounts",
            (("ID", "id"), ("TITLE", "title"), ("KEYS", "keys"), ("CREATED", "created"), ("CLOSED", "closed")),
            "There is no account yet; llm-router keys create makes one.",
            frozenset({"KEYS"}),
        ),
    ),
    Command(
        "accounts create",
        "make an account",
        operation="accounts.create",
        done="The account {id} is made.",
        options=(
            Option("id", "letters, digits and . _ @ -", metavar="ID"),
            Option("--title", "what people read (the id)"),
            Option("--owner", "the address of somebody who can sign in", metavar="EMAIL"),
        ),
    ),
    Command(
        "accounts change",
        "rename, close or open an account",
        operation="accounts.change",
        done="{id}: {title}; closed: {closed}.",
        options=(
            Option("id", "of accounts list", metavar="ID"),
            Option("--title", "what people read"),
            Option("--close", "its members see it no more; everything is kept", action="store_const", const=True,
                   dest="closed", apart="state"),
            Option("--open", "they see it again", action="store_const", const=False, dest="closed", apart="state"),
        ),
    ),
    Command(
        "members list",
        "list who is in an account, and as what",
        operation="members.list",
        options=(_ACCOUNT,),
        view=View(
            "members",
            (("E-MAIL", "email"), ("NAME", "name"), ("ROLE", "role"), ("TEAMS", "teams"), ("SINCE", "since")),
            "Nobody is in this account; llm-router members invite prints a link.",
        ),
    ),
    Command(
        "members invite",
        "print a link by which somebody joins an account, good once and for seven days",
        operation="members.invite",
        done="{path}",
        options=(
            _EMAIL,
            _ROLE._replace(required=True),
            _TEAMS,
            _ACCOUNT,
        ),
    ),
    Command(
        "members change",
        "give a member another role or other teams",
        operation="members.change",
        done="{email} is {role} of {account}; teams: {teams}.",
        options=(_EMAIL, _ROLE, _TEAMS, _ACCOUNT),
    ),
    Command(
        "members remove",
        "take somebody out of an account; keys that they made stay",
        operation="members.remove",
        done="{email} is no member of {account} any more.",
        options=(_EMAIL, _ACCOUNT),
    ),
    Command(
        "invitations list",
        "list invitations that nobody has taken up",
        operation="invitations.list",
        options=(_ACCOUNT,),
        view=View(
            "invitations",
            (("ID", "id"), ("E-MAIL", "email"), ("ROLE", "role"), ("TEAMS", "teams"), ("EXPIRES", "expires")),
            "No invitation is open.",
        ),
    ),
    Command(
        "invitations remove",
        "take an invitation back",
        operation="invitations.remove",
        done="The invitation of {email} is taken back.",
        options=(Option("id", "inv_... of invitations list", metavar="ID"),),
    ),
    Command(
        "teams list",
        "list the teams of an account",
        operation="teams.list",
        options=(_ACCOUNT,),
        view=View(
            "teams",
            (("ID", "id"), ("TITLE", "title"), ("CREATED", "created")),
            "This account has no team; llm-router teams create makes one.",
        ),
    ),
    Command(
        "teams create",
        "make a team",
        operation="teams.create",
        done="The team {title} is {id}.",
        options=(Option("title", "what it is known by", metavar="TITLE"), _ACCOUNT),
    ),
    Command(
        "teams remove",
        "remove a team; keys, budgets and records that name it go on doing so",
        operation="teams.remove",
        done="The team {title} is removed.",
        options=(Option("id", "team_... of teams list", metavar="ID"),),
    ),
    Command(
        "people change",
        "rename somebody, make them an operator or not, let them sign in or not",
        operation="people.change",
        done="{email} ({name}) runs the gateway: {operator}; disabled: {disabled}.",
        options=(
            _EMAIL,
            Option("--name", "what people read"),
            Option("--operator", "who runs the gateway: yes or no", metavar="yes|no", read=yes_no),
            Option("--disable", "they cannot sign in", action="store_const", const=True, dest="disabled", apart="state"),
            Option("--enable", "they can again", action="store_const", const=False, dest="disabled", apart="state"),
        ),
    ),
    Command(
        "providers list",
        "list providers, and where their keys come from",
        operation="providers.list",
        options=(Option("--all", "those that cannot be called too", action="store_true", argument="every"),),
        view=View(
            "providers",
            (
                ("ID", "id"), ("NAME", "name"), ("ACTIVE", "active"), ("KEY", "key"), ("ENDS WITH", "key_mark"),
                ("MODELS", "models"), ("VARIABLE", "env"),
            ),
            "No provider can be called yet; --all lists those that there are.",
            frozenset({"MODELS"}),
        ),
    ),
    Command(
        "providers set-key",
        "keep a key of the gateway's own, read from standard input; used from the next request on",
        run="providers:set_key",
        operation="providers.set_key",
        options=(Option("provider", "of providers list --all", metavar="ID"),),
        prints="prints `provider`, `set`, `active`",
    ),
    Command(
        "providers remove-key",
        "delete such a key; file and environment hold again",
        operation="providers.remove_key",
        done="The gateway keeps no key for {provider} any more; it can be called: {active}.",
        options=(Option("provider", "of providers list", metavar="ID"),),
    ),
    Command(
        "settings show",
        "show what is decided for all",
        operation="settings.show",
        view=View("", (("Strangers may make themselves an account", "sign_up"), ("Prices and status are public", "public_pages")), ""),
    ),
    Command(
        "settings change",
        "decide it",
        operation="settings.change",
        done="Strangers may make themselves an account: {sign_up}. Prices and status are public: {public_pages}.",
        options=(
            Option("--sign-up", "may strangers make themselves an account: yes or no", metavar="yes|no", read=yes_no),
            Option("--public-pages", "may anybody see prices and status (/pricing, /status): yes or no", metavar="yes|no",
                   read=yes_no),
        ),
    ),
    Command(
        "audit list",
        "list who did what, the newest first",
        operation="audit.list",
        options=(
            Option("--account", "of one account (all)"),
            Option("--before", "acts with numbers under this one", metavar="N", read=count),
            Option("--limit", "how many (100)", metavar="N", read=count),
        ),
        view=View(
            "acts",
            (
                ("NUMBER", "seq"), ("WHEN", "at"), ("WHO", "actor_name"), ("FROM", "ip"), ("ACT", "action"),
                ("ACCOUNT", "account"), ("OBJECT", "object"),
            ),
            "Nobody has changed anything yet.",
            frozenset({"NUMBER"}),
        ),
    ),
    Command(
        "audit export",
        "write who did what as JSON lines, the newest first",
        run="audit:export",
        operation="audit.list",
        json=False,
        options=(Option("--account", "of one account (all)"),),
    ),
    Command(
        "audit check",
        "calculate the chain of the audit log again",
        operation="audit.check",
        done="The audit log is whole: {acts} acts; the last one's hash is {hash}.",
    ),
)  # fmt: skip
