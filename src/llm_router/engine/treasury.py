"""Money in and out of accounts: what the endpoints and the operator's commands work with, and the one
task that looks after what is not finished."""

from __future__ import annotations

import asyncio
import sys
import traceback
from collections.abc import Awaitable, Callable, Mapping, Sequence

import msgspec

from llm_router.billing.ledger import Entry
from llm_router.domain.errors import RouterError
from llm_router.domain.money import format_usd
from llm_router.engine.alert_targets import AlertTargets
from llm_router.engine.auto_topup import AutoTopups
from llm_router.engine.moments import iso_time
from llm_router.engine.notices import Notices, Told
from llm_router.engine.orders import block_debtors, owed_pusd
from llm_router.engine.own_keys import OwnKeyVault
from llm_router.engine.payments import Payments
from llm_router.engine.replays import Shelf
from llm_router.engine.vouchers import Vouchers
from llm_router.ports import Clock, NoticeChannel, TreasuryBooks

ROUND_S = 5.0
"""Pause between two rounds of the background work."""

Chore = Callable[[], Awaitable[None]]


class Treasury:
    """``payments`` is None where no provider of payments is configured, ``own_keys`` where
    accounts may have no provider keys of their own. ``channels``, ``low_pusd``, ``targets`` and ``told`` as
    :class:`~llm_router.engine.notices.Notices` takes them."""

    def __init__(
        self,
        *,
        books: TreasuryBooks,
        clock: Clock,
        new_code: Callable[[], str],
        new_id: Callable[[str], str],
        payments: Payments | None = None,
        own_keys: OwnKeyVault | None = None,
        channels: Sequence[NoticeChannel] = (),
        low_pusd: int | None = None,
        targets: AlertTargets | None = None,
        told: Mapping[str, Told] | None = None,
    ) -> None:
        self.books = books
        self.clock = clock
        self.vouchers = Vouchers(books=books, clock=clock, new_code=new_code, new_id=new_id)
        self.payments = payments
        self.own_keys = own_keys
        self.notices = Notices(
            books=books,
            clock=clock,
            new_id=new_id,
            channels=channels,
            low_pusd=low_pusd,
            targets=targets,
            told=told,
        )
        self.replays = Shelf(books, clock)
        self.auto: AutoTopups | None = None
        if payments is not None:
            self.auto = AutoTopups(books=books, clock=clock, payments=payments, notices=self.notices)
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Work in the background until :meth:`close`; a bug ends one round, not the work."""
        self._task = asyncio.get_running_loop().create_task(self._work(), name="treasury")
        self._task.add_done_callback(self._ended)

    async def close(self) -> None:
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait((task,))

    async def round(self) -> None:
        """Do once whatever is due. A chore that cannot be done now does not keep the others waiting."""
        for chore in self._chores():
            try:
                await chore()
            except (RouterError, OSError) as error:
                print(f"the treasury could not finish its work: {error}", file=sys.stderr)

    def _chores(self) -> tuple[Chore, ...]:
        chores = [self.vouchers.sweep, self.replays.sweep]
        if self.payments is not None:
            chores.append(self.payments.sweep)
        if self.auto is not None:
            chores.append(self.auto.work)
        return (*chores, self.notices.watch, self.notices.deliver)

    async def begin(self) -> None:
        """Block the accounts that owe, and open the keys of accounts, before anything is served.

        Raises:
            LedgerUnavailable: nobody can tell now.
        """
        if self.own_keys is not None:
            await self.own_keys.load()
        await block_debtors(self.books)

    async def _work(self) -> None:
        while True:
            await self.round()
            await asyncio.sleep(ROUND_S)

    def _ended(self, task: asyncio.Task[None]) -> None:
        """Go on after a bug, which is reported."""
        error = None if task.cancelled() else task.exception()
        if error is not None and self._task is task:
            print("unforeseen error in the treasury", *traceback.format_exception(error), file=sys.stderr)
            task.get_loop().call_later(ROUND_S, self._restart, task)

    def _restart(self, ended: asyncio.Task[None]) -> None:
        if self._task is ended:  # else it was closed meanwhile
            self.start()

    async def credits(self, account: str) -> dict[str, object]:
        """The body of ``GET /v1/credits``: OpenRouter's two numbers
        (https://openrouter.ai/docs/api-reference/get-credits), and where the account stands."""
        standing = await self.books.standing(account)
        return {
            "data": {
                "total_credits": dollars(standing.credited_pusd),
                "total_usage": dollars(standing.credited_pusd - standing.posted_pusd),
                "credits_remaining": dollars(standing.posted_pusd - standing.held_pusd),
                "held": dollars(standing.held_pusd),
                "owed": dollars(await owed_pusd(self.books, account)),
            }
        }

    async def entries(self, account: str, limit: int, after: str | None) -> dict[str, object]:
        """The body of ``GET /v1/credits/entries``: a page of the account's books, the newest first."""
        found = await self.books.entries(account, limit + 1, after)
        shown = found[:limit]
        return {
            "object": "list",
            "data": [entry_row(entry) for entry in shown],
            "first_id": shown[0].ref if shown else None,
            "last_id": shown[-1].ref if shown else None,
            "has_more": len(found) > limit,
        }


def entry_row(entry: Entry) -> dict[str, object]:
    """An entry for the account that it is of."""
    return {
        "id": entry.ref,
        "object": "credit.entry",
        "kind": entry.kind,
        "amount": dollars(entry.amount_pusd),
        "created": iso_time(entry.created_ms),
        "note": entry.note,
    }


def dollars(pusd: int) -> msgspec.Raw:
    """An exact JSON number of dollars."""
    return msgspec.Raw(format_usd(pusd).encode())
