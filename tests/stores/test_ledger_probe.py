"""A ledger whose disk refused finds out that it writes again, however many settlements come meanwhile."""

from __future__ import annotations

import asyncio
import sqlite3
from typing import Any

import pytest

from llm_router.adapters.sqlite import journal
from llm_router.adapters.sqlite.journal import Journal
from llm_router.adapters.sqlite.rows import Op, ProbeOp
from llm_router.billing.ledger import Ledger
from llm_router.domain.errors import LedgerUnavailable

FULL = sqlite3.OperationalError("database or disk is full")


class HandWriter:
    """Takes operations, and is told when they end."""

    waits = False
    undone = 0

    def __init__(self) -> None:
        self.ops: list[Op] = []

    def start(self) -> None:
        """No thread."""

    def heard(self) -> None:
        self.undone += 1

    def submit(self, ops: list[Op]) -> None:
        self.ops += ops

    def stop(self) -> None:
        """Nothing waits."""


async def turns() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def run(monkeypatch: pytest.MonkeyPatch, work: Any) -> None:
    monkeypatch.setattr(journal, "PROBE_S", 0.0)

    async def main() -> None:
        writer = HandWriter()
        books = Journal(Ledger(), asyncio.get_running_loop())
        books.start(writer)  # type: ignore[arg-type]
        await work(books, writer)

    asyncio.run(main())


def test_a_probe_goes_alone_and_others_wait_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    async def work(books: Journal, writer: HandWriter) -> None:
        first, second = (Op(future=books.future()) for _ in range(2))
        waiting = [books.submit(first), books.submit(second)]
        books.deliver([first], FULL)
        await turns()
        assert books.trouble == "ledger_unavailable"
        assert writer.ops == [first, second], "the probe waits until all that may be refused is undone"
        books.deliver([second], FULL)
        await turns()
        [probe] = writer.ops[2:]
        assert isinstance(probe, ProbeOp)
        later = Op(future=books.future())
        books.submit(later)
        assert writer.ops[3:] == [], "what comes now would share the probe's batch, and be refused with it"
        books.deliver([probe], None)
        await turns()
        assert (books.trouble, writer.ops[3:]) == (None, [later])
        for each in waiting:
            assert isinstance(each.exception(), LedgerUnavailable)

    run(monkeypatch, work)


def test_what_is_refused_meanwhile_does_not_put_the_probe_off(monkeypatch: pytest.MonkeyPatch) -> None:
    async def work(books: Journal, writer: HandWriter) -> None:
        monkeypatch.setattr(journal, "PROBE_S", 3600.0)
        timers = set()
        for _ in range(3):
            op = Op(future=books.future())
            books.submit(op)
            books.deliver([op], FULL)
            await turns()
            timers.add(books._probe_timer)
        assert len(timers) == 1
        books.close()

    run(monkeypatch, work)


def test_a_failed_probe_is_followed_by_another_and_closing_keeps_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def work(books: Journal, writer: HandWriter) -> None:
        op = Op(future=books.future())
        books.submit(op)
        books.deliver([op], FULL)
        await turns()
        probe = writer.ops[-1]
        waits = Op(future=books.future())
        books.submit(waits)
        books.deliver([probe], FULL)
        await turns()
        assert writer.ops[-1] is waits
        books.deliver([waits], FULL)
        await turns()
        again, last = writer.ops[-1], Op(future=books.future())
        assert isinstance(again, ProbeOp)
        books.submit(last)
        books.close()
        assert writer.ops[-1] is last

    run(monkeypatch, work)
