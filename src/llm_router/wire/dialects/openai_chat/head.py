"""What all chunks of a stream have in common, and what travels beside their choices."""

from __future__ import annotations

import re
from typing import Any

from llm_router.wire.dialects.openai_chat.mend import PADDING

OBJECT = "chat.completion.chunk"
_OWN = frozenset(("id", "object", "created", "model", "choices", "usage", "error", *PADDING))


class StreamHead:
    """One id, model and created time for a whole stream, chosen at its first chunk with choices.

    Attributes:
        reply_id: the exchange's own; "" where none is known.
        upstream_id, upstream_model: the provider's own; "" while it has not said.
        service_tier: the tier that the provider says it served.
        extras: members of chunks without choices that still wait for a chunk to travel on.
    """

    def __init__(self, reply_id: str, model: str, created_s: int) -> None:
        self._fallback = (reply_id, model, created_s)
        self.reply_id = reply_id
        self.id: str | None = None
        self.model = ""
        self.created = 0
        self.upstream_id = self.upstream_model = ""
        self.service_tier: str | None = None
        self.extras: dict[str, Any] = {}

    def members(self) -> dict[str, Any]:
        """The members that every chunk begins with."""
        if self.id is None:
            self._settle({})
        return {"id": self.id, "object": OBJECT, "created": self.created, "model": self.model}

    def mend(self, body: dict[str, Any]) -> bool:
        """Put the members of a chunk beside its choices right; say whether that changed any."""
        if self.id is None:
            self._settle(body)
        changed = False
        if body.get("id") != self.id:
            body["id"], changed = self.id, True
        if body.get("object") != OBJECT:
            body["object"], changed = OBJECT, True
        if body.get("created") != self.created or body["created"].__class__ is not int:
            body["created"], changed = self.created, True
        if body.get("model") != self.model:
            body["model"], changed = self.model, True
        if body.get("usage") is not None:
            del body["usage"]
            changed = True
        for name in PADDING:
            if name in body:
                del body[name]
                changed = True
        if "error" in body:  # empty: not an error
            del body["error"]
            changed = True
        if body.get("service_tier") is not None:
            self.note_tier(body)
            changed |= mend_tier(body)
        if self.extras:
            body.update({name: value for name, value in self.extras.items() if name not in body})
            self.extras = {}
            changed = True
        return changed

    def stash(self, body: dict[str, Any]) -> None:
        """Keep what a chunk without choices says, for the next chunk that has some."""
        self._hear(body)
        self.note_tier(body)
        mend_tier(body)
        for name, value in body.items():
            if name not in _OWN and value is not None and value != "":
                self.extras[name] = value

    def note_tier(self, body: dict[str, Any]) -> None:
        tier = body.get("service_tier")
        if isinstance(tier, str) and tier:
            self.service_tier = tier

    def _settle(self, body: dict[str, Any]) -> None:
        reply_id, model, created_s = self._fallback
        self._hear(body)
        self.id = self.upstream_id if is_reply_id(self.upstream_id) else reply_id
        self.model = self.upstream_model or model
        self.created = whole_seconds(body.get("created")) or created_s

    def _hear(self, body: dict[str, Any]) -> None:
        self.upstream_id = self.upstream_id or text_of(body.get("id"))
        self.upstream_model = self.upstream_model or text_of(body.get("model"))


TIERS = ("auto", "default", "flex", "scale", "priority", "fast")
"""The service tiers that OpenAI's clients know (openai-python, ``types/chat/chat_completion.py``)."""


def mend_tier(members: dict[str, Any]) -> bool:
    """Say the service tier in OpenAI's words; the metered usage keeps the provider's own."""
    tier = members.get("service_tier")
    if tier is None or tier in TIERS:
        return False
    if isinstance(tier, str) and tier.replace("-", "_") in ("standard", "on_demand"):
        members["service_tier"] = "default"
    else:
        del members["service_tier"]
    return True


_REPLY_ID = re.compile("chatcmpl-[ -~]{1,247}")


def is_reply_id(text: str) -> bool:
    """Whether a provider's id may stand as the reply's own."""
    return _REPLY_ID.fullmatch(text) is not None


def whole_seconds(value: object) -> int:
    """Unix seconds; 0 if the provider gave none that can be true."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return 0
    return int(value) if 0 < value < 10**11 else 0


def text_of(value: object) -> str:
    """The string, or "" for any other value."""
    return value if isinstance(value, str) else ""
