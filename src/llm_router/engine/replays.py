"""Requests that carry an ``Idempotency-Key``: however often one is sent, it is made and charged once.

The first of them claims its key in the books, which all processes and nodes share; its whole answer is kept there
before the client has the end of it. Who sends the same request under the same key again gets that answer; while the
first is still being answered, a 409; with another body, a 422. An answer that failed, or was cut, is not kept: the
next one tries anew. Kept is what the client saw, compressed, for a day.
https://datatracker.ietf.org/doc/html/draft-ietf-httpapi-idempotency-key-header
"""

from __future__ import annotations

import asyncio
import hashlib
import zlib
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar

import msgspec

from llm_router.domain.errors import IdempotencyConflict, IdempotencyMismatch, InvalidRequest
from llm_router.domain.key import Key
from llm_router.engine.admit import Call
from llm_router.ports import Client, Clock, Document, TreasuryBooks

HEADER = "idempotency-key"
REPLAYED = (b"x-llm-router-replayed", b"true")
EARLIER = (b"x-llm-router-earlier-attempt", b"unknown")
"""Beside an answer that is made anew because the process that was making it died: its provider may have been called."""


NAME_CHARS_MAX = 255
DAY_MS = 86_400_000
KEPT_MS = DAY_MS
"""So long the same key means the same request."""

ANSWER_BYTES_MAX = 16 * 1024 * 1024
"""Of an answer that is larger the key is remembered, and not the answer."""

PACKED_BYTES_MAX = 1024 * 1024
CLAIM_MARGIN_MS = 60_000
"""Longer than its request may take, a claim is that of a process which died."""

SWEPT_MAX = 200
"""Documents deleted in one round."""

SWEPT_DAYS = 7
"""So far back a process looks when it starts."""

_T = TypeVar("_T")

Headers = list[tuple[bytes, bytes]]
Serve = Callable[[Call, Client], Coroutine[Any, Any, bool]]
"""Answer a call; whether the answer was whole."""


