"""``llm-router routes test``: what a changed configuration would route, cost and fail differently."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec

from llm_router.cli.output import note, print_json, print_table, printable, text_of
from llm_router.domain.errors import ModelNotFound, NotFound
from llm_router.domain.money import format_usd
from llm_router.engine.dry_run import Case, Difference, DryRun, Route, counts_of, entry_of
from llm_router.engine.state import State

_RIGHT = frozenset({"COST", "CHANGE"})


def try_routes(arguments: argparse.Namespace) -> int:
    """Plan every request of a file under a configuration and, if there is one, under the other.

    Raises:
        ConfigError: a configuration has problems.
        NotFound, InvalidRequest: the file cannot be read, or a line of it is none.
    """
    from llm_router.cli.cases import read_cases

    now_ms, new = _state(arguments)
    old = None
    if arguments.against is not None:
        _, old = _state(argparse.Namespace(**{**vars(arguments), "config": arguments.against}))
    cases = list(read_cases(arguments.file, lambda model: _embeds(new, model)))
    found = asyncio.run(_compared(cases, new, old, now_ms))
    counts = counts_of(found)
    if arguments.json:
        print_json({"requests": [entry_of(each) for each in found], **counts})
    else:
        _print(found, counts, every=arguments.all)
    fatal = counts["failing"] if arguments.fail_on == "failures" else 0
    if arguments.fail_on == "moves":
        fatal = counts["failing"] + counts["moved"]
    return 1 if fatal else 0


def rehearse(arguments: argparse.Namespace) -> int:
    """Have the running gateway plan its last requests under a change; 1 if one fails that did not.

    Raises:
        NotFound: the file cannot be read.
        InvalidRequest: the change has problems.
    """
    import sys
    from pathlib import Path

    from llm_router.cli.world import run_command

    try:
        text = sys.stdin.read() if arguments.file == "-" else Path(arguments.file).read_text()
    except (OSError, UnicodeError) as error:
        raise NotFound(f"{arguments.file}: cannot be read: {error}", code="no_file") from None
    values = {"last": arguments.last, "every": arguments.all, "config" if arguments.whole else "change": text}
    for name in ("account", "model"):
        if getattr(arguments, name) is not None:
            values[name] = getattr(arguments, name)
    result = run_command(arguments, "routes.rehearse", values)
    if arguments.json:
        print_json(result)
        return 1 if result["failing"] else 0
    told = text_of(result)
    rows = [
        (
            each["at"][:16].replace("T", " "),
            printable(each["asked_model"][:60]),
            _first(each["before"]),
            _first(each["after"]),
            "-" if each["change"] is None else f"${each['change']}",
            printable(each["unknown"] or ("FAILS" if each["fails"] else "moves" if each["moved"] else "-")),
        )
        for each in told["requests"]
    ]
    if rows:
        print_table(("AT", "ASKED", "BEFORE", "AFTER", "CHANGE", "WHAT"), rows, _RIGHT)
    for warning in told["warnings"]:
        note(f"Warning: {printable(warning)}")
    note(
        f"{told['all']} requests; {told['failing']} fail that did not; {told['moved']} go elsewhere; "
        f"{told['mended']} fail no more; {told['unknown']} cannot be said; expected cost ${told['change']}."
    )
    return 1 if told["failing"] else 0


def _first(route: dict[str, Any] | None) -> str:
    """Who is asked first, or the error."""
    if route is None:
        return "-"
    return printable(route["plan"][0] if route["plan"] else f"error {route['error']['code']}")


async def _compared(cases: Sequence[Case], new: State, old: State | None, now_ms: int) -> list[Difference]:
    from llm_router.engine.rehearsing import FRONTS

    after = DryRun(new, FRONTS, now_ms)
    before = None if old is None else DryRun(old, FRONTS, now_ms)
    return [
        Difference(
            case=case,
            before=case.was if before is None else await before.route(case),
            after=await after.route(case),
        )
        for case in cases
    ]


def _state(arguments: argparse.Namespace) -> tuple[int, State]:
    """What a gateway with that configuration would work with. With ``--sandbox`` every provider can be called."""
    from llm_router.adapters.clock import SystemClock
    from llm_router.app import Overlay, build_state
    from llm_router.catalog.snapshot import load_builtin
    from llm_router.cli.world import Offer, options_of
    from llm_router.engine.moments import iso_time

    now_ms = SystemClock().now_ms()
    settings = Offer(arguments, now_ms).settings(secrets=not arguments.sandbox)
    state = build_state(settings, load_builtin(), Overlay(), iso_time(now_ms)[:10])
    if options_of(arguments).sandbox:
        every = frozenset(p.id for p in settings.providers) - settings.disabled
        state = msgspec.structs.replace(state, active=every)
    return now_ms, state


def _embeds(state: State, model: str) -> bool:
    try:
        return state.snapshot.find(model).operations == ("embed",)
    except ModelNotFound:
        return False


def _print(found: Sequence[Difference], counts: dict[str, int], *, every: bool) -> None:
    compared = any(each.before is not None for each in found)
    shown = [(number, each) for number, each in enumerate(found, start=1) if every or each.tells]
    columns = ("#", "ASKED", "BEFORE", "AFTER", "COST", "CHANGE", "WHAT") if compared else (
        "#", "ASKED", "ROUTE", "COST", "WHAT",
    )  # fmt: skip
    rows = [_row(number, each, compared) for number, each in shown]
    if rows:
        print_table(columns, rows, _RIGHT)
    costs = [change for each in found if (change := each.dearer_pusd) is not None]
    said = [f"{counts['all']} requests", f"{counts['failing']} fail that did not"] if compared else [
        f"{counts['all']} requests", f"{counts['failing']} fail",
    ]  # fmt: skip
    if compared:
        said += [f"{counts['moved']} go elsewhere", f"{counts['mended']} fail no more"]
        said.append(f"expected cost {'+' if sum(costs) >= 0 else '-'}${format_usd(abs(sum(costs)))}")
    if counts["unknown"]:
        reasons = dict.fromkeys(each.untold for each in found if each.after is None)
        said.append(f"{counts['unknown']} cannot be said ({'; '.join(reasons)})")
    note("; ".join(said) + ".")


def _row(number: int, each: Difference, compared: bool) -> tuple[str, ...]:
    after = each.after
    cost = "-" if after is None or after.expected_pusd is None else f"${format_usd(after.expected_pusd)}"
    head = (str(number), printable(each.case.asked[:60]))
    if not compared:
        return (*head, _where(after), cost, _what(each))
    dearer = each.dearer_pusd
    change = "-" if dearer is None else f"{'+' if dearer >= 0 else '-'}${format_usd(abs(dearer))}"
    return (*head, _where(each.before), _where(after), cost, change, _what(each))


def _where(route: Route | None) -> str:
    if route is None:
        return "-"
    return printable(route.first) if route.first is not None else f"error {route.error}"


def _what(each: Difference) -> str:
    if each.after is None:
        return each.untold
    if each.after.error is not None:
        return printable(("FAILS: " if each.fails else "fails as before: ") + (each.after.message or "")[:90])
    if each.before is not None and each.before.error is not None:
        return "fails no more"
    heirs = [named for named in each.after.named if named.via == "successor"]
    said = [f"{named.model} is the successor of {named.asked}" for named in heirs]
    if each.moved:
        said.insert(0, _moved_why(each.before, each.after))
    return printable("; ".join(said) or "-")


def _moved_why(before: Any, after: Route) -> str:
    """Why the one that was asked first is so no more, where that is known."""
    reason = next((r.reason for r in after.rejected if r.deployment == before.first), None)
    if reason is not None:
        return printable(f"left out: {reason}"[:90])
    return f"now behind, by {after.strategy}" if before.first in after.plan else "no candidate any more"
