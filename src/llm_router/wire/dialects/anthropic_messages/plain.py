"""Plain requests and replies, written and read in one typed pass; see :mod:`wire.plain`."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from llm_router.domain.usage import MAX_COUNT, Usage
from llm_router.wire.dialect import Target
from llm_router.wire.dialects.anthropic_messages.encode import OUTPUT_TOKENS_DEFAULT
from llm_router.wire.events import Finish
from llm_router.wire.plain import PlainReply, PlainRequest
from llm_router.wire.verbatim import NOT_JSON

# -- requests --------------------------------------------------------------------------------------


class _Text(msgspec.Struct, tag_field="type", tag="text"):
    text: str


class _Turn(msgspec.Struct):
    role: str
    content: list[_Text]


class _Request(msgspec.Struct, kw_only=True, omit_defaults=True):
    model: str
    max_tokens: int
    system: list[_Text] | None = None
    messages: list[_Turn]
    stream: bool = False
    temperature: int | float | None = None
    top_p: int | float | None = None


def write_plain(request: PlainRequest, target: Target) -> bytes | None:
    """As ``encode_request``; None where something would be lost, or has to be put in order."""
    if target.quirks or request.seed is not None or request.frequency_penalty or request.presence_penalty:
        return None
    temperature, top_p = request.temperature, request.top_p
    if temperature is not None and (temperature > 1 or top_p is not None or not target.capabilities.sampling):
        return None
    if top_p is not None and not target.capabilities.sampling:
        return None
    limit = _limit(request, target)
    turns = _turns(request)
    if limit is None or turns is None:
        return None
    system, messages = turns
    return msgspec.json.encode(
        _Request(
            model=target.model,
            max_tokens=limit,
            system=system,
            messages=messages,
            stream=request.stream is True,
            temperature=temperature,
            top_p=top_p,
        )
    )


def _limit(request: PlainRequest, target: Target) -> int | None:
    asked, most = request.max_tokens, target.output_tokens_max
    if asked is not None:
        return asked if most is None or asked <= most else None
    known = [bound for bound in (target.output_tokens_cap, most) if bound is not None]
    return min(known) if known else OUTPUT_TOKENS_DEFAULT


def _turns(request: PlainRequest) -> tuple[list[_Text] | None, list[_Turn]] | None:
    """Instructions and turns; None if the turns do not begin with the user's and end with it, or one is blank."""
    system: list[_Text] | None = None
    turns: list[_Turn] = []
    last = ""
    for turn in request.messages:
        role, content = turn.role, turn.content
        if not content or content.isspace():
            return None
        if role == last:
            turns[-1].content.append(_Text(content))
        elif role != "system":
            if last == "" and role == "assistant":
                return None
            turns.append(_Turn(role, [_Text(content)]))
            last = role
        elif turns:
            return None
        elif system is None:
            system = [_Text(content)]
        else:
            system.append(_Text(content))
    return (system, turns) if last == "user" else None


# -- replies ---------------------------------------------------------------------------------------

_Count = Annotated[int, Meta(ge=0, le=MAX_COUNT)]
_FINISH = {"end_turn": Finish.STOP, "max_tokens": Finish.LENGTH}


class _Block(msgspec.Struct, tag_field="type", tag="text", forbid_unknown_fields=True):
    text: Annotated[str, Meta(min_length=1)]
    citations: UnsetType | None = UNSET


class _Writes(msgspec.Struct, forbid_unknown_fields=True):
    ephemeral_5m_input_tokens: _Count = 0
    ephemeral_1h_input_tokens: Literal[0] = 0


class _ServerTools(msgspec.Struct, forbid_unknown_fields=True):
    web_search_requests: Literal[0] = 0
    web_fetch_requests: Literal[0] = 0


class _Details(msgspec.Struct, forbid_unknown_fields=True):
    thinking_tokens: _Count = 0


class _Usage(msgspec.Struct, forbid_unknown_fields=True):
    input_tokens: _Count
    output_tokens: _Count
    cache_creation_input_tokens: _Count = 0
    cache_read_input_tokens: _Count = 0
    cache_creation: _Writes | None = None
    server_tool_use: _ServerTools | None = None
    output_tokens_details: _Details | None = None
    service_tier: str | None = None
    inference_geo: Literal["not_available", "global"] | None = None


class _Message(msgspec.Struct, forbid_unknown_fields=True):
    type: Literal["message"]
    role: Literal["assistant"]
    content: Annotated[list[_Block], Meta(min_length=1, max_length=1)]
    stop_reason: Literal["end_turn", "max_tokens"]
    usage: _Usage
    id: str = ""
    model: str = ""
    stop_sequence: None = None
    stop_details: None = None


_read = msgspec.json.Decoder(_Message).decode


def read_plain(body: bytes) -> PlainReply | None:
    """As ``decode_reply``; None of a reply that is more than one text."""
    try:
        message = _read(body)
    except NOT_JSON:
        return None
    usage = message.usage
    writes, written = usage.cache_creation, usage.cache_creation_input_tokens
    if writes is not None and writes.ephemeral_5m_input_tokens != written:
        return None
    details = usage.output_tokens_details
    output = usage.output_tokens
    thought = 0 if details is None else details.thinking_tokens
    if thought > output:
        return None
    return PlainReply(
        message.id,
        message.model,
        message.content[0].text,
        _FINISH[message.stop_reason],
        message.stop_reason,
        Usage(
            input_tokens=usage.input_tokens,
            cache_read_tokens=usage.cache_read_input_tokens,
            cache_write_tokens=written,
            output_tokens=output - thought,
            reasoning_tokens=thought,
            service_tier=usage.service_tier,
        ),
    )
