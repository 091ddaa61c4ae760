"""Reports of use: sums from the hourly sums, and every exchange by pages. Nothing is read as a whole."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence

import msgspec

from llm_router.billing.folds import Totals
from llm_router.billing.rollups import COUNTS, HOUR_MS, bounded
from llm_router.billing.search import ANY, Filter
from llm_router.billing.usage_rows import COLUMNS, OPERATOR_ONLY, csv_text, sum_row, usage_row, without
from llm_router.domain.errors import InvalidRequest
from llm_router.domain.record import ExchangeRecord
from llm_router.engine.moments import iso_time, parse_moment
from llm_router.ports import Clock, PaperBooks, Sums

DIMENSIONS = ("day", "hour", "account", "key", "team", "user", "model", "provider", "tag")
BY_MAX = 4
ROWS_MAX = 10_000
"""Of a report; whoever gets more wants the export."""

PAGE = 500
"""Exchanges that are read at once."""

PIECE = 50
"""Rows of a report that are made in one go, in about a millisecond."""

FORMATS = {"csv": "text/csv; charset=utf-8", "jsonl": "application/x-ndjson"}

DAY_MS = 24 * HOUR_MS

Place = tuple[str, int, str]
"""Behind which exchange a page begins: account, created_ms, id."""

Lines = Callable[[list[dict[str, object]] | None], bytes]
"""Rows as the bytes of a format; None is what stands before them."""


class Reports:
    def __init__(self, *, books: PaperBooks, clock: Clock) -> None:
        self._books = books
        self._clock = clock

    def span(self, from_: str | None, to: str | None) -> tuple[int, int]:
        """The stretch of time that is meant, in Unix milliseconds; by default the present month (UTC).

        Raises:
            InvalidRequest: these are no times, or in the wrong order.
        """
        now_ms = self._clock.now_ms()
        to_ms = now_ms + 1 if to is None else parse_moment(to, "to")
        from_ms = (
            parse_moment(f"{iso_time(now_ms)[:7]}-01", "from")
            if from_ is None
            else parse_moment(from_, "from")
        )
        if not 0 <= from_ms < to_ms:
            raise InvalidRequest("'from' must be a time before 'to'", param="from")
        return from_ms, to_ms

    async def summary(
        self,
        span: tuple[int, int],
        by: Sequence[str],
        account: str | None,
        *,
        operator: bool,
        wanted: Filter = ANY,
    ) -> dict[str, object]:
        """Sums by some of DIMENSIONS; of the hours that the span touches. By tag, what has several is in the row
        of each of them; in the total it is once.

        Raises:
            InvalidRequest: nothing can be summed up by that, or it would be too much.
        """
        names = tuple(by)
        if (
            any(name not in DIMENSIONS for name in names)
            or len(set(names)) < len(names)
            or len(names) > BY_MAX
        ):
            raise InvalidRequest(
                f"'by' must name up to {BY_MAX} of {', '.join(DIMENSIONS)}, each once", param="by"
            )
        from_hour, to_hour = span[0] // HOUR_MS, -(-span[1] // HOUR_MS)
        places = tuple("tags" if name == "tag" else name for name in names)
        found = await self._books.sums(places, from_hour, to_hour, account, wanted)
        total = bounded(map(sum, zip(*(counts for _, counts in found), strict=True))) or (0,) * len(COUNTS)
        if "tag" in names:
            found = _by_tag(found, names.index("tag"))
        if len(found) > ROWS_MAX:
            raise InvalidRequest(
                f"that is more than {ROWS_MAX} rows: ask for a shorter time or by less, or export the usage",
                param="by",
            )
        hidden = () if operator else OPERATOR_ONLY
        return {
            "object": "usage",
            "from": iso_time(from_hour * HOUR_MS),
            "to": iso_time(to_hour * HOUR_MS),
            "by": list(names),
            "data": await _sum_rows(names, found, hidden),
            "total": without(sum_row((), (), total), hidden),
        }

    async def page(
        self, span: tuple[int, int], account: str | None, after: Place | None, *, operator: bool
    ) -> tuple[list[dict[str, object]], Place | None]:
        """Exchanges by account and time, behind ``after``; and where the next page begins, None at the end."""
        records, place = await self.records(span, account, after)
        hidden = () if operator else OPERATOR_ONLY
        return [_row(record, hidden) for record in records], place

    async def records(
        self, span: tuple[int, int], account: str | None, after: Place | None
    ) -> tuple[list[ExchangeRecord], Place | None]:
        """The same as they are stored."""
        accounts = [account] if account is not None else await self._accounts(span)
        for name in accounts:
            if after is not None and name < after[0]:
                continue
            begin = after[1:] if after is not None and name == after[0] else None
            records = await self._books.exchanges(name, *span, begin, PAGE)
            if records:
                last = records[-1]
                return records, (name, last.created_ms, last.id)
        return [], None

    async def export(
        self, span: tuple[int, int], account: str | None, format_: str, *, operator: bool
    ) -> AsyncGenerator[bytes, None]:
        """The export in pieces, each made when the one before is taken.

        Raises:
            InvalidRequest: there is no such format.
        """
        text_of = lines_of(format_, operator=operator)
        yield text_of(None)
        after: Place | None = None
        while True:
            rows, after = await self.page(span, account, after, operator=operator)
            if after is None:
                return
            yield text_of(rows)

    async def _accounts(self, span: tuple[int, int]) -> list[str]:
        """Those that had exchanges, "" of requests without a key among them."""
        found = await self._books.sums(("account",), span[0] // HOUR_MS, -(-span[1] // HOUR_MS), None)
        return sorted(name for (name,), _ in found)


def lines_of(format_: str, *, operator: bool) -> Lines:
    """What writes rows in a format.

    Raises:
        InvalidRequest: there is no such format.
    """
    columns = [name for name in COLUMNS if operator or name not in OPERATOR_ONLY]
    if format_ == "jsonl":
        return lambda rows: b"".join(msgspec.json.encode(row) + b"\n" for row in rows or ())
    if format_ != "csv":
        raise InvalidRequest(f"'format' must be one of {', '.join(FORMATS)}", param="format")

    def lines(rows: list[dict[str, object]] | None) -> bytes:
        cells = [columns] if rows is None else [[row[name] for name in columns] for row in rows]
        return csv_text(cells).encode(errors="replace")

    return lines


async def _sum_rows(
    names: Sequence[str], found: Sequence[Sums], hidden: Sequence[str]
) -> list[dict[str, object]]:
    """The rows of a report. Between pieces of a long one others have their turn."""
    rows: list[dict[str, object]] = []
    for begin in range(0, len(found), PIECE):
        rows += [
            without(sum_row(names, _named(names, values), counts), hidden)
            for values, counts in found[begin : begin + PIECE]
        ]
        await asyncio.sleep(0)
    return rows


def _row(record: ExchangeRecord, hidden: Sequence[str]) -> dict[str, object]:
    """An exchange by COLUMNS, and what was decided about it, which CSV has no cell for."""
    row = without(usage_row(record, iso_time(record.created_ms)), hidden)
    row["decision"] = None if record.decision is None else msgspec.to_builtins(record.decision)
    return row


def _by_tag(found: Sequence[Sums], at: int) -> list[Sums]:
    """Rows by sets of tags as rows by each of them; ``at``: where the tags stand."""
    totals = Totals()
    for of, counts in found:
        for tag in of[at].split(","):
            totals.add((*of[:at], tag, *of[at + 1 :]), counts)
    return totals.rows()


def _named(by: Sequence[str], values: Sequence[str]) -> list[str]:
    """Days and hours as they are written."""
    sizes = {"day": (DAY_MS, 10), "hour": (HOUR_MS, 20)}
    named = []
    for name, value in zip(by, values, strict=True):
        if name in sizes:
            ms, chars = sizes[name]
            value = iso_time(int(value) * ms)[:chars]
        named.append(value)
    return named
