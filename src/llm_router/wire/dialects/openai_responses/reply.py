"""Whole replies: wire to canonical and back."""

from __future__ import annotations

from typing import Any, Final

from llm_router.wire.chat import Part, Raw, ToolCall
from llm_router.wire.dialect import Bill, ReplyContext
from llm_router.wire.dialects.openai_responses.encoder import ResponsesStreamEncoder
from llm_router.wire.dialects.openai_responses.errors import error_of, failure_of, is_error, malformed
from llm_router.wire.dialects.openai_responses.outputs import item_parts, logprobs_of, thinking_part
from llm_router.wire.dialects.openai_responses.usage import read_usage
from llm_router.wire.dialects.openai_responses.words import (
    FINISHED,
    NAME,
    UNFINISHED,
    finish_of,
    objects,
    text_of,
    whole_seconds,
)
from llm_router.wire.events import Choice, Finish, Finished, OpaqueSeen, Reply
from llm_router.wire.fold import unfold
from llm_router.wire.lenient import load_object
from llm_router.wire.loss import Loss
from llm_router.wire.verbatim import dump, encode

EXTRAS: Final = ("service_tier",)
"""Reply members that any dialect of OpenAI's writes."""

_OPAQUE: Final = ("content_filters", "moderation")
"""Reply members beside the answer that say something about it; the others repeat the request."""


def open_response(body: bytes) -> dict[str, Any]:
    """A whole reply as an object that holds an answer.

    Raises:
        UpstreamError: it is an error in place of a reply, or failed, or is no reply at all.
    """
    response = load_object(body)
    if response is None:
        raise malformed("a reply that is not a JSON object")
    if is_error(response):
        raise error_of(response)
    check_status(response)
    if not isinstance(response.get("output"), list):
        raise malformed("a response without output")
    return response


def check_status(response: dict[str, Any]) -> None:
    """Raise what a response that holds no whole answer means."""
    status = response.get("status")
    if status in UNFINISHED:
        raise malformed(f"a response that is still {status}: it cannot be waited for here")
    if isinstance(status, str) and status not in FINISHED:
        raise failure_of(response)


def decode_reply(body: bytes) -> Reply:
    """A whole reply in canonical form.

    Raises:
        UpstreamError: it is an error in place of a reply, or failed, or is no reply at all.
    """
    return reply_of(open_response(body))


def reply_of(response: dict[str, Any]) -> Reply:
    """The canonical form of a response that holds an answer."""
    reading = read_usage(response)
    return Reply(
        id=text_of(response.get("id")),
        model=text_of(response.get("model")),
        created_s=whole_seconds(response.get("created_at")),
        choices=(_choice(response),),
        usage=reading.usage,
        extras=extras_of(response),
        opaque=tuple(opaque_of(response)),
        flags=reading.flags,
    )


def _choice(response: dict[str, Any]) -> Choice:
    seed, items = text_of(response.get("id")), objects(response.get("output"))
    parts: list[Part] = []
    told = response.get("reasoning")
    if isinstance(told, str) and told.strip():  # mistral.rs keeps reasoning beside the output
        parts.append(thinking_part({"content": [{"text": told}]}))
    for number, item in enumerate(items):
        parts += item_parts(item, seed, number)
    probable = [
        entry
        for item in items
        if item.get("type") == "message"
        for part in objects(item.get("content"))
        for entry in logprobs_of(part)
    ]
    status, reason = ending(response)
    return Choice(
        parts=tuple(parts),
        finish=finish_of(status, reason, calls=any(isinstance(part, ToolCall) for part in parts)),
        native_finish=reason or status,
        logprobs=dump(probable) if probable else None,
    )


def ending(response: dict[str, Any]) -> tuple[str, str]:
    """The status of a response, and the reason why it is incomplete, or ""."""
    status = text_of(response.get("status")) or "completed"
    details = response.get("incomplete_details")
    reason = text_of(details.get("reason")) if isinstance(details, dict) else ""
    return status, reason if status == "incomplete" else ""


def extras_of(response: dict[str, Any]) -> dict[str, Raw]:
    """The service tier, once it is known which one served: "auto" is only what was asked for."""
    found = {name: response.get(name) for name in EXTRAS}
    return {name: dump(value) for name, value in found.items() if value not in (None, "", "auto")}


def opaque_of(response: dict[str, Any]) -> list[OpaqueSeen]:
    """Reply members that the canonical form has no word for."""
    return [
        OpaqueSeen(dialect=NAME, name=name, raw=dump(response[name]))
        for name in _OPAQUE
        if response.get(name)
    ]


def encode_reply(reply: Reply, context: ReplyContext, bill: Bill) -> tuple[bytes, tuple[Loss, ...]]:
    """A whole reply as a ``response``: what a stream of it ends with."""
    encoder = ResponsesStreamEncoder(context)
    for event in unfold(reply):
        encoder.encode(event)
    if not any(choice.index == 0 for choice in reply.choices):
        encoder.encode(Finished(reason=Finish.STOP))
    return encode(encoder.response(bill)), tuple(encoder.losses)
