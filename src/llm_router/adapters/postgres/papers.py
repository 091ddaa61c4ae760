"""Papers in the database, and what of the books they are made from."""

from __future__ import annotations

import asyncpg
import msgspec

from llm_router.adapters.postgres.folding import FOLDED_TO
from llm_router.adapters.postgres.known import entry_of
from llm_router.billing.folds import Part, Totals, parts_of, range_of
from llm_router.billing.rollups import COUNTS, HOUR_MS, OTHER_TAGS, bounded
from llm_router.billing.search import ANY, HOURS_MAX, WALK_MAX, Filter, Found
from llm_router.domain.record import ExchangeRecord
from llm_router.ports import Booked, MonthBooks, Paper, Sums, Unsettled

_ADD = (
    "INSERT INTO papers SELECT p.series, p.number, p.id, p.account, p.created_ms, p.body FROM unnest("
    "$1::text[], $2::bigint[], $3::text[], $4::text[], $5::bigint[], $6::text[]) WITH ORDINALITY "
    "p(series, number, id, account, created_ms, body, place) ORDER BY p.place"
)
_PAPERS = "SELECT series, number, id, account, created_ms, body FROM papers WHERE series = $1 "
_ONE = _PAPERS + "AND id = $2"
_LAST = _PAPERS + "ORDER BY number DESC LIMIT 1"
_PAGE = _PAPERS + "AND number > $2 ORDER BY number LIMIT $3"

_ENTRIES = "SELECT seq, ref, account, amount, kind, created_ms, note FROM entries "
_BOOKED = (
    "SELECT e.seq, e.ref, e.account, e.amount, e.kind, e.created_ms, e.note, e.hash, x.record FROM entries e "
    "LEFT JOIN exchanges x ON e.kind = 'use' AND x.id = substr(e.ref, 5) "
    "WHERE e.account = $1 AND e.seq > coalesce((SELECT seq FROM entries WHERE ref = $2 AND account = $1), 0) "
    "ORDER BY e.seq LIMIT $3"
)
_EXCHANGES = (
    "SELECT record FROM exchanges WHERE account = $1 AND created_ms < $2 "
    'AND (created_ms, id COLLATE "C") > ($3, $4) ORDER BY created_ms, id COLLATE "C" LIMIT $5'
)
_UNSETTLED = (
    "SELECT exchange_id, account, amount, price_version, created_ms FROM holds WHERE voided_ms IS NOT NULL "
    "AND created_ms >= $1 AND created_ms < $2 ORDER BY created_ms, exchange_id LIMIT $3"
)
_CREDITED = (
    "SELECT coalesce(sum(amount), 0) FROM entries WHERE account = $1 AND kind <> 'use' AND created_ms < $2"
)
_CREDITS = _ENTRIES + (
    "WHERE account = $1 AND kind <> 'use' AND created_ms >= $2 AND created_ms < $3 ORDER BY created_ms, seq"
)
_FIRST_HOUR = "SELECT min(hour) FROM rollups"
_COST = COUNTS.index("cost")

_WALK = (
    "SELECT created_ms, id, CASE WHEN {} THEN record END AS record FROM exchanges WHERE account = $1 "
    'AND (created_ms, id COLLATE "C") < ($2, $3) AND created_ms >= $4 '
    'ORDER BY created_ms DESC, id COLLATE "C" DESC LIMIT $5'
)
# The newest hour with a match among the newest rows of the sums; and where these rows end, if there are more.
_SPAN = "FROM rollups WHERE account = $1 AND hour >= $2 AND hour <= $3 ORDER BY hour DESC "
_HOUR = f"SELECT hour FROM (SELECT * {_SPAN}LIMIT $4) newest WHERE {{}} ORDER BY hour DESC LIMIT 1"  # noqa: S608 - texts of ours
_OLDEST = f"SELECT hour {_SPAN}LIMIT 1 OFFSET $4"

_TEXT = ("account", "key", "team", "user", "model", "provider", "tags")
_GROUPS = {"day": "hour / 24", **{name: f'"{name}" COLLATE "C"' for name in _TEXT}}
_SUMS = ", ".join(f"sum({name})" for name in COUNTS)

_records = msgspec.json.Decoder(ExchangeRecord)


