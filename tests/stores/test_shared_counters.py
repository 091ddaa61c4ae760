"""Limits counted at a server: as in memory, exact over processes, and what happens when it goes away."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis_server import Server, needs_server
from store_cases import run

from llm_router.adapters.clock import SystemClock
from llm_router.adapters.memory.counters import MemoryCounters
from llm_router.domain.budget import Scope, Window
from llm_router.domain.limit import WINDOWS_MS, Limit, LimitKind
from llm_router.limits.tally import Tally

pytestmark = needs_server

HAMMER = Path(__file__).parent / "counters_hammer.py"


def limit(kind: str, amount: int, window: str = "minute", scope_id: str = "k") -> Limit:
    return Limit(
        id=f"{kind}-{window}-{scope_id}",
        account="acme",
        scope=Scope.KEY,
        scope_id=scope_id,
        kind=LimitKind(kind),
        amount=amount,
        window=None if kind == "concurrency" else Window(window),
    )


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.kill()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    own = Server(tmp_path)
    own.start()
    yield own
    own.kill()


async def connect(server: Server, node: str = "n1", **options: Any) -> Any:
    from llm_router.adapters.redis.counters import RedisCounters

    defaults: dict[str, Any] = {"timeout_s": 20, "local_share": 1, "say": lambda line: None}
    return await RedisCounters.open(server.url, node, SystemClock(), **(defaults | options))


# The port, the same for both.


@pytest.fixture(params=["memory", "redis"])
def open_counters(request: pytest.FixtureRequest, server: Server) -> Callable[[], Any]:
    async def opened() -> Any:
        return MemoryCounters() if request.param == "memory" else await connect(server)

    return opened


def with_counters(open_counters: Callable[[], Any], scenario: Callable[[Any], Any]) -> None:
    async def main() -> None:
        counters = await open_counters()
        try:
            assert counters.problem() is None
            await scenario(counters)
        finally:
            await counters.close()

    run(main())


def test_all_limits_move_or_none(open_counters: Callable[[], Any]) -> None:
    limits = [limit("requests", 3), limit("tokens", 100, "hour"), limit("concurrency", 2)]

    async def scenario(counters: Any) -> None:
        first = await counters.admit("1", limits, 60, 0)
        assert first.refused is None
        assert [(s.kind, s.remaining) for s in first.limits] == [
            ("requests", 2), ("tokens", 40), ("concurrency", 1),
        ]  # fmt: skip
        refused = await counters.admit("2", limits, 60, 0)
        assert (refused.refused, refused.remaining) == (limits[1], 40)
        assert 3600 <= refused.retry_after_s <= 3660
        assert (await counters.admit("3", limits, 40, 0)).refused is None  # the refused one took nothing
        refused = await counters.admit("4", limits, 0, 0)
        assert (refused.refused, refused.retry_after_s) == (limits[2], 1.0)
        await counters.release("1", 50, 0)
        await counters.release("1", 0, 0)  # once only
        await counters.release("2", 0, 0)  # was never admitted
        last = await counters.admit("5", limits, 10, 0)
        assert last.refused is None
        assert [(s.kind, s.remaining) for s in last.limits] == [
            ("requests", 0), ("tokens", 0), ("concurrency", 0),
        ]  # fmt: skip
        await counters.release("3", 45, 0)  # more than it was taken for
        over = await counters.admit("6", [limits[1]], 1, 0)
        assert (over.refused, over.remaining) == (limits[1], 0)

    with_counters(open_counters, scenario)


def test_no_limit_is_no_question(open_counters: Callable[[], Any]) -> None:
    async def scenario(counters: Any) -> None:
        assert (await counters.admit("1", [], 10**9, 0)).limits == ()
        await counters.release("1", 5, 0)

    with_counters(open_counters, scenario)


def test_a_wait_that_is_cancelled_leaves_no_place_taken(open_counters: Callable[[], Any]) -> None:
    limits = [limit("concurrency", 1), limit("tokens", 100)]

    async def scenario(counters: Any) -> None:
        for turns in range(4):
            task = asyncio.ensure_future(counters.admit(f"t{turns}", limits, 60, 0))
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
            await counters.release(f"t{turns}", 0, 0)
        # What was asked before is answered before.
        admission = await counters.admit("last", limits, 100, 0)
        if admission.refused is not None:  # the release of a cancelled one is right behind this
            admission = await counters.admit("last", limits, 100, 0)
        assert admission.refused is None

    with_counters(open_counters, scenario)


# The scripts decide as the tally does, on a clock of the test's own.

LIMITS = st.lists(
    st.builds(
        limit,
        st.sampled_from(("requests", "tokens", "concurrency")),
        st.integers(0, 9),
        st.sampled_from(("minute", "hour", "day")),
        st.sampled_from(("k", "team")),
    ),
    min_size=1,
    max_size=4,
    unique_by=lambda one: one.id,
)
SLICES_MS = (1_000, 60_000, 1_440_000)
PAUSES = st.builds(lambda size, count: size * count, st.sampled_from(SLICES_MS), st.integers(0, 61))
STEPS = st.lists(
    st.tuples(
        st.integers(0, 30_000) | PAUSES,
        st.integers(0, 9),
        st.none() | st.integers(0, 50),
        st.integers(0, 14),
    ),
    max_size=30,
)


class Scripts:
    """The scripts, called one by one, with a key in place of the server's clock."""

    def __init__(self, url: str) -> None:
        import redis

        from llm_router.adapters.redis import scripts

        self._names = scripts
        self._client = redis.Redis.from_url(url)
        self._client.flushall()
        clock = ("redis.call('TIME')", "redis.call('LRANGE', 'clock', 0, 1)")
        assert clock[0] in scripts.ADMIT
        assert clock[0] in scripts.RELEASE
        self._admit = scripts.ADMIT.replace(*clock)
        self._release = scripts.RELEASE.replace(*clock)
        self._open: dict[str, tuple[list[Limit], int, list[int]]] = {}

    def close(self) -> None:
        self._client.close()

    def _now(self, now_ms: int) -> None:
        self._client.delete("clock")
        self._client.rpush("clock", now_ms // 1000, now_ms % 1000 * 1000)

    def admit(self, ticket: str, limits: list[Limit], tokens: int, now_ms: int) -> tuple[Any, int, list[int]]:
        self._now(now_ms)
        keys = [self._names.NODES, *(self._names.key_of(one.id) for one in limits)]
        words: list[Any] = ["n", 10**12, tokens]
        for one in limits:
            words += [one.kind.value, one.amount, WINDOWS_MS[one.window] if one.window else 0]
        number, wait_ms, *rest = self._client.eval(self._admit, len(keys), *keys, *words)
        if number == 0:
            self._open[ticket] = (limits, tokens, rest)
        return (limits[number - 1] if number else None), wait_ms, rest[::4]

    def release(self, ticket: str, tokens_used: int, now_ms: int) -> None:
        found = self._open.pop(ticket, None)
        if found is None:
            return
        self._now(now_ms)
        limits, tokens, rest = found
        keys, words = [], ["n"]
        for i, one in enumerate(limits):
            if one.kind is not LimitKind.REQUESTS:
                keys.append(self._names.key_of(one.id))
                length = WINDOWS_MS[one.window] if one.window else 0
                words += [length, tokens_used - tokens, *rest[4 * i + 2 : 4 * i + 4]]
        if keys:
            self._client.eval(self._release, len(keys), *keys, *words)


@given(LIMITS, STEPS)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_scripts_decide_as_memory_does(shared: Server, limits: list[Limit], steps: list[Any]) -> None:
    scripts, tally, now_ms = Scripts(shared.url), Tally(), 1_800_000_000_123
    try:
        for number, (pause_ms, tokens, ends, used) in enumerate(steps):
            now_ms += pause_ms
            if ends is not None:
                tally.release(str(ends), used, now_ms)
                scripts.release(str(ends), used, now_ms)
            expected = tally.admit(str(number), limits, tokens, now_ms)
            refused, wait_ms, used_now = scripts.admit(str(number), limits, tokens, now_ms)
            assert (refused, wait_ms) == (expected.refused, round(expected.retry_after_s * 1000))
            for state in expected.limits:
                left = [
                    max(0, one.amount - n)
                    for one, n in zip(limits, used_now, strict=True)
                    if one.kind == state.kind
                ]
                assert min(left) == state.remaining
    finally:
        scripts.close()


def test_the_edge_of_a_window(shared: Server) -> None:
    scripts, one, start_ms = Scripts(shared.url), [limit("requests", 1, "day")], 1_440_000 * 1_250_000
    try:
        assert scripts.admit("1", one, 0, start_ms)[0] is None
        assert scripts.admit("2", one, 0, start_ms + 61 * 1_440_000 - 1)[0] == one[0]
        assert scripts.admit("3", one, 0, start_ms + 61 * 1_440_000)[0] is None
    finally:
        scripts.close()


@given(STEPS, st.lists(st.integers(0, 10**10), min_size=1, max_size=30))
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_servers_clock_that_runs_backwards_lets_nothing_in_early(
    shared: Server, steps: list[Any], jumps: list[int]
) -> None:
    scripts, tally, now_ms = Scripts(shared.url), Tally(), 1_800_000_000_123
    limits = [limit("tokens", 20), limit("requests", 4, "hour")]
    try:
        for number, (pause_ms, tokens, _, _) in enumerate(steps):
            now_ms += pause_ms - (jumps[number] if number < len(jumps) and jumps[number] % 3 == 0 else 0)
            expected = tally.admit(str(number), limits, tokens, now_ms).refused
            assert scripts.admit(str(number), limits, tokens, now_ms)[0] == expected
            now_ms += 61_000  # until the minute is over, and the hour is not
            expected = tally.admit(f"{number}-later", limits, tokens, now_ms).refused
            assert scripts.admit(f"{number}-later", limits, tokens, now_ms)[0] == expected
    finally:
        scripts.close()


def test_every_key_expires_by_itself(server: Server) -> None:
    async def main() -> None:
        import redis

        counters = await connect(server)
        limits = [limit("requests", 9), limit("tokens", 90, "day"), limit("concurrency", 5)]
        await counters.admit("1", limits, 5, 0)
        await counters.release("1", 3, 0)
        await counters.admit("2", limits, 5, 0)
        with redis.Redis.from_url(server.url) as client:
            keys = client.keys("*")
            assert len(keys) == 4
            assert all(key.startswith(b"{llm-router}:") for key in keys)
            assert all(0 < client.pttl(key) <= 2 * 86_400_000 for key in keys)
        await counters.close()

    run(main())


# Several processes.


def hammer(server: Server, node: int, asks: int, tasks: int, kind: str, amount: int) -> subprocess.Popen[str]:
    words = (server.url, f"node-{node}", asks, tasks, kind, amount)
    return subprocess.Popen(
        [sys.executable, str(HAMMER), *map(str, words)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def admitted_by(process: subprocess.Popen[str]) -> int:
    assert process.stdout is not None
    count, alone = process.stdout.readline().split()
    assert alone == "0"
    return int(count)


def ended(process: subprocess.Popen[str]) -> None:
    process.communicate(timeout=30)
    assert process.returncode == 0


def test_four_processes_share_one_limit_exactly(shared: Server) -> None:
    processes = [hammer(shared, n, 300, 16, "requests", 700) for n in range(4)]
    assert sum(map(admitted_by, processes)) == 700
    for process in processes:
        ended(process)


def test_places_are_exact_and_free_when_a_node_dies(shared: Server) -> None:
    processes = [hammer(shared, n, 20, 8, "concurrency", 30) for n in range(4)]
    counts = [admitted_by(process) for process in processes]
    assert sum(counts) == 30
    victim = max(range(4), key=lambda n: counts[n])
    processes[victim].kill()
    processes[victim].communicate()

    async def main() -> None:
        counters = await connect(shared, "later", lease_s=1)
        one = Limit(
            id="shared-concurrency",
            account="acme",
            scope=Scope.ACCOUNT,
            scope_id="acme",
            kind=LimitKind.CONCURRENCY,
            amount=30,
        )
        found = 0
        for number in range(2000):  # until its lease has ended
            admission = await counters.admit(f"later-{number}", [one], 0, 0)
            found += admission.refused is None
            if found == counts[victim]:
                break
            await asyncio.sleep(0.01)
        assert found == counts[victim]
        assert (await counters.admit("more", [one], 0, 0)).refused is not None
        await counters.close()

    run(main())
    for number, process in enumerate(processes):
        if number != victim:
            ended(process)


# The server goes away.


async def until(so: Callable[[], bool]) -> None:
    for _ in range(2000):
        if so():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it never came to be")


def test_a_server_killed_under_load_and_back(server: Server) -> None:
    said: list[str] = []
    said_by_other: list[str] = []
    hourly, places = limit("requests", 1000, "hour"), limit("concurrency", 40)

    async def main() -> None:
        counters = await connect(server, timeout_s=0.1, local_share=0.25, say=said.append)
        other = await connect(server, "n2", lease_s=0.6, say=said_by_other.append)
        for number in range(10):
            assert (await counters.admit(f"early-{number}", [hourly, places], 0, 0)).refused is None
        asked = [asyncio.ensure_future(counters.admit(f"load-{n}", [hourly], 0, 0)) for n in range(200)]
        await asyncio.sleep(0)
        server.kill()
        answers = await asyncio.gather(*asked)  # everybody gets an answer
        assert all(answer.refused is None for answer in answers)
        alone = [await counters.admit(f"alone-{n}", [hourly], 0, 0) for n in range(300)]
        assert sum(answer.refused is None for answer in alone) == 250 - 210  # a quarter, less what it had
        assert "by itself" in counters.problem()
        for number in range(3):
            await counters.release(f"early-{number}", 0, 0)
        for number in range(3):  # 7 are open, 10 its share
            assert (await counters.admit(f"held-{number}", [places], 0, 0)).refused is None
        assert (await counters.admit("more", [places], 0, 0)).refused is not None
        for number in range(2):
            await counters.release(f"held-{number}", 0, 0)
        server.start()
        await until(lambda: counters.problem() is None and len(said_by_other) == 2)
        assert len(said) == 2
        assert "does not answer" in said[0]
        assert "answers again" in said[1]
        # The new server was told of the places that are open.
        taken = [await other.admit(f"other-{n}", [places], 0, 0) for n in range(40)]
        assert sum(answer.refused is None for answer in taken) == 40 - 8
        await counters.release("early-4", 0, 0)
        await counters.admit("after", [hourly], 0, 0)
        assert (await other.admit("one more", [places], 0, 0)).refused is None
        await counters.close()
        await other.close()

    run(main())


def test_a_server_that_hangs_is_not_waited_for(server: Server) -> None:
    import signal

    async def main() -> None:
        counters = await connect(server, timeout_s=0.1)
        assert server.process is not None
        server.process.send_signal(signal.SIGSTOP)
        try:
            async with asyncio.timeout(5):
                assert (await counters.admit("1", [limit("requests", 1)], 0, 0)).refused is None
                assert (await counters.admit("2", [limit("requests", 1)], 0, 0)).refused is not None
        finally:
            server.process.send_signal(signal.SIGCONT)
        assert counters.problem() is not None
        await until(lambda: counters.problem() is None)
        await counters.close()

    run(main())


def test_a_gateway_begins_without_the_server(tmp_path: Path) -> None:
    said: list[str] = []

    async def main() -> None:
        counters = await connect(Server(tmp_path), say=said.append)
        assert counters.problem() is not None
        assert (await counters.admit("1", [limit("requests", 1)], 0, 0)).refused is None
        await counters.release("1", 0, 0)
        await counters.close()

    run(main())
    assert len(said) == 1


# Something else answers in the server's place.


ODD = {
    "echo": None,
    "ok": b"+OK\r\n",
    "list": b"*2\r\n:1\r\n$1\r\nx\r\n",
    "no number": b":one\r\n",
    "nested": b"*1\r\n" * 5000 + b":1\r\n",
    "web": b"HTTP/1.1 400 Bad Request\r\n\r\n",
}
ODD_LATER = {"echo": None, "nothing": b"$-1\r\n", "empty": b"*0\r\n", "beyond": b"*2\r\n:9\r\n:0\r\n"}


class Impostor:
    """Answers at the server's socket: everything with ``odd`` (None: what it was sent); ``loads``: but scripts are
    kept as they should be, and the first question has a good answer."""

    def __init__(self, odd: bytes | None, *, loads: bool = False) -> None:
        self.odd = odd
        self.loads = loads
        self.came = 0
        self.open: set[asyncio.StreamWriter] = set()

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.came += 1
        self.open.add(writer)
        asked = 0
        try:
            while words := await self._command(reader):
                asked += words[0] == b"EVALSHA"
                writer.write(self._answer(words, asked))
                await writer.drain()
        except (OSError, EOFError, ValueError):
            pass
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
        self.open.discard(writer)

    async def _command(self, reader: asyncio.StreamReader) -> list[bytes]:
        words = []
        for _ in range(int((await reader.readline())[1:] or b"0")):
            size = int((await reader.readline())[1:])
            words.append((await reader.readexactly(size + 2))[:-2])
        return words

    def _answer(self, words: list[bytes], asked: int) -> bytes:
        if self.loads and words[0] == b"SCRIPT":
            return b"$40\r\n" + hashlib.sha1(words[2], usedforsecurity=False).hexdigest().encode() + b"\r\n"
        if self.loads and words[0] != b"EVALSHA":
            return b"+OK\r\n"
        if self.loads and asked == 1:
            return b":0\r\n"
        if self.odd is not None:
            return self.odd
        return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in words)


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD.keys())
def test_an_odd_reply_is_a_failed_try_and_not_the_last(server: Server, odd: bytes | None) -> None:
    async def main() -> None:
        counters = await connect(server, timeout_s=0.2, lease_s=0.9)
        server.kill()
        impostor = Impostor(odd)
        door = await asyncio.start_unix_server(impostor, server.path)
        await until(lambda: impostor.came >= 2)  # it tries on
        assert counters.problem() is not None
        assert (await counters.admit("1", [limit("requests", 5)], 0, 0)).refused is None
        door.close()
        server.path.unlink(missing_ok=True)
        server.start()
        await until(lambda: counters.problem() is None)
        assert (await counters.admit("2", [limit("requests", 5)], 0, 0)).refused is None
        await counters.close()
        await until(lambda: not impostor.open)

    run(main())


@pytest.mark.parametrize("odd", ODD_LATER.values(), ids=ODD_LATER.keys())
def test_who_waits_for_an_odd_reply_is_answered_here(tmp_path: Path, odd: bytes | None) -> None:
    async def main() -> None:
        own, impostor = Server(tmp_path), Impostor(odd, loads=True)
        door = await asyncio.start_unix_server(impostor, own.path)
        counters = await connect(own, timeout_s=0.2)
        async with asyncio.timeout(30):
            asked = [counters.admit(str(n), [limit("requests", 2)], 0, 0) for n in range(3)]
            admissions = await asyncio.gather(*asked)
        assert [admission.refused is None for admission in admissions] == [True, True, False]
        came = impostor.came
        await until(lambda: impostor.came > came)
        door.close()
        async with asyncio.timeout(30):
            await counters.close()
        await until(lambda: not impostor.open)

    run(main())
