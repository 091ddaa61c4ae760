"""The lanes of a comparison: each the client of one exchange, and what its caller is told of it."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

from llm_router.domain.money import format_usd
from llm_router.domain.record import ExchangeRecord
from llm_router.engine.admit import Call
from llm_router.engine.brief import HEADER, explain_header
from llm_router.engine.tracks import Track, limit_set
from llm_router.ports import Client, Clock
from llm_router.wire.dialect import Bill, Dialect
from llm_router.wire.fold import fold
from llm_router.wire.framing.sse import SSEReader

Headers = list[tuple[bytes, bytes]]

_UNTOLD = {"message": "The lane ended without an answer.", "type": "server_error", "code": "server_error"}


class Outlet:
    """The one client of a streamed comparison: an event at a time, whichever lane it comes from."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._lock = asyncio.Lock()

    @property
    def last_sent_s(self) -> float:
        return self._client.last_sent_s

    async def send(self, data: bytes) -> None:
        async with self._lock:
            await self._client.send(data)

    async def beat(self, data: bytes) -> None:
        if not self._lock.locked():
            await self._client.beat(200, [], data)


class Lane:
    """The port Client for the exchange of one model.

    Attributes:
        track: the exchange, once its credit is held.
        status, headers, body: of its answer, if it was refused before any content.
        error: what its caller is told instead of an answer.
        over: the exchange has said its last word.
    """

    def __init__(self, number: int, model: str, call: Call, clock: Clock, outlet: Outlet | None) -> None:
        self.number = number
        self.model = model
        self.call = call
        self.track: Track | None = None
        self.started = False
        self.status = 200
        self.headers: Headers = []
        self.body = bytearray()
        self.error: dict[str, Any] | None = None
        self.over = False
        self.latency_ms = 0
        self._clock = clock
        self._outlet = outlet
        self._reader = SSEReader()
        self._usage: msgspec.Raw | None = None

    async def begin(self, track: Track) -> None:
        """The credit is held."""
        self.track = track

    # -- the port Client ---------------------------------------------------------------------------

    @property
    def last_sent_s(self) -> float:
        """When anything was sent to the one client that all lanes have."""
        return 0.0 if self._outlet is None else self._outlet.last_sent_s

    async def start(self, status: int, headers: Headers) -> None:
        self.started = True
        self.status, self.headers = status, headers

    async def send(self, data: bytes) -> None:
        await self._take(data)

    async def finish(self, data: bytes = b"") -> None:
        if self.status >= 400:
            self.body += data
            self.error = _error_in(data)
        else:
            await self._take(data)
        self.latency_ms = (self._clock.monotonic_us() - self.call.started_us) // 1000
        self.over = True
        if self.track is not None:
            await self.tell_end()

    async def tell_end(self) -> None:
        """Tell what the lane came to, where the comparison is streamed."""
        if self._outlet is not None:
            await self._outlet.send(_event(b"lane_end", self.facts()))

    async def beat(self, status: int, headers: Headers, data: bytes) -> None:
        if self._outlet is not None:
            await self._outlet.beat(data)

    async def _take(self, data: bytes) -> None:
        """Take some of the stream: tell it, or keep it until it is whole."""
        told: list[bytes] = []
        for frame in self._reader.feed(data):
            if frame.data == b"[DONE]":
                continue
            if b'"error"' in frame.data:
                self.error = _error_in(frame.data) or self.error
            if b'"usage"' in frame.data:
                self._usage = _usage_in(frame.data) or self._usage
            chunk = msgspec.Raw(frame.data.replace(b"\n", b" "))
            told.append(_event(b"lane", {"lane": self.number, "model": self.model, "chunk": chunk}))
        if self._outlet is None:
            self.body += data
        elif told:
            await self._outlet.send(b"".join(told))

    # -- what its caller is told -------------------------------------------------------------------

    @property
    def success(self) -> bool:
        return self.over and self.error is None and self.status < 400

    @property
    def cost_pusd(self) -> int:
        record = None if self.track is None else self.track.record
        return 0 if record is None else record.cost_pusd

    @property
    def error_code(self) -> str | None:
        return None if self.error is None else self.error.get("code")

    def result(self) -> dict[str, object]:
        """The lane with its whole answer."""
        facts = self.facts()
        if self.success:
            facts["response"] = self._response()
        return facts

    def facts(self) -> dict[str, object]:
        """The lane without its answer."""
        facts: dict[str, object] = {
            "lane": self.number,
            "model": self.model,
            "id": self._id(),
            "success": self.success,
            "latency_ms": self.latency_ms,
        }
        record = None if self.track is None else self.track.record
        if record is not None:
            facts |= {
                "answered_by": self._answered_by(record),
                "first_token_ms": record.first_token_ms,
                "finish_reason": record.finish,
                "tokens": {
                    "prompt": record.usage.prompt_tokens,
                    "completion": record.usage.completion_tokens,
                    "total": record.usage.total_tokens,
                },
            }
            if record.losses:
                facts["losses"] = record.losses
            if (limit := None if self.track is None else limit_set(self.track.admitted)) is not None:
                facts["max_tokens"] = limit
        if (said := self._explained()) is not None:
            facts["explain"] = said
        facts["cost"] = msgspec.Raw(format_usd(self.cost_pusd).encode())
        if not self.success:
            facts |= {"status": self.status, "error": self.error or _UNTOLD}
        return facts

    def _explained(self) -> str | None:
        """Its decision in short, where the comparison asks for it: as it stands at its end, else at its refusal."""
        said = None if self.track is None else explain_header(self.track)
        if said is None:
            said = next((value for name, value in self.headers if name.decode() == HEADER), None)
        return None if said is None else said.decode("ascii")

    def _answered_by(self, record: ExchangeRecord) -> dict[str, object]:
        """Who it was, as the headers of a single answer tell it."""
        candidate = None if self.track is None else self.track.candidate
        simulated = candidate is not None and candidate.provider.simulated
        who: dict[str, object] = {"model": record.model, "provider": record.provider}
        return {**who, "simulated": True} if simulated else who

    def _id(self) -> str | None:
        if self.track is not None:
            return self.track.id
        return next((value.decode() for name, value in self.headers if name == b"x-generation-id"), None)

    def _response(self) -> msgspec.Raw:
        """The stream as the one reply that it would have been."""
        track, dialect = self.track, self.call.dialect
        assert track is not None
        assert track.record is not None
        assert isinstance(dialect, Dialect)
        decoder = dialect.stream_decoder()
        reply = fold([*decoder.feed(bytes(self.body)), *decoder.close()])
        bill = Bill(usage=track.record.usage, cost_pusd=track.record.cost_pusd, credits_remaining_pusd=0)
        data, _ = dialect.encode_reply(reply, track.context(), bill)
        if self._usage is None:
            return msgspec.Raw(data)
        members = msgspec.json.decode(data, type=dict[str, msgspec.Raw])
        return msgspec.Raw(msgspec.json.encode({**members, "usage": self._usage}))


def _event(name: bytes, value: object) -> bytes:
    return b"event: " + name + b"\ndata: " + msgspec.json.encode(value) + b"\n\n"


def _error_in(data: bytes) -> dict[str, Any] | None:
    """The ``error`` member of a body or chunk."""
    try:
        found = msgspec.json.decode(data).get("error")
    except (AttributeError, ValueError, msgspec.MsgspecError):
        return None
    return found if isinstance(found, dict) else None


def _usage_in(data: bytes) -> msgspec.Raw | None:
    """The ``usage`` member of a chunk, as it is."""
    try:
        found = msgspec.json.decode(data, type=dict[str, msgspec.Raw]).get("usage")
    except (ValueError, msgspec.MsgspecError):
        return None
    return None if found is None or bytes(found) == b"null" else found
