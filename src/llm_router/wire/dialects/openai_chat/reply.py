"""Whole replies: wire to canonical and back."""

from __future__ import annotations

from typing import Any

from llm_router.wire.chat import Citation, Media, Opaque, Part, Raw, Refusal, Text, Thinking, ToolCall
from llm_router.wire.dialect import Bill, ReplyContext
from llm_router.wire.dialects.openai_chat.body import mend_body
from llm_router.wire.dialects.openai_chat.head import is_reply_id, mend_tier
from llm_router.wire.dialects.openai_chat.legacy import legacy_message
from llm_router.wire.dialects.openai_chat.mend import whole_arguments
from llm_router.wire.dialects.openai_chat.parts import (
    NAME,
    SEPARATOR,
    annotation,
    call_member,
    detail_of,
    image_member,
    message_parts,
    text_signature_detail,
)
from llm_router.wire.dialects.openai_chat.usage import usage_object
from llm_router.wire.events import Choice, Finish, OpaqueSeen, Reply
from llm_router.wire.lenient import load
from llm_router.wire.loss import Loss
from llm_router.wire.verbatim import encode

EXTRAS = ("service_tier", "system_fingerprint")
"""Reply members that this dialect writes for any provider that has them."""

KNOWN = frozenset(("id", "object", "created", "model", "choices", "usage", *EXTRAS))


def decode_reply(body: bytes) -> Reply:
    """A whole reply in canonical form.

    Raises:
        UpstreamError: it is an error in place of a reply, or no reply at all.
    """
    mended = mend_body(body)
    members = mended.members
    choices = [_choice(choice, mended.upstream_id, number) for number, choice in enumerate(mended.choices)]
    sources = top_citations(members)
    if sources and choices:
        choices[0] = _with_sources(choices[0], sources)
    return Reply(
        id=mended.upstream_id,
        model=mended.upstream_model,
        created_s=members["created"],
        choices=tuple(choices),
        usage=mended.reading.usage,
        extras=extras_of(members),
        opaque=tuple(opaque_of(members)),
        flags=mended.flags,
    )


def extras_of(members: dict[str, Any]) -> dict[str, Raw]:
    return {name: Raw(encode(members[name])) for name in EXTRAS if members.get(name) is not None}


def opaque_of(members: dict[str, Any]) -> list[OpaqueSeen]:
    """Reply members that the canonical form has no word for."""
    return [
        OpaqueSeen(dialect=NAME, name=name, raw=Raw(encode(value)))
        for name, value in members.items()
        if name not in KNOWN and value is not None and name not in SOURCES
    ]


SOURCES = ("search_results", "citations")
"""Where Perplexity and others list their sources: objects with a title, or bare URLs."""


def top_citations(members: dict[str, Any]) -> tuple[Citation, ...]:
    """The sources that stand beside the choices rather than in a message."""
    for name in SOURCES:
        listed = members.get(name)
        found = tuple(c for c in map(_source, listed if isinstance(listed, list) else ()) if c is not None)
        if found:
            return found
    return ()


def _source(item: object) -> Citation | None:
    if isinstance(item, str):
        return Citation(url=item) if item else None
    url = item.get("url") if isinstance(item, dict) else None
    if not isinstance(item, dict) or not isinstance(url, str) or not url:
        return None
    title = item.get("title")
    return Citation(url=url, title=title if isinstance(title, str) else None)


def _with_sources(choice: Choice, sources: tuple[Citation, ...]) -> Choice:
    parts: list[Part] = []
    for part in choice.parts:
        if isinstance(part, Text) and not part.citations and sources:
            part = Text(text=part.text, citations=sources, signature=part.signature, origin=part.origin)
            sources = ()
        parts.append(part)
    return Choice(
        index=choice.index, parts=tuple(parts), finish=choice.finish, native_finish=choice.native_finish,
        logprobs=choice.logprobs,
    )  # fmt: skip


def _choice(choice: dict[str, Any], seed: str, number: int) -> Choice:
    word = choice["finish_reason"]
    native = choice.get("native_finish_reason")
    logprobs = choice.get("logprobs")
    listed = logprobs.get("content") if isinstance(logprobs, dict) else None
    items = [item for item in listed if isinstance(item, dict)] if isinstance(listed, list) else []
    return Choice(
        index=choice["index"],
        parts=tuple(message_parts(choice["message"], seed, first=number * 1000)),
        finish=finish_of(word),
        native_finish=native if isinstance(native, str) else word,
        logprobs=Raw(encode(items)) if items else None,
    )


def finish_of(word: str) -> Finish:
    return Finish.TOOL_CALLS if word == "function_call" else Finish(word)


# -- canonical to wire -----------------------------------------------------------------------------


