"""Carry another dialect's opaque state through a client of this API.

Clients send ``thinking.signature`` and ``redacted_thinking.data`` back unread, as the API demands.
So reasoning state of other providers (signatures, item ids, encrypted reasoning) travels in them,
marked by a prefix, and is unpacked when it comes back. State that is bound to a call or to text
(Gemini's thoughtSignature) travels in a ``redacted_thinking`` block right before or behind it.
"""

from __future__ import annotations

import base64
import binascii
from typing import Literal

import msgspec

from llm_router.wire.chat import Part, Text, Thinking, ToolCall
from llm_router.wire.dialects.anthropic_messages.facts import NAME, NOT_JSON

PREFIX = "llmr1."

Side = Literal["next", "previous"]


class _State(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """``bound``: the state belongs to the part on that side, and is no reasoning."""

    origin: str | None = None
    signature: str | None = None
    redacted: str | None = None
    id: str | None = None
    bound: Side | None = None


_DECODER = msgspec.json.Decoder(_State)


def _pack(state: _State) -> str:
    return PREFIX + base64.urlsafe_b64encode(msgspec.json.encode(state)).decode()


def _unpack(text: str | None) -> _State | None:
    if text is None or not text.startswith(PREFIX):
        return None
    try:
        return _DECODER.decode(base64.urlsafe_b64decode(text[len(PREFIX) :]))
    except (*NOT_JSON, binascii.Error, ValueError):
        return None


def seal_thinking(part: Thinking) -> str | None:
    """What stands for the opaque state of another dialect's reasoning; None if it has none."""
    if part.signature is None and part.redacted is None and part.id is None:
        return None
    return _pack(_State(origin=part.origin, signature=part.signature, redacted=part.redacted, id=part.id))


def seal_bound(origin: str | None, signature: str | None, side: Side) -> dict[str, object] | None:
    """The block that carries the state of a call or text of another dialect; None if there is none."""
    if signature is None or origin is None or origin == NAME:
        return None
    return {
        "type": "redacted_thinking",
        "data": _pack(_State(origin=origin, signature=signature, bound=side)),
    }


def unseal(parts: tuple[Part, ...]) -> tuple[Part, ...]:
    """An assistant's parts as they were before their foreign state was sealed."""
    out: list[Part] = []
    pending: _State | None = None
    for part in parts:
        state = None
        if isinstance(part, Thinking):
            state = _unpack(part.signature) or _unpack(part.redacted)
        if state is None:
            out.append(_bind(part, pending))
            pending = None
        elif state.bound == "next":
            pending = state
        elif state.bound == "previous":
            if out:
                out[-1] = _bind(out[-1], state)
        elif isinstance(part, Thinking):
            out.append(_open(part, state))
    return tuple(out)


def _open(part: Thinking, state: _State) -> Thinking:
    return Thinking(
        text=part.text, signature=state.signature, redacted=state.redacted, id=state.id, origin=state.origin
    )


def _bind(part: Part, state: _State | None) -> Part:
    if state is None or not isinstance(part, Text | ToolCall):
        return part
    return msgspec.structs.replace(part, signature=state.signature, origin=state.origin)
