"""Commands on keys and people."""

from __future__ import annotations

from llm_router.cli.grammar import Command, Option, View
from llm_router.cli.kinds import count, names

_KEY_ID = Option("id", "key_... of keys list", metavar="ID")

_MAY = (
    Option("--providers", "providers it may use, by commas", metavar="A,B", read=names),
    Option(
        "--scopes",
        "of inference, models, usage, keys, admin",
        more="what it is for, of `inference`, `models`, `usage`, `keys`, `admin` ([scopes](accounts.md))",
        metavar="A,B",
        read=names,
    ),
    Option("--ip-ranges", "addresses it may be used from: 10.0.0.0/8", metavar="A,B", read=names),
    Option(
        "--tags",
        "what its requests are called in reports, by commas",
        more="what all its requests are called in reports ([tags](statements.md)), by commas, beside what they say themselves",
        metavar="A,B",
        read=names,
    ),
)

_BOUNDS = (
    Option("--rpm", "requests a minute", metavar="N", read=count, argument="requests_per_minute"),
    Option("--tpm", "tokens a minute", metavar="N", read=count, argument="tokens_per_minute"),
    Option("--concurrency", "requests at the same time", metavar="N", read=count),
    Option("--limit", "dollars that it may spend", metavar="USD"),
    Option(
        "--limit-reset",
        "in each such period (in all)",
        more="in each such period: `daily`, `weekly` or `monthly`; in all if left out",
        choices=("daily", "weekly", "monthly"),
    ),
)

KEY = View(
    rows="",
    columns=(
        ("Id", "id"),
        ("Name", "name"),
        ("Begins with", "prefix"),
        ("Account", "account"),
        ("Team", "team"),
        ("User", "user"),
        ("Status", "status"),
        ("Scopes", "scopes"),
        ("Models", "models"),
        ("Providers", "providers"),
        ("Addresses", "ip_ranges"),
        ("Tags", "tags"),
        ("Limits", "limits"),
        ("Dollars", "limit"),
        ("Dollars begin anew", "limit_reset"),
        ("Created", "created"),
        ("Expires", "expires"),
        ("Old text until", "old_text_until"),
    ),
    empty="",
)

PEOPLE = (
    Command(
        "keys create",
        "make a key and print it, this once",
        run="keys:create",
        operation="keys.create",
        prints="prints `id`, `key`, `name`, `prefix`, `account`, `team`, `user`, `status`, `created`, `expires`, `revoked`, `models`, `limits`, `usage_chunk`, `strict`, `priority`, `scopes`, `providers`, `ip_ranges`, `tags`, `limit`, `limit_reset`, `credits_remaining`",
        options=(
            Option("--name", "what the key is for", more="what the key is for; needed", required=True),
            Option(
                "--account",
                "whose credits it spends (default)",
                more="whose credits it spends (`default`); several keys may share one account",
                default="default",
            ),
            Option("--team", "the team that it belongs to, for budgets and reports"),
            Option("--user", "the person who uses it, for budgets and reports"),
            Option(
                "--expires",
                "12h, 30d, 8w, or a time such as 2027-01-31",
                more="a span (`90m`, `12h`, `30d`, `8w`) or a time (`2027-01-31`, `2027-01-31T12:00:00+02:00`; UTC if no zone is said)",
                metavar="WHEN",
            ),
            Option(
                "--models",
                "models it may use: names or patterns, by commas",
                more="models it may use, by commas: names (`gpt-5.4-mini`) or patterns (`claude-*`); all if left out",
                metavar="A,B*",
                read=names,
            ),
            *_MAY,
            *_BOUNDS,
            Option(
                "--no-usage-chunk",
                "streams end without usage and cost unless asked for",
                more="its streams end without the chunk of usage and cost, unless the request asks for it",
                action="store_true",
            ),
            Option(
                "--strict",
                "refuse what a translation would lose",
                more="requests that would lose something in translation are refused",
                action="store_true",
            ),
            Option(
                "--batch",
                "refuse its requests first when busy",
                more="nobody waits for its answers: its requests are the first to be refused when there is too much to do ([reliability](reliability.md#too-much-to-do))",
                action="store_true",
            ),
        ),
    ),
    Command(
        "keys list",
        "list all keys",
        run="keys:show",
        operation="keys.list",
        options=(Option("--account", "of one account (all)"),),
    ),
    Command(
        "keys show",
        "show one key",
        operation="keys.show",
        view=KEY,
        options=(_KEY_ID,),
    ),
    Command(
        "keys change",
        "change what a key may do, from the next request on",
        run="keys:change",
        operation="keys.change",
        prints="prints what `keys show` prints",
        options=(
            _KEY_ID,
            Option("--name", "what the key is for"),
            Option("--team", "the team that it belongs to"),
            Option("--user", "the person who uses it"),
            Option("--expires", "12h, 30d, 8w, or a time such as 2027-01-31", metavar="WHEN"),
            Option("--models", "models it may use: names or patterns", metavar="A,B*", read=names),
            *_MAY,
            *_BOUNDS,
            Option(
                "--without",
                "bounds that go: of team, user, expires, models, providers, scopes, ip-ranges, tags, rpm, tpm, concurrency, limit",
                metavar="A,B",
                read=names,
            ),
            Option(
                "--disable",
                "refuse it until it is enabled again",
                action="store_const",
                const=True,
                dest="disabled",
                apart="state",
            ),
            Option(
                "--enable",
                "accept it again",
                action="store_const",
                const=False,
                dest="disabled",
                apart="state",
            ),
        ),
    ),
    Command(
        "keys rotate",
        "give a key another text, printed this once; the old one works on for a while",
        run="keys:rotate",
        operation="keys.rotate",
        prints="prints `id`, `key`, and what `keys show` prints",
        options=(
            _KEY_ID,
            Option(
                "--overlap",
                "seconds that the old text works on; 0: not at all (86400)",
                metavar="S",
                read=count,
                dest="overlap_s",
            ),
        ),
    ),
    Command(
        "keys revoke",
        "refuse a key from now on",
        run="keys:revoke",
        operation="keys.revoke",
        options=(Option("id", "key_... of keys list", metavar="ID"),),
    ),
    Command("people list", "list everybody who can sign in", run="people:show", operation="people.list"),
    Command(
        "people set-up",
        "print a link that makes the first operator",
        run="people:set_up",
        operation="people.set_up",
    ),
    Command(
        "people reset",
        "print a link that sets a new password",
        run="people:reset",
        operation="people.reset",
        options=(Option("email", "whose", metavar="EMAIL"),),
    ),
    Command(
        "byok set",
        "keep a key, read from standard input",
        run="own_keys:set_key",
        operation="byok.set",
        prints="prints `account`, `provider`, `fallback`, `set`",
        options=(
            Option(
                "--provider",
                "where it is for, such as openai",
                more="where the key is for; needed",
                metavar="ID",
                required=True,
            ),
            Option("--account", "whose it is (default)", more="whose it is (`default`)", default="default"),
            Option(
                "--fallback",
                "the gateway's own keys may serve where this one fails",
                more="the gateway's own keys may serve the account where this one fails",
                action="store_true",
            ),
        ),
    ),
    Command(
        "byok list",
        "list who has keys where",
        run="own_keys:list_keys",
        operation="byok.list",
        options=(Option("--account", "of one account (all)"),),
    ),
    Command(
        "byok remove",
        "delete a key",
        run="own_keys:remove_key",
        operation="byok.remove",
        options=(
            Option("--provider", "where it is for", metavar="ID", required=True),
            Option("--account", "whose it is (default)", default="default"),
        ),
    ),
)
