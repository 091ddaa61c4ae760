"""Post a small message to an address that an operator named, under the rules of media fetching: what it
resolves to must be public, is resolved once, and no redirect is followed."""

from __future__ import annotations

import asyncio
import ssl

from llm_router.adapters.upstream.dial import dial
from llm_router.adapters.upstream.dns import Resolve, system_resolve
from llm_router.adapters.upstream.guard import all_public
from llm_router.adapters.upstream.head import encode_head
from llm_router.adapters.upstream.protocol import WireLimits
from llm_router.adapters.upstream.reply import LeanReply
from llm_router.adapters.upstream.tls import verified_context
from llm_router.adapters.upstream.url import parse_url
from llm_router.domain.errors import UpstreamError
from llm_router.ports import Deadlines


class PostFailed(Exception):
    """The message says why, without the address, which may hold a secret."""


class GuardedPost:
    """Options: allow_hosts: ``host:port`` or ``host`` (ports 80 and 443) that need not be public."""

    def __init__(
        self,
        *,
        allow_hosts: tuple[str, ...] = (),
        total_s: float = 10.0,
        user_agent: str = "llm-router",
        ssl_context: ssl.SSLContext | None = None,
        resolve: Resolve | None = None,
    ) -> None:
        self._allow_hosts = frozenset(host.lower() for host in allow_hosts)
        self._total_s = total_s
        self._user_agent = user_agent
        self._context = ssl_context
        self._resolve = resolve or system_resolve

    async def post(self, url: str, headers: tuple[tuple[str, str], ...], body: bytes) -> None:
        """Deliver once; return when it was taken (2xx).

        Raises:
            PostFailed: it was not.
        """
        try:
            async with asyncio.timeout(self._total_s):
                status = await self._post(url, headers, body)
        except TimeoutError:
            raise PostFailed(f"no answer within {self._total_s:g} s") from None
        except (OSError, UnicodeError):
            raise PostFailed("the host was not found") from None
        except UpstreamError as error:
            raise PostFailed(error.message) from None
        except ValueError as error:
            raise PostFailed(str(error)) from None
        if not 200 <= status < 300:
            raise PostFailed(f"answered with status {status}")

    async def _post(self, url: str, headers: tuple[tuple[str, str], ...], body: bytes) -> int:
        parsed = parse_url(url)
        origin = parsed.origin
        addresses = await self._resolve(origin.host, origin.port)
        allowed = origin.label in self._allow_hosts or (
            origin.port in (80, 443) and origin.host in self._allow_hosts
        )
        if not allowed and not all_public(addresses):
            raise PostFailed(
                "the host is not a public address; name it in alerts.allow_hosts if that is meant"
            )
        if origin.secure and self._context is None:
            self._context = verified_context()
        loop = asyncio.get_running_loop()
        due = loop.time() + self._total_s
        head = encode_head("POST", parsed, headers, len(body), self._user_agent)
        connection, _ = await dial(origin, addresses, due, limits=WireLimits(), context=self._context)
        each = self._total_s
        deadlines = Deadlines(connect_s=each, first_byte_s=each, idle_s=each, total_s=each)
        reply = LeanReply(loop, "POST", deadlines, due)
        connection.begin(reply, head, body)
        try:
            await reply.head()
            return reply.status
        finally:
            await reply.close()