class _Kept(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is known of a key.

    Attributes:
        digest: of the request.
        until_ms: while it is being answered: when that must be over.
        free: it was given back: its answer failed, and who asked knows.
        life, process: who answers it: the run of the books, and the process there.
        answer: what the client saw, compressed; None where it was too large.
    """

    digest: str
    until_ms: int | None = None
    life: str = ""
    process: int = 0
    free: bool = False
    status: int = 0
    headers: tuple[tuple[str, str], ...] = ()
    answer: bytes | None = None


_decoder = msgspec.json.Decoder(_Kept)


class Shelf:
    """Where keys and answers are kept. A day has a kind of documents of its own, so that whole days can go."""

    def __init__(self, books: TreasuryBooks, clock: Clock) -> None:
        self._books = books
        self._clock = clock
        self._swept_day = 0

    async def find(self, id_: str, now_ms: int) -> Document | None:
        """What is kept under a key."""
        today = now_ms // DAY_MS
        for day in (today, today - 1, today + 1):  # the clock of another node may be ahead
            document = await self._books.document(_kind(day), id_)
            if document is not None and now_ms - document.created_ms < KEPT_MS:
                return document
        return None

    async def claim(
        self, id_: str, account: str, kept: _Kept, stale: Document | None, now_ms: int
    ) -> Document | None:
        """Take a key, or take it over; None if somebody else was faster."""
        claim = Document(
            kind=_kind(now_ms // DAY_MS) if stale is None else stale.kind,
            id=id_,
            account=account,
            version=1 if stale is None else stale.version + 1,
            open=True,
            created_ms=now_ms,
            body=msgspec.json.encode(kept),
        )
        return claim if await self._books.put_document(claim) else None

    async def keep(self, claim: Document, kept: _Kept) -> None:
        """Put the answer in the place of its claim."""
        document = msgspec.structs.replace(
            claim, version=claim.version + 1, open=False, body=msgspec.json.encode(kept)
        )
        await self._books.put_document(document)

    async def release(self, claim: Document) -> None:
        """Give a key back, unless somebody else has it by now."""
        free = _Kept(digest="", until_ms=0, free=True)
        await self._books.put_document(
            msgspec.structs.replace(
                claim, version=claim.version + 1, open=False, body=msgspec.json.encode(free)
            )
        )

    async def life(self) -> str:
        """The name of this run of the books."""
        return await self._books.life()

    async def is_dead(self, document: Document, now_ms: int) -> bool:
        """Whether it is the claim of a process that died: its request took too long, or its run is over."""
        kept = _decoder.decode(document.body)
        if kept.until_ms is None:
            return False
        return kept.until_ms < now_ms or await self._books.is_over(kept.life)

    async def ended(self, process: int) -> None:
        """A process of this run has died: nobody waits for what it was answering any more."""
        life, today = await self.life(), self._clock.now_ms() // DAY_MS
        for day in (today - 1, today):
            after = ""
            while page := await self._books.documents(
                _kind(day), open_only=True, after=after, limit=SWEPT_MAX
            ):
                for document in page:
                    await self._give_up(document, life, process)
                after = page[-1].id

    async def _give_up(self, document: Document, life: str, process: int) -> None:
        kept = _decoder.decode(document.body)
        if (kept.life, kept.process) != (life, process):
            return
        body = msgspec.json.encode(msgspec.structs.replace(kept, until_ms=0))
        await self._books.put_document(
            msgspec.structs.replace(document, version=document.version + 1, body=body)
        )

    async def sweep(self) -> None:
        """Delete what is no longer needed, some at a time."""
        newest = self._clock.now_ms() // DAY_MS - 2
        for day in range(max(self._swept_day + 1, newest - SWEPT_DAYS), newest + 1):
            page = await self._books.documents(_kind(day), limit=SWEPT_MAX)
            for document in page:
                await self._books.remove_document(document.kind, document.id)
            if page:
                return
            self._swept_day = day


class Replays:
    """Answers requests once. One per process, over the books of all.

    ``total_s``: how long a request may take at most; ``process``: the number of this one.
    """

    def __init__(self, shelf: Shelf, clock: Clock, total_s: Callable[[], float], process: int = 0) -> None:
        self._shelf = shelf
        self._clock = clock
        self._total_s = total_s
        self._process = process

    async def serve(self, call: Call, path: str, client: Client, serve: Serve) -> None:
        """Answer a request that has the header and was sent to that path, if it was not answered before.

        Raises:
            InvalidRequest: the key is empty, too long, or no visible ASCII.
            IdempotencyMismatch, IdempotencyConflict: another request has it; the same one is being answered.
            LedgerUnavailable: nobody can tell now.
        """
        if not isinstance(call.key, Key):  # refused whatever it says
            await serve(call, client)
            return
        account, name = call.key.account, _checked(call.headers[HEADER])
        digest, id_ = _digest(call, path), _identity(call.key, name)
        now_ms = self._clock.now_ms()
        found = await self._shelf.find(id_, now_ms)
        if found is not None and not await self._shelf.is_dead(found, now_ms):
            await _replay(found, digest, client)
            return
        total_ms = round(self._total_s() * 1000)
        begun = _Kept(
            digest=digest,
            until_ms=now_ms + total_ms + CLAIM_MARGIN_MS,
            life=await self._shelf.life(),
            process=self._process,
        )
        claim = await self._claim(id_, account, begun, found, now_ms)
        if claim is None:
            raise _conflict()
        lost = found is not None and not _decoder.decode(found.body).free
        recorder, whole = _Recorder(client, (EARLIER,) if lost else ()), False
        try:
            whole = await serve(call, recorder)
        finally:
            if whole and recorder.last is not None:
                await _to_its_end(asyncio.ensure_future(self._shelf.keep(claim, recorder.kept(digest))))
            else:
                await _to_its_end(asyncio.ensure_future(self._shelf.release(claim)))
        await recorder.end()

    async def _claim(
        self, id_: str, account: str, begun: _Kept, stale: Document | None, now_ms: int
    ) -> Document | None:
        """Take the key; if the client leaves meanwhile, nobody else has to wait for it."""
        claiming = asyncio.ensure_future(self._shelf.claim(id_, account, begun, stale, now_ms))
        try:
            return await _to_its_end(claiming)
        except asyncio.CancelledError:
            if not claiming.cancelled() and claiming.exception() is None and (claim := claiming.result()):
                await _to_its_end(asyncio.ensure_future(self._shelf.release(claim)))
            raise


class _Recorder:
    """The port Client: passes all on, with ``more`` headers, and keeps it, but for the end, which waits for
    :meth:`end`.

    Attributes:
        last: the end, once the answer came to it.
    """

    def __init__(self, client: Client, more: Sequence[tuple[bytes, bytes]]) -> None:
        self._client = client
        self._more = more
        self._parts: list[bytes] = []
        self._size = 0
        self.status = 0
        self.headers: Headers = []
        self.last: bytes | None = None

    @property
    def started(self) -> bool:
        return self._client.started

    @property
    def last_sent_s(self) -> float:
        return self._client.last_sent_s

    async def start(self, status: int, headers: Headers) -> None:
        self.status, self.headers = status, list(headers)
        await self._client.start(status, [*headers, *self._more])

    async def send(self, data: bytes) -> None:
        self._add(data)
        await self._client.send(data)

    async def finish(self, data: bytes = b"") -> None:
        self._add(data)
        self.last = data

    async def beat(self, status: int, headers: Headers, data: bytes) -> None:
        if not self.started:
            self.status, self.headers = status, list(headers)
        await self._client.beat(status, [*headers, *self._more], data)

    async def end(self) -> None:
        """Tell the end of the answer."""
        if self.last is not None:
            await self._client.finish(self.last)

    def kept(self, digest: str) -> _Kept:
        """What the client saw, to be kept."""
        packed = zlib.compress(b"".join(self._parts), level=1) if self._size <= ANSWER_BYTES_MAX else None
        return _Kept(
            digest=digest,
            status=self.status,
            headers=tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in self.headers),
            answer=packed if packed is not None and len(packed) <= PACKED_BYTES_MAX else None,
        )

    def _add(self, data: bytes) -> None:
        self._size += len(data)
        if self._size <= ANSWER_BYTES_MAX:
            self._parts.append(data)
        else:
            self._parts.clear()


async def _to_its_end(work: asyncio.Future[_T]) -> _T:
    """What work comes to. If the client leaves meanwhile, it is done all the same before that is told."""
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        await asyncio.wait([work])
        raise


async def _replay(document: Document, digest: str, client: Client) -> None:
    kept = _decoder.decode(document.body)
    if kept.digest != digest:
        raise IdempotencyMismatch(
            "This Idempotency-Key was used for another request. Choose a new one for each new request.",
            param="idempotency-key",
        )
    if kept.until_ms is not None:
        raise _conflict()
    if kept.answer is None:
        generation = dict(kept.headers).get("x-generation-id", "")
        raise IdempotencyConflict(
            f"The request of this Idempotency-Key was answered and charged (generation {generation}), but its answer "
            "was too large to be kept. Choose a new key to have it made, and charged, again.",
            param="idempotency-key",
        )
    headers = [(n.encode("latin-1"), v.encode("latin-1")) for n, v in kept.headers if n != "content-length"]
    await client.start(kept.status, [*headers, REPLAYED])
    await client.finish(zlib.decompress(kept.answer))


def _identity(key: Key, name: str) -> str:
    """Each key of an account has names of its own: another one may not be allowed what this one was answered."""
    return hashlib.sha256(f"{key.account}\0{key.id}\0{name}".encode()).hexdigest()


def _digest(call: Call, path: str) -> str:
    """Of all that makes a request this one, but its headers."""
    place = msgspec.json.encode((path, call.json_array))
    return hashlib.sha256(place + b"\0" + call.body).hexdigest()


def _checked(name: str) -> str:
    if not 0 < len(name) <= NAME_CHARS_MAX or not (name.isascii() and name.isprintable()):
        raise InvalidRequest(
            f"Idempotency-Key takes 1 to {NAME_CHARS_MAX} visible ASCII characters: a UUID, for example.",
            param="idempotency-key",
        )
    return name


def _conflict() -> IdempotencyConflict:
    return IdempotencyConflict(
        "A request with this Idempotency-Key is being answered. Retry shortly: you will get the same answer.",
        param="idempotency-key",
        retry_after_s=1.0,
    )


def _kind(day: int) -> str:
    return f"replay:{day}"
