"""Carry another dialect's opaque state through a client of this API.

Clients send ``thinking.signature`` and ``redacted_thinking.data`` back unread, as the API demands.
So reasoning state of other providers (signatures, item ids, encrypted reasoning) travels in them,
marked by a prefix, and is unpacked when it comes back. State that is bound to a call or to text
(Gemini's thoughtSignature) travels in a ``redacted_thinking`` block right before or behind it.
Citations of other providers are marked likewise. Nothing that is marked so may reach a provider of
this API, which would refuse it: :func:`strip_seals` takes it out of passed requests.
"""

from __future__ import annotations

import base64
import binascii
from typing import Literal

import msgspec

from llm_router.wire.chat import Citation, Part, Raw, Text, Thinking, ToolCall
from llm_router.wire.dialects.anthropic_messages.facts import NAME
from llm_router.wire.verbatim import NOT_JSON, items, members, string

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


def seal_thinking(part: Thinking) -> str:
    """What stands for the opaque state of another dialect's reasoning, even if that is none."""
    return _pack(_State(origin=part.origin, signature=part.signature, redacted=part.redacted, id=part.id))


def seal_bound(origin: str | None, signature: str | None, side: Side) -> dict[str, object] | None:
    """The block that carries the state of a call or text of another dialect; None if there is none."""
    if signature is None or origin is None or origin == NAME:
        return None
    return {
        "type": "redacted_thinking",
        "data": _pack(_State(origin=origin, signature=signature, bound=side)),
    }


def is_bound(block: object) -> bool:
    """Whether a block is nothing but the state of the part before it."""
    data = block.get("data") if isinstance(block, dict) else None
    state = _unpack(data) if isinstance(data, str) else None
    return state is not None and state.bound == "previous"


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


def sealed_citation(cited: Citation) -> dict[str, object] | None:
    """Another provider's citation in this API's form; None if it names no page."""
    if cited.url is None:
        return None
    return {
        "type": "web_search_result_location",
        "url": cited.url,
        "title": cited.title,
        "cited_text": cited.cited_text or "",
        "encrypted_index": PREFIX,
    }


def is_sealed(text: object) -> bool:
    """Whether an opaque text is one of ours."""
    return isinstance(text, str) and text.startswith(PREFIX)


def strip_seals(messages: Raw) -> tuple[object, bool]:
    """``messages`` without what is sealed, and whether reasoning went with it. The rest is verbatim."""
    if PREFIX.encode() not in bytes(messages):
        return messages, False
    out: list[object] = []
    lost = False
    for raw in items(messages) or ():
        message = members(raw) or {}
        blocks = items(message.get("content"))
        if blocks is None:
            out.append(raw)
            continue
        kept = [_unsealed(block) for block in blocks]
        lost = lost or None in kept
        content = [block for block in kept if block is not None]
        if content or not blocks:
            out.append({**message, "content": content})
    return out, lost


def _unsealed(raw: Raw) -> object | None:
    """A content block without sealed citations; None if it is sealed itself."""
    block = members(raw) or {}
    if is_sealed(string(block.get("signature"))) or is_sealed(string(block.get("data"))):
        return None
    cited = items(block.get("citations"))
    if cited is None:
        return raw
    own = [cite for cite in cited if not is_sealed(string((members(cite) or {}).get("encrypted_index")))]
    if len(own) == len(cited):
        return raw
    rest = {name: part for name, part in block.items() if name != "citations"}
    return {**rest, "citations": own} if own else rest