async def add(connection: asyncpg.Connection, papers: list[Paper]) -> bool:
    """Issue papers, all or none; False if they are not the next of their series."""
    names = ("series", "number", "id", "account", "created_ms", "body")
    try:
        await connection.execute(_ADD, *([getattr(p, name) for p in papers] for name in names))
    except asyncpg.UniqueViolationError:
        return False
    return True


async def one(connection: asyncpg.Connection, series: str, id_: str) -> Paper | None:
    if "\x00" in id_:  # no text of the database has one
        return None
    row = await connection.fetchrow(_ONE, series, id_)
    return None if row is None else Paper(**row)


async def last(connection: asyncpg.Connection, series: str) -> Paper | None:
    row = await connection.fetchrow(_LAST, series)
    return None if row is None else Paper(**row)


async def page(connection: asyncpg.Connection, series: str, after: int, limit: int) -> list[Paper]:
    return [Paper(**row) for row in await connection.fetch(_PAGE, series, after, limit)]


async def booked(connection: asyncpg.Connection, account: str, after: str | None, limit: int) -> list[Booked]:
    return [
        Booked(
            entry=entry_of(row),
            hash=row["hash"],
            record=None if row["record"] is None else _records.decode(row["record"]),
        )
        for row in await connection.fetch(_BOOKED, account, after, limit)
    ]


async def exchanges(
    connection: asyncpg.Connection,
    account: str,
    from_ms: int,
    to_ms: int,
    after: tuple[int, str] | None,
    limit: int,
) -> list[ExchangeRecord]:
    begin = (from_ms, "") if after is None else after
    rows = await connection.fetch(_EXCHANGES, account, to_ms, *begin, limit)
    return [_records.decode(row["record"]) for row in rows]


async def unsettled(connection: asyncpg.Connection, from_ms: int, to_ms: int, limit: int) -> list[Unsettled]:
    return [
        Unsettled(id=row[0], account=row[1], held_pusd=row[2], price_version=row[3], created_ms=row[4])
        for row in await connection.fetch(_UNSETTLED, from_ms, to_ms, limit)
    ]


async def newest(
    connection: asyncpg.Connection,
    account: str,
    wanted: Filter,
    from_ms: int,
    to_ms: int,
    before: tuple[int, str] | None,
    limit: int,
) -> Found:
    if any("\x00" in str(getattr(wanted, name)) for name in wanted.__struct_fields__):
        return Found(records=(), next=None)  # no text of the database has one
    matching, values = _matching(wanted)
    more, summed = _summed(msgspec.structs.replace(wanted, tag=None), 5)
    if wanted.tag is not None:  # of some the sums do not say by which tags they are
        tagged, by_tag = _summed(Filter(tag=wanted.tag), 5 + len(summed))
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
            hour = await connection.fetchval(_HOUR.format("true" + more), *span, HOURS_MAX, *summed)
            if hour is None:
                hour = await connection.fetchval(_OLDEST, *span, HOURS_MAX)
                if hour is None or hour != end:  # nothing is left, or the next look goes on there
                    goes_on = None if hour is None else ((hour + 1) * HOUR_MS, "")
                    return Found(records=tuple(records), next=goes_on)
            place = min(place, ((hour + 1) * HOUR_MS, ""))
            floor_ms = max(from_ms, hour * HOUR_MS)
        step = min(left, limit - len(records)) if wanted.plain else min(left, STEP)
        rows = await connection.fetch(_WALK.format(matching), account, *place, floor_ms, step, *values)
        for row in rows:
            place, left = (row["created_ms"], row["id"]), left - 1
            if row["record"] is not None:
                records.append(_records.decode(row["record"]))
            if len(records) == limit:
                break
        if len(records) == limit or left == 0:
            return Found(records=tuple(records), next=place)
        if len(rows) == step:
            continue
        place = (floor_ms, "")
        if floor_ms == from_ms:
            return Found(records=tuple(records), next=None)


STEP = 500
"""Rows of the log that are read in one go: all of them are sent before the first is looked at."""


def _matching(wanted: Filter) -> tuple[str, list[object]]:
    """The condition that a row of the log must meet, and its values."""
    conditions, values = ["true"], list[object]()
    for name in ("key", "model"):
        if (value := getattr(wanted, name)) is not None:
            values.append(value)
            conditions.append(f"coalesce({name}, '') = ${len(values) + 5}")
    for name in ("team", "user", "provider", "session"):
        if (value := getattr(wanted, name)) is not None:
            # As JSON: a text with a NUL in it can be no text of the database.
            values.append(msgspec.json.encode(value).decode())
            conditions.append(f"coalesce((record::json -> '{name}')::text, '\"\"') = ${len(values) + 5}")
    if wanted.tag:
        values.append(wanted.tag)
        conditions.append(f"(record::json -> 'tags')::jsonb ? ${len(values) + 5}")
    elif wanted.tag is not None:
        conditions.append("record::json -> 'tags' IS NULL")
    if wanted.failed is not None:
        conditions.append(f"record::json -> 'error_code' IS {'NOT ' * wanted.failed}NULL")
    return " AND ".join(conditions), values


