"""Which exchanges somebody looks for, and how far one look goes.

No look reads the log from end to end: the hourly sums tell in which hours there is anything of the kind, only
those hours are read, the newest first, and after WALK_MAX rows the look ends with the place where the next goes on.
"""

from __future__ import annotations

import msgspec

from llm_router.domain.record import ExchangeRecord

WALK_MAX = 2000
"""Rows of the log that one look reads."""

HOURS_MAX = 20_000
"""Rows of the hourly sums that one look reads at a time."""

SUMMED = ("key", "team", "user", "model", "provider", "tag")
"""What the hourly sums are of: hours without a match are not read."""


class Filter(msgspec.Struct, frozen=True, kw_only=True):
    """What an exchange must have; None is anything, empty text is none.

    Attributes:
        tag: one of its tags, or, if empty, that it has none.
        failed: it ended with an error, or did not.
    """

    key: str | None = None
    team: str | None = None
    user: str | None = None
    model: str | None = None
    provider: str | None = None
    tag: str | None = None
    session: str | None = None
    failed: bool | None = None

    def summed(self) -> dict[str, str]:
        """What is asked of SUMMED."""
        return {name: value for name in SUMMED if (value := getattr(self, name)) is not None}

    def places(self) -> list[str]:
        """The fields of RollupKey that these are conditions on."""
        return ["tags" if name == "tag" else name for name in self.summed()]

    @property
    def plain(self) -> bool:
        """Whether every exchange will do."""
        return self == ANY

    def matches(self, record: ExchangeRecord) -> bool:
        """Whether it is one of those."""
        wanted = {**self.summed(), **({} if self.session is None else {"session": self.session})}
        tag = wanted.pop("tag", None)
        if tag is not None and not (tag in record.tags if tag else not record.tags):
            return False
        if any((getattr(record, name) or "") != value for name, value in wanted.items()):
            return False
        return self.failed is None or self.failed == (record.error_code is not None)


ANY = Filter()


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """What a look found, the newest first.

    Attributes:
        next: behind which (created_ms, id) the next look goes on; None: nothing is left to read.
    """

    records: tuple[ExchangeRecord, ...]
    next: tuple[int, str] | None
