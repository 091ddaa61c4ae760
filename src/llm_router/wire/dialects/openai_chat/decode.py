"""Requests: wire to canonical. Never fails on members that it has not heard of."""

from __future__ import annotations

from typing import Any, Final, Literal, cast

from llm_router.wire.asked import Tree
from llm_router.wire.chat import (
    CacheMark,
    ChatRequest,
    Media,
    Message,
    Opaque,
    Part,
    Raw,
    Reasoning,
    Refusal,
    ResponseFormat,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from llm_router.wire.dialect import Inspected
from llm_router.wire.dialects.openai_chat.mend import mend_calls, mend_fields
from llm_router.wire.dialects.openai_chat.parts import NAME, image_part, message_parts
from llm_router.wire.media import is_data_url, is_http_url, parse_data_url, sniff
from llm_router.wire.routed import MEMBERS
from llm_router.wire.verbatim import encode

GATEWAY_ONLY: Final = (*MEMBERS, "plugins", "transforms")
"""Members that speak to a router and not to a model (OpenRouter's names)."""

_SAID: Final = frozenset(
    (
        "model", "messages", "stream", "stream_options", "tools", "tool_choice", "functions", "function_call",
        "parallel_tool_calls", "max_tokens", "max_completion_tokens", "temperature", "top_p", "top_k",
        "frequency_penalty", "presence_penalty", "stop", "seed", "n", "logprobs", "top_logprobs",
        "response_format", "reasoning_effort", "reasoning", "thinking", "enable_thinking", "thinking_budget",
        "include_reasoning", "verbosity", "user", "metadata", "service_tier", "modalities",
        "prompt_cache_key", *GATEWAY_ONLY,
    )
)  # fmt: skip

_AUDIO = {"mp3": "audio/mpeg", "wav": "audio/wav", "m4a": "audio/mp4", "pcm16": "audio/pcm"}


def decode_request(inspected: Inspected) -> ChatRequest:
    """The canonical form of a request that ``inspect`` has checked."""
    tree = cast(Tree, inspected.tree)
    body, raw = tree.body, tree.raw
    limits = [v for n in ("max_tokens", "max_completion_tokens") if (v := body.get(n)) is not None]
    stop = body.get("stop")
    tools = tuple(_tool(tool) for tool in body.get("tools") or ()) + tuple(
        _function_tool(function) for function in body.get("functions") or ()
    )
    conversation = _Conversation()
    return ChatRequest(
        model=inspected.model,
        messages=conversation.decode(body["messages"]),
        dialect=NAME,
        stream=inspected.stream,
        tools=tools,
        tool_choice=_tool_choice(body.get("tool_choice")) or _function_choice(body.get("function_call")),
        parallel_tool_calls=False if inspected.legacy_functions else body.get("parallel_tool_calls"),
        max_tokens=max(limits) if limits else None,
        temperature=body.get("temperature"),
        top_p=body.get("top_p"),
        top_k=_whole(body.get("top_k")),
        frequency_penalty=body.get("frequency_penalty"),
        presence_penalty=body.get("presence_penalty"),
        stop=(stop,) if isinstance(stop, str) else tuple(stop or ()),
        seed=body.get("seed"),
        n=inspected.n,
        logprobs=body.get("logprobs"),
        top_logprobs=body.get("top_logprobs"),
        response_format=_response_format(body.get("response_format")),
        reasoning=reasoning_asked(body),
        verbosity=body.get("verbosity"),
        user=body.get("user"),
        metadata=raw["metadata"] if body.get("metadata") is not None else None,
        service_tier=inspected.service_tier,
        modalities=tuple(body.get("modalities") or ()),
        prompt_cache_key=body.get("prompt_cache_key"),
        extras={name: raw[name] for name, value in body.items() if name not in _SAID and value is not None},
        unread=tuple(conversation.unread),
    )


# -- messages --------------------------------------------------------------------------------------


class _Conversation:
    """Decodes messages in order: results are matched with the calls before them."""

    def __init__(self) -> None:
        self._names: dict[str, str] = {}  # of calls, by id
        self._custom: set[str] = set()
        self._open_functions: list[tuple[str, str]] = []  # legacy calls without a result: (name, id)
        self._turn = 0
        self.unread: list[tuple[str, str]] = []

    def decode(self, messages: list[dict[str, Any]]) -> tuple[Message, ...]:
        return tuple(self._message(message) for message in messages)

    def _message(self, message: dict[str, Any]) -> Message:
        self._turn += 1
        role, name = message["role"], message.get("name")
        content = message.get("content")
        match role:
            case "assistant":
                return Message(role="assistant", parts=self._assistant(message), name=name)
            case "tool":
                return Message(role="tool", parts=(self._result(message),))
            case "function":
                return Message(role="tool", parts=(self._function_result(message),))
        return Message(role=role, parts=tuple(self._read(content)), name=name)

    def _read(self, content: object) -> list[Part]:
        """The parts of what the client says; those of no known kind are noted."""
        parts = _parts(content)
        for number, part in enumerate(parts):
            if isinstance(part, Opaque):
                self.unread.append((f"messages[{self._turn - 1}].content[{number}]", part.name))
        return parts

    def _assistant(self, message: dict[str, Any]) -> tuple[Part, ...]:
        fields = dict(message)
        content = fields.get("content")
        listed: list[Part] = []
        if isinstance(content, list):
            listed = _parts(content)
            fields["content"] = None
        calls = fields.pop("tool_calls", None)
        if isinstance(fields.get("audio"), dict) and fields["audio"].get("id"):
            # a reference to speech that the provider keeps
            listed.append(Media(form="audio", file_id=fields.pop("audio")["id"], origin=NAME))
        mend_fields(fields)
        fields["tool_calls"] = mend_calls(calls, f"turn{self._turn}", cut=True)[0] if calls else []
        parts = message_parts(fields, f"legacy{self._turn}")
        shown = [part for part in parts if isinstance(part, ToolCall)]
        first = next((i for i, p in enumerate(parts) if not isinstance(p, Thinking)), len(parts))
        parts[first:first] = listed
        for call in shown:
            self._names[call.id] = call.name
            if call.custom:
                self._custom.add(call.id)
        if isinstance(fields.get("function_call"), dict) and shown:
            self._open_functions.append((shown[-1].name, shown[-1].id))
        return tuple(parts)

    def _result(self, message: dict[str, Any]) -> ToolResult:
        call_id = message["tool_call_id"]
        return ToolResult(
            call_id=call_id,
            name=self._names.get(call_id) or message.get("name"),
            content=self._result_content(message),
            custom=call_id in self._custom,
            cache=_cache(message),
        )

    def _function_result(self, message: dict[str, Any]) -> ToolResult:
        """A legacy result names its function; it answers the last open call of that name."""
        name = message["name"]
        for number in range(len(self._open_functions) - 1, -1, -1):
            if self._open_functions[number][0] == name:
                call_id = self._open_functions.pop(number)[1]
                break
        else:
            call_id = f"call_legacy{self._turn}_0"
        return ToolResult(call_id=call_id, name=name, content=self._result_content(message))

    def _result_content(self, message: dict[str, Any]) -> tuple[Text | Media, ...]:
        return tuple(part for part in self._read(message.get("content")) if isinstance(part, Text | Media))


def _parts(content: object) -> list[Part]:
    if content is None:
        return []
    if isinstance(content, str):
        return [Text(text=content)]
    assert isinstance(content, list)
    return [_part(part) for part in content]


def _part(part: dict[str, Any]) -> Part:
    found: Part | None = None
    match part["type"]:
        case "text":
            return Text(text=part["text"], cache=_cache(part))
        case "refusal":
            return Refusal(text=part["refusal"])
        case "image_url":
            found = _image(part)
        case "input_audio":
            audio = part["input_audio"]
            media_type = _AUDIO.get(audio["format"].lower(), f"audio/{audio['format'].lower()}")
            found = Media(form="audio", data=audio["data"], media_type=media_type, cache=_cache(part))
        case "video_url":
            found = _video(part)
        case "file":
            found = _file(part)
        case "thinking" | "reasoning":
            fields: dict[str, Any] = {"content": [part]}
            mend_fields(fields)
            found = Thinking(text=fields.get("reasoning_content", ""), origin=NAME)
    return found or Opaque(dialect=NAME, name=part["type"], raw=Raw(encode(part)))


def _image(part: dict[str, Any]) -> Media | None:
    image = image_part(part)
    holder = part["image_url"]
    detail = holder.get("detail") if isinstance(holder, dict) else None
    if image is None:
        return None
    return Media(
        form=image.form, url=image.url, data=image.data, media_type=image.media_type,
        detail=detail if isinstance(detail, str) else None, cache=_cache(part),
    )  # fmt: skip


def _video(part: dict[str, Any]) -> Media | None:
    holder = part["video_url"]
    url = holder["url"] if isinstance(holder, dict) else holder
    if is_http_url(url):
        return Media(form="video", url=url, cache=_cache(part))
    return _from_data_url("video", url, None, _cache(part))


def _file(part: dict[str, Any]) -> Media | None:
    file, cache = part["file"], _cache(part)
    name = file.get("filename")
    name = name if isinstance(name, str) else None
    data = file.get("file_data") or file.get("url")
    if not isinstance(data, str) or not data:
        return Media(form="file", file_id=file["file_id"], filename=name, origin=NAME, cache=cache)
    if is_http_url(data):
        return Media(form="file", url=data, filename=name, cache=cache)
    if is_data_url(data):
        return _from_data_url("file", data, name, cache)
    return Media(
        form="file", data=data, media_type=sniff(data) or "application/pdf", filename=name, cache=cache
    )


def _from_data_url(
    form: Literal["video", "file"], url: str, name: str | None, cache: CacheMark | None
) -> Media | None:
    try:
        media_type, data = parse_data_url(url)
    except ValueError:
        return None
    return Media(form=form, data=data, media_type=media_type, filename=name, cache=cache)


def _cache(part: dict[str, Any]) -> CacheMark | None:
    """A cache mark in Anthropic's form, or OpenAI's own breakpoint."""
    mark = part.get("cache_control")
    if not isinstance(mark, dict):
        mark = part.get("prompt_cache_breakpoint")
    if not isinstance(mark, dict):
        return None
    ttl = mark.get("ttl")
    return CacheMark(ttl=ttl if isinstance(ttl, str) else None)


# -- tools and options -----------------------------------------------------------------------------


def _tool(tool: dict[str, Any]) -> Tool:
    match tool.get("type", "function"):
        case "function":
            return _function_tool(tool["function"], _cache(tool) or _cache(tool["function"]))
        case "custom":
            custom = tool["custom"]
            format_ = custom.get("format")
            return Tool(
                name=custom["name"],
                description=custom.get("description"),
                custom=True,
                format=None if format_ is None else Raw(encode(format_)),
            )
    return Tool(name=tool["type"], dialect=NAME, raw=Raw(encode(tool)))


def _function_tool(function: dict[str, Any], cache: CacheMark | None = None) -> Tool:
    parameters, strict = function.get("parameters"), function.get("strict")
    return Tool(
        name=function["name"],
        description=function.get("description"),
        parameters=None if parameters is None else Raw(encode(parameters)),
        strict=strict if isinstance(strict, bool) else None,
        cache=cache,
    )


def _tool_choice(choice: Any) -> ToolChoice | None:
    match choice:
        case "none" | "auto" | "required":
            return ToolChoice(mode=choice)
        case "any":  # Mistral's word
            return ToolChoice(mode="required")
        case {"type": "function" | "custom" as kind}:
            return ToolChoice(mode="tool", name=choice[kind]["name"])
        case {"type": "allowed_tools", "allowed_tools": {"tools": [*tools]} as allowed}:
            names = tuple(name for tool in tools if (name := _tool_name(tool)) is not None)
            mode = allowed.get("mode")
            return ToolChoice(mode="required" if mode == "required" else "auto", allowed=names)
    return None


def _tool_name(tool: object) -> str | None:
    if not isinstance(tool, dict):
        return None
    inner = tool.get(str(tool.get("type")))
    name = inner.get("name") if isinstance(inner, dict) else tool.get("name")
    return name if isinstance(name, str) else None


def _function_choice(choice: Any) -> ToolChoice | None:
    match choice:
        case "none" | "auto":
            return ToolChoice(mode=choice)
        case {"name": str(name)}:
            return ToolChoice(mode="tool", name=name)
    return None


def _response_format(format_: Any) -> ResponseFormat | None:
    match format_:
        case {"type": "text" | "json_object" as mode}:
            return ResponseFormat(mode=mode)
        case {"type": "json_schema", "json_schema": dict(inner)}:
            schema = inner.get("schema")
            return ResponseFormat(
                mode="json_schema",
                name=_string(inner.get("name")),
                description=_string(inner.get("description")),
                schema=None if schema is None else Raw(encode(schema)),
                strict=inner["strict"] if isinstance(inner.get("strict"), bool) else None,
            )
    return None


def reasoning_asked(body: dict[str, Any]) -> Reasoning | None:
    """What the request says of reasoning, in the ways of OpenAI, OpenRouter, Anthropic and Alibaba.

    https://openrouter.ai/docs/use-cases/reasoning-tokens
    """
    said: dict[str, Any] = {}
    if isinstance(body.get("enable_thinking"), bool):
        said["enabled"] = body["enable_thinking"]
    if (budget := _whole(body.get("thinking_budget"))) is not None:
        said["budget_tokens"] = budget
    thinking = body.get("thinking")
    if isinstance(thinking, dict):
        kind = thinking.get("type")
        if kind in ("enabled", "disabled"):
            said["enabled"] = kind == "enabled"
        said["adaptive"] = kind == "adaptive"
        if (budget := _whole(thinking.get("budget_tokens"))) is not None:
            said["budget_tokens"] = budget
    asked = body.get("reasoning")
    if isinstance(asked, dict):
        said |= _openrouter_reasoning(asked)
    if isinstance(body.get("include_reasoning"), bool) and "show" not in said:
        said["show"] = body["include_reasoning"]
    if body.get("reasoning_effort") is not None:
        said["effort"] = body["reasoning_effort"]
    if said.get("effort") == "none":
        said["enabled"] = False
    return Reasoning(**said) if said else None


def _openrouter_reasoning(asked: dict[str, Any]) -> dict[str, Any]:
    said: dict[str, Any] = {}
    for name in ("effort", "summary"):
        if isinstance(asked.get(name), str):
            said[name] = asked[name]
    if (budget := _whole(asked.get("max_tokens"))) is not None:
        said["budget_tokens"] = budget
    if isinstance(asked.get("enabled"), bool):
        said["enabled"] = asked["enabled"]
    if isinstance(asked.get("exclude"), bool):
        said["show"] = not asked["exclude"]
    return said


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _string(value: object) -> str | None:
    return value if isinstance(value, str) else None
