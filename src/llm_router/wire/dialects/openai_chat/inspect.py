"""Validate and measure a request, from one parse.

As strict as OpenAI's API where it matters for the bill or for translation, no stricter; unknown
members are left to the provider. https://platform.openai.com/docs/api-reference/chat/create
"""

from __future__ import annotations

from llm_router.wire.asked import Tree, first_text, members_beside, model_of, parse
from llm_router.wire.cut import LEAST_BYTES, cut
from llm_router.wire.dialect import Inspected, Short
from llm_router.wire.dialects.openai_chat.checks import check_messages, check_options, token_limit
from llm_router.wire.dialects.openai_chat.measure import measure, measure_options
from llm_router.wire.dialects.openai_chat.quick import quick_inspect
from llm_router.wire.dialects.openai_chat.turns import Turns, read_turns
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
    short: Short | None = None
    shortened = cut(body) if len(body) >= LEAST_BYTES else None
    tree, turns = (None, None) if shortened is None else _quickly(shortened.short)
    if tree is None or turns is None or shortened is None or turns.found.cut != len(shortened.runs):
        tree, turns = _read(body)
    else:
        short = Short(shortened, tree)
    members = tree.members
    model = model_of(members, path_model)
    if turns is None:
        check_messages(members.get("messages"))
    check_options(members)
    found = measure(members["messages"]) if turns is None else turns.found
    stream = members.get("stream")
    options = members.get("stream_options") or {}
    measure_options(members, tree.raw, found)
    stream = bool(path_stream) if stream is None else stream
    if found.hosted is not None:
        found.needs |= found.hosted.needs()
    return Inspected(
        model=model,
        stream=stream,
        tree=tree if short is None else Tree(data=body, members=members, ids=tree.ids),
        short=short,
        output_tokens=token_limit(members),
        n=members.get("n") or 1,
        text_bytes=found.text_bytes,
        images=found.images,
        file_bytes=found.file_bytes,
        audio_bytes=found.audio_bytes,
        beside=None if found.hosted is None else found.hosted.beside(),
        needs=frozenset((*found.needs, "stream") if stream else found.needs),
        usage_chunk=options.get("include_usage"),
        legacy_functions=bool(members.get("functions")) and not members.get("tools"),
        custom_tools=found.custom_tools,
        media_urls=tuple(found.media_urls),
        session=first_text(members, "session_id", "prompt_cache_key", "user"),
        service_tier=members.get("service_tier"),
        routing=routing_of(members),
        repeats=turns is None or turns.repeats,
    )


def _read(body: bytes) -> tuple[Tree, Turns | None]:
    """A body, and its turns if they are as usual: else they have to be checked."""
    tree, turns = _quickly(body)
    return (parse(body, EXAMPLE), None) if tree is None else (tree, turns)


def _quickly(body: bytes) -> tuple[Tree | None, Turns | None]:
    """A body whose turns are as usual, and these."""
    beside = members_beside(body, "messages")
    if beside is not None:
        members, raw = beside
        legacy = "functions" in members or "function_call" in members
        turns = None if legacy else read_turns(raw["messages"])
        if turns is not None:
            return Tree(data=body, raw=raw, members=members, ids=turns.ids), turns
    return None, None
