"""A request of this API to the canonical form."""

from __future__ import annotations

from typing import Any, cast

from llm_router.wire import chat
from llm_router.wire.chat import Raw
from llm_router.wire.dialect import Inspected
from llm_router.wire.dialects.anthropic_messages import seal
from llm_router.wire.dialects.anthropic_messages.blocks import decode_block
from llm_router.wire.dialects.anthropic_messages.facts import NAME, cache_mark
from llm_router.wire.dialects.anthropic_messages.foreign import members_beside, unread_blocks
from llm_router.wire.dialects.anthropic_messages.inspect import Tree
from llm_router.wire.routed import MEMBERS
from llm_router.wire.verbatim import dump, items, members, string, value

TOOL_MEMBER = "tools[]."
"""Prefix of extras that hold a member of function tools which the canonical form lacks, by tool name."""

_KNOWN = frozenset(
    (
        "model", "messages", "system", "max_tokens", "stream", "temperature", "top_p", "top_k", "stop_sequences",
        "tools", "tool_choice", "thinking", "output_config", "output_format", "metadata", "service_tier", *MEMBERS,
    )
)  # fmt: skip
_TOOL_KNOWN = frozenset(("type", "name", "description", "input_schema", "strict", "cache_control"))


def decode_request(inspected: Inspected) -> chat.ChatRequest:
    """The canonical form of an inspected request. Never fails on unknown members."""
    tree = cast(Tree, inspected.tree)
    raw, body = tree.raw, tree.body
    extras = {name: part for name, part in raw.items() if name not in _KNOWN}
    tools = tuple(_tool(part, extras) for part in items(raw.get("tools")) or ())
    choice, parallel = _tool_choice(body.get("tool_choice"))
    tier = body.get("service_tier")
    return chat.ChatRequest(
        model=inspected.model,
        messages=_messages(raw),
        dialect=NAME,
        stream=inspected.stream,
        tools=tools,
        tool_choice=choice,
        parallel_tool_calls=parallel,
        max_tokens=body.get("max_tokens"),
        temperature=_float(body.get("temperature")),
        top_p=_float(body.get("top_p")),
        top_k=body.get("top_k"),
        stop=tuple(body.get("stop_sequences") or ()),
        response_format=_response_format(raw, extras),
        reasoning=_reasoning(raw, body, extras),
        user=inspected.session,
        service_tier="default" if tier == "standard_only" else tier,
        extras=extras,
        beside=members_beside(body),
        unread=unread_blocks(body),
    )


def _float(number: Any) -> float | None:
    return None if number is None else float(number)


def _messages(raw: dict[str, Raw]) -> tuple[chat.Message, ...]:
    names: dict[str, str] = {}
    out: list[chat.Message] = []
    system = _parts(raw.get("system"), names)
    if system:
        out.append(chat.Message(role="system", parts=system))
    for item in items(raw.get("messages")) or ():
        message = members(item) or {}
        role = string(message.get("role"))
        parts = _parts(message.get("content"), names)
        if role == "assistant":
            out.append(chat.Message(role="assistant", parts=seal.unseal(parts)))
        elif role == "system":
            out.append(chat.Message(role="system", parts=parts))
        else:
            out.extend(_user(parts))
    return tuple(out)


def _parts(content: Raw | None, names: dict[str, str]) -> tuple[chat.Part, ...]:
    text = string(content)
    if text is not None:
        return (chat.Text(text=text),)
    return tuple(decode_block(block, names) for block in items(content) or ())


def _user(parts: tuple[chat.Part, ...]) -> list[chat.Message]:
    """A user turn as messages: runs of tool results have a message of their own."""
    out: list[chat.Message] = []
    run: list[chat.Part] = []
    role: chat.Role = "user"
    for part in parts:
        mine: chat.Role = "tool" if isinstance(part, chat.ToolResult) else "user"
        if mine != role and run:
            out.append(chat.Message(role=role, parts=tuple(run)))
            run = []
        role = mine
        run.append(part)
    if run or not out:
        out.append(chat.Message(role=role, parts=tuple(run)))
    return out


def _tool(raw: Raw, extras: dict[str, Raw]) -> chat.Tool:
    tool = members(raw) or {}
    kind = string(tool.get("type"))
    if kind not in (None, "custom"):
        return chat.Tool(name=kind or "", dialect=NAME, raw=raw)
    name = string(tool.get("name")) or ""
    for member, part in tool.items():
        if member not in _TOOL_KNOWN and bytes(part) != b"null":
            key = TOOL_MEMBER + member
            extras[key] = dump({**(members(extras.get(key)) or {}), name: part})
    strict = value(tool.get("strict"))
    return chat.Tool(
        name=name,
        description=string(tool.get("description")),
        parameters=tool.get("input_schema"),
        strict=strict if isinstance(strict, bool) else None,
        cache=cache_mark(tool.get("cache_control")),
    )


def _tool_choice(choice: dict[str, Any] | None) -> tuple[chat.ToolChoice | None, bool | None]:
    if choice is None:
        return None, None
    single = choice.get("disable_parallel_tool_use")
    parallel = not single if isinstance(single, bool) else None
    match choice["type"]:
        case "any":
            return chat.ToolChoice(mode="required"), parallel
        case "tool":
            return chat.ToolChoice(mode="tool", name=choice["name"]), parallel
        case "none":
            return chat.ToolChoice(mode="none"), parallel
    return chat.ToolChoice(mode="auto"), parallel


def _response_format(raw: dict[str, Raw], extras: dict[str, Raw]) -> chat.ResponseFormat | None:
    config = members(raw.get("output_config")) or {}
    rest = {name: part for name, part in config.items() if name not in ("format", "effort")}
    verbatim = config.get("format", raw.get("output_format"))
    wanted = members(verbatim)
    found = None
    if wanted is not None and string(wanted.get("type")) == "json_schema" and "schema" in wanted:
        found = chat.ResponseFormat(mode="json_schema", schema=wanted["schema"], strict=True)
    elif wanted is not None and verbatim is not None:
        rest["format"] = verbatim
    if rest:
        extras["output_config"] = dump(rest)
    return found


def _reasoning(raw: dict[str, Raw], body: dict[str, Any], extras: dict[str, Raw]) -> chat.Reasoning | None:
    effort = (body.get("output_config") or {}).get("effort")
    effort = effort if isinstance(effort, str) else None
    thinking = body.get("thinking")
    if thinking is None:
        return chat.Reasoning(effort=effort) if effort is not None else None
    display = thinking.get("display")
    show = display != "omitted" if isinstance(display, str) else None
    match thinking.get("type"):
        case "enabled":
            budget = thinking.get("budget_tokens")
            return chat.Reasoning(effort=effort, budget_tokens=budget, enabled=True, show=show)
        case "disabled":
            return chat.Reasoning(effort=effort, enabled=False)
        case "adaptive":
            return chat.Reasoning(effort=effort, adaptive=True, enabled=True, show=show)
    extras["thinking"] = raw["thinking"]
    return chat.Reasoning(effort=effort) if effort is not None else None
