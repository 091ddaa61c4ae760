"""Sums of the sums: what long reports read instead of every hour of every key and user.

A fold adds up the hourly sums (:mod:`llm_router.billing.rollups`) over what most reports do not ask for: the
hours of a day, keys, users. Stores fold the hours that are over, one after the other, and remember up to which
hour they came; an exchange that is settled later adds to the folds in its own transaction. What is not folded
yet is read from the hourly sums, so that a report says the same however far the store has come.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from llm_router.billing.rollups import RollupKey, add_counts

DAY_HOURS = 24


class Fold(NamedTuple):
    """One way to add up. ``hours``: of a row; ``of``: what rows are of beside the time, all else is empty."""

    name: str
    hours: int
    of: tuple[str, ...]


FOLDS = (
    Fold("total", 1, ("model", "provider")),
    Fold("account", DAY_HOURS, ("account",)),
    Fold("model", DAY_HOURS, ("account", "model", "provider")),
    Fold("model_hour", 1, ("account", "model", "provider")),
    Fold("tag", DAY_HOURS, ("account", "model", "provider", "tags")),
    Fold("tag_hour", 1, ("account", "model", "provider", "tags")),
    Fold("key", DAY_HOURS, ("account", "key", "team", "model", "provider")),
    Fold("day", DAY_HOURS, ("account", "key", "team", "user", "model", "provider", "tags")),
)
"""Of those that will do, the first is read. A change needs a new version of the stores' schemas."""


class Part(NamedTuple):
    """Hours that are read from one place. ``fold`` None: the hourly sums themselves."""

    fold: Fold | None
    from_hour: int
    to_hour: int


def folded_key(fold: Fold, key: RollupKey) -> RollupKey:
    """The row of a fold that an hourly row is part of; its hour is the first that the row stands for."""
    kept = {name: getattr(key, name) for name in fold.of}
    return RollupKey(
        hour=key.hour - key.hour % fold.hours,
        **{name: kept.get(name, "") for name in RollupKey._fields[1:]},
    )


def parts_of(
    by: Iterable[str], filtered: Iterable[str], *, from_hour: int, to_hour: int, folded_to: int
) -> list[Part]:
    """From where the sums of [from_hour, to_hour) are read: each hour from one place.

    Args:
        by: what is asked for by: fields of RollupKey, and ``day``.
        filtered: fields of RollupKey that must have a certain value.
        folded_to: the first hour that the folds do not hold yet.
    """
    if from_hour >= to_hour:
        return []
    asked = set(by)
    needed = (asked | set(filtered)) - {"hour", "day"}
    for fold in FOLDS:
        if not needed.issubset(fold.of) or ("hour" in asked and fold.hours > 1):
            continue
        begin = -(-from_hour // fold.hours) * fold.hours
        # The row of the day that is being folded holds no hour beyond.
        end = folded_to if to_hour >= folded_to else to_hour - to_hour % fold.hours
        if begin >= end:
            continue
        asked.add("hour")  # what is left at both ends is less than a row of this fold
        before = parts_of(asked, filtered, from_hour=from_hour, to_hour=begin, folded_to=folded_to)
        after = parts_of(asked, filtered, from_hour=end, to_hour=to_hour, folded_to=folded_to)
        return [*before, Part(fold, begin, end), *after]
    return [Part(None, from_hour, to_hour)]


def range_of(part: Part) -> list[int]:
    """The hours that the rows of a part stand at."""
    return list(range(part.from_hour, part.to_hour, 1 if part.fold is None else part.fold.hours))


class Totals:
    """The sums of several parts, put together."""

    def __init__(self) -> None:
        self._found: dict[tuple[Any, ...], tuple[int, ...]] = {}

    def add(self, of: tuple[Any, ...], counts: tuple[int, ...]) -> None:
        """``of``: numbers and text, as they are stored."""
        known = self._found.get(of)
        self._found[of] = counts if known is None else add_counts(known, counts)

    def rows(self) -> list[tuple[tuple[str, ...], tuple[int, ...]]]:
        """In the order of what they are of."""
        return [(tuple(map(str, of)), self._found[of]) for of in sorted(self._found)]
