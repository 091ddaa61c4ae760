"""How much structure a request may have. Bytes alone do not bound the work: 20 MB may be one picture or
half a million messages, and all other requests wait while they are read."""

from __future__ import annotations

from llm_router.domain.errors import InvalidRequest

OBJECTS_MAX = 60_000
"""JSON objects in one request: every message, part, tool and schema node is one. Long conversations of
agents have some thousands."""


def check_objects(body: bytes) -> None:
    """Refuse a body with too many objects. Braces inside of texts do not count.

    Raises:
        InvalidRequest: it has more than OBJECTS_MAX.
    """
    if body.count(b"{") <= OBJECTS_MAX:
        return
    plain = body.replace(b"\\\\", b"").replace(b'\\"', b"") if b"\\" in body else body
    if sum(piece.count(b"{") for piece in plain.split(b'"')[::2]) > OBJECTS_MAX:
        raise InvalidRequest(
            f"The request holds more than {OBJECTS_MAX} JSON objects (messages, parts, tools, schemas): send "
            "fewer, or join texts that belong together."
        )
