"""The keys with which bodies are sealed. Each row says which: new ones can be made, and old ones end.

A key is 32 random bytes. It stands in the store as a document, sealed with the secret of the installation as providers'
keys are; so nodes that share a database and ``installation.key`` share them, and a copy of the database alone opens
nothing. The last key made is the one that seals. A key with which nothing is sealed any more is deleted.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import zlib
from collections.abc import Callable, Collection

from llm_router.adapters.sealing import Sealer
from llm_router.domain.errors import LedgerUnavailable, ServerError
from llm_router.ports import Clock, Document, TreasuryBooks

KIND = "body_key"
KEY_BYTES = 32
NAME_CHARS = 16

PURPOSE = "bodies"
_UNUSED_MS = 3_600_000
"""How long a key that seals nothing is left alone: another process may be about to seal with it."""

_PACKED_LEVEL = 1


class BodySeals:
    """Seals and opens bodies, with keys that the store holds. Use it in one event loop.

    Args:
        base: the seal of the installation; made when it is first needed.
    """

    def __init__(self, books: TreasuryBooks, clock: Clock, base: Callable[[], Sealer]) -> None:
        self._books = books
        self._clock = clock
        self._make_base = base
        self._base: Sealer | None = None
        self._keys: dict[str, Sealer] = {}
        self._current: str | None = None
        self._last_ms = 0
        self._lock = asyncio.Lock()

    @property
    def base(self) -> Sealer:
        if self._base is None:
            self._base = self._make_base()
        return self._base

    def user(self, account: str, name: str) -> bytes:
        """What stands for a user beside bodies: the name itself is not told."""
        return self.base.key(account, b"user " + name.encode(errors="replace"))

    async def current(self) -> tuple[str, Sealer]:
        """The key to seal with, and its name; the first is made when it is needed.

        Raises:
            LedgerUnavailable: the store cannot be used.
        """
        async with self._lock:
            if self._current is None:
                await self._load()
            if self._current is None:
                await self._make()
            assert self._current is not None
            return self._current, self._keys[self._current]

    async def named(self, name: str) -> Sealer:
        """The key of that name.

        Raises:
            ServerError: there is none that can be opened.
        """
        async with self._lock:
            if name not in self._keys:  # another process may have made it
                await self._load()
            found = self._keys.get(name)
        if found is None:
            raise ServerError(
                f"This was sealed with the key '{name}', which this gateway does not have or cannot open: the "
                f"installation.key of its data folder is another one.",
                code="body_key_missing",
            )
        return found

    async def rotate(self) -> str:
        """Make a key that seals from now on; return its name."""
        async with self._lock:
            await self._load()
            return await self._make()

    async def forget(self, used: Collection[str], now_ms: int) -> None:
        """Delete the keys that seal nothing any more."""
        async with self._lock:
            await self._load()
            for document in await self._documents():
                old = document.created_ms < now_ms - _UNUSED_MS
                if old and document.id != self._current and document.id not in used:
                    await self._books.remove_document(KIND, document.id)
                    self._keys.pop(document.id, None)

    async def _make(self) -> str:
        key = os.urandom(KEY_BYTES)
        name = hashlib.sha256(key).hexdigest()[:NAME_CHARS]
        sealed = self.base.seal("", self.base.key("", name.encode()), key)
        document = Document(
            kind=KIND,
            id=name,
            account="",
            version=1,
            open=False,
            created_ms=max(self._clock.now_ms(), self._last_ms + 1),  # the order in which they were made
            body=sealed,
        )
        if not await self._books.put_document(document):
            raise LedgerUnavailable(
                "A key for bodies could not be written. Try again shortly.", retry_after_s=5
            )
        self._keys[name] = Sealer(key, PURPOSE)
        self._current, self._last_ms = name, document.created_ms
        return name

    async def _load(self) -> None:
        """Open all keys there are; the one made last, of those that can be opened, seals."""
        last: tuple[int, str] | None = None
        for document in await self._documents():
            if document.id not in self._keys:
                key = self.base.open("", self.base.key("", document.id.encode()), document.body)
                if key is None:
                    continue
                self._keys[document.id] = Sealer(key, PURPOSE)
            if last is None or (document.created_ms, document.id) > last:
                last = (document.created_ms, document.id)
        self._last_ms, self._current = (0, None) if last is None else last

    async def _documents(self) -> list[Document]:
        found: list[Document] = []
        after = ""
        while page := await self._books.documents(KIND, after=after):
            found += page
            after = page[-1].id
        return found


def sealed_body(sealer: Sealer, account: str, id_: str, content: bytes) -> bytes:
    """The content packed and sealed: nobody reads it, or moves it to another exchange."""
    return sealer.seal(account, id_.encode(errors="replace"), zlib.compress(content, _PACKED_LEVEL))


def opened_body(sealer: Sealer, account: str, id_: str, sealed: bytes) -> bytes:
    """
    Raises:
        ServerError: it is not what was sealed.
    """
    packed = sealer.open(account, id_.encode(errors="replace"), sealed)
    if packed is None:
        raise ServerError(
            "What is kept of this exchange was changed, and cannot be opened.", code="body_damaged"
        )
    return zlib.decompress(packed)
