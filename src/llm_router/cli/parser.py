"""The command line's grammar. Kept free of imports that cost start-up time."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

CLIENTS = (
    "openai", "anthropic", "gemini", "claude-code", "codex", "gemini-cli", "opencode", "aider", "continue",
    "cursor", "litellm", "openclaw", "openclaw-skill", "curl", "langchain", "pydantic-ai",
)  # fmt: skip
"""Those that print-config knows; here, so that a wrong one is refused without loading anything."""

WORKERS_MAX = 256

EPILOG = "Documentation: docs/cli.md and docs/configuration.md"


FAULTS = "faults that the simulated providers commit: a TOML file, or a preset such as outage:openai"


class Parser(argparse.ArgumentParser):
    """A parser whose errors are JSON where the caller asked for JSON."""

    _words: Sequence[str] = ()

    def parse_known_args(  # type: ignore[override]  # the overloads of typeshed are about namespaces
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        self._words = sys.argv[1:] if args is None else args
        return super().parse_known_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        if "--json" in self._words:
            print(json.dumps({"error": {"code": "usage", "message": message}}))
        self.print_usage(sys.stderr)
        self.exit(2, f"llm-router: {message}\n")


def build_parser() -> Parser:
    parser = Parser(
        prog="llm-router",
        description="One key and one API for 300+ language models.",
        epilog=EPILOG,
    )
    parser.add_argument("--version", action="store_true", help="print the version and exit")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", parser_class=Parser)
    where = _where("the gateway of serve --sandbox, which has keys and credits of its own")
    output = _json()
    _add_serve(commands, _where("simulated providers answer, without any key"))
    _add_keys(commands, where, output)
    _add_credits(commands, where, output)
    _add_vouchers(commands, where, output)
    _add_payments(commands, where, output)
    _add_byok(commands, where, output)
    _add_people(commands, where, output)
    _add_budgets(commands, where, output)
    _add_limits(commands, where, output)
    _add_presets(commands, where, output)
    _add_experiments(commands, where, output)
    forget = commands.add_parser(
        "forget",
        parents=[where, output],
        help="delete the state of earlier turns that is kept for an account",
    )
    forget.add_argument("--account", required=True, help="whose")
    deployments = commands.add_parser(
        "deployments", parents=[where, output], help="show how the deployments fare that are called"
    )
    deployments.add_argument("--all", action="store_true", help="those that were never called too")
    explain = commands.add_parser(
        "explain", parents=[where, output], help="say why an exchange went where it went"
    )
    explain.add_argument("id", metavar="ID", help="of the exchange (x-generation-id) or of the reply")
    explain.add_argument("--account", default="default", help="whose it is (default)")
    _add_routes(commands, where, output)
    models = commands.add_parser("models", parents=[where, output], help="list models with their prices")
    models.add_argument("--all", action="store_true", help="those that cannot be called too")
    _add_config(commands, where, output)
    commands.add_parser(
        "migrate", parents=[where, output], help="bring the data of an older version up to date"
    )
    _add_prices(commands, where, output)
    _add_ledger(commands, where, output)
    _add_usage(commands, where, output)
    _add_statements(commands, where, output)
    _add_reconcile(commands, where, output)
    _add_receipts(commands, where, output)
    _add_local(commands, _where(), output)
    _add_conformance(commands, output)
    _add_print_config(commands, where)
    _add_router(commands, output)
    sandbox = commands.add_parser("sandbox", help="run only the simulated providers")
    sandbox.add_argument("--host", default="127.0.0.1", help="address to listen on (127.0.0.1)")
    sandbox.add_argument("--port", type=_port, default=4041, help="port to listen on (4041; 0 = any)")
    sandbox.add_argument("--faults", metavar="FILE", help=FAULTS)
    commands.add_parser("version", parents=[output], help="print the version")
    return parser


def _where(sandbox: str | None = None) -> Parser:
    """Options that say which gateway is meant; ``sandbox`` is what that flag means to the command."""
    parent = Parser(add_help=False)
    parent.add_argument("--config", type=Path, metavar="FILE", help="configuration file (TOML)")
    parent.add_argument("--data-dir", type=Path, metavar="DIR", help="folder of the gateway's data")
    if sandbox is not None:
        parent.add_argument("--sandbox", action="store_true", help=sandbox)
    return parent


def _json() -> Parser:
    parent = Parser(add_help=False)
    parent.add_argument("--json", action="store_true", help="print JSON, errors too")
    return parent


_Commands = argparse._SubParsersAction  # the only name argparse has for it


def _add_router(commands: _Commands[Parser], output: Parser) -> None:
    labelled = Parser(add_help=False)
    labelled.add_argument(
        "file", type=Path, metavar="FILE", help="labelled prompts: .jsonl, .csv or .parquet"
    )
    labelled.add_argument(
        "--outcomes", type=Path, metavar="FILE", help="the labels, joined by the column pid"
    )
    labelled.add_argument(
        "--where", action="append", default=[], metavar="COLUMN=VALUE", help="only such rows"
    )
    labelled.add_argument("--weak", metavar="MODELS", help="the cheap side, by comma (the worst model)")
    labelled.add_argument("--strong", metavar="MODELS", help="the dear side, by comma (the best model)")
    labelled.add_argument(
        "--price", action="append", default=[], metavar="MODEL=IN/OUT", help="US dollars per million tokens"
    )
    labelled.add_argument(
        "--resamples", type=_resamples, default=200, metavar="N", help="for intervals (200)"
    )
    labelled.add_argument("--seed", type=int, default=1, help="of the resamples (1)")
    commands.add_parser(
        "eval-router", parents=[labelled, output], help="measure the auto router on labelled prompts"
    )
    calibrate = commands.add_parser(
        "calibrate-router", parents=[labelled, output], help="find the cheapest dial that reaches a quality"
    )
    calibrate.add_argument(
        "--target-quality", type=float, required=True, metavar="Q", help="mean quality to reach, 0 to 1"
    )


def _resamples(text: str) -> int:
    """
    Raises:
        ArgumentTypeError: not between 20 and 10,000.
    """
    if not text.isdigit() or not 20 <= int(text) <= 10_000:
        raise argparse.ArgumentTypeError("must be between 20 and 10000")
    return int(text)


def _add_serve(commands: _Commands[Parser], where: Parser) -> None:
    serve = commands.add_parser("serve", parents=[where], help="run the gateway")
    serve.add_argument("--host", help="address to listen on (127.0.0.1)")
    serve.add_argument("--port", type=_port, help="port to listen on (4040; 0 = any)")
    serve.add_argument("--workers", type=_workers, metavar="N", help="processes that serve requests (1)")
    serve.add_argument("--faults", metavar="FILE", help=FAULTS)
    serve.add_argument(
        "--local",
        action="store_true",
        help="serve a small real model on this machine (needs pip install xllamacpp)",
    )
    serve.add_argument(
        "--local-gguf", type=Path, metavar="FILE", help="serve this GGUF file (implies --local)"
    )


def _add_keys(commands: _Commands[Parser], where: Parser, output: Parser) -> None:
    keys = commands.add_parser("keys", help="make, list and revoke API keys")
    actions = keys.add_subparsers(dest="action", metavar="ACTION", required=True, parser_class=Parser)
    create = actions.add_parser("create", parents=[where, output], help="make a key and print it, this once")
    create.add_argument("--name", required=True, help="what the key is for")
    create.add_argument("--account", default="default", help="whose credits it spends (default)")
    create.add_argument("--team", help="the team that it belongs to, for budgets and reports")
    create.add_argument("--user", help="the person who uses it, for budgets and reports")
    create.add_argument("--expires", metavar="WHEN", help="12h, 30d, 8w, or a time such as 2027-01-31")
    create.add_argument("--models", metavar="A,B*", help="models it may use: names or patterns, by commas")
    create.add_argument("--rpm", type=int, metavar="N", help="requests a minute")
    create.add_argument("--tpm", type=int, metavar="N", help="tokens a minute")
    create.add_argument("--concurrency", type=int, metavar="N", help="requests at the same time")
    create.add_argument(
        "--no-usage-chunk", action="store_true", help="streams end without usage and cost unless asked for"
    )
    create.add_argument("--strict", action="store_true", help="refuse what a translation would lose")
    create.add_argument("--batch", action="store_true", help="refuse its requests first when busy")
    actions.add_parser("list", parents=[where, output], help="list all keys")
    revoke = actions.add_parser("revoke", parents=[where, output], help="refuse a key from now on")
    revoke.add_argument("id", metavar="ID", help="key_... of keys list")


def _add_credits(commands: _Commands[Parser], where: Parser, output: Parser) -> None:
    credits = commands.add_parser("credits", help="add and show credits")
    actions = credits.add_subparsers(dest="action", metavar="ACTION", required=True, parser_class=Parser)
    add = actions.add_parser("add", parents=[where, output], help="book credits to an account")
    add.add_argument("amount", metavar="AMOUNT", help="US dollars, such as 5 or 12.50")
    add.add_argument("--account", default="default", help="the account (default)")
    add.add_argument("--reason", help="why, for the ledger")
    add.add_argument("--ref", help="your reference: the same one is booked once only")
    adjust = actions.add_parser("adjust", parents=[where, output], help="add or take credits by hand")
    adjust.add_argument("--amount", required=True, help="US dollars, such as 5 or -3 (write --amount=-3)")
    adjust.add_argument("--account", default="default", help="the account (default)")
    adjust.add_argument("--reason", required=True, help="why, for the books")
    adjust.add_argument("--actor", required=True, help="who decided it, for the books")
    adjust.add_argument("--ref", help="your reference: the same one is booked once only")
    auto = actions.add_parser(
        "auto", parents=[where, output], help="have a saved card charged when it is low"
    )
    auto.add_argument("--account", default="default", help="the account (default)")
    auto.add_argument("--threshold", metavar="AMOUNT", help="below so many US dollars")
    auto.add_argument("--amount", help="charge so many US dollars")
    auto.add_argument("--every", default="1h", metavar="SPAN", help="at most once in 90m, 12h, 1d (1h)")
    auto.add_argument("--off", action="store_true", help="charge nothing any more")
    show = actions.add_parser("show", parents=[where, output], help="show what an account has left")
    show.add_argument("--account", default="default", help="the account (default)")


def _add_vouchers(commands: _Commands[Parser], where: Parser, output: Parser) -> None:
    vouchers = commands.add_parser("vouchers", help="make and redeem codes that bring credit")
    actions = vouchers.add_subparsers(dest="action", metavar="ACTION", required=True, parser_class=Parser)
    create = actions.add_parser(
        "create", parents=[where, output], help="make codes and print them, this once"
    )
    create.add_argument("--amount", required=True, help="US dollars of each, such as 10")
    create.add_argument("--count", type=int, default=1, metavar="N", help="how many (1)")
    create.add_argument("--expires", metavar="WHEN", help="12h, 90d, 8w, or a time such as 2027-01-31")
    create.add_argument("--note", default="", help="what they are for")
    actions.add_parser("list", parents=[where, output], help="list all vouchers, without their codes")
    revoke = actions.add_parser("revoke", parents=[where, output], help="refuse a voucher from now on")
    revoke.add_argument("id", metavar="ID", help="vou_... of vouchers list")
    redeem = actions.add_parser("redeem", parents=[where, output], help="book a voucher to an account")
    redeem.add_argument("code", metavar="CODE", help="the code")
    redeem.add_argument("--account", default="default", help="the account (default)")


def _add_payments(commands: _Commands[Parser], where: Parser, output: Parser) -> None:
    payments = commands.add_parser("payments", help="show what was paid")
    actions = payments.add_subparsers(dest="action", metavar="ACTION", required=True, parser_class=Parser)
    shown = actions.add_parser("list", parents=[where, output], help="list top-ups with their state")
    shown.add_argument("--account", help="of one account (all)")


def _add_people(commands: _Commands[Parser], where: Parser, output: Parser) -> None:
    people = commands.add_parser("people", help="who may sign in")
    actions = people.add_subparsers(dest="action", metavar="ACTION", required=True, parser_class=Parser)
    actions.add_parser("list", parents=[where, output], help="list everybody who can sign in")
    actions.add_parser("set-up", parents=[where, output], help="print a link that makes the first operator")
    reset = actions.add_parser("reset", parents=[where, output], help="print a link that sets a new password")
    reset.add_argument("email", metavar="EMAIL", help="whose")


def _add_byok(commands: _Commands[Parser], where: Parser, output: Parser) -> None:
    byok = commands.add_parser("byok", help="keys of accounts of their own at providers")
    actions = byok.add_subparsers(dest="action", metavar="ACTION", required=True, parser_class=Parser)
    put = actions.add_parser("set", parents=[where, output], help="keep a key, read from standard input")
    put.add_argument("--provider", required=True, metavar="ID", help="where it is for, such as openai")
    put.add_argument("--account", default="default", help="whose it is (default)")
    put.add_argument(
        "--fallback", action="store_true", help="the gateway's own keys may serve where this one fails"
    )
    shown = actions.add_parser("list", parents=[where, output], help="list who has keys where")
    shown.add_argument("--account", help="of one account (all)")
    remove = actions.add_parser("remove", parents=[where, output], help="delete a key")
    remove.add_argument("--provider", required=True, metavar="ID", help="where it is for")
    remove.add_argument("--account", default="default", help="whose it is (default)")


def _add_budgets(commands: _Commands[Parser], where: Parser, output: Parser) -> None:
    budgets = commands.add_parser("budgets", help="bound what parts of an account may spend")
    actions = budgets.add_subparsers(dest="action", metavar="ACTION", required=True, parser_class=Parser)
    put = actions.add_parser("set", parents=[where, output], help="make a budget, or change its amount")
    put.add_argument("amount", metavar="AMOUNT", help="US dollars, such as 0, 5 or 12.50")
    put.add_argument("--account", default="default", help="whose credits it bounds (default)")
    whom = put.add_mutually_exclusive_group()
    whom.add_argument("--team", help="bound the keys of a team, together")
    whom.add_argument("--user", help="bound the keys of a person, together")
    whom.add_argument("--key", metavar="ID", help="bound one key")
    whom.add_argument(
        "--session", metavar="ID", nargs="?", const="", help="bound each session of a key, or of the account"
    )
    windows = ("minute", "hour", "day", "week", "month", "lifetime")
    put.add_argument("--window", choices=windows, default="month", help="how long it lasts (month)")
    put.add_argument("--rolling", action="store_true", help="any stretch of that length, not the calendar's")
    put.add_argument("--time-zone", default="UTC", metavar="NAME", help="whose calendar (UTC)")
    shown = actions.add_parser("list", parents=[where, output], help="show what is spent of each")
    shown.add_argument("--account", default="default", help="the account (default)")
    remove = actions.add_parser("remove", parents=[where, output], help="bound nothing by it any more")
    remove.add_argument("id", metavar="ID", help="bud_... of budgets list")


def _add_limits(commands: _Commands[Parser], where: Parser, output: Parser) -> None:
    limits = commands.add_parser("limits", help="bound how many requests and tokens parts of an account have")
    actions = limits.add_subparsers(dest="action", metavar="ACTION", required=True, parser_class=Parser)
    put = actions.add_parser("set", parents=[where, output], help="make a limit, or change its amount")
    kinds = ("requests", "tokens", "concurrency")
    put.add_argument("kind", choices=kinds, metavar="KIND", help="requests, tokens or concurrency")
    put.add_argument("amount", type=int, metavar="AMOUNT", help="at most so many; 0 refuses all")
    put.add_argument("--account", default="default", help="whose requests it bounds (default)")
    whom = put.add_mutually_exclusive_group()
    whom.add_argument("--team", help="bound the keys of a team, together")
    whom.add_argument("--user", help="bound the keys of a person, together")
    whom.add_argument("--key", metavar="ID", help="bound one key")
    put.add_argument("--window", choices=("minute", "hour", "day"), help="in any such time (minute)")
    put.add_argument("--model", metavar="NAME", help="a model or a pattern: only requests for it count")
    shown = actions.add_parser("list", parents=[where, output], help="show the limits of an account")
    shown.add_argument("--account", default="default", help="the account (default)")
    remove = actions.add_parser("remove", parents=[where, output], help="bound nothing by it any more")
    remove.add_argument("id", metavar="ID", help="lim_... of limits list")


def _add_experiments(commands: _Commands[Parser], where: Parser, output: Parser) -> None:
    experiments = commands.add_parser("experiments", help="split traffic into arms, and compare them")
    actions = experiments.add_subparsers(dest="action", metavar="ACTION", required=True, parser_class=Parser)
    create = actions.add_parser("create", parents=[where, output], help="begin an experiment")
    create.add_argument("name", metavar="NAME", help="what reports are asked for by")
    create.add_argument("--of", required=True, metavar="WHAT", help="@PRESET, or a model as clients write it")
    kinds = ("ab", "canary", "shadow")
    create.add_argument("--kind", choices=kinds, default="ab", help="ab, canary or shadow (ab)")
    create.add_argument(
        "--arm",
        action="append",
        default=[],
        metavar="ARM",
        help="NAME[:WEIGHT][=MODEL or JSON]; the first is compared with",
    )
    sticky = ("user", "session", "key", "request")
    create.add_argument("--sticky", choices=sticky, default="user", help="what keeps its arm (user)")
    create.add_argument(
        "--share", type=float, default=1.0, metavar="PART", help="shadow: copied part, 0 to 1 (1)"
    )
    create.add_argument(
        "--concurrency", type=int, default=4, metavar="N", help="shadow: copies at a time (4)"
    )
    billed = ("operator", "customer")
    create.add_argument("--billed", choices=billed, default="operator", help="shadow: who pays (operator)")
    create.add_argument(
        "--guard-requests", type=int, default=20, metavar="N", help="canary: judged from so many on (20)"
    )
    create.add_argument(
        "--guard-margin", type=float, default=0.0, metavar="PART", help="canary: errors it may have more (0)"
    )
    create.add_argument("--description", help="what it is for")
    actions.add_parser("list", parents=[where, output], help="list all experiments")
    for action, text in (
        ("show", "print an experiment as JSON"),
        ("stop", "end an experiment"),
        ("report", "compare the arms"),
    ):
        named = actions.add_parser(action, parents=[where, output], help=text)
        named.add_argument("name", metavar="NAME", help="of experiments list")
        if action == "stop":
            named.add_argument("--reason", help="why, for the report")


def _add_presets(commands: _Commands[Parser], where: Parser, output: Parser) -> None:
    presets = commands.add_parser("presets", help="save models, parameters and wishes under a name")
    actions = presets.add_subparsers(dest="action", metavar="ACTION", required=True, parser_class=Parser)
    make = actions.add_parser("create", parents=[where, output], help="save one, or its next version")
    make.add_argument("name", metavar="NAME", help="it is asked for as @NAME")
    make.add_argument(
        "--model", action="append", default=[], metavar="M", help="model string; may be repeated"
    )
    make.add_argument("--system", metavar="TEXT", help="system prompt of requests that have none")
    make.add_argument("--parameters", metavar="JSON", help='what requests leave out: {"temperature": 0.2}')
    make.add_argument("--provider", metavar="JSON", help='wishes: {"sort": "price"}')
    make.add_argument("--dial", type=float, metavar="0-10", help="of auto: cost (0) or quality (10)")
    make.add_argument("--description", metavar="TEXT", help="for people")
    actions.add_parser("list", parents=[where, output], help="show the newest version of each")
    for action, about in (
        ("show", "show one"),
        ("versions", "show all versions of one"),
        ("delete", "delete one with all its versions"),
    ):
        named = actions.add_parser(action, parents=[where, output], help=about)
        named.add_argument(
            "name", metavar="NAME", help="its name" + (", or NAME:VERSION" * (action == "show"))
        )


def _add_prices(commands: _Commands[Parser], where: Parser, output: Parser) -> None:
    prices = commands.add_parser("prices", help="say what customers pay")
    actions = prices.add_subparsers(dest="action", metavar="ACTION", required=True, parser_class=Parser)
    publish = actions.add_parser("publish", parents=[where, output], help="publish a rule, for good")
    publish.add_argument("percent", metavar="PERCENT", nargs="?", help="on the providers' prices: 20, -7.5")
    publish.add_argument("--input", metavar="USD", help="in place of a percent: dollars per million tokens")
    publish.add_argument("--output", metavar="USD", help="the same of the output")
    publish.add_argument("--cache-read", metavar="USD", help="the same of input from a cache")
    publish.add_argument("--account", metavar="A*", help="for the accounts of that name or pattern")
    whom = publish.add_mutually_exclusive_group()
    whom.add_argument("--team", help="for a team")
    whom.add_argument("--key", metavar="ID", help="for one key")
    publish.add_argument("--models", default="*", metavar="A,B*", help="of these models (all)")
    publish.add_argument("--providers", default="*", metavar="A,B*", help="at these providers (all)")
    publish.add_argument("--from", dest="start", metavar="WHEN", help="a time such as 2027-01-31 (now)")
    publish.add_argument("--reason", help="why")
    actions.add_parser("list", parents=[where, output], help="list the rules")
    show = actions.add_parser("show", parents=[where, output], help="show what a model costs somebody")
    show.add_argument("model", metavar="MODEL", help="a model")
    show.add_argument("--account", default="default", help="to that account (default)")
    show.add_argument("--team", help="to that team of it")
    show.add_argument("--key", metavar="ID", help="to that key")


def _add_ledger(commands: _Commands[Parser], where: Parser, output: Parser) -> None:
    ledger = commands.add_parser("ledger", help="prove the books")
    actions = ledger.add_subparsers(dest="action", metavar="ACTION", required=True, parser_class=Parser)
    verify = actions.add_parser(
        "verify", parents=[where, output], help="calculate everything in the books again"
    )
    verify.add_argument("--file", type=Path, metavar="FILE", help="a copy, in place of the gateway's own")
    verify.add_argument("--head", metavar="N:HASH", help="an entry and its hash, as printed before")
    orphans = actions.add_parser(
        "orphans", parents=[where, output], help="list exchanges whose process died before it settled them"
    )
    orphans.add_argument("--file", type=Path, metavar="FILE", help="a copy, in place of the gateway's own")
    orphans.add_argument("--limit", type=int, default=100, metavar="N", help="how many, the newest (100)")


def _add_usage(commands: _Commands[Parser], where: Parser, output: Parser) -> None:
    span = Parser(add_help=False)
    span.add_argument(
        "--from", dest="start", metavar="WHEN", help="a time such as 2027-01-31 (this month's begin)"
    )
    span.add_argument("--to", dest="end", metavar="WHEN", help="a time that is no part of it any more (now)")
    span.add_argument("--account", help="of one account (all)")
    by = Parser(add_help=False)
    by.add_argument(
        "--by",
        default="model",
        metavar="A,B",
        help="day, hour, account, key, team, user, model, provider (model)",
    )
    usage = commands.add_parser(
        "usage", parents=[where, output, span, by], help="what was used, and what it cost"
    )
    actions = usage.add_subparsers(dest="action", metavar="ACTION", parser_class=Parser)
    actions.add_parser("show", parents=[where, output, span, by], help="sums (without a word the same)")
    export = actions.add_parser("export", parents=[where, span], help="every request, as CSV or JSON lines")
    export.add_argument("--format", choices=("csv", "jsonl"), default="csv", help="csv or jsonl (csv)")


def _add_statements(commands: _Commands[Parser], where: Parser, output: Parser) -> None:
    statements = commands.add_parser("statements", help="statements and invoices of an account's months")
    actions = statements.add_subparsers(dest="action", metavar="ACTION", required=True, parser_class=Parser)
    which = Parser(add_help=False)
    which.add_argument("--month", required=True, metavar="YYYY-MM", help="the month, such as 2026-11 (UTC)")
    whose = Parser(add_help=False)
    whose.add_argument("--account", default="default", help="whose (default)")
    actions.add_parser(
        "show", parents=[where, output, which, whose], help="a month as issued, or as it stands"
    )
    export = actions.add_parser(
        "export", parents=[where, which, whose], help="write it for people or programs"
    )
    export.add_argument(
        "--format",
        choices=("html", "pdf", "csv", "json"),
        default="html",
        help="html, pdf (needs the extra [pdf]), csv or json (html)",
    )
    export.add_argument("--output", type=Path, metavar="FILE", help="where to (standard output)")
    issue = actions.add_parser(
        "issue", parents=[where, output, which], help="make a month final, with its invoice"
    )
    issue.add_argument("--account", help="of one account (all)")
    actions.add_parser("list", parents=[where, output, whose], help="list what was issued")


def _add_reconcile(commands: _Commands[Parser], where: Parser, output: Parser) -> None:
    check = commands.add_parser(
        "reconcile", parents=[where, output], help="compare a provider's export with what was recorded"
    )
    check.add_argument("file", type=Path, metavar="FILE", help="CSV of the provider's usage or costs")
    formats = ("openai", "anthropic", "google", "generic")
    check.add_argument(
        "--provider", required=True, choices=formats, help="whose columns: " + ", ".join(formats)
    )
    check.add_argument(
        "--of", metavar="A,B", help="ids of the providers here that it bills (as of --provider)"
    )
    check.add_argument(
        "--from", dest="start", metavar="DAY", help="first day, such as 2026-11-01 (of the file)"
    )
    check.add_argument("--to", dest="end", metavar="DAY", help="the day after the last one (of the file)")
    check.add_argument(
        "--time-zone", metavar="NAME", help="whose days they are (UTC; google: America/Los_Angeles)"
    )
    check.add_argument(
        "--column",
        action="append",
        default=[],
        metavar="FIELD=NAME",
        help="a column by name: time, model, id, requests, input, output, cost; input=A+B adds up",
    )
    check.add_argument(
        "--tolerance", default="0.5", metavar="PERCENT", help="of drift in all that is no failure (0.5)"
    )
    check.add_argument("--all", action="store_true", help="print the lines that agree too")


def _add_routes(commands: _Commands[Parser], where: Parser, output: Parser) -> None:
    routes = commands.add_parser("routes", help="try requests on a configuration, without sending them")
    actions = routes.add_subparsers(dest="action", metavar="ACTION", required=True, parser_class=Parser)
    test = actions.add_parser(
        "test", parents=[where, output], help="say what would route, cost and fail differently"
    )
    test.add_argument(
        "file",
        metavar="FILE",
        help="requests, or what was kept of some, one JSON object a line; - reads them",
    )
    test.add_argument(
        "--against",
        type=Path,
        metavar="OLD",
        help="compare with this configuration, not with what was recorded",
    )
    test.add_argument("--all", action="store_true", help="print what stays the same too")
    test.add_argument(
        "--fail-on",
        choices=("failures", "moves", "never"),
        default="failures",
        help="status 1 if a request fails that did not (failures), or goes elsewhere too (moves)",
    )


def _add_receipts(commands: _Commands[Parser], where: Parser, output: Parser) -> None:
    receipts = commands.add_parser("receipts", help="signed receipts of what was booked")
    actions = receipts.add_subparsers(dest="action", metavar="ACTION", required=True, parser_class=Parser)
    export = actions.add_parser("export", parents=[where], help="write an account's receipts, one a line")
    export.add_argument("--account", default="default", help="whose (default)")
    export.add_argument("--after", type=_count, default=0, metavar="N", help="begin behind that number (0)")
    actions.add_parser("keys", parents=[where, output], help="print the public keys that verify them")
    actions.add_parser("rotate", parents=[where, output], help="sign with a new key from now on")


def _add_config(commands: _Commands[Parser], where: Parser, output: Parser) -> None:
    config = commands.add_parser("config", help="check the configuration, or have it read again")
    actions = config.add_subparsers(dest="action", metavar="ACTION", required=True, parser_class=Parser)
    actions.add_parser("check", parents=[where, output], help="say what is wrong, or what is active")
    actions.add_parser("reload", parents=[where, output], help="have the running gateway read it again")


def _add_local(commands: _Commands[Parser], where: Parser, output: Parser) -> None:
    local = commands.add_parser("local", help="the small model on this machine")
    actions = local.add_subparsers(dest="action", metavar="ACTION", required=True, parser_class=Parser)
    pull = actions.add_parser("pull", parents=[where, output], help="fetch the model file beforehand")
    pull.add_argument("--url", help="a GGUF file to fetch in place of the default one")
    pull.add_argument("--sha256", metavar="HEX", help="its checksum")


def _add_conformance(commands: _Commands[Parser], output: Parser) -> None:
    check = commands.add_parser(
        "conformance", parents=[output], help="check the wire of this or any other gateway"
    )
    check.add_argument("--base-url", default="http://127.0.0.1:4040", metavar="URL", help="whom to check")
    check.add_argument("--key", help="its API key (else the variable LLM_ROUTER_API_KEY)")
    check.add_argument("--api", metavar="A,B", help="chat, messages, responses, gemini, embeddings")
    check.add_argument("--model", action="append", metavar="[API=]NAME", help="model to ask; may be repeated")
    check.add_argument(
        "--only", action="append", metavar="ID", help="checks by id or pattern; may be repeated"
    )
    check.add_argument("--list", action="store_true", help="list the checks, ask nobody")
    check.add_argument("--concurrency", type=_few, default=4, metavar="N", help="checks at once (4)")
    check.add_argument("--timeout", type=_seconds, default=60.0, metavar="S", help="seconds a request (60)")
    check.add_argument("--verbose", action="store_true", help="name the checks that passed too")


def _add_print_config(commands: _Commands[Parser], where: Parser) -> None:
    printed = commands.add_parser(
        "print-config", parents=[where], help="print ready settings for a client or agent"
    )
    printed.add_argument("client", nargs="?", choices=CLIENTS, metavar="CLIENT", help="none lists them")
    printed.add_argument("--base-url", metavar="URL", help="the gateway's address (that of the settings)")
    secret = printed.add_mutually_exclusive_group()
    secret.add_argument("--key", help="the key itself")
    secret.add_argument("--key-env", metavar="NAME", help="variable that holds it (LLM_ROUTER_API_KEY)")
    printed.add_argument("--model", metavar="NAME", help="a model, in place of a current one")


def _count(text: str) -> int:
    if text.isascii() and text.isdigit() and len(text) < 16:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is not a whole number")


def _few(text: str) -> int:
    if text.isascii() and text.isdigit() and 1 <= int(text) <= 64:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 to 64")


def _seconds(text: str) -> float:
    if text.isascii() and text.isdigit() and 1 <= int(text) <= 3600:
        return float(text)
    raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds from 1 to 3600")


def _workers(text: str) -> int:
    if text.isascii() and text.isdigit() and 1 <= int(text[:4]) <= WORKERS_MAX:
        return int(text)
    raise argparse.ArgumentTypeError(f"must be a whole number from 1 to {WORKERS_MAX}")


def _port(text: str) -> int:
    if text.isascii() and text.isdigit() and len(text) <= 5 and int(text) <= 65535:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is not a port from 0 to 65535")
