"""What a stream of responses had said when it was broken off: its items, the last one perhaps unfinished.

https://platform.openai.com/docs/api-reference/responses-streaming
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from llm_router.wire.lenient import listing, load_object, mapping, text_of

_PARTS = {
    "response.content_part.added": ("content", "content_index"),
    "response.reasoning_summary_part.added": ("summary", "summary_index"),
}
_TEXTS = {
    "response.output_text.delta": ("content", "content_index", "text"),
    "response.reasoning_text.delta": ("content", "content_index", "text"),
    "response.refusal.delta": ("content", "content_index", "refusal"),
    "response.reasoning_summary_text.delta": ("summary", "summary_index", "text"),
}
_WHOLE = {
    "response.function_call_arguments.delta": "arguments",
    "response.custom_tool_call_input.delta": "input",
}


def items_of(events: Iterable[bytes]) -> list[dict[str, Any]]:
    """The output items of the events' data; those that were not done have the status ``incomplete``."""
    items: dict[int, dict[str, Any]] = {}
    for data in events:
        event = load_object(data) or {}
        place = event.get("output_index")
        if isinstance(place, int):
            _take(items, place, event)
    return [items[place] for place in sorted(items)]


def _take(items: dict[int, dict[str, Any]], place: int, event: dict[str, Any]) -> None:
    kind = text_of(event.get("type"))
    if kind == "response.output_item.added":
        items[place] = {**mapping(event.get("item")), "status": "incomplete"}
        return
    if kind == "response.output_item.done":
        items[place] = mapping(event.get("item"))
        return
    item = items.get(place)
    if item is None:
        return
    if kind in _PARTS:
        name, index = _PARTS[kind]
        _part(item, name, event.get(index)).update(mapping(event.get("part")))
    elif kind in _TEXTS:
        name, index, member = _TEXTS[kind]
        part = _part(item, name, event.get(index))
        part[member] = text_of(part.get(member)) + text_of(event.get("delta"))
    elif kind in _WHOLE:
        member = _WHOLE[kind]
        item[member] = text_of(item.get(member)) + text_of(event.get("delta"))


def _part(item: dict[str, Any], name: str, index: object) -> dict[str, Any]:
    """The part of an item at an index, made if it is not there; events come in order."""
    parts = item[name] = listing(item.get(name))
    place = index if isinstance(index, int) and 0 <= index <= len(parts) else len(parts)
    if place == len(parts):
        parts.append({})
    return mapping(parts[place])
