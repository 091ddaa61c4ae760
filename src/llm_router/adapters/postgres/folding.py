"""Sums of the sums (billing/folds.py) in the database: the tables, the fold of an hour, and what comes late.

Folded are the hours before ``meta.folded``. A fold takes a lock on the hourly sums that no batch is written under,
so that a batch sees either none of it or all: its statement adds what it has of folded hours to the folds itself.
"""

from __future__ import annotations

import asyncpg

LOCK_MS = 200
"""A fold waits that long for batches that are being written, while others wait behind it; then it gives up."""

_COUNTS = (
    "requests", "errors", "input_tokens", "cached_tokens", "output_tokens", "cost", "absorbed", "operator_cost",
    "first_token_ms", "first_tokens", "duration_ms",
)  # fmt: skip
_PLACE = ("account", "key", "team", '"user"', "model", "provider", "tags")
_MAX = 9_000_000_000_000_000_000
_GROUPS = ", ".join(str(n + 1) for n in range(len(_PLACE) + 2))
_ADDED = ", ".join(f"least({_MAX}, sum(r.{name}))::bigint" for name in _COUNTS)
_MORE = ", ".join(f"{name} = least({_MAX}, s.{name}::numeric + excluded.{name})::bigint" for name in _COUNTS)


def adding(rows: str, condition: str) -> str:
    """Add rows of the hourly sums, named ``r``, to every fold."""
    place = ", ".join(f"CASE WHEN f.{name} THEN r.{name} ELSE '' END" for name in _PLACE)
    return (
        f"INSERT INTO sums AS s SELECT f.name, r.hour - r.hour % f.hours, {place}, {_ADDED} "  # noqa: S608 - names of ours
        f"FROM {rows} CROSS JOIN folds f WHERE {condition} GROUP BY {_GROUPS} ORDER BY {_GROUPS} "
        f"ON CONFLICT (fold, hour, {', '.join(_PLACE)}) DO UPDATE SET {_MORE}"
    )


_NEXT = (
    "SELECT m.value, (SELECT min(hour) FROM rollups WHERE hour >= m.value) AS hour FROM meta m "
    "WHERE m.name = 'folded'"
)
_FOLD = adding("rollups r", "r.hour = $1")
_MOVE = "UPDATE meta SET value = $1 WHERE name = 'folded'"

FOLDED_TO = "SELECT value FROM meta WHERE name = 'folded'"

# What follows is part of the schema: a change needs a new version.
_COLUMNS = "".join(f'    {name} text COLLATE "C" NOT NULL,\n' for name in _PLACE) + "".join(
    f"    {name} bigint NOT NULL,\n" for name in _COUNTS
)

FOLDS_DDL = f"""
ALTER TABLE rollups ADD COLUMN tags text NOT NULL DEFAULT '';
ALTER TABLE rollups DROP CONSTRAINT rollups_pkey;
ALTER TABLE rollups ADD PRIMARY KEY (hour, account, key, team, "user", model, provider, tags);
CREATE TABLE folds (
    name text PRIMARY KEY,
    hours bigint NOT NULL, -- of a row
    account boolean NOT NULL, -- whether rows are by account, and so on
    key boolean NOT NULL,
    team boolean NOT NULL,
    "user" boolean NOT NULL,
    model boolean NOT NULL,
    provider boolean NOT NULL,
    tags boolean NOT NULL
);
INSERT INTO folds VALUES ('model', 24, true, false, false, false, true, true, false),
    ('total', 1, false, false, false, false, true, true, false),
    ('model_hour', 1, true, false, false, false, true, true, false),
    ('tag', 24, true, false, false, false, true, true, true),
    ('key', 24, true, true, true, false, true, true, false),
    ('day', 24, true, true, true, true, true, true, true);
CREATE TABLE sums (
    fold text NOT NULL,
    hour bigint NOT NULL, -- the first of those that it stands for
{_COLUMNS}    PRIMARY KEY (fold, hour, account, key, team, "user", model, provider, tags)
) WITH (fillfactor = 80);
INSERT INTO meta VALUES ('folded', 0);
"""  # noqa: S608 - made of names in this file

# The statements know the folds by their table; here is what they would have added until now.
MORE_FOLDS_DDL = f"""
INSERT INTO folds VALUES ('account', 24, true, false, false, false, false, false, false),
    ('tag_hour', 1, true, false, false, false, true, true, true);
{adding("rollups r", "f.name IN ('account', 'tag_hour') AND r.hour < (SELECT value FROM meta WHERE name = 'folded')")};
"""  # noqa: S608 - made of names in this file


async def fold(connection: asyncpg.Connection, before_hour: int) -> bool:
    """Fold the next hour that there is anything of, if it is before that one; False: there is none, or batches
    are being written all the time.

    Raises:
        one of the failures of the database.
    """
    row = await connection.fetchrow(_NEXT)
    if row is None or row["hour"] is None or row["hour"] >= before_hour:
        return False
    try:
        async with connection.transaction(isolation="read_committed"):
            await connection.execute(f"SET LOCAL lock_timeout = {LOCK_MS}")
            await connection.execute("LOCK TABLE rollups IN SHARE ROW EXCLUSIVE MODE")
            row = await connection.fetchrow(_NEXT)  # another node may have been faster
            hour = None if row is None else row["hour"]
            if hour is None or hour >= before_hour:
                return False
            await connection.execute(_FOLD, hour)
            await connection.execute(_MOVE, hour + 1)
    except asyncpg.LockNotAvailableError:
        return False
    return True
