"""Papers in the SQLite store, and what of the books they are made from."""

from __future__ import annotations

import sqlite3
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from typing import Any

import msgspec

from llm_router.adapters.sqlite.folding import FOLDED_TO
from llm_router.billing.folds import Part, Totals, parts_of, range_of
from llm_router.billing.ledger import Entry
from llm_router.billing.rollups import COUNTS, HOUR_MS, OTHER_TAGS, bounded
from llm_router.billing.search import ANY, HOURS_MAX, WALK_MAX, Filter, Found
from llm_router.domain.record import ExchangeRecord
from llm_router.ports import Booked, MonthBooks, Paper, Sums, Unsettled

# All or none: a condition that fails writes nothing, and costs the batch that it stands in nothing.
ADD = (
    "INSERT INTO papers SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5 "
    "FROM json_each(?1) WHERE ?3 = (SELECT coalesce(max(number), 0) + 1 FROM papers WHERE series = ?2) ORDER BY key"
)
_PAPERS = "SELECT series, number, id, account, created_ms, body FROM papers WHERE series = ? "
_ONE = _PAPERS + "AND id = ?"
_LAST = _PAPERS + "ORDER BY number DESC LIMIT 1"
_PAGE = _PAPERS + "AND number > ? ORDER BY number LIMIT ?"

_BOOKED = (
    "SELECT e.seq, e.ref, e.account, e.amount, e.kind, e.created_ms, e.note, e.hash, x.record FROM entries e "
    "LEFT JOIN exchanges x ON e.kind = 'use' AND x.id = substr(e.ref, 5) "
    "WHERE e.account = ?1 AND e.seq > coalesce((SELECT seq FROM entries WHERE ref = ?2 AND account = ?1), 0) "
    "ORDER BY e.seq LIMIT ?3"
)
_EXCHANGES = (
    "SELECT record FROM exchanges WHERE account = ? AND created_ms < ? AND (created_ms, id) > (?, ?) "
    "ORDER BY created_ms, id LIMIT ?"
)
_UNSETTLED = (
    "SELECT exchange_id, account, amount, price_version, created_ms FROM holds WHERE state = 'orphaned' "
    "AND created_ms >= ? AND created_ms < ? ORDER BY created_ms, exchange_id LIMIT ?"
)
# In two halves, since SQLite's own sum refuses to pass 63 bits on the way.
_CREDITED = (
    "SELECT coalesce(sum(amount >> 32), 0), coalesce(sum(amount & 4294967295), 0) FROM entries "
    "WHERE account = ? AND kind <> 'use' AND created_ms < ?"
)
_CREDITS = (
    "SELECT seq, ref, account, amount, kind, created_ms, note FROM entries "
    "WHERE account = ? AND kind <> 'use' AND created_ms >= ? AND created_ms < ? ORDER BY created_ms, seq"
)
_GROUPS = {"day": "hour / 24", "user": '"user"'}
_FIRST_HOUR = "SELECT min(hour) FROM rollups"
_COST = COUNTS.index("cost")
_SUMS = ", ".join(f"sum({name})" for name in COUNTS)
_HALVES = ", ".join(f"sum({name} >> 32), sum({name} & 4294967295)" for name in COUNTS)

_WALK = (
    "SELECT created_ms, id, CASE WHEN {} THEN record END FROM exchanges WHERE account = ? "
    "AND (created_ms, id) < (?, ?) AND created_ms >= ? ORDER BY created_ms DESC, id DESC LIMIT ?"
)
# The newest hour with a match among the newest rows of the sums; and where these rows end, if there are more.
_SPAN = "FROM rollups WHERE account = ? AND hour >= ? AND hour <= ? ORDER BY account DESC, hour DESC "
_HOUR = f"SELECT hour FROM (SELECT * {_SPAN}LIMIT ?) WHERE {{}} ORDER BY hour DESC LIMIT 1"  # noqa: S608 - texts of ours
_OLDEST = f"SELECT hour {_SPAN}LIMIT 1 OFFSET ?"

_records = msgspec.json.Decoder(ExchangeRecord)


def add(papers: list[Paper]) -> tuple[str, tuple[Any, ...]]:
    """The statement that issues papers, and its values."""
    rows = [(p.series, p.number, p.id, p.account, p.created_ms, p.body) for p in papers]
    return ADD, (msgspec.json.encode(rows).decode(), papers[0].series, papers[0].number)


def one(reads: sqlite3.Connection, series: str, id_: str) -> Paper | None:
    row = reads.execute(_ONE, (series, id_)).fetchone()
    return None if row is None else _paper(row)


def last(reads: sqlite3.Connection, series: str) -> Paper | None:
    row = reads.execute(_LAST, (series,)).fetchone()
    return None if row is None else _paper(row)


def page(reads: sqlite3.Connection, series: str, after: int, limit: int) -> list[Paper]:
    return [_paper(row) for row in reads.execute(_PAGE, (series, after, limit))]


