"""Auto top-up: a saved card is charged when the balance falls below a threshold, at most so often.

Before each charge is written down that it is tried, so that a crash can only make it rarer. A card that
is declined ends it, and so do several tries that Stripe did not answer or knows no such customer for: a notice
says so.
"""

from __future__ import annotations

import msgspec

from llm_router.billing.payments import PUSD_PER_CENT
from llm_router.domain.errors import InvalidRequest, NotFound, PaymentDeclined, PaymentUnavailable
from llm_router.domain.money import format_usd
from llm_router.engine.notices import Notices
from llm_router.engine.payments import Payments
from llm_router.ports import Clock, Document, TreasuryBooks

KIND = "auto_topup"
FAILURES_MAX = 3


class AutoTopup(msgspec.Struct, frozen=True, kw_only=True):
    """What an account wants.

    Attributes:
        threshold_pusd: a balance below it is topped up; cents: by so much.
        every_ms: between two charges at least.
        tried_ms: the last one.
        failures: charges in a row that nobody answered.
        disabled: why nothing is charged any more; None while it is on.
    """

    threshold_pusd: int
    cents: int
    every_ms: int
    tried_ms: int | None = None
    failures: int = 0
    disabled: str | None = None


_decoder = msgspec.json.Decoder(AutoTopup)


class AutoTopups:
    def __init__(self, *, books: TreasuryBooks, clock: Clock, payments: Payments, notices: Notices) -> None:
        self._books = books
        self._clock = clock
        self._payments = payments
        self._notices = notices

    async def set(self, account: str, wish: AutoTopup) -> AutoTopup:
        """Take up what an account wants, in place of what it wanted before.

        Raises:
            InvalidRequest: the amount is out of the limits, or no card was saved.
        """
        rules = self._payments.rules
        if not rules.cents_min <= wish.cents <= rules.cents_max:
            low, high = (format_usd(c * PUSD_PER_CENT) for c in (rules.cents_min, rules.cents_max))
            raise InvalidRequest(f"amount must be from ${low} to ${high}", param="amount")
        if await self._payments.card(account) is None:
            raise InvalidRequest(
                f"the account '{account}' has no saved card: it is saved by paying once at a checkout that was "
                'made with "save_card": true',
                code="no_saved_card",
            )
        document, old = await self._found(account)
        if old is not None:  # changing it is no way around the pause
            wish = msgspec.structs.replace(wish, tried_ms=old.tried_ms)
        await self._write(account, document, wish)
        return wish

    async def stop(self, account: str, why: str) -> AutoTopup | None:
        """Charge nothing any more; None if nothing was to be."""
        document, held = await self._found(account)
        if held is None:
            return None
        held = msgspec.structs.replace(held, disabled=why)
        await self._write(account, document, held)
        return held

    async def get(self, account: str) -> AutoTopup | None:
        return (await self._found(account))[1]

    async def work(self) -> None:
        """Charge where it is due."""
        after = ""
        while page := await self._books.documents(KIND, open_only=True, after=after):
            for document in page:
                await self._look(document, _decoder.decode(document.body))
            after = page[-1].id

    async def _look(self, document: Document, held: AutoTopup) -> None:
        account, now_ms = document.account, self._clock.now_ms()
        if await self._books.balance(account) >= held.threshold_pusd:
            return
        if held.tried_ms is not None and abs(now_ms - held.tried_ms) < held.every_ms:
            return
        card = await self._payments.card(account)
        held = msgspec.structs.replace(held, tried_ms=now_ms)
        if not await self._write(account, document, held):
            return  # somebody else does it
        try:
            if card is None:
                raise PaymentDeclined("No card is saved.")
            await self._payments.charge_card(account, held.cents, card)
        except (PaymentDeclined, InvalidRequest) as error:
            await self._fail(account, error.message)
        except (PaymentUnavailable, NotFound) as error:  # the card's customer may be unknown there, too
            await self._failed_once(account, error.message)
        else:
            if held.failures:
                await self._count(account, 0)

    async def _failed_once(self, account: str, why: str) -> None:
        _, held = await self._found(account)
        failures = 1 if held is None else held.failures + 1
        if failures >= FAILURES_MAX:
            await self._fail(account, why)
        else:
            await self._count(account, failures)

    async def _count(self, account: str, failures: int) -> None:
        document, held = await self._found(account)
        if held is not None:
            await self._write(account, document, msgspec.structs.replace(held, failures=failures))

    async def _fail(self, account: str, why: str) -> None:
        await self.stop(account, why)
        await self._notices.tell(
            "auto_topup.disabled",
            account,
            f"Auto top-up of the account {account} is off",
            f"The account {account} could not be topped up, and will not be any more: {why}\n\n"
            "Set it again with llm-router credits auto.",
            {"reason": why},
        )

    async def _found(self, account: str) -> tuple[Document | None, AutoTopup | None]:
        document = await self._books.document(KIND, account)
        return document, None if document is None else _decoder.decode(document.body)

    async def _write(self, account: str, known: Document | None, held: AutoTopup) -> bool:
        document = Document(
            kind=KIND,
            id=account,
            account=account,
            version=1 if known is None else known.version + 1,
            open=held.disabled is None,
            created_ms=self._clock.now_ms(),
            body=msgspec.json.encode(held),
        )
        return await self._books.put_document(document)
