"""Between the event loop and the writer thread: what an iteration of the loop submits goes out together, answers
come by batch. A thread that is woken for each operation costs more than what it is woken for.

An operation whose rows could not be saved is undone in the ledger before its await fails, so memory
never claims what the disk does not have.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any, cast

from llm_router.adapters.sqlite.rows import (
    CreditOp,
    FlushOp,
    HoldOp,
    Op,
    ProbeOp,
    ReleaseOp,
    SettleOp,
)
from llm_router.adapters.sqlite.writer import Writer
from llm_router.billing.ledger import Ledger
from llm_router.domain.errors import LedgerUnavailable

PENDING_MAX = 16_384
"""Operations that may wait for the disk; beyond it new holds are refused, not queued."""

APPLY_S = 0.2
"""How long what is in the journal alone may stay out of the tables. Whoever reads does not wait for it."""

PROBE_S = 1.0
"""Pause between attempts to write again after the disk refused."""


class OpRefused(ValueError):
    """The store refused this one operation; nothing of it was done."""


class Journal:
    """Makes moves of the ledger durable. To be used in one event loop."""

    def __init__(self, ledger: Ledger, loop: asyncio.AbstractEventLoop) -> None:
        self._ledger = ledger
        self._loop = loop
        self._writer: Writer | None = None
        self._pending = 0
        self._failure: BaseException | None = None
        self._closing = False
        self._probe_timer: asyncio.TimerHandle | None = None
        self._apply_timer: asyncio.TimerHandle | None = None
        self._probe_due = False
        self._probing = False
        self._behind: list[Op] = []  # the probe that is under way
        self._gathered: list[Op] = []  # in this iteration of the loop; handed over at its end
        self._settling: dict[str, list[asyncio.Future[None]]] = {}  # who else waits, by exchange

    def start(self, writer: Writer) -> None:
        self._writer = writer
        writer.start()

    def close(self) -> None:
        """Take no more operations; those under way still end."""
        self._closing = True
        self._hand_over()
        self._follow()
        for timer in (self._probe_timer, self._apply_timer):
            if timer is not None:
                timer.cancel()

    def stop(self) -> None:
        """Wait until everything submitted is written. Blocks; not in the event loop's thread."""
        if self._writer is not None:
            self._writer.stop()

    @property
    def trouble(self) -> str | None:
        """Why nothing can be promised now; None if it can."""
        if self._closing:
            return "stopping"
        return None if self._failure is None else "ledger_unavailable"

    @property
    def closing(self) -> bool:
        return self._closing

    def check_open(self) -> None:
        """
        Raises:
            LedgerUnavailable: the store is closed, or about to be.
        """
        if self._closing:
            raise LedgerUnavailable("The gateway is shutting down.", retry_after_s=5)

    def check_usable(self) -> None:
        """
        Raises:
            LedgerUnavailable: nothing can be promised now.
        """
        self.check_open()
        if self._failure is not None:
            raise _unavailable(self._failure)

    def check_room(self) -> None:
        """
        Raises:
            LedgerUnavailable: too much waits for the disk already.
        """
        if self._pending >= PENDING_MAX:
            raise LedgerUnavailable(
                "The ledger's disk is too slow for this load. Try again shortly.", retry_after_s=1
            )

    def future(self) -> asyncio.Future[Any]:
        return self._loop.create_future()

    def is_settling(self, exchange_id: str) -> bool:
        """Whether a settlement of an exchange is under way."""
        return exchange_id in self._settling

    def settled(self, exchange_id: str) -> asyncio.Future[None]:
        """What ends when the settlement under way is durable or undone, whoever stopped waiting for it."""
        waiting = self._loop.create_future()
        self._settling[exchange_id].append(waiting)
        return waiting

    def submit(self, op: Op) -> asyncio.Future[Any]:
        """Queue an operation; its future ends when it is durable."""
        future = cast("asyncio.Future[Any]", op.future)
        self.enqueue(op)
        return future

    def enqueue(self, op: Op) -> None:
        """Queue an operation; its landing hears when it is durable."""
        assert self._writer is not None
        if self._closing:  # the writer may have ended: nobody may wait for ever
            op.error = LedgerUnavailable("The gateway is shutting down.", retry_after_s=5)
            self._undo(op)
            _resolve(op)
            return
        self._pending += 1
        if type(op) is SettleOp:
            self._settling[op.row[0]] = []
        if self._probing:
            self._behind.append(op)
            return
        if not self._gathered:
            self._loop.call_soon(self._hand_over)
        self._gathered.append(op)

    def _hand_over(self) -> None:
        if self._gathered:
            assert self._writer is not None
            gathered, self._gathered = self._gathered, []
            self._writer.submit(gathered)

    async def applied(self) -> None:
        """Wait until all that was acknowledged is in the tables.

        Raises:
            LedgerUnavailable: the tables cannot be written.
        """
        assert self._writer is not None
        if self._writer.waits:
            await self.submit(FlushOp(future=self.future()))

    def deliver(self, ops: list[Op], failure: BaseException | None) -> None:
        """Wake the event loop, once for the whole batch. Called in the writer's thread."""
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(self._landed, ops, failure)

    def _landed(self, ops: list[Op], failure: BaseException | None) -> None:
        self._pending -= len(ops)
        if self._probing:  # nothing else was under way
            self._follow()
        if failure is not None or [op for op in ops if op.error is not None]:
            self._undo_refused(ops, failure)
        rest = []
        for op in ops:  # one kind after the other: in turns each would find the caches full of the other
            if type(op) is SettleOp:
                for waiting in self._settling.pop(op.row[0]):
                    if not waiting.done():
                        waiting.set_result(None)
                _resolve(op)
            else:
                rest.append(op)
        for op in rest:
            if type(op) is ProbeOp and op.error is None:
                self._failure = None
            _resolve(op)
        self._probe_if_due()
        self._apply_later()

    def _undo_refused(self, ops: list[Op], failure: BaseException | None) -> None:
        for op in reversed(ops):
            if failure is not None:
                op.error = _unavailable(failure)
            if op.error is not None:
                self._undo(op)
        assert self._writer is not None
        self._hand_over()  # what was submitted until now did not know of it
        self._writer.heard()
        if failure is not None:
            self._failure = failure
            self._probe_later()

    def _apply_later(self) -> None:
        assert self._writer is not None
        if self._writer.waits and self._apply_timer is None and self._failure is None and not self._closing:
            self._apply_timer = self._loop.call_later(APPLY_S, self._apply)

    def _apply(self) -> None:
        self._apply_timer = None
        assert self._writer is not None
        if self._writer.waits and self._failure is None:
            self.submit(FlushOp(future=self.future()))

    def _undo(self, op: Op) -> None:
        match op:
            case HoldOp():
                self._ledger.undo_hold(op.hold)
            case SettleOp() | ReleaseOp():
                self._ledger.undo_settlement(op.settlement)
            case CreditOp():
                self._ledger.undo_credit(op.credit)

    def _probe_later(self) -> None:
        if self._closing or self._probing or self._probe_due or self._probe_timer is not None:
            return  # what is refused meanwhile must not put it off
        self._probe_timer = self._loop.call_later(PROBE_S, self._probe)

    def _probe(self) -> None:
        self._probe_timer = None
        self._probe_due = True
        self._probe_if_due()

    def _probe_if_due(self) -> None:
        """Probe as soon as nothing else is under way: all that was refused is then undone, and the probe is
        alone in its batch. What comes meanwhile goes behind it."""
        if self._probe_due and not self._pending and not self._closing:
            self._probe_due = False
            self.submit(ProbeOp(future=self.future()))
            self._probing = True

    def _follow(self) -> None:
        """Submit what waited for the probe."""
        self._probing = False
        behind, self._behind = self._behind, []
        if behind:
            assert self._writer is not None
            self._writer.submit(behind)


def _resolve(op: Op) -> None:
    """Tell whoever waits, and let go of it: the operation may wait long until it is booked, and a request that is
    over must not."""
    future, op.future = op.future, _TOLD
    if future.done():  # the wait was cancelled
        return
    if op.error is None:
        future.set_result(op.result)
        return
    future.set_exception(_as_refusal(op.error))
    future.exception()  # counts as seen: a caller that was cancelled will not look


class _Told:
    """Stands for whoever has been told."""

    def done(self) -> bool:
        return True

    def set_result(self, result: Any, /) -> None: ...

    def set_exception(self, exception: BaseException, /) -> None: ...

    def exception(self) -> BaseException | None:
        return None


_TOLD = _Told()


def _as_refusal(error: BaseException) -> BaseException:
    if isinstance(error, LedgerUnavailable):
        return error
    refusal = OpRefused(f"the store refused it: {error}")
    refusal.__cause__ = error
    return refusal


def _unavailable(failure: BaseException) -> LedgerUnavailable:
    error = LedgerUnavailable(
        "The ledger cannot write to its disk, so nothing was charged. Try again shortly.", retry_after_s=5
    )
    error.__cause__ = failure
    return error
