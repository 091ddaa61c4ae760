"""Kept responses in this process's memory: for tests, and for trying out without a disk."""

from __future__ import annotations

import msgspec

from llm_router.domain.stored import StoredResponse


class MemoryResponses:
    """Implements the port ResponseStore. Nothing survives the process."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, str], StoredResponse] = {}  # oldest first

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

    async def purge(self, now_ms: int, bytes_max: int) -> int:
        gone = [key for key, response in self._kept.items() if response.expires_ms <= now_ms]
        size = sum(r.size_bytes for r in self._kept.values() if r.expires_ms > now_ms)
        for key, response in self._kept.items():
            if size <= bytes_max:
                break
            if response.expires_ms > now_ms and not response.unfinished:
                gone.append(key)
                size -= response.size_bytes
        for key in gone:
            del self._kept[key]
        return len(gone)
