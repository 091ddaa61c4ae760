"""Vouchers: making, listing, withdrawing and redeeming them.

A voucher is claimed by one conditional write, which one of any number of redemptions at the same time
wins; then its credit is booked under its own reference. A claim whose booking was cut off by a crash
or a failing disk is booked by :meth:`Vouchers.sweep`.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from llm_router.billing.vouchers import Voucher, code_digest, refusal
from llm_router.domain.errors import InvalidRequest, NotFound, RateLimitExceeded, RouterError
from llm_router.domain.money import MAX_PUSD, format_usd
from llm_router.engine.moments import iso_time
from llm_router.ports import Clock, Document, TreasuryBooks

KIND = "voucher"

GUESSES = "voucher_guesses"
GUESSES_MAX = 10
GUESS_WINDOW_MS = 10 * 60_000

WRITE_TRIES = 20
"""Others may count a wrong code of the same account at the same moment."""

_decoder = msgspec.json.Decoder(Voucher)
_times = msgspec.json.Decoder(list[int])


class Redeemed(msgspec.Struct, frozen=True, kw_only=True):
    voucher: Voucher
    available_pusd: int


class Vouchers:
    """``new_code`` makes the text of codes, ``new_id`` public handles."""

    def __init__(
        self,
        *,
        books: TreasuryBooks,
        clock: Clock,
        new_code: Callable[[], str],
        new_id: Callable[[str], str],
    ) -> None:
        self._books = books
        self._clock = clock
        self._new_code = new_code
        self._new_id = new_id

    async def create(
        self, amount_pusd: int, count: int, *, note: str, expires_ms: int | None
    ) -> list[tuple[str, Voucher]]:
        """Make vouchers; the only time that their codes are known."""
        made = []
        for _ in range(count):
            code, now_ms = self._new_code(), self._clock.now_ms()
            voucher = Voucher(
                id=self._new_id("vou"),
                amount_pusd=amount_pusd,
                created_ms=now_ms,
                note=note,
                expires_ms=expires_ms,
            )
            digest = code_digest(code)
            assert digest is not None, "a code of ours"
            document = Document(
                kind=KIND,
                id=digest,
                account="",
                version=1,
                open=False,
                created_ms=now_ms,
                body=msgspec.json.encode(voucher),
            )
            if not await self._books.put_document(document):
                raise AssertionError("two codes are the same")
            made.append((code, voucher))
        return made

    async def all(self) -> list[tuple[Document, Voucher]]:
        """Every voucher, the oldest first."""
        found: list[tuple[Document, Voucher]] = []
        after = ""
        while page := await self._books.documents(KIND, after=after):
            found += ((document, _decoder.decode(document.body)) for document in page)
            after = page[-1].id
        return sorted(found, key=lambda pair: (pair[1].created_ms, pair[1].id))

    async def revoke(self, voucher_id: str) -> Voucher:
        """Refuse a voucher from now on.

        Raises:
            NotFound: there is none of that id.
            InvalidRequest: it was redeemed already.
        """
        for document, voucher in await self.all():
            if voucher.id == voucher_id:
                return await self._revoke(document, voucher)
        raise NotFound(
            f"there is no voucher with the id '{voucher_id[:100]}'; llm-router vouchers list shows them"
        )

    async def _revoke(self, document: Document, voucher: Voucher) -> Voucher:
        if voucher.redeemed_ms is None and voucher.revoked_ms is None:
            voucher = msgspec.structs.replace(voucher, revoked_ms=self._clock.now_ms())
            if await self._books.put_document(_next(document, voucher, open_=False)):
                return voucher
            present = await self._books.document(KIND, document.id)  # somebody else was first
            assert present is not None, "vouchers stay"
            voucher = _decoder.decode(present.body)
        if voucher.redeemed_ms is None:
            return voucher
        raise InvalidRequest(f"the voucher {voucher.id} was redeemed already", param="id")

    async def redeem(self, account: str, code: str) -> Redeemed:
        """Book a voucher's credit to an account.

        Raises:
            RateLimitExceeded: the account has tried too many wrong codes.
            NotFound, InvalidRequest: there is no such voucher, or it cannot be redeemed.
            LedgerUnavailable: it is booked when the store writes again, if it was claimed.
        """
        await self._check_guesses(account)
        digest = code_digest(code)
        document = None if digest is None else await self._books.document(KIND, digest)
        if document is None:
            await self._guessed(account)
            raise NotFound(
                "There is no voucher with this code. Check it for mistakes.",
                param="code",
                code="voucher_not_found",
            )
        voucher, now_ms = _decoder.decode(document.body), self._clock.now_ms()
        why = refusal(voucher, now_ms)
        if why is not None:
            raise _refused(why)
        await self._check_room(account, voucher.amount_pusd)
        voucher = msgspec.structs.replace(voucher, redeemed_ms=now_ms)
        claim = msgspec.structs.replace(_next(document, voucher, open_=True), account=account)
        if not await self._books.put_document(claim):
            raise _refused("This voucher was redeemed before. Each can be redeemed once.")
        return Redeemed(voucher=voucher, available_pusd=await self._book(claim, voucher))

    async def sweep(self) -> None:
        """Book what was claimed and not booked; forget the wrong codes that count no more."""
        for document in await self._books.documents(KIND, open_only=True):
            try:
                await self._book(document, _decoder.decode(document.body))
            except InvalidRequest:
                continue  # the account is full: it stays claimed until there is room
        await self._forget_guesses()

    async def _book(self, claim: Document, voucher: Voucher) -> int:
        redeemed_ms = voucher.redeemed_ms
        assert redeemed_ms is not None, "it is claimed"
        available_pusd = await self._books.credit(
            claim.account, voucher.amount_pusd, voucher.ref, f"voucher {voucher.id}", redeemed_ms
        )
        await self._books.put_document(_next(claim, voucher, open_=False))
        return available_pusd

    async def _check_room(self, account: str, amount_pusd: int) -> None:
        standing = await self._books.standing(account)
        if standing.posted_pusd + amount_pusd > MAX_PUSD:
            raise _refused(
                f"The account would hold more than ${format_usd(MAX_PUSD)}, the most that one may."
            )

    async def _check_guesses(self, account: str) -> None:
        now_ms = self._clock.now_ms()
        self._refuse_more(_recent(await self._books.document(GUESSES, account), now_ms), now_ms)

    def _refuse_more(self, recent: list[int], now_ms: int) -> None:
        if len(recent) >= GUESSES_MAX:
            raise RateLimitExceeded(
                f"{GUESSES_MAX} wrong voucher codes were tried within {GUESS_WINDOW_MS // 60_000} minutes. "
                "Check the code, and try again later.",
                retry_after_s=(recent[0] + GUESS_WINDOW_MS - now_ms) / 1000,
            )

    async def _guessed(self, account: str) -> None:
        """Count a wrong code, for all processes that share the books.

        Raises:
            RateLimitExceeded: others of the same moment were the last that are answered, or so many are tried
                that this one cannot be counted.
        """
        for _ in range(WRITE_TRIES):
            known, now_ms = await self._books.document(GUESSES, account), self._clock.now_ms()
            recent = _recent(known, now_ms)
            self._refuse_more(recent, now_ms)
            document = Document(
                kind=GUESSES,
                id=account,
                account=account,
                version=1 if known is None else known.version + 1,
                open=True,
                created_ms=now_ms,
                body=msgspec.json.encode([*recent, now_ms]),
            )
            if await self._books.put_document(document):
                return
        raise RateLimitExceeded("Too many wrong voucher codes are tried at once.", retry_after_s=1)

    async def _forget_guesses(self) -> None:
        now_ms = self._clock.now_ms()
        for document in await self._books.documents(GUESSES, open_only=True):
            if not _recent(document, now_ms):
                await self._books.remove_document(GUESSES, document.id)


def _recent(document: Document | None, now_ms: int) -> list[int]:
    """When wrong codes were tried, of those that still count."""
    times = [] if document is None else _times.decode(document.body)
    return [t for t in times if abs(now_ms - t) < GUESS_WINDOW_MS]


def describe(document: Document, voucher: Voucher, now_ms: int) -> dict[str, object]:
    """A voucher as operators see it: everything but its code, which nobody knows."""
    status = "open"
    if voucher.redeemed_ms is not None:
        status = "redeemed"
    elif voucher.revoked_ms is not None:
        status = "withdrawn"
    elif refusal(voucher, now_ms) is not None:
        status = "expired"
    return {
        "id": voucher.id,
        "amount": msgspec.Raw(format_usd(voucher.amount_pusd).encode()),
        "status": status,
        "note": voucher.note,
        "created": iso_time(voucher.created_ms),
        "expires": None if voucher.expires_ms is None else iso_time(voucher.expires_ms),
        "redeemed": None if voucher.redeemed_ms is None else iso_time(voucher.redeemed_ms),
        "account": document.account or None,
    }


def _next(document: Document, voucher: Voucher, *, open_: bool) -> Document:
    return msgspec.structs.replace(
        document, version=document.version + 1, open=open_, body=msgspec.json.encode(voucher)
    )


def _refused(why: str) -> RouterError:
    return InvalidRequest(why, param="code", code="voucher_refused")
