"""Orders as they are stored and shown, and who is blocked for what they owe."""

from __future__ import annotations

import msgspec

from llm_router.billing.payments import CURRENCY, PUSD_PER_CENT, Order
from llm_router.domain.money import format_usd
from llm_router.engine.moments import iso_time
from llm_router.ports import Document, TreasuryBooks

KIND = "order"

ORDERS = msgspec.json.Decoder(Order)


async def block_debtors(books: TreasuryBooks) -> None:
    """Block every account that owes: debts stay when payments are switched off."""
    accounts: set[str] = set()
    after = ""
    while page := await books.documents(KIND, open_only=True, after=after):
        accounts |= {document.account for document in page}
        after = page[-1].id
    for account in sorted(accounts):
        await block(books, account)


async def block(books: TreasuryBooks, account: str) -> None:
    """Block an account as long as any order of it owes: by the store, since other processes of the
    gateway book too."""
    books.owe(account, await owed_pusd(books, account))


async def owed_pusd(books: TreasuryBooks, account: str) -> int:
    """What was taken back of an account's payments and is not paid yet."""
    total, after = 0, ""
    while page := await books.documents(KIND, account=account, open_only=True, after=after):
        total += sum(ORDERS.decode(document.body).owed_pusd for document in page)
        after = page[-1].id
    return total


async def all_orders(books: TreasuryBooks, account: str | None = None) -> list[Order]:
    """The orders of one account or of all, the oldest first."""
    found: list[Order] = []
    after = ""
    while page := await books.documents(KIND, account=account, after=after):
        found += (ORDERS.decode(document.body) for document in page)
        after = page[-1].id
    return sorted(found, key=lambda order: (order.created_ms, order.id))


def describe(order: Order) -> dict[str, object]:
    """An order as its account sees it."""
    return {
        "id": order.id,
        "object": "credit.order",
        "account": order.account,
        "via": order.via,
        "status": order.status,
        "amount": msgspec.Raw(format_usd(order.amount_cents * PUSD_PER_CENT).encode()),
        "currency": CURRENCY,
        "booked": msgspec.Raw(format_usd(order.booked_pusd).encode()),
        "owed": msgspec.Raw(format_usd(order.owed_pusd).encode()),
        "refused": order.refused,
        "payment": order.payment,
        "session": order.session,
        "livemode": order.livemode,
        "created": iso_time(order.created_ms),
    }


def document_of(order: Order, version: int) -> Document:
    unfinished = order.pending is not None or order.net_pusd != order.booked_pusd
    return Document(
        kind=KIND,
        id=order.id,
        account=order.account,
        version=version,
        open=unfinished,
        created_ms=order.created_ms,
        body=msgspec.json.encode(order),
    )
