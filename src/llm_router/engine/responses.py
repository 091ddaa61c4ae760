"""Responses that are kept: what ``POST /v1/responses`` does beside asking a model.

    prepare ── previous turns from the store in front of the input, references resolved
      Engine.serve ── as any exchange; the provider stores nothing
    keeper ── the finished response is kept before its client sees the end of it

The store is the gateway's own and knows accounts: no provider sees an id of it, and no key sees what
belongs to another account. Background responses are in engine/background.py.
"""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import msgspec

from llm_router.domain import late
from llm_router.domain.errors import InvalidRequest, LedgerUnavailable, NotFound, PayloadTooLarge, RouterError
from llm_router.domain.key import Key
from llm_router.domain.stored import StoredResponse
from llm_router.engine import admit
from llm_router.engine.admit import Call
from llm_router.engine.conversations import Conversations
from llm_router.engine.exchange import Engine
from llm_router.engine.paging import PAGE_DEFAULT, page
from llm_router.ports import Client, ResponseStore
from llm_router.wire.chat import Raw

if TYPE_CHECKING:
    from llm_router.wire.dialects.openai_responses import state
    from llm_router.wire.dialects.openai_responses.state import Asked
else:  # few gateways keep responses
    state = late.module("llm_router.wire.dialects.openai_responses.state")

PURGE_SHARE = 32
"""The store is looked at whenever it may have grown by this part of what it may hold."""

HEADER_NOT_STORED = (b"x-llm-router-not-stored", b"true")
"""Told where a response was to be stored and is not."""


class Keeping(msgspec.Struct, frozen=True, kw_only=True):
    """The rules of the store.

    Attributes:
        store: whether anything is kept at all.
        retention_ms: how long a response is kept.
        bytes_max: of all responses together; the oldest make room.
        response_bytes_max: of one response with its input and events; also of the conversation before it.
        background_max: responses made in the background at the same time.
    """

    store: bool = True
    retention_ms: int = 30 * 86_400_000
    bytes_max: int = 1024 * 1024 * 1024
    response_bytes_max: int = 32 * 1024 * 1024
    background_max: int = 100


class Turn(msgspec.Struct, frozen=True, kw_only=True):
    """One request for a response, ready for the engine.

    Attributes:
        items: its own input items, references among them replaced by what they refer to.
    """

    key: Key
    asked: Asked
    call: Call
    items: tuple[Raw, ...]
    stored: bool


