"""Conversation objects: lists of items that requests for a response go on from and add to.

https://platform.openai.com/docs/api-reference/conversations
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from llm_router.domain import late
from llm_router.domain.errors import InvalidRequest, NotFound, PayloadTooLarge
from llm_router.domain.stored import StoredConversation, StoredItem
from llm_router.engine.paging import page
from llm_router.ports import Clock, ResponseStore
from llm_router.wire.chat import Raw

if TYPE_CHECKING:
    from llm_router.wire.dialects.openai_responses import state
else:  # few gateways keep responses
    state = late.module("llm_router.wire.dialects.openai_responses.state")


class Conversations:
    """The conversations of all accounts."""

    def __init__(
        self,
        store: ResponseStore,
        clock: Clock,
        new_id: Callable[[], str],
        *,
        retention_ms: int,
        bytes_max: int,
        enabled: bool,
        grown: Callable[[int], Awaitable[None]],
    ) -> None:
        """``grown`` is told how many bytes were written."""
        self._store = store
        self._clock = clock
        self._new_id = new_id
        self._retention_ms = retention_ms
        self._bytes_max = bytes_max
        self._enabled = enabled
        self._grown = grown

    async def create(self, account: str, body: bytes) -> dict[str, Any]:
        """Make one, with the items and metadata that the body names.

        Raises:
            InvalidRequest: the body is malformed, or nothing is stored here.
            PayloadTooLarge: its items are too large.
        """
        self._check_enabled()
        members = state.conversation_members(body)
        now_ms, seed = self._clock.now_ms(), self._seed()
        items = _with_ids(members.items, seed)
        made = StoredConversation(
            account=account,
            id=f"conv_{seed}",
            created_ms=now_ms,
            expires_ms=now_ms + self._retention_ms,
            metadata=b"{}" if members.metadata is None else bytes(members.metadata),
            items=items,
        )
        await self._store.put_conversation(self._bounded(made))
        await self._grown(made.size_bytes)
        return _shown(made)

    async def get(self, account: str, id_: str) -> dict[str, Any]:
        """
        Raises:
            NotFound: the account has no such conversation.
        """
        return _shown(await self.load(account, id_))

    async def update(self, account: str, id_: str, body: bytes) -> dict[str, Any]:
        """Replace its metadata.

        Raises:
            NotFound, InvalidRequest: as their names say.
        """
        metadata = state.conversation_members(body).metadata
        if metadata is None:
            raise InvalidRequest("'metadata' is missing: send an object.", param="metadata")
        return _shown(await self._change(account, id_, metadata=bytes(metadata)))

    async def delete(self, account: str, id_: str) -> dict[str, Any]:
        """Delete it and its items. Responses that were made in it stay.

        Raises:
            NotFound: the account has no such conversation.
        """
        if not await self._store.delete_conversation(account, id_, self._clock.now_ms()):
            raise _not_found(id_)
        return {"id": id_, "object": "conversation.deleted", "deleted": True}

    async def add(self, account: str, id_: str, body: bytes) -> dict[str, Any]:
        """Add items at its end; return them as a list.

        Raises:
            NotFound, InvalidRequest, PayloadTooLarge: as their names say.
        """
        given = state.conversation_members(body).items
        if not given:
            raise InvalidRequest("'items' is missing: send a list of items.", param="items")
        items = _with_ids(given, self._seed())
        await self._change(account, id_, items=items)
        return page([_listed(item) for item in items], limit=len(items), descending=False, after=None)

    async def items(
        self, account: str, id_: str, *, limit: int, descending: bool, after: str | None
    ) -> dict[str, Any]:
        """A page of its items.

        Raises:
            NotFound, InvalidRequest: as their names say.
        """
        found = await self.load(account, id_)
        listed = [_listed(item) for item in found.items]
        return page(listed, limit=limit, descending=descending, after=after)

    async def item(self, account: str, id_: str, item_id: str) -> dict[str, Any]:
        """
        Raises:
            NotFound: there is no such item, or no such conversation.
        """
        found = await self.load(account, id_)
        for item in found.items:
            if item.id == item_id:
                return _listed(item)
        raise _no_item(item_id)

    async def remove(self, account: str, id_: str, item_id: str) -> dict[str, Any]:
        """Delete an item; return the conversation.

        Raises:
            NotFound: there is no such item, or no such conversation.
        """
        await self.item(account, id_, item_id)
        return _shown(await self._change(account, id_, without=item_id))

    # -- for responses -----------------------------------------------------------------------------

    async def load(self, account: str, id_: str) -> StoredConversation:
        """
        Raises:
            NotFound: the account has no such conversation.
        """
        found = await self._store.conversation(account, id_, self._clock.now_ms())
        if found is None:
            raise _not_found(id_)
        return found

    async def before(self, account: str, id_: str) -> list[Raw]:
        """The items that a request in this conversation follows.

        Raises:
            NotFound: the account has no such conversation.
            InvalidRequest: nothing is stored here.
            PayloadTooLarge: it is longer than may be sent to a model.
        """
        self._check_enabled()
        return [item.body for item in self._bounded(await self.load(account, id_)).items]

    async def append(self, account: str, id_: str, items: Sequence[Raw]) -> None:
        """Add what was asked and answered. A conversation that was deleted meanwhile stays deleted."""
        added, now_ms = _with_ids(items, self._seed()), self._clock.now_ms()

        def change(found: StoredConversation) -> StoredConversation:
            return msgspec.structs.replace(
                found, items=(*found.items, *added), expires_ms=now_ms + self._retention_ms
            )

        await self._store.change_conversation(account, id_, now_ms, change)
        await self._grown(sum(len(bytes(item.body)) for item in added))

    async def _change(
        self,
        account: str,
        id_: str,
        *,
        metadata: bytes | None = None,
        items: tuple[StoredItem, ...] = (),
        without: str | None = None,
    ) -> StoredConversation:
        now_ms = self._clock.now_ms()

        def change(found: StoredConversation) -> StoredConversation:
            left = tuple(item for item in found.items if item.id != without)
            changed = msgspec.structs.replace(
                found,
                metadata=found.metadata if metadata is None else metadata,
                items=(*left, *items),
                expires_ms=now_ms + self._retention_ms,
            )
            return changed if changed.size_bytes <= self._bytes_max else found

        changed = await self._store.change_conversation(account, id_, now_ms, change)
        if changed is None:
            raise _not_found(id_)
        if items and changed.items[-len(items) :] != items:
            raise self._too_large(id_)
        await self._grown(sum(len(bytes(item.body)) for item in items))
        return changed

    def _bounded(self, conversation: StoredConversation) -> StoredConversation:
        if conversation.size_bytes > self._bytes_max:
            raise self._too_large(conversation.id)
        return conversation

    def _too_large(self, id_: str) -> PayloadTooLarge:
        return PayloadTooLarge(
            f"The conversation '{id_[:200]}' is larger than {self._bytes_max} bytes: begin a new one.",
            param="conversation",
        )

    def _check_enabled(self) -> None:
        if not self._enabled:
            raise InvalidRequest(
                "This gateway stores no conversations (responses.store): send the whole conversation in 'input'.",
                param="conversation",
            )

    def _seed(self) -> str:
        return self._new_id().removeprefix("gen-")


def _with_ids(items: Sequence[Raw], seed: str) -> tuple[StoredItem, ...]:
    ids = state.input_ids(items, seed)
    return tuple(StoredItem(id=id_, body=body) for id_, body in zip(ids, items, strict=True))


def _shown(conversation: StoredConversation) -> dict[str, Any]:
    return {
        "id": conversation.id,
        "object": "conversation",
        "created_at": conversation.created_ms // 1000,
        "metadata": msgspec.Raw(conversation.metadata),
    }


def _listed(item: StoredItem) -> dict[str, Any]:
    return {**state.listed_item(item.body, "", 0), "id": item.id}


def _not_found(id_: str) -> NotFound:
    return NotFound(f"Conversation with id '{id_[:200]}' not found.")


def _no_item(id_: str) -> NotFound:
    return NotFound(f"Item with id '{id_[:200]}' not found.")
