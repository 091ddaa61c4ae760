"""One connection between a worker and the process that owns the stores. Both sides ask and answer.

    frame     length (4 bytes, big endian), then MessagePack: [number, what, body]
    ask       what = the name of a call, body = its arguments; number 0 wants no answer
    answer    what = "" (body = the result) or "!" (body = a Failure), under the number of the ask
    post      number 0, what = "+", body = what was posted since the last frame, in one array

Frames that come up in one turn of the event loop leave in one write, and are read together at the
other end: one wake-up a batch. An ask ends with its answer, at its deadline, or with the connection.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import cast

import msgspec

from llm_router.adapters.shared.failures import UNFORESEEN, Failure, raised, told
from llm_router.domain.errors import LedgerUnavailable, RouterError
from llm_router.ports import Landing

FRAME_BYTES_MAX = 256 * 1024 * 1024
"""More than the largest response that is kept; a longer frame is no frame of ours."""

ASKS_MAX = 16_384
"""Asks that may wait for their answers; beyond it new ones are refused, not queued."""

ANSWERING_MAX = 4096
"""Asks of the other side under way here; beyond it no more are read from the connection."""

SWEEP_S = 0.5
"""How often deadlines are looked at: one timer for all asks."""

_LENGTH = 4
_ANSWER, _FAILURE, _POST = "", "!", "+"

Handler = Callable[[str, msgspec.Raw], Awaitable[bytes]]
"""Answers an ask: its name and encoded arguments to its encoded result."""


class Message(msgspec.Struct, frozen=True, array_like=True):
    number: int
    what: str
    body: msgspec.Raw


_encoder = msgspec.msgpack.Encoder()
_messages = msgspec.msgpack.Decoder(Message)
_failures = msgspec.msgpack.Decoder(Failure)
_POST_HEAD = (
    b"\x93\x00" + _encoder.encode(_POST) + b"\xdd"
)  # an array of three, the last one of as many as follows


class Link(asyncio.Protocol):
    """A connection. ``handler`` answers the other side; ``lost`` is called once when it has ended.

    Attributes:
        closed: becomes true with the end of the connection.
        asked: who waits for an answer by its number, until when, and what is undone if none comes.
        hear: what is done with the array of what the other side posted, in one step.
        undo: undoes something that was asked, and may have been done without an answer of it.
    """

    def __init__(self, handler: Handler, lost: Callable[[], None] = lambda: None) -> None:
        self._loop = asyncio.get_running_loop()
        self._time = self._loop.time
        self._handler = handler
        self._lost = lost
        self._transport: asyncio.Transport | None = None
        self._input = bytearray()  # of a frame that has not come whole
        self._needed = 0  # so much of it is worth another look
        self._output: list[bytes] = []
        self._posted: list[bytes] = []
        self.asked: dict[int, tuple[Landing, float, str | None]] = {}
        self._number = 0
        self._answering: set[asyncio.Task[None]] = set()
        self._sweeping: asyncio.TimerHandle | None = None
        self.closed = False
        self.hear: Callable[[msgspec.Raw], None] = _unheard
        self.undo: Callable[[str], None] = lambda _: None

    # -- asking ------------------------------------------------------------------------------------

    async def ask(self, name: str, arguments: bytes, timeout_s: float) -> msgspec.Raw:
        """Ask, and wait for the answer. The ask itself is on its way when this first waits, and a
        cancellation does not take it back.

        Raises:
            LedgerUnavailable: the other side has gone, or did not answer in time: what was asked may
                have happened or not.
            RouterError, ValueError: what the other side raised.
        """
        future: asyncio.Future[msgspec.Raw] = self._loop.create_future()
        self.ask_now(name, arguments, timeout_s, future)
        answer: msgspec.Raw = await future
        return answer

    def ask_now(self, name: str, arguments: bytes, timeout_s: float, landing: Landing) -> None:
        """Ask; ``landing`` hears of the answer.

        Raises:
            LedgerUnavailable: nothing was asked, and ``landing`` hears nothing.
        """
        self.check_room()
        self._write(self.expect(landing, timeout_s), name, arguments)

    def tell(self, name: str, arguments: bytes) -> None:
        """Ask for no answer; at once, ahead of nothing that was asked before. Lost with the connection."""
        if not self.closed:
            self._write(0, name, arguments)
            self._flush()

    def post(self, item: bytes) -> None:
        """Send something that is encoded, with all else that is posted in this turn of the event loop. Lost with the
        connection."""
        if not (self._posted or self._output):
            self._loop.call_soon(self._flush)
        self._posted.append(item)

    def expect(self, landing: Landing, timeout_s: float, undo: str | None = None) -> int:
        """The number under which an answer is expected. ``landing`` hears of it by whoever takes it out of ``asked``, or
        of LedgerUnavailable; then that is undone."""
        self._number = number = self._number + 1
        self.asked[number] = landing, self._time() + timeout_s, undo
        if self._sweeping is None:
            self._sweeping = self._loop.call_later(SWEEP_S, self._sweep)
        return number

    def check_room(self) -> None:
        """
        Raises:
            LedgerUnavailable: the connection has ended, or too much waits already.
        """
        if self.closed:
            raise gone()
        if len(self.asked) >= ASKS_MAX:
            raise LedgerUnavailable(
                "The ledger is too slow for this load. Try again shortly.", retry_after_s=1
            )

    def _write(self, number: int, what: str, body: bytes) -> None:
        frame = _encoder.encode((number, what, msgspec.Raw(body)))
        if self._posted:
            self._seal()
        elif not self._output:
            self._loop.call_soon(self._flush)
        self._output += (len(frame).to_bytes(_LENGTH, "big"), frame)

    def _seal(self) -> None:
        """Make one frame of what was posted: what is written next comes behind it."""
        posted = self._posted
        size = len(_POST_HEAD) + _LENGTH + sum(map(len, posted))
        self._output += (
            size.to_bytes(_LENGTH, "big"),
            _POST_HEAD,
            len(posted).to_bytes(_LENGTH, "big"),
            *posted,
        )
        posted.clear()

    def _flush(self) -> None:
        if self._posted:
            self._seal()
        if self._output and self._transport is not None and not self.closed:
            self._transport.write(b"".join(self._output))
        self._output.clear()

    def _sweep(self) -> None:
        """Give up what nobody answered in time."""
        self._sweeping = None
        now_s = self._loop.time()
        for number in [number for number, (_, due_s, _) in self.asked.items() if due_s <= now_s]:
            self._give_up(number, late())
        if self.asked and not self.closed:
            self._sweeping = self._loop.call_later(SWEEP_S, self._sweep)

    def _give_up(self, number: int, error: LedgerUnavailable) -> None:
        landing, _, undo = self.asked.pop(number)
        if undo is not None:
            self.undo(undo)
        _fail(landing, error)

    # -- the connection ----------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's own is no subclass of it

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        if self._sweeping is not None:
            self._sweeping.cancel()
        for number in list(self.asked):
            self._give_up(number, gone())
        self._lost()

    def close(self) -> None:
        """Send what waits, then end the connection."""
        if self._transport is not None:
            self._flush()
            self._transport.close()

    async def answered(self) -> None:
        """Wait until everything that the other side asked is done."""
        while self._answering:
            await asyncio.wait(self._answering)

    def data_received(self, data: bytes) -> None:
        at, buffer = 0, self._input
        if buffer:  # the rest of a frame
            buffer += data
            if len(buffer) < self._needed:
                return
            data = bytes(buffer)
            buffer.clear()
        while len(data) - at >= _LENGTH:
            end = at + _LENGTH + int.from_bytes(data[at : at + _LENGTH], "big")
            if end - at > FRAME_BYTES_MAX:
                self._break()
                return
            if end > len(data):
                break
            self._take(data[at + _LENGTH : end])
            at = end
        if at < len(data):
            buffer += data[at:] if at else data
            self._needed = _LENGTH if len(buffer) < _LENGTH else end - at

    def _take(self, frame: bytes) -> None:
        try:
            message = _messages.decode(frame)
        except msgspec.MsgspecError:
            self._break()
            return
        if message.what in (_ANSWER, _FAILURE):
            asked = self.asked.pop(message.number, None)
            if asked is not None:
                _resolve(asked[0], message)
            return
        if message.what == _POST:
            try:
                self.hear(message.body)
            except msgspec.MsgspecError:
                self._break()
            return
        task = self._loop.create_task(self._answer(message))
        self._answering.add(task)
        task.add_done_callback(self._done)
        if len(self._answering) == ANSWERING_MAX and self._transport is not None:
            self._transport.pause_reading()

    def _done(self, task: asyncio.Task[None]) -> None:
        full = len(self._answering) >= ANSWERING_MAX
        self._answering.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._loop.call_exception_handler(
                {"message": "unforeseen error between worker and ledger", "exception": error}
            )
        if full and len(self._answering) < ANSWERING_MAX and self._transport is not None and not self.closed:
            with contextlib.suppress(RuntimeError):  # it was not paused
                self._transport.resume_reading()

    async def _answer(self, message: Message) -> None:
        what, body = _FAILURE, _encoder.encode(UNFORESEEN)
        try:
            what, body = _ANSWER, await self._handler(message.what, message.body)
        except (RouterError, ValueError) as error:
            body = _encoder.encode(told(error))
        finally:
            if message.number and not self.closed:
                self._write(message.number, what, body)

    def _break(self) -> None:
        """The other side does not speak this protocol: end it."""
        if self._transport is not None:
            self._transport.abort()


def _unheard(posted: msgspec.Raw) -> None:
    raise msgspec.ValidationError("nothing may be posted here")


def gone() -> LedgerUnavailable:
    return LedgerUnavailable("The ledger's process has ended. Try again shortly.", retry_after_s=1)


def late() -> LedgerUnavailable:
    return LedgerUnavailable("The ledger did not answer in time. Try again shortly.", retry_after_s=5)


def _resolve(future: Landing, message: Message) -> None:
    if message.what == _ANSWER:
        if not future.done():
            future.set_result(message.body)
    else:
        _fail(future, raised(_failures.decode(message.body)))


def _fail(future: Landing, error: Exception) -> None:
    if not future.done():  # else the wait was cancelled
        future.set_exception(error)
        future.exception()  # counts as seen
