"""The thin layer over ASGI: reading requests within bounds, answering, noticing who left.

The path that is authorised is the raw path of the request line, never one rebuilt from headers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qs

import msgspec

from llm_router.domain.errors import PayloadTooLarge, RequestTimeout, UnsupportedEncoding

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

LINGER_S = 5.0
"""How long a client is heard out that sends a body which was refused, as other servers do:
https://nginx.org/en/docs/http/ngx_http_core_module.html#lingering_close"""


class Request:
    """One request: method, raw path, query and headers; the body is read on demand."""

    __slots__ = ("_receive", "_scope", "headers", "method", "path", "query")

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self.method: str = scope["method"]
        raw: bytes = scope.get("raw_path") or scope["path"].encode()
        self.path = raw.split(b"?", 1)[0].decode("latin-1")
        self.query: bytes = scope.get("query_string", b"")
        self.headers: dict[str, str] = {}
        for name, value in scope["headers"]:
            key = name.decode("latin-1")
            if key in self.headers:
                self.headers[key] += ", " + value.decode("latin-1")
            else:
                self.headers[key] = value.decode("latin-1")
        self._receive = receive
        self._scope = scope

    @property
    def peer(self) -> str:
        """The address at the other end of the connection; empty where it has none."""
        client = self._scope.get("client")
        return "" if client is None else str(client[0])

    def parameter(self, name: str) -> str | None:
        """The last value of a query parameter."""
        values = parse_qs(self.query.decode("latin-1"), keep_blank_values=True, max_num_fields=100).get(name)
        return None if values is None else values[-1]

    async def body(self, bytes_max: int, within_s: float) -> bytes:
        """The whole body. Call :meth:`check_head` first.

        Raises:
            PayloadTooLarge: it turns out to be larger than ``bytes_max``.
            RequestTimeout: it did not arrive in time.
            ConnectionError: the client left before its end.
        """
        try:
            async with asyncio.timeout(within_s):
                return await self._read(bytes_max)
        except TimeoutError:
            raise RequestTimeout(f"The request body did not arrive within {within_s:g} s.") from None

    def check_head(self, bytes_max: int) -> None:
        """Refuse what the headers alone show to be wrong.

        Raises:
            PayloadTooLarge: the body is declared to be larger than ``bytes_max``.
            UnsupportedEncoding: it is compressed, or not JSON by its content type.
        """
        encoding = self.headers.get("content-encoding", "identity")
        if encoding.lower() != "identity":
            raise UnsupportedEncoding(
                f"Content-Encoding '{encoding[:40]}' is not supported: send the body uncompressed."
            )
        kind = self.headers.get("content-type")
        if kind is not None:
            essence = kind.split(";", 1)[0].strip().lower()
            if essence != "application/json" and not essence.endswith("+json"):
                raise UnsupportedEncoding(
                    f"Content-Type '{kind[:60]}' is not supported: send 'content-type: application/json'."
                )
        declared = self.headers.get("content-length", "")
        if declared.isdigit() and int(declared) > bytes_max:
            raise _too_large(bytes_max)

    async def _read(self, bytes_max: int) -> bytes:
        parts: list[bytes] = []
        size = 0
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ConnectionError("the client left before its request was whole")
            part = message.get("body", b"")
            if part:
                size += len(part)
                if size > bytes_max:
                    raise _too_large(bytes_max)
                parts.append(part)
            if not message.get("more_body", False):
                return parts[0] if len(parts) == 1 else b"".join(parts)

    async def discard(self) -> None:
        """Take what is left of the body, for at most LINGER_S, and keep nothing of it."""
        with suppress(TimeoutError):
            async with asyncio.timeout(LINGER_S):
                while (await self._receive()).get("more_body", False):
                    pass

    async def gone(self) -> None:
        """Wait until the client leaves (or the answer is complete)."""
        while (await self._receive())["type"] != "http.disconnect":
            pass


def _too_large(bytes_max: int) -> PayloadTooLarge:
    return PayloadTooLarge(
        f"The request body is larger than this gateway takes ({bytes_max} bytes). "
        "Send large files by URL, or have the operator raise server.body_bytes_max."
    )


class AsgiClient:
    """The port Client over ASGI. The head goes out with the first bytes, so that a whole answer gets
    a content-length."""

    __slots__ = ("_busy", "_head", "_loop", "_send", "_status", "last_sent_s", "started")

    def __init__(self, send: Send) -> None:
        self._send = send
        self._loop = asyncio.get_running_loop()
        self._head: list[tuple[bytes, bytes]] | None = None
        self._status = 200
        self._busy = False
        self.started = False
        self.last_sent_s = 0.0

    async def start(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        assert not self.started
        self.started = True
        self._status, self._head = status, headers

    async def send(self, data: bytes) -> None:
        await self._write(data, more=True)

    async def finish(self, data: bytes = b"") -> None:
        if self._head is not None:
            self._head.append((b"content-length", b"%d" % len(data)))
        await self._write(data, more=False)

    async def beat(self, status: int, headers: list[tuple[bytes, bytes]], data: bytes) -> None:
        if self._busy:
            return
        if not self.started:
            await self.start(status, headers)
        await self._write(data, more=True)

    async def _write(self, data: bytes, *, more: bool) -> None:
        self._busy = True
        try:
            if self._head is not None:
                head, self._head = self._head, None
                await self._send({"type": "http.response.start", "status": self._status, "headers": head})
            await self._send({"type": "http.response.body", "body": data, "more_body": more})
        except OSError as error:
            raise ConnectionError("the client left") from error
        finally:
            self._busy = False
            self.last_sent_s = self._loop.time()


async def answer_json(
    send: Send,
    status: int,
    value: object,
    headers: list[tuple[bytes, bytes]] | None = None,
    *,
    unread: Request | None = None,
) -> None:
    """Send a JSON answer. ``value`` may hold msgspec.Raw for numbers that must be exact.

    ``unread``: the request if its body is not wanted. Who is still sending it is heard out before the
    connection closes, for else it would be reset, and the answer lost with it.
    """
    data = value if isinstance(value, bytes) else msgspec.json.encode(value)
    head = [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(data)),
        *(headers or []),
    ]
    if unread is not None:
        head.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": status, "headers": head})
    await send({"type": "http.response.body", "body": data, "more_body": unread is not None})
    if unread is not None:
        await unread.discard()
        await send({"type": "http.response.body"})


def whole_reply(status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> bytes:
    """A reply of JSON as it goes over the wire, after which the connection closes."""
    lines = [
        b"HTTP/1.1 %d %b" % (status, HTTPStatus(status).phrase.encode()),
        *(name + b": " + value for name, value in headers),
        b"content-type: application/json",
        b"content-length: %d" % len(body),
        b"connection: close",
    ]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body
