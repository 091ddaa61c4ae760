"""Validate and measure a request, from one parse.

As strict as OpenAI's API where it matters for the bill or for translation, no stricter; unknown
members are left to the provider. https://platform.openai.com/docs/api-reference/chat/create
"""

from __future__ import annotations

from llm_router.wire.asked import first_text, model_of, parse
from llm_router.wire.dialect import Inspected
from llm_router.wire.dialects.openai_chat.checks import check_members, token_limit
from llm_router.wire.dialects.openai_chat.measure import measure
from llm_router.wire.dialects.openai_chat.quick import quick_inspect
from llm_router.wire.routed import routing_of

EXAMPLE = '{"model": "...", "messages": [...]}'


def inspect(body: bytes, path_model: str | None = None, path_stream: bool | None = None) -> Inspected:
    """Validate and measure a request.

    ``path_model`` and ``path_stream`` stand in for members that the body leaves out.

    Raises:
        InvalidRequest: with ``param`` set where a member is at fault.
    """
    quick = quick_inspect(body, path_stream)
    if quick is not None:
        return quick
    tree = parse(body, EXAMPLE)
    members = tree.body
    model = model_of(members, path_model)
    check_members(members)
    stream = members.get("stream")
    options = members.get("stream_options") or {}
    found = measure(tree.body, tree.raw)
    stream = bool(path_stream) if stream is None else stream
    return Inspected(
        model=model,
        stream=stream,
        tree=tree,
        output_tokens=token_limit(members),
        n=members.get("n") or 1,
        text_bytes=found.text_bytes,
        images=found.images,
        file_bytes=found.file_bytes,
        audio_bytes=found.audio_bytes,
        needs=frozenset((*found.needs, "stream") if stream else found.needs),
        usage_chunk=options.get("include_usage"),
        legacy_functions=bool(members.get("functions")) and not members.get("tools"),
        custom_tools=found.custom_tools,
        media_urls=tuple(found.media_urls),
        session=first_text(members, "session_id", "prompt_cache_key", "user"),
        service_tier=members.get("service_tier"),
        routing=routing_of(members),
    )
