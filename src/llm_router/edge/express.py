"""The fast lane's HTTP end: inference requests that go from the parser straight to the engine and back.

It is uvicorn's own protocol class, with its parser, limits and life of a connection. A request that
:class:`~llm_router.engine.express.Express` may take gets no scope, task or messages; every other one is handed to
ASGI as if nothing had been, with the head and what has come of the body. While a ride runs it stands in the place
of uvicorn's cycle, so that pipelined requests wait for it, and a server that stops does not close it.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Coroutine
from typing import Any, cast
from urllib.parse import parse_qs, unquote

import httptools
import msgspec

from llm_router.domain.errors import InvalidRequest
from llm_router.domain.key import Key, key_digest
from llm_router.edge.bounds import Place as Room
from llm_router.edge.gateway import Gateway, bearer, report, unforeseen
from llm_router.edge.half_closed import INTERIM, ZERO
from llm_router.edge.lean_uvicorn import STATUS_LINE, FlowControl, HttpToolsProtocol, request_parser
from llm_router.edge.long_body import LEAST_BYTES, LongBody
from llm_router.edge.server import GuardedProtocol
from llm_router.engine.admit import KEY_BYTES_MAX, SESSION_HEADERS, Call
from llm_router.engine.braking import SESSION_BOUND_HEADERS
from llm_router.engine.deadlines import Wish, wish_of
from llm_router.engine.express import Ride
from llm_router.engine.holding import MAX_COST_HEADERS
from llm_router.engine.replays import HEADER as REPLAY_HEADER
from llm_router.engine.tagging import HEADERS as TAGS_HEADERS
from llm_router.engine.tracks import RECEIPT_HEADER, reply_head
from llm_router.wire.bounds import BYTES_FREE, few_objects
from llm_router.wire.dialect import Spoken
from llm_router.wire.heads import Headers, lines

PLACES_MAX = 1024
"""Request targets remembered."""

BODY_S = 1.0
"""A body that is not whole by then is read the ordinary way, by its clock."""

IDLE_GRAIN_S = 0.01

_STATUS = {status: line.decode("latin-1") for status, line in STATUS_LINE.items()}

OWN_PREFIX = b"x-llm-router-"
"""Wishes to the gateway: the ordinary way hears them."""

ORDINARY = frozenset(
    name.encode()
    for name in (
        "expect", "upgrade", "transfer-encoding", "content-encoding", REPLAY_HEADER, RECEIPT_HEADER,
        *MAX_COST_HEADERS, *SESSION_HEADERS, *SESSION_BOUND_HEADERS, *TAGS_HEADERS,
    )
)  # fmt: skip
"""Headers that ask for more than an answer."""


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """What a request target stands for."""

    operation: str
    dialect: Spoken
    model: str | None
    stream: bool | None
    json_array: bool


class Entry(msgspec.Struct, frozen=True):
    """A head that was read: where to, what it says, whose it is. Heads of a connection are mostly the same."""

    target: bytes
    fields: Headers
    place: Place
    headers: dict[str, str]
    digest: bytes
    wish: Wish


_SIZE = re.compile(rb"\r\n[Cc]ontent-[Ll]ength: ?([0-9]+)\r\n")


class Alike(msgspec.Struct, frozen=True):
    """A head as bytes, around the digits of its content-length, and what it was read as."""

    before: bytes
    after: bytes
    entry: Entry
    at: int  # where the digits begin

    @classmethod
    def of(cls, data: bytes, entry: Entry) -> Alike | None:
        """The head that this data begins with; None if it is not of the usual form."""
        end = data.find(b"\r\n\r\n") + 4
        sizes = list(_SIZE.finditer(data, 0, end))
        if end < 4 or not data.startswith(b"POST ") or len(sizes) != 1:
            return None
        at, after = sizes[0].span(1)
        return cls(data[:at], data[after:end], entry, at)

    def body_in(self, data: bytes) -> tuple[bytes, int] | None:
        """The digits, and where the body begins, of a request that begins so; None if it is another, or one whose
        body is neither the rest of this data nor long."""
        at, after = self.at, self.after
        end = data.find(b"\r", at, at + 10)
        length = data[at:end]
        if end < 0 or not length.isdigit() or not data.startswith(after, end):
            return None
        begin = end + len(after)
        missing = int(length) - len(data) + begin
        return (length, begin) if missing == 0 or missing >= LEAST_BYTES else None


class ExpressProtocol(GuardedProtocol):
    """One connection of a client. Made with a gateway by :func:`protocol_of`."""

    _entry: Entry | None = None
    _known: Entry | None = None
    _alike: Alike | None = None
    _length: bytes | None = None
    _body: list[bytes]
    _long: LongBody | None = None  # in the place of _body: nothing in it is the parser's business
    _key: Key | None = None  # of the latest request: it was plain
    _started_us = 0
    _slow: asyncio.TimerHandle | None = None
    _ride: Passenger | None = None
    _idle: asyncio.TimerHandle | None = None
    _idle_since_s = 0.0
    _heads = 0  # of the data that is being read; _first: what the first of them was read as
    _first: Entry | None = None
    _between = True  # the parser has nothing of a request: the next byte begins one

    # -- the parser's calls ----------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        self._in_head, self._between = True, False
        self.url = b""
        self.expect_100_continue = False
        self.headers = []
        self._length = None

    def on_header(self, name: bytes, value: bytes) -> None:
        name = name.lower()
        if name == b"content-length":
            self._length = value
        else:
            self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        entry = self._enter()
        if self._heads == 0:
            self._first = entry
        self._heads += 1
        if entry is None:
            self._to_asgi()
        elif self.head_complete():
            self._entry, self._body = entry, []

    def on_body(self, body: bytes) -> None:
        if self._entry is None:
            super().on_body(body)
        else:
            self._quiet_bytes = 0
            self._body.append(body)

    def on_message_complete(self) -> None:
        self._between = True
        if self._entry is None:
            super().on_message_complete()
        else:
            self._body_came()
            self._in_head = True
            if not self._refused:
                pieces, self._body = self._body, []
                self._whole(self._entry, pieces[0] if len(pieces) == 1 else b"".join(pieces))

    def data_received(self, data: bytes) -> None:
        if self._long is not None:
            self._lengthen(self._long, data)
            return
        alike, fresh = self._alike, self._between
        if (
            fresh
            and alike is not None
            and data.startswith(alike.before)
            and (found := alike.body_in(data)) is not None
            and self._repeated(alike.entry, *found, data)
        ):
            return
        self._heads, self._first = 0, None
        super().data_received(data)
        if self._entry is not None:
            self._part(self._entry)
        first = self._first  # only the first head of this data is what it begins with
        if fresh and first is not None and (alike is None or alike.entry is not first):
            self._alike = Alike.of(data, first)

    def _part(self, entry: Entry) -> None:
        """A body has come in part."""
        if self._slow is None:
            self._slow = self.loop.call_later(BODY_S, self._too_slow)
        assert self._length is not None
        size, came = int(self._length), sum(map(len, self._body))
        if size - came >= LEAST_BYTES:
            self._long = LongBody(size, b"".join(self._body), parsed=came)
            self._body = []

    def _lengthen(self, long: LongBody, data: bytes) -> None:
        """More of a long body has come."""
        if self._refused or self.transport.is_closing():
            return
        excess = long.take(data)
        if long.missing:
            return
        entry, self._long = self._entry, None
        assert entry is not None
        if not long.head:  # it stands within this body
            self.parser = request_parser(self)
        self._between = self._in_head = True
        self._body_came()
        self._whole(entry, long.so_far())
        if excess:
            self.data_received(excess)

    def _repeated(self, entry: Entry, length: bytes, begin: int, data: bytes) -> bool:
        """Take a request whose head is byte for byte that of an earlier one, but for the length of its body: it
        need not be parsed again to mean the same. It is alone, and whole or long. Whether it was taken."""
        gateway, cycle = self.gateway, self.cycle
        if self._refused or self._last or self._place is not Room.SERVED or self.transport.is_closing():
            return False
        if cycle is not None and not cycle.response_complete:
            return False
        size = int(length)
        if size > gateway.body_bytes_max or not gateway.has_room():
            return False
        engine = gateway.engine
        now_ms = engine.clock.now_ms()
        key = engine.express.find(entry.digest, now_ms)
        if key is None or not (key is self._key or _is_plain(key)):
            return False
        if self.timeout_keep_alive_task is not None:
            self._unset_keepalive_if_required()
        if self._head_timer is not None:
            self._head_came()
        self.url, self.headers, self._length = entry.target, entry.fields, length
        self._key, self._started_us = key, engine.clock.monotonic_us()
        if len(data) - begin == size:
            self._begin(entry, key, data[begin:], now_ms)
        else:
            self._entry, self._between = entry, False
            self._long = LongBody(size, data[begin:], head=data[:begin])
            self._slow = self.loop.call_later(BODY_S, self._too_slow)
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self._entry = self._long = None
        self._hurry()
        if self._idle is not None:
            self._idle.cancel()
        super().connection_lost(exc)
        if self._ride is not None:
            self._ride.lost()

    def _last_call(self) -> None:
        if self._entry is None:  # else a request is on its way: what comes of it ends the connection
            super()._last_call()

    def on_response_complete(self) -> None:
        self._idle_since_s = self.loop.time()
        super().on_response_complete()

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._ride is not None:
            self._ride.full()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._ride is not None:
            self._ride.drained()

    def probe(self) -> bytes:
        ride = self._ride
        if ride is None or cast(Any, self.cycle) is not ride:
            return super().probe()
        if ride.response_complete:
            return b""
        return ZERO if ride.response_started else INTERIM

    def asked_before(self) -> tuple[bytes, Headers]:
        if isinstance(self.cycle, Passenger):
            known = self._alike.entry if self._known is None and self._alike is not None else self._known
            return (b"", []) if known is None else (known.target, known.fields)
        return super().asked_before()

    # -- inside ----------------------------------------------------------------------------------------

    def _enter(self) -> Entry | None:
        """The request's entry into the fast lane; None if ASGI is to have it."""
        gateway, parser = self.gateway, self.parser
        if self._last or self.busy:
            return None
        known = self._known
        if known is None or known.target != self.url or known.fields != self.headers:
            known = self._known = self._read_head()
            if known is None:
                return None
        length = self._length
        if (
            length is None
            or not length.isdigit()
            or int(length) > gateway.body_bytes_max
            or parser.get_method() != b"POST"
            or parser.get_http_version() != "1.1"
            or not parser.should_keep_alive()
            or not gateway.has_room()
        ):
            return None
        engine = gateway.engine
        key = engine.express.find(known.digest, engine.clock.now_ms())
        if key is None or not _is_plain(key):
            return None
        self._key, self._started_us = key, engine.clock.monotonic_us()
        return known

    def _read_head(self) -> Entry | None:
        try:
            place = cast("Place | None", self.gateway.places[self.url])
        except KeyError:
            place = self._locate(self.url)
        if place is None:
            return None
        headers: dict[str, str] = {}
        for name, value in self.headers:
            if name in ORDINARY or name.startswith(OWN_PREFIX):
                return None
            headers[name.decode("latin-1")] = value.decode("latin-1")
        kind = headers.get("content-type", "application/json").split(";", 1)[0].strip().lower()
        found = bearer(headers)
        if len(headers) != len(self.headers) or kind != "application/json":
            return None
        if not found or len(found) > KEY_BYTES_MAX:
            return None
        try:
            wish = wish_of(headers)
        except InvalidRequest:
            return None
        return Entry(self.url, self.headers, place, headers, key_digest(found), wish)

    def _locate(self, target: bytes) -> Place | None:
        """What a target stands for; None if it is none of the fast lane's."""
        path, _, query = target.partition(b"?")
        gateway = self.gateway
        route, parameters, _ = gateway.routes.find("POST", path.decode("latin-1"))
        place = None
        if route is not None and route.operation == "chat" and not route.compares and b"key=" not in query:
            dialect = gateway.dialect(route.dialect)
            alt = parse_qs(query.decode("latin-1"), max_num_fields=100).get("alt", [""])[-1]
            model = parameters.get("model")
            if dialect.name != "openai_responses":
                place = Place(
                    operation=route.operation,
                    dialect=dialect,
                    model=None if model is None else unquote(model),
                    stream=route.stream,
                    json_array=dialect.name == "gemini_generate" and route.stream is True and alt != "sse",
                )
        if len(self.gateway.places) >= PLACES_MAX:
            self.gateway.places.clear()
        self.gateway.places[target] = place
        return place

    def _whole(self, entry: Entry, body: bytes) -> None:
        """The request has come whole."""
        key = self._key
        assert key is not None
        self._entry = None
        self._hurry()
        self._begin(entry, key, body, self.gateway.engine.clock.now_ms())

    def _begin(self, entry: Entry, key: Key, body: bytes, now_ms: int) -> None:
        """The engine takes a request on, or ASGI gets it."""
        if len(body) <= BYTES_FREE or few_objects(body):
            gateway, place = self.gateway, entry.place
            call = Call(
                operation=place.operation,
                dialect=place.dialect,
                body=body,
                credential=None,
                headers=entry.headers,
                started_us=self._started_us,
                path_model=place.model,
                path_stream=place.stream,
                json_array=place.json_array,
                key=key,
            )
            passenger = Passenger(self)
            self._ride = passenger
            try:
                passenger.ride = gateway.engine.express.take(call, key, passenger, now_ms, entry.wish)
            except Exception:  # the parser would take it for a fault of the client's
                report("POST", place.operation)
            if passenger.ride is not None:
                self.cycle = passenger  # type: ignore[assignment]  # in its place
                gateway.exchanges += 1
                return
            self._ride = None
        self._to_asgi(body, whole=True)

    def _to_asgi(self, body: bytes = b"", *, whole: bool = False) -> None:
        """Hand the request to ASGI, as if it had gone there from the start."""
        url, headers = self.url, self.headers
        HttpToolsProtocol.on_message_begin(self)
        self.url = url
        self.headers += headers
        if self._length is not None:
            self.headers.append((b"content-length", self._length))
        self.expect_100_continue = any(n == b"expect" and v.lower() == b"100-continue" for n, v in headers)
        parser = self.parser
        if whole:
            self.parser = _POSTED
        try:
            super().on_headers_complete()
            if body:
                super().on_body(body)
            if whole:
                super().on_message_complete()
        finally:
            self.parser = parser

    def _too_slow(self) -> None:
        self._slow = None
        long, self._long = self._long, None
        if self._entry is None or self._refused:
            return
        if long is not None and long.head:  # the parser is told all of it
            self._entry, self._between = None, True
            GuardedProtocol.data_received(self, long.head + long.so_far())
            long = None
        if self._entry is not None:
            self._entry = None
            if long is None:
                pieces, self._body = self._body, []
                self._to_asgi(b"".join(pieces))
            else:
                came = long.so_far()
                self._to_asgi(came[: long.parsed])
                GuardedProtocol.data_received(self, came[long.parsed :])

    def _hurry(self) -> None:
        if self._slow is not None:
            self._slow.cancel()
            self._slow = None

    def rode(self, passenger: Passenger) -> None:
        """A ride is over: the next request may come."""
        self._ride = None
        self.gateway.exchanges -= 1
        if passenger.gone:
            return
        if self.pipeline or self._refused or self._last or not passenger.keep_alive:
            self.on_response_complete()
            if not passenger.keep_alive:
                self.transport.close()
            return
        self.server_state.total_requests += 1
        if self.flow.read_paused:
            self.flow.resume_reading()
        self._idle_since_s = self.loop.time()
        if self._idle is None:
            self._idle = self.loop.call_later(self.timeout_keep_alive, self._idled)

    def _idled(self) -> None:
        """One timer sees to it that no connection stays for longer than it may; busy ones need none each time."""
        self._idle = None
        left_s = self._idle_since_s + self.timeout_keep_alive - self.loop.time()
        if self.transport.is_closing() or self.busy or self._entry is not None or self._head_bytes:
            return  # the end of that arms another
        if left_s > IDLE_GRAIN_S:
            self._idle = self.loop.call_later(left_s, self._idled)
        else:
            self.transport.close()