def booked(reads: sqlite3.Connection, account: str, after: str | None, limit: int) -> list[Booked]:
    return [
        Booked(entry=_entry(row[:7]), hash=row[7], record=None if row[8] is None else _records.decode(row[8]))
        for row in reads.execute(_BOOKED, (account, after, limit))
    ]


def exchanges(
    reads: sqlite3.Connection,
    account: str,
    from_ms: int,
    to_ms: int,
    after: tuple[int, str] | None,
    limit: int,
) -> list[ExchangeRecord]:
    begin = (from_ms, "") if after is None else after
    rows = reads.execute(_EXCHANGES, (account, to_ms, *begin, limit))
    return [_records.decode(text) for (text,) in rows]


def unsettled(reads: sqlite3.Connection, from_ms: int, to_ms: int, limit: int) -> list[Unsettled]:
    return [
        Unsettled(id=row[0], account=row[1], held_pusd=row[2], price_version=row[3], created_ms=row[4])
        for row in reads.execute(_UNSETTLED, (from_ms, to_ms, limit))
    ]


def newest(
    reads: sqlite3.Connection,
    account: str,
    wanted: Filter,
    from_ms: int,
    to_ms: int,
    before: tuple[int, str] | None,
    limit: int,
) -> Found:
    matching, values = _matching(wanted)
    more, summed = _summed(msgspec.structs.replace(wanted, tag=None))
    if wanted.tag is not None:  # of some the sums do not say by which tags they are
        tagged, by_tag = _summed(Filter(tag=wanted.tag))
        more, summed = f"{more} AND (true{tagged} OR tags = '{OTHER_TAGS}')", [*summed, *by_tag]
    if wanted.failed is not None:
        more += " AND errors > 0" if wanted.failed else " AND errors < requests"
    place, left = (to_ms, "") if before is None else min(before, (to_ms, "")), WALK_MAX
    records: list[ExchangeRecord] = []
    while True:
        floor_ms = from_ms
        if not wanted.plain:
            begin, end = from_ms // HOUR_MS, (place[0] - (place[1] == "")) // HOUR_MS
            span = (account, begin, end)
            found = reads.execute(_HOUR.format("true" + more), (*span, HOURS_MAX, *summed)).fetchone()
            if found is None:
                found = reads.execute(_OLDEST, (*span, HOURS_MAX)).fetchone()
                if found is None or found[0] != end:  # nothing is left, or the next look goes on there
                    goes_on = None if found is None else ((found[0] + 1) * HOUR_MS, "")
                    return Found(records=tuple(records), next=goes_on)
            place = min(place, ((found[0] + 1) * HOUR_MS, ""))
            floor_ms = max(from_ms, found[0] * HOUR_MS)
        for created_ms, id_, text in reads.execute(
            _WALK.format(matching), (*values, account, *place, floor_ms, left)
        ):
            place, left = (created_ms, id_), left - 1
            if text is not None:
                records.append(_records.decode(text))
            if len(records) == limit:
                break
        if len(records) == limit or left == 0:
            return Found(records=tuple(records), next=place)
        place = (floor_ms, "")
        if floor_ms == from_ms:
            return Found(records=tuple(records), next=None)


def _matching(wanted: Filter) -> tuple[str, list[object]]:
    """The condition that a row of the log must meet, and its values."""
    conditions, values = ["true"], list[object]()
    for name in ("key", "model"):
        if (value := getattr(wanted, name)) is not None:
            conditions.append(f"coalesce({name}, '') = ?")
            values.append(value)
    for name in ("team", "user", "provider", "session"):
        if (value := getattr(wanted, name)) is not None:
            conditions.append(f"coalesce(record ->> '$.{name}', '') = ?")
            values.append(value)
    if wanted.tag:
        conditions.append("EXISTS (SELECT 1 FROM json_each(record, '$.tags') WHERE value = ?)")
        values.append(wanted.tag)
    elif wanted.tag is not None:
        conditions.append("record ->> '$.tags' IS NULL")
    if wanted.failed is not None:
        conditions.append(f"record ->> '$.error_code' IS {'NOT ' * wanted.failed}NULL")
    return " AND ".join(conditions), values


def _summed(wanted: Filter) -> tuple[str, list[str]]:
    """The condition that a row of sums must meet, and its values."""
    found = wanted.summed()
    tag = found.pop("tag", None)
    filters, values = "".join(f' AND "{name}" = ?' for name in found), list(found.values())
    if tag is None:
        return filters, values
    if not tag:
        return filters + " AND tags = ''", values
    return filters + " AND instr(',' || tags || ',', ',' || ? || ',') > 0", [*values, tag]


