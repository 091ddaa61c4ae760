"""Make one connection: name, addresses in turn, TLS, all within one deadline."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Sequence

from llm_router.adapters.upstream.faults import connect_cause, timed_out, unavailable
from llm_router.adapters.upstream.protocol import Connection, WireLimits
from llm_router.adapters.upstream.tls import Sessions
from llm_router.adapters.upstream.url import Origin
from llm_router.domain.errors import UpstreamError


async def dial(
    origin: Origin,
    addresses: Sequence[str],
    until: float,
    *,
    limits: WireLimits,
    context: ssl.SSLContext | None,
    sessions: Sessions | None = None,
) -> tuple[Connection, str]:
    """Connect to the first of ``addresses`` that answers; return the connection and that address.

    No name is looked up here: the addresses are those that the caller has judged. SNI and the
    certificate's name are those of ``origin.host``. Each address gets its share of the time left
    until ``until`` (event-loop seconds), so that a silent one does not use up that of the next.

    Raises:
        UpstreamError: UNAVAILABLE or TIMEOUT, with ``sent`` False.
    """
    loop = asyncio.get_running_loop()
    error: UpstreamError | None = None
    for index, address in enumerate(addresses):
        left = until - loop.time()
        if left <= 0:
            break
        due = loop.time() + left / (len(addresses) - index)
        try:
            async with asyncio.timeout_at(due):
                return await _connect(loop, origin, address, limits, context, sessions), address
        except TimeoutError:
            _forget(sessions, origin)
            error = timed_out(origin.label, "connecting timed out", sent=False)
        except OSError as cause:
            _forget(sessions, origin)
            error = unavailable(origin.label, connect_cause(cause), sent=False)
            if isinstance(cause, ssl.SSLCertVerificationError):
                break
    raise error or timed_out(origin.label, "connecting timed out", sent=False)


def _forget(sessions: Sessions | None, origin: Origin) -> None:
    """A server may cut off a session that it does not know."""
    if sessions is not None and origin.secure:
        sessions.forget(origin.host)


async def _connect(
    loop: asyncio.AbstractEventLoop,
    origin: Origin,
    address: str,
    limits: WireLimits,
    context: ssl.SSLContext | None,
    sessions: Sessions | None,
) -> Connection:
    _, connection = await loop.create_connection(
        lambda: Connection(loop, origin.label, limits, sessions if origin.secure else None),
        address,
        origin.port,
        ssl=context if origin.secure else None,
        server_hostname=origin.host if origin.secure else None,
    )
    return connection
