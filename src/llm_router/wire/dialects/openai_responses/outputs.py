"""Output items of a response as canonical parts.

Items that only the provider runs (web_search_call, mcp_call, code_interpreter_call, ...) stay
verbatim: they are never calls of the client's tools.
https://platform.openai.com/docs/api-reference/responses/object#responses/object-output
"""

from __future__ import annotations

from typing import Any, Final

from llm_router.wire.chat import Media, Opaque, Part, Refusal, Text, Thinking, ToolCall
from llm_router.wire.dialects.openai_responses.content import CONTENT, citations
from llm_router.wire.dialects.openai_responses.seal import (
    call_state,
    reasoning_texts,
    state_of,
    told_state,
)
from llm_router.wire.dialects.openai_responses.words import NAME, SEPARATOR, objects, seed_of, text_of
from llm_router.wire.media import sniff
from llm_router.wire.verbatim import dump, encode

CALLS: Final = {"function_call": "arguments", "custom_tool_call": "input"}
"""Items that are calls of the client's tools, with the member that holds what they are called with."""

_FORMATS: Final = {
    "png": "image/png",
    "webp": "image/webp",
    "jpeg": "image/jpeg",
    "gif": "image/gif",
    "svg": "image/svg+xml",
}


def is_call(item: dict[str, Any]) -> bool:
    """Whether an item calls a client's tool. One without a name calls none."""
    return text_of(item.get("type")) in CALLS and text_of(item.get("name")) != ""


def item_parts(item: dict[str, Any], seed: str, number: int) -> list[Part]:
    """The parts of an item. ``seed`` and ``number`` are for the id of a call that came without one."""
    kind = item.get("type")
    if kind == "message":
        return [content_part(part, item) for part in objects(item.get("content"))]
    if kind == "reasoning":
        return [thinking_part(item)]
    if is_call(item):
        return [call_part(item, seed, number)]
    image = image_part(item)
    return [image if image is not None else opaque_part(item)]


def content_part(part: dict[str, Any], item: dict[str, Any]) -> Part:
    """A content part of an assistant's message."""
    kind = text_of(part.get("type"))
    text, refusal = part.get("text"), part.get("refusal")
    if kind in ("output_text", "text") and isinstance(text, str):
        state = told_state(item, text)
        return Text(
            text=text,
            citations=citations(part.get("annotations")),
            signature=state,
            origin=None if state is None else NAME,
        )
    if kind == "refusal" and isinstance(refusal, str):
        return Refusal(text=refusal)
    return Opaque(dialect=NAME, name=CONTENT + kind, raw=dump(part))


def thinking_part(item: dict[str, Any]) -> Thinking:
    texts = reasoning_texts(item)
    return Thinking(
        text=SEPARATOR.join(text for _, text in texts),
        signature=state_of(item, texts),
        id=text_of(item.get("id")) or None,
        origin=NAME,
    )


def call_part(item: dict[str, Any], seed: str, number: int) -> ToolCall:
    state = call_state(item)
    return ToolCall(
        id=call_id(item, seed, number),
        name=item["name"],
        arguments=arguments_of(item),
        custom=item["type"] == "custom_tool_call",
        signature=state,
        origin=None if state is None else NAME,
    )


def call_id(item: dict[str, Any], seed: str, number: int) -> str:
    """The call's id; one that came without gets the same one for the same reply."""
    return text_of(item.get("call_id")) or text_of(item.get("id")) or f"call_{seed_of(seed)}_{number}"


def arguments_of(item: dict[str, Any]) -> str:
    """What a call is called with. A whole call of a function without arguments has ``{}``."""
    value = item.get(CALLS[item["type"]])
    text = value if isinstance(value, str) else "" if value is None else encode(value).decode()
    if (
        text.strip() in ("", "null")
        and item["type"] == "function_call"
        and item.get("status") != "incomplete"
    ):
        return "{}"
    return text


def image_part(item: dict[str, Any]) -> Media | None:
    """A generated image; None for any other item, and for one without its bytes."""
    data = item.get("result")
    if item.get("type") != "image_generation_call" or not isinstance(data, str) or not data:
        return None
    media_type = sniff(data) or _FORMATS.get(text_of(item.get("output_format")), "image/png")
    return Media(form="image", data=data, media_type=media_type)


def opaque_part(item: dict[str, Any]) -> Opaque:
    return Opaque(dialect=NAME, name=text_of(item.get("type")) or "unknown", raw=dump(item))


def logprobs_of(part: dict[str, Any]) -> list[Any]:
    """The log probabilities of a text, which have the form of chat completions."""
    found = part.get("logprobs")
    known = found if isinstance(found, list) else []
    return [entry for entry in known if isinstance(entry, dict) and isinstance(entry.get("token"), str)]
