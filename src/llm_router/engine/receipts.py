"""Receipts of an account: made when first asked for, in the order of its books, and signed.

Nothing of this is on the way of a request: what a receipt says is fixed by the ledger's entry and the
record beside it (:mod:`llm_router.billing.receipts`). A reader makes all receipts up to the one that it
asks for and keeps them; two that do so at once come to the same, and one of them is kept.
"""

from __future__ import annotations

from typing import Protocol

import msgspec

from llm_router.billing.receipts import Link, digest_of, receipt_text
from llm_router.domain.errors import NotFound, Overloaded
from llm_router.domain.money import parse_usd
from llm_router.ports import Booked, Paper, PaperBooks

BATCH = 500
"""Receipts that are made in one step."""

ROUNDS_MAX = 40
"""Steps that one reader waits for; what is missing then is made for the next one."""


class ReceiptSigner(Protocol):
    """Signs texts, and tells the keys that verify them."""

    def sign(self, text: str) -> str:
        """The compact JWS (RFC 7515) of a text."""
        ...

    def public(self) -> list[dict[str, str]]:
        """The public keys as JWKs (RFC 8037), the one that signs first."""
        ...

    def rotate(self) -> str:
        """Sign with a new key from now on; its id."""
        ...


class Receipts:
    def __init__(self, *, books: PaperBooks, signer: ReceiptSigner) -> None:
        self._books = books
        self.signer = signer

    async def of_exchange(self, account: str, id_: str) -> dict[str, object]:
        """The receipt of a charged exchange of the account.

        Raises:
            NotFound: nothing was charged for it.
            Overloaded: so many are to be made first that this takes a while.
        """
        ref = f"use:{id_}"
        paper = await self._books.paper(_series(account), ref)
        if paper is None:
            await self._catch_up(account, ref)
            paper = await self._books.paper(_series(account), ref)
        if paper is None:
            raise NotFound("There is no receipt: this generation cost nothing.", code="no_receipt")
        return self._signed(paper)

    async def page(self, account: str, after: int, limit: int) -> dict[str, object]:
        """Receipts of an account by number, behind ``after``; all that was booked up to now has one."""
        papers = await self._books.papers(_series(account), after, limit + 1)
        if len(papers) <= limit:
            await self._catch_up(account)
            papers = await self._books.papers(_series(account), after, limit + 1)
        shown = papers[:limit]
        return {
            "object": "list",
            "data": [self._signed(paper) for paper in shown],
            "last_number": shown[-1].number if shown else None,
            "has_more": len(papers) > limit,
        }

    def keys(self) -> dict[str, object]:
        """The JWK set that verifies receipts."""
        return {"keys": self.signer.public()}

    async def _catch_up(self, account: str, wanted: str | None = None) -> None:
        """Make the receipts of all that is booked and has none, at least up to the entry ``wanted``.

        Raises:
            Overloaded: after ROUNDS_MAX steps there are more to make; those made are kept.
        """
        for _ in range(ROUNDS_MAX):
            link = _link(await self._books.last_paper(_series(account)))
            booked = await self._books.booked(account, link.ref, BATCH)
            if booked:
                await self._books.add_papers(_papers(account, link, booked))
            if len(booked) < BATCH or any(line.entry.ref == wanted for line in booked):
                return
        raise Overloaded(
            f"The first {link.number + BATCH} receipts of this account are made, and there are more to make. "
            "Ask again.",
            retry_after_s=1.0,
        )

    def _signed(self, paper: Paper) -> dict[str, object]:
        return {
            "object": "receipt",
            "id": paper.id,
            "receipt": msgspec.Raw(paper.body.encode()),
            "jws": self.signer.sign(paper.body),
        }


def _series(account: str) -> str:
    return f"receipts/{account}"


def _link(paper: Paper | None) -> Link:
    if paper is None:
        return Link()
    balance = msgspec.json.decode(paper.body)["balance"]
    return Link(
        number=paper.number, ref=paper.id, digest=digest_of(paper.body), balance_pusd=parse_usd(balance)
    )


def _papers(account: str, link: Link, booked: list[Booked]) -> list[Paper]:
    papers = []
    for line in booked:
        entry = line.entry
        text = receipt_text(link, entry, line.hash, line.record)
        link = Link(
            number=link.number + 1,
            ref=entry.ref,
            digest=digest_of(text),
            balance_pusd=link.balance_pusd + entry.amount_pusd,
        )
        papers.append(
            Paper(
                series=_series(account),
                number=link.number,
                id=entry.ref,
                account=account,
                created_ms=entry.created_ms,
                body=text,
            )
        )
    return papers
