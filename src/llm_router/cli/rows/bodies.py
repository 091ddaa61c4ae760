"""Commands on what accounts have kept of what was said."""

from __future__ import annotations

from llm_router.cli.grammar import Command, Option
from llm_router.cli.kinds import count, names, share

_ACCOUNT = Option("--account", "whose (default)", default="default")

BODIES = (
    Command(
        "bodies show",
        "what an account has kept of requests and answers, and by which rules",
        run="bodies:show",
        operation="bodies.show",
        options=(_ACCOUNT,),
    ),
    Command(
        "bodies set",
        "have requests and answers kept, of an account or of one key",
        run="bodies:set_rule",
        operation="bodies.set",
        options=(
            _ACCOUNT,
            Option("--key", "of this key alone", metavar="ID"),
            Option(
                "--share",
                "the part of the exchanges that is kept, from 0 to 1 (1)",
                metavar="PART",
                read=share,
            ),
            Option(
                "--redact", "email, phone, card, iban, ip, with commas between", metavar="A,B", read=names
            ),
            Option(
                "--pattern",
                "a regular expression of what is taken out too; may be given several times",
                metavar="REGEX",
                action="append",
                dest="patterns",
            ),
            Option("--files", "keep pictures and other files too", action="store_true"),
            Option(
                "--max-bytes",
                "of a request and of an answer (262144)",
                metavar="N",
                read=count,
                dest="bytes_max",
            ),
            Option("--days", "how long it is kept (30)", metavar="N", read=count, dest="retention_days"),
        ),
    ),
    Command(
        "bodies unset",
        "keep nothing any more; of a key, what its account says",
        operation="bodies.unset",
        done="The rule is taken away. What is kept stays until its time is over: llm-router bodies delete deletes it.",
        options=(_ACCOUNT, Option("--key", "of this key alone", metavar="ID")),
    ),
    Command(
        "bodies delete",
        "delete what is kept, for good",
        run="bodies:delete",
        operation="bodies.delete",
        options=(
            _ACCOUNT,
            Option("--id", "of one exchange", metavar="ID"),
            Option("--key", "of one key", metavar="ID"),
            Option("--user", "of one user"),
            Option("--before", "of exchanges before a time such as 2027-01-31", metavar="WHEN"),
            Option("--everything", "all of the account", action="store_true"),
            Option("--without-responses", "leave responses that clients have kept", action="store_true"),
        ),
    ),
    Command(
        "bodies rotate",
        "seal with a new key from now on",
        operation="bodies.rotate",
        done="What is kept from now on is sealed with the key {sealed_with}.",
    ),
    Command(
        "logs show",
        "a request: why it went where it went, or what was said",
        run="bodies:show_exchange",
        operation="bodies.read",
        prints="with `--body` the body of `GET /v1/generations/{id}/content`, else that of `explain`",
        options=(
            Option("id", "of the exchange or of the reply", metavar="ID"),
            Option(
                "--body", "request and answer, as they are kept; it is noted who reads", action="store_true"
            ),
            _ACCOUNT,
        ),
    ),
)