def encode_reply(reply: Reply, context: ReplyContext, bill: Bill) -> tuple[bytes, tuple[Loss, ...]]:
    """A whole reply as a ``chat.completion``, and what of it this dialect cannot say."""
    losses: list[Loss] = []
    body: dict[str, Any] = {
        "id": reply.id if is_reply_id(reply.id) else context.reply_id,
        "object": "chat.completion",
        "created": reply.created_s or context.created_s,
        "model": reply.model or context.model,
        "choices": [_choice_member(choice, context, losses) for choice in reply.choices],
        "usage": usage_object(bill),
        "system_fingerprint": None,
        **own_members(reply.extras),
    }
    for seen in reply.opaque:
        if seen.dialect == NAME:
            body.setdefault(seen.name, seen.raw)
        else:
            losses.append(opaque_loss(seen.name))
    return encode(body), tuple(losses)


def own_members(extras: dict[str, Raw]) -> dict[str, Any]:
    """The extras that have a place in this dialect."""
    members = {name: load(bytes(extras[name])) for name in EXTRAS if name in extras}
    mend_tier(members)
    return members


def opaque_loss(name: str) -> Loss:
    return Loss(field=name, why="only the provider's own API has a form for it")


def _choice_member(choice: Choice, context: ReplyContext, losses: list[Loss]) -> dict[str, Any]:
    message = _message(choice, losses)
    finish: str = choice.finish.value
    if "tool_calls" in message and finish == "stop":
        finish = "tool_calls"
    if context.legacy_functions:
        finish = legacy_message(message, finish, losses)
    if choice.finish is Finish.CONTENT_FILTER and choice.finish_message and message["refusal"] is None:
        message["refusal"] = choice.finish_message
    member = {
        "index": choice.index,
        "message": message,
        "logprobs": None if choice.logprobs is None else {"content": choice.logprobs, "refusal": None},
        "finish_reason": finish,
    }
    if choice.native_finish is not None and choice.native_finish != finish:
        member["native_finish_reason"] = choice.native_finish
    return member


def _message(choice: Choice, losses: list[Loss]) -> dict[str, Any]:
    texts: list[str] = []
    thoughts: list[str] = []
    refusals: list[str] = []
    lists: dict[str, list[dict[str, Any]]] = {
        "reasoning_details": [], "tool_calls": [], "annotations": [], "images": [],
    }  # fmt: skip
    more: dict[str, Any] = {}
    cut = choice.finish in (Finish.LENGTH, Finish.CONTENT_FILTER)
    for part in choice.parts:
        match part:
            case Text():
                texts.append(part.text)
                _text_members(part, sum(map(len, texts[:-1])), lists, losses)
            case Thinking():
                thoughts.append(part.text)
                if part.signature is not None or part.redacted is not None:
                    details = lists["reasoning_details"]
                    details.append(detail_of(part, len(details)))
            case ToolCall():
                call = call_member(part)
                if not part.custom:
                    call["function"]["arguments"] = whole_arguments(part.arguments, cut=cut)
                lists["tool_calls"].append(call)
            case Refusal():
                refusals.append(part.text)
            case Media():
                _media_members(part, lists, more, losses)
            case Opaque():
                losses.append(opaque_loss(part.name))
    text = "".join(texts)
    message: dict[str, Any] = {
        "role": "assistant",
        "content": text if text or not (lists["tool_calls"] or refusals or more) else None,
        "refusal": "".join(refusals) or None,
    }
    if any(thoughts):
        message["reasoning_content"] = SEPARATOR.join(filter(None, thoughts))
    return {**message, **{name: items for name, items in lists.items() if items}, **more}


def _text_members(
    part: Text, before: int, lists: dict[str, list[dict[str, Any]]], losses: list[Loss]
) -> None:
    """What stands beside a text: its sources and its signature."""
    for source in part.citations:
        shifted = annotation(source, before + len(part.text))
        if shifted is None:
            losses.append(Loss(field="citations", why="a source without a URL has no form here"))
        else:
            lists["annotations"].append(shifted)
    if part.signature is not None:
        details = lists["reasoning_details"]
        details.append(text_signature_detail(part.signature, part.origin, len(details)))


def _media_members(
    part: Media, lists: dict[str, list[dict[str, Any]]], more: dict[str, Any], losses: list[Loss]
) -> None:
    image = image_member(part)
    if image is not None:
        lists["images"].append({**image, "index": len(lists["images"])})
    elif part.form == "audio" and part.data is not None and "audio" not in more:
        more["audio"] = {"id": "audio_0", "data": part.data, "expires_at": 0, "transcript": ""}
    else:
        losses.append(Loss(field=part.form, why="generated media of this kind has no form here"))
