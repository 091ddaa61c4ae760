"""Exchanges as they end: told to who watches their account, in whichever process, and to nobody else."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from shared_kit import hub_of, linked, unlink
from store_cases import openers, record, run

from llm_router.adapters.shared.remote import RemoteTails
from llm_router.adapters.telemetry import NoTelemetry
from llm_router.billing.search import ANY, Filter
from llm_router.domain.errors import Overloaded, RateLimitExceeded
from llm_router.domain.record import ExchangeRecord
from llm_router.engine import tailing
from llm_router.engine.tailing import Tail


def ids(taken: tuple[list[ExchangeRecord], int]) -> list[str]:
    return [each.id for each in taken[0]]


def test_a_listener_hears_of_its_account_what_it_asks_for():
    async def main():
        tail = Tail(NoTelemetry())
        every, failed = tail.listen("acme", ANY), tail.listen("acme", Filter(failed=True))
        other = tail.listen("bolt", ANY)
        tail.exchange(record("a"))
        tail.exchange(record("b", error_code="x"))
        assert ids(await every.take(30)) == ["a", "b"]
        assert ids(await failed.take(30)) == ["b"]
        assert await other.take(0) == ([], 0)
        tail.end(every)
        tail.exchange(record("c"))
        assert ids(await every.take(30)) == []
        tail.close()
        assert other.closed
        with pytest.raises(Overloaded):
            tail.listen("acme", ANY)

    run(main())


def test_who_does_not_keep_up_is_told_how_many_were_left_out(monkeypatch):
    monkeypatch.setattr(tailing, "QUEUE_MAX", 3)
    monkeypatch.setattr(tailing, "LISTENERS_MAX", 1 + tailing.OPERATORS_LAST)

    async def main():
        tail = Tail(NoTelemetry())
        slow = tail.listen("acme", ANY)
        with pytest.raises(Overloaded):
            tail.listen("bolt", ANY)
        for number in range(5):
            tail.exchange(record(f"g{number}"))
        taken = await slow.take(30)
        assert (ids(taken), taken[1]) == (["g2", "g3", "g4"], 2)
        assert await slow.take(0) == ([], 0)
        tail.end(slow)
        tail.end(tail.listen("bolt", ANY))

    run(main())


def test_nobody_takes_the_places_of_others():
    def refused(kind, tail, *who, operator=False):
        with pytest.raises(kind):
            tail.listen(*who, operator=operator)

    tail = Tail(NoTelemetry())
    own = [tail.listen("acme", ANY, "key_1") for _ in range(tailing.OF_READER_MAX)]
    refused(RateLimitExceeded, tail, "acme", ANY, "key_1")
    for number in range(2, 2 + (tailing.OF_ACCOUNT_MAX - len(own))):
        tail.listen("acme", ANY, f"key_{number}")
    refused(RateLimitExceeded, tail, "acme", ANY, "key_0")
    tail.end(own[0])
    tail.listen("acme", ANY, "key_0")
    for number in range(tailing.LISTENERS_MAX - tailing.OPERATORS_LAST - tailing.OF_ACCOUNT_MAX):
        tail.listen(f"other {number}", ANY, f"key_{number}")
    refused(Overloaded, tail, "late", ANY, "late")
    for _ in range(tailing.OPERATORS_LAST):
        tail.listen("acme", ANY, "usr_op", operator=True)
    refused(Overloaded, tail, "acme", ANY, "usr_other", operator=True)


async def soon(condition: Callable[[], bool]) -> None:
    """Wait until it is true: at most for many turns of the event loop."""
    for _ in range(1_000_000):
        if condition():
            return
        await asyncio.sleep(0)
    raise AssertionError("it never happened")


class Process:
    """A worker's side: its tail, and what it hears of the others."""

    def __init__(self) -> None:
        self.tail = Tail(NoTelemetry())
        self.told = 0

    async def hear(self, name: str, body: Any) -> bytes:
        arguments = msgspec.msgpack.decode(body)
        if name == "tail":
            self.tail.elsewhere = frozenset(arguments[0])
            self.told += 1
        elif name == "tailed":
            self.tail.hear(msgspec.msgpack.decode(arguments[0], type=ExchangeRecord))
        return msgspec.msgpack.encode(None)


def test_only_what_is_watched_travels_between_processes(tmp_path):
    async def main():
        store = await openers(tmp_path)["sqlite"]()
        hub = hub_of(store)
        processes = []
        for _ in range(3):
            process = Process()
            _, link = await linked(hub, process.hear)
            tails = RemoteTails(link)
            process.tail = Tail(NoTelemetry(), changed=tails.changed, hand_on=tails.hand_on)
            processes.append((process, link))
        (one, _), (two, _), (three, last) = processes
        listener = one.tail.listen("acme", ANY)
        await soon(lambda: "acme" in two.tail.elsewhere and "acme" in three.tail.elsewhere)
        assert "acme" not in one.tail.elsewhere
        two.tail.exchange(record("a", features=b"\x00\xff", user="\ud800"))
        two.tail.exchange(record("b", account="bolt"))
        three.tail.exchange(record("c"))
        one.tail.exchange(record("d"))
        heard: list[str] = []
        while len(heard) < 3:
            heard += ids(await listener.take(30))
        assert sorted(heard) == ["a", "c", "d"]
        elsewhere = three.tail.listen("bolt", ANY)
        await soon(lambda: one.tail.elsewhere == {"bolt"})
        last.close()
        await soon(lambda: not one.tail.elsewhere)
        assert not elsewhere.closed
        one.tail.end(listener)
        await soon(lambda: not two.tail.elsewhere)
        await unlink()
        await store.close()

    run(main())
