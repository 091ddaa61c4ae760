"""Validate and measure a request, from one parse.

As strict as OpenAI's API where it matters for the bill or for translation, no stricter; unknown
members and kinds of items are left to the provider.
https://platform.openai.com/docs/api-reference/responses/create
"""

from __future__ import annotations

from typing import Final

from llm_router.wire.asked import first_text, model_of, parse
from llm_router.wire.dialect import Inspected
from llm_router.wire.dialects.openai_responses.checks import check_members
from llm_router.wire.dialects.openai_responses.measure import measure
from llm_router.wire.routed import routing_of

ECHOED: Final = (
    "background", "conversation", "instructions", "max_output_tokens", "max_tool_calls", "metadata",
    "parallel_tool_calls", "previous_response_id", "prompt", "prompt_cache_key", "reasoning",
    "safety_identifier", "store", "temperature", "text", "tool_choice", "tools", "top_logprobs", "top_p",
    "truncation", "user",
)  # fmt: skip
"""Members of a request that its response repeats."""

EXAMPLE = '{"model": "...", "input": "..."}'


def inspect(body: bytes, path_model: str | None = None, path_stream: bool | None = None) -> Inspected:
    """Validate and measure a request.

    ``path_model`` and ``path_stream`` stand in for members that the body leaves out.

    Raises:
        InvalidRequest: with ``param`` set where a member is at fault.
    """
    tree = parse(body, EXAMPLE)
    members = tree.body
    model = model_of(members, path_model)
    check_members(members)
    found = measure(members, tree.raw)
    stream = members.get("stream")
    stream = bool(path_stream) if stream is None else stream
    found.needs |= found.hosted.needs()
    return Inspected(
        model=model,
        stream=stream,
        tree=tree,
        output_tokens=members.get("max_output_tokens"),
        text_bytes=found.text_bytes,
        images=found.images,
        file_bytes=found.file_bytes,
        audio_bytes=found.audio_bytes,
        beside=found.hosted.beside(),
        needs=frozenset((*found.needs, "stream") if stream else found.needs),
        custom_tools=found.custom_tools,
        media_urls=tuple(found.media_urls),
        session=first_text(members, "prompt_cache_key", "safety_identifier", "user"),
        service_tier=members.get("service_tier"),
        routing=routing_of(members),
        echo={name: tree.raw[name] for name in ECHOED if members.get(name) is not None},
    )
