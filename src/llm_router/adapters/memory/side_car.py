"""The side-car in this process's memory, and the bookkeeping that every side-car shares."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import msgspec

from llm_router.adapters.sealing import Sealer

ENTRIES_MAX = 100_000
"""Values and further names together: some 15 MB of bookkeeping."""

GONE_MAX = 20_000
"""Values that are known to have been forgotten. Older ones look as if they had never been."""

ENTRY_BYTES = 160
"""What an entry costs beside its value."""


class Entry(msgspec.Struct, kw_only=True):
    """A kept value, or a further name of one (``target`` is then the key of the value)."""

    owner: bytes
    size: int
    expires_ms: int
    target: bytes | None = None


class Shelf:
    """Which keys are held, which were, and what has to go. Entries expire in the order they came."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._held: OrderedDict[bytes, Entry] = OrderedDict()
        self._gone: OrderedDict[bytes, None] = OrderedDict()
        self._owners: set[bytes] = set()
        self._size = 0

    def owns(self, owner: bytes) -> bool:
        """Whether anything is held for that owner, or was since the start; cheap."""
        return owner in self._owners

    def add(self, key: bytes, entry: Entry, now_ms: int) -> list[bytes]:
        """Hold an entry; return the keys that had to go for it."""
        self._drop(key)
        self._gone.pop(key, None)
        self._held[key] = entry
        self._owners.add(entry.owner)
        self._size += entry.size + ENTRY_BYTES
        return self.trim(now_ms)

    def trim(self, now_ms: int) -> list[bytes]:
        """Let go of what has expired or does not fit; return its keys."""
        left = []
        while self._held:
            key, oldest = next(iter(self._held.items()))
            fits = self._size <= self._bytes_max and len(self._held) <= ENTRIES_MAX
            if fits and oldest.expires_ms > now_ms:
                break
            self.lose(key)
            left.append(key)
        return left

    def lose(self, key: bytes) -> None:
        """The value is no more, but it is known that it was."""
        self._drop(key)
        self.mark_gone(key)

    def mark_gone(self, key: bytes) -> None:
        self._gone[key] = None
        while len(self._gone) > GONE_MAX:
            self._gone.popitem(last=False)

    def find(self, key: bytes, now_ms: int) -> tuple[bytes, bool] | None:
        """The key of the value and whether it is still held; None if it never was, as far as is known."""
        entry = self._held.get(key)
        if entry is not None and entry.target is not None:
            key, entry = entry.target, self._held.get(entry.target)
            if entry is None:
                return key, False
        if entry is not None:
            return key, entry.expires_ms > now_ms
        return (key, False) if key in self._gone else None

    def forget(self, owner: bytes) -> list[bytes]:
        """Let go of all that is held for an owner, without a trace; return the keys."""
        keys = [key for key, entry in self._held.items() if entry.owner == owner]
        for key in keys:
            self._drop(key)
        self._owners.discard(owner)
        return keys

    def _drop(self, key: bytes) -> None:
        entry = self._held.pop(key, None)
        if entry is not None:
            self._size -= entry.size + ENTRY_BYTES


class MemorySideCar:
    """Implements the port SideCar. Nothing survives the process."""

    def __init__(self, sealer: Sealer, *, bytes_max: int, ttl_ms: int) -> None:
        self._sealer = sealer
        self._ttl_ms = ttl_ms
        self._shelf = Shelf(bytes_max)
        self._values: dict[bytes, bytes] = {}

    def owns(self, account: str) -> bool:
        return self._shelf.owns(self._sealer.owner(account))

    def put(self, account: str, names: Sequence[bytes], value: bytes, now_ms: int) -> None:
        owner, expires_ms = self._sealer.owner(account), now_ms + self._ttl_ms
        first, *others = (self._sealer.key(account, name) for name in names)
        self._values[first] = sealed = self._sealer.seal(account, first, value)
        left = self._shelf.add(first, Entry(owner=owner, size=len(sealed), expires_ms=expires_ms), now_ms)
        for other in others:
            entry = Entry(owner=owner, size=0, expires_ms=expires_ms, target=first)
            left += self._shelf.add(other, entry, now_ms)
        for key in left:
            self._values.pop(key, None)

    async def get(self, account: str, names: Sequence[bytes], now_ms: int) -> dict[bytes, bytes | None]:
        found: dict[bytes, bytes | None] = {}
        for name in names:
            place = self._shelf.find(self._sealer.key(account, name), now_ms)
            if place is not None:
                key, held = place
                sealed = self._values.get(key) if held else None
                found[name] = None if sealed is None else self._sealer.open(account, key, sealed)
        return found

    async def forget(self, account: str) -> None:
        for key in self._shelf.forget(self._sealer.owner(account)):
            self._values.pop(key, None)

    async def close(self) -> None:
        """Nothing to release."""