class Responses:
    """Serves the requests of the Responses API that concern more than one exchange."""

    def __init__(self, engine: Engine, store: ResponseStore, rules: Keeping) -> None:
        self.engine = engine
        self.store = store
        self.rules = rules
        self._added_bytes = 0
        self.conversations = Conversations(
            store,
            engine.clock,
            engine.new_id,
            retention_ms=rules.retention_ms,
            bytes_max=rules.response_bytes_max,
            enabled=rules.store,
            grown=self._grown,
        )

    # -- create ------------------------------------------------------------------------------------

    def keeper(self, turn: Turn, client: Client) -> Client:
        """The client, with whatever must happen before it sees the end of its answer."""
        refused = turn.asked.store and not turn.stored
        if not (turn.stored or refused or turn.asked.conversation):
            return client
        return _Keeper(
            client, turn.asked.stream, lambda response: self._keep(turn, response), refused=refused
        )

    async def prepare(self, call: Call) -> Turn:
        """Take in what the request refers to.

        Raises:
            RouterError: the key is not valid, or the request refers to what is not there.
        """
        engine = self.engine
        key = await admit.key_of(engine.keyring, call, engine.clock.now_ms())
        asked = state.read_asked(call.body)
        stored = asked.store and self.rules.store
        if asked.background and not stored:
            raise InvalidRequest(
                "'background' needs a stored response, and this gateway stores none (responses.store).",
                param="background",
            )
        before = await self._before(key.account, asked)
        items = await self._resolved(key.account, asked)
        body = call.body
        if before or items is not asked.items:
            body = state.request_body(asked, [*before, *items])
        told = state.told_state(asked, stored=stored)
        return Turn(
            key=key,
            asked=asked,
            call=msgspec.structs.replace(call, body=body, state=told),
            items=items,
            stored=stored,
        )

    async def _before(self, account: str, asked: Asked) -> list[Raw]:
        """The items of the turns that the request follows.

        Raises:
            InvalidRequest: they are not there, not finished, or not whole.
        """
        if asked.conversation is not None:
            return await self.conversations.before(account, asked.conversation)
        if asked.previous is None:
            return []
        self._check_storing("previous_response_id")
        chain = await self._chain(account, asked.previous)
        last = chain[-1] if chain else None
        if last is None:
            raise _no_previous(f"Previous response with id '{asked.previous[:200]}' not found.")
        if last.status not in state.CONTINUED:
            raise _no_previous(
                f"The previous response '{last.id}' is {last.status}: only one that is completed or "
                "incomplete can be followed."
            )
        return [item for response in chain for item in turn_items(response)]

    async def _chain(self, account: str, id_: str) -> list[StoredResponse]:
        """A response and what it follows, whole; empty if it is not there.

        Raises:
            InvalidRequest: a response that it follows was deleted or has expired.
            PayloadTooLarge: it is longer than may be sent to a model.
        """
        bytes_max = self.rules.response_bytes_max
        chain = await self.store.chain(account, id_, self.engine.clock.now_ms(), bytes_max)
        missing = chain[0].previous if chain else None
        if missing is not None:
            if await self.store.get(account, missing, self.engine.clock.now_ms()) is not None:
                raise PayloadTooLarge(
                    f"The conversation behind '{id_[:200]}' is larger than {bytes_max} bytes: begin a new one.",
                    param="previous_response_id",
                )
            raise _no_previous(
                f"The response '{missing[:200]}', which '{id_[:200]}' goes back to, was deleted or has expired."
            )
        return chain

    async def _resolved(self, account: str, asked: Asked) -> tuple[Raw, ...]:
        """The request's own items, with those that stand for kept ones replaced by them.

        Raises:
            InvalidRequest: an item that is referred to is not there.
        """
        wanted = state.references(asked.items)
        if not wanted:
            return asked.items
        items = list(asked.items)
        for number, id_ in wanted.items():
            found = await self._item(account, id_) if self.rules.store else None
            if found is not None:
                items[number] = found
            elif state.is_reference(items[number]):
                raise InvalidRequest(
                    f"Item with id '{id_[:200]}' not found: send the item itself.",
                    param=f"input[{number}].id",
                )
        return tuple(items)

    async def _item(self, account: str, id_: str) -> Raw | None:
        response = await self.store.holding(account, id_, self.engine.clock.now_ms())
        if response is None:
            return None
        inputs, outputs = (
            msgspec.json.decode(response.input, type=list[Raw]),
            state.output_items(response.body),
        )
        ids = [*state.input_ids(inputs, response.id), *state.output_ids(outputs)]
        return [*inputs, *outputs][ids.index(id_)] if id_ in ids else None

    def _check_storing(self, param: str) -> None:
        if not self.rules.store:
            raise InvalidRequest(
                f"This gateway stores no responses (responses.store), so '{param}' leads nowhere: send the "
                "whole conversation in 'input'.",
                param=param,
            )

    # -- keep --------------------------------------------------------------------------------------

    async def _keep(self, turn: Turn, response: dict[str, Raw]) -> bool:
        """Keep a finished response; False if it was to be and cannot be."""
        await self.converse(turn, response)
        if not turn.stored:
            return True
        kept = self.stored(turn, response, msgspec.json.decode(response["id"], type=str))
        return await self.put(kept)

    async def converse(self, turn: Turn, response: dict[str, Raw]) -> None:
        """Add what was asked and answered to the conversation, if the request named one."""
        id_ = turn.asked.conversation
        if id_ is None or state.status_in(response) not in state.CONTINUED:
            return
        answered = state.output_items(msgspec.json.encode(response))
        with contextlib.suppress(LedgerUnavailable):  # the answer is charged: it is told even so
            await self.conversations.append(turn.key.account, id_, [*turn.items, *answered])

    def stored(self, turn: Turn, response: dict[str, Raw], id_: str, events: bytes = b"") -> StoredResponse:
        """The row of a response."""
        now_ms, items = self.engine.clock.now_ms(), turn.items
        body = msgspec.json.encode(response)
        outputs = state.output_ids(state.output_items(body))
        return StoredResponse(
            account=turn.key.account,
            id=id_,
            created_ms=now_ms,
            expires_ms=now_ms + self.rules.retention_ms,
            status=state.status_in(response),
            previous=turn.asked.previous,
            body=body,
            input=msgspec.json.encode(items),
            item_ids=(*state.input_ids(items, id_), *outputs),
            background=turn.asked.background,
            events=events,
        )

    async def put(self, response: StoredResponse) -> bool:
        """Keep a response if it is not too large and the disk takes it."""
        if response.size_bytes > self.rules.response_bytes_max:
            return False
        try:
            await self.store.put(response)
            await self._grown(response.size_bytes)
        except LedgerUnavailable:
            return False
        return True

    async def _grown(self, size_bytes: int) -> None:
        """So much was written: make room from time to time."""
        self._added_bytes += size_bytes
        if self._added_bytes > self.rules.bytes_max // PURGE_SHARE:
            self._added_bytes = 0
            await self.purge()

    async def purge(self) -> int:
        """Delete what has expired or must make room; return how many responses."""
        return await self.store.purge(self.engine.clock.now_ms(), self.rules.bytes_max)

    # -- read and delete ---------------------------------------------------------------------------

    async def get(self, account: str, id_: str) -> StoredResponse:
        """
        Raises:
            NotFound: the account has no such response.
        """
        found = await self.store.get(account, id_, self.engine.clock.now_ms())
        if found is None:
            raise not_found(id_)
        return found

    async def delete(self, account: str, id_: str) -> None:
        """Delete for good.

        Raises:
            NotFound: the account has no such response.
        """
        if not await self.store.delete(account, id_, self.engine.clock.now_ms()):
            raise not_found(id_)

    async def input_items(
        self, account: str, id_: str, *, limit: int = PAGE_DEFAULT, descending: bool = True, after: str | None
    ) -> dict[str, Any]:
        """A page of the items that a response was made from, those of the turns before it among them.

        Raises:
            NotFound: the account has no such response.
            InvalidRequest: ``after`` is none of its items, or a turn before it is gone.
        """
        chain = await self._chain(account, id_)
        if not chain:
            raise not_found(id_)
        items = [item for response in chain for item in _listed(response, outputs=response is not chain[-1])]
        return page(items, limit=limit, descending=descending, after=after)


