"""What a request holds that costs: bytes of text, media, and what a model must be able to do."""

from __future__ import annotations

from typing import Any

import msgspec

from llm_router.wire.dialects.openai_responses.words import kind_of, objects, text_of
from llm_router.wire.hosted import Hosted
from llm_router.wire.media import is_http_url
from llm_router.wire.verbatim import encode


class Measured(msgspec.Struct, kw_only=True):
    """See the members of the same name in :class:`wire.dialect.Inspected`."""

    text_bytes: int = 0
    images: int = 0
    file_bytes: int = 0
    audio_bytes: int = 0
    needs: set[str] = msgspec.field(default_factory=set)
    media_urls: list[tuple[str, str]] = msgspec.field(default_factory=list)
    custom_tools: tuple[str, ...] = ()
    hosted: Hosted = msgspec.field(default_factory=Hosted)


def measure(body: dict[str, Any], raw: dict[str, msgspec.Raw]) -> Measured:
    """Measure a checked request. Tools and schemas count with the bytes of their JSON."""
    found = Measured(text_bytes=_size(text_of(body.get("instructions"))))
    given = body.get("input")
    if isinstance(given, str):
        found.text_bytes += _size(given)
    else:
        for item in given or ():
            _item(item, found)
    tools = body.get("tools")
    if tools:
        found.needs.add("tools")
        found.text_bytes += len(bytes(raw["tools"]))
        found.custom_tools = tuple(tool["name"] for tool in tools if tool["type"] == "custom")
        for tool in tools:
            if tool["type"] not in _CLIENTS:
                _hosted(tool, body.get("max_tool_calls"), found.hosted)
    format_ = (body.get("text") or {}).get("format")
    if format_ is not None and format_["type"] in ("json_object", "json_schema"):
        found.needs.add(format_["type"])
        found.text_bytes += len(bytes(raw["text"]))
    return found


_CLIENTS = frozenset(
    ("function", "custom", "namespace", "local_shell", "apply_patch", "computer", "computer_use",
     "computer_use_preview", "tool_search")
)  # fmt: skip
"""Tools that clients run, or that only choose among the others."""


def _hosted(tool: dict[str, Any], most: object, hosted: Hosted) -> None:
    """Note a tool that the provider runs: https://platform.openai.com/docs/guides/tools"""
    kind = tool["type"]
    if kind.startswith("web_search"):
        hosted.search(most)
    elif kind == "mcp":
        hosted.lookup(most)
    elif kind == "shell":
        place = tool.get("environment")
        if isinstance(place, dict) and str(place.get("type")).startswith("container"):
            hosted.tool(kind, most)
    else:
        hosted.tool(kind, most, tool.get("quality"))


def _item(item: dict[str, Any], found: Measured) -> None:
    match kind_of(item):
        case "message":
            _content(item["content"], found)
        case "function_call" | "custom_tool_call":
            found.text_bytes += _size(item["name"]) + _size(text_of(item.get("arguments", item.get("input"))))
        case "function_call_output" | "custom_tool_call_output":
            _content(item["output"], found)
        case "reasoning":
            texts = (*objects(item.get("summary")), *objects(item.get("content")))
            found.text_bytes += sum(_size(text_of(part.get("text"))) for part in texts)
        case "item_reference":
            pass
        case _:  # unknown here: whatever text is in it will be counted by the provider
            found.text_bytes += len(encode(item))


def _content(content: str | list[dict[str, Any]], found: Measured) -> None:
    if isinstance(content, str):
        found.text_bytes += _size(content)
        return
    for part in content:
        _part(part, found)


def _part(part: dict[str, Any], found: Measured) -> None:
    match part["type"]:
        case "input_text" | "output_text" | "text":
            found.text_bytes += _size(part["text"])
        case "refusal":
            found.text_bytes += _size(part["refusal"])
        case "input_image":
            found.images += 1
            _media("image", text_of(part.get("image_url")), found)
        case "input_file":
            data = text_of(part.get("file_data"))
            found.file_bytes += len(data)
            _media("file", text_of(part.get("file_url")), found)
            if not data and not is_http_url(text_of(part.get("file_url"))):
                found.hosted.unseen("file")
        case "input_audio":
            found.needs.add("audio")
            found.audio_bytes += len(part["input_audio"]["data"])
        case _:
            found.text_bytes += len(encode(part))


def _media(kind: str, url: str, found: Measured) -> None:
    found.needs.add(kind)
    if is_http_url(url):
        found.media_urls.append((kind, url))


def _size(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode())
