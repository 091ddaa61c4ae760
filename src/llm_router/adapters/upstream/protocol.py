"""One connection: bytes in and out of llhttp, at most one exchange at a time."""

from __future__ import annotations

import asyncio
import ssl
from typing import Protocol, cast

import httptools
import msgspec

from llm_router.adapters.upstream.deadline import Deadline
from llm_router.adapters.upstream.faults import malformed, timed_out, truncated, unavailable
from llm_router.adapters.upstream.framing import Framing, PlainHead, plain_chunks, plain_reply, read_framing
from llm_router.adapters.upstream.reply import LeanReply
from llm_router.adapters.upstream.tls import Sessions
from llm_router.domain.errors import UpstreamError
from llm_router.wire.cut import Pieces

WRITE_BYTES = 64 * 1024
"""Bodies beyond this are written in pieces of it over TLS, as fast as the provider takes them, so that the
transport never holds a second copy of a large body."""

PLAIN_WRITE_BYTES = 1024 * 1024
"""The same where nothing is encrypted: there the transport only refers to what waits, and each piece is a call of
the system."""

PLAIN_JOIN_BYTES = 256 * 1024
"""Up to so much is copied behind its head there, which costs less than another call."""


UNLIKE_MAX = 8
"""After so many heads in a row that were not those of the reply before, only each so-many-th is remembered."""

UNCLAIMED_S = 10.0
"""A new connection that nobody uses within this time was made for a call that gave up: it is closed."""


class WireLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds of one connection.

    Attributes:
        header_bytes_max: of a reply's head, with all interim replies before it, and of its trailers.
        buffer_bytes_max: of unread body; reading stops above it and goes on below half of it. One
            read from the socket (256 KiB at most) may come on top.
    """

    header_bytes_max: int = 64 * 1024
    buffer_bytes_max: int = 256 * 1024


class Owner(Protocol):
    """Who keeps the connection between exchanges."""

    def freed(self, connection: Connection) -> None:
        """The exchange ended cleanly; the connection can take the next."""
        ...

    def lost(self, connection: Connection) -> None:
        """The connection is gone."""
        ...


class Connection(asyncio.Protocol):
    """A connection to an origin. llhttp reads strictly (no leniency is set), and
    :mod:`~llm_router.adapters.upstream.framing` refuses what it lets pass.

    Attributes:
        served: exchanges that ended cleanly on it; above 0 it is a reused one.
        stale: it was a reused one and was lost before one byte of the reply: the server had closed
            it, most likely before it saw the request.
        keep_s: how long the server said it keeps the connection, if it did.
        label: ``host:port`` for messages.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        label: str,
        limits: WireLimits,
        sessions: Sessions | None = None,
    ) -> None:
        self.label = label
        self.served = 0
        self.stale = False
        self.owner: Owner | None = None
        self.keep_s: float | None = None
        self._loop = loop
        self._limits = limits
        self._sessions = sessions
        self._deadline = Deadline(loop, self._expired)
        self._parser: httptools.HttpResponseParser | None = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport | None = None
        self._reply: LeanReply | None = None
        self._lost = False
        self._unsent: memoryview | None = None
        self._write_bytes = self._join_bytes = WRITE_BYTES
        self._write_paused = False
        self._read_paused = False
        self._alike: PlainHead | None = None  # the head of the last plain reply
        self._unlike = 0  # plain replies in a row whose heads were others than the one before
        self._reset()

    def _reset(self) -> None:
        """Forget the last exchange."""
        self._answered = self._parsed = False
        self._interim = False
        self._excess = False
        self._keep = False
        self._until_close = False
        self._between = False  # two chunks: the parser has nothing of the next
        self._fault: str | None = None
        self._overhead = 0
        self._fields: list[tuple[bytes, bytes]] = []

    # Towards the pool and the client.

    @property
    def lost(self) -> bool:
        """Whether it is gone and its owner knows."""
        return self._lost

    @property
    def usable(self) -> bool:
        """Whether an exchange may begin."""
        transport = self._transport
        return transport is not None and not self._lost and not transport.is_closing()

    def begin(self, reply: LeanReply, head: bytes, body: bytes | Pieces) -> None:
        """Write a request. Its reply goes to ``reply``."""
        transport = self._transport
        assert transport is not None
        assert self._reply is None
        if self._parsed:
            self._reset()
        self._answered = self._keep = False
        self._reply = reply
        due, deadline = reply.start(self, self._loop.time()), self._deadline
        deadline.at = due
        if due < deadline.armed:
            deadline.move(due)
        if not isinstance(body, bytes):
            if self._write_bytes == PLAIN_WRITE_BYTES:  # it refers to them until they have gone
                transport.writelines((head + body[0], *body[1:]))
                return
            body = b"".join(body)
        if len(body) <= self._join_bytes:
            transport.write(head + body if body else head)
        else:
            self._unsent = memoryview(body)[WRITE_BYTES:]
            transport.write(head + body[:WRITE_BYTES])
            self._write_on()

    def park(self, until: float) -> None:
        """Stay open without an exchange until that time."""
        deadline = self._deadline
        deadline.at = until
        if until < deadline.armed:
            deadline.move(until)

    def close(self) -> None:
        """Close for good; an exchange in progress must have been failed before."""
        self._deadline.stop()
        if self._transport is not None:
            self._transport.abort()

    def fail(self, error: UpstreamError) -> None:
        """End the exchange in failure and close."""
        reply, self._reply = self._reply, None
        if reply is not None:
            reply.fail(error)
        self.close()

    # The reply's side (reply.Wire).

    def expect(self, at: float) -> None:
        self._deadline.move(at)

    def drained(self, reply: LeanReply) -> None:
        if self._reply is reply:  # else the next exchange is on already
            self._read_on()

    def drop(self, reply: LeanReply, error: UpstreamError) -> None:
        if self._reply is reply:
            self.fail(error)

    # asyncio.Protocol.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        if transport.get_extra_info("ssl_object") is None:
            self._write_bytes, self._join_bytes = PLAIN_WRITE_BYTES, PLAIN_JOIN_BYTES
        self._deadline.move(self._loop.time() + UNCLAIMED_S)

    def data_received(self, data: bytes) -> None:
        reply = self._reply
        if reply is None:
            self.close()  # bytes that no request asked for
            return
        if self._between and (body := plain_chunks(data)):
            if not reply.more(body):
                reply.push(body)
                self._came(reply)
            return
        if not self._answered:
            self._answered = True
            alike = self._alike
            plain = None if alike is None else alike.again(data)  # then it is not judged once more
            if plain is None:
                plain = self._plain(data)
            else:
                self._unlike = 0
            if plain is not None and reply.method != "HEAD":
                self.keep_s, self._keep = None, True
                reply.take_whole(*plain)
                self._finish(reply)
                return
        self._parsed = True
        size, headless = reply.size, reply.status == 0
        self._feed(data, reply)
        if self._fault is not None:
            self.fail(malformed(self.label, self._fault))
        elif reply.complete:
            self._finish(reply)
        elif reply.size != size:
            self._came(reply)
        else:
            self._count_overhead(len(data))
            if headless and reply.status:
                reply.wake()

    def _plain(self, data: bytes) -> tuple[Framing, bytes] | None:
        """See :func:`plain_reply`."""
        found = plain_reply(data, self._limits.header_bytes_max)
        if found is not None:
            self._unlike += 1  # where they all differ it is not tried each time
            often = self._unlike < UNLIKE_MAX or self._unlike % UNLIKE_MAX == 0
            self._alike = PlainHead.of(data[: -len(found[1])]) if often else None
        return found

    def eof_received(self) -> bool:
        reply = self._reply
        if reply is not None and self._until_close and self._said_goodbye():
            reply.end()
            self._finish(reply)
        elif self._transport is not None:
            self._transport.abort()  # close() would wait for a peer that may never read the rest
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost = True
        self._deadline.stop()
        self._parser = None
        self._unsent = None
        reply, self._reply = self._reply, None
        if reply is not None:
            self.stale = self.served > 0 and not self._answered
            reply.fail(self._loss(reply))
        if self.owner is not None:
            self.owner.lost(self)

    def pause_writing(self) -> None:
        self._write_paused = True

    def resume_writing(self) -> None:
        self._write_paused = False
        self._write_on()

    # llhttp.

    def on_message_begin(self) -> None:
        if self._reply is None or self._reply.complete:
            self._excess = True

    def on_header(self, name: bytes, value: bytes) -> None:
        self._fields.append((name, value))

    def on_headers_complete(self) -> None:
        reply, parser = self._reply, self._parser
        if self._excess or reply is None or parser is None:
            return
        status = parser.get_status_code()
        if 100 <= status < 200 and status != 101:
            self._interim = True
            self._fields.clear()
            return
        fields, self._fields = self._fields, []  # what comes after is another head's, or trailers
        try:
            framing = read_framing(
                reply.method, status, parser.get_http_version(), fields, self._limits.header_bytes_max
            )
        except ValueError as error:
            self._fault, self._excess = str(error), True
            return
        self._take_framing(reply, status, framing)

    def _take_framing(self, reply: LeanReply, status: int, framing: Framing) -> None:
        self._until_close = framing.until_close
        self._between = not (framing.until_close or framing.bodiless) and framing.length is None
        self.keep_s = framing.keep_s
        reply.take_head(status, framing)
        if reply.method == "HEAD":  # llhttp does not know and would wait for a body: not reused
            reply.end()
            self._excess = True

    def on_body(self, body: bytes) -> None:
        reply = self._reply
        if reply is not None and not self._excess:
            reply.push(body)

    def on_chunk_header(self) -> None:
        self._between = False

    def on_chunk_complete(self) -> None:
        self._between = True

    def on_message_complete(self) -> None:
        reply, parser = self._reply, self._parser
        if self._interim:
            self._interim = False
        elif reply is not None and parser is not None and not self._excess:
            self._keep = parser.should_keep_alive()
            reply.end()

    # Inside.

    def _feed(self, data: bytes, reply: LeanReply) -> None:
        assert self._parser is not None
        self._between = False
        try:
            self._parser.feed_data(data)
            self._between = self._between and data.endswith(b"\r\n")  # else it has a part of the next size
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._excess = True
            if not reply.complete and self._fault is None:
                self._fault = f"the reply is not valid HTTP ({error})"

    def _came(self, reply: LeanReply) -> None:
        """More of a body has come."""
        self._overhead = 0
        self._hold_back(reply)
        reply.wake()

    def _count_overhead(self, size: int) -> None:
        """Bound bytes that bring no body: head, interim replies, chunk framing and trailers."""
        self._overhead += size
        if self._overhead > self._limits.header_bytes_max:
            self.fail(malformed(self.label, f"more than {self._limits.header_bytes_max} bytes of headers"))

    def _said_goodbye(self) -> bool:
        """Whether TLS ended with close_notify; without it the end may be forged. asyncio calls
        eof_received either way, so ask the TLS object: after close_notify it reads as empty."""
        assert self._transport is not None
        tls = self._transport.get_extra_info("ssl_object")
        if tls is None:
            return True
        try:
            return not tls.read(1)
        except ssl.SSLError:
            return False

    def _hold_back(self, reply: LeanReply) -> None:
        if reply.size > self._limits.buffer_bytes_max and not self._read_paused:
            assert self._transport is not None
            self._read_paused = True
            self._transport.pause_reading()

    def _finish(self, reply: LeanReply) -> None:
        """The exchange ended cleanly: hand the connection back, or close it."""
        assert self._transport is not None
        self._reply = None
        self.served += 1
        if self.served == 1 and self._sessions is not None:
            self._keep_session(self._sessions)
        if self._read_paused:
            self._read_on()
        whole = self._unsent is None and not self._transport.get_write_buffer_size()
        if self._keep and whole and not self._excess and self.owner is not None:
            self.owner.freed(self)
        else:
            self.close()
        reply.wake()

    def _keep_session(self, sessions: Sessions) -> None:
        assert self._transport is not None
        tls = self._transport.get_extra_info("ssl_object")
        if tls is not None:
            sessions.keep(tls)

    def _read_on(self) -> None:
        if self._read_paused and self._transport is not None:
            self._read_paused = False
            self._transport.resume_reading()

    def _write_on(self) -> None:
        unsent, transport = self._unsent, self._transport
        while (
            unsent is not None
            and not self._write_paused
            and transport is not None
            and self._reply is not None
        ):
            transport.write(unsent[: self._write_bytes])
            unsent = unsent[self._write_bytes :] or None
            self._unsent = unsent

    def _loss(self, reply: LeanReply) -> UpstreamError:
        if reply.status:
            return truncated(self.label, "the connection broke before the end of the reply")
        if self._answered:
            return unavailable(self.label, "the connection broke within the head of the reply", sent=True)
        return unavailable(self.label, "the connection was closed before a reply", sent=True)

    def _expired(self) -> None:
        reply = self._reply
        if reply is None:
            self.close()
            return
        now, due = self._loop.time(), reply.due_again()
        if due is not None and due > now:
            self._deadline.move(due)
            return
        if not reply.awaited and now < reply.total_due:
            self._deadline.move(reply.total_due)
            return
        self.fail(timed_out(self.label, reply.overdue(now), sent=True))
