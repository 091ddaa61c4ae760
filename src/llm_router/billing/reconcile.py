"""Compare what a provider billed with what the gateway recorded, line by line, and name the cause.

Lines are single calls where both sides know the provider's id of them, else the days of a model. Amounts
of the provider may be rounded: what its digits cannot tell is no drift.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Mapping
from typing import Literal, NamedTuple

import msgspec

Cause = Literal[
    "equal",
    "missing_here",
    "missing_there",
    "unknown_outcome",
    "estimated_usage",
    "tokens_differ",
    "price_differs",
    "price_unknown_here",
    "day_boundary",
]

_DATED = re.compile(r"[-@](?:(?:20[0-9]{2}-?)?[01][0-9]-?[0-3][0-9])$")
_WORDS = re.compile(r"[a-z]+|[0-9]+")


class Key(NamedTuple):
    """What a line is about: a call by its id, else a day (ISO) of a model."""

    day: str
    model: str
    id: str = ""


class Counts(msgspec.Struct, kw_only=True, gc=False):
    """One side of a line. None is what that side does not say.

    Attributes:
        slack_pusd: by how much rounding may have moved the cost.
        estimated, unknown, unpriced: calls whose usage is our own count, whose outcome or cost is not known.
    """

    requests: int | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cost_pusd: int | None = None
    slack_pusd: int = 0
    estimated: int = 0
    unknown: int = 0
    unpriced: int = 0

    def add(self, other: Counts) -> None:
        self.requests = _sum(self.requests, other.requests)
        self.input_tokens = _sum(self.input_tokens, other.input_tokens)
        self.output_tokens = _sum(self.output_tokens, other.output_tokens)
        self.cost_pusd = _sum(self.cost_pusd, other.cost_pusd)
        self.slack_pusd += other.slack_pusd
        self.estimated += other.estimated
        self.unknown += other.unknown
        self.unpriced += other.unpriced


class Line(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """``drift`` is theirs less ours; None where a side does not say."""

    key: Key
    cause: Cause
    theirs: Counts | None
    ours: Counts | None
    drift_tokens: int | None
    drift_pusd: int | None


class Report(msgspec.Struct, frozen=True, kw_only=True):
    lines: tuple[Line, ...]
    theirs: Counts
    ours: Counts

    @property
    def drift_pusd(self) -> int | None:
        return drift_of(self.theirs.cost_pusd, self.ours.cost_pusd)

    @property
    def drift_tokens(self) -> int | None:
        return drift_of(tokens(self.theirs), tokens(self.ours))

    def within(self, ppm: int) -> bool:
        """Whether the drift of all together is at most so many millionths of what they say; of tokens where
        they tell no cost."""
        if self.theirs.cost_pusd is not None:
            drift, whole = self.drift_pusd or 0, self.theirs.cost_pusd
            drift = max(0, abs(drift) - self.theirs.slack_pusd)
        else:
            drift, whole = abs(self.drift_tokens or 0), tokens(self.theirs) or 0
        return drift * 1_000_000 <= abs(whole) * ppm


def compare(theirs: Mapping[Key, Counts], ours: Mapping[Key, Counts], unknown: Mapping[Key, int]) -> Report:
    """All lines of both sides. ``unknown``: exchanges that nobody settled, by line."""
    keys = sorted(theirs.keys() | ours.keys())
    lines = [_line(key, theirs.get(key), ours.get(key), unknown.get(key, 0)) for key in keys]
    return Report(lines=tuple(_boundaries(lines)), theirs=total(theirs.values()), ours=total(ours.values()))


def total(sides: Iterable[Counts]) -> Counts:
    counts = Counts()
    for side in sides:
        counts.add(side)
    return counts


def tokens(counts: Counts) -> int | None:
    return _sum(counts.input_tokens, counts.output_tokens)


def drift_of(theirs: int | None, ours: int | None) -> int | None:
    """None where they do not say; nothing here is 0."""
    return None if theirs is None else theirs - (0 if ours is None else ours)


def _line(key: Key, theirs: Counts | None, ours: Counts | None, orphans: int) -> Line:
    there, here = theirs or Counts(), ours or Counts()
    drift_tokens = drift_of(tokens(there), tokens(here)) if theirs is not None else -(tokens(here) or 0)
    drift_pusd = drift_of(there.cost_pusd, here.cost_pusd) if theirs is not None else -(here.cost_pusd or 0)
    return Line(
        key=key,
        cause=_cause(theirs, ours, orphans, drift_tokens, drift_pusd),
        theirs=theirs,
        ours=ours,
        drift_tokens=drift_tokens,
        drift_pusd=drift_pusd,
    )


def _cause(
    theirs: Counts | None, ours: Counts | None, orphans: int, drift_tokens: int | None, drift_pusd: int | None
) -> Cause:
    if ours is None:
        return "unknown_outcome" if orphans else "missing_here"
    if theirs is None:
        return "missing_there" if tokens(ours) or ours.cost_pusd else "equal"
    sides = ((theirs.input_tokens, ours.input_tokens), (theirs.output_tokens, ours.output_tokens))
    differ = any(there is not None and there != (here or 0) for there, here in sides)
    cost_differs = drift_pusd is not None and abs(drift_pusd) > theirs.slack_pusd
    if not differ and not cost_differs:
        return "equal"
    if ours.unknown or orphans:
        return "unknown_outcome"
    if ours.estimated:
        return "estimated_usage"
    if differ:
        return "tokens_differ"
    return "price_unknown_here" if ours.unpriced else "price_differs"


def _boundaries(lines: list[Line]) -> list[Line]:
    """Name days of a model that follow each other and make good for each other: they cut the day elsewhere."""
    by_key = {(line.key.model, line.key.day): n for n, line in enumerate(lines) if not line.key.id}
    if not by_key:
        return lines
    days = sorted({line.key.day for line in lines})
    for one, other in itertools.pairwise(days):
        for model in {line.key.model for line in lines}:
            first, second = by_key.get((model, one)), by_key.get((model, other))
            if first is None or second is None:
                continue
            a, b = lines[first], lines[second]
            if _opposite(a.drift_tokens, b.drift_tokens, 0) and _opposite(
                a.drift_pusd, b.drift_pusd, _slack(a, b)
            ):
                lines[first] = msgspec.structs.replace(a, cause="day_boundary")
                lines[second] = msgspec.structs.replace(b, cause="day_boundary")
    return lines


def _opposite(one: int | None, other: int | None, slack: int) -> bool:
    """Whether two drifts are there and come to nothing together; what is not said is no objection."""
    if one is None or other is None:
        return True
    return one != 0 and other != 0 and abs(one + other) <= slack


def _slack(*lines: Line) -> int:
    return sum(line.theirs.slack_pusd for line in lines if line.theirs is not None)


def model_name(text: str) -> str:
    """A model as both sides may spell it: without path, date and case."""
    name = text.strip().lower().rsplit("/", 1)[-1].split(",", 1)[0].strip()
    return _DATED.sub("", name)


def named_in(text: str, models: Iterable[str]) -> str | None:
    """The longest of some models that a description names (``Gemini 2.5 Flash Input Tokens``), word by word.

    What is no description but an id (``gpt-5-mini``) names no other model (``gpt-5``).
    """
    if " " not in text.strip().split(",", 1)[0]:
        return None
    said = _spaced(text)
    return max((model for model in models if model and _spaced(model) in said), key=len, default=None)


def _spaced(text: str) -> str:
    return f" {' '.join(_WORDS.findall(text.lower()))} "


def _sum(one: int | None, other: int | None) -> int | None:
    if one is None:
        return other
    return one if other is None else one + other
