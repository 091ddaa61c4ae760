"""``llm-router explain ID``: why an exchange went as it did."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

import msgspec

from llm_router.cli.output import print_json, print_table, printable

Shown = Mapping[str, Any]

_RIGHT = frozenset({"#", "FORECAST", "TTFT", "TOKENS/S", "BUSY", "ERRORS", "SCORE", "AFTER", "TOOK", "BILLS"})
_WHY = {
    "first": "first of the plan", "next": "another deployment", "fallback": "another model", "key": "another key",
    "repeat": "once more", "continue": "goes on with the answer", "hedge": "second call, the first was late",
}  # fmt: skip
_STOPPED = {
    "request": "no other would take the request", "attempts": "as many calls were made as may be",
    "exhausted": "nothing was left to try", "budget": "the share of repeats was used up",
    "deadline": "the client's time was over", "wait": "the pause would have been too long",
    "busy": "no deployment had a place",
}  # fmt: skip


def explain(arguments: argparse.Namespace) -> int:
    """Print why, or the whole of it as JSON."""
    from llm_router.cli.world import run_command

    result = run_command(arguments, "explain", {"id": arguments.id, "account": arguments.account})
    if arguments.json:
        print_json(result)
        return 0
    shown: Any = json.loads(msgspec.json.encode(result), parse_float=Decimal)
    for lines in (_head(shown), _money(shown)):
        print("\n".join(lines), end="\n\n")
    _candidates(shown)
    _rejected(shown)
    _auto(shown)
    _attempts(shown)
    for line in _tail(shown):
        print(line)
    return 0


def _head(shown: Shown) -> Iterable[str]:
    yield f"{shown['id']}  {shown['created']}  {shown['operation']} over {shown['api']}, status {shown['status']}"
    served = shown["served_by"]
    yield f"Asked for   {printable(shown['asked_model'])}"
    yield "Answered    " + ("nobody" if served is None else f"{served} as {shown['model']}")
    for name in shown["names"]:
        yield f"Name        {printable(name['asked'])}: {printable(name['note'])}"
    yield f"Ordered by  {shown['strategy']}{_dial(shown)}"
    if shown["order"] != shown["plan"]:
        yield f"Tried in    {', '.join(map(printable, shown['order']))} (who was failing or coming back then, last)"
    if shown["cache"]["stayed_with"] is not None:
        yield f"Session     stayed with {shown['cache']['stayed_with']} for its cache"
    if shown["error"] is not None:
        yield f"Error       {shown['error']['code']}: {printable(shown['error']['message'])}"


def _dial(shown: Shown) -> str:
    return "" if shown["auto"] is None else f" at dial {shown['auto']['dial']:g}"


def _money(shown: Shown) -> Iterable[str]:
    hold, settled = shown["hold"], shown["settlement"]
    yield "Held        " + ("nothing" if hold is None else _usd(hold["amount"]))
    lines = ", ".join(
        f"{line['quantity']} {line['bucket']} {_usd(line['amount'])}" for line in settled["lines"]
    )
    yield f"Charged     {_usd(settled['cost'])}{f' ({lines})' if lines else ''}"
    if settled["absorbed"]:
        yield f"Absorbed    {_usd(settled['absorbed'])} by the operator"
    cache = shown["cache"]
    if cache["read_tokens"] or cache["written_tokens"]:
        yield f"Cache       {cache['read_tokens']} tokens read, {cache['written_tokens']} written"
    for limit in shown["limits"]:
        span = "at once" if limit["window"] is None else f"a {limit['window']}"
        yield f"Limit       {limit['remaining']} of {limit['limit']} {limit['kind']} {span} left"


def _candidates(shown: Shown) -> None:
    columns = ("#", "CANDIDATE", "BY", "FORECAST", "TTFT", "TOKENS/S", "BUSY", "ERRORS", "SCORE", "NOTE")
    rows = [
        (
            "-" if c["place"] is None else str(c["place"]),
            printable(c["deployment"]) + (" (own key)" if c["own_key"] else ""),
            c["strategy"],
            "-" if c["forecast_cost"] is None else _usd(c["forecast_cost"]),
            "-" if c["ttft_ms"] is None else f"{c['ttft_ms']:.0f} ms",
            "-" if c["tokens_per_s"] is None else f"{c['tokens_per_s']:.0f}",
            str(c["in_flight"]),
            "-" if c["error_rate"] is None else f"{c['error_rate']:.0%}",
            "-" if c["score"] is None else _score(c),
            _note(c),
        )
        for c in shown["candidates"]
    ]
    if rows:
        print_table(columns, rows, _RIGHT)
        print()


def _score(candidate: Shown) -> str:
    """What a candidate was judged by, in the unit of its strategy."""
    score, unit = candidate["score"], candidate["score_unit"]
    if unit == "picodollars":
        return f"${score / 10**12:.4g}"
    return f"{score:.4g} ms" if unit is not None and unit.startswith("milliseconds") else f"{score:.4g}"


def _note(candidate: Shown) -> str:
    said = []
    if candidate["stuck"]:
        said.append("served the session before")
    if candidate["slow"]:
        said.append("slower than was preferred")
    if candidate["doubt"] is not None:
        said.append(candidate["doubt"])
    health = candidate["health"]
    if health is not None:
        said.append(health["reason"] or f"comes back slowly, at {health['share']:.0%} of its share")
    return printable("; ".join(said)) or "-"


def _rejected(shown: Shown) -> None:
    rows = [(printable(each["deployment"]), printable(each["reason"])) for each in shown["rejected"]]
    if rows:
        print_table(("LEFT OUT", "WHY"), rows)
        print()


def _auto(shown: Shown) -> None:
    if shown["auto"] is None:
        return
    rows = [
        (
            offer["model"],
            f"{offer['expected_quality']:.3f}",
            _usd(offer["forecast_cost"]),
            "-" if offer["worth"] is None else f"{offer['worth']:.4f}",
        )
        for offer in shown["auto"]["offers"]
    ]
    print_table(
        ("OFFERED", "QUALITY", "FORECAST", "WORTH"), rows, frozenset({"QUALITY", "FORECAST", "WORTH"})
    )
    print()


def _attempts(shown: Shown) -> None:
    columns = ("#", "ATTEMPT", "WHY", "AFTER", "TOOK", "OUTCOME", "BILLS", "SAID")
    rows = [
        (
            str(each["number"]),
            printable(each["deployment"]) + ("" if each["key"] is None else f" key {each['key']}"),
            _WHY.get(each["why"], each["why"]),
            f"{each['waited_ms']} ms" if each["waited_ms"] else "-",
            f"{each['duration_ms']} ms",
            " ".join(
                str(part) for part in (each["outcome"], each["cause"], each["status"]) if part is not None
            ),
            "?" if each["provider_bills"] is None else _usd(each["provider_bills"]),
            printable((each["message"] or "-")[:80]),
        )
        for each in shown["attempts"]
    ]
    if rows:
        print_table(columns, rows, _RIGHT)
        print()


def _tail(shown: Shown) -> Iterable[str]:
    if shown["stopped"] is not None:
        yield f"Nothing more was tried: {_STOPPED.get(shown['stopped'], shown['stopped'])}."
    for kind, ids in shown["fallbacks"].items():
        yield f"Fallbacks ({kind}): {', '.join(ids)}"
    for seam in shown["seams"]:
        yield f"The stream broke after {seam['at_chars']} characters ({seam['cause']})."
    for text in shown["notes"]:
        yield f"Note: {printable(text)}"
    same = shown["replayed"]["same"]
    yield (
        "Made again from its inputs, the decision is the same."
        if same
        else "Made again, it is another decision!"
    )


def _usd(amount: Decimal | int) -> str:
    """Dollars, digit by digit."""
    return f"${Decimal(amount):f}"
