"""Proofs on a gateway as operators run it: ``llm-router serve`` in processes of its own, over HTTP.

The upstream bills every request by a rule that follows from the number in its text, so that its invoice
is known without asking anybody.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
import signal
import sqlite3
from collections import Counter
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

from gateway_kit import WAIT_S, Gateway, body_of
from scripted_upstream import Peer, ScriptedUpstream, config_for, frames, head, http, whole

from llm_router.adapters.clock import SystemClock
from llm_router.adapters.data_dir import STORE_NAME
from llm_router.adapters.sqlite.orphans import read_orphans
from llm_router.adapters.sqlite.verify import Verdict, verify

INPUT_PUSD, OUTPUT_PUSD = 1_000_000, 2_000_000
PUSD = 10**12
COST = re.compile(rb'"cost":\s*([0-9.]+)')
ID = re.compile(rb"x-generation-id: (\S+)")
TIMEOUTS = {"connect_s": 5, "first_byte_s": 60, "idle_s": 60, "total_s": 120}


def tokens_of(tag: int) -> tuple[int, int]:
    """What the upstream counts for a request."""
    return 5 + tag % 50, 1 + tag % 20


def invoice(tag: int) -> int:
    """What it bills for it, in picodollars."""
    input_, output = tokens_of(tag)
    return input_ * INPUT_PUSD + output * OUTPUT_PUSD


def tag_of(peer: Peer) -> int:
    return int(peer.seen.json["messages"][0]["content"])


async def metered(peer: Peer) -> None:
    """Answer slowly enough that a kill finds requests at every point of their way."""
    tag = tag_of(peer)
    input_, output = tokens_of(tag)
    counted = {"prompt_tokens": input_, "completion_tokens": output, "total_tokens": input_ + output}
    await asyncio.sleep((tag % 7) / 200)
    if not peer.seen.json.get("stream"):
        await peer.send(http(200, whole("openai_chat", counted=counted)))
        return
    await peer.send(head(200))
    for frame in frames("openai_chat", "one ", "two ", "three", counted=counted):
        await peer.send(frame)
        await asyncio.sleep((tag % 3) / 200)


@dataclass
class Books:
    """The ledger's file, read without the product."""

    charged: dict[str, int] = field(default_factory=dict)
    uses: dict[str, int] = field(default_factory=dict)
    doubled: int = 0
    attempts: int = 0
    credited: int = 0
    posted: int = 0
    held: int = 0
    open: int = 0
    orphans: int = 0


def books_of(path: Path, account: str = "default") -> Books:
    books = Books()
    with closing(sqlite3.connect(path)) as connection:
        for id_, cost, record in connection.execute(
            "SELECT id, cost, record FROM exchanges WHERE account = ?", (account,)
        ):
            books.charged[id_] = cost
            books.attempts += len(json.loads(record).get("attempts", ()))
        for ref, amount, kind in connection.execute(
            "SELECT ref, amount, kind FROM entries WHERE account = ?", (account,)
        ):
            if kind == "use":
                books.doubled += ref[4:] in books.uses
                books.uses[ref[4:]] = -amount
            else:
                books.credited += amount
        books.posted, books.held = connection.execute(
            "SELECT posted, held FROM accounts WHERE id = ?", (account,)
        ).fetchone()
        counts = dict(connection.execute("SELECT state, count(*) FROM holds GROUP BY state"))
        books.open, books.orphans = counts.get("open", 0), counts.get("orphaned", 0)
    return books


def proven(path: Path) -> Verdict:
    """``llm-router ledger verify``."""
    verdict = verify(path, SystemClock().now_ms())
    assert verdict.doubt is None, verdict.doubt
    return verdict


def store_of(gateway: Gateway) -> Path:
    return gateway.data_dir / STORE_NAME


class Load:
    """Clients that ask one request after the other, and remember what they were told.

    Attributes:
        told: cost by exchange id, with the number of the request; asked: how many were sent.
    """

    def __init__(self, seed: int) -> None:
        self.told: dict[str, tuple[int, int]] = {}
        self.asked = 0
        self._enough: tuple[int, asyncio.Event] | None = None
        self._dice = random.Random(seed)
        self._numbers = iter(range(1, 10**9))

    def until_killed(self, gateway: Gateway, clients: int, acks: int) -> None:
        """Load a gateway until so many answers came, then kill it with requests under way."""
        asyncio.run(self._life(gateway, clients, len(self.told) + acks))

    async def _life(self, gateway: Gateway, clients: int, told: int) -> None:
        enough = asyncio.Event()
        self._enough = (told, enough)

        async def killer() -> None:
            async with asyncio.timeout(WAIT_S):
                await enough.wait()
            gateway.process.send_signal(signal.SIGKILL)

        await asyncio.gather(killer(), *(self._client(gateway) for _ in range(clients)))

    async def _client(self, gateway: Gateway) -> None:
        with suppress(ConnectionError, EOFError):
            while await self.one(gateway):
                pass

    async def one(self, gateway: Gateway) -> bool:
        """One request; whether it was answered to its end."""
        tag = next(self._numbers)
        body = body_of("mo", text=str(tag), stream=self._dice.random() < 0.6, max_tokens=100)
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        try:
            self.asked += 1
            writer.write(gateway.head(len(body), "connection: close") + body)
            data = await reader.read(-1)
        finally:
            writer.close()
        cost, id_ = COST.search(data), ID.search(data)
        if cost is None or id_ is None:
            return False
        self.told[id_[1].decode()] = (tag, int(Decimal(cost[1].decode()) * PUSD))
        if self._enough is not None and len(self.told) >= self._enough[0]:
            self._enough[1].set()
        return True


