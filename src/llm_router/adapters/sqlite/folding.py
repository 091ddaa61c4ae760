"""Sums of the sums (billing/folds.py) in the SQLite store: the tables, and the one statement that folds an hour.

Folded are the hours before ``meta.folded``. A fold moves that number, and a trigger adds the hours that it passed,
so that both happen or neither; what is settled later of such an hour is added by triggers too, in the transaction
that settles it. Nothing on the way of a request knows of folds.
"""

from __future__ import annotations

FOLD = """
UPDATE meta SET value = (SELECT min(hour) + 1 FROM rollups WHERE hour >= meta.value)
WHERE name = 'folded' AND (SELECT min(hour) FROM rollups WHERE hour >= meta.value) < ?
"""
"""Fold the next hour that there is anything of, if it is before that one; changes one row or none."""

FOLDED_TO = "SELECT value FROM meta WHERE name = 'folded'"

# What follows is part of the schema: as it stands it is in every file, and a change needs a new version.
_COUNTS = (
    "requests", "errors", "input_tokens", "cached_tokens", "output_tokens", "cost", "absorbed", "operator_cost",
    "first_token_ms", "first_tokens", "duration_ms",
)  # fmt: skip
_PLACE = ("account", "key", "team", "user", "model", "provider", "tags")

_COLUMNS = "".join(f"    {name} TEXT NOT NULL,\n" for name in _PLACE) + "".join(
    f"    {name} INTEGER NOT NULL,\n" for name in _COUNTS
)
_LIST = ", ".join(_COUNTS)


def _add(row: str, counts: str, source: str) -> str:
    """Add rows of the hourly sums to every fold."""
    place = ", ".join(f"iif(f.{name}, {row}.{name}, '')" for name in _PLACE)
    sums = ",\n        ".join(
        f"{name} = min(9000000000000000000, {name} + excluded.{name})" for name in _COUNTS
    )
    return f"""    INSERT INTO sums SELECT f.name, {row}.hour - {row}.hour % f.hours, {place},
        {counts}
    FROM {source} ON CONFLICT DO UPDATE SET
        {sums};
"""  # noqa: S608 - names of this file


_ALL = ", ".join(f"r.{name}" for name in _COUNTS)
_NEW = ", ".join(f"new.{name}" for name in _COUNTS)
_MORE = ", ".join(f"new.{name} - old.{name}" for name in _COUNTS)

FOLDS_DDL = f"""
CREATE TABLE tagged (
    hour INTEGER NOT NULL,
{_COLUMNS}    PRIMARY KEY (hour, account, key, team, user, model, provider, tags)
) STRICT, WITHOUT ROWID;
INSERT INTO tagged SELECT hour, account, key, team, user, model, provider, '', {_LIST}
    FROM rollups ORDER BY hour, account, key, team, user, model, provider;
DROP TABLE rollups;
ALTER TABLE tagged RENAME TO rollups;
CREATE INDEX rollups_account ON rollups (account, hour);

CREATE TABLE folds (
    name TEXT PRIMARY KEY,
    hours INTEGER NOT NULL, -- of a row
    account INTEGER NOT NULL, -- whether rows are by account, and so on
    key INTEGER NOT NULL,
    team INTEGER NOT NULL,
    user INTEGER NOT NULL,
    model INTEGER NOT NULL,
    provider INTEGER NOT NULL,
    tags INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO folds VALUES ('model', 24, 1, 0, 0, 0, 1, 1, 0), ('total', 1, 0, 0, 0, 0, 1, 1, 0),
    ('model_hour', 1, 1, 0, 0, 0, 1, 1, 0), ('tag', 24, 1, 0, 0, 0, 1, 1, 1),
    ('key', 24, 1, 1, 1, 0, 1, 1, 0), ('day', 24, 1, 1, 1, 1, 1, 1, 1);

CREATE TABLE sums (
    fold TEXT NOT NULL,
    hour INTEGER NOT NULL, -- the first of those that it stands for
{_COLUMNS}    PRIMARY KEY (fold, hour, account, key, team, user, model, provider, tags)
) STRICT, WITHOUT ROWID;
INSERT INTO meta VALUES ('folded', 0);
CREATE TRIGGER fold_hours AFTER UPDATE OF value ON meta WHEN new.name = 'folded' BEGIN
{_add("r", _ALL, "rollups r, folds f WHERE r.hour >= old.value AND r.hour < new.value")}END;
CREATE TRIGGER fold_late AFTER INSERT ON rollups
WHEN new.hour < (SELECT value FROM meta WHERE name = 'folded') BEGIN
{_add("new", _NEW, "folds f WHERE true")}END;
CREATE TRIGGER fold_later AFTER UPDATE ON rollups
WHEN new.hour < (SELECT value FROM meta WHERE name = 'folded') BEGIN
{_add("new", _MORE, "folds f WHERE true")}END;
"""  # noqa: S608 - made of names in this file

# The triggers know the folds by their table; here is what they would have added until now.
MORE_FOLDS_DDL = f"""
INSERT INTO folds VALUES ('account', 24, 1, 0, 0, 0, 0, 0, 0), ('tag_hour', 1, 1, 0, 0, 0, 1, 1, 1);
{
    _add(
        "r",
        _ALL,
        "rollups r CROSS JOIN folds f WHERE f.name IN ('account', 'tag_hour') "
        "AND r.hour < (SELECT value FROM meta WHERE name = 'folded')",
    )
}"""  # noqa: S608 - made of names in this file
