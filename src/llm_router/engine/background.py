"""Background responses: exchanges that go on without their client.

    create ── admitted? ── no: the error is the answer
                │ yes: kept as queued, and the client has its answer
                └── the exchange runs in a task of its own, always streamed, into a Run
    end ───── completed, incomplete or failed as its last event says; cancelled; failed if the gateway
              stopped or died before

The exchange is an ordinary one: it holds, settles and records as any other, exactly once. Its last
state is in the store before anybody is told of the end.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import msgspec

from llm_router.domain import late
from llm_router.domain.errors import InvalidRequest, LedgerUnavailable, Overloaded, RouterError, ServerError
from llm_router.domain.stored import StoredResponse
from llm_router.domain.usage import Provenance
from llm_router.engine.admit import Call
from llm_router.engine.responses import Responses, Turn
from llm_router.engine.tracks import Track, reply_headers
from llm_router.ports import Client, OtherRuns
from llm_router.wire.chat import Raw
from llm_router.wire.dialect import Bill
from llm_router.wire.verbatim import dump

if TYPE_CHECKING:
    from llm_router.wire.dialects.openai_responses import state
else:  # few gateways keep responses
    state = late.module("llm_router.wire.dialects.openai_responses.state")

LOOK_S = 0.5
"""Pause between two looks at a response that another process makes."""

PURGE_S = 600.0
"""Pause between two looks at what has expired."""

RESTARTED = "The gateway was restarted while this response was made. Nothing was charged; create it again."

UNFORESEEN = "The gateway met an unforeseen error; it was reported to its operator."

Headers = list[tuple[bytes, bytes]]


class Run:
    """One background exchange under way: the engine's client, and what others may read of it.

    Attributes:
        track: the exchange, once it is admitted; row: as it is kept since then.
        frames: its events so far; an event's place is its sequence number.
        last: its last events, which are told only when they are kept.
        begun: the model has said something.
        over: no event will follow.
        cancelled: its client cancelled it.
        refusal: status, headers and body of the answer, if it was not admitted.
    """

    last_sent_s = 0.0

    def __init__(self, turn: Turn, bytes_max: int) -> None:
        self.turn = turn
        self.track: Track | None = None
        self.row: StoredResponse | None = None
        self.frames: list[bytes] = []
        self.last = b""
        self.begun = False
        self.over = False
        self.cancelled = False
        self.refusal: tuple[int, Headers, bytes] | None = None
        self.ready = asyncio.Event()
        self.exchange: asyncio.Task[bool] | None = None
        self.task: asyncio.Task[None] | None = None
        self._bytes_max = bytes_max
        self._size = 0
        self._changed = asyncio.Condition()

    @property
    def started(self) -> bool:
        """An admitted one has its answer: errors belong into the stream."""
        return self.track is not None

    async def start(self, status: int, headers: Headers) -> None:
        self.refusal = (status, headers, b"")

    async def beat(self, status: int, headers: Headers, data: bytes) -> None:
        """Nothing: whoever serves its readers keeps them awake."""

    async def send(self, data: bytes) -> None:
        self._size += len(data)
        if self._size > self._bytes_max:
            raise ServerError(
                f"The answer is larger than what this gateway keeps of one ({self._bytes_max} bytes)."
            )
        self.begun = True
        await self._add(data)

    async def finish(self, data: bytes = b"") -> None:
        if self.refusal is not None:
            self.refusal = (*self.refusal[:2], data)
        else:
            self.last = data

    async def end(self) -> None:
        """Tell the last events: nothing more will come."""
        await self._add(self.last)
        async with self._changed:
            self.over = True
            self._changed.notify_all()

    async def _add(self, data: bytes) -> None:
        async with self._changed:
            self.frames += self.new_frames(data)
            self._changed.notify_all()

    def new_frames(self, data: bytes) -> list[bytes]:
        """The events in the engine's bytes, but for the first of all: that one, which has the id, was told
        at once."""
        found = [part + b"\n\n" for part in data.split(b"\n\n") if part.startswith(b"event:")]
        return found[1:] if found and state.is_created(found[0]) else found

    async def wait(self, position: int, timeout_s: float | None) -> None:
        """Wait for the event at that position, or the end; at most so long."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s), self._changed:
                await self._changed.wait_for(lambda: self.over or len(self.frames) > position)

    def body(self) -> bytes:
        """The response as it stands, before its end."""
        assert self.row is not None
        status = "in_progress" if self.begun else "queued"
        return state.with_members(self.row.body, status=status)


