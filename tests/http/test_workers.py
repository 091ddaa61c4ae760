"""Several worker processes behind one port: one truth, and one that dies takes nothing with it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from decimal import Decimal
from pathlib import Path

import pytest
from gateway_kit import WAIT_S, Gateway, body_of, until
from scripted_upstream import Peer, ScriptedUpstream, answers, config_for, frames, head, http, whole

pytestmark = pytest.mark.slow

TIMEOUTS = {"connect_s": 5, "first_byte_s": 60, "idle_s": 60, "total_s": 60}
HELLO = answers(http(200, whole("openai_chat")))
COST = Decimal("0.00002")


class Gate:
    """A script of the upstream: nothing is answered before it is opened; streams have begun."""

    def __init__(self, streamed: bool) -> None:
        self._streamed = streamed
        self._open = threading.Event()

    def open(self) -> None:
        self._open.set()

    async def __call__(self, peer: Peer) -> None:
        first, *rest = frames("openai_chat", "one", "two")
        if self._streamed:
            await peer.send(head(200), first)
        gone = asyncio.ensure_future(peer.gone())
        while not self._open.is_set() and not gone.done():
            await asyncio.wait([gone], timeout=0.02)
        gone.cancel()
        with suppress(ConnectionError):
            await peer.send(*rest if self._streamed else [http(200, whole("openai_chat"))])


def begin(folder: Path, scripted: ScriptedUpstream, workers: int) -> Gateway:
    config = config_for(scripted, TIMEOUTS)
    return Gateway(folder, config=config.replace("[server]\n", f"[server]\nworkers = {workers}\n", 1))


@pytest.fixture(scope="module")
def gateway(scripted: ScriptedUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    gateway = begin(tmp_path_factory.mktemp("workers"), scripted, 4)
    yield gateway
    assert gateway.stop() == 0


def workers_of(gateway: Gateway) -> list[int]:
    """The processes of the workers."""
    tasks = Path(f"/proc/{gateway.process.pid}/task").glob("*/children")
    children = [int(pid) for task in tasks for pid in task.read_text().split()]
    return [pid for pid in children if _is_worker(pid)]


def _is_worker(pid: int) -> bool:
    with suppress(OSError):
        return b"llm_router.workers" in Path(f"/proc/{pid}/cmdline").read_bytes()
    return False


class Posts(threading.Thread):
    """So many requests at the same time, each on a connection of its own.

    Attributes:
        statuses: of those answered so far.
    """

    def __init__(
        self, gateway: Gateway, count: int, *, key: str | None = None, streamed: bool = False
    ) -> None:
        super().__init__(daemon=True)
        self._gateway, self._count, self._key = gateway, count, key
        self._body = body_of("mo", stream=streamed, max_tokens=10)
        self.statuses: Counter[int] = Counter()
        self.whole = 0
        self.start()

    def run(self) -> None:
        asyncio.run(self._all())

    async def _all(self) -> None:
        await asyncio.gather(*(self._post() for _ in range(self._count)))

    async def _post(self) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._gateway.port)
        writer.write(self._gateway.head(len(self._body), "connection: close", key=self._key) + self._body)
        data = b""
        with suppress(ConnectionError):
            while more := await reader.read(65536):
                data += more
        writer.close()
        self.statuses[int(data[9:12] or 0)] += 1
        self.whole += b"[DONE]" in data

    def done(self) -> Counter[int]:
        self.join(WAIT_S)
        return self.statuses


@pytest.mark.parametrize("bound", ["credit", "budget"])
def test_for_some_of_many_requests_admits_exactly_so_many(
    gateway: Gateway, upstream: ScriptedUpstream, bound: str
) -> None:
    account, gate = f"race-{bound}", Gate(streamed=False)
    key = gateway.new_key("race", account=account)
    needed = gateway.chat("mo", max_tokens=10, key=key).error["needed"]  # the hold of such a request
    gateway.command("credits.add", account=account, amount=str(20 * needed if bound == "credit" else 9))
    if bound == "budget":
        gateway.command("budgets.set", account=account, amount=str(20 * needed))
    upstream.play("o1", gate)
    posts = Posts(gateway, 400, key=key)
    until(lambda: posts.statuses[402] == 380)
    assert len(upstream.wait(20)) == 20
    gate.open()
    assert posts.done() == {200: 20, 402: 380}
    assert gateway.credits(account) == (20 * needed if bound == "credit" else 9) - 20 * COST


def test_a_limit_is_exact_over_all_workers(gateway: Gateway, upstream: ScriptedUpstream) -> None:
    upstream.play("o1", HELLO)
    key = gateway.new_key("limited", requests_per_minute=17)
    assert Posts(gateway, 80, key=key).done() == {200: 17, 429: 63}


def test_a_revoked_key_is_refused_by_every_worker_at_once(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    upstream.play("o1", HELLO)
    made = gateway.command("keys.create", name="revoked")
    assert Posts(gateway, 40, key=made["key"]).done() == {200: 40}
    gateway.command("keys.revoke", id=made["id"])
    assert Posts(gateway, 40, key=made["key"]).done() == {401: 40}


def test_a_worker_that_is_killed_leaves_nothing_open_and_another_takes_its_place(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    gate, mark = Gate(streamed=True), gateway.log.mark()
    key = gateway.new_key("killed", account="killed", concurrency=40)
    gateway.command("credits.add", account="killed", amount="5")
    upstream.play("o1", gate)
    posts = Posts(gateway, 40, key=key, streamed=True)
    upstream.wait(40)
    os.kill(workers_of(gateway)[0], signal.SIGKILL)
    (line,) = gateway.log.wait("ended by signal 9", mark)
    until(lambda: len(workers_of(gateway)) == 4)
    gate.open()
    posts.done()
    lost = 40 - posts.whole
    assert 0 < lost < 40  # those of the other workers went on
    assert f": {lost} holds voided, {lost} places in limits freed" in line
    assert gateway.credits("killed") == 5 - posts.whole * COST
    upstream.play("o1", HELLO)
    assert Posts(gateway, 40, key=key).done() == {200: 40}  # no place is taken any more
    assert gateway.credits("killed") == 5 - (posts.whole + 40) * COST


def test_a_reload_reaches_every_worker(gateway: Gateway, upstream: ScriptedUpstream) -> None:
    upstream.play("o1", HELLO)
    config, key = gateway.config.read_text(), gateway.new_key("reload")
    gateway.config.write_text(config + "[limits]\nrequests_per_minute = 3\n")
    try:
        assert gateway.command("config.reload")["reloaded"]
        assert Posts(gateway, 20, key=key).done() == {200: 3, 429: 17}
    finally:
        gateway.config.write_text(config)
        gateway.command("config.reload")


def test_background_responses_are_read_and_cancelled_through_any_worker(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    upstream.play("o1", Gate(streamed=True))
    wish = {"model": "mo", "input": "hi", "background": True, "stream": False}
    made = gateway.send("POST", "/v1/responses", json.dumps(wish).encode())
    assert made.status == 200, made.body
    path = f"/v1/responses/{made.json['id']}"
    upstream.wait(1)
    for _ in range(8):  # each on a connection of its own, so that several workers are asked
        assert gateway.get(path).json["status"] in ("queued", "in_progress")
    statuses = [gateway.send("POST", f"{path}/cancel").json["status"] for _ in range(8)]
    assert statuses == ["cancelled"] * 8
    assert upstream.requests[0].gone.wait(WAIT_S)


def test_no_other_gateway_gets_the_port(gateway: Gateway) -> None:
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with pytest.raises(OSError, match="in use"):
            other.bind(("127.0.0.1", gateway.port))


def test_a_stop_lets_all_workers_finish(scripted: ScriptedUpstream, tmp_path: Path) -> None:
    scripted.reset()
    gateway, gate = begin(tmp_path, scripted, 2), Gate(streamed=True)
    scripted.play("o1", gate)
    posts = Posts(gateway, 16, streamed=True)
    scripted.wait(16)
    gateway.process.send_signal(signal.SIGTERM)
    until(lambda: not _listens(gateway.port))
    gate.open()
    posts.done()
    assert posts.whole == 16
    assert gateway.stop() == 0


def test_workers_end_with_their_parent_and_it_starts_again_with_all_voided(
    scripted: ScriptedUpstream, tmp_path: Path
) -> None:
    scripted.reset()
    gateway = begin(tmp_path, scripted, 2)
    pids = workers_of(gateway)
    assert len(pids) == 2
    scripted.play("o1", Gate(streamed=True))
    posts = Posts(gateway, 6, streamed=True)
    scripted.wait(6)
    gateway.process.kill()
    posts.done()
    assert posts.whole == 0
    until(lambda: not any(_is_worker(pid) for pid in pids))
    gateway.stop()
    scripted.reset()
    gateway.start()
    assert gateway.credits() == 1000
    assert gateway.stop() == 0


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