def _summed(wanted: Filter, first: int) -> tuple[str, list[str]]:
    """The condition that a row of sums must meet, and its values, numbered from ``first``."""
    found = wanted.summed()
    tag = found.pop("tag", None)
    filters = "".join(f' AND "{name}" = ${at}' for at, name in enumerate(found, first))
    values = list(found.values())
    if tag is None:
        return filters, values
    if not tag:
        return filters + " AND tags = ''", values
    return filters + f" AND strpos(',' || tags || ',', ',' || ${first + len(values)} || ',') > 0", [
        *values,
        tag,
    ]


async def sums(
    connection: asyncpg.Connection,
    by: tuple[str, ...],
    from_hour: int,
    to_hour: int,
    account: str | None,
    wanted: Filter = ANY,
) -> list[Sums]:
    """``by`` holds names of the port's list and no others. All of one moment."""
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        return await _sums(connection, by, from_hour, to_hour, account, wanted)


async def _sums(
    connection: asyncpg.Connection,
    by: tuple[str, ...],
    from_hour: int,
    to_hour: int,
    account: str | None,
    wanted: Filter = ANY,
) -> list[Sums]:
    if any("\x00" in value for value in wanted.summed().values()):
        return []  # no text of the database has one
    first = await connection.fetchval(_FIRST_HOUR)
    if first is None:
        return []
    parts = parts_of(
        by,
        [*wanted.places(), *([] if account is None else ["account"])],
        from_hour=max(first, from_hour),
        to_hour=to_hour,
        folded_to=await connection.fetchval(FOLDED_TO),
    )
    found = Totals()
    groups = ", ".join(_GROUPS.get(name, name) for name in by)
    for part in parts:
        source, values = _source(part, account)
        filters, more = _summed(wanted, len(values) + 1)
        query = f"SELECT {', '.join([groups] * bool(by) + [_SUMS])} FROM {source}{filters}"  # noqa: S608 - names of ours
        if by:
            query += f" GROUP BY {groups}"
        for row in map(tuple, await connection.fetch(query, *values, *more)):
            if row[-1] is not None:
                found.add(row[: len(by)], bounded(map(int, row[len(by) :])))
    return found.rows()


def _source(part: Part, account: str | None) -> tuple[str, tuple[object, ...]]:
    """Where the rows of a part are, and the values of that."""
    fold, begin, end = part
    if fold is None:
        source, values = "rollups WHERE hour >= $1 AND hour < $2", (begin, end)
        return (source, values) if account is None else (source + " AND account = $3", (*values, account))
    if account is None:
        return "sums WHERE fold = $1 AND hour >= $2 AND hour < $3", (fold.name, begin, end)
    # One look for each hour: a range would go through the rows of all accounts.
    source = "sums WHERE fold = $1 AND hour = ANY($2::bigint[]) AND account = $3"
    return source, (fold.name, range_of(part), account)


async def month(
    connection: asyncpg.Connection, account: str, from_ms: int, to_ms: int, earlier_ms: int
) -> MonthBooks:
    """All of one moment."""
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        return MonthBooks(
            credited_pusd=int(await connection.fetchval(_CREDITED, account, from_ms)),
            used_pusd=await _used(connection, account, from_ms),
            earlier_credited_pusd=int(await connection.fetchval(_CREDITED, account, earlier_ms)),
            earlier_used_pusd=await _used(connection, account, earlier_ms),
            credits=tuple(entry_of(row) for row in await connection.fetch(_CREDITS, account, from_ms, to_ms)),
            models=tuple(await _sums(connection, ("model",), from_ms // HOUR_MS, to_ms // HOUR_MS, account)),
        )


async def _used(connection: asyncpg.Connection, account: str, until_ms: int) -> int:
    found = await _sums(connection, (), 0, until_ms // HOUR_MS, account)
    return found[0][1][_COST] if found else 0
