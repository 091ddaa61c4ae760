"""The operator's dry run of a change of the configuration, on what was asked last: where it would go, what it would
cost and what would fail. Nothing is sent, and nothing is changed."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import cast

import msgspec

from llm_router.billing.rollups import HOUR_MS
from llm_router.billing.search import ANY, Filter
from llm_router.domain.errors import InvalidRequest
from llm_router.domain.record import ExchangeRecord
from llm_router.engine.cases import case_of_record
from llm_router.engine.dry_run import Case, Difference, DryRun, counts_of, entry_of
from llm_router.engine.moments import iso_time
from llm_router.engine.operator import Arguments, Context, Result, account_name, dollars
from llm_router.engine.receipting import papers_of
from llm_router.engine.state import State
from llm_router.ports import PaperBooks
from llm_router.wire.dialect import Spoken
from llm_router.wire.operations import SPOKEN

LAST_DEFAULT, LAST_MAX = 100, 500
TEXT_CHARS_MAX = 200_000
ACCOUNTS_MAX = 20
"""Accounts that are looked at where none is named: those that ask most."""

LOOKS_MAX = 5
"""Looks into the log of one account."""

SPANS_H = (2, 24, 7 * 24, 31 * 24, 366 * 24)
"""How far back is looked, further only if there was too little."""

FRONTS = cast("Mapping[str, Spoken]", SPOKEN)  # of which cases name those that clients speak


class Rehearsal(msgspec.Struct, frozen=True, kw_only=True):
    """What exchanges work with now, and what they would work with. ``warnings``: of the changed configuration."""

    before: State
    after: State
    warnings: tuple[str, ...] = ()


class RehearseRoutes(Arguments, frozen=True, kw_only=True):
    """``routes.rehearse``. ``change``: TOML that is laid over the file of the configuration; ``config``: a whole file
    in its place. ``last``: how many requests, the newest; ``account``: None is of all; ``model``: that answered.
    ``every``: those for which nothing changes, too."""

    change: str | None = None
    config: str | None = None
    last: int = LAST_DEFAULT
    account: str | None = None
    model: str | None = None
    every: bool = False


async def rehearse_routes(arguments: RehearseRoutes, context: Context) -> Result:
    """What would route, cost and fail differently of the last requests.

    Raises:
        InvalidRequest: the change has problems, or an argument is out of its range.
    """
    if context.rehearse is None:
        raise InvalidRequest(
            "no gateway runs here: try a file of requests with routes test", code="not_running"
        )
    if (arguments.change is None) == (arguments.config is None):
        raise InvalidRequest("give either a change or a whole config", param="change")
    text, whole = arguments.change or arguments.config or "", arguments.config is not None
    if len(text) > TEXT_CHARS_MAX:
        raise InvalidRequest(
            f"it must have at most {TEXT_CHARS_MAX} characters", param="config" if whole else "change"
        )
    if not 1 <= arguments.last <= LAST_MAX:
        raise InvalidRequest(f"last must be from 1 to {LAST_MAX}", param="last")
    rehearsal = await context.rehearse(text, whole)
    now_ms = context.clock.now_ms()
    records = await _newest(arguments, papers_of(context).books, now_ms)
    told = [(record, case) for record in records if (case := case_of_record(record)) is not None]
    found = await _compared([case for _, case in told], rehearsal, now_ms)
    costs = [each.dearer_pusd for each in found if each.dearer_pusd is not None]
    return {
        "requests": [
            {"id": record.id, "at": iso_time(record.created_ms), "account": record.account, **entry_of(each)}
            for (record, _), each in zip(told, found, strict=True)
            if arguments.every or each.tells
        ],
        **counts_of(found),
        "change": _signed(sum(costs)),
        "warnings": list(rehearsal.warnings),
    }


async def _compared(cases: Sequence[Case], rehearsal: Rehearsal, now_ms: int) -> list[Difference]:
    before, after = DryRun(rehearsal.before, FRONTS, now_ms), DryRun(rehearsal.after, FRONTS, now_ms)
    found = []
    for case in cases:
        found.append(Difference(case=case, before=await before.route(case), after=await after.route(case)))
        await asyncio.sleep(0)  # who asks models now goes first
    return found


async def _newest(arguments: RehearseRoutes, books: PaperBooks, now_ms: int) -> list[ExchangeRecord]:
    """The newest requests of that kind, the newest first."""
    wanted = ANY if arguments.model is None else Filter(model=arguments.model)
    named = None if arguments.account is None else [account_name(arguments.account)]
    for hours in SPANS_H:
        from_ms = now_ms - hours * HOUR_MS
        accounts = await _busiest(books, from_ms, now_ms, wanted) if named is None else named
        found = [
            record
            for account in accounts
            for record in await _of_account(books, account, wanted, (from_ms, now_ms + 1), arguments.last)
        ]
        if len(found) >= arguments.last:
            break
    return sorted(found, key=lambda record: (-record.created_ms, record.id))[: arguments.last]


async def _busiest(books: PaperBooks, from_ms: int, to_ms: int, wanted: Filter) -> list[str]:
    sums = await books.sums(("account",), from_ms // HOUR_MS, to_ms // HOUR_MS + 1, None, wanted)
    most = sorted(sums, key=lambda row: -row[1][0])[:ACCOUNTS_MAX]
    return [names[0] for names, _ in most]


async def _of_account(
    books: PaperBooks, account: str, wanted: Filter, span: tuple[int, int], limit: int
) -> list[ExchangeRecord]:
    found: list[ExchangeRecord] = []
    before = None
    for _ in range(LOOKS_MAX):
        page = await books.newest(account, wanted, *span, before, limit - len(found))
        found += page.records
        before = page.next
        if before is None or len(found) >= limit:
            break
    return found


def _signed(pusd: int) -> msgspec.Raw:
    shown = dollars(abs(pusd))
    return msgspec.Raw(b"-" + bytes(shown)) if pusd < 0 else shown
