"""``llm-router eval-router`` and ``calibrate-router``: the auto router on prompts whose labels are known."""

from __future__ import annotations

import argparse
import random
from collections.abc import Sequence
from decimal import Decimal, InvalidOperation

import msgspec

from llm_router.billing.tokens import estimate_tokens, tokens_of_chars
from llm_router.catalog.snapshot import Snapshot, compile_snapshot, load_builtin
from llm_router.cli.labelled import Answer, Labelled, read_labelled
from llm_router.cli.output import note, print_json, print_table
from llm_router.domain.errors import InvalidRequest, ModelNotFound
from llm_router.domain.price import Price, cost_lines
from llm_router.domain.usage import Usage
from llm_router.routing.auto.artefact import Artefact, decode_artefact, shipped
from llm_router.routing.auto.evaluate import (
    ROUTABLE,
    Case,
    Interval,
    Point,
    Report,
    calibrate,
    evaluate,
)
from llm_router.routing.auto.features import read_prompt
from llm_router.routing.auto.scoring import score

PER_MTOK_MAX = 10**6
"""Dollars per million tokens."""

FAILED = 1

CASES_MIN = 20
"""Fewer labelled prompts say nothing."""

COVERAGE_MIN = 0.5
"""A side that is not named is chosen among the models that answered at least this share of the prompts."""

_WEIGHTS = (0.3679, 0.7358, 0.9197, 0.9810, 0.9963, 0.9994, 1.0)
"""Cumulative chances that a case is drawn 0, 1, 2 ... times (Poisson with mean 1)."""


def eval_router(arguments: argparse.Namespace) -> int:
    """Measure, and print it. 0 whatever the verdict is: it is a measurement.

    Raises:
        InvalidRequest: the file or the options make no sense.
    """
    sides, cases, skipped = _cases(arguments)
    report = evaluate(cases, _resamples(len(cases), arguments))
    if arguments.json:
        print_json({"weak_models": sides[0], "strong_models": sides[1], "skipped": skipped, **_plain(report)})
    else:
        _show(report, sides, skipped)
    return 0


def calibrate_router(arguments: argparse.Namespace) -> int:
    """Find the cheapest setting of the dial that surely reaches a quality; 1 if there is none, or if these prompts
    are not routable.

    Raises:
        InvalidRequest: the file or the options make no sense.
    """
    sides, cases, skipped = _cases(arguments)
    if not 0 < arguments.target_quality <= 1:
        raise InvalidRequest("--target-quality is a mean quality between 0 and 1, as in the file")
    resamples = _resamples(len(cases), arguments)
    judged = evaluate(cases, resamples)
    if judged.verdict != ROUTABLE:
        return _not_routable(judged, arguments, sides, skipped)
    point, tried = calibrate(cases, resamples, arguments.target_quality)
    best = max(tried, key=lambda p: p.quality.low or 0.0)
    if arguments.json:
        result = {
            "met": point is not None,
            "verdict": judged.verdict,
            "target_quality": arguments.target_quality,
            "setting": None if point is None else msgspec.to_builtins(point),
            "best": msgspec.to_builtins(best),
            "prompts": len(cases),
            "skipped": skipped,
            "weak_models": sides[0],
            "strong_models": sides[1],
        }
        print_json(result)
    elif point is None:
        note(
            f"llm-router: refused: no setting surely reaches {arguments.target_quality:g}. The best is dial "
            f"{best.dial:g} with quality {_words(best.quality)}: label more prompts, aim lower, or add a better model."
        )
    else:
        print(
            f"dial = {point.dial:g}: quality {_words(point.quality)} on {len(cases)} prompts, "
            f"{point.strong_share:.0%} of calls to the strong side{_usd(point)}."
        )
    return FAILED if point is None else 0


def _not_routable(
    report: Report, arguments: argparse.Namespace, sides: tuple[list[str], list[str]], skipped: int
) -> int:
    """Refuse a dial for prompts that it decides nothing about."""
    if arguments.json:
        print_json(
            {
                "met": False,
                "verdict": report.verdict,
                "reason": report.reason,
                "target_quality": arguments.target_quality,
                "setting": None,
                "best": None,
                "prompts": report.prompts,
                "skipped": skipped,
                "weak_models": sides[0],
                "strong_models": sides[1],
            }
        )
    else:
        note(
            f"llm-router: refused: these prompts are {report.verdict}: {report.reason}. No dial is worth setting."
        )
    return FAILED


