"""A response that the gateway keeps for its client. User content: it is kept for a time, then deleted."""

from __future__ import annotations

import msgspec

UNFINISHED = ("queued", "in_progress")
"""Statuses of a response that is still being made."""


class StoredResponse(msgspec.Struct, frozen=True, kw_only=True):
    """One kept response.

    Attributes:
        status: of the response; "queued" or "in_progress" while it is being made.
        previous: the id of the response that it follows.
        body: the response as its client saw it last, JSON.
        input: the input items of its own request, a JSON array.
        item_ids: of its input and output items, by which later requests may refer to them.
        events: its stream, where it may be read again; b"" where not.
    """

    account: str
    id: str
    created_ms: int
    expires_ms: int
    status: str
    previous: str | None
    body: bytes
    input: bytes
    item_ids: tuple[str, ...] = ()
    background: bool = False
    events: bytes = b""

    @property
    def unfinished(self) -> bool:
        """Whether it is still being made."""
        return self.status in UNFINISHED

    @property
    def size_bytes(self) -> int:
        """What it takes of the store."""
        return len(self.body) + len(self.input) + len(self.events)


class StoredItem(msgspec.Struct, frozen=True, array_like=True):
    """An item of a conversation: the id that it is listed with, and the item as it was given, JSON."""

    id: str
    body: msgspec.Raw


class StoredConversation(msgspec.Struct, frozen=True, kw_only=True):
    """One kept conversation.

    Attributes:
        expires_ms: moves on with every change.
        metadata: a JSON object.
    """

    account: str
    id: str
    created_ms: int
    expires_ms: int
    metadata: bytes = b"{}"
    items: tuple[StoredItem, ...] = ()

    @property
    def size_bytes(self) -> int:
        """What it takes of the store."""
        return len(self.metadata) + sum(len(bytes(item.body)) + len(item.id) for item in self.items)