def turn_items(response: StoredResponse) -> list[Raw]:
    """The items of one turn: what was said, then what was answered."""
    return [*msgspec.json.decode(response.input, type=list[Raw]), *state.output_items(response.body)]


def _listed(response: StoredResponse, *, outputs: bool) -> list[dict[str, Any]]:
    inputs = msgspec.json.decode(response.input, type=list[Raw])
    found = [state.listed_item(raw, response.id, number) for number, raw in enumerate(inputs)]
    if outputs:
        later = enumerate(state.output_items(response.body), len(inputs))
        found += [state.listed_item(raw, response.id, number) for number, raw in later]
    return found


def not_found(id_: str) -> NotFound:
    return NotFound(f"Response with id '{id_[:200]}' not found.")


def _no_previous(message: str) -> RouterError:
    return InvalidRequest(message, param="previous_response_id", code="previous_response_not_found")


class _Keeper:
    """A client whose answer is kept before it sees the end of it.

    ``keep`` answers whether that went well. ``refused``: the answer was to be kept, but nothing is stored
    here, which a header says.
    """

    def __init__(
        self,
        client: Client,
        stream: bool,
        keep: Callable[[dict[str, Raw]], Awaitable[bool]],
        *,
        refused: bool,
    ) -> None:
        self._client = client
        self._stream = stream
        self._keep = keep
        self._refused = refused

    @property
    def started(self) -> bool:
        return self._client.started

    @property
    def last_sent_s(self) -> float:
        return self._client.last_sent_s

    async def start(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        await self._client.start(status, self._head(status, headers))

    async def send(self, data: bytes) -> None:
        await self._client.send(data)

    async def finish(self, data: bytes = b"") -> None:
        response = state.last_response(data, stream=self._stream)
        if response is not None and not await self._keep(response):
            data = state.unstored(data, stream=self._stream)
        await self._client.finish(data)

    async def beat(self, status: int, headers: list[tuple[bytes, bytes]], data: bytes) -> None:
        await self._client.beat(status, self._head(status, headers), data)

    def _head(self, status: int, headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        return [*headers, HEADER_NOT_STORED] if self._refused and status < 400 else headers