class Background:
    """The background responses of this process."""

    def __init__(self, responses: Responses, others: OtherRuns | None = None) -> None:
        self.kept = responses
        self._others = others
        self._engine = responses.engine
        self._runs: set[Run] = set()
        self._admitted: dict[tuple[str, str], Run] = {}
        self._purging: asyncio.Task[None] | None = None

    async def begin(self) -> None:
        """End what an earlier process left unfinished, and begin to purge."""
        for row in await self.kept.store.unfinished():
            await self.kept.put(broken_off(row))
        self._purging = asyncio.get_running_loop().create_task(self._purge(), name="responses-purge")

    async def idle(self) -> None:
        """Wait until none runs."""
        while tasks := [run.task for run in self._runs if run.task is not None]:
            await asyncio.wait(tasks)

    async def close(self) -> None:
        """Wait until what the engine has ended is kept."""
        if self._purging is not None:
            self._purging.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._purging
        await self.idle()

    async def _purge(self) -> None:
        while True:
            with contextlib.suppress(RouterError):  # the next round tries again
                await self.kept.purge()
            await asyncio.sleep(PURGE_S)

    # -- create ------------------------------------------------------------------------------------

    async def serve(self, call: Call, client: Client) -> bool:
        """Answer a request for a response, in the background or not; return whether the answer was whole.

        Raises:
            RouterError: it is refused before anything is held.
        """
        turn = await self.kept.prepare(call)
        if not turn.asked.background:
            return await self._engine.serve(turn.call, self.kept.keeper(turn, client))
        run = await self._launch(turn)
        if run.refusal is not None:
            status, headers, body = run.refusal
            await client.start(status, headers)
            await client.finish(body)
            return False
        if run.track is None or run.row is None:
            raise ServerError(UNFORESEEN)
        headers = reply_headers(run.track)
        if turn.asked.stream:
            await self._tell(run, client, 0, headers)
            return True
        await client.start(200, [(b"content-type", b"application/json"), *headers[1:]])
        await client.finish(run.row.body)
        return True

    async def _launch(self, turn: Turn) -> Run:
        """Start the exchange; return when it is admitted, or refused.

        Raises:
            Overloaded: too many run.
        """
        rules = self.kept.rules
        if len(self._runs) >= rules.background_max:
            raise Overloaded(
                f"This gateway makes {rules.background_max} background responses at the same time, its limit. "
                "Retry later.",
                retry_after_s=10.0,
            )
        run = Run(turn, rules.response_bytes_max)
        self._runs.add(run)
        run.task = asyncio.get_running_loop().create_task(self._run(run), name="background-response")
        try:
            await run.ready.wait()
        except asyncio.CancelledError:  # nobody knows of it
            await self._cancel(run)
            raise
        return run

    async def _run(self, run: Run) -> None:
        call = msgspec.structs.replace(run.turn.call, body=state.streamed(run.turn.call.body))
        run.exchange = asyncio.get_running_loop().create_task(
            self._engine.serve(call, run, lambda track: self._begin(run, track))
        )
        if run.cancelled:  # before it began
            run.exchange.cancel()
        try:
            await asyncio.wait((run.exchange,))
            error = None if run.exchange.cancelled() else run.exchange.exception()
            if error is not None:
                _report(error)
            if run.row is not None:
                await self._conclude(run)
        finally:
            self._runs.discard(run)
            run.ready.set()
            if run.row is not None:
                self._admitted.pop((run.row.account, run.row.id), None)

    async def _begin(self, run: Run, track: Track) -> None:
        """Keep an exchange that was admitted, so that its client can be told of it.

        Raises:
            LedgerUnavailable: it cannot be kept.
        """
        context = track.context()
        queued = {name: dump(value) for name, value in state.queued(context).items()}
        row = self.kept.stored(run.turn, queued, context.reply_id)
        await self.kept.store.put(row)
        run.row, run.track = row, track
        run.frames.append(state.created_event(queued))
        same = {name: queued[name] for name in ("created_at", "model")}  # in all events as in this one
        track.call = msgspec.structs.replace(track.call, state={**(track.call.state or {}), **same})
        self._admitted[row.account, row.id] = run
        run.ready.set()

    async def _conclude(self, run: Run) -> None:
        """Keep the last state of a run, then tell it."""
        assert run.row is not None
        response = state.last_response(run.last, stream=True)
        if response is None:
            response = await self._unanswered(run)
            run.last = state.last_events(response, len(run.frames))
        frames = [*run.frames, *run.new_frames(run.last)] if run.turn.asked.stream else []
        row = self.kept.stored(run.turn, response, run.row.id, b"".join(frames))
        await self.kept.converse(run.turn, response)
        if not await self.kept.put(row):
            error = ServerError(
                "The response was made, but it is too large to be kept, or the disk refused it."
            )
            body = state.failed(run.row.body, error, run.row.id)
            await self.kept.put(msgspec.structs.replace(run.row, status="failed", body=body))
        await run.end()

    async def _unanswered(self, run: Run) -> dict[str, Raw]:
        """The last state of a run that ended without an answer or an error: what was said until then."""
        assert run.row is not None
        assert run.track is not None
        if not run.cancelled:
            error = ServerError(UNFORESEEN)
            return state.response_of(state.failed(run.row.body, error, run.track.id))
        record, bill = None, None
        with contextlib.suppress(LedgerUnavailable):  # it ends all the same; its bill stands in the record
            record = await self._engine.books.generation(run.row.account, run.track.id)
        if record is not None and record.usage.provenance is not Provenance.NONE:
            remaining = await self._engine.books.balance(run.row.account)
            bill = Bill(usage=record.usage, cost_pusd=record.cost_pusd, credits_remaining_pusd=remaining)
        return state.cancelled(run.row.body, run.frames, bill)

    # -- read, cancel, delete ----------------------------------------------------------------------

    async def get(self, account: str, id_: str) -> bytes:
        """The response as it stands.

        Raises:
            NotFound: the account has no such response.
        """
        run = self._admitted.get((account, id_))
        return run.body() if run is not None else (await self.kept.get(account, id_)).body

    async def stream(self, account: str, id_: str, after: int, client: Client, headers: Headers) -> None:
        """Send the events of a background response that follow the one with the number ``after``.

        Raises:
            NotFound: the account has no such response.
            InvalidRequest: its events are not kept.
        """
        run = self._admitted.get((account, id_))
        if run is not None and run.turn.asked.stream:
            await self._tell(run, client, after + 1, headers)
            return
        events = b"" if run is not None else (await self._made(account, id_)).events
        if not events:
            raise InvalidRequest(
                "Only a response that was created with both 'background' and 'stream' can be streamed again. "
                "Leave 'stream' out to retrieve it.",
                param="stream",
            )
        parts = events.split(b"\n\n")[after + 1 : -1]
        await client.start(200, headers)
        await client.finish(b"".join(part + b"\n\n" for part in parts))

    async def _made(self, account: str, id_: str) -> StoredResponse:
        """A response as it is kept. Of one that another process makes the events can be read at its end.

        Raises:
            NotFound: the account has no such response.
        """
        row = await self.kept.get(account, id_)
        while row.unfinished and row.background and self._others is not None:
            await asyncio.sleep(LOOK_S)
            row = await self.kept.get(account, id_)
        return row

    async def cancel(self, account: str, id_: str) -> bytes:
        """End a background response; return it as it then is. Of one that has ended nothing changes.

        Raises:
            NotFound: the account has no such response.
            InvalidRequest: it was not made in the background.
        """
        await self._end(account, id_)
        row = await self.kept.get(account, id_)
        if not row.background:
            raise InvalidRequest("Only a response that was created with 'background' can be cancelled.")
        return row.body

    async def delete(self, account: str, id_: str) -> None:
        """Delete for good; one that is still being made is cancelled before.

        Raises:
            NotFound: the account has no such response.
        """
        await self._end(account, id_)
        await self.kept.delete(account, id_)

    async def _end(self, account: str, id_: str) -> None:
        """Cancel it where it is being made, if it is."""
        run = self._admitted.get((account, id_))
        if run is not None:
            await self._cancel(run)
        elif self._others is not None:
            await self._others.cancel(account, id_)

    async def _cancel(self, run: Run) -> None:
        run.cancelled = True
        if run.exchange is not None:
            run.exchange.cancel()
        if run.task is not None:
            await asyncio.wait((run.task,))

    async def _tell(self, run: Run, client: Client, position: int, headers: Headers) -> None:
        """Send a run's events from a position on until its end."""
        beat_s = self._engine.state.heartbeat_s
        await client.start(200, headers)
        while True:
            await run.wait(position, beat_s if beat_s > 0 else None)
            found, over = run.frames[position:], run.over
            position += len(found)
            if found:
                await client.send(b"".join(found))
            elif not over:
                await client.send(run.turn.call.dialect.heartbeat)
            if over:
                await client.finish()
                return


def broken_off(row: StoredResponse) -> StoredResponse:
    """The last state of a response whose process ended before it was made."""
    body = state.failed(row.body, ServerError(RESTARTED), row.id)
    return msgspec.structs.replace(row, status="failed", body=body)


def _report(error: BaseException) -> None:
    """Tell the operator of a bug."""
    asyncio.get_running_loop().call_exception_handler(
        {"message": "unforeseen error in a background response", "exception": error}
    )
