"""Look at a request: refuse what the API itself refuses, measure the rest. Nothing is decoded.

https://docs.anthropic.com/en/api/messages
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from llm_router.domain.errors import InvalidRequest
from llm_router.wire import media
from llm_router.wire.asked import stand_in
from llm_router.wire.chat import Raw
from llm_router.wire.dialect import Inspected
from llm_router.wire.dialects.anthropic_messages.usage import priced_tier
from llm_router.wire.hosted import Hosted
from llm_router.wire.routed import routing_of
from llm_router.wire.verbatim import NOT_JSON, members

THINKING_BUDGET_MIN = 1024

TOKENS_MAX = 10**8
"""The largest token limit that is believed."""


class Tree(msgspec.Struct, frozen=True, kw_only=True):
    """The parse of a request: top-level members verbatim, and all of it as plain values."""

    raw: dict[str, Raw]
    body: dict[str, Any]


def inspect(data: bytes, path_model: str | None, path_stream: bool | None) -> Inspected:
    """Validate and measure a request of ``POST /v1/messages``.

    Raises:
        InvalidRequest: with ``param`` set, for whatever the API itself refuses.
    """
    return _inspect(data, path_model, path_stream, output_limit=True)


def inspect_count_tokens(data: bytes, path_model: str | None, path_stream: bool | None) -> Inspected:
    """The same for ``POST /v1/messages/count_tokens``, which has no ``max_tokens``.

    Raises:
        InvalidRequest: with ``param`` set.
    """
    return _inspect(data, path_model, path_stream, output_limit=False)


def _inspect(
    data: bytes, path_model: str | None, path_stream: bool | None, *, output_limit: bool
) -> Inspected:
    tree = _parse(data)
    body = tree.body
    model = body.get("model") if path_model is None else path_model
    if model is None:
        model = stand_in(body)
    if not isinstance(model, str) or not model:
        raise _refuse("model", 'a model\'s name, such as "claude-sonnet-4-5", is required')
    limit = _integer(body, "max_tokens", 0, TOKENS_MAX)
    if limit is None and output_limit:
        raise _refuse("max_tokens", "field required: the most tokens that may be generated")
    _check_options(body)
    measure = _Measure()
    measure.system(body.get("system"))
    measure.messages(body.get("messages"))
    measure.tools(body.get("tools"))
    if _json_schema(body) is not None:
        measure.needs.add("json_schema")
        measure.plain(_json_schema(body))
    if limit == 0 and output_limit:
        measure.needs.add("no_output")
    if body.get("mcp_servers"):
        measure.hosted.lookup()
    measure.needs |= measure.hosted.needs()
    stream = body.get("stream") is True if path_stream is None else path_stream
    if stream:
        measure.needs.add("stream")
    user = (body.get("metadata") or {}).get("user_id")
    return Inspected(
        model=model,
        stream=stream,
        tree=tree,
        output_tokens=limit,
        text_bytes=measure.text_bytes,
        images=measure.images,
        file_bytes=measure.file_bytes,
        beside=measure.hosted.beside(),
        needs=frozenset(measure.needs),
        media_urls=tuple(measure.urls),
        session=user,
        service_tier=priced_tier(body),
        routing=routing_of(body),
    )


def _refuse(param: str, why: str) -> InvalidRequest:
    return InvalidRequest(f"{param}: {why}", param=param)


def _parse(data: bytes) -> Tree:
    raw = members(data)
    try:
        body = msgspec.json.decode(data)
    except NOT_JSON as error:
        why = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise InvalidRequest(f"The request body is not valid JSON: {why}", param="body") from None
    if raw is None or not isinstance(body, dict):
        raise InvalidRequest("The request body must be a JSON object.", param="body")
    return Tree(raw=raw, body=body)


def _json_schema(body: dict[str, Any]) -> object:
    config = body.get("output_config")
    found = config.get("format") if isinstance(config, dict) else None
    return found if found is not None else body.get("output_format")


def _check_options(body: dict[str, Any]) -> None:
    for name, low, high in (("temperature", 0.0, 1.0), ("top_p", 0.0, 1.0)):
        number = body.get(name)
        if number is None:
            continue
        if isinstance(number, bool) or not isinstance(number, int | float) or not low <= number <= high:
            raise _refuse(name, f"must be a number from {low:g} to {high:g}")
    _integer(body, "top_k", 0, None)
    if body.get("stream") is not None and not isinstance(body["stream"], bool):
        raise _refuse("stream", "must be true or false")
    stops = body.get("stop_sequences")
    if stops is not None and not (isinstance(stops, list) and all(isinstance(s, str) for s in stops)):
        raise _refuse("stop_sequences", "must be a list of texts")
    for name in ("metadata", "thinking", "tool_choice", "output_config", "cache_control"):
        if body.get(name) is not None and not isinstance(body[name], dict):
            raise _refuse(name, "must be an object")
    user = (body.get("metadata") or {}).get("user_id")
    if user is not None and not isinstance(user, str):
        raise _refuse("metadata.user_id", "must be a text")
    if body.get("service_tier") is not None and not isinstance(body["service_tier"], str):
        raise _refuse("service_tier", "must be a text")
    _check_thinking(body.get("thinking") or {})
    _check_choice(body.get("tool_choice"))


def _check_thinking(thinking: dict[str, Any]) -> None:
    if thinking.get("type") != "enabled":
        return
    if _integer(thinking, "budget_tokens", THINKING_BUDGET_MIN, TOKENS_MAX, "thinking.") is None:
        raise _refuse("thinking.budget_tokens", "field required when thinking is enabled")


def _check_choice(choice: dict[str, Any] | None) -> None:
    if choice is None:
        return
    if choice.get("type") not in ("auto", "any", "tool", "none"):
        raise _refuse("tool_choice.type", "must be one of auto, any, tool and none")
    if choice["type"] == "tool" and not isinstance(choice.get("name"), str):
        raise _refuse("tool_choice.name", "field required: the tool to use")


def _integer(body: dict[str, Any], name: str, low: int, high: int | None, path: str = "") -> int | None:
    number = body.get(name)
    if number is None:
        return None
    if isinstance(number, bool) or not isinstance(number, int):
        raise _refuse(path + name, "must be a whole number")
    if number < low:
        raise _refuse(path + name, f"must be at least {low}")
    if high is not None and number > high:
        raise _refuse(path + name, f"must be at most {high}")
    return number


class _Measure:
    """Walks a request once and adds up what it holds."""

    def __init__(self) -> None:
        self.text_bytes = 0
        self.images = 0
        self.file_bytes = 0
        self.needs: set[str] = set()
        self.urls: list[tuple[str, str]] = []
        self.hosted = Hosted()

    def system(self, system: object) -> None:
        if system is None:
            return
        if isinstance(system, str):
            self.plain(system)
            return
        if not isinstance(system, list):
            raise _refuse("system", "must be a text or a list of text blocks")
        for number, block in enumerate(system):
            if not isinstance(block, dict) or not isinstance(block.get("text"), str):
                raise _refuse(f"system.{number}", "must be a text block")
            self.plain(block["text"])

    def messages(self, messages: object) -> None:
        if not isinstance(messages, list):
            raise _refuse("messages", "field required: a list of messages")
        if not messages:
            raise _refuse("messages", "at least one message is required")
        for number, message in enumerate(messages):
            where = f"messages.{number}"
            if not isinstance(message, dict):
                raise _refuse(where, "must be an object with role and content")
            if message.get("role") not in ("user", "assistant", "system"):
                raise _refuse(f"{where}.role", 'must be "user", "assistant" or "system"')
            self.content(message.get("content"), f"{where}.content")

    def content(self, content: object, where: str) -> None:
        if isinstance(content, str):
            self.plain(content)
            return
        if not isinstance(content, list):
            raise _refuse(where, "field required: a text or a list of content blocks")
        for number, block in enumerate(content):
            if not isinstance(block, dict) or not isinstance(block.get("type"), str):
                raise _refuse(f"{where}.{number}", "must be an object with a type")
            self.block(block, f"{where}.{number}")

    def block(self, block: dict[str, Any], where: str) -> None:
        kind = block["type"]
        for name in _REQUIRED.get(kind, ()):
            if not isinstance(block.get(name), str):
                raise _refuse(f"{where}.{name}", "field required: a text")
        if kind in ("text", "thinking"):
            self.plain(block[kind])
        elif kind in ("image", "document"):
            self.media(block, kind, where)
        elif kind == "tool_use":
            if not isinstance(block.get("input"), dict):
                raise _refuse(f"{where}.input", "field required: an object")
            self.plain(block["name"])
            self.plain(block["input"])
        elif kind == "tool_result":
            if block.get("content") is not None:
                self.content(block["content"], f"{where}.content")
        elif kind != "redacted_thinking":
            self.plain({name: part for name, part in block.items() if name not in _UNCOUNTED})

    def media(self, block: dict[str, Any], kind: str, where: str) -> None:
        source = block.get("source")
        if not isinstance(source, dict) or not isinstance(source.get("type"), str):
            raise _refuse(f"{where}.source", "field required: an object with a type")
        form = "image" if kind == "image" else "file"
        if source["type"] == "text":
            self.plain(source.get("data"))
            return
        if source["type"] == "content":
            self.plain(source.get("content"))
            return
        self.needs.add(form)
        data = source.get("data")
        size = len(data) if isinstance(data, str) else 0
        if form == "image":
            self.images += 1
        else:
            self.file_bytes += size
        url = source.get("url")
        if isinstance(url, str) and media.is_http_url(url):
            self.urls.append((form, url))
        elif not size:
            self.hosted.unseen(form)

    def tools(self, tools: object) -> None:
        if tools is None:
            return
        if not isinstance(tools, list):
            raise _refuse("tools", "must be a list of tools")
        for number, tool in enumerate(tools):
            if not isinstance(tool, dict):
                raise _refuse(f"tools.{number}", "must be an object")
            if tool.get("type") in (None, "custom"):
                if not isinstance(tool.get("name"), str) or not tool["name"]:
                    raise _refuse(f"tools.{number}.name", "field required: a text")
                if not isinstance(tool.get("input_schema"), dict):
                    raise _refuse(
                        f"tools.{number}.input_schema", "field required: a JSON schema of an object"
                    )
            else:
                self.hosted_tool(tool)
            self.plain(tool)
        if tools:
            self.needs.add("tools")

    def hosted_tool(self, tool: dict[str, Any]) -> None:
        """Note a tool that is named by its type: https://docs.claude.com/en/docs/agents-and-tools/tool-use/overview"""
        kind = tool["type"]
        name = _DATED.sub("", kind) if isinstance(kind, str) else ""
        if name == "web_search":
            self.hosted.search(tool.get("max_uses"))
        elif name in ("web_fetch", "advisor", "mcp_toolset"):
            self.hosted.lookup(tool.get("max_uses"))
        elif name and not name.startswith(_CLIENTS):
            self.hosted.tool(name, tool.get("max_uses"))

    def plain(self, found: object) -> None:
        """Add the UTF-8 bytes of a text, or of all keys and values of a structure."""
        if isinstance(found, str):
            self.text_bytes += len(found) if found.isascii() else len(found.encode("utf-8", "replace"))
        elif isinstance(found, dict):
            for name, part in found.items():
                self.plain(name)
                self.plain(part)
        elif isinstance(found, list):
            for part in found:
                self.plain(part)
        elif found is not None:
            self.text_bytes += 4  # a number or a truth value is a token or two


_REQUIRED: dict[str, tuple[str, ...]] = {
    "text": ("text",),
    "thinking": ("thinking",),
    "redacted_thinking": ("data",),
    "tool_use": ("id", "name"),
    "tool_result": ("tool_use_id",),
}
_CLIENTS = ("computer", "bash", "text_editor", "memory", "tool_search_tool")
"""Tools that clients run, and those that only choose among the others."""

_DATED = re.compile(r"_20\d{6}$")
_UNCOUNTED = ("type", "signature", "cache_control", "encrypted_content")
