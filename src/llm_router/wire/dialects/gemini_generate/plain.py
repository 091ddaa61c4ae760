"""Plain requests and replies, written and read in one typed pass; see :mod:`wire.plain`."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from llm_router.domain.usage import MAX_COUNT, Usage
from llm_router.wire.dialect import Target
from llm_router.wire.events import Finish
from llm_router.wire.plain import PlainReply, PlainRequest
from llm_router.wire.verbatim import NOT_JSON

SEED_MAX = 2**31 - 1

# -- requests --------------------------------------------------------------------------------------


class _Part(msgspec.Struct):
    text: str


class _Turn(msgspec.Struct):
    role: str
    parts: list[_Part]


class _System(msgspec.Struct):
    parts: list[_Part]


class _Thinking(msgspec.Struct):
    includeThoughts: bool


class _Config(msgspec.Struct, omit_defaults=True):
    maxOutputTokens: int | None = None
    seed: int | None = None
    temperature: int | float | None = None
    topP: int | float | None = None
    frequencyPenalty: int | float | None = None
    presencePenalty: int | float | None = None
    thinkingConfig: _Thinking | None = None


class _Request(msgspec.Struct, omit_defaults=True):
    contents: list[_Turn]
    systemInstruction: _System | None = None
    generationConfig: _Config | None = None


_SHOWN = _Thinking(True)


def write_plain(request: PlainRequest, target: Target) -> bytes | None:
    """As ``encode_request``; None where something would be lost, or has to be put in order."""
    able, seed = target.capabilities, request.seed
    if target.quirks or not able.sampling or (seed is not None and not -SEED_MAX <= seed <= SEED_MAX):
        return None
    asked, most = request.max_tokens, target.output_tokens_max
    if asked is None:
        cap = target.output_tokens_cap
        asked = cap if cap is None or most is None or cap < most else most
    elif most is not None and asked > most:
        return None
    turns = _turns(request)
    if turns is None:
        return None
    config = _Config(
        asked,
        seed,
        request.temperature,
        request.top_p,
        request.frequency_penalty,
        request.presence_penalty,
        _SHOWN if able.reasoning else None,
    )
    system, contents = turns
    return msgspec.json.encode(_Request(contents, system, None if config == _NOTHING else config))


_NOTHING = _Config()


def _turns(request: PlainRequest) -> tuple[_System | None, list[_Turn]] | None:
    """Instructions and turns; None if the turns do not begin with the user's, or one is empty."""
    system: _System | None = None
    turns: list[_Turn] = []
    last = ""
    for turn in request.messages:
        role, content = turn.role, turn.content
        if not content:
            return None
        if role == last:
            turns[-1].parts.append(_Part(content))
        elif role != "system":
            if last == "" and role == "assistant":
                return None
            turns.append(_Turn("model" if role == "assistant" else role, [_Part(content)]))
            last = role
        elif turns:
            return None
        elif system is None:
            system = _System([_Part(content)])
        else:
            system.parts.append(_Part(content))
    return (system, turns) if turns else None


# -- replies ---------------------------------------------------------------------------------------

_Count = Annotated[int, Meta(ge=0, le=MAX_COUNT)]
_FINISH = {"STOP": Finish.STOP, "MAX_TOKENS": Finish.LENGTH}


class _Said(msgspec.Struct, forbid_unknown_fields=True):
    text: Annotated[str, Meta(min_length=1)]


class _Content(msgspec.Struct, forbid_unknown_fields=True):
    parts: Annotated[list[_Said], Meta(min_length=1, max_length=1)]
    role: Literal["model"]


class _Candidate(msgspec.Struct, forbid_unknown_fields=True):
    content: _Content
    finishReason: Literal["STOP", "MAX_TOKENS"]
    index: Literal[0] = 0


class _Modality(msgspec.Struct, forbid_unknown_fields=True):
    modality: Literal["TEXT"]
    tokenCount: _Count


class _Usage(msgspec.Struct, forbid_unknown_fields=True):
    promptTokenCount: _Count
    candidatesTokenCount: _Count
    totalTokenCount: int
    cachedContentTokenCount: _Count = 0
    thoughtsTokenCount: _Count = 0
    promptTokensDetails: list[_Modality] = []
    cacheTokensDetails: list[_Modality] = []
    candidatesTokensDetails: list[_Modality] = []
    serviceTier: str = ""


class _Reply(msgspec.Struct, forbid_unknown_fields=True):
    candidates: Annotated[list[_Candidate], Meta(min_length=1, max_length=1)]
    usageMetadata: _Usage
    modelVersion: str = ""
    responseId: str = ""


_read = msgspec.json.Decoder(_Reply).decode


def read_plain(body: bytes) -> PlainReply | None:
    """As ``decode_reply``; None of a reply that is more than one text."""
    try:
        reply = _read(body)
    except NOT_JSON:
        return None
    usage = reply.usageMetadata
    prompt, said, thought = usage.promptTokenCount, usage.candidatesTokenCount, usage.thoughtsTokenCount
    cached = usage.cachedContentTokenCount
    if cached > prompt or prompt + said + thought != usage.totalTokenCount:
        return None
    candidate = reply.candidates[0]
    return PlainReply(
        reply.responseId,
        reply.modelVersion,
        candidate.content.parts[0].text,
        _FINISH[candidate.finishReason],
        candidate.finishReason,
        Usage(
            input_tokens=prompt - cached,
            cache_read_tokens=cached,
            output_tokens=said,
            reasoning_tokens=thought,
            service_tier=usage.serviceTier.lower() or None,
        ),
    )
