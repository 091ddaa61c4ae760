"""``llm-router conformance``: wire checks against any gateway or provider."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from urllib.parse import urlsplit

from llm_router.adapters.clock import SystemClock
from llm_router.cli.output import note, print_error, print_json, print_table
from llm_router.conformance import (
    ALL_CHECKS,
    APIS,
    Options,
    Report,
    Result,
    Unreachable,
    Verdict,
    as_json,
    render,
    run,
    select,
)
from llm_router.conformance.report import describe

FAILED, USAGE = 1, 2


class _Wrong(Exception):
    """The words of the command line do not fit together."""


def conformance(arguments: argparse.Namespace) -> int:
    """Run the checks. 0: all passed, 1: some failed, 2: nothing could be checked."""
    try:
        options = _options(arguments)
        if arguments.list:
            return _list(options, as_json=arguments.json)
        if not options.key:
            raise _Wrong("a key is needed: --key KEY, or the variable LLM_ROUTER_API_KEY")
        report = _run(options, quiet=arguments.json)
    except (_Wrong, Unreachable) as error:
        print_error(
            "usage" if isinstance(error, _Wrong) else "unreachable", str(error), as_json=arguments.json
        )
        return USAGE
    _show(report, arguments)
    if report.score is None:
        return USAGE
    return FAILED if report.count(Verdict.FAILED) else 0


def _options(arguments: argparse.Namespace) -> Options:
    """
    Raises:
        _Wrong: the words do not fit together; says how.
    """
    apis = None if arguments.api is None else _apis(arguments.api)
    patterns = tuple(arguments.only or ())
    key = arguments.key or os.environ.get("LLM_ROUTER_API_KEY", "")
    if not (key.isascii() and key.isprintable() and " " not in key):
        raise _Wrong("--key must be one word of printable ASCII characters")
    if not select(apis or APIS, patterns):
        raise _Wrong(f"no check matches {' '.join(patterns)}; --list names them all")
    return Options(
        base_url=_address(arguments.base_url),
        key=key,
        apis=apis,
        models=_models(arguments.model or (), apis or APIS),
        only=patterns,
        concurrency=arguments.concurrency,
        timeout_s=arguments.timeout,
    )


def _address(text: str) -> str:
    url = text if "://" in text else f"http://{text}"
    try:
        parts = urlsplit(url)
        sound = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        sound = False
    if not sound or not url.isascii() or not url.isprintable() or " " in url:
        raise _Wrong(f"--base-url takes an address such as http://127.0.0.1:4040; not {text!r}")
    return url


def _apis(text: str) -> tuple[str, ...]:
    wanted = [name.strip() for name in text.split(",") if name.strip()]
    unknown = [name for name in wanted if name not in APIS]
    if unknown or not wanted:
        raise _Wrong(f"--api takes {', '.join(APIS)}, separated by commas; not {text!r}")
    return tuple(name for name in APIS if name in wanted)


def _models(words: Sequence[str], apis: Sequence[str]) -> dict[str, str]:
    """``NAME`` is for every API that chats, ``API=NAME`` for that one."""
    models: dict[str, str] = {}
    named: dict[str, str] = {}
    for word in words:
        api, equals, name = word.partition("=")
        if equals and api in APIS:
            named[api] = name
        else:
            models |= {api: word for api in apis if api != "embeddings" or len(apis) == 1}
    return {**models, **named}


def _run(options: Options, *, quiet: bool) -> Report:
    total = len(select(options.apis or APIS, options.only))
    live = sys.stderr.isatty() and not quiet
    done = 0

    def progress(result: Result) -> None:
        nonlocal done
        done += 1
        if live:
            print(f"\r\x1b[K{done} of {total}  {result.check.id}", end="", file=sys.stderr, flush=True)

    try:
        return run(
            options, clock=SystemClock().monotonic_us, sleep=time.sleep, environ=os.environ, progress=progress
        )
    finally:
        if live:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def _show(report: Report, arguments: argparse.Namespace) -> None:
    if arguments.json:
        print(as_json(report))
        return
    colour = sys.stdout.isatty() and "NO_COLOR" not in os.environ
    print(render(report, colour=colour, verbose=arguments.verbose))


def _list(options: Options, *, as_json: bool) -> int:
    checks = select(options.apis or APIS, options.only)
    if as_json:
        print_json({"checks": [describe(check) for check in checks]})
        return 0
    print_table(("CHECK", "", "WHAT MUST BE SO"), [(c.id, c.severity.value, c.title) for c in checks])
    note(f"{len(checks)} of {len(ALL_CHECKS)} checks.")
    return 0
