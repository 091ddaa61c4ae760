"""What requests ask to be kept between them, and the objects in which it is told.

The gateway keeps responses itself, whatever provider made them; this module says what a request asks
of it and writes what clients are shown. It stores nothing.
https://platform.openai.com/docs/guides/conversation-state
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec

from llm_router.domain.errors import InvalidRequest, RouterError
from llm_router.wire.asked import Tree, parse
from llm_router.wire.chat import Raw
from llm_router.wire.dialect import Bill, ReplyContext
from llm_router.wire.dialects.openai_responses.checks import check_items, check_members, check_metadata
from llm_router.wire.dialects.openai_responses.errors import failed_members
from llm_router.wire.dialects.openai_responses.inspect import EXAMPLE
from llm_router.wire.dialects.openai_responses.partial import items_of
from llm_router.wire.dialects.openai_responses.response import head_of
from llm_router.wire.dialects.openai_responses.usage import usage_object
from llm_router.wire.dialects.openai_responses.words import kind_of, seed_of, text_of
from llm_router.wire.dialects.openai_responses.writer import PREFIXES, frame
from llm_router.wire.events import Started
from llm_router.wire.lenient import load
from llm_router.wire.verbatim import dump, encode, members
from llm_router.wire.verbatim import value as value_of

ENDED: Final = ("completed", "incomplete", "failed", "cancelled")
"""Statuses of a response that changes no more."""

_FIRST: Final = ("response.created", "response.in_progress")
"""Events that every stream begins with."""

CONTINUED: Final = ("completed", "incomplete")
"""Statuses of a response that another one can follow."""

ITEMS_MAX: Final = 20
"""Items that one request may add to a conversation, as at OpenAI."""

_items = msgspec.json.Decoder(list[Raw]).decode
_REFERENCE: Final = "item_reference"


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What a request asks of the gateway's own store.

    Attributes:
        store: whether the response is to be kept; OpenAI's default is yes.
        previous: the id of the response that it follows.
        items: the request's own input items, verbatim.
    """

    tree: Tree
    store: bool
    background: bool
    stream: bool
    previous: str | None
    conversation: str | None
    items: tuple[Raw, ...]


def read_asked(body: bytes) -> Asked:
    """What a request asks to be kept, from its own body.

    Raises:
        InvalidRequest: it is malformed, or asks for what only OpenAI's own store has.
    """
    tree = parse(body, EXAMPLE)
    said = tree.body
    check_members(said)
    if said.get("prompt") is not None:
        raise InvalidRequest(
            "'prompt' names a template that is kept at OpenAI; this gateway has none. Send its text in "
            "'instructions' and 'input'.",
            param="prompt",
        )
    store = said.get("store") is not False
    if said.get("background") and not store:
        raise InvalidRequest(
            "'background' needs a stored response: leave 'store' out, or set it to true.", param="background"
        )
    return Asked(
        tree=tree,
        store=store,
        background=bool(said.get("background")),
        stream=bool(said.get("stream")),
        previous=said.get("previous_response_id"),
        conversation=_conversation(said.get("conversation")),
        items=_own_items(tree),
    )


def _conversation(value: object) -> str | None:
    id_ = value.get("id") if isinstance(value, dict) else value
    if value is not None and (not isinstance(id_, str) or not id_):
        raise InvalidRequest("'conversation' must be an id or an object with an id.", param="conversation")
    return id_ if isinstance(id_, str) else None


def _own_items(tree: Tree) -> tuple[Raw, ...]:
    given = tree.body.get("input")
    if given is None:
        return ()
    if isinstance(given, str):
        return (dump({"type": "message", "role": "user", "content": given}),)
    return tuple(_items(tree.raw["input"]))


def references(items: Sequence[Raw]) -> dict[int, str]:
    """The items that stand for kept ones, as position and id: references, and reasoning without its state."""
    found: dict[int, str] = {}
    for number, raw in enumerate(items):
        item = load(bytes(raw)) if b'"id"' in bytes(raw) else None
        if isinstance(item, dict) and (id_ := text_of(item.get("id"))):
            kind = kind_of(item)
            if kind == _REFERENCE or (kind == "reasoning" and not item.get("encrypted_content")):
                found[number] = id_
    return found


def is_reference(raw: Raw) -> bool:
    """Whether an item is nothing but a reference, which means nothing without what it refers to."""
    item = load(bytes(raw))
    return isinstance(item, dict) and kind_of(item) == _REFERENCE


def request_body(asked: Asked, items: Iterable[Raw], **changed: object) -> bytes:
    """The request with these input items and members."""
    body: dict[str, Any] = {**asked.tree.raw, "input": list(items), **changed}
    return encode(body)


def told_state(asked: Asked, *, stored: bool) -> dict[str, Raw]:
    """The members of the reply that say what is kept."""
    conversation = None if asked.conversation is None else {"id": asked.conversation}
    return {
        "background": dump(asked.background),
        "conversation": dump(conversation),
        "previous_response_id": dump(asked.previous),
        "store": dump(stored),
    }


class ConversationMembers(msgspec.Struct, frozen=True, kw_only=True):
    """What a request says of a conversation. ``metadata`` None: nothing."""

    items: tuple[Raw, ...]
    metadata: Raw | None