def kills(folder: Path, count: int, seed: int = 5, clients: int = 24, acks: int = 60) -> dict[str, int]:
    """Kill the whole gateway under load so often, then check the books.

    Raises:
        AssertionError: something was lost, doubled or overdrawn.
    """
    upstream, dice, load = ScriptedUpstream(), random.Random(seed), Load(seed)
    upstream.play("o1", metered)
    gateway = Gateway(folder, config=config_for(upstream, TIMEOUTS))
    try:
        for _ in range(count):
            load.until_killed(gateway, clients, dice.randrange(1, acks))
            gateway.stop(signal.SIGKILL)
            gateway.start()
        asyncio.run(load.one(gateway))
        assert gateway.stop() == 0
        sent = len(upstream.requests)
    finally:
        if gateway.process.poll() is None:
            gateway.stop(signal.SIGKILL)
        upstream.close()
    books = books_of(store_of(gateway))
    for id_, (tag, cost) in load.told.items():
        assert books.charged.get(id_) == cost, f"{id_}: its client was told of {cost}, and it is lost"
        assert cost == invoice(tag), f"{id_}: {cost} in place of the invoice's {invoice(tag)}"
    assert books.doubled == 0
    assert books.uses == {id_: cost for id_, cost in books.charged.items() if cost}
    assert books.posted == books.credited - sum(books.uses.values()) >= 0
    assert (books.held, books.open) == (0, 0), "a hold is open"
    assert books.attempts <= sent <= books.attempts + books.orphans, (
        f"the upstream knows {sent} requests, the books {books.attempts} and {books.orphans} orphans"
    )
    assert len(read_orphans(store_of(gateway), 10**6)) == books.orphans
    verdict = proven(store_of(gateway))
    return {
        "kills": count, "requests": load.asked, "told": len(load.told), "charged": len(books.uses),
        "at the upstream": sent, "orphans": books.orphans, "rerated": verdict.rerated,
    }  # fmt: skip


def race(folder: Path, requests: int, covered: int, workers: int) -> dict[str, int]:
    """So many requests at the same time, with credit for some of them: these pass, and no other.

    Raises:
        AssertionError: more or fewer did, or the account was overdrawn.
    """
    upstream, gate = ScriptedUpstream(), asyncio.Event()

    async def gated(peer: Peer) -> None:
        await gate.wait()
        await peer.send(http(200, whole("openai_chat")))

    def open_gate() -> None:
        upstream._loop.call_soon_threadsafe(gate.set)

    upstream.play("o1", gated)
    server = f"[server]\nworkers = {workers}\nconcurrency_max = {2 * requests}\nlag_max_s = 0\n"
    gateway = Gateway(folder, config=config_for(upstream, TIMEOUTS).replace("[server]\n", server, 1))
    try:
        key = gateway.new_key("race", account="race")
        needed = gateway.chat("mo", max_tokens=10, key=key).error["needed"]
        gateway.command("credits.add", amount=str(needed * covered), account="race")
        statuses = asyncio.run(_at_once(gateway, requests, covered, key, open_gate))
        assert statuses == {200: covered, 402: requests - covered}, statuses
        assert len(upstream.requests) == covered
        assert gateway.stop() == 0
    finally:
        if gateway.process.poll() is None:
            gateway.stop(signal.SIGKILL)
        upstream.close()
    books = books_of(store_of(gateway), "race")
    assert books.posted == books.credited - sum(books.uses.values()) >= 0
    assert (len(books.uses), books.held, books.open) == (covered, 0, 0)
    proven(store_of(gateway))
    return {"requests": requests, "credit for": covered, "workers": workers, "admitted": statuses[200]}


async def _at_once(
    gateway: Gateway, requests: int, covered: int, key: str, open_gate: Callable[[], None]
) -> Counter[int]:
    statuses: Counter[int] = Counter()
    body = body_of("mo", max_tokens=10)

    async def one() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        writer.write(gateway.head(len(body), "connection: close", key=key) + body)
        data = await reader.read(-1)
        writer.close()
        statuses[int(data[9:12] or 0)] += 1
        if statuses[402] >= requests - covered:  # all others are admitted, if the books are right
            open_gate()

    async with asyncio.timeout(10 * WAIT_S):
        await asyncio.gather(*(one() for _ in range(requests)))
    return statuses
