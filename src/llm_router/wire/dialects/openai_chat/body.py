"""A whole reply of an OpenAI-like provider, put right: what pass-through and decoding share."""

from __future__ import annotations

from typing import Any

import msgspec

from llm_router.domain.errors import UpstreamError
from llm_router.wire.dialects.openai_chat.errors import error_of, is_error, malformed
from llm_router.wire.dialects.openai_chat.finish import ERROR, failure_kind, meaning, native_word
from llm_router.wire.dialects.openai_chat.head import is_reply_id, mend_tier, text_of, whole_seconds
from llm_router.wire.dialects.openai_chat.mend import (
    PADDING,
    arguments_text,
    has_logprobs,
    mend_calls,
    mend_fields,
    whole_arguments,
)
from llm_router.wire.dialects.openai_chat.usage import NOTHING, Reading, read_usage
from llm_router.wire.lenient import load_object


class MendedBody(msgspec.Struct, kw_only=True):
    """A strict ``chat.completion`` without its usage, and what was learned from it.

    ``members`` are the top-level members but ``choices`` and ``usage``, with right id, object,
    created and model; ``raw_usage`` is the provider's own usage object.
    """

    members: dict[str, Any]
    choices: list[dict[str, Any]]
    raw_usage: object = None
    reading: Reading = NOTHING
    upstream_id: str = ""
    upstream_model: str = ""
    native_finish: str | None = None
    output_chars: int = 0
    reasoning_chars: int = 0
    flags: tuple[str, ...] = ()


def mend_body(data: bytes, *, reply_id: str = "", model: str = "", created_s: int = 0) -> MendedBody:
    """Read a whole reply and put it right.

    ``reply_id``, ``model`` and ``created_s`` stand in for what the provider does not say.

    Raises:
        UpstreamError: it is an error in place of a reply, or no reply at all.
    """
    body = load_object(data)
    if body is None:
        raise malformed("a reply that is not a JSON object")
    if is_error(body):
        raise error_of(body)
    choices = body.get("choices")
    if not isinstance(choices, list) or not choices:
        raise malformed("a reply without choices")
    upstream_id, upstream_model = text_of(body.get("id")), text_of(body.get("model"))
    members = _members(body, upstream_id, upstream_model, (reply_id, model, created_s))
    mended = MendedBody(members=members, choices=[], upstream_id=upstream_id, upstream_model=upstream_model)
    seed = reply_id or upstream_id
    for number, choice in enumerate(choices):
        if isinstance(choice, dict):
            _choice(mended, choice, number, seed)
    if not mended.choices:
        raise malformed("a reply without choices")
    if sorted(choice["index"] for choice in mended.choices) != list(range(len(mended.choices))):
        for number, choice in enumerate(mended.choices):
            choice["index"] = number
    _usage(mended, body)
    return mended


def _members(
    body: dict[str, Any], upstream_id: str, upstream_model: str, fallback: tuple[str, str, int]
) -> dict[str, Any]:
    head = {
        "id": upstream_id if is_reply_id(upstream_id) else fallback[0],
        "object": "chat.completion",
        "created": whole_seconds(body.get("created")) or fallback[2],
        "model": upstream_model or fallback[1],
    }
    dropped = {*head, "choices", "usage", "error", *PADDING}
    rest = {name: value for name, value in body.items() if name not in dropped}
    mend_tier(rest)
    rest.setdefault("system_fingerprint", None)  # some clients read it without asking
    return head | rest


def _choice(mended: MendedBody, choice: dict[str, Any], number: int, seed: str) -> None:
    native = native_word(choice)
    if native and meaning(native, tools=False) == ERROR:
        raise UpstreamError(
            f"The provider broke off the answer: {native}.", kind=failure_kind(native), native_code=native
        )
    choice.pop("delta", None)
    message = choice.get("message")
    if not isinstance(message, dict):
        message = choice["message"] = {}
    message["role"] = "assistant"
    message.setdefault("content", None)
    mend_fields(message)
    cut = meaning(native, tools=False) in ("length", "content_filter")
    calls = message.pop("tool_calls", None)
    if calls:
        right, _ = mend_calls(calls, seed, cut=cut, first=number * 1000)
        if right:
            message["tool_calls"] = right
        if not isinstance(calls, list) or len(right) != len(calls):
            mended.flags = (*mended.flags, "tool_call_unreadable")
    function = message.get("function_call")
    if function is not None and ("tool_calls" in message or not text_of(function.get("name"))):
        del message["function_call"]  # beside tool calls it only repeats them
        function = None
    if function is not None:
        function["arguments"] = whole_arguments(arguments_text(function.get("arguments")), cut=cut)
    word = meaning(native, tools="tool_calls" in message, legacy=function is not None)
    if choice.get("finish_reason") != word:
        choice["finish_reason"] = word
        if native is not None:
            choice.setdefault("native_finish_reason", native)
    index = choice.get("index")
    choice["index"] = index if isinstance(index, int) and not isinstance(index, bool) else number
    if not has_logprobs(choice.get("logprobs")):
        choice["logprobs"] = None
    _count(mended, message)
    if not mended.choices:
        mended.native_finish = text_of(choice.get("native_finish_reason")) or native
    mended.choices.append(choice)


def _count(mended: MendedBody, message: dict[str, Any]) -> None:
    """Count the characters that the client is shown."""
    for name in ("content", "refusal"):
        mended.output_chars += len(text_of(message.get(name)))
    mended.reasoning_chars += len(text_of(message.get("reasoning_content")))
    for call in message.get("tool_calls", ()):
        body = call.get("function") or call.get("custom")
        mended.output_chars += len(body["name"]) + len(body.get("arguments", body.get("input", "")))
    function = message.get("function_call")
    if isinstance(function, dict):
        mended.output_chars += len(text_of(function.get("name"))) + len(function["arguments"])


def _usage(mended: MendedBody, body: dict[str, Any]) -> None:
    raw = body.get("usage")
    second = body.get("x_groq")
    if not isinstance(raw, dict) and isinstance(second, dict):
        raw = second.get("usage")
    tier = body.get("service_tier")
    mended.raw_usage = raw
    mended.reading = read_usage(
        raw, visible=mended.output_chars > 0, service_tier=tier if isinstance(tier, str) and tier else None
    )
    mended.flags = (*mended.flags, *mended.reading.flags)
