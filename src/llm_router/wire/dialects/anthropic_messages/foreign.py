"""What of a client's blocks only this API reads: members beside a block's content, kinds of blocks.

https://docs.anthropic.com/en/api/messages#body-messages-content
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from llm_router.wire.loss import Loss, Losses

_PLAIN = ("text", "thinking", "redacted_thinking", "tool_use", "image")
_MODELS_OWN = ("_tool_use", "_tool_result")
"""Endings of blocks about tools that the provider runs: losses elsewhere, not content of the client's."""

_ASIDE = {
    "image": ("type", "source", "cache_control"),
    "document": ("type", "source", "cache_control", "title"),
    "search_result": ("type", "source", "cache_control", "title", "content"),
}
_CALLERS = ("caller", "toolset_name")
_DIRECT = {"type": "direct"}
"""The caller that goes without saying: the model itself."""


def members_beside(body: dict[str, Any]) -> tuple[Loss, ...]:
    """Members of documents, search results and calls: ``context``, ``citations``, ``caller``."""
    found = Losses()
    for _, _, block in _blocks(body):
        known = _ASIDE.get(block["type"])
        for name, value in block.items():
            if known is not None:
                aside = name not in known
            else:
                aside = block["type"] == "tool_use" and name in _CALLERS
            if aside and value is not None and not _goes_without_saying(name, value):
                found.add(f"messages[].content[].{name}", "only the Messages API has it")
    return tuple(found.found)


def _goes_without_saying(name: str, value: Any) -> bool:
    """Citations that are off; the model itself as the caller of a tool."""
    if not isinstance(value, dict):
        return False
    return not value.get("enabled") if name == "citations" else value == _DIRECT


def unread_blocks(body: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    """Path and kind of the client's blocks that no other API has a form for."""
    return tuple(
        (path, block["type"])
        for path, role, block in _blocks(body)
        if role == "user" and not _readable(block, in_result=".content." in path.partition(".content.")[2])
    )


def _readable(block: dict[str, Any], *, in_result: bool) -> bool:
    kind = block["type"]
    if kind in _PLAIN or kind == "tool_result" or kind.endswith(_MODELS_OWN) or in_result:
        return True  # what a tool's result holds stays readable as its JSON
    source = block.get("source")
    if kind == "search_result":
        return _texts(block.get("content"))
    if kind != "document" or not isinstance(source, dict):
        return False
    return _texts(source.get("content")) if source.get("type") == "content" else True


def _texts(content: object) -> bool:
    """Whether it is text, or text blocks alone."""
    if isinstance(content, str):
        return True
    if not isinstance(content, list) or not content:
        return False
    return all(isinstance(part, dict) and isinstance(part.get("text"), str) for part in content)


def _blocks(body: dict[str, Any]) -> Iterable[tuple[str, str, dict[str, Any]]]:
    """Path, role and value of every block of the conversation, those within tool results too."""
    for turn, message in enumerate(body.get("messages") or ()):
        yield from _inner(message.get("content"), f"messages.{turn}.content", message["role"])


def _inner(content: object, path: str, role: str) -> Iterable[tuple[str, str, dict[str, Any]]]:
    for number, block in enumerate(content if isinstance(content, list) else ()):
        if isinstance(block, dict) and isinstance(block.get("type"), str):
            yield f"{path}.{number}", role, block
            if block["type"] == "tool_result":
                yield from _inner(block.get("content"), f"{path}.{number}.content", role)
