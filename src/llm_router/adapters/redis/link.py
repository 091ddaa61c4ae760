"""One connection to the server. What is asked at the same time goes out together; answers come in order.

There is one batch on its way at a time, so that between two of them this side knows exactly what the
server has done. When one fails, what it did is unknown: the link counts as down, everybody who waits is
told so, and a new connection begins with a beat.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from redis.asyncio import ConnectionPool
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import InvalidResponse, RedisError

from llm_router.adapters.redis.scripts import ADMIT, BEAT, LEAVE, RELEASE

BATCH_MAX = 128
"""Questions of one batch: a server answers so many within milliseconds."""

PAUSE_S = 0.25
"""Between two tries to connect again."""

_SCRIPTS = (ADMIT, RELEASE, BEAT, LEAVE)

_FAILED = (
    RedisError,
    OSError,
    EOFError,
    ValueError,
    TypeError,
    AttributeError,
    LookupError,
    ArithmeticError,
    RuntimeError,
)
"""How a try ends without an answer. Who answers at the port may be no such server at all, and the client
library reads whatever comes: it fails in its own ways over what it does not expect."""

Answered = Callable[[Any], None]


class Ask:
    """One call of a script. ``answered`` gets its reply in the link's own task, None if it is lost."""

    __slots__ = ("answered", "arguments", "keys", "script")

    def __init__(
        self,
        script: str,
        keys: Sequence[str],
        arguments: Sequence[str | int],
        answered: Answered | None = None,
    ) -> None:
        self.script = script
        self.keys = keys
        self.arguments = arguments
        self.answered = answered


class Link:
    """Attributes:
    up: questions are taken. Else they would be lost.
    beat: makes the first question of a connection, and one that is asked every ``beat_s``.
    changed: told of every change between up and down, with the reason where it is down.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout_s: float,
        beat_s: float,
        beat: Callable[[], Ask],
        changed: Callable[[str | None], None],
    ) -> None:
        self.up = False
        self._timeout_s = timeout_s
        self._beat_s = beat_s
        self._beat = beat
        self._changed = changed
        pool = ConnectionPool.from_url(
            url,
            protocol=2,
            socket_timeout=None,
            socket_connect_timeout=timeout_s,
            retry=Retry(NoBackoff(), 0),
        )
        self._connection: AbstractConnection = pool.make_connection()  # type: ignore[no-untyped-call]
        self._queue: deque[Ask] = deque()
        self._wake = asyncio.Event()
        self._hashes: dict[str, str] = {}
        self._task: asyncio.Task[None] | None = None
        self._tried = asyncio.Event()

    async def start(self) -> None:
        """Connect; return when it is up or has failed once."""
        self._task = asyncio.get_running_loop().create_task(self._work(), name="counters")
        await self._tried.wait()

    def ask(self, ask: Ask) -> None:
        """Queue a question. The link must be up."""
        self._queue.append(ask)
        self._wake.set()

    async def close(self, last: Ask) -> None:
        """Ask one more thing, wait for what is queued, and end."""
        if self.up:
            done = asyncio.get_running_loop().create_future()
            self.ask(Ask(last.script, last.keys, last.arguments, done.set_result))
            await asyncio.shield(done)
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        await self._connection.disconnect(nowait=True)

    async def _work(self) -> None:
        while True:
            try:
                await self._connect()
                await self._serve()
            except TimeoutError as error:
                self._fail(str(error) or "it did not answer in time")
            except _FAILED as error:
                self._fail(str(error) or type(error).__name__)
            self._tried.set()
            with contextlib.suppress(*_FAILED):
                await self._connection.disconnect(nowait=True)
            await asyncio.sleep(PAUSE_S)

    async def _connect(self) -> None:
        async with asyncio.timeout(max(1.0, self._timeout_s)):
            await self._connection.connect()  # type: ignore[no-untyped-call]
            for script in _SCRIPTS:
                await self._connection.send_command("SCRIPT", "LOAD", script)
                self._hashes[script] = _hash_of(script, await self._connection.read_response())
        self._queue.append(
            self._beat()
        )  # while it counts as down; from here on everything that happens is asked after it
        self._queue[-1].answered = self._greeted
        self.up = True

    def _greeted(self, reply: Any) -> None:
        if reply is not None:
            self._changed(None)
        self._tried.set()

    async def _serve(self) -> None:
        loop = asyncio.get_running_loop()
        beat_at = loop.time() + self._beat_s
        while True:
            if not self._queue:
                self._wake.clear()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout_at(beat_at):
                        await self._wake.wait()
            if loop.time() >= beat_at:
                self._queue.appendleft(self._beat())
                beat_at = loop.time() + self._beat_s
            async with asyncio.timeout(self._timeout_s):
                await self._exchange()

    async def _exchange(self) -> None:
        """Send a batch, and hand out its answers as they come.

        Raises:
            InvalidResponse: what came is no answer; whoever asked still waits, as everybody after.
        """
        connection, queue = self._connection, self._queue
        batch = [queue[n] for n in range(min(BATCH_MAX, len(queue)))]
        commands = [
            ("EVALSHA", self._hashes[ask.script], len(ask.keys), *ask.keys, *ask.arguments) for ask in batch
        ]
        await connection.send_packed_command(connection.pack_commands(commands), check_health=False)
        for ask in batch:
            reply = await connection.read_response(disconnect_on_error=False)
            if not _answers(ask, reply):
                raise InvalidResponse("its reply is no answer to what it was asked")
            queue.popleft()
            if ask.answered is not None:
                ask.answered(reply)

    def _fail(self, reason: str) -> None:
        """Nothing is known of what is still queued."""
        lost, self._queue = self._queue, deque()
        self.up = False
        self._changed(reason)
        for ask in lost:
            if ask.answered is not None:
                ask.answered(None)


def _hash_of(script: str, reply: Any) -> str:
    """The name under which the server keeps a script.

    Raises:
        InvalidResponse: the reply is another: nobody who keeps scripts answers there.
    """
    name = hashlib.sha1(script.encode(), usedforsecurity=False).hexdigest()
    if reply != name.encode():
        raise InvalidResponse("what answers there is no Redis or Valkey server")
    return name


def _answers(ask: Ask, reply: Any) -> bool:
    """Whether a reply has the form that the script's have."""
    if ask.script != ADMIT:
        return isinstance(reply, int)
    limits = len(ask.keys) - 1
    return (
        isinstance(reply, list)
        and len(reply) == 2 + 4 * limits
        and all(isinstance(number, int) for number in reply)
        and 0 <= reply[0] <= limits
    )
