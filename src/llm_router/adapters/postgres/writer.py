"""The one task of a node that writes: it takes whatever waits, commits it together, and tells everyone.

There is no timer: while a commit is under way, or other nodes have the locks, the next batch gathers by itself.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Collection
from typing import Any

import asyncpg

from llm_router.adapters.postgres.batch import commit
from llm_router.adapters.postgres.link import FAILURES, Link, unavailable
from llm_router.adapters.postgres.nodes import register
from llm_router.adapters.postgres.ops import Fenced, HoldOp, Op, OweOp, PublishOp, ReleaseOp, SettleOp
from llm_router.domain.errors import LedgerUnavailable

BATCH_MAX = 512
"""Operations in one transaction: bounds how long the rows of its accounts stay locked."""

PENDING_MAX = 16_384
"""Operations that may wait; beyond it new holds are refused, not queued."""

BATCH_S = 2.0
"""A transaction that takes longer is given up; its connection is not used again."""

RETRY_S = 0.25
"""Pause between attempts while the database fails."""

HOLD_S = 1.0
"""How long a hold waits for the database before it is refused."""

SETTLE_S = 5.0
"""How long a settlement waits: its reply is made and paid for upstream, so a short failure is sat out."""

_REFUSALS = (asyncpg.IntegrityConstraintViolationError, asyncpg.DataError)
"""One operation is at fault, not the database: the others of its batch are saved without it."""

_BUSY = (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError)
"""Another node is changing a row for too long; the next try may do."""


_LASTING = (SettleOp, ReleaseOp, OweOp, PublishOp)
"""What is tried again when the database failed; others are refused."""


class Writer:
    """Commits operations in the order they come.

    Attributes:
        node: number of this process in the database; another one after it was fenced.
        failure: why the last batch could not be written; None while all is well.
        fenced: settlements that found their hold voided by another node, and were charged all the same.
    """

    def __init__(self, link: Link, name: str, ttl_s: float) -> None:
        self._link = link
        self._name = name
        self._ttl_s = ttl_s
        self._queue: deque[Op] = deque()
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._closing = False
        self._doubted = False
        self.node = 0
        self.failure: Exception | None = None
        self.fenced = 0

    async def start(self) -> None:
        """
        Raises:
            one of link.FAILURES: the node could not be registered.
        """
        await self._register()
        self._task = asyncio.get_running_loop().create_task(self._run(), name="ledger-writer")

    async def close(self) -> None:
        """Write what waits, as long as the database lets us; then end."""
        self._closing = True
        self._wake.set()
        if self._task is not None:
            await asyncio.wait((self._task,), timeout=SETTLE_S + BATCH_S)
            self._task.cancel()
            await asyncio.wait((self._task,))
        self._fail(list(self._queue), ConnectionError("the writer has ended"))
        self._queue.clear()

    @property
    def closing(self) -> bool:
        return self._closing

    def submit(self, op: Op) -> asyncio.Future[Any]:
        self._queue.append(op)
        self._wake.set()
        return op.future

    def room(self) -> bool:
        return len(self._queue) < PENDING_MAX

    def doubt(self) -> None:
        """Something says that the database is away: find out with an empty batch, ahead of any request."""
        self._doubted = True
        self._wake.set()

    def give_up(self, op: Op) -> None:
        """Nobody waits for this hold any more: forget it, or void it if it may be there already."""
        try:
            self._queue.remove(op)
        except ValueError:
            op.tried = True  # under way
        if op.tried and isinstance(op, HoldOp):
            self._release(op)

    def _release(self, op: HoldOp) -> None:
        loop = asyncio.get_running_loop()
        for each in op.wanted:
            self.submit(
                ReleaseOp(future=loop.create_future(), until_s=float("inf"), exchange_id=each.exchange_id)
            )

    async def _run(self) -> None:
        while self._queue or not self._closing:
            if not (self._queue or self._doubted) and self.failure is None:
                self._wake.clear()
                await self._wake.wait()
                continue
            self._doubted = False
            # After a failure an empty batch is tried too: it finds out when the database is back.
            ops = [self._queue.popleft() for _ in range(min(BATCH_MAX, len(self._queue)))]
            await self._handle(ops)
            if self.failure is not None and not self._closing:
                await asyncio.sleep(RETRY_S)
            elif self.failure is not None:
                return

    async def _handle(self, ops: list[Op], *, alone: bool = False) -> None:
        """Commit them, with what comes meanwhile unless they are to be ``alone``, and tell whoever waits."""
        try:
            self.fenced += await self._commit(ops, more=not alone)
        except _REFUSALS as error:
            await self._handle_singly(ops, error)
        except _BUSY as error:
            self._put_back(ops, ops, error)
        except FAILURES as error:
            self.failure = error
            self._put_back(ops, [op for op in ops if isinstance(op, _LASTING)], error)
        except asyncio.CancelledError:
            self._fail(ops, ConnectionError("the writer has ended"))
            raise
        else:
            self.failure = None
            for op in ops:
                _resolve(op)

    def _gather(self, accounts: Collection[str], most: int) -> list[Op]:
        """Take what waits next, in its order, as long as it concerns no account but these."""
        found: list[Op] = []
        while self._queue and len(found) < most and _concerns_only(self._queue[0], accounts):
            found.append(self._queue.popleft())
        return found

    async def _commit(self, ops: list[Op], *, more: bool) -> int:
        """Commit, with what comes until the locks are had if there may be ``more``; a second time on a new
        connection when the first one broke, and as a new node when this one was closed."""

        def gather(accounts: Collection[str]) -> list[Op]:
            return self._gather(accounts, BATCH_MAX - len(ops)) if more else []

        def work(connection: asyncpg.Connection) -> Awaitable[int]:
            return commit(connection, self.node, ops, gather)

        for _ in range(2):
            try:
                return await self._link.run(work, BATCH_S)
            except Fenced:
                await self._register()
            except (asyncpg.PostgresConnectionError, asyncpg.InterfaceError, ConnectionError):
                for op in ops:
                    op.tried = True
            except TimeoutError:
                for op in ops:
                    op.tried = True
                raise
        return await self._link.run(work, BATCH_S)

    async def _register(self) -> None:
        self.node = await self._link.run(
            lambda connection: register(connection, self._name, self._ttl_s), BATCH_S
        )

    async def _handle_singly(self, ops: list[Op], error: Exception) -> None:
        if len(ops) > 1:
            for op in ops:
                await self._handle([op], alone=True)
        elif ops[0].tried:
            ops[0].error = ValueError(f"the store refused it ({type(error).__name__})")
            _resolve(ops[0])
        else:  # perhaps another node was first: then the next try finds what it did
            ops[0].tried = True
            await self._handle(ops, alone=True)

    def _put_back(self, ops: list[Op], lasting: list[Op], error: Exception) -> None:
        """Try those again that can wait and have time left; refuse the rest."""
        now_s = asyncio.get_running_loop().time()
        again = [] if self._closing else [op for op in lasting if op.until_s > now_s]
        kept = set(map(id, again))
        for op in ops:
            op.tried = True
        self._queue.extendleft(reversed(again))
        self._fail([op for op in ops if id(op) not in kept], error)

    def _fail(self, ops: list[Op], error: Exception) -> None:
        for op in ops:
            op.error = unavailable(error)
            if isinstance(op, HoldOp) and op.tried and not self._closing:
                self._release(op)  # its commit may have been the last thing that was done
            _resolve(op)


def _concerns_only(op: Op, accounts: Collection[str]) -> bool:
    match op:
        case HoldOp():
            return op.payer.account in accounts
        case SettleOp():
            return op.record.account in accounts
        case PublishOp():
            return True
        case _:
            return False


def _resolve(op: Op) -> None:
    """Tell whoever waits."""
    if op.future.done():  # the wait was cancelled
        return
    if op.error is None:
        op.future.set_result(op.result)
        return
    op.future.set_exception(op.error)
    op.future.exception()  # counts as seen: a caller that was cancelled will not look


def check_usable(writer: Writer) -> None:
    """
    Raises:
        LedgerUnavailable: nothing can be promised now.
    """
    if writer.closing:
        raise LedgerUnavailable("The gateway is shutting down.", retry_after_s=5)
    if writer.failure is not None:
        raise unavailable(writer.failure)
    if not writer.room():
        raise LedgerUnavailable("The ledger's database is too slow for this load.", retry_after_s=1)
