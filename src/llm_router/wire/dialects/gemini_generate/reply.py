"""Whole replies, both ways. https://ai.google.dev/api/generate-content#generatecontentresponse"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import msgspec

from llm_router.domain.errors import UpstreamError, UpstreamKind
from llm_router.wire import chat
from llm_router.wire.bill import bill_members
from llm_router.wire.chat import Raw
from llm_router.wire.dialect import Bill, ReplyContext
from llm_router.wire.dialects.gemini_generate.chunks import ChunkReader
from llm_router.wire.dialects.gemini_generate.errors import decode_reported, is_error
from llm_router.wire.dialects.gemini_generate.finish import finish_word
from llm_router.wire.dialects.gemini_generate.grounding import grounding_of
from llm_router.wire.dialects.gemini_generate.logprobs import encode_logprobs
from llm_router.wire.dialects.gemini_generate.members import NAME, list_of, value_of
from llm_router.wire.dialects.gemini_generate.parts import PartWriter
from llm_router.wire.dialects.gemini_generate.usage import encode_usage
from llm_router.wire.events import Choice, Finish, OpaqueSeen, Reply
from llm_router.wire.fold import Folder
from llm_router.wire.loss import Loss

_CANDIDATE_MEMBER = re.compile(r"candidates\[(\d{1,4})\]\.(\w+)")


def decode_reply(body: bytes) -> Reply:
    """A whole reply, or a whole stream in its JSON array form.

    Raises:
        UpstreamError: what the reply reports as failed, or MALFORMED.
    """
    head = body.lstrip()[:1]
    if head not in (b"{", b"["):
        raise UpstreamError("The provider's reply is no JSON object.", kind=UpstreamKind.MALFORMED)
    if head == b"[" and is_error(value_of(body)):
        raise decode_reported(body)
    messages: list[bytes] = [bytes(raw) for raw in list_of(body)] if head == b"[" else [body]
    reader = ChunkReader(whole=len(messages) == 1)
    folder = Folder()
    for message in messages:
        for event in reader.take(message):
            folder.add(event)
    for event in reader.end():
        folder.add(event)
    if folder.error is not None:
        raise folder.error.error
    return folder.reply()


def encode_reply(reply: Reply, context: ReplyContext, bill: Bill) -> tuple[bytes, tuple[Loss, ...]]:
    """A whole reply with the bill in its usageMetadata."""
    losses: list[Loss] = []
    candidates: list[dict[str, Any]] = []
    for choice in reply.choices:
        candidate, lost = encode_choice(choice)
        candidates.append(candidate)
        losses += lost
    body: dict[str, Any] = {"candidates": candidates}
    losses += add_opaque(body, reply.opaque)
    body["usageMetadata"] = usage_metadata(bill, reply)
    body["modelVersion"] = reply.model or context.model
    body["responseId"] = reply.id or context.reply_id
    return msgspec.json.encode(body), tuple(losses)


def usage_metadata(bill: Bill, reply: Reply | None = None) -> dict[str, Any]:
    """``usageMetadata`` of the metered usage, with ``cost`` and ``creditsRemaining`` in US dollars."""
    usage = bill.usage if bill.usage is not None or reply is None else reply.usage
    meta = encode_usage(usage) if usage is not None else {}
    return meta | billing_members(bill)


def billing_members(bill: Bill) -> dict[str, Raw]:
    """The bill in Google's spelling. Its client ignores members that it does not know."""
    said = bill_members(bill)
    names = {"credits_remaining": "creditsRemaining"}
    return {names.get(name, name): value for name, value in said.items()}


def encode_choice(choice: Choice) -> tuple[dict[str, Any], list[Loss]]:
    """A finished candidate with all of its parts."""
    writer = PartWriter(foreign=True)
    parts: list[Any] = []
    cited: list[tuple[int, chat.Text]] = []
    for part in choice.parts:
        written = writer.write(part)
        if isinstance(part, chat.Refusal):
            writer.lose("refusal", "Gemini has no refusal part; it is sent as text")
        if written is not None:
            if isinstance(part, chat.Text) and part.citations:
                cited.append((len(parts), part))
                for citation in part.citations:
                    lose_source(citation, writer)
            parts.append(written)
    candidate: dict[str, Any] = {
        "content": {"parts": parts, "role": "model"},
        **finish_members(choice.finish, choice.native_finish, choice.finish_message),
        "index": choice.index,
    }
    grounding = grounding_of(cited)
    if grounding is not None:
        candidate["groundingMetadata"] = grounding
    if choice.logprobs is not None:
        candidate["logprobsResult"] = encode_logprobs(choice.logprobs)
    return candidate, writer.losses


def lose_source(citation: chat.Citation, writer: PartWriter) -> None:
    """Declare a source that grounding metadata has no word for."""
    if citation.url is None:
        writer.lose("groundingMetadata", "a source without a URL has no form here")


def finish_members(reason: Finish, native: str | None, message: str | None) -> dict[str, Any]:
    members: dict[str, Any] = {"finishReason": finish_word(reason, native)}
    if message:
        members["finishMessage"] = message
    return members


def add_opaque(body: dict[str, Any], seen: Iterable[OpaqueSeen]) -> list[Loss]:
    """Put back the members that only this dialect knows; the others are losses."""
    losses: list[Loss] = []
    by_index = {candidate.get("index", 0): candidate for candidate in body["candidates"]}
    for event in seen:
        match = _CANDIDATE_MEMBER.fullmatch(event.name)
        if event.dialect != NAME:
            losses.append(Loss(field=event.name, why=f"only {event.dialect} has this member"))
        elif match is None:
            body[event.name] = event.raw
        elif int(match[1]) in by_index:
            by_index[int(match[1])][match[2]] = event.raw
    return losses
