"""Carry opaque state through clients of this API, and through the canonical form.

Clients send reasoning items back unread, as the API demands. So reasoning state of other providers
(signatures, item ids, encrypted reasoning) travels in ``encrypted_content``, marked by a prefix,
and is unpacked when it comes back. State that is bound to a call or to text (Gemini's
thoughtSignature) travels in a reasoning item of its own, right before or behind it. Nothing that is
marked so may reach a provider of this API, which would refuse it: :func:`strip_seals` takes it out
of passed requests.

The other way: what this API's own items hold beside their text is kept in the ``signature`` of a
canonical part, so that any client can bring it back (:func:`state_of`, :func:`reasoning_item`).
"""

from __future__ import annotations

import base64
import binascii
from typing import Any, Literal

import msgspec

from llm_router.wire.chat import Part, Text, Thinking, ToolCall
from llm_router.wire.dialects.openai_responses.words import NAME, SEPARATOR, objects, text_of
from llm_router.wire.lenient import load_object
from llm_router.wire.verbatim import encode

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
    return PREFIX + base64.urlsafe_b64encode(encode(state)).decode()


def _unpack(text: str) -> _State | None:
    if not text.startswith(PREFIX):
        return None
    try:
        return _DECODER.decode(base64.urlsafe_b64decode(text[len(PREFIX) :]))
    except (msgspec.MsgspecError, binascii.Error, ValueError):
        return None


def is_sealed(text: object) -> bool:
    """Whether an opaque text is one of ours."""
    return isinstance(text, str) and text.startswith(PREFIX)


# -- another provider's state, in this API's items ---------------------------------------------------


def encrypted_content(part: Thinking) -> str | None:
    """What stands for a part's opaque state in a reasoning item; None if there is nothing to keep."""
    if part.origin == NAME:
        if part.redacted is not None:
            return part.redacted
        if part.signature is None or not part.signature.startswith("{"):
            return part.signature
    if part.origin is None and part.signature is None and part.redacted is None:
        return None
    return _pack(_State(origin=part.origin, signature=part.signature, redacted=part.redacted, id=part.id))


def bound_content(origin: str | None, signature: str | None, side: Side) -> str | None:
    """What carries the state of a call or text of another dialect; None if there is none."""
    if signature is None or origin is None or origin == NAME:
        return None
    return _pack(_State(origin=origin, signature=signature, bound=side))


def unseal(parts: list[Part]) -> list[Part]:
    """An assistant's parts as they were before their foreign state was sealed."""
    out: list[Part] = []
    pending: _State | None = None
    for part in parts:
        state = _unpack(part.signature or "") if isinstance(part, Thinking) else None
        if state is None:
            out.append(_bind(part, pending))
            pending = None
        elif state.bound == "next":
            pending = state
        elif state.bound == "previous":
            if out:
                out[-1] = _bind(out[-1], state)
        elif isinstance(part, Thinking):
            out.append(
                Thinking(
                    text=part.text, signature=state.signature, redacted=state.redacted,
                    id=state.id, origin=state.origin,
                )
            )  # fmt: skip
    return out


def _bind(part: Part, state: _State | None) -> Part:
    if state is None or not isinstance(part, Text | ToolCall):
        return part
    return msgspec.structs.replace(part, signature=state.signature, origin=state.origin)


def strip_seals(items: list[Any]) -> tuple[list[Any], bool]:
    """Input items without what is sealed, and whether any reasoning of others went with it."""
    kept = [item for item in items if not _is_sealed_item(item)]
    return kept, len(kept) < len(items)


def _is_sealed_item(item: object) -> bool:
    return (
        isinstance(item, dict)
        and item.get("type") == "reasoning"
        and is_sealed(item.get("encrypted_content"))
    )


# -- this API's own state, in canonical parts ------------------------------------------------------


def reasoning_texts(item: dict[str, Any]) -> list[tuple[str, str]]:
    """The texts of a reasoning item in order, each with the member it stands in; no empty ones."""
    return [
        (name, text)
        for name in ("summary", "content")
        for part in objects(item.get(name))
        if (text := text_of(part.get("text")))
    ]


