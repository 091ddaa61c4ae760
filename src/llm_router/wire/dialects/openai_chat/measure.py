"""What a request holds that costs: bytes of text, media, and what a model must be able to do."""

from __future__ import annotations

from typing import Any

import msgspec

from llm_router.wire.hosted import Hosted
from llm_router.wire.media import is_http_url


class Measured(msgspec.Struct, kw_only=True):
    """See the members of the same name in :class:`wire.dialect.Inspected`. ``cut``: pictures that stand elsewhere
    (:mod:`wire.cut`)."""

    text_bytes: int = 0
    images: int = 0
    file_bytes: int = 0
    audio_bytes: int = 0
    needs: set[str] = msgspec.field(default_factory=set)
    media_urls: list[tuple[str, str]] = msgspec.field(default_factory=list)
    custom_tools: tuple[str, ...] = ()
    hosted: Hosted | None = None
    cut: int = 0

    def hosting(self) -> Hosted:
        """Where what the provider runs is noted."""
        if self.hosted is None:
            self.hosted = Hosted()
        return self.hosted


def measure(messages: list[dict[str, Any]]) -> Measured:
    """Measure checked messages."""
    found = Measured()
    for message in messages:
        _message(message, found)
    return found


def measure_options(members: dict[str, Any], raw: dict[str, msgspec.Raw], found: Measured) -> None:
    """Measure what stands beside the messages. Tools and schemas count with the bytes of their JSON."""
    tools = members.get("tools")
    if tools:
        found.needs.add("tools")
        found.text_bytes += len(bytes(raw["tools"]))
        found.custom_tools = tuple(t["custom"]["name"] for t in tools if t.get("type") == "custom")
        for tool in tools:
            if (kind := tool.get("type")) not in ("function", "custom", None):
                _hosted(kind, tool, found.hosting())
    for name in _SEARCHING:
        if members.get(name):
            found.hosting().search(1 if name == "web_search_options" else None)
    plugins = members.get("plugins")
    for plugin in plugins if isinstance(plugins, list) else ():
        if isinstance(plugin, dict) and plugin.get("id") == "web":
            found.hosting().search()
    if members.get("functions"):
        found.needs.add("tools")
        found.text_bytes += len(bytes(raw["functions"]))
    format_ = members.get("response_format")
    if format_ is not None and format_["type"] in ("json_object", "json_schema"):
        found.needs.add(format_["type"])
        found.text_bytes += len(bytes(raw["response_format"]))


_SEARCHING = ("web_search_options", "search_parameters", "enable_search")
"""Members that have the provider search: OpenAI's and Perplexity's, xAI's, Alibaba's."""


def _hosted(kind: object, tool: dict[str, Any], hosted: Hosted) -> None:
    """Note a tool of a kind that only the provider can run."""
    name = str(kind).rpartition(":")[2]
    inner = tool.get("parameters") or tool.get("function")
    inner = inner if isinstance(inner, dict) else {}
    if name.startswith("web_search") or inner.get("name") == "$web_search":
        hosted.search(inner.get("max_uses"))
    elif name == "mcp":
        hosted.lookup()
    else:
        hosted.tool(name)


def _message(message: dict[str, Any], found: Measured) -> None:
    content = message.get("content")
    if content.__class__ is str:
        found.text_bytes += _size(content)
    elif content is not None:
        for part in content:
            _part(part, found)
    if len(message) == 2 and content is not None:  # beside the role
        return
    for name in ("name", "reasoning_content", "refusal"):
        value = message.get(name)
        if isinstance(value, str):
            found.text_bytes += _size(value)
    for call in message.get("tool_calls") or ():
        custom = call.get("custom")
        body = custom if isinstance(custom, dict) else call["function"]
        found.text_bytes += _size(body["name"]) + _size(body.get("arguments") or body.get("input") or "")
    function = message.get("function_call")
    if function is not None:
        found.text_bytes += _size(function["name"]) + _size(function["arguments"])


def _part(part: dict[str, Any], found: Measured) -> None:
    kind = part["type"]
    match kind:
        case "text" | "refusal":
            found.text_bytes += _size(part[kind])
        case "image_url":
            found.images += 1
            _media("image", _url(part[kind]), found)
        case "video_url":
            url = _url(part[kind])
            found.file_bytes += 0 if is_http_url(url) else len(url)
            _media("video", url, found)
        case "input_audio":
            found.needs.add("audio")
            found.audio_bytes += len(part[kind]["data"])
        case "file":
            _file(part[kind], found)
        case _:  # unknown here: whatever text is in it will be counted by the provider
            found.text_bytes += len(msgspec.json.encode(part))


def _file(file: dict[str, Any], found: Measured) -> None:
    data = file.get("file_data") or file.get("url")
    if isinstance(data, str) and data:
        found.file_bytes += 0 if is_http_url(data) else len(data)
        _media("file", data, found)
    else:
        found.needs.add("file")
        found.hosting().unseen("file")


def _media(kind: str, url: str, found: Measured) -> None:
    found.needs.add(kind)
    if is_http_url(url):
        found.media_urls.append((kind, url))


def _url(holder: Any) -> str:
    return str(holder["url"] if isinstance(holder, dict) else holder)


def _size(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode())
