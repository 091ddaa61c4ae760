"""The same port on aiohttp: the fallback and a second opinion, at several times the cost."""

from __future__ import annotations

import asyncio
import io
import ssl
from collections.abc import AsyncIterator
from types import SimpleNamespace
from weakref import WeakSet

import aiohttp
import yarl

from llm_router.adapters.upstream.faults import connect_cause, malformed, timed_out, truncated, unavailable
from llm_router.adapters.upstream.framing import Framing, read_framing
from llm_router.adapters.upstream.head import encode_head
from llm_router.adapters.upstream.inflate import ENCODINGS
from llm_router.adapters.upstream.tls import verified_context
from llm_router.adapters.upstream.url import HttpUrl, parse_url
from llm_router.domain.errors import UpstreamError
from llm_router.ports import Deadlines, UpstreamRequest

FIELD_BYTES_MAX = 64 * 1024
"""Of one header line and of a whole head."""


class _Call:
    """What aiohttp's tracing tells of one call."""

    def __init__(self, deadlines: Deadlines, total_due: float) -> None:
        self.connected = False
        self.queued = False
        self.first_due = total_due
        self.total_due = self.content_due = total_due
        self.content_s = deadlines.total_s
        self.deadlines = deadlines
        self.timeout = asyncio.timeout_at(total_due)

    def has_connection(self, now: float) -> None:
        self.connected = True
        self.first_due = min(now + self.deadlines.first_byte_s, self.total_due)
        self.timeout.reschedule(self.first_due)

    def overdue(self, now: float, *, begun: bool) -> str:
        """Which deadline it was that passed."""
        if now + 0.002 >= self.total_due:
            return f"the call was not over within {self.deadlines.total_s:g} s"
        if not begun:
            return f"no first byte within {self.deadlines.first_byte_s:g} s"
        if now + 0.002 >= self.content_due:
            return f"no content within {self.content_s:g} s"
        return f"no further byte for {self.deadlines.idle_s:g} s"


class AiohttpUpstream:
    """Implements :class:`~llm_router.ports.Upstream` on aiohttp, with the rules of
    :class:`~llm_router.adapters.upstream.client.LeanUpstream` but these:

    * only idempotent methods are sent again after a stale connection (aiohttp does not tell whether a
      byte of a reply came);
    * its parser takes some heads that are not quite HTTP, such as lines that end in a bare LF;
    * it takes a cut gzip body, or a body without length whose connection is reset, for whole;
    * bytes that a server sends on an idle connection are taken for the next reply.

    Options:
        connections_per_origin_max: more calls than that wait their turn.
        idle_s: how long an unused connection is kept.
        buffer_bytes_max: of a body that nobody reads; aiohttp stops reading at about twice that.
        dns_ttl_s: how long a resolved name is remembered.
        user_agent: sent where the request has none.
        ssl_context: None is the system's trust, verified.
    """

    def __init__(
        self,
        *,
        connections_per_origin_max: int = 256,
        idle_s: float = 30.0,
        buffer_bytes_max: int = 256 * 1024,
        dns_ttl_s: int = 30,
        user_agent: str = "llm-router",
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        self._size = connections_per_origin_max
        self._idle_s = idle_s
        self._buffer_bytes_max = buffer_bytes_max
        self._dns_ttl_s = dns_ttl_s
        self._user_agent = user_agent
        self._context = ssl_context
        self._session: aiohttp.ClientSession | None = None
        self._replies: WeakSet[AiohttpReply] = WeakSet()
        self._closed = False

    async def send(self, request: UpstreamRequest, deadlines: Deadlines) -> AiohttpReply:
        """Send and wait for the head of the reply, see :meth:`llm_router.ports.Upstream.send`."""
        try:
            url = parse_url(request.url)
        except ValueError as error:
            raise unavailable("the provider's base URL", str(error), sent=False) from error
        label = url.origin.label
        # Only for its judgement: aiohttp writes the head itself.
        encode_head(request.method, url, request.headers, len(request.body), self._user_agent)
        if self._closed:
            raise unavailable(label, "the client is closed", sent=False)
        call = _Call(deadlines, asyncio.get_running_loop().time() + deadlines.total_s)
        try:
            response = await self._request(request, url, call)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise _send_error(label, error, call) from error
        return self._reply(response, request.method, label, call)

    async def warm(self, url: str) -> None:
        """Do nothing: aiohttp has no way to connect ahead."""

    async def close(self) -> None:
        """Close every connection."""
        self._closed = True
        for reply in list(self._replies):
            await reply.close()
        if self._session is not None:
            await self._session.close()

    async def _request(self, request: UpstreamRequest, url: HttpUrl, call: _Call) -> aiohttp.ClientResponse:
        headers = list(request.headers)
        names = {name.lower() for name, _ in headers}
        if "user-agent" not in names:
            headers.append(("user-agent", self._user_agent))
        if "accept-encoding" not in names:
            headers.append(("accept-encoding", "identity"))
        async with call.timeout:
            return await self._opened().request(
                request.method,
                yarl.URL(f"{url.origin.scheme}://{url.authority}{url.target}", encoded=True),
                headers=headers,
                data=io.BytesIO(request.body) if request.body else None,
                skip_auto_headers=("accept", "content-type"),
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=None, connect=call.deadlines.connect_s),
                trace_request_ctx=call,
            )

    def _reply(self, response: aiohttp.ClientResponse, method: str, label: str, call: _Call) -> AiohttpReply:
        version = response.version
        try:
            framing = read_framing(
                method,
                response.status,
                "unknown" if version is None else f"{version.major}.{version.minor}",
                list(response.raw_headers),
                FIELD_BYTES_MAX,
            )
        except ValueError as error:
            response.close()
            raise malformed(label, str(error)) from error
        reply = AiohttpReply(response, framing, label, call)
        self._replies.add(reply)
        return reply

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            if self._context is None:
                self._context = verified_context()
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    limit=0,
                    limit_per_host=self._size,
                    keepalive_timeout=self._idle_s,
                    ttl_dns_cache=self._dns_ttl_s,
                    ssl=self._context,
                ),
                cookie_jar=aiohttp.DummyCookieJar(),
                trust_env=False,
                read_bufsize=self._buffer_bytes_max // 2,
                max_line_size=FIELD_BYTES_MAX,
                max_field_size=FIELD_BYTES_MAX,
                trace_configs=[_tracing()],
            )
        return self._session


