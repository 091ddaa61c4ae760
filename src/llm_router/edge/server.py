"""The HTTP server: uvicorn's protocol with the guards it lacks.

* The head of a request is bounded in size and time: 431, or the connection is closed.
* What is no HTTP gets an error of the same form as every other, not plain text.
* An offer to upgrade the connection (Java's client makes one with every request) is ignored, as the
  standard allows; the parser would take the body for the new protocol's bytes.

https://www.rfc-editor.org/rfc/rfc9110#section-7.8 and https://www.rfc-editor.org/rfc/rfc6585#section-5
"""

from __future__ import annotations

import asyncio
import re
from typing import Any

import msgspec
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

HEAD_BYTES_MAX = 2 * 1024 * 1024
"""Request line and headers together. Clients send a few hundred bytes; an absurd API key of a megabyte
still gets the same 401 as any other."""

LINGER_S = 1.0
"""How long a refused client is heard out: closing at once would reset the connection, and the answer
with it."""

HEAD_S = 30.0
"""A head must be whole by then, and a new connection must have begun one."""

_UPGRADE = re.compile(rb"(?i)(\r\n)upgrade:")
_IGNORED = rb"\1x-grade:"


class GuardedProtocol(HttpToolsProtocol):
    """One connection of a client."""

    _head_bytes = 0
    _in_head = True
    _refused = False
    _head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._head_came()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._refused or self.transport.is_closing():
            return
        if not self._in_head:
            super().data_received(data)
            return
        self._head_bytes += len(data)
        super().data_received(_without_upgrade(data))
        if self._in_head and not self._refused:
            if self._head_bytes > HEAD_BYTES_MAX:
                self._refuse(431, f"The request's headers are larger than {HEAD_BYTES_MAX} bytes: send less.")
            elif self._head_timer is None:
                self._await_head()

    def on_message_begin(self) -> None:
        self._in_head = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._head_bytes = 0
        self._head_came()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._in_head = True

    def send_400_response(self, msg: str) -> None:
        self._refuse(400, "The request is not valid HTTP/1.1.")

    def _await_head(self) -> None:
        self._head_timer = self.loop.call_later(HEAD_S, self._late)

    def _head_came(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _late(self) -> None:
        """The head did not come. Between two requests the keep-alive limit rules, not this one."""
        self._head_timer = None
        if self._head_bytes:
            self._refuse(408, f"The request's headers did not arrive within {HEAD_S:.0f} s.")
        elif self.cycle is None:
            self.transport.close()

    def _refuse(self, status: int, message: str) -> None:
        error: dict[str, Any] = {
            "message": message,
            "type": "invalid_request_error",
            "param": None,
            "code": _CODES[status],
            "request_id": "",
        }
        body = msgspec.json.encode({"error": error})
        head = b"content-type: application/json\r\nconnection: close\r\ncontent-length: %d\r\n\r\n" % len(
            body
        )
        self._refused = True
        self._head_came()
        self.transport.write(STATUS_LINE[status] + head + body)
        self.transport.write_eof()
        self.loop.call_later(LINGER_S, self.transport.close)


_CODES = {400: "invalid_request", 408: "request_timeout", 431: "headers_too_large"}


def _without_upgrade(data: bytes) -> bytes:
    """The bytes with the name of an Upgrade header, if their head has one, made meaningless."""
    if b"pgrade:" not in data and b"PGRADE:" not in data:
        return data
    head, blank, rest = data.partition(b"\r\n\r\n")
    return _UPGRADE.sub(_IGNORED, head) + blank + rest