def _cases(arguments: argparse.Namespace) -> tuple[tuple[list[str], list[str]], list[Case], int]:
    where = dict(_pair(text, "--where", "COLUMN=VALUE") for text in arguments.where)
    rows = read_labelled(arguments.file, arguments.outcomes, where)
    prices = _Prices(arguments.price)
    sides = _sides(rows, arguments, prices)
    artefact = decode_artefact(shipped())
    cases = [c for row in rows if (c := _case(row, sides, artefact, prices)) is not None]
    if len(cases) < CASES_MIN:
        raise InvalidRequest(
            f"{arguments.file} has {len(cases)} prompts that both sides answered ({', '.join(sides[0])} and "
            f"{', '.join(sides[1])}): at least {CASES_MIN} are needed.",
            code="too_few_labels",
        )
    return sides, cases, len(rows) - len(cases)


def _sides(
    rows: Sequence[Labelled], arguments: argparse.Namespace, prices: _Prices
) -> tuple[list[str], list[str]]:
    """The models of the weak and of the strong side: as named, else the cheapest (or worst) and the best."""
    qualities: dict[str, list[float]] = {}
    for row in rows:
        for model, answer in row.answers.items():
            qualities.setdefault(model, []).append(answer.quality)
    named = [
        [n.strip() for n in (side or "").split(",") if n.strip()]
        for side in (arguments.weak, arguments.strong)
    ]
    if unknown := [name for side in named for name in side if name not in qualities]:
        raise InvalidRequest(
            f"No prompt was answered by {', '.join(unknown)}. The file has: {', '.join(sorted(qualities)[:50])}.",
            code="unknown_model",
        )
    means = {m: sum(v) / len(v) for m, v in qualities.items() if len(v) >= COVERAGE_MIN * len(rows)}
    if (not named[0] or not named[1]) and len(means) < 2:
        raise InvalidRequest(
            "No two models answered half of the prompts: name the sides with --weak and --strong.",
            code="no_sides",
        )
    weak = named[0] or [min(means, key=lambda m: (means[m], m))]
    return weak, named[1] or [max(means, key=lambda m: (means[m], m))]


def _case(
    row: Labelled, sides: tuple[list[str], list[str]], artefact: Artefact, prices: _Prices
) -> Case | None:
    found = [[(m, row.answers[m]) for m in side if m in row.answers] for side in sides]
    if not all(found):
        return None
    weak, strong = ([a.quality for _, a in side] for side in found)
    costs = [[prices.cost_pusd(row, m, a) for m, a in side] for side in found]
    return Case(
        score=score(artefact, read_prompt(row.prompt)).gain,
        chars=len(row.prompt),
        weak=sum(weak) / len(weak),
        strong=sum(strong) / len(strong),
        weak_pusd=_mean_pusd(costs[0]),
        strong_pusd=_mean_pusd(costs[1]),
        others={model: answer.quality for model, answer in row.answers.items()},
        task=row.task,
    )


def _mean_pusd(costs: Sequence[int | None]) -> int | None:
    known = [cost for cost in costs if cost is not None]
    return sum(known) // len(known) if len(known) == len(costs) else None