def state_of(item: dict[str, Any], texts: list[tuple[str, str]]) -> str | None:
    """What a reasoning item is beside its text and id, as a ``signature``; None if it is nothing.

    It is ``encrypted_content`` as it stands where the text is one summary or none; else a JSON
    object that also says how the text was divided. ``texts``: as they were joined by SEPARATOR.
    """
    encrypted = item.get("encrypted_content")
    encrypted = encrypted if isinstance(encrypted, str) and encrypted else None
    if [name for name, _ in texts] in ([], ["summary"]) and not text_of(encrypted).startswith("{"):
        return encrypted
    state: dict[str, Any] = {"parts": [[name, len(text)] for name, text in texts]}
    if encrypted is not None:
        state["encrypted_content"] = encrypted
    return encode(state).decode()


def reasoning_item(part: Thinking) -> dict[str, Any]:
    """The reasoning item that a part of this dialect was."""
    state: dict[str, Any] = {}
    encrypted = part.redacted
    if part.signature is not None and part.signature.startswith("{"):
        state = load_object(part.signature.encode("utf-8", "replace")) or {}
        encrypted = encrypted or text_of(state.get("encrypted_content")) or None
    elif part.signature is not None:
        encrypted = part.signature
    item: dict[str, Any] = {"type": "reasoning"}
    if part.id is not None:
        item["id"] = part.id
    item["summary"] = []
    for name, text in _divided(part.text, state.get("parts")):
        kind = "summary_text" if name == "summary" else "reasoning_text"
        item.setdefault(name, []).append({"type": kind, "text": text})
    if encrypted is not None:
        item["encrypted_content"] = encrypted
    return item


def _divided(text: str, parts: object) -> list[tuple[str, str]]:
    """The text in its parts; as one summary where a client changed it on the way."""
    whole = [("summary", text)] if text else []
    if not isinstance(parts, list):
        return whole
    out: list[tuple[str, str]] = []
    at = 0
    for entry in parts:
        match entry:
            case ["summary" | "content" as name, int(size)]:
                out.append((name, text[at : at + size]))
                at += size + len(SEPARATOR)
            case _:
                return whole
    return out if SEPARATOR.join(piece for _, piece in out) == text else whole


# -- phases of messages and members of calls -------------------------------------------------------


FINAL = "final_answer"


def message_state(item: dict[str, Any], text: str) -> str | None:
    """The ``phase`` of an assistant's message, bound to its text; None if it has none.

    Models want it back: https://platform.openai.com/docs/guides/latest-model
    """
    phase = item.get("phase")
    return encode({"phase": phase, "chars": len(text)}).decode() if isinstance(phase, str) else None


def told_state(item: dict[str, Any], text: str) -> str | None:
    """The state of a reply's text: its phase, if it is not the final answer, which goes without saying."""
    return None if item.get("phase") == FINAL else message_state(item, text)


def phase_of(part: Text) -> str | None:
    """The phase that :func:`message_state` kept; None if the text is not the same any more."""
    if part.origin != NAME or part.signature is None:
        return None
    state = load_object(part.signature.encode("utf-8", "replace")) or {}
    phase = state.get("phase")
    return phase if isinstance(phase, str) and state.get("chars") == len(part.text) else None


CALL_MEMBERS = ("namespace", "caller")
"""Members of a call that must come back with it, where it has them."""


def call_state(item: dict[str, Any]) -> str | None:
    """What a call holds beside id, name and arguments, as a ``signature``."""
    found = {name: item[name] for name in CALL_MEMBERS if item.get(name) is not None}
    return encode(found).decode() if found else None


def kept_members(origin: str | None, signature: str | None) -> dict[str, Any]:
    """The members that :func:`call_state` kept."""
    if origin != NAME or signature is None:
        return {}
    state = load_object(signature.encode("utf-8", "replace")) or {}
    return {name: state[name] for name in CALL_MEMBERS if name in state}
