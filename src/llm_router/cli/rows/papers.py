"""Commands on the books and what was used."""

from __future__ import annotations

from pathlib import Path

from llm_router.cli.grammar import Command, Option
from llm_router.cli.kinds import count

PAPERS = (
    Command(
        "logs",
        "the newest requests of an account, and those that end from now on",
        run="logs:show",
        operation="exchanges.list",
        prints="prints one JSON object a line",
        options=(
            Option("--follow", "go on with requests as they end, until Ctrl-C", action="store_true"),
            Option("--account", "whose (default)", default="default"),
            Option("--key", "of one key", metavar="ID"),
            Option("--team", "of a team"),
            Option("--user", "of a person"),
            Option("--model", "of a model", metavar="NAME"),
            Option("--provider", "of a provider", metavar="ID"),
            Option("--tag", "of a tag", metavar="NAME"),
            Option("--session", "of a session", metavar="ID"),
            Option("--outcome", "failed or succeeded", choices=("failed", "succeeded")),
            Option("--limit", "how many, the newest, 200 at most (50)", metavar="N", read=count, default=50),
        ),
    ),
    Command(
        "top",
        "what requests do now: tokens a second, dollars a minute, first-token times",
        run="top:top",
        operation="requests.list",
        prints="prints `window_s`, `data` by key and model, `running`, once",
        options=(Option("--account", "whose (default)", default="default"),),
    ),
    Command(
        "end",
        "end a request that runs: its client gets an error, and is charged nothing",
        operation="requests.end",
        done="The request {id} is ended.",
        options=(Option("id", "of top", metavar="ID"),),
    ),
    Command(
        "usage",
        "what was used, and what it cost",
        run="usage:show",
        operation="usage.show",
        options=(
            Option("--from", "a time such as 2027-01-31 (this month's begin)", metavar="WHEN", dest="start"),
            Option("--to", "a time that is no part of it any more (now)", metavar="WHEN", dest="end"),
            Option("--account", "of one account (all)"),
            Option(
                "--by",
                "day, hour, account, key, team, user, model, provider, tag (model)",
                metavar="A,B",
                default="model",
            ),
        ),
    ),
    Command(
        "usage show",
        "sums (without a word the same)",
        run="usage:show",
        operation="usage.show",
        options=(
            Option(
                "--from",
                "a time such as 2027-01-31 (this month's begin)",
                more="A time such as `2027-01-31`, UTC (the begin of this month).",
                metavar="WHEN",
                dest="start",
            ),
            Option(
                "--to",
                "a time that is no part of it any more (now)",
                more="A time that is no part of it any more (now). Full hours are summed up.",
                metavar="WHEN",
                dest="end",
            ),
            Option("--account", "of one account (all)", more="Of one account (all)."),
            Option(
                "--by",
                "day, hour, account, key, team, user, model, provider, tag (model)",
                more="What the sums are of: up to four of `day`, `hour`, `account`, `key`, `team`, `user`, `model`, `provider`, `tag`, by commas (`model`).",
                metavar="A,B",
                default="model",
            ),
        ),
    ),
    Command(
        "usage export",
        "every request, as CSV or JSON lines",
        run="usage:export",
        operation="usage.export",
        json=False,
        options=(
            Option("--from", "a time such as 2027-01-31 (this month's begin)", metavar="WHEN", dest="start"),
            Option("--to", "a time that is no part of it any more (now)", metavar="WHEN", dest="end"),
            Option("--account", "of one account (all)"),
            Option(
                "--format",
                "csv or jsonl (csv)",
                more="`csv` or `jsonl` (`csv`). In CSV no cell is one that a spreadsheet would take for a formula.",
                default="csv",
                choices=("csv", "jsonl"),
            ),
        ),
    ),
    Command(
        "statements show",
        "a month as issued, or as it stands",
        run="statements:show",
        operation="statements.show",
        options=(
            Option(
                "--month",
                "the month, such as 2026-11 (UTC)",
                more="Which, such as `2026-11` (UTC).",
                metavar="YYYY-MM",
                required=True,
            ),
            Option("--account", "whose (default)", more="Whose (`default`).", default="default"),
        ),
    ),
    Command(
        "statements export",
        "write it for people or programs",
        run="statements:export",
        operation="statements.show",
        json=False,
        options=(
            Option("--month", "the month, such as 2026-11 (UTC)", metavar="YYYY-MM", required=True),
            Option("--account", "whose (default)", default="default"),
            Option(
                "--format",
                "html, pdf (needs the extra [pdf]), csv or json (html)",
                more="`html`, `pdf` (extra `[pdf]`), `csv` or `json` (`html`).",
                default="html",
                choices=("html", "pdf", "csv", "json"),
            ),
            Option(
                "--output",
                "where to (standard output)",
                more="A file, readable by its owner alone (standard output).",
                metavar="FILE",
                read=Path,
            ),
        ),
    ),
    Command(
        "statements issue",
        "make a month final, with its invoice",
        run="statements:issue",
        operation="statements.issue",
        options=(
            Option(
                "--month",
                "the month, such as 2026-11 (UTC)",
                more="Which; it must be over.",
                metavar="YYYY-MM",
                required=True,
            ),
            Option(
                "--account",
                "of one account (all)",
                more="Of one account (all that have anything in their books).",
            ),
        ),
    ),
    Command(
        "statements list",
        "list what was issued",
        run="statements:list_issued",
        operation="statements.list",
        options=(Option("--account", "whose (default)", default="default"),),
    ),
    Command(
        "reconcile",
        "compare a provider's export with what was recorded",
        run="reconcile:reconcile",
        operation="reconcile.attempts",
        options=(
            Option("file", "CSV of the provider's usage or costs", metavar="FILE", read=Path),
            Option(
                "--provider",
                "whose columns: openai, anthropic, google, generic",
                more="Whose columns: `openai`, `anthropic`, `google`, `generic`.",
                choices=("openai", "anthropic", "google", "generic"),
                required=True,
            ),
            Option(
                "--of",
                "ids of the providers here that it bills (as of --provider)",
                more="The ids of the providers here that the file bills, by commas (those of `--provider`; `generic` needs it).",
                metavar="A,B",
            ),
            Option(
                "--from",
                "first day, such as 2026-11-01 (of the file)",
                more="First day, such as `2026-11-01` (that of the file).",
                metavar="DAY",
                dest="start",
            ),
            Option(
                "--to",
                "the day after the last one (of the file)",
                more="The day after the last one (that of the file).",
                metavar="DAY",
                dest="end",
            ),
            Option(
                "--time-zone",
                "whose days they are (UTC; google: America/Los_Angeles)",
                more="Whose days they are (`UTC`; of `google` `America/Los_Angeles`).",
                metavar="NAME",
            ),
            Option(
                "--column",
                "a column by name: time, model, id, requests, input, output, cost; input=A+B adds up",
                more="`FIELD=NAME` names a column; may be repeated.",
                metavar="FIELD=NAME",
                action="append",
                default=[],
            ),
            Option(
                "--tolerance",
                "of drift in all that is no failure (0.5)",
                more="Percent of drift that is no failure (0.5).",
                metavar="PERCENT",
                default="0.5",
            ),
            Option(
                "--all",
                "print the lines that agree too",
                more="Print the lines that agree too.",
                action="store_true",
            ),
        ),
    ),
    Command(
        "receipts export",
        "write an account's receipts, one a line",
        run="receipts:export",
        operation="receipts.export",
        json=False,
        options=(
            Option("--account", "whose (default)", more="Whose (`default`).", default="default"),
            Option(
                "--after",
                "begin behind that number (0)",
                more="Begin behind that number (0).",
                metavar="N",
                default=0,
                read=count,
            ),
        ),
    ),
    Command(
        "receipts keys",
        "print the public keys that verify them",
        run="receipts:show_keys",
        operation="receipts.keys",
    ),
    Command(
        "receipts rotate",
        "sign with a new key from now on",
        run="receipts:rotate",
        operation="receipts.rotate",
    ),
    Command(
        "ledger verify",
        "calculate everything in the books again",
        run="ledger:verify_ledger",
        prints="Print JSON: `ok`, the counts, `seq` and `head` (of a database `heads`), `journal` (`checked`, `in use` or `absent`), `journaled`, and `doubt` with `check`, `where` and `what`.",
        options=(
            Option(
                "--file",
                "a copy, in place of the gateway's own",
                more="A copy of the file, in place of the gateway's own.",
                metavar="FILE",
                read=Path,
            ),
            Option(
                "--head",
                "an entry and its hash, as printed before",
                more="An entry and its hash as an earlier run printed them (`N:HASH`; of a database `NODE:N:HASH` for each of its nodes, by commas): doubt if the books have another.",
                metavar="N:HASH",
            ),
        ),
    ),
    Command(
        "ledger salvage",
        "go on without a journal that was lost or damaged",
        run="ledger:salvage_ledger",
        prints="Print JSON: `doubt`, `booked` and `refused` (ids of exchanges), and `aside`, where the file is now.",
        options=(
            Option(
                "--reason", "why, for the audit log", more="Why, for the audit log; needed.", required=True
            ),
        ),
    ),
    Command(
        "ledger orphans",
        "list exchanges whose process died before it settled them",
        run="orphans:list_orphans",
        prints="Print JSON: `orphans`, each with `id`, `account`, `held`, `price_version`, `created` and `voided`.",
        options=(
            Option(
                "--file",
                "a copy, in place of the gateway's own",
                more="A copy of the file, in place of the gateway's own.",
                metavar="FILE",
                read=Path,
            ),
            Option(
                "--limit",
                "how many, the newest (100)",
                more="How many (100).",
                metavar="N",
                default=100,
                read=count,
            ),
        ),
    ),
)
