"""Whole replies of Cohere's v2 chat. https://docs.cohere.com/v2/reference/chat#response"""

from __future__ import annotations

from typing import Any

from llm_router.wire import events
from llm_router.wire.dialects.cohere_chat.facts import finish_of
from llm_router.wire.dialects.cohere_chat.parts import Events, PartsReader
from llm_router.wire.dialects.cohere_chat.stream import failed
from llm_router.wire.dialects.cohere_chat.usage import read_usage
from llm_router.wire.failures import failure, looks_like_failure, malformed, said_of
from llm_router.wire.fold import fold
from llm_router.wire.lenient import listing, load_object, text_of


def decode_reply(body: bytes) -> events.Reply:
    """The canonical form of a whole reply.

    Raises:
        UpstreamError: MALFORMED, or what the reply reports.
    """
    reply = load_object(body)
    if reply is None:
        raise malformed("a reply that is no JSON object")
    message = reply.get("message")
    if not isinstance(message, dict):
        if looks_like_failure(reply):
            raise failure(said_of(reply))
        raise malformed("a reply without a message")
    native = text_of(reply.get("finish_reason")) or None
    broken = failed(native, reply.get("error"))
    if broken is not None:
        raise broken
    parts = PartsReader()
    parts.ids.seed(body)
    told: Events = [events.Started(id=text_of(reply.get("id"))), *_message(parts, message)]
    for item in listing(reply.get("logprobs")):
        told += parts.logprobs(item)
    seen = read_usage(reply.get("usage"))
    if seen is not None:
        told.append(seen)
    told.append(events.Finished(reason=finish_of(native, calls=parts.calls), native=native))
    return fold([*told, events.Ended()])


def _message(parts: PartsReader, message: dict[str, Any]) -> Events:
    """The plan, the content with its citations, the calls: the order in which a stream tells them."""
    out = parts.plan(message.get("tool_plan"))
    content = message.get("content")
    cited = [fields for fields in listing(message.get("citations")) if isinstance(fields, dict)]
    blocks = [content] if isinstance(content, str) else listing(content)
    last = max((n for n, block in enumerate(blocks) if _is_text(block)), default=0)
    for index, block in enumerate(blocks):
        out += parts.content(index, block)
        for fields in cited:
            if _place(fields, last) == index:
                out += parts.cite(fields)
    for fields in cited:
        if _place(fields, last) not in range(len(blocks)):
            out += parts.cite(fields)
    for index, call in enumerate(listing(message.get("tool_calls"))):
        out += parts.call(index, call) + parts.end_call(index)
    return out + parts.finish()


def _place(citation: dict[str, Any], default: int) -> object:
    """The index of the content block that a citation belongs to."""
    found = citation.get("content_index")
    return default if found is None else found


def _is_text(block: object) -> bool:
    return isinstance(block, str) or (isinstance(block, dict) and block.get("type") == "text")
