"""HTTP/1.1 by hand: what was received, byte by byte and when, and every fault of its framing.

Blocking sockets, one thread a request. A client library would hide what is to be judged: it joins chunks,
forgives bad framing, retries and decompresses.
Source: https://www.rfc-editor.org/rfc/rfc9112
"""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any
from urllib.parse import urlsplit

HEAD_BYTES_MAX = 256 * 1024
BODY_BYTES_MAX = 64 * 1024 * 1024
READ_BYTES = 64 * 1024

Clock = Callable[[], int]
"""Monotonic microseconds."""


class NoReply(Exception):
    """No reply came: refused, timed out, or closed before a status line. The message says which."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """What was sent. ``secret`` is in the headers or the path, and never shown."""

    method: str
    path: str
    headers: tuple[tuple[str, str], ...]
    body: bytes | None

    def header(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key.lower() == name), None)


@dataclass(kw_only=True)
class Reply:
    """What came back.

    Attributes:
        headers: in order, names in lower case.
        pieces: every read of the body: microseconds since the request was sent, and the bytes after
            the transfer coding was taken off.
        faults: what is wrong with the framing, in words.
        interim: the statuses of 1xx replies before the final one.
    """

    request: Request
    status: int
    headers: tuple[tuple[str, str], ...]
    pieces: list[tuple[int, bytes]] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    interim: tuple[int, ...] = ()

    @cached_property
    def body(self) -> bytes:
        return b"".join(data for _, data in self.pieces)

    @cached_property
    def text(self) -> str:
        return self.body.decode("utf-8", "replace")

    @cached_property
    def json(self) -> Any:
        """The body as JSON, None where it is none. Numbers such as NaN are not JSON."""
        with contextlib.suppress(ValueError, RecursionError):
            return json.loads(self.body, parse_constant=_no_constant)
        return None

    def header(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key == name), None)

    @property
    def media_type(self) -> str:
        return (self.header("content-type") or "").partition(";")[0].strip().lower()

    @property
    def ok(self) -> bool:
        return 200 <= self.status < 300


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


class Connection:
    """One connection; requests are sent and replies read one by one, or several in one go."""

    def __init__(
        self, origin: str, *, timeout_s: float, clock: Clock, context: ssl.SSLContext | None
    ) -> None:
        """
        Raises:
            NoReply: nobody answers there.
        """
        parts = urlsplit(origin)
        host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
        self._host = parts.netloc.rpartition("@")[2]
        self._clock = clock
        self._buffer = b""
        try:
            self._socket: socket.socket = socket.create_connection((host, port), timeout_s)
            if context is not None:
                self._socket = context.wrap_socket(self._socket, server_hostname=host)
        except OSError as error:
            raise NoReply(f"no connection to {parts.scheme}://{self._host}: {error}") from None
        self._socket.settimeout(timeout_s)

    def close(self) -> None:
        self._socket.close()

    def send(self, request: Request) -> None:
        """
        Raises:
            NoReply: the connection is gone.
        """
        self.send_bytes(encode(request, self._host))

    def send_bytes(self, data: bytes) -> None:
        try:
            self._socket.sendall(data)
        except OSError as error:
            raise NoReply(f"the connection broke while the request was sent: {error}") from None

    def read(self, request: Request, *, stop_after: int | None = None) -> Reply:
        """Read the next reply.

        Args:
            stop_after: leave the body alone after that many bytes of it.

        Raises:
            NoReply: there is none.
        """
        started_us = self._clock()
        interim: list[int] = []
        while True:
            status, headers = self._head()
            if status >= 200 or status == 101:
                break
            interim.append(status)
        reply = Reply(request=request, status=status, headers=headers, interim=tuple(interim))
        size = 0
        try:
            for data in self._body(reply):
                size += len(data)
                reply.pieces.append((self._clock() - started_us, data))
                if stop_after is not None and size >= stop_after:
                    break
                if size > BODY_BYTES_MAX:
                    reply.faults.append(f"the body is larger than {BODY_BYTES_MAX} bytes")
                    break
        except (OSError, NoReply) as error:
            reply.faults.append(f"the body broke off: {error or type(error).__name__}")
        return reply

    def closed(self) -> bool:
        """Whether the other side closed the connection and sent nothing more."""
        try:
            return self._buffer == b"" and self._socket.recv(1) == b""
        except OSError:
            return False

    def _head(self) -> tuple[int, tuple[tuple[str, str], ...]]:
        while b"\r\n\r\n" not in self._buffer:
            if len(self._buffer) > HEAD_BYTES_MAX:
                raise NoReply("the head of the reply has no end")
            self._more()
        head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        words = lines[0].split(" ", 2)
        if len(words) < 2 or not words[0].startswith("HTTP/1.") or not words[1].isdigit():
            raise NoReply(f"no HTTP/1.1 status line: {lines[0][:80]!r}")
        pairs = (line.partition(":") for line in lines[1:])
        return int(words[1]), tuple((name.lower(), value.strip()) for name, _, value in pairs)

    def _body(self, reply: Reply) -> Iterator[bytes]:
        if reply.request.method == "HEAD" or reply.status in (204, 304):
            return
        length, coding = reply.header("content-length"), (reply.header("transfer-encoding") or "").lower()
        if coding and length is not None:
            reply.faults.append("both content-length and transfer-encoding are there")
        if coding == "chunked":
            yield from self._chunks(reply)
        elif length is not None and length.isdigit():
            yield from self._exactly(int(length))
        else:
            yield from self._until_close()

    def _exactly(self, size: int) -> Iterator[bytes]:
        while size > 0:
            if not self._buffer:
                self._more()
            data, self._buffer = self._buffer[:size], self._buffer[size:]
            size -= len(data)
            yield data

    def _until_close(self) -> Iterator[bytes]:
        while True:
            if self._buffer:
                data, self._buffer = self._buffer, b""
                yield data
            try:
                self._more()
            except NoReply:
                return

    def _chunks(self, reply: Reply) -> Iterator[bytes]:
        while True:
            line = self._line().partition(b";")[0].strip()
            try:
                size = int(line, 16)
            except ValueError:
                reply.faults.append(f"no size of a chunk: {line[:40]!r}")
                return
            if size == 0:
                break
            yield from self._exactly(size)
            if self._line() != b"":
                reply.faults.append("a chunk is longer than it says")
                return
        while self._line() != b"":  # trailers
            pass

    def _line(self) -> bytes:
        while b"\r\n" not in self._buffer:
            if len(self._buffer) > HEAD_BYTES_MAX:
                raise NoReply("a line has no end")
            self._more()
        line, _, self._buffer = self._buffer.partition(b"\r\n")
        return line

    def _more(self) -> None:
        try:
            data = self._socket.recv(READ_BYTES)
        except TimeoutError:
            raise NoReply("nothing came within the time limit") from None
        except OSError as error:
            raise NoReply(str(error)) from None
        if not data:
            raise NoReply("the connection was closed")
        self._buffer += data


def encode(request: Request, host: str) -> bytes:
    """A request as bytes."""
    names = {name.lower() for name, _ in request.headers}
    lines = [f"{request.method} {request.path} HTTP/1.1"]
    lines += [] if "host" in names else [f"Host: {host}"]
    lines += [f"{name}: {value}" for name, value in request.headers]
    if request.body is not None and not names & {"content-length", "transfer-encoding"}:
        lines.append(f"Content-Length: {len(request.body)}")
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + (request.body or b"")


def tls_context(scheme: str, environ: Mapping[str, str]) -> ssl.SSLContext | None:
    """Certificates are verified; ``SSL_CERT_FILE`` names further authorities."""
    if scheme != "https":
        return None
    return ssl.create_default_context(cafile=environ.get("SSL_CERT_FILE"))
