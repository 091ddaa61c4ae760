"""Both sides of a reconciliation, added up while they are read: neither the file nor the attempts are kept."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from llm_router.billing.provider_bills import Row
from llm_router.billing.reconcile import Counts, Key, model_name, named_in


class Bill:
    """What a file bills within some days (ISO; None is no bound): by call as long as every row names
    one, and by day and label.

    Attributes:
        first, last: the days of its first and last row, whether they are within the bounds or not.
    """

    def __init__(self, start: str | None, end: str | None) -> None:
        self._start = start
        self._end = end
        self._calls: dict[str, Counts] | None = {}
        self._days: dict[str, str] = {}
        self._labels: dict[tuple[str, str], Counts] = {}
        self.first: str | None = None
        self.last: str | None = None

    def add(self, row: Row) -> None:
        day = row.day
        if self.first is None or self.last is None:
            self.first = self.last = day
        elif day < self.first:
            self.first = day
        elif day > self.last:
            self.last = day
        if (self._start is not None and day < self._start) or (self._end is not None and day >= self._end):
            return
        _add(self._labels, (day, row.label), row.counts)
        if self._calls is None:
            return
        if not row.id:
            self._calls, self._days = None, {}
            return
        self._days[row.id] = day
        if (known := self._calls.get(row.id)) is None:
            self._calls[row.id] = row.counts  # nobody else has it: no copy for each of many calls
        else:
            known.add(row.counts)

    @property
    def by_id(self) -> bool:
        return bool(self._calls)

    def lines(self, models: set[str]) -> dict[Key, Counts]:
        """Its side of the lines. ``models``: those that a description may name."""
        if self._calls:
            return {Key("", "", id_): counts for id_, counts in self._calls.items()}
        names = {label: _name(label, models) for _, label in self._labels}
        found: dict[Key, Counts] = {}
        for (day, label), counts in self._labels.items():
            _add(found, Key(day, names[label]), counts)
        return found

    def day_of(self, key: Key) -> str:
        """The day on which a line is billed."""
        return self._days[key.id] if key.id else key.day

    def names(self, id_: str) -> bool:
        """Whether it bills the call of that id."""
        return self._calls is not None and id_ in self._calls


class Ours:
    """What was recorded in the days that are compared, ``within`` them, beside a bill."""

    def __init__(self, bill: Bill, day_of: Callable[[int], str], within: Callable[[str], bool]) -> None:
        self._bill = bill
        self._day_of = day_of
        self._within = within
        self._lost: dict[str, Counter[str]] = {}
        self._names: dict[str, str] = {}
        self.lines: dict[Key, Counts] = {}

    @property
    def models(self) -> set[str]:
        return set(self._names.values())

    def add(self, attempt: Mapping[str, Any]) -> None:
        """An attempt, as ``reconcile.attempts`` lists it."""
        day, model = self._day_of(attempt["at_ms"]), attempt["model"]
        if (name := self._names.get(model)) is None:
            name = self._names[model] = model_name(model)
        if not self._bill.by_id:
            if self._within(day):
                _add(self.lines, Key(day, name), _counts(attempt))
            return
        id_ = attempt["id"] or attempt["exchange"]
        if self._within(day) or self._bill.names(id_):
            _add(self.lines, Key("", "", id_), _counts(attempt))

    def lose(self, one: Mapping[str, Any]) -> None:
        """An exchange that nobody settled: its provider's id is not known."""
        versions = self._lost.setdefault(self._day_of(one["at_ms"]), Counter())
        versions[one["price_version"].lower()] += 1

    def unknown(self, theirs: Iterable[Key]) -> dict[Key, int]:
        """How many of those each line of the bill may be about."""
        if not self._lost:
            return {}
        found = {}
        for key in theirs:
            versions = self._lost.get(self._bill.day_of(key))
            if versions is not None:
                found[key] = sum(count for version, count in versions.items() if key.model in version)
        return found


def _name(label: str, models: set[str]) -> str:
    name = model_name(label)
    return name if name in models else named_in(label, models) or name


def _add(sides: dict[Any, Counts], key: object, counts: Counts) -> None:
    if (known := sides.get(key)) is None:
        known = sides[key] = Counts()
    known.add(counts)


def _counts(attempt: Mapping[str, Any]) -> Counts:
    return Counts(
        requests=1,
        input_tokens=attempt["input_tokens"],
        output_tokens=attempt["output_tokens"],
        cost_pusd=attempt["cost_pusd"],
        estimated=int(attempt["estimated"]),
        unknown=int(attempt["unknown"]),
        unpriced=int(attempt["cost_pusd"] is None),
    )
