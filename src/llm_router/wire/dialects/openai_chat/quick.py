"""Plain requests and replies, read in one typed pass.

Most traffic is turns of text and an answer of text. Reading these into plain values, to look at every member for
what else it might be, costs several times what it takes to say that they are plain: every member known, of its
type, and within its bounds. What is not so is not refused here; it is read the thorough way, by
:mod:`inspect`, :mod:`edit` and :mod:`body`, which also find the words for what is wrong.

Where these functions give a result it is what the thorough way would have given.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, Raw, UnsetType

from llm_router.domain.money import format_usd
from llm_router.domain.usage import MAX_COUNT, Provenance, Usage
from llm_router.wire.asked import MODEL, Tree
from llm_router.wire.dialect import Bill, Inspected, Observed, ReplyContext, Target
from llm_router.wire.dialects.openai_chat.checks import TOKENS_MAX
from llm_router.wire.dialects.openai_chat.head import TIERS, is_reply_id
from llm_router.wire.dialects.openai_chat.options import finish_body
from llm_router.wire.dialects.openai_chat.usage import usage_object
from llm_router.wire.loss import Loss
from llm_router.wire.plain import PlainReply, PlainRequest, PlainTurn
from llm_router.wire.verbatim import NOT_JSON, encode

# -- requests --------------------------------------------------------------------------------------

_Limit = Annotated[int, Meta(ge=1, le=TOKENS_MAX)]
_Temperature = Annotated[int, Meta(ge=0, le=2)] | Annotated[float, Meta(ge=0, le=2)]
_Share = Annotated[int, Meta(ge=0, le=1)] | Annotated[float, Meta(ge=0, le=1)]
_Penalty = Annotated[int, Meta(ge=-2, le=2)] | Annotated[float, Meta(ge=-2, le=2)]


class _StreamOptions(msgspec.Struct, forbid_unknown_fields=True):
    include_usage: bool | None = None


class _Request(PlainRequest, forbid_unknown_fields=True):
    messages: Annotated[list[PlainTurn], Meta(min_length=1)]
    temperature: _Temperature | None = None
    top_p: _Share | None = None
    frequency_penalty: _Penalty | None = None
    presence_penalty: _Penalty | None = None
    max_tokens: _Limit | None = None
    seed: Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)] | None = None
    max_completion_tokens: _Limit | None = None
    stream_options: _StreamOptions | None = None
    n: Literal[1] | None = None


_read_request = msgspec.json.Decoder(_Request).decode
_STREAMED = frozenset({"stream"})
_NOTHING: frozenset[str] = frozenset()


def quick_inspect(body: bytes, path_stream: bool | None) -> Inspected | None:
    """What ``inspect`` says of a plain request; None of any other."""
    try:
        asked = _read_request(body)
    except NOT_JSON:
        return None
    limit = asked.max_tokens
    if asked.max_completion_tokens is not None:
        if limit is not None and limit != asked.max_completion_tokens:
            return None
        limit = asked.max_completion_tokens
    if MODEL.fullmatch(asked.model) is None:
        return None
    stream = bool(path_stream) if asked.stream is None else asked.stream
    size = 0
    for turn in asked.messages:
        content = turn.content
        size += len(content) if content.isascii() else len(content.encode())
    options = asked.stream_options
    return Inspected(
        model=asked.model,
        stream=stream,
        tree=Tree(data=body),
        output_tokens=limit,
        text_bytes=size,
        needs=_STREAMED if stream else _NOTHING,
        usage_chunk=None if options is None else options.include_usage,
        plain=True,
        repeats=False,
    )


def quick_edit(inspected: Inspected, target: Target) -> tuple[bytes, tuple[Loss, ...]]:
    """What ``edit_request`` makes of a plain request: only its model, options and limits may have to change."""
    tree = inspected.tree
    assert isinstance(tree, Tree)
    body: dict[str, Any] = dict(tree.raw)
    body["model"] = target.model
    if inspected.stream:
        body["stream"] = True
        if inspected.usage_chunk is not True:
            body["stream_options"] = {"include_usage": True}
    losses = finish_body(body, target)
    return encode(body), tuple(losses)


def plain_request(inspected: Inspected) -> PlainRequest:
    """A plain request as other dialects may write it."""
    tree = inspected.tree
    assert isinstance(tree, Tree)
    asked = _read_request(tree.data)
    asked.max_tokens, asked.stream = inspected.output_tokens, inspected.stream
    return asked


# -- replies ---------------------------------------------------------------------------------------

_Count = Annotated[int, Meta(ge=0, le=MAX_COUNT)]


class _Message(msgspec.Struct, forbid_unknown_fields=True):
    role: Literal["assistant"]
    content: str
    refusal: UnsetType | None = UNSET
    annotations: Annotated[list[str], Meta(max_length=0)] | UnsetType = UNSET


class _Choice(msgspec.Struct, forbid_unknown_fields=True):
    index: Literal[0]
    message: _Message
    finish_reason: Literal["stop", "length"]
    logprobs: None = None


class _Inputs(msgspec.Struct, forbid_unknown_fields=True):
    cached_tokens: _Count | UnsetType = UNSET
    audio_tokens: Literal[0] | UnsetType = UNSET


class _Outputs(msgspec.Struct, forbid_unknown_fields=True):
    reasoning_tokens: _Count | UnsetType = UNSET
    audio_tokens: Literal[0] | UnsetType = UNSET
    accepted_prediction_tokens: _Count | UnsetType = UNSET
    rejected_prediction_tokens: _Count | UnsetType = UNSET


class _Usage(msgspec.Struct, forbid_unknown_fields=True):
    prompt_tokens: _Count
    completion_tokens: _Count
    total_tokens: int
    prompt_tokens_details: _Inputs | UnsetType = UNSET
    completion_tokens_details: _Outputs | UnsetType = UNSET


class _Reply(msgspec.Struct, forbid_unknown_fields=True):
    id: str
    object: Literal["chat.completion"]
    created: Annotated[int, Meta(gt=0, lt=10**11)]
    model: Annotated[str, Meta(min_length=1)]
    choices: Annotated[list[_Choice], Meta(min_length=1, max_length=1)]
    usage: _Usage
    service_tier: str | UnsetType | None = UNSET
    system_fingerprint: str | None = None


class _Billed(_Usage):
    cost: Raw = Raw(b"0")
    credits_remaining: Raw = Raw(b"0")
    continued: Raw | UnsetType = UNSET


_read_reply = msgspec.json.Decoder(_Reply).decode


class QuickBody(msgspec.Struct, eq=False):
    """A plain whole reply, awaiting its bill."""

    _reply: _Reply
    observed: Observed

    def finish(self, bill: Bill) -> bytes:
        reply, metered = self._reply, bill.usage
        if metered is not None and metered.provenance is not Provenance.REPORTED:
            known = {name: getattr(reply, name) for name in reply.__struct_fields__}
            members = {name: value for name, value in known.items() if value is not UNSET}
            return encode({**members, "usage": usage_object(bill)})
        usage = reply.usage
        billed = _Billed(
            prompt_tokens=usage.prompt_tokens,
            completion_tokens=usage.completion_tokens,
            total_tokens=usage.total_tokens,
            prompt_tokens_details=usage.prompt_tokens_details,
            completion_tokens_details=usage.completion_tokens_details,
            cost=Raw(format_usd(bill.cost_pusd).encode()),
            credits_remaining=Raw(format_usd(bill.credits_remaining_pusd).encode()),
        )
        if bill.seams:
            billed.continued = Raw(encode(bill.seams))
        reply.usage = billed
        return encode(reply)


def quick_reply(body: bytes) -> QuickBody | None:
    """What ``pass_reply`` makes of a plain reply to a request in the modern style; None of any other."""
    try:
        reply = _read_reply(body)
    except NOT_JSON:
        return None
    usage = _usage_of(reply)
    if usage is None or not is_reply_id(reply.id):
        return None
    choice = reply.choices[0]
    observed = Observed(
        content_started=True,
        ended=True,
        usage=usage,
        finish=choice.finish_reason,
        native_finish=choice.finish_reason,
        output_chars=len(choice.message.content),
        upstream_id=reply.id,
        upstream_model=reply.model,
        reply_id=reply.id,
    )
    return QuickBody(reply, observed)


def tell_plain(reply: PlainReply, context: ReplyContext, bill: Bill) -> bytes:
    """What ``encode_reply`` makes of a plain reply of another dialect."""
    choice: dict[str, Any] = {
        "index": 0,
        "message": {"role": "assistant", "content": reply.text, "refusal": None},
        "logprobs": None,
        "finish_reason": reply.finish,
    }
    if reply.native_finish != reply.finish:
        choice["native_finish_reason"] = reply.native_finish
    return encode(
        {
            "id": reply.id if is_reply_id(reply.id) else context.reply_id,
            "object": "chat.completion",
            "created": context.created_s,
            "model": reply.model or context.model,
            "choices": [choice],
            "usage": usage_object(bill),
            "system_fingerprint": None,
        }
    )


def _usage_of(reply: _Reply) -> Usage | None:
    """The counts, if they add up and say all that there is."""
    usage, tier = reply.usage, reply.service_tier
    if tier is UNSET or tier is None:
        tier = None
    elif tier not in TIERS:
        return None
    inputs, outputs = usage.prompt_tokens_details, usage.completion_tokens_details
    cached = 0 if inputs is UNSET or inputs.cached_tokens is UNSET else inputs.cached_tokens
    thought = 0 if outputs is UNSET or outputs.reasoning_tokens is UNSET else outputs.reasoning_tokens
    prompt, completion = usage.prompt_tokens, usage.completion_tokens
    if cached > prompt or thought > completion or prompt + completion != usage.total_tokens:
        return None
    return Usage(
        input_tokens=prompt - cached,
        cache_read_tokens=cached,
        output_tokens=completion - thought,
        reasoning_tokens=thought,
        service_tier=tier,
    )