def conversation_members(body: bytes) -> ConversationMembers:
    """Read a request that makes or changes a conversation.

    Raises:
        InvalidRequest: it is malformed.
    """
    tree = parse(body, EXAMPLE) if body.strip() else Tree(body={}, raw={})
    items, metadata = tree.body.get("items"), tree.body.get("metadata")
    if items is not None:
        check_items(items, "items")
        if len(items) > ITEMS_MAX:
            raise InvalidRequest(
                f"'items' holds {len(items)} items: send at most {ITEMS_MAX}.", param="items"
            )
    if metadata is not None:
        check_metadata("metadata", metadata)
    return ConversationMembers(
        items=() if items is None else tuple(_items(tree.raw["items"])),
        metadata=None if metadata is None else tree.raw["metadata"],
    )


# -- items -----------------------------------------------------------------------------------------


def item_id(item: Mapping[str, Any], response_id: str, number: int) -> str:
    """The id of an input item: its own, or the one that it is listed with."""
    own = text_of(item.get("id"))
    kind = text_of(item.get("type")) or "message"
    return own or f"{PREFIXES.get(kind, 'item_')}{seed_of(response_id)}i{number:04x}"


def input_ids(items: Sequence[Raw], response_id: str) -> list[str]:
    """The ids of a response's own input items, in their order."""
    found = []
    for number, raw in enumerate(items):
        item = load(bytes(raw))
        found.append(item_id(item if isinstance(item, dict) else {}, response_id, number))
    return found


def listed_item(raw: Raw, response_id: str, number: int) -> dict[str, Any]:
    """An input item as it is listed: with its id and type, messages with content parts."""
    item = load(bytes(raw))
    item = dict(item) if isinstance(item, dict) else {}
    item["type"] = kind_of(item)
    item["id"] = item_id(item, response_id, number)
    if item["type"] == "message":
        content = item.get("content")
        if isinstance(content, str):
            if item.get("role") == "assistant":
                part: dict[str, Any] = {"type": "output_text", "text": content, "annotations": []}
            else:
                part = {"type": "input_text", "text": content}
            item["content"] = [part]
        item.setdefault("status", "completed")
    return item


def output_items(body: bytes) -> list[Raw]:
    """The output of a kept response, verbatim."""
    output = (members(body) or {}).get("output")
    try:
        return [] if output is None else _items(output)
    except msgspec.MsgspecError:
        return []


def output_ids(items: Iterable[Raw]) -> list[str]:
    """The ids of output items; "" for one without."""
    return [text_of(value_of((members(raw) or {}).get("id"))) for raw in items]


# -- responses -------------------------------------------------------------------------------------


def last_response(data: bytes, *, stream: bool) -> dict[str, Raw] | None:
    """The whole response in the last bytes of an answer; None if they hold an error."""
    if stream:
        body = members(_last_data(data)) or {}
        return members(body.get("response"))
    found = members(data)
    return found if found is not None and value_of(found.get("object")) == "response" else None


def unstored(data: bytes, *, stream: bool) -> bytes:
    """The last bytes of an answer that could not be kept, and must not say that it was."""
    response = last_response(data, stream=stream)
    if response is None:
        return data
    response["store"] = dump(False)
    if not stream:
        return encode(response)
    before, _, _ = data.rstrip(b"\n").rpartition(b"\n\n")
    body = members(_last_data(data)) or {}
    kind = text_of(value_of(body.get("type")))
    return before + (b"\n\n" if before else b"") + frame(kind, {**body, "response": response})


def response_of(body: bytes) -> dict[str, Raw]:
    """The members of a kept response."""
    return members(body) or {}


def with_members(body: bytes, **changed: object) -> bytes:
    """A response with some members changed."""
    return encode({**(members(body) or {}), **changed})


def streamed(body: bytes) -> bytes:
    """The request, asking for a stream."""
    return with_members(body, stream=True)


def _last_data(data: bytes) -> bytes:
    last = data.rstrip(b"\n").rpartition(b"\n\n")[2]
    return b"\n".join(line[5:].strip() for line in last.split(b"\n") if line.startswith(b"data:"))


def status_in(response: Mapping[str, Raw]) -> str:
    """The status that a response says it has."""
    return text_of(value_of(response.get("status"))) or "completed"


def queued(context: ReplyContext) -> dict[str, Any]:
    """The response that a client gets before there is any answer."""
    return {**head_of(Started(), context), "status": "queued", "output": [], "usage": None}


def failed(body: bytes, error: RouterError, request_id: str) -> bytes:
    """A kept response that will not be answered any more."""
    return with_members(body, status="failed", error=failed_members(error, request_id))


def created_event(response: Mapping[str, Raw]) -> bytes:
    """The first event of a stream."""
    return frame(_FIRST[0], {"type": _FIRST[0], "sequence_number": 0, "response": response})


def is_created(event: bytes) -> bool:
    """Whether an event is the first one of a stream."""
    return event.startswith(b"event: response.created\n")


def cancelled(body: bytes, frames: Iterable[bytes], bill: Bill | None) -> dict[str, Raw]:
    """A response that was cancelled, with what had been said by then and what it cost."""
    output = items_of(map(_last_data, frames))
    usage = None if bill is None else usage_object(bill)
    return members(with_members(body, status="cancelled", output=output, usage=usage)) or {}


def last_events(response: Mapping[str, Raw], sequence: int) -> bytes:
    """The events that end a stream of ``sequence`` events with this response.

    The API has no event of its own for a response that is cancelled: its status says it.
    """
    last = "response.failed" if status_in(response) == "failed" else "response.incomplete"
    kinds = (*_FIRST[sequence:], last)
    return b"".join(
        frame(kind, {"type": kind, "sequence_number": number, "response": response})
        for number, kind in enumerate(kinds, sequence)
    )
