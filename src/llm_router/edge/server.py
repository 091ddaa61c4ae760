"""The HTTP server: uvicorn's protocol with the guards it lacks.

* The head of a request is bounded in size, in fields and in time, a body's trailers likewise: 431, 408.
* Connections are bounded, all together and of one address: 503.
* A client that does not read what it is sent loses its connection; one that does not end the body of a
  request that was answered long ago, too.
* What is no HTTP gets an error of the same form as every other, not plain text; what came before it is
  answered first. So it is with heads that two servers may read in two ways.
* A client that ends its sending side behind a request still gets its answer.
* An offer to upgrade the connection (Java's client makes one with every request) is ignored, as the
  standard allows; the parser would take the body for the new protocol's bytes.
* A stopping server takes a request of an open connection until shortly before it closes it.

https://www.rfc-editor.org/rfc/rfc9110#section-7.8 and https://www.rfc-editor.org/rfc/rfc6585#section-5
"""

from __future__ import annotations

import asyncio
import re
import sys
from typing import TYPE_CHECKING, Any

from llm_router.domain.errors import HeadersTooLarge, InvalidRequest, Overloaded, RequestTimeout, RouterError
from llm_router.edge.bounds import Guards, Place
from llm_router.edge.half_closed import INTERIM, ZERO, HalfClosed
from llm_router.edge.lean_uvicorn import HttpToolsProtocol

if TYPE_CHECKING:
    from llm_router.edge.gateway import Gateway

LINGER_S = 1.0
"""How long a refused client is heard out: closing at once would reset the connection, and the answer
with it."""

LAST_CALL_S = 0.5
"""How long a stopping server waits for the next request of a connection that has none, before it closes
it: one may be on its way."""

_UPGRADE = re.compile(rb"(?i)(\r\n)upgrade:")
_IGNORED = rb"\1x-grade:"


