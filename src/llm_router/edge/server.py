"""The HTTP server: uvicorn's protocol with the guards it lacks.

* The head of a request is bounded in size, in fields and in time, a body's trailers likewise: 431, 408.
* Connections are bounded, all together and of one address: 503.
* A client that does not read what it is sent loses its connection; one that does not end the body of a
  request that was answered long ago, too.
* What is no HTTP gets an error of the same form as every other, not plain text.
* An offer to upgrade the connection (Java's client makes one with every request) is ignored, as the
  standard allows; the parser would take the body for the new protocol's bytes.
* A stopping server takes a request of an open connection until shortly before it closes it.

https://www.rfc-editor.org/rfc/rfc9110#section-7.8 and https://www.rfc-editor.org/rfc/rfc6585#section-5
"""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING

from llm_router.domain.errors import HeadersTooLarge, InvalidRequest, Overloaded, RequestTimeout, RouterError
from llm_router.edge.bounds import Guards, Place
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

    @property
    def gateway(self) -> Gateway:
        """The application that this connection talks to."""
        return self.config.app  # type: ignore[return-value]

    @property
    def guards(self) -> Guards:
        return self.gateway.guards

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
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
        super().connection_lost(exc)

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
        if self.head_complete():
            super().on_headers_complete()
            if self._last:
                self.cycle.keep_alive = False

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

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.pipeline:
            return
        if self._refused:
            self.transport.close()
        elif self._last:  # its client was not told of the end: a request may be on its way
            self.loop.call_later(LAST_CALL_S, self._last_call)

    def send_400_response(self, msg: str) -> None:
        self.refuse(InvalidRequest("The request is not valid HTTP/1.1."))

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
        self._answer(
            Overloaded(
                "This gateway has as many connections open as it takes, of all clients or of your address. "
                "Retry shortly, and use connections again.",
                retry_after_s=1.0,
            ),
            words[0],
        )

    def refuse(self, error: RouterError) -> None:
        """Answer with an error and close. Where an answer is under way already, let it end instead, and hear
        nothing more."""
        if self._refused:
            return
        self._refused = True
        self._head_came()
        if self.busy and (getattr(self.cycle, "response_started", True) or self.pipeline):
            self.cycle.keep_alive = False
            return
        if self.busy:  # it waits for the rest of its body
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        begun = self.headers is not None and self._in_request
        self._answer(error, self.parser.get_method() if begun else b"")

    @property
    def _in_request(self) -> bool:
        return bool(getattr(self, "url", b""))

    def _answer(self, error: RouterError, method: bytes) -> None:
        self._refused = True
        self._head_came()
        reply = self.gateway.refusal(
            error,
            method.decode("latin-1"),
            self.url if self._in_request else b"",
            list(self.headers or ()) if self._in_request else [],
        )
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
    if b"pgrade:" not in data and b"PGRADE:" not in data:
        return data
    head, blank, rest = data.partition(b"\r\n\r\n")
    return _UPGRADE.sub(_IGNORED, head) + blank + rest
