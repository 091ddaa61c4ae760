"""The HTTP/1.1 client towards providers. See :class:`LeanUpstream`."""

from __future__ import annotations

import asyncio
import ssl
from functools import partial

from llm_router.adapters.upstream.dial import dial
from llm_router.adapters.upstream.dns import Names, Resolve, system_resolve
from llm_router.adapters.upstream.faults import connect_cause, timed_out, unavailable
from llm_router.adapters.upstream.head import encode_head, encode_start
from llm_router.adapters.upstream.live import PreparedRequest
from llm_router.adapters.upstream.pool import Pool
from llm_router.adapters.upstream.protocol import Connection, WireLimits
from llm_router.adapters.upstream.reply import LeanReply
from llm_router.adapters.upstream.tls import Sessions, verified_context
from llm_router.adapters.upstream.url import HttpUrl, Origin, parse_url
from llm_router.domain.errors import UpstreamError
from llm_router.ports import Deadlines, UpstreamRequest

URLS_MAX = 1024
"""Parsed URLs kept: each provider has a handful. When it is full, all are forgotten."""

ORIGINS_MAX = 256
"""Pools kept; beyond, those without a connection are dropped."""


class LeanUpstream:
    """Implements :class:`~llm_router.ports.Upstream`: pooled, bounded, and cheap.

    Rules:

    * Deadlines: ``connect_s`` covers waiting for a free connection, the name, TCP and TLS;
      ``first_byte_s`` runs from the first byte written to the first body byte (the head included);
      ``idle_s`` is the gap between two pieces while the reader waits; ``total_s`` the whole call.
    * Resending: a request goes out a second time, on a fresh connection, only if the first was a
      reused one and broke (EOF, reset or failed write) before any byte of a reply. That is a server
      that closed an idle connection. A timeout, or one byte of a reply, is never followed by a second try.
    * Cancelling a call, or closing a reply before its end, closes the connection, which stops the
      provider's work. A reply whose end has come gives its connection back by itself.
    * Nothing is followed or taken from the surroundings: no redirects, no proxies, no cookies.

    Options:
        connections_per_origin_max: more calls than that wait their turn, first come first served.
        waiters_per_origin_max: more than that are refused at once.
        idle_s: how long an unused connection is kept (less if the server says so).
        header_bytes_max: of a reply's head.
        buffer_bytes_max: of a body that nobody reads; reading from the socket stops above it.
        dns_ttl_s: how long a resolved name is remembered.
        user_agent: sent where the request has none.
        ssl_context: None is the system's trust, verified.
        resolve: None is the system's resolver.
    """

    def __init__(
        self,
        *,
        connections_per_origin_max: int = 256,
        waiters_per_origin_max: int = 1024,
        idle_s: float = 30.0,
        header_bytes_max: int = 64 * 1024,
        buffer_bytes_max: int = 256 * 1024,
        dns_ttl_s: float = 30.0,
        user_agent: str = "llm-router",
        ssl_context: ssl.SSLContext | None = None,
        resolve: Resolve | None = None,
    ) -> None:
        self._size = connections_per_origin_max
        self._waiters_max = waiters_per_origin_max
        self._idle_s = idle_s
        self._limits = WireLimits(header_bytes_max=header_bytes_max, buffer_bytes_max=buffer_bytes_max)
        self._names = Names(resolve or system_resolve, dns_ttl_s)
        self._user_agent = user_agent
        self._context = ssl_context
        self._sessions: Sessions | None = None
        self._urls: dict[str, tuple[HttpUrl, Pool]] = {}
        self._pools: dict[Origin, Pool] = {}
        self._closed = False

    async def send(self, request: UpstreamRequest, deadlines: Deadlines) -> LeanReply:
        """Send and wait for the head of the reply, see :meth:`llm_router.ports.Upstream.send`."""
        loop = asyncio.get_running_loop()
        url, pool = self._urls.get(request.url) or self._locate(request.url, loop)
        head = encode_head(request.method, url, request.headers, len(request.body), self._user_agent)
        start = loop.time()
        total_due = start + deadlines.total_s
        until = min(start + deadlines.connect_s, total_due)
        connection = pool.take() or await pool.acquire(until)
        reply = LeanReply(loop, request.method, deadlines, total_due)
        try:
            connection.begin(reply, head, request.body)
            await reply.head()
        except UpstreamError:
            if not connection.stale:
                raise
            reply = await self._resend(pool, request, head, deadlines, total_due)
        return reply

    def prepare(self, request: UpstreamRequest) -> PreparedRequest:
        """As the port PromptUpstream says."""
        loop = asyncio.get_running_loop()
        url, pool = self._urls.get(request.url) or self._locate(request.url, loop)
        return PreparedRequest(
            loop, pool, request.method, encode_start(request.method, url, request.headers, self._user_agent)
        )

    async def warm(self, url: str) -> None:
        """Open a connection for the next call to that URL, if none is ready. Never raises for the
        network's sake: the call itself will tell."""
        loop = asyncio.get_running_loop()
        _, pool = self._urls.get(url) or self._locate(url, loop)
        await pool.warm(loop.time() + Deadlines().connect_s)

    def is_warm(self, url: str) -> bool:
        """Whether a connection is ready for that URL, so that ``warm`` need not be called."""
        known = self._urls.get(url)
        return known is not None and known[1].idle > 0

    async def close(self) -> None:
        """Close every connection; calls still open end with UNAVAILABLE or TRUNCATED."""
        self._closed = True
        for pool in self._pools.values():
            pool.close()
        for _ in range(10):  # let the loop tell each connection that it is lost
            if all(pool.empty for pool in self._pools.values()):
                break
            await asyncio.sleep(0)

    async def _resend(
        self, pool: Pool, request: UpstreamRequest, head: bytes, deadlines: Deadlines, total_due: float
    ) -> LeanReply:
        loop = asyncio.get_running_loop()
        try:
            connection = await pool.acquire(min(loop.time() + deadlines.connect_s, total_due), fresh=True)
        except UpstreamError as error:
            error.sent = True  # the first try wrote it, to a connection that was closing
            raise
        reply = LeanReply(loop, request.method, deadlines, total_due)
        connection.begin(reply, head, request.body)
        await reply.head()
        return reply

    def _locate(self, text: str, loop: asyncio.AbstractEventLoop) -> tuple[HttpUrl, Pool]:
        """Parse a URL once and find the pool of its origin."""
        try:
            url = parse_url(text)
        except ValueError as error:
            raise unavailable("the provider's base URL", str(error), sent=False) from error
        if self._closed:
            raise unavailable(url.origin.label, "the client is closed", sent=False)
        pool = self._pools.get(url.origin)
        if pool is None:
            pool = self._pools[url.origin] = self._new_pool(url.origin, loop)
        if len(self._urls) >= URLS_MAX:
            self._urls.clear()
        self._urls[text] = (url, pool)
        return url, pool

    def _new_pool(self, origin: Origin, loop: asyncio.AbstractEventLoop) -> Pool:
        if len(self._pools) >= ORIGINS_MAX:
            self._urls.clear()
            self._pools = {known: pool for known, pool in self._pools.items() if not pool.empty}
        return Pool(
            loop,
            origin.label,
            partial(self._connect, origin),
            size=self._size,
            waiters_max=self._waiters_max,
            idle_s=self._idle_s,
        )

    async def _connect(self, origin: Origin, until: float) -> Connection:
        addresses = await self._find(origin, until)
        if origin.secure and self._sessions is None:
            self._context = self._context or verified_context()
            self._sessions = Sessions(asyncio.get_running_loop().time)
            self._sessions.serve(self._context)
        connection, address = await dial(
            origin, addresses, until, limits=self._limits, context=self._context, sessions=self._sessions
        )
        self._names.prefer(origin.host, origin.port, address)
        return connection

    async def _find(self, origin: Origin, until: float) -> list[str]:
        try:
            async with asyncio.timeout_at(until):
                return await self._names.find(origin.host, origin.port)
        except TimeoutError as error:
            raise timed_out(origin.label, "looking up its name timed out", sent=False) from error
        except OSError as error:
            raise unavailable(
                origin.label, f"its name was not found: {connect_cause(error)}", sent=False
            ) from error