class _Prices:
    """What an answer cost: as the file says, else by a price that was given, else by the catalogue's."""

    def __init__(self, given: Sequence[str]) -> None:
        self._given = {}
        for text in given:
            model, rates = _pair(text, "--price", "MODEL=IN/OUT")
            try:
                per_mtok = [Decimal(part) for part in rates.split("/")]
                right = len(per_mtok) == 2 and all(0 <= part <= PER_MTOK_MAX for part in per_mtok)
            except (InvalidOperation, ValueError):
                right = False
            if not right:
                raise InvalidRequest(
                    f"--price {text}: write MODEL=IN/OUT in US dollars per million tokens",
                    code="invalid_price",
                )
            self._given[model] = (int(per_mtok[0] * 10**6), int(per_mtok[1] * 10**6))
        self._known: dict[str, Price | None] = {}
        self._snapshot: Snapshot | None = None

    def cost_pusd(self, row: Labelled, model: str, answer: Answer) -> int | None:
        """None where neither the file nor any price tells."""
        if answer.cost_pusd is not None:
            return answer.cost_pusd
        if answer.chars is None:
            return None
        tokens = estimate_tokens(len(row.prompt.encode("utf-8", "replace"))), tokens_of_chars(answer.chars)
        if model in self._given:
            rates = self._given[model]
            return tokens[0] * rates[0] + tokens[1] * rates[1]
        price = self._of(model)
        if price is None:
            return None
        lines = cost_lines(price, Usage(input_tokens=tokens[0], output_tokens=tokens[1]))
        return sum(line.amount_pusd for line in lines)

    def _of(self, model: str) -> Price | None:
        if model not in self._known:
            self._snapshot = self._snapshot or compile_snapshot(load_builtin())
            self._known[model] = _catalogue_price(self._snapshot, model)
        return self._known[model]


def _catalogue_price(snapshot: Snapshot, name: str) -> Price | None:
    try:
        model = snapshot.find(name)
    except ModelNotFound:
        return None
    return next((d.price for d in model.deployments if d.price is not None), None)


def _resamples(cases: int, arguments: argparse.Namespace) -> list[bytes]:
    """How often each case is drawn, for each resample. The same seed draws the same."""
    dice = random.Random(arguments.seed)  # noqa: S311  # statistics, no secret
    counts = range(len(_WEIGHTS))
    return [bytes(dice.choices(counts, cum_weights=_WEIGHTS, k=cases)) for _ in range(arguments.resamples)]


def _pair(text: str, option: str, form: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise InvalidRequest(f"{option} {text}: write {form}", code="usage")
    return name, value


def _plain(report: Report) -> dict[str, object]:
    plain: dict[str, object] = msgspec.to_builtins(report)
    return plain


def _show(report: Report, sides: tuple[list[str], list[str]], skipped: int) -> None:
    print(f"{report.prompts} prompts ({skipped} left out: not answered by both sides)")
    print(f"weak side:   quality {_words(report.weak)}  ({', '.join(sides[0])})")
    print(f"strong side: quality {_words(report.strong)}  ({', '.join(sides[1])})")
    if report.single is not None:
        print(f"best single model: {report.single[0]}, quality {report.single[1]:.3f}")
    print()
    print_table(
        ("ORDER", "APGR", "CPT50", "CPT80"),
        [(r.name, _words(r.apgr), _words(r.cpt50), _words(r.cpt80)) for r in report.rankers],
    )
    if report.mix is not None:
        print(f"\nAPGR with equal weight for each of {len(report.tasks)} tasks: {_words(report.mix)}\n")
        print_table(
            ("TASK", "PROMPTS", "GAP", "APGR", "VERDICT"),
            [(t.task, str(t.prompts), f"{t.gap:+.3f}", _words(t.apgr), t.verdict) for t in report.tasks],
            frozenset({"PROMPTS", "GAP"}),
        )
    print()
    print_table(
        ("DIAL", "STRONG CALLS", "QUALITY", "$ PER 1000"),
        [
            (
                f"{p.dial:g}",
                f"{p.strong_share:.0%}",
                _words(p.quality),
                "" if p.usd_per_1000 is None else f"{p.usd_per_1000:.4f}",
            )
            for p in report.curve
        ],
        frozenset({"DIAL", "STRONG CALLS", "$ PER 1000"}),
    )
    print(f"\nVerdict: {report.verdict}: {report.reason}.")
    bad = [t.task for t in report.tasks if t.verdict != ROUTABLE]
    if report.verdict == ROUTABLE and bad:
        print(f"Not routable by themselves: {', '.join(bad)}.")


def _words(interval: Interval) -> str:
    if interval.value is None:
        return "none"
    if interval.low is None or interval.high is None:
        return f"{interval.value:.3f}"
    return f"{interval.value:.3f} ({interval.low:.3f} to {interval.high:.3f})"


def _usd(point: Point) -> str:
    return "" if point.usd_per_1000 is None else f", ${point.usd_per_1000:.4f} per 1000 requests"
