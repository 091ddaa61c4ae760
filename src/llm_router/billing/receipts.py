"""Receipts: what each line of an account's books says to the account, chained, to be signed.

A receipt follows from an entry of the ledger, the record of its exchange and the receipt before it, and
from nothing else. So the chain of an account is fixed when the ledger books, though receipts are made
when somebody first asks: whoever makes them, and whenever, comes to the same bytes.
"""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

from llm_router.billing.ledger import Entry
from llm_router.domain.money import format_usd
from llm_router.domain.record import ExchangeRecord

VERSION = 1
GENESIS = "0" * 64
"""What the first receipt of an account is chained to."""


class Link(msgspec.Struct, frozen=True, kw_only=True):
    """The last receipt of an account, as the next one continues it.

    Attributes:
        ref: of its entry; None before the first.
        digest: SHA-256 of its text, in hex.
        balance_pusd: the sum of all entries up to it.
    """

    number: int = 0
    ref: str | None = None
    digest: str = GENESIS
    balance_pusd: int = 0


def receipt_text(link: Link, entry: Entry, entry_hash: bytes, record: ExchangeRecord | None) -> str:
    """The text of the receipt that follows ``link``: compact JSON, which is what is hashed and signed.

    Amounts are decimal US dollars as text, exact to the picodollar; times Unix milliseconds.
    """
    members: dict[str, Any] = {
        "v": VERSION,
        "account": entry.account,
        "number": link.number + 1,
        "previous": link.digest,
        "kind": entry.kind,
        "ref": entry.ref,
        "created_ms": entry.created_ms,
        "amount": format_usd(entry.amount_pusd),
        "balance": format_usd(link.balance_pusd + entry.amount_pusd),
        "entry": entry_hash.hex(),
    }
    if record is None:
        members["note"] = entry.note
    else:
        members["exchange"] = _exchange(record)
    return msgspec.json.encode(members).decode()


def _exchange(record: ExchangeRecord) -> dict[str, Any]:
    usage = msgspec.to_builtins(record.usage)
    usage.setdefault("provenance", record.usage.provenance.value)
    return {
        "id": record.id,
        "reply_id": record.reply_id,
        "key": record.key,
        "operation": record.operation,
        "model": record.model,
        "provider": record.provider,
        "price_version": record.price_version,
        "usage": usage,
        "lines": [
            {
                "bucket": line.bucket,
                "quantity": line.quantity,
                "rate": format_usd(line.rate_pusd),
                "amount": format_usd(line.amount_pusd),
            }
            for line in record.cost
        ],
        "absorbed": format_usd(record.absorbed_pusd),
    }


def digest_of(text: str) -> str:
    """What the next receipt is chained to."""
    return hashlib.sha256(text.encode()).hexdigest()
