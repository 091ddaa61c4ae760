"""The statements that write a batch. Values go by columns: one array for each, whatever the number of rows."""

from __future__ import annotations

from typing import Any

from llm_router.adapters.postgres.folding import adding
from llm_router.billing.rollups import COUNTS, SUM_MAX

_KEY = ("hour", "account", "key", "team", '"user"', "model", "provider", "tags")

COUNT_COLUMNS = len(_KEY) + len(COUNTS)


def _arrays(first: int, types: tuple[str, ...]) -> str:
    """``$1::text[], $2::bigint[]`` and so on, from the parameter ``first`` on."""
    return ", ".join(f"${first + n}::{type_}[]" for n, type_ in enumerate(types))


_HOLD_TYPES = ("text", "text", "bigint", "text", "text", "text", "bigint")
_EXCHANGE_TYPES = ("text",) * 4 + ("bigint", "text", "integer", "bigint", "bigint", "text")
_ENTRY_TYPES = ("bigint", "text", "text", "bigint", "text", "bigint", "text", "bytea")
_ROLLUP_TYPES = ("bigint",) + ("text",) * 7 + ("bigint",) * len(COUNTS)
_SUMS = ", ".join(
    f"{name} = least({SUM_MAX}, r.{name}::numeric + excluded.{name})::bigint" for name in COUNTS
)

_LATE = adding(
    f"unnest({_arrays(33, _ROLLUP_TYPES)}) r({', '.join((*_KEY, *COUNTS))})",
    "r.hour < (SELECT value FROM meta WHERE name = 'folded')",
)

# Every part runs, whether another one reads it or not, and all of them or none.
WRITE = f"""
WITH held AS (
    INSERT INTO holds (exchange_id, account, amount, payer, shares, price_version, created_ms, node)
    SELECT *, $1::bigint FROM unnest({_arrays(5, _HOLD_TYPES)})
), resolved AS (
    DELETE FROM holds WHERE exchange_id = ANY($4::text[])
), written AS (
    INSERT INTO exchanges SELECT * FROM unnest({_arrays(12, _EXCHANGE_TYPES)})
), entered AS (
    INSERT INTO entries (node, number, ref, account, amount, kind, created_ms, note, hash)
    SELECT $1::bigint, * FROM unnest({_arrays(22, _ENTRY_TYPES)})
), moved AS (
    UPDATE accounts a SET posted = m.posted, held = m.held
    FROM unnest($30::text[], $31::bigint[], $32::bigint[]) m(id, posted, held) WHERE a.id = m.id
), summed AS (
    INSERT INTO rollups AS r ({", ".join((*_KEY, *COUNTS))})
    SELECT * FROM unnest({_arrays(33, _ROLLUP_TYPES)})
    ON CONFLICT (hour, account, key, team, "user", model, provider, tags) DO UPDATE SET {_SUMS}
), late AS (
    {_LATE}
)
UPDATE nodes SET number = $2, head = $3 WHERE id = $1
"""  # noqa: S608 - made of names in this file

WRITE_SPENDS = f"""
INSERT INTO spends AS s (budget, session, bucket, spent, held, opened, seen_ms)
SELECT * FROM unnest({_arrays(1, ("text", "text") + ("bigint",) * 5)})
ON CONFLICT (budget, session, bucket) DO UPDATE SET spent = excluded.spent, held = excluded.held,
    opened = excluded.opened, seen_ms = greatest(s.seen_ms, excluded.seen_ms)
"""  # noqa: S608

FORGET_SPENDS = """
DELETE FROM spends s USING unnest($1::text[], $2::text[], $3::bigint[]) g(budget, session, bucket)
WHERE s.budget = g.budget AND s.session = g.session AND s.bucket = g.bucket
"""


def columns(rows: list[tuple[Any, ...]], width: int) -> list[list[Any]]:
    """The rows, column by column; of no rows so many empty columns."""
    if not rows:
        return [[] for _ in range(width)]
    return [list(column) for column in zip(*rows, strict=True)]
