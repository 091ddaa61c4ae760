"""Kept responses in this process's memory: for tests, and for trying out without a disk."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from llm_router.domain.stored import StoredConversation, StoredResponse


class MemoryResponses:
    """Implements the port ResponseStore. Nothing survives the process."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, str], StoredResponse] = {}  # oldest first
        self._conversations: dict[tuple[str, str], StoredConversation] = {}

    async def close(self) -> None:
        """Nothing to release."""

    async def put(self, response: StoredResponse) -> None:
        self._kept[response.account, response.id] = response

    async def get(self, account: str, id_: str, now_ms: int) -> StoredResponse | None:
        found = self._kept.get((account, id_))
        return None if found is None or found.expires_ms <= now_ms else found

    async def chain(self, account: str, id_: str, now_ms: int, bytes_max: int) -> list[StoredResponse]:
        found: list[StoredResponse] = []
        size, seen = 0, set[str]()
        following: str | None = id_
        while following is not None and following not in seen:
            seen.add(following)
            response = await self.get(account, following, now_ms)
            if response is None or (found and size + response.size_bytes > bytes_max):
                break
            size += response.size_bytes
            found.append(msgspec.structs.replace(response, events=b""))
            following = response.previous
        return found[::-1]

    async def holding(self, account: str, item_id: str, now_ms: int) -> StoredResponse | None:
        for response in reversed(self._kept.values()):
            if response.account == account and response.expires_ms > now_ms and item_id in response.item_ids:
                return response
        return None

    async def delete(self, account: str, id_: str, now_ms: int) -> bool:
        found = self._kept.pop((account, id_), None)
        return found is not None and found.expires_ms > now_ms

    async def unfinished(self) -> list[StoredResponse]:
        return [response for response in self._kept.values() if response.unfinished]

    async def put_conversation(self, conversation: StoredConversation) -> None:
        self._conversations[conversation.account, conversation.id] = conversation

    async def conversation(self, account: str, id_: str, now_ms: int) -> StoredConversation | None:
        found = self._conversations.get((account, id_))
        return None if found is None or found.expires_ms <= now_ms else found

    async def change_conversation(
        self, account: str, id_: str, now_ms: int, change: Callable[[StoredConversation], StoredConversation]
    ) -> StoredConversation | None:
        found = await self.conversation(account, id_, now_ms)
        if found is None:
            return None
        changed = self._conversations[account, id_] = change(found)
        return changed

    async def delete_conversation(self, account: str, id_: str, now_ms: int) -> bool:
        found = self._conversations.pop((account, id_), None)
        return found is not None and found.expires_ms > now_ms

    async def withdraw(self, account: str, user: str | None, before_ms: int) -> int:
        gone = [
            key
            for key, response in self._kept.items()
            if response.account == account
            and response.created_ms < before_ms
            and not response.unfinished
            and (user is None or user in _users(response))
        ]
        for key in gone:
            del self._kept[key]
        others = [
            key
            for key, each in self._conversations.items()
            if user is None and each.account == account and each.created_ms < before_ms
        ]
        for key in others:
            del self._conversations[key]
        return len(gone) + len(others)

    async def purge(self, now_ms: int, bytes_max: int) -> int:
        kept: list[StoredResponse | StoredConversation] = [
            *self._kept.values(),
            *self._conversations.values(),
        ]
        size = sum(row.size_bytes for row in kept if row.expires_ms > now_ms)
        return self._purge_responses(now_ms, size - bytes_max) + self._purge_conversations(now_ms, bytes_max)

    def _purge_conversations(self, now_ms: int, bytes_max: int) -> int:
        kept = sorted(self._conversations.values(), key=lambda c: c.expires_ms)
        every: list[StoredResponse | StoredConversation] = [*self._kept.values(), *kept]
        size = sum(row.size_bytes for row in every if row.expires_ms > now_ms)
        gone = 0
        for conversation in kept:
            alive = conversation.expires_ms > now_ms
            if alive and size <= bytes_max:
                break
            size -= conversation.size_bytes if alive else 0
            del self._conversations[conversation.account, conversation.id]
            gone += 1
        return gone

    def _purge_responses(self, now_ms: int, excess: int) -> int:
        gone = [key for key, response in self._kept.items() if response.expires_ms <= now_ms]
        for key, response in self._kept.items():
            if excess <= 0:
                break
            if response.expires_ms > now_ms and not response.unfinished:
                gone.append(key)
                excess -= response.size_bytes
        for key in gone:
            del self._kept[key]
        return len(gone)


def _users(response: StoredResponse) -> tuple[object, object]:
    body = msgspec.json.decode(response.body)
    return body.get("user"), body.get("safety_identifier")
