"""Sums of exchanges by the hour: what reports, charts and new budgets read instead of the records.

One row for each hour, account, key, team, user, model, provider and set of tags that had an exchange. The hour is
that of admission, in UTC, so that a recount from the records comes to the same.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from llm_router.domain.record import ExchangeRecord

HOUR_MS = 3_600_000


class RollupKey(NamedTuple):
    """What a row is the sum of. Empty text stands for none; ``tags`` are those of the exchange, by commas."""

    hour: int  # Unix time in hours
    account: str
    key: str
    team: str
    user: str
    model: str
    provider: str
    tags: str = ""


COUNTS = (
    "requests",
    "errors",
    "input_tokens",
    "cached_tokens",
    "output_tokens",
    "cost",
    "absorbed",
    "operator_cost",
    "first_token_ms",
    "first_tokens",
    "duration_ms",
)
"""The sums of a row. ``input_tokens`` are all of the prompt, ``cached_tokens`` those of them that were
read from a cache; money is in picodollars; ``first_token_ms`` is over ``first_tokens`` exchanges."""


SUM_MAX = 9_000_000_000_000_000_000
"""Sums stop there: what is absorbed of absurd claims must not be what a store cannot hold."""


def bounded(sums: Iterable[int]) -> tuple[int, ...]:
    """Sums as a store can hold them."""
    return tuple(min(SUM_MAX, count) for count in sums)


def add_counts(left: tuple[int, ...], right: tuple[int, ...]) -> tuple[int, ...]:
    """The sums of two sets of exchanges."""
    return bounded(a + b for a, b in zip(left, right, strict=True))


OTHER_TAGS = "(other)"


def summed_tags(record: ExchangeRecord) -> str:
    """The tags of an exchange as its sums have them."""
    return OTHER_TAGS if record.tags_over else ",".join(record.tags)


def rollup_key(record: ExchangeRecord) -> RollupKey:
    place = (
        record.created_ms // HOUR_MS,
        record.account,
        record.key,
        record.team or "",
        record.user or "",
        record.model or "",
        record.provider or "",
        summed_tags(record) if record.tags else "",
    )
    return tuple.__new__(RollupKey, place)  # its own is a function of Python more


def rollup_counts(record: ExchangeRecord) -> tuple[int, ...]:
    """What one exchange adds, in the order of COUNTS."""
    usage = record.usage
    operator_pusd = 0
    for attempt in record.attempts:
        if attempt.operator_cost_pusd is not None:
            operator_pusd += attempt.operator_cost_pusd
    return (
        1,
        0 if record.error_code is None else 1,
        usage.prompt_tokens,
        usage.cache_read_tokens,
        usage.completion_tokens,
        record.cost_pusd,
        record.absorbed_pusd,
        operator_pusd,
        0 if record.first_token_ms is None else record.first_token_ms,
        0 if record.first_token_ms is None else 1,
        record.duration_ms,
    )
