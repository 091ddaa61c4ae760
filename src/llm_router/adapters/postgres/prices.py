"""The prices that something was charged by, and the rules by which the operator sells."""

from __future__ import annotations

import asyncpg
import msgspec

from llm_router.domain.price_rule import PriceRule

_ADD_RULE = "INSERT INTO price_rules VALUES ($1, $2, $3)"

_rules = msgspec.json.Decoder(PriceRule)


async def read_prices(connection: asyncpg.Connection) -> list[tuple[str, str]]:
    """(version, JSON) of all published prices."""
    return [
        (version, body)
        for version, body in await connection.fetch("SELECT version, body FROM price_versions")
    ]


async def read_rules(connection: asyncpg.Connection) -> list[PriceRule]:
    """The published rules in their order."""
    rows = await connection.fetch("SELECT body FROM price_rules ORDER BY number")
    return [_rules.decode(body) for (body,) in rows]


async def last_rule(connection: asyncpg.Connection) -> int:
    """The number of the newest rule; 0 if there is none."""
    return int(await connection.fetchval("SELECT coalesce(max(number), 0) FROM price_rules"))


async def add_rule(connection: asyncpg.Connection, rule: PriceRule) -> None:
    """
    Raises:
        ValueError: another node published a rule of that number or id.
    """
    try:
        await connection.execute(_ADD_RULE, rule.number, rule.id, msgspec.json.encode(rule).decode())
    except asyncpg.UniqueViolationError as error:
        raise ValueError(f"the price rule {rule.number} was published already; try again") from error
