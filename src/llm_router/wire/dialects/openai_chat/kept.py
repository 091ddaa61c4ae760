"""State members of a message, exactly as a provider spelled them, and back into a client's request.

``reasoning_details`` must come back in the order and the words in which they were given
(https://openrouter.ai/docs/use-cases/reasoning-tokens#preserving-reasoning-blocks);
``reasoning_content`` is wanted back between a call and its result
(https://api-docs.deepseek.com/guides/thinking_mode).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import msgspec

from llm_router.wire.asked import Tree
from llm_router.wire.chat import Opaque, Part, Raw, ToolCall
from llm_router.wire.dialect import Inspected
from llm_router.wire.dialects.openai_chat.parts import NAME, call_extra
from llm_router.wire.framing.sse import EventTooLarge, SSEReader
from llm_router.wire.kept import MEMBERS
from llm_router.wire.lenient import load_object
from llm_router.wire.verbatim import encode

_TEXTS = ("text", "summary")
_STATE = ("signature", "data")
_ENCRYPTED = "reasoning.encrypted"


class _Message:
    """The state members of one choice, put together from a message or its deltas."""

    def __init__(self) -> None:
        self.thoughts: list[str] = []
        self.details: list[dict[str, Any]] = []
        self.extra: dict[str, Any] = {}
        self.called = False

    def add(self, fields: dict[str, Any]) -> None:
        thought, details, extra = (
            fields.get(name) for name in ("reasoning_content", "reasoning_details", "extra_content")
        )
        if isinstance(thought, str):
            self.thoughts.append(thought)
        for item in details if isinstance(details, list) else ():
            if isinstance(item, dict):
                self._detail(item)
        if isinstance(extra, dict):
            self.extra.update(extra)
        self.called = self.called or bool(fields.get("tool_calls"))

    def _detail(self, item: dict[str, Any]) -> None:
        """Pieces of one entry follow each other; an encrypted one comes whole."""
        last = self.details[-1] if self.details else None
        if (
            last is None
            or item.get("type") == _ENCRYPTED
            or any(last.get(name) != item.get(name) for name in ("type", "index"))
            or last.get("signature")
        ):
            self.details.append(dict(item))
            return
        for name, value in item.items():
            if name in _TEXTS and isinstance(value, str) and isinstance(last.get(name), str):
                last[name] += value
            elif value not in (None, "") or name not in last:
                last[name] = value

    def members(self) -> dict[str, Raw]:
        found: dict[str, Any] = {}
        details = [item for item in self.details if any(item.get(name) for name in (*_TEXTS, *_STATE))]
        if self.called or any(item.get(name) for item in details for name in _STATE):
            if any(self.thoughts):
                found["reasoning_content"] = "".join(self.thoughts)
            if details:
                found["reasoning_details"] = details
        if _signature(self.extra) is not None:
            found["extra_content"] = self.extra
        return {name: Raw(encode(value)) for name, value in found.items()}


def _signature(extra: dict[str, Any]) -> object:
    google = extra.get("google")
    return google.get("thought_signature") if isinstance(google, dict) else None


def state_members(data: bytes) -> dict[int, dict[str, Raw]]:
    """By choice: what a whole reply or stream of this dialect holds that must come back verbatim."""
    found: dict[int, _Message] = {}
    for body in _bodies(data):
        choices = body.get("choices")
        for number, choice in enumerate(choices if isinstance(choices, list) else ()):
            if not isinstance(choice, dict):
                continue
            fields = choice.get("message") or choice.get("delta")
            index = choice.get("index")
            if isinstance(fields, dict):
                found.setdefault(index if isinstance(index, int) else number, _Message()).add(fields)
    return {index: members for index, message in found.items() if (members := message.members())}


def _bodies(data: bytes) -> list[dict[str, Any]]:
    if data.lstrip()[:1] == b"{":
        return [body] if (body := load_object(data)) is not None else []
    reader = SSEReader()
    try:
        frames = reader.feed(data)
    except EventTooLarge:
        return []
    return [body for frame in frames if (body := load_object(frame.data)) is not None]


def members_of(part: Opaque) -> dict[str, Any]:
    """The members that such a part stands for."""
    return load_object(bytes(part.raw)) or {}


def restored(inspected: Inspected, turns: Mapping[int, tuple[Part, ...]]) -> Inspected:
    """The client's request with state put into messages, which are keyed by their place."""
    tree = cast(Tree, inspected.tree)
    messages = [
        message if number not in turns else _with_state(message, turns[number])
        for number, message in enumerate(tree.body["messages"])
    ]
    changed = Tree(
        body={**tree.body, "messages": messages}, raw={**tree.raw, "messages": Raw(encode(messages))}
    )
    return msgspec.structs.replace(inspected, tree=changed)


def _with_state(message: dict[str, Any], parts: tuple[Part, ...]) -> dict[str, Any]:
    extras = {part.id: call_extra(part.signature) for part in parts if isinstance(part, ToolCall)}
    changed = dict(message)
    for part in parts:
        if isinstance(part, Opaque) and part.dialect == NAME and part.name == MEMBERS:
            changed |= members_of(part)
    if isinstance(message.get("tool_calls"), list):
        changed["tool_calls"] = [
            {**call, **extras.get(str(call.get("id")), {})} if isinstance(call, dict) else call
            for call in message["tool_calls"]
        ]
    return changed
