"""What a node asks its writer to make durable."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec

from llm_router.billing.ledger import Wanted
from llm_router.domain.budget import Payer
from llm_router.domain.record import ExchangeRecord


class Op(msgspec.Struct, kw_only=True, eq=False):
    """One move. ``future`` gets ``result`` when it is durable, else ``error``.

    Attributes:
        until_s: event-loop time until which it is tried again when the database fails.
        tried: it was sent before, and may have been committed without an answer.
    """

    future: asyncio.Future[Any]
    until_s: float
    tried: bool = False
    result: Any = None
    error: Exception | None = None


class HoldOp(Op, kw_only=True, eq=False):
    """Holds of one payer, all of them or none. Its result is what the account then has available."""

    wanted: Sequence[Wanted]
    payer: Payer
    now_ms: int


class SettleOp(Op, kw_only=True, eq=False):
    """Its result is a :class:`llm_router.ports.Settled`."""

    record: ExchangeRecord


class ReleaseOp(Op, kw_only=True, eq=False):
    """Void a hold without a record, if it is there. Its result is how many there were: 0 or 1.

    Attributes:
        orphaned_ms: when its process was found dead: then it stays listed. None: no trace of it stays.
    """

    exchange_id: str
    orphaned_ms: int | None = None


class CreditOp(Op, kw_only=True, eq=False):
    """Its result is what the account then has available."""

    account: str
    amount_pusd: int
    ref: str
    reason: str
    now_ms: int


class OweOp(Op, kw_only=True, eq=False):
    """Refuse holds of an account, on all nodes, as long as it owes more than 0."""

    account: str
    owed_pusd: int


class PublishOp(Op, kw_only=True, eq=False):
    """Keep a price under its version, unless it is kept."""

    version: str
    body: str
    now_ms: int


class Fenced(Exception):
    """The node's time is over: another one has closed it and voided its holds."""
