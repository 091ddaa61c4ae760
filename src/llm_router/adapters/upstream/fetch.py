"""Fetch media from URLs that clients name, without becoming their way into our network."""

from __future__ import annotations

import asyncio
import base64
import ssl
from collections.abc import Sequence

from llm_router.adapters.upstream.dial import dial
from llm_router.adapters.upstream.dns import Resolve, system_resolve
from llm_router.adapters.upstream.guard import all_public
from llm_router.adapters.upstream.head import encode_head
from llm_router.adapters.upstream.protocol import WireLimits
from llm_router.adapters.upstream.reply import LeanReply
from llm_router.adapters.upstream.tls import verified_context
from llm_router.adapters.upstream.url import HttpUrl, Origin, parse_url
from llm_router.domain.errors import InvalidRequest, UpstreamError, UpstreamKind
from llm_router.ports import Deadlines
from llm_router.wire.dialect import Fetched
from llm_router.wire.media import sniff

_ACCEPT = "image/*, audio/*, video/*, application/pdf, text/plain"
_TEXT_REFUSED = (b"<!doctype", b"<html", b"<svg", b"<?xml", b"<script", b"<head", b"<body")
_CONTROLS = bytes(set(range(32)) - {9, 10, 12, 13})

_PLAIN_PORTS = (80, 443)


class GuardedFetcher:
    """Implements :class:`~llm_router.ports.Fetcher`.

    The name is resolved once; every address must be public; the connection goes to one of those very
    addresses, with the name kept for Host and TLS. So a name that changes its answer gains nothing.
    No redirects, no credentials, no proxies, no cookies. The media type is told by the first bytes;
    the header counts only for plain text, which has none.

    Options:
        bytes_max: of one file.
        total_s: for the whole fetch: waiting for its turn, name, connection, body.
        fetches_max: at the same time; others wait.
        allow_hosts: hosts that may be fetched from whatever their address is: ``host`` at the ports 80
            and 443, or ``host:port``.
        user_agent: what the other side is told.
        ssl_context: None is the system's trust, verified.
        resolve: None is the system's resolver.
    """

    def __init__(
        self,
        *,
        bytes_max: int = 20 * 1024 * 1024,
        total_s: float = 10.0,
        fetches_max: int = 16,
        allow_hosts: tuple[str, ...] = (),
        user_agent: str = "llm-router",
        ssl_context: ssl.SSLContext | None = None,
        resolve: Resolve | None = None,
    ) -> None:
        self._bytes_max = bytes_max
        self._total_s = total_s
        self._turns = asyncio.Semaphore(fetches_max)
        self._allow_hosts = frozenset(host.lower() for host in allow_hosts)
        self._user_agent = user_agent
        self._context = ssl_context
        self._resolve = resolve or system_resolve

    async def fetch(self, url: str) -> Fetched:
        """Fetch one file, see :meth:`llm_router.ports.Fetcher.fetch`."""
        try:
            parsed = parse_url(url)
        except ValueError as error:
            raise _refusal(f"A media URL cannot be used: {error}.") from error
        host = parsed.origin.host[:100]
        try:
            async with asyncio.timeout(self._total_s), self._turns:
                return await self._fetch(parsed, host)
        except TimeoutError as error:
            raise _refusal(
                f"The media at {host} could not be fetched within {self._total_s:g} s. "
                "Send it as a data URL, or from a faster host."
            ) from error

    async def _fetch(self, url: HttpUrl, host: str) -> Fetched:
        due = asyncio.get_running_loop().time() + self._total_s
        addresses = await self._addresses(url, host)
        try:
            reply = await self._get(url, addresses, due)
            try:
                if reply.status != 200:
                    raise _refusal(_status_cause(host, reply.status))
                body = await reply.read(self._bytes_max)
            finally:
                await reply.close()
        except UpstreamError as error:
            raise _refusal(self._cause(host, error)) from error
        return _media(body, reply.headers.get("content-type", ""), host)

    async def _addresses(self, url: HttpUrl, host: str) -> Sequence[str]:
        """Resolve, once, and judge."""
        origin = url.origin
        try:
            addresses = await self._resolve(origin.host, origin.port)
        except (OSError, UnicodeError) as error:
            raise _refusal(f"The host {host} of a media URL was not found. Check its spelling.") from error
        if not self._allowed(origin) and not all_public(addresses):
            raise _refusal(
                f"The host {host} of a media URL is not a public address. "
                "Send the media as a data URL, or from a public host."
            )
        return addresses

    def _allowed(self, origin: Origin) -> bool:
        """Whether the operator named the host."""
        if origin.port in _PLAIN_PORTS and origin.host in self._allow_hosts:
            return True
        return origin.label in self._allow_hosts

    async def _get(self, url: HttpUrl, addresses: Sequence[str], due: float) -> LeanReply:
        head = encode_head("GET", url, (("accept", _ACCEPT),), 0, self._user_agent)
        if url.origin.secure and self._context is None:
            self._context = verified_context()
        connection, _ = await dial(url.origin, addresses, due, limits=WireLimits(), context=self._context)
        deadlines = Deadlines(
            connect_s=self._total_s, first_byte_s=self._total_s, idle_s=self._total_s, total_s=self._total_s
        )
        reply = LeanReply(asyncio.get_running_loop(), "GET", deadlines, due)
        connection.begin(reply, head, b"")
        await reply.head()
        return reply

    def _cause(self, host: str, error: UpstreamError) -> str:
        if error.kind is UpstreamKind.MALFORMED and "larger than" in error.message:
            return f"The media at {host} is larger than {self._bytes_max} bytes. Send a smaller file."
        _, _, cause = error.message.partition(": ")
        return f"The media at {host} could not be fetched: {cause}. Check the URL, or send a data URL."


def _refusal(message: str) -> InvalidRequest:
    return InvalidRequest(message, param="messages")


def _status_cause(host: str, status: int) -> str:
    if 300 <= status < 400:
        return f"The media URL at {host} redirects (status {status}). Give the address it leads to."
    return f"The media at {host} could not be fetched: it answered with status {status}. Check the URL."


def _media(body: bytes, content_type: str, host: str) -> Fetched:
    """Tell the type and encode.

    Raises:
        InvalidRequest: empty, or of no type that is taken.
    """
    if not body:
        raise _refusal(f"The media at {host} is empty.")
    data = base64.b64encode(body).decode("ascii")
    declared = content_type.partition(";")[0].strip().lower()
    media_type = sniff(data)
    if declared == "text/plain" and (media_type is None or _is_weak(media_type, body)):
        media_type = "text/plain" if _is_text(body) else None
    if media_type is None or not _taken(media_type):
        raise _refusal(
            f"The media at {host} is of no supported type (its header says {declared[:60] or 'nothing'}). "
            "Send an image, audio, video, PDF or plain text file."
        )
    return Fetched(media_type=media_type, data=data)


def _is_weak(media_type: str, body: bytes) -> bool:
    """Whether two bytes were all that told the type: then text/plain on the header weighs more."""
    return media_type in ("image/bmp", "audio/aac", "audio/mpeg") and not body.startswith(b"ID3")


def _taken(media_type: str) -> bool:
    return media_type in ("application/pdf", "text/plain") or (
        media_type.partition("/")[0] in ("image", "audio", "video")
    )


def _is_text(body: bytes) -> bool:
    """UTF-8 without control characters that does not begin like markup."""
    start = body[:512].removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if start.startswith(_TEXT_REFUSED) or body.translate(None, _CONTROLS) != body:
        return False
    try:
        body.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
