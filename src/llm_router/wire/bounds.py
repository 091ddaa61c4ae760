"""How much structure a request or a reply may have. Bytes alone do not bound the work: 20 MB may be one picture or
half a million messages, and all other requests wait while they are read."""

from __future__ import annotations

from llm_router.domain.errors import InvalidRequest

OBJECTS_MAX = 60_000
"""JSON objects in one request: every message, part, tool and schema node is one. Long conversations of
agents have some thousands."""

REPLY_OBJECTS_MAX = 1_000_000
"""Objects and lists of a reply, or of one event of a stream: 64 MB of ``{},`` would take 7 GB to read. The most
that an answer comes to are some 40 for each of its tokens, where the likeliest others are told."""

REPLY_COMMAS_MAX = 8_000_000
"""Of a reply that is no list of vectors: as many values at least are in it."""

BYTES_FREE = 3 * OBJECTS_MAX
"""So many bytes hold no more objects than that: the shortest take two, and a comma."""

_STRETCH = 4096


def overgrown(data: bytes, commas_max: int = REPLY_COMMAS_MAX) -> str | None:
    """Why a provider's JSON is not to be read; None if it may be. What stands in texts counts too: no answer of a
    model holds that much of it."""
    if len(data) <= REPLY_OBJECTS_MAX:
        return None
    if data.count(b"{") + data.count(b"[") > REPLY_OBJECTS_MAX:
        return f"more than {REPLY_OBJECTS_MAX} JSON objects and lists"
    return f"more than {commas_max} JSON values" if data.count(b",") > commas_max else None


def few_objects(body: bytes) -> bool:
    """Whether a body cannot hold too many objects: braces inside of texts count too."""
    if len(body) <= BYTES_FREE:
        return True
    found, at = 0, body.find(b"{")
    while at >= 0 and found <= OBJECTS_MAX:  # pictures have none: what lies between them is skipped quickly
        found += body.count(b"{", at, at + _STRETCH)
        at = body.find(b"{", at + _STRETCH)
    return found <= OBJECTS_MAX


def check_objects(body: bytes) -> None:
    """Refuse a body with too many objects. Braces inside of texts do not count.

    Raises:
        InvalidRequest: it has more than OBJECTS_MAX.
    """
    if few_objects(body):
        return
    plain = body.replace(b"\\\\", b"").replace(b'\\"', b"") if b"\\" in body else body
    if sum(piece.count(b"{") for piece in plain.split(b'"')[::2]) > OBJECTS_MAX:
        raise InvalidRequest(
            f"The request holds more than {OBJECTS_MAX} JSON objects (messages, parts, tools, schemas): send "
            "fewer, or join texts that belong together."
        )