def sums(
    reads: sqlite3.Connection,
    by: tuple[str, ...],
    from_hour: int,
    to_hour: int,
    account: str | None,
    wanted: Filter = ANY,
) -> list[Sums]:
    """``by`` holds names of the port's list and no others. All of one moment."""
    with _moment(reads):
        return _sums(reads, by, from_hour, to_hour, account, wanted)


def _sums(
    reads: sqlite3.Connection,
    by: tuple[str, ...],
    from_hour: int,
    to_hour: int,
    account: str | None,
    wanted: Filter = ANY,
) -> list[Sums]:
    (first,) = reads.execute(_FIRST_HOUR).fetchone()
    if first is None:
        return []
    (folded_to,) = reads.execute(FOLDED_TO).fetchone()
    filters, more = _summed(wanted)
    of = [] if account is None else ["account"]
    found = Totals()
    for part in parts_of(
        by,
        [*wanted.places(), *of],
        from_hour=max(first, from_hour),
        to_hour=to_hour,
        folded_to=folded_to,
    ):
        source, values = _source(part, account)
        groups = ", ".join(_GROUPS.get(name, name) for name in by)
        for row, counts in _added(reads, groups, len(by), source + filters, (*values, *more)):
            found.add(row, counts)
    return found.rows()


def _added(
    reads: sqlite3.Connection, groups: str, size: int, source: str, values: tuple[object, ...]
) -> Iterable[tuple[tuple[Any, ...], tuple[int, ...]]]:
    """The sums of what is in a place, by ``groups``, which are so many columns."""
    before, after = (f"{groups}, ", f" GROUP BY {groups}") if groups else ("", "")
    try:
        rows = reads.execute(f"SELECT {before}{_SUMS} FROM {source}{after}", values).fetchall()  # noqa: S608 - names of ours
    except sqlite3.OperationalError as error:
        if "overflow" not in str(error):
            raise
        # Past 63 bits SQLite's own sum refuses, here or on the way; two halves of each are twice the work.
        rows = reads.execute(f"SELECT {before}{_HALVES} FROM {source}{after}", values).fetchall()  # noqa: S608
        rows = [(*row[:size], *_joined(row[size:])) for row in rows if row[-1] is not None]
    return [(row[:size], bounded(row[size:])) for row in rows if row[-1] is not None]


def _source(part: Part, account: str | None) -> tuple[str, tuple[object, ...]]:
    """Where the rows of a part are, and the values of that."""
    fold, begin, end = part
    if fold is None and account is None:
        return "rollups WHERE hour >= ? AND hour < ?", (begin, end)
    if fold is None:
        return "rollups WHERE account = ? AND hour >= ? AND hour < ?", (account, begin, end)
    if account is None:
        return "sums WHERE fold = ? AND hour >= ? AND hour < ?", (fold.name, begin, end)
    # One look for each hour: a range would go through the rows of all accounts.
    hours = msgspec.json.encode(range_of(part)).decode()
    return "sums WHERE fold = ? AND hour IN (SELECT value FROM json_each(?)) AND account = ?", (
        fold.name,
        hours,
        account,
    )


def month(reads: sqlite3.Connection, account: str, from_ms: int, to_ms: int, earlier_ms: int) -> MonthBooks:
    """All of one moment."""
    with _moment(reads):
        return MonthBooks(
            credited_pusd=_credited(reads, account, from_ms),
            used_pusd=_used(reads, account, from_ms),
            earlier_credited_pusd=_credited(reads, account, earlier_ms),
            earlier_used_pusd=_used(reads, account, earlier_ms),
            credits=tuple(_entry(row) for row in reads.execute(_CREDITS, (account, from_ms, to_ms))),
            models=tuple(_sums(reads, ("model",), from_ms // HOUR_MS, to_ms // HOUR_MS, account)),
        )


@contextmanager
def _moment(reads: sqlite3.Connection) -> Generator[None]:
    reads.execute("BEGIN")
    try:
        yield
    finally:
        reads.execute("ROLLBACK")


def _credited(reads: sqlite3.Connection, account: str, until_ms: int) -> int:
    high, low = reads.execute(_CREDITED, (account, until_ms)).fetchone()
    return int((high << 32) + low)


def _used(reads: sqlite3.Connection, account: str, until_ms: int) -> int:
    found = _sums(reads, (), 0, until_ms // HOUR_MS, account)
    return found[0][1][_COST] if found else 0


def _joined(halves: tuple[int, ...]) -> tuple[int, ...]:
    return tuple((high << 32) + low for high, low in zip(halves[::2], halves[1::2], strict=True))


def _paper(row: tuple[Any, ...]) -> Paper:
    series, number, id_, account, created_ms, body = row
    return Paper(series=series, number=number, id=id_, account=account, created_ms=created_ms, body=body)


def _entry(row: tuple[Any, ...]) -> Entry:
    seq, ref, account, amount, kind, created_ms, note = row
    return Entry(
        seq=seq, ref=ref, account=account, amount_pusd=amount, kind=kind, created_ms=created_ms, note=note
    )
