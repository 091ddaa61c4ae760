"""What is counted of an experiment: sums that can be added up, of fixed size, however much traffic there is.

Sums are kept for each arm by group: those who keep an arm (users, sessions, ...) are put into one of a fixed
number of groups by a hash. What one user sends is not independent of the rest of what he sends, but groups are
independent of each other, so that how far they differ tells how far chance goes. Quantiles come from bins
whose width is a sixteenth of what they hold.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from llm_router.domain.record import ExchangeRecord

FIELDS: Final = (
    "requests",  # that were sent to somebody
    "errors",
    "moved",  # at least one attempt failed
    "gone",  # the client left before the end
    "left",  # served as if there were no experiment, since the arm could not serve them
    "skipped",  # of a shadow: no copy was made
    "answers",  # whole ones
    "latency_ms",  # of whole answers
    "firsts",
    "first_token_ms",
    "cost_pusd",  # what the customer pays; of a shadow, what he would have paid
    "operator_pusd",
    "operators",  # requests of which it is known what they cost the operator
    "input_tokens",
    "output_tokens",
    "ratings",
    "score_milli",  # the sum, in thousandths of -1 .. 1
    "good",  # ratings above 0
    "plain",  # ratings that are -1 or 1
)
AT: Final[Mapping[str, int]] = {name: at for at, name in enumerate(FIELDS)}

WORDS_MAX = 64
"""Different finish reasons, error codes, models and labels that are counted by name."""

OTHERS = "(others)"


class ArmFigures(msgspec.Struct, kw_only=True, omit_defaults=True):
    """The figures of one arm.

    Attributes:
        groups: sums in the order of FIELDS, by group.
        latency, first_token, cost: how many by bin, of milliseconds and picodollars.
        finishes, codes, models, labels: how many by name.
    """

    groups: dict[int, list[int]] = {}
    latency: dict[int, int] = {}
    first_token: dict[int, int] = {}
    cost: dict[int, int] = {}
    finishes: dict[str, int] = {}
    codes: dict[str, int] = {}
    models: dict[str, int] = {}
    labels: dict[str, int] = {}

    def count(self, group: int, **counts: int) -> None:
        """Add to the sums of a group."""
        sums = self.groups.setdefault(group, [0] * len(FIELDS))
        for name, number in counts.items():
            sums[AT[name]] += number

    def total(self, name: str) -> int:
        """The sum over all groups."""
        return sum(sums[AT[name]] for sums in self.groups.values())

    def add(self, other: ArmFigures) -> None:
        """Add the figures of others."""
        for group, sums in other.groups.items():
            own = self.groups.setdefault(group, [0] * len(FIELDS))
            for at, number in enumerate(sums):
                own[at] += number
        for mine, more in (
            (self.latency, other.latency),
            (self.first_token, other.first_token),
            (self.cost, other.cost),
        ):
            for place, number in more.items():
                mine[place] = mine.get(place, 0) + number
        for words, further in (
            (self.finishes, other.finishes),
            (self.codes, other.codes),
            (self.models, other.models),
            (self.labels, other.labels),
        ):
            for word, number in further.items():
                named(words, word, number)


class Figures(msgspec.Struct, kw_only=True, omit_defaults=True):
    """The figures of an experiment, by arm."""

    arms: dict[str, ArmFigures] = {}

    def arm(self, name: str) -> ArmFigures:
        found = self.arms.get(name)
        if found is None:
            found = self.arms[name] = ArmFigures()
        return found

    def add(self, other: Figures) -> None:
        for name, figures in other.arms.items():
            self.arm(name).add(figures)


def named(words: dict[str, int], word: str, number: int = 1) -> None:
    """Count by name, as long as there are not too many of them."""
    if word not in words and len(words) >= WORDS_MAX:
        word = OTHERS
    now = words.get(word, 0) + number
    if now:
        words[word] = now
    else:
        words.pop(word, None)


def count_record(figures: ArmFigures, group: int, record: ExchangeRecord, cost_pusd: int) -> None:
    """Count an exchange that was sent to somebody. ``cost_pusd``: what it is worth at the customer's price."""
    failed = record.error_code is not None
    gone = record.client_gone and not failed
    whole = not failed and not gone
    first_ms = record.first_token_ms
    known = [a.operator_cost_pusd for a in record.attempts if a.operator_cost_pusd is not None]
    figures.count(
        group,
        requests=1,
        errors=int(failed),
        moved=int(any(a.outcome == "failed" for a in record.attempts)),
        gone=int(gone),
        answers=int(whole),
        latency_ms=record.duration_ms if whole else 0,
        firsts=0 if first_ms is None else 1,
        first_token_ms=0 if first_ms is None else first_ms,
        cost_pusd=cost_pusd,
        operator_pusd=sum(known),
        operators=int(bool(known)),
        input_tokens=record.usage.prompt_tokens,
        output_tokens=record.usage.completion_tokens,
    )
    if whole:
        binned(figures.latency, record.duration_ms)
    if first_ms is not None:
        binned(figures.first_token, first_ms)
    binned(figures.cost, cost_pusd)
    if record.finish is not None:
        named(figures.finishes, record.finish[:64])
    if record.error_code is not None:
        named(figures.codes, record.error_code[:64])
    if record.model is not None:
        named(figures.models, record.model)


def count_rating(figures: ArmFigures, group: int, score: float, label: str | None, times: int = 1) -> None:
    """Count a rating from -1 to 1; ``times`` -1 takes one back."""
    figures.count(
        group,
        ratings=times,
        score_milli=times * round(score * 1000),
        good=times * int(score > 0),
        plain=times * int(abs(score) == 1),
    )
    if label is not None:
        named(figures.labels, label, times)


# -- bins ------------------------------------------------------------------------------------------


def bin_of(number: int) -> int:
    """The bin of a number: exact below 32, then sixteen to each doubling."""
    if number < 32:
        return max(0, number)
    shift = number.bit_length() - 5
    return shift * 16 + (number >> shift)


def middle_of(place: int) -> int:
    """The middle of a bin: at most 3.2 % from anything in it."""
    if place < 32:
        return place
    shift = place // 16 - 1
    return ((place % 16 + 16) << shift) + (1 << shift) // 2


def binned(bins: dict[int, int], number: int) -> None:
    place = bin_of(number)
    bins[place] = bins.get(place, 0) + 1


def quantiles(bins: Mapping[int, int], shares: Sequence[float]) -> list[int | None]:
    """The least number that so large a share does not exceed; None of nothing."""
    total, found = sum(bins.values()), list[int | None]()
    for share in shares:
        left = share * total
        answer: int | None = None
        for place in sorted(bins):
            answer, left = middle_of(place), left - bins[place]
            if left <= 0:
                break
        found.append(answer)
    return found