class GuardedProtocol(HttpToolsProtocol):
    """One connection of a client."""

    _head_bytes = 0
    _quiet_bytes = 0  # of a body's framing alone: trailers, chunk extensions
    _in_head = True
    _refused = False
    _last = False
    _place = Place.SERVED
    _excess = b""
    _head_timer: asyncio.TimerHandle | None = None
    _body_timer: asyncio.TimerHandle | None = None
    _stall_timer: asyncio.TimerHandle | None = None
    _refusal: bytes | None = None  # the answer to what was refused; what came before has its turn first
    _half_closed: HalfClosed | None = None
    _before: Any = None  # of pipelined requests: the one before the latest
    _answering: Any = None  # the request that ASGI answers: of pipelined ones not the latest
    gateway: Gateway
    """The application that this connection talks to."""

    @property
    def guards(self) -> Guards:
        return self.gateway.guards

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.gateway = self.config.app  # type: ignore[assignment]
        self._place = self.guards.enter(self._address)
        if self._place is Place.NONE:
            transport.abort()
        else:
            self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self.guards.leave(self._address)
        self._head_came()
        self._body_came()
        self._read_again()
        self._before = None
        if self._half_closed is not None:
            self._half_closed.stop()
            self._half_closed = None  # no cycle
        super().connection_lost(exc)
        answering, self._answering = self._answering, None
        if (
            answering is not None and not answering.response_complete
        ):  # uvicorn tells the latest request alone
            answering.disconnected = True
            answering.message_event.set()

    @property
    def _address(self) -> str | None:
        return None if self.client is None else self.client[0]

    # what comes

    def data_received(self, data: bytes) -> None:
        if self._refused or self.transport.is_closing():
            return
        if self._place is Place.EXCESS:
            self._turn_away(data)
        elif self._in_head:
            self._head_bytes += len(data)
            super().data_received(_without_upgrade(data))
            self._check_head()
        else:
            self._quiet_bytes += len(data)
            super().data_received(data)
            if not self._in_head and self._quiet_bytes > self.guards.bounds.header_bytes_max:
                self.refuse(_too_large(self.guards.bounds.header_bytes_max))

    def _check_head(self) -> None:
        if self._refused:
            return
        if not self._in_head:  # there is more of the body to come
            self._await_body()
        elif self._head_bytes > self.guards.bounds.header_bytes_max:
            self.refuse(_too_large(self.guards.bounds.header_bytes_max))
        elif self._head_timer is None:
            self._await_head()

    def on_message_begin(self) -> None:
        self._in_head = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        if self.head_complete() and not self._ambiguous():
            before = self.cycle
            super().on_headers_complete()
            if self.pipeline:
                self._before = before
            if self._last:
                self.cycle.keep_alive = False

    def _ambiguous(self) -> bool:
        """Whether the head could be read in another way by a server in front of this one; it is refused then."""
        hosts, codings = 0, list[bytes]()
        for name, value in self.headers:
            if name == b"host":
                hosts += 1
            elif name == b"transfer-encoding":
                codings.append(value)
        if hosts > 1:
            self.refuse(InvalidRequest("The request has more than one Host header: send one.", param="host"))
        elif codings and b", ".join(codings).strip(b" \t").lower() != b"chunked":
            shown = b", ".join(codings)[:40].decode("latin-1")
            self.refuse(
                InvalidRequest(
                    f"Transfer-Encoding '{shown}' is not supported: send the body as it is, with a "
                    "Content-Length or with 'transfer-encoding: chunked'.",
                    param="transfer-encoding",
                )
            )
        return self._refused

    def head_complete(self) -> bool:
        """Whether the head that is whole now is within bounds; if not, it was refused and is none of a request."""
        self._in_head = False
        self._head_came()
        size, self._head_bytes, self._quiet_bytes = self._head_bytes, 0, 0
        bounds = self.guards.bounds
        if len(self.headers) > bounds.headers_max:
            self.refuse(
                HeadersTooLarge(f"The request has more than {bounds.headers_max} headers: send fewer.")
            )
        elif size > bounds.header_bytes_max and self._size_of_head() > bounds.header_bytes_max:
            self.refuse(_too_large(bounds.header_bytes_max))
        return not self._refused

    def _size_of_head(self) -> int:
        """Without what came with it of the body."""
        return len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)

    def on_body(self, body: bytes) -> None:
        self._quiet_bytes = 0
        if not self._refused:
            super().on_body(body)

    def on_message_complete(self) -> None:
        self._body_came()
        if not self._refused:
            super().on_message_complete()
        self._in_head = True

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        self._answering = cycle
        super()._start_asgi_task(cycle, app)

    def on_response_complete(self) -> None:
        self._answering = None
        super().on_response_complete()
        if self.busy or self.transport.is_closing():  # a request that waited has its turn
            return
        if self._refusal is not None:
            self._send_refusal(self._refusal)
        elif self._refused or self._half_closed is not None:
            self.transport.close()
        elif self._last:  # its client was not told of the end: a request may be on its way
            self.loop.call_later(LAST_CALL_S, self._last_call)

    def send_400_response(self, msg: str) -> None:
        error = sys.exception()  # the parser's: this is called while it is being handled
        why = "" if error is None else f": {str(error)[:100]}"
        self.refuse(InvalidRequest(f"The request is not valid HTTP/1.1{why}."))

    def eof_received(self) -> bool:  # type: ignore[override]
        """The client sends no more: it may have left, or just wait for its answer."""
        self._drop_unread()
        if not self.busy or self._reading_body:
            return False
        self._head_came()
        if self._refusal is None:
            self.cycle.keep_alive = False
        self._half_closed = HalfClosed(self, self.loop)
        return True

    def probe(self) -> bytes:
        """Bytes that the client does not hear of, and that a connection is reset by which it has left."""
        cycle = self.cycle
        if self.pipeline or cycle.response_complete:
            return b""
        if not cycle.response_started:
            return INTERIM if cycle.scope["http_version"] == "1.1" else b""
        return ZERO if cycle.chunked_encoding else b""

    # what goes

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._stall_timer is None:
            self._stall_timer = self.loop.call_later(self.guards.bounds.unread_s, self.transport.abort)

    def resume_writing(self) -> None:
        self._read_again()
        super().resume_writing()

    def _read_again(self) -> None:
        if self._stall_timer is not None:
            self._stall_timer.cancel()
            self._stall_timer = None

    # time

    def _await_head(self) -> None:
        self._head_timer = self.loop.call_later(self.guards.bounds.head_s, self._late)

    def _head_came(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _late(self) -> None:
        """The head did not come. Between two requests the keep-alive limit rules, not this one."""
        self._head_timer = None
        if self._head_bytes:
            head_s = self.guards.bounds.head_s
            self.refuse(RequestTimeout(f"The request's headers did not arrive within {head_s:g} s."))
        elif self.cycle is None:
            self.transport.close()

    def _await_body(self) -> None:
        """Who reads the body has a deadline of his own. This one is for a body that nobody reads."""
        if self._body_timer is None:
            due_s = self.guards.bounds.body_s + LINGER_S
            self._body_timer = self.loop.call_later(due_s, self._late_body)

    def _body_came(self) -> None:
        if self._body_timer is not None:
            self._body_timer.cancel()
            self._body_timer = None

    def _late_body(self) -> None:
        self._body_timer = None
        if not self.busy:
            self.transport.close()

    @property
    def busy(self) -> bool:
        """Whether a request is being answered."""
        return self.cycle is not None and not self.cycle.response_complete

    def shutdown(self) -> None:
        """Take no further request, but one that may be on its way already."""
        self._last = True
        if self.busy:
            if not self.cycle.response_started:  # its head can still tell
                super().shutdown()
        else:
            self.loop.call_later(LAST_CALL_S, self._last_call)

    def _last_call(self) -> None:
        if not self.busy:
            self.transport.close()

    # refusals

    def _turn_away(self, data: bytes) -> None:
        """Read one head, to know whose words to use."""
        self._excess += data
        if b"\r\n\r\n" not in self._excess and len(self._excess) <= self.guards.bounds.header_bytes_max:
            return
        lines = self._excess.split(b"\r\n\r\n", 1)[0].split(b"\r\n")
        words = lines[0].split(b" ")
        self.url = words[1] if len(words) > 1 else b""
        self.headers = [
            (name.strip().lower(), value.strip())
            for name, _, value in (ln.partition(b":") for ln in lines[1:])
        ]
        self._excess = b""
        self._refused = True
        error = Overloaded(
            "This gateway has as many connections open as it takes, of all clients or of your address. "
            "Retry shortly, and use connections again.",
            retry_after_s=1.0,
        )
        self._send_refusal(
            self.gateway.refusal(error, words[0].decode("latin-1"), self.url, list(self.headers))
        )

    def refuse(self, error: RouterError) -> None:
        """Answer with an error and close; hear nothing more. Requests that came whole before are answered first.
        Of one whose answer has begun while its body is read, that ends it."""
        if self._refused:
            return
        self._refused = True
        self._head_came()
        self._drop_unread()
        if self.busy and self._reading_body:
            if self.cycle.response_started:
                self.cycle.keep_alive = False
                return
            self.cycle.disconnected = True  # it waits for the rest of its body
            self.cycle.message_event.set()
            self._send_refusal(self._told(error))
        elif self.busy:
            self._refusal = self._told(error)
        else:
            self._send_refusal(self._told(error))

    @property
    def _reading_body(self) -> bool:
        """Whether the body of the latest request is not whole."""
        return bool(getattr(self.cycle, "more_body", False))

    def _drop_unread(self) -> None:
        """Forget a request that waits for its turn if the rest of it will never be read."""
        if self.pipeline and self._reading_body:
            self.pipeline.popleft()
            self.cycle = self._before

    def _told(self, error: RouterError) -> bytes:
        """The reply to what is refused: as the API says it whose request it is, or else the one before it."""
        if self.headers is not None and self._in_request:
            method, target, headers = self.parser.get_method(), self.url, self.headers
        else:
            method, (target, headers) = b"POST", self.asked_before()
        return self.gateway.refusal(error, method.decode("latin-1"), target, list(headers))

    def asked_before(self) -> tuple[bytes, list[tuple[bytes, bytes]]]:
        """Target and headers of the latest request of this connection."""
        scope = getattr(self.cycle, "scope", None)
        return (b"", []) if scope is None else (scope["raw_path"], list(scope["headers"]))

    @property
    def _in_request(self) -> bool:
        return bool(getattr(self, "url", b""))

    def _send_refusal(self, reply: bytes) -> None:
        self._refusal = None
        self.transport.write(reply)
        self.transport.write_eof()
        self.loop.call_later(LINGER_S, self.transport.close)


def _too_large(bytes_max: int) -> HeadersTooLarge:
    return HeadersTooLarge(
        f"The request's headers are larger than {bytes_max} bytes: send less, "
        "or have the operator raise server.header_bytes_max."
    )


def _without_upgrade(data: bytes) -> bytes:
    """The bytes with the name of an Upgrade header, if their head has one, made meaningless."""
    end = data.find(b"\r\n\r\n")  # a body, which may be long, is not searched
    end = len(data) if end < 0 else end
    if data.find(b"pgrade:", 0, end) < 0 and data.find(b"PGRADE:", 0, end) < 0:
        return data
    head, blank, rest = data.partition(b"\r\n\r\n")
    return _UPGRADE.sub(_IGNORED, head) + blank + rest
