"""Answers packed by gzip for clients that take it. Administration and lists alone: never what models say, whose
pieces must leave as they come."""

from __future__ import annotations

import asyncio
import gzip
from functools import lru_cache

import msgspec

from llm_router.edge.http import Request, Send, answer_json

BYTES_MIN = 2048
"""Smaller answers fit in one or two packets as they are."""

INLINE_BYTES_MAX = 32 * 1024
"""Larger ones are packed beside the event loop: they take more than about a millisecond."""

LEVEL = 5

VARY = (b"vary", b"accept-encoding")
PACKED = (b"content-encoding", b"gzip")


def takes_gzip(accepted: str | None) -> bool:
    """Whether an ``Accept-Encoding`` takes gzip, and likes nothing packed no better.

    https://www.rfc-editor.org/rfc/rfc9110#section-12.5.3
    """
    weights: dict[str, float] = {}
    for part in (accepted or "").lower().split(","):
        coding, *parameters = (piece.strip() for piece in part.split(";"))
        weights[coding] = _weight(parameters)
    gzip_weight = weights.get("gzip", weights.get("x-gzip", weights.get("*", 0.0)))
    return gzip_weight > 0.0 and gzip_weight >= weights.get("identity", 0.0)


def _weight(parameters: list[str]) -> float:
    """The weight of a coding: 1 where none is said, 0 where it cannot be read."""
    for parameter in parameters:
        name, _, text = parameter.partition("=")
        if name.strip() == "q":
            text = text.strip()
            whole, _, rest = text.partition(".")
            readable = whole in ("0", "1") and len(rest) <= 3 and (not rest or rest.isdecimal())
            return min(float(text), 1.0) if readable and text.isascii() else 0.0
    return 1.0


async def answer_packed(
    request: Request,
    send: Send,
    value: object,
    headers: list[tuple[bytes, bytes]] | None = None,
    *,
    fixed: bool = False,
) -> None:
    """Send a JSON answer of status 200, packed where that is worth it and the client takes it.

    ``fixed``: the answer is the same for as long as the process lives, so that it is packed once.
    """
    data = value if isinstance(value, bytes) else msgspec.json.encode(value)
    head = [*(headers or []), VARY]
    if len(data) < BYTES_MIN or not takes_gzip(request.headers.get("accept-encoding")):
        await answer_json(send, 200, data, head)
        return
    work = _pack_once if fixed else _pack
    packed = work(data) if len(data) <= INLINE_BYTES_MAX else await asyncio.to_thread(work, data)
    await answer_json(send, 200, packed, [*head, PACKED])


def _pack(data: bytes) -> bytes:
    return gzip.compress(data, LEVEL, mtime=0)


_pack_once = lru_cache(maxsize=2)(_pack)