class AiohttpReply:
    """Implements :class:`~llm_router.ports.UpstreamReply` on aiohttp's response."""

    def __init__(self, response: aiohttp.ClientResponse, framing: Framing, label: str, call: _Call) -> None:
        self.status = response.status
        self.headers = framing.headers
        self._response = response
        coding = framing.headers.get("content-encoding", "identity").strip().lower()
        self._coding = "identity" if framing.bodiless or not coding else coding
        self._length = framing.length if self._coding == "identity" and not framing.bodiless else None
        self._label = label
        self._call = call
        self._begun = False
        self._failed: UpstreamError | None = None

    def chunks(self) -> AsyncIterator[bytes]:
        """The decoded body, as it comes."""
        return self

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if self._failed is not None:
            raise self._failed
        if self._coding not in ENCODINGS and self._coding != "identity":
            cause = f"the body has the content-encoding {self._coding[:40]!r}, which was not asked for"
            raise self._end(malformed(self._label, cause))
        try:
            piece = await self._next()
        except TimeoutError as error:
            now = asyncio.get_running_loop().time()
            raise self._end(
                timed_out(self._label, self._call.overdue(now, begun=self._begun), sent=True)
            ) from error
        except (aiohttp.ClientError, OSError) as error:
            raise self._end(_body_error(self._label, error)) from error
        if not piece:
            raise StopAsyncIteration
        self._begun = True
        return piece

    def expect_content(self, *, more: bool) -> None:
        """As the port says."""
        call = self._call
        call.content_s = call.deadlines.silence_s if more else call.deadlines.first_byte_s
        call.content_due = asyncio.get_running_loop().time() + call.content_s if more else call.first_due

    async def read(self, bytes_max: int) -> bytes:
        """The whole decoded body, see :meth:`llm_router.ports.UpstreamReply.read`."""
        pieces: list[bytes] = []
        size = self._length or 0
        if size <= bytes_max:
            size = 0
            async for piece in self:
                size += len(piece)
                if size > bytes_max:
                    break
                pieces.append(piece)
        if size > bytes_max:
            raise self._end(malformed(self._label, f"the body is larger than {bytes_max} bytes"))
        return b"".join(pieces)

    async def close(self) -> None:
        """Let go of the reply; before its end this closes the connection."""
        if not self._response.content.at_eof():
            self._end(truncated(self._label, "the reply was closed before its end"))

    async def _next(self) -> bytes:
        deadlines = self._call.deadlines
        due = asyncio.get_running_loop().time() + deadlines.idle_s
        if not self._begun:
            due = max(due, self._call.first_due)
        try:
            async with asyncio.timeout_at(min(due, self._call.content_due, self._call.total_due)):
                return await self._response.content.readany()
        except asyncio.CancelledError:
            self._end(truncated(self._label, "the call was cancelled"))
            raise

    def _end(self, error: UpstreamError) -> UpstreamError:
        self._failed = error
        self._response.close()
        return error


def _tracing() -> aiohttp.TraceConfig:
    """Tell each call when it waits for a connection and when it has one."""

    async def has_connection(_: aiohttp.ClientSession, context: SimpleNamespace, __: object) -> None:
        context.trace_request_ctx.has_connection(asyncio.get_running_loop().time())

    async def queued(_: aiohttp.ClientSession, context: SimpleNamespace, __: object) -> None:
        context.trace_request_ctx.queued = True

    async def unqueued(_: aiohttp.ClientSession, context: SimpleNamespace, __: object) -> None:
        context.trace_request_ctx.queued = False

    config = aiohttp.TraceConfig()
    config.on_connection_reuseconn.append(has_connection)
    config.on_connection_create_end.append(has_connection)
    config.on_connection_queued_start.append(queued)
    config.on_connection_queued_end.append(unqueued)
    return config


def _send_error(label: str, error: Exception, call: _Call) -> UpstreamError:
    sent = call.connected
    if isinstance(error, TimeoutError):
        if call.queued:
            cause = "overloaded here: all connections were busy until the connect deadline"
            return unavailable(label, cause, sent=False)
        now = asyncio.get_running_loop().time()
        return timed_out(label, call.overdue(now, begun=False) if sent else "connecting timed out", sent=sent)
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return unavailable(label, "its certificate was refused", sent=False)
    if isinstance(error, aiohttp.ClientConnectorError):
        return unavailable(label, connect_cause(error.os_error), sent=False)
    if isinstance(error, aiohttp.ClientResponseError):
        return malformed(label, "the reply is not valid HTTP")
    return unavailable(label, "the connection was closed before a reply", sent=sent)


def _body_error(label: str, error: Exception) -> UpstreamError:
    if isinstance(error, aiohttp.ClientPayloadError) and isinstance(
        error.__cause__, aiohttp.http_exceptions.ContentEncodingError
    ):
        return malformed(label, "the body is not in its content-encoding")
    return truncated(label, "the connection broke before the end of the reply")
