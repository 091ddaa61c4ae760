"""Exchanges whose process died before it could settle them."""

from __future__ import annotations

import msgspec


class Orphan(msgspec.Struct, frozen=True, kw_only=True):
    """A hold that was voided because nobody was left to resolve it. Its provider may have been called, and
    may bill for it: nothing was charged.

    Attributes:
        price_version: of the dearest deployment that could have answered; it begins with its name.
        epoch: which opening of the store its process belonged to; in a database: its node.
    """

    exchange_id: str
    account: str
    amount_pusd: int
    price_version: str
    epoch: int
    created_ms: int
    voided_ms: int
