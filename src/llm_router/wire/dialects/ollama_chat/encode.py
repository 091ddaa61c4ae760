"""The canonical request to one of Ollama's chat. https://docs.ollama.com/api/chat

Sampling goes into ``options``; ``think`` is a switch, or a level for models that have levels. There
is no tool choice: tools that may not be called are left out, and none can be forced.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from llm_router.domain.errors import UnsupportedContent
from llm_router.wire import chat
from llm_router.wire.callids import IdForm, fitted
from llm_router.wire.dialect import Target
from llm_router.wire.dialects.ollama_chat.facts import NAME
from llm_router.wire.dialects.ollama_chat.schema import tool_parameters
from llm_router.wire.dialects.ollama_chat.turns import Turns
from llm_router.wire.encoding import (
    JSON_ONLY,
    lose_marks,
    lose_options,
    mentions_json,
    offered_tools,
    output_limit,
    parameters_of,
)
from llm_router.wire.lenient import load_object
from llm_router.wire.loss import Loss, Losses
from llm_router.wire.quirks import apply_quirks
from llm_router.wire.toolnames import fit_tools

_PASSED = ("keep_alive", "options", "truncate", "shift")
"""Members of Ollama's own that clients of other dialects may send along."""

_RANKS = ("minimal", "low", "medium", "high", "xhigh", "max")


_IDS = IdForm(fits=re.compile(r".*", re.DOTALL))
"""Any ids, but each for one call."""


def encode_request(request: chat.ChatRequest, target: Target) -> tuple[bytes, tuple[Loss, ...]]:
    """The upstream body, and what was lost in it.

    Raises:
        UnsupportedContent: no content, or of a kind that the API cannot express.
        InvalidRequest: two different tools of one name.
    """
    request = fitted(request, _IDS)
    losses = Losses()
    request = fit_tools(request, NAME)
    turns = Turns(request, losses)
    if not turns.messages:
        raise UnsupportedContent(
            "The conversation is empty: at least one message must hold text.", param="messages"
        )
    body: dict[str, Any] = {"model": target.model, "messages": turns.messages, "stream": request.stream}
    _tools(body, request, losses)
    _format(body, request, turns, losses)
    body.update({name: raw for name, raw in request.extras.items() if name in _PASSED})
    options = _options(request, target, losses)
    if options:
        body["options"] = options
    _think(body, request, target, losses)
    if request.logprobs:
        body["logprobs"] = True
    if request.top_logprobs is not None and request.logprobs:
        body["top_logprobs"] = request.top_logprobs
    if any(part.citations for m in request.messages for part in m.parts if isinstance(part, chat.Text)):
        losses.add("messages[].annotations", "messages have no citations")
    lose_marks(request, losses)
    lose_options(request, losses, said=("logprobs", "top_logprobs", "seed"), extras=_PASSED)
    found = losses.found + apply_quirks(body, target.quirks, *target.names)
    return msgspec.json.encode(body), tuple(found)


def _tools(body: dict[str, Any], request: chat.ChatRequest, losses: Losses) -> None:
    choice = request.tool_choice
    if choice is not None and choice.mode == "none":
        return
    tools = offered_tools(request, losses)
    if not tools:
        return
    body["tools"] = [_tool(tool, losses) for tool in tools]
    if choice is not None and choice.mode in ("required", "tool"):
        losses.add("tool_choice", "the model cannot be made to call a tool")


def _tool(tool: chat.Tool, losses: Losses) -> dict[str, Any]:
    function: dict[str, Any] = {"name": tool.name}
    if tool.description is not None:
        function["description"] = tool.description
    function["parameters"] = tool_parameters(parameters_of(tool, losses), losses)
    if tool.strict:
        losses.add(
            "tools[].function.strict", "the model does not guarantee that arguments match their schema"
        )
    return {"type": "function", "function": function}


def _format(body: dict[str, Any], request: chat.ChatRequest, turns: Turns, losses: Losses) -> None:
    """``format``: "json", which must be spoken of in the conversation, or a schema, which is enforced."""
    wanted = request.response_format
    if wanted is None or wanted.mode == "text":
        return
    schema = wanted.schema if wanted.mode == "json_schema" else None
    if schema is not None and load_object(bytes(schema)):
        body["format"] = schema
        return
    if schema is not None:
        losses.add("response_format", "only the schema of a value can be asked for; any JSON is")
    body["format"] = "json"
    if not mentions_json(request):
        turns.instruct(JSON_ONLY)


def _options(request: chat.ChatRequest, target: Target, losses: Losses) -> dict[str, Any]:
    options = load_object(bytes(request.extras["options"])) if "options" in request.extras else {}
    sampling = {
        "temperature": request.temperature,
        "top_p": request.top_p,
        "top_k": request.top_k,
        "frequency_penalty": request.frequency_penalty,
        "presence_penalty": request.presence_penalty,
    }
    if not target.capabilities.sampling:
        for name in (name for name, value in sampling.items() if value is not None):
            losses.add(name, "the model's sampling cannot be adjusted")
        sampling = {}
    said = {
        **sampling,
        "seed": request.seed,
        "stop": [stop for stop in request.stop if stop] or None,
        "num_predict": output_limit(request, target, losses),
    }
    return {**(options or {}), **{name: value for name, value in said.items() if value is not None}}


def _think(body: dict[str, Any], request: chat.ChatRequest, target: Target, losses: Losses) -> None:
    asked = request.reasoning
    if asked is None:
        return
    off = asked.enabled is False or asked.effort == "none" or asked.budget_tokens == 0
    on = asked.enabled or asked.adaptive or asked.effort is not None or asked.budget_tokens is not None
    able = target.capabilities
    if not able.reasoning:
        if on and not off:
            losses.add("reasoning_effort", "the model does not reason")
        return
    if off:
        body["think"] = False
    elif on:
        level = _level(asked.effort, able.reasoning_levels)
        body["think"] = True if level is None else level
        if asked.effort is not None and level != asked.effort:
            losses.add("reasoning_effort", f"the model thinks{'' if level is None else ' ' + level}, or not")
        if asked.budget_tokens is not None and asked.budget_tokens > 0:
            losses.add("thinking.budget_tokens", "thinking has no budget of tokens here")


def _level(effort: str | None, levels: tuple[str, ...]) -> str | None:
    """The model's level next to the effort, upwards if there is one; None if it has no levels."""
    known = [level for level in _RANKS if level in levels]
    if effort is None or effort not in _RANKS or not known:
        return None
    return next((level for level in known if _RANKS.index(level) >= _RANKS.index(effort)), known[-1])