class _Posted:
    """What the parser says of a request that the fast lane had taken; of one that came whole it may know nothing."""

    def get_method(self) -> bytes:
        return b"POST"

    def get_http_version(self) -> str:
        return "1.1"

    def should_keep_alive(self) -> bool:
        return True

    def should_upgrade(self) -> bool:
        return False


_POSTED = cast(httptools.HttpRequestParser, _Posted())


class _Nobody:
    """Who waits for no message."""

    def set(self) -> None: ...


_NOBODY = _Nobody()


class Passenger(msgspec.Struct, eq=False):
    """The port :class:`~llm_router.engine.express.PromptClient` on one connection, for one exchange.

    ``disconnected``, ``keep_alive``, ``response_complete``, ``message_event``: what uvicorn asks of a cycle.
    """

    _protocol: ExpressProtocol
    ride: Ride | None = None
    started: bool = False
    last_sent_s: float = 0.0
    gone: bool = False
    disconnected: bool = False
    keep_alive: bool = True
    response_complete: bool = False
    message_event: _Nobody = _NOBODY
    _head: str | None = None
    _status: int = 200
    _busy: bool = False
    _begun: bool = False
    _task: asyncio.Task[None] | None = None

    # -- at once ---------------------------------------------------------------------------------------

    @property
    def response_started(self) -> bool:
        """Whether the head has gone: uvicorn's word for it."""
        return self.started and self._head is None

    @property
    def clogged(self) -> bool:
        flow: FlowControl = self._protocol.flow
        return flow.write_paused and not self.gone

    def answer(self, status: int, head: str, data: bytes) -> None:
        self.started = self.response_complete = True
        if self.gone:
            return
        protocol = self._protocol
        common = protocol.gateway.common_lines(protocol.server_state.default_headers)
        close = "" if self.keep_alive else "connection: close\r\n"
        lines = f"{_STATUS[status]}{common}{head}{close}content-length: {len(data)}\r\n\r\n"
        protocol.transport.write(lines.encode("latin-1", "replace") + data)

    def open(self, status: int, head: str) -> None:
        self.started = True
        self._head, self._status = head, status

    def put(self, data: bytes) -> None:
        if self._head is not None:
            head = self._head_bytes(self._status, self._head, "transfer-encoding: chunked\r\n\r\n")
            self._head = None
            self._write(b"%b%x\r\n%b\r\n" % (head, len(data), data))
        elif not self.gone:
            protocol = self._protocol
            protocol.transport.write(b"%x\r\n%b\r\n" % (len(data), data))
            self.last_sent_s = protocol.loop.time()

    def end(self, data: bytes) -> None:
        if self._head is not None:
            self.answer(self._status, self._head, data)
            return
        self.response_complete = True
        self._write(b"%x\r\n%b\r\n0\r\n\r\n" % (len(data), data) if data else b"0\r\n\r\n")

    def run(self, work: Coroutine[Any, Any, object]) -> None:
        gateway = self._protocol.gateway
        self._task = task = self._protocol.loop.create_task(self._run(work))
        gateway.tasks.add(task)
        task.add_done_callback(gateway.tasks.discard)

    def over(self) -> None:
        self.ride = None  # no cycle: what is over must be freed at once
        self._protocol.rode(self)

    def _head_bytes(self, status: int, head: str, last: str) -> bytes:
        protocol = self._protocol
        common = protocol.gateway.common_lines(protocol.server_state.default_headers)
        close = "" if self.keep_alive else "connection: close\r\n"
        return f"{_STATUS[status]}{common}{head}{close}{last}".encode("latin-1", "replace")

    def _write(self, data: bytes) -> None:
        if not self.gone:
            protocol = self._protocol
            protocol.transport.write(data)
            self.last_sent_s = protocol.loop.time()

    # -- the port Client, for the ordinary way ---------------------------------------------------------

    async def start(self, status: int, headers: Headers) -> None:
        self._check()
        self.open(status, lines(headers))

    async def send(self, data: bytes) -> None:
        self._check()
        self._busy = True
        try:
            self.put(data)
            if self._protocol.flow.write_paused:
                await self._protocol.flow.drain()
        finally:
            self._busy = False
        self._check()

    async def finish(self, data: bytes = b"") -> None:
        self._check()
        self.end(data)

    async def beat(self, status: int, headers: Headers, data: bytes) -> None:
        if self._busy or self.response_complete:
            return
        if not self.started:
            await self.start(status, headers)
        await self.send(data)

    def _check(self) -> None:
        if self.gone:
            raise ConnectionError("the client left")

    async def _run(self, work: Coroutine[Any, Any, object]) -> None:
        protocol, ride = self._protocol, self.ride
        assert ride is not None
        if self.gone:  # before it could begin
            work.close()
            work = protocol.gateway.engine.abandon(ride.track)
        self._begun = True
        try:
            await work
        except asyncio.CancelledError:
            if not self.gone:
                raise
        except ConnectionError:
            pass
        except Exception:
            report("POST", ride.track.call.operation)
            if not self.started:
                error = unforeseen()
                body = ride.track.call.dialect.encode_error(error, ride.track.id)
                self.answer(error.status, reply_head(ride.track, error), body)
        finally:
            if not self.response_complete and not self.gone:
                protocol.transport.close()  # no answer that looks whole
            self.ride = self._task = None
            protocol.rode(self)

    # -- the connection's word -------------------------------------------------------------------------

    def lost(self) -> None:
        """The client has left."""
        if self.gone or self.response_complete:
            self.gone = True
            return
        self.gone = True
        task, gateway = self._task, self._protocol.gateway
        if task is not None:
            if self._begun and gateway.engine.left(task):
                task.cancel()
        elif self.ride is not None:
            self.ride.left()

    def full(self) -> None:
        """Much waits for the client to read it."""
        if self.ride is not None:
            self.ride.on_clogged()

    def drained(self) -> None:
        """The client has read what waited for it."""
        if self.ride is not None:
            self.ride.on_drained()


def _is_plain(key: Key) -> bool:
    """Whether a key may ask for any model from anywhere, in a hurry."""
    return (
        key.priority == "interactive"
        and not key.disabled
        and key.scopes is None
        and key.providers is None
        and key.ip_ranges is None
    )


def protocol_of(gateway: Gateway) -> type[GuardedProtocol]:
    """The protocol class for a gateway's connections: with the fast lane, if what is behind it can answer at once."""
    if not gateway.engine.express.able:
        return GuardedProtocol
    return ExpressProtocol
