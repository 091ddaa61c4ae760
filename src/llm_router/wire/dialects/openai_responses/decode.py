"""Requests: wire to canonical. Never fails on members and items that it has not heard of."""

from __future__ import annotations

from typing import Any, Final, cast

import msgspec

from llm_router.wire.asked import Tree
from llm_router.wire.chat import (
    ChatRequest,
    Media,
    Message,
    Opaque,
    Part,
    Raw,
    Reasoning,
    ResponseFormat,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from llm_router.wire.dialect import Inspected
from llm_router.wire.dialects.openai_responses.content import CONTENT, decode_content
from llm_router.wire.dialects.openai_responses.seal import (
    CALL_MEMBERS,
    FINAL,
    call_state,
    message_state,
    reasoning_texts,
    state_of,
    unseal,
)
from llm_router.wire.dialects.openai_responses.words import (
    ENCRYPTED,
    LOGPROBS,
    NAME,
    SEPARATOR,
    STATE,
    kind_of,
    text_of,
)
from llm_router.wire.loss import Losses
from llm_router.wire.routed import MEMBERS
from llm_router.wire.verbatim import dump

TOOL_MEMBER: Final = "tools[]."
"""Prefix of extras that hold a member of function tools which the canonical form lacks, by tool name."""

_SAID: Final = frozenset(
    (
        "model", "input", "instructions", "stream", "stream_options", "tools", "tool_choice",
        "parallel_tool_calls", "max_output_tokens", "temperature", "top_p", "top_logprobs", "text",
        "reasoning", "user", "metadata", "service_tier", "prompt_cache_key", "include", *MEMBERS,
    )
)  # fmt: skip

_NOTHING: Final = {"store": False, "background": False, "truncation": "disabled"}
"""Members that ask for nothing by these values."""

_TOOL_KNOWN: Final = frozenset(("type", "name", "description", "parameters", "strict", "format"))
_KNOWN_ITEMS: Final = (
    "item_reference", "additional_tools", "configuration_update", "compaction", "compaction_trigger", "program",
)  # fmt: skip
_MODELS_OWN: Final = ("_call", "_output", "_request", "_response", "_list_tools")
"""Endings of items about tools that the provider runs. They are losses elsewhere; unknown items are refused."""

_CLIENT_ITEMS: Final = ("item_reference", "additional_tools", "configuration_update")


def decode_request(inspected: Inspected) -> ChatRequest:
    """The canonical form of a request that ``inspect`` has checked."""
    tree = cast(Tree, inspected.tree)
    body, raw = tree.body, tree.raw
    extras = {
        name: raw[name]
        for name, value in body.items()
        if name not in _SAID
        and value is not None
        and _NOTHING.get(name) != value
        and not (inspected.keeps_state and name in STATE)
    }
    include = body.get("include") or []
    if rest := [item for item in include if item not in (ENCRYPTED, LOGPROBS)]:
        extras["include"] = dump(rest)
    text = body.get("text") or {}
    conversation = _conversation(body)
    return ChatRequest(
        model=inspected.model,
        messages=conversation.end(),
        dialect=NAME,
        stream=inspected.stream,
        tools=tuple(_tool(tool, extras) for tool in body.get("tools") or ()),
        tool_choice=_tool_choice(body.get("tool_choice"), extras),
        parallel_tool_calls=body.get("parallel_tool_calls"),
        max_tokens=body.get("max_output_tokens"),
        temperature=body.get("temperature"),
        top_p=body.get("top_p"),
        logprobs=True if LOGPROBS in include else None,
        top_logprobs=body.get("top_logprobs") or None,
        response_format=_response_format(text.get("format")),
        reasoning=_reasoning(body.get("reasoning"), extras),
        verbosity=text.get("verbosity"),
        user=body.get("user"),
        metadata=raw["metadata"] if body.get("metadata") else None,
        service_tier=inspected.service_tier,
        prompt_cache_key=body.get("prompt_cache_key"),
        extras=extras,
        beside=tuple(conversation.beside.found),
        unread=tuple(conversation.unread),
    )


# -- input -----------------------------------------------------------------------------------------


def _conversation(body: dict[str, Any]) -> _Conversation:
    conversation = _Conversation()
    if body.get("instructions"):
        conversation.add("system", [Text(text=body["instructions"])])
    given = body.get("input")
    if isinstance(given, str):
        conversation.add("user", [Text(text=given)])
    else:
        for number, item in enumerate(given or ()):
            conversation.item(item, f"input[{number}]")
    return conversation


class _Conversation:
    """Groups items into turns: the model's items between two of the client's are one message."""

    def __init__(self) -> None:
        self._out: list[Message] = []
        self._answer: list[Part] = []  # the model's turn so far
        self._results: list[Part] = []  # tool results in a row
        self._aside: list[Part] = []  # items of the client's that await its next message
        self._names: dict[str, str] = {}
        self.beside = Losses()
        self.unread: list[tuple[str, str]] = []

    def item(self, item: dict[str, Any], at: str) -> None:
        match kind_of(item):
            case "message":
                self._message(item, at)
            case "reasoning":
                self._say(_thinking(item))
            case "function_call":
                self._call(item, item["arguments"] or "{}", custom=False)
            case "custom_tool_call":
                self._call(item, item["input"], custom=True)
            case "function_call_output":
                self._result(item, at, custom=False)
            case "custom_tool_call_output":
                self._result(item, at, custom=True)
            case kind:
                if not (kind in _KNOWN_ITEMS or kind.endswith(_MODELS_OWN)):
                    self.unread.append((at, kind))
                part = Opaque(dialect=NAME, name=kind, raw=dump(item))
                if kind in _CLIENT_ITEMS or kind.endswith(("_output", "_response")):
                    self._flush(aside=False)
                    self._aside.append(part)
                else:
                    self._say(part)

    def add(self, role: Any, parts: list[Part]) -> None:
        if role == "user":
            self._flush(aside=False)
            parts = [*self._aside, *parts]
            self._aside = []
        else:
            self._flush()
        self._out.append(Message(role=role, parts=tuple(parts)))

    def end(self) -> tuple[Message, ...]:
        self._flush()
        return tuple(self._out)

    def _read(self, content: object, at: str) -> list[Part]:
        """The parts of what the client says; those of no known kind are noted."""
        parts = decode_content(content)
        for number, part in enumerate(parts):
            if isinstance(part, Opaque):
                self.unread.append((f"{at}[{number}]", part.name.removeprefix(CONTENT)))
        return parts

    def _message(self, item: dict[str, Any], at: str) -> None:
        if item["role"] != "assistant":
            self.add(item["role"], self._read(item["content"], f"{at}.content"))
            return
        parts = decode_content(item["content"])
        if item.get("phase") not in (None, FINAL):
            self.beside.add("input[].phase", "only the provider's own API tells answers from asides")
        for part in parts:
            if isinstance(part, Text) and (state := message_state(item, part.text)) is not None:
                part = msgspec.structs.replace(part, signature=state, origin=NAME)
            self._say(part)

    def _call(self, item: dict[str, Any], arguments: str, *, custom: bool) -> None:
        state = call_state(item)
        for name in CALL_MEMBERS if state is not None else ():
            if item.get(name) is not None:
                self.beside.add(f"input[].{name}", "only the provider's own API has it")
        self._names[item["call_id"]] = item["name"]
        self._say(
            ToolCall(
                id=item["call_id"], name=item["name"], arguments=arguments, custom=custom,
                signature=state, origin=None if state is None else NAME,
            )
        )  # fmt: skip

    def _result(self, item: dict[str, Any], at: str, *, custom: bool) -> None:
        if self._answer or self._aside:
            self._flush()
        said = self._read(item["output"], f"{at}.output")
        content = tuple(part for part in said if isinstance(part, Text | Media))
        call_id = item["call_id"]
        name = self._names.get(call_id) or text_of(item.get("name")) or None
        self._results.append(ToolResult(call_id=call_id, name=name, content=content, custom=custom))

    def _say(self, part: Part) -> None:
        if self._results or self._aside:
            self._flush()
        self._answer.append(part)

    def _flush(self, *, aside: bool = True) -> None:
        if self._answer:
            self._out.append(Message(role="assistant", parts=tuple(unseal(self._answer))))
            self._answer = []
        if self._results:
            self._out.append(Message(role="tool", parts=tuple(self._results)))
            self._results = []
        if self._aside and aside:
            self._out.append(Message(role="user", parts=tuple(self._aside)))
            self._aside = []


def _thinking(item: dict[str, Any]) -> Thinking:
    texts = reasoning_texts(item)
    return Thinking(
        text=SEPARATOR.join(text for _, text in texts),
        signature=state_of(item, texts),
        id=text_of(item.get("id")) or None,
        origin=NAME,
    )


# -- tools and options -----------------------------------------------------------------------------


def _tool(tool: dict[str, Any], extras: dict[str, Raw]) -> Tool:
    if tool["type"] not in ("function", "custom"):
        return Tool(name=tool["type"], dialect=NAME, raw=dump(tool))
    for name, value in tool.items():
        if name not in _TOOL_KNOWN and value is not None:
            held = msgspec.json.decode(extras.get(TOOL_MEMBER + name, b"{}"))
            extras[TOOL_MEMBER + name] = dump({**held, tool["name"]: value})
    if tool["type"] == "custom":
        format_ = tool.get("format")
        return Tool(
            name=tool["name"],
            description=tool.get("description"),
            custom=True,
            format=None if not isinstance(format_, dict) else dump(_grammar(format_)),
        )
    parameters, strict = tool.get("parameters"), tool.get("strict")
    return Tool(
        name=tool["name"],
        description=tool.get("description"),
        parameters=None if parameters is None else dump(parameters),
        strict=strict if isinstance(strict, bool) else None,
    )


def _grammar(format_: dict[str, Any]) -> dict[str, Any]:
    """A free-text tool's format as chat completions spell it, which is the canonical form."""
    if format_.get("type") != "grammar" or "grammar" in format_:
        return format_
    return {"type": "grammar", "grammar": {name: v for name, v in format_.items() if name != "type"}}


def _tool_choice(choice: Any, extras: dict[str, Raw]) -> ToolChoice | None:
    match choice:
        case None:
            return None
        case "none" | "auto" | "required":
            return ToolChoice(mode=choice)
        case {"type": "function" | "custom", "name": str(name)}:
            return ToolChoice(mode="tool", name=name)
        case {"type": "allowed_tools", "tools": [*tools]} if all(map(_names_tool, tools)):
            required = choice.get("mode") == "required"
            return ToolChoice(
                mode="required" if required else "auto", allowed=tuple(tool["name"] for tool in tools)
            )
    extras["tool_choice"] = dump(choice)
    return None


def _names_tool(tool: object) -> bool:
    return (
        isinstance(tool, dict)
        and tool.get("type") in ("function", "custom")
        and text_of(tool.get("name")) != ""
    )


def _response_format(format_: Any) -> ResponseFormat | None:
    match format_:
        case {"type": "text" | "json_object" as mode}:
            return ResponseFormat(mode=mode)
        case {"type": "json_schema", "schema": dict(schema)}:
            strict = format_.get("strict")
            return ResponseFormat(
                mode="json_schema",
                name=text_of(format_.get("name")) or None,
                description=text_of(format_.get("description")) or None,
                schema=dump(schema),
                strict=strict if isinstance(strict, bool) else None,
            )
    return None


def _reasoning(asked: dict[str, Any] | None, extras: dict[str, Raw]) -> Reasoning | None:
    if not asked:
        return None
    known = ("effort", "summary", "generate_summary")
    if rest := {name: value for name, value in asked.items() if name not in known and value is not None}:
        extras["reasoning"] = dump(rest)
    effort, summary = asked.get("effort"), asked.get("summary") or asked.get("generate_summary")
    if effort is None and summary is None:
        return None
    return Reasoning(
        effort=effort,
        summary=summary,
        enabled=False if effort == "none" else None,
        show=True if summary is not None else None,
    )
