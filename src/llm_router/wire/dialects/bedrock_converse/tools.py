"""Tools and the choice among them, as ``toolConfig``.

https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ToolConfiguration.html. The
member must be there as soon as the conversation holds a call or a result, and the API has no word
for "no tool": then tools are left out if none was called before.
"""

from __future__ import annotations

import re

from llm_router.wire.chat import ChatRequest, Raw, Tool, ToolChoice
from llm_router.wire.dialect import Target
from llm_router.wire.dialects.bedrock_converse.facts import ANTHROPIC, JSON_TOOL
from llm_router.wire.dialects.bedrock_converse.turns import Block, Turns
from llm_router.wire.encoding import lose_words, parameters_of
from llm_router.wire.jsonschema.closed import closed_schema, object_schema
from llm_router.wire.loss import Losses

_SINGLE = re.compile(r"claude-[a-z]+-(4-[5-9]|[5-9])")
"""Claude since 4.5."""

_UNFORCED = ("ai21", "cohere", "meta")
"""Vendors whose models refuse to be made to call a tool: of the choices they know only "auto".

https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ToolChoice.html
"""


def tool_config(
    request: ChatRequest, target: Target, vendor: str, turns: Turns, losses: Losses
) -> dict[str, object]:
    """``toolConfig``; empty if the request has no tools."""
    choice = request.tool_choice
    tools = _tools(request, target, turns, losses)
    if choice is not None and choice.mode == "none" and not turns.tools:
        if tools:
            losses.add("tools", 'there is no tool_choice "none": the tools are left out instead')
        return {}
    named = {tool.name for tool in request.tools if tool.raw is None}
    if not tools:
        tools = [_bare(name) for name in turns.tools if name not in named]
    if not tools:
        return {}
    config: dict[str, object] = {"tools": tools}
    if choice is not None and named:
        config.update(_choice(choice, vendor, losses))
    return config


def json_tool(schema: Raw, description: str | None) -> dict[str, object]:
    """``toolConfig`` with the one tool whose input is the answer."""
    spec = {
        "name": JSON_TOOL,
        "description": description or "Give the answer in this form.",
        "inputSchema": {"json": object_schema(schema)},
    }
    return {"tools": [{"toolSpec": spec}], "toolChoice": {"tool": {"name": JSON_TOOL}}}


def single_call(
    request: ChatRequest, target: Target, vendor: str, config: dict[str, object], losses: Losses
) -> dict[str, object]:
    """What keeps a model from calling several tools at once: only newer Claude models can be told."""
    if request.parallel_tool_calls is not False or not config:
        return {}
    if vendor == ANTHROPIC and _SINGLE.search(target.base) and not is_forced(config):
        return {"tool_choice": {"type": "auto", "disable_parallel_tool_use": True}}
    losses.add("parallel_tool_calls", "the model may call several tools at once")
    return {}


def is_forced(config: dict[str, object]) -> bool:
    """Whether the request makes the model call a tool."""
    choice = config.get("toolChoice")
    return isinstance(choice, dict) and "auto" not in choice


def _tools(request: ChatRequest, target: Target, turns: Turns, losses: Losses) -> list[Block]:
    allowed = request.tool_choice.allowed if request.tool_choice is not None else ()
    out: list[Block] = []
    for tool in request.tools:
        if tool.raw is not None:
            losses.add(f"tools[{tool.name}]", f"only {tool.dialect} has this tool")
        elif not allowed or tool.name in allowed:
            out.append(_tool(tool, target, losses))
            out += turns.cache_point(tool.cache)
    return out


def _tool(tool: Tool, target: Target, losses: Losses) -> dict[str, object]:
    spec: dict[str, object] = {"name": tool.name}
    if tool.description:
        spec["description"] = tool.description
    schema = parameters_of(tool, losses)
    if tool.strict and not tool.custom:
        closed = closed_schema(schema) if target.capabilities.json_schema else None
        if closed is None:
            losses.add(
                "tools[].function.strict", "the model does not guarantee that arguments match this schema"
            )
        else:
            lose_words(schema, "tools[].function.parameters", losses)
            schema, spec["strict"] = closed, True
    spec["inputSchema"] = {"json": schema}
    return {"toolSpec": spec}


def _bare(name: str) -> Block:
    """A tool of which only earlier calls are known."""
    return {"toolSpec": {"name": name, "inputSchema": {"json": {"type": "object", "properties": {}}}}}


def _choice(choice: ToolChoice, vendor: str, losses: Losses) -> dict[str, object]:
    word: dict[str, object] = {"auto": {}}
    match choice.mode:
        case "none":
            losses.add("tool_choice", "the conversation holds calls, so the model may call tools again")
            return {}
        case "required":
            word = {"any": {}}
        case "tool":
            word = {"tool": {"name": choice.name}}
    if choice.mode in ("required", "tool") and vendor in _UNFORCED:
        losses.add("tool_choice", "the model cannot be made to call a tool")
        return {}
    return {"toolChoice": word}
