"""Chunks of a stream that differ in their text alone: see :mod:`llm_router.wire.again`."""

from __future__ import annotations

from typing import Any

from llm_router.wire.again import MARK, Again, Spot, spot_in
from llm_router.wire.dialect import Observed
from llm_router.wire.dialects.openai_chat.chunks import Chunk, ChunkMender
from llm_router.wire.dialects.openai_chat.mend import PADDING

_PADDINGS = "|".join(PADDING).encode()
_MOVING = frozenset(("usage", "x_groq", "error"))
"""Members of a chunk that say something new each time."""
_LAST = ("message", "finish_reason", "finish_details", "logprobs")
"""The same of a choice."""
_HEAD = frozenset(("id", "object", "created", "model"))


def spot_of(event: bytes, chunk: Chunk, mender: ChunkMender) -> tuple[Spot, bytes] | None:
    """Where the text of a chunk stands, and its JSON with MARK in its place: a chunk with another text would be the same
    but for it, and nothing but lengths would change by it. None where that is not known.

    Args:
        event: the bytes that made the chunk, with their framing.
    """
    found = spot_in(event, b"content", _PADDINGS)
    if found is None:
        return None
    spot, marked, tree = found
    choice = chunk.body["choices"][0]
    if "role" in choice["delta"] or not chunk.body.keys() <= tree.keys() | _HEAD:
        return None  # what is told once: who speaks, and what earlier chunks left
    return (spot, marked) if _brings_only_text(tree) and mender.goes_on(choice["index"]) else None


def _brings_only_text(tree: dict[str, Any]) -> bool:
    """Whether a chunk brings MARK as text, and nothing else that is ever noted."""
    choices = tree.get("choices")
    choice = choices[0] if isinstance(choices, list) and len(choices) == 1 else None
    delta = choice.get("delta") if isinstance(choice, dict) else None
    if not isinstance(choice, dict) or not isinstance(delta, dict) or delta.get("content") != MARK:
        return False
    return not (
        any(tree.get(name) is not None for name in _MOVING)
        or any(choice.get(name) is not None for name in _LAST)
        or any(value is not None for name, value in delta.items() if name not in ("content", "role"))
    )


def passed_again(event: bytes, chunk: Chunk, mender: ChunkMender, seen: Observed) -> Again | None:
    """What tells a client of this dialect of such chunks, and counts them there."""
    found = spot_of(event, chunk, mender)
    if found is None:
        return None
    spot, marked = found
    body = chunk.body
    if chunk.data is None:
        choice = body["choices"][0]
        delta = {**choice["delta"], "content": MARK}
        return Again.of(spot, Chunk({**body, "choices": [{**choice, "delta": delta}]}, None).frame(), seen)
    return Again.of(spot, Chunk(body, marked).frame(), seen, verbatim=True)
