"""The canonical request to one of Cohere's v2 chat. https://docs.cohere.com/v2/reference/chat

How much to think: models that reason take ``thinking`` with a budget of tokens, by this table, or
none, which leaves it to the model (https://docs.cohere.com/docs/reasoning):

    minimal  low   medium  high and above
    1024     2048  8192    no bound
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from llm_router.domain.errors import UnsupportedContent
from llm_router.wire import chat
from llm_router.wire.callids import IdForm, fitted
from llm_router.wire.dialect import Target
from llm_router.wire.dialects.cohere_chat.facts import NAME
from llm_router.wire.dialects.cohere_chat.schema import enforced_schema
from llm_router.wire.dialects.cohere_chat.turns import Turns
from llm_router.wire.encoding import (
    JSON_ONLY,
    JSON_SCHEMA,
    lose_marks,
    lose_options,
    mentions_json,
    offered_tools,
    output_limit,
    parameters_of,
)
from llm_router.wire.lenient import load
from llm_router.wire.loss import Loss, Losses
from llm_router.wire.quirks import apply_quirks
from llm_router.wire.toolnames import fit_tools

STOPS_MAX = 5
K_MAX = 500
P_MIN, P_MAX = 0.01, 0.99
BUDGETS = {"minimal": 1024, "low": 2048, "medium": 8192}

_PASSED = ("documents", "citation_options", "safety_mode", "priority")
"""Members of Cohere's own that clients of other dialects may send along: they go through verbatim."""


_IDS = IdForm(fits=re.compile(r".+", re.DOTALL))
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
    turns = Turns(request, target, losses)
    if not turns.messages:
        raise UnsupportedContent(
            "The conversation is empty: at least one message must hold text.", param="messages"
        )
    body: dict[str, Any] = {"model": target.model, "messages": turns.messages}
    if request.stream:
        body["stream"] = True
    _tools(body, request, losses)
    _response_format(body, request, turns, losses)
    _sampling(body, request, target, losses)
    limit = output_limit(request, target, losses)
    if limit is not None:
        body["max_tokens"] = limit
    if request.logprobs:
        body["logprobs"] = True
    _thinking(body, request, target, losses)
    body.update({name: raw for name, raw in request.extras.items() if name in _PASSED})
    lose_marks(request, losses)
    lose_options(request, losses, said=("logprobs", "seed"), extras=_PASSED)
    found = losses.found + apply_quirks(body, target.quirks, *target.names)
    return msgspec.json.encode(body), tuple(found)


def _tools(body: dict[str, Any], request: chat.ChatRequest, losses: Losses) -> None:
    tools = offered_tools(request, losses)
    if not tools:
        return
    strict = all(tool.strict for tool in tools) and _all_enforced(tools)
    body["tools"] = [_tool(tool, losses) for tool in tools]
    if strict:
        body["strict_tools"] = True
    elif any(tool.strict for tool in tools):
        losses.add(
            "tools[].function.strict",
            "arguments are guaranteed only if that is asked for all tools, and their schemas can be enforced",
        )
    choice = request.tool_choice
    if choice is not None and choice.mode != "auto":
        body["tool_choice"] = "NONE" if choice.mode == "none" else "REQUIRED"


def _all_enforced(tools: list[chat.Tool]) -> bool:
    """Whether each tool's schema lies in the enforced subset as it is."""
    for tool in tools:
        found = None if tool.parameters is None else enforced_schema(load(bytes(tool.parameters)))
        if found is None or found[1]:
            return False
    return True


def _tool(tool: chat.Tool, losses: Losses) -> dict[str, Any]:
    function: dict[str, Any] = {"name": tool.name}
    if tool.description is not None:
        function["description"] = tool.description
    function["parameters"] = parameters_of(tool, losses)
    return {"type": "function", "function": function}


def _response_format(body: dict[str, Any], request: chat.ChatRequest, turns: Turns, losses: Losses) -> None:
    """Ask for JSON: enforced, or in the instructions beside tools and documents, where that is refused.

    Where a schema is not enforced it is told. JSON without a schema must be spoken of in the
    conversation, else the model may never come to an end.
    """
    wanted = request.response_format
    if wanted is None or wanted.mode == "text":
        return
    free = "tools" not in body and not request.extras.get("documents")
    schema = wanted.schema if wanted.mode == "json_schema" else None
    enforced = None if schema is None else enforced_schema(load(bytes(schema)))
    if free and enforced is not None:
        body["response_format"] = {"type": "json_object", "json_schema": enforced[0]}
        for keyword in enforced[1]:
            losses.add(f"response_format.schema.{keyword}", "told in the description, not enforced")
        return
    if free and (schema is None or _is_object(schema)):
        body["response_format"] = {"type": "json_object"}
    if schema is not None:
        turns.instruct(JSON_SCHEMA + bytes(schema).decode("utf-8", "replace"))
        losses.add("response_format", "the schema is told in the instructions, not enforced")
    elif not free or not mentions_json(request):
        turns.instruct(JSON_ONLY)
    if schema is None and not free:
        losses.add("response_format", "JSON is asked for in the instructions, not enforced")


def _is_object(schema: chat.Raw) -> bool:
    found = load(bytes(schema))
    return isinstance(found, dict) and found.get("type") == "object"


def _sampling(body: dict[str, Any], request: chat.ChatRequest, target: Target, losses: Losses) -> None:
    stops = [stop for stop in request.stop if stop]
    if len(stops) > STOPS_MAX:
        losses.add("stop", f"only {STOPS_MAX} stop sequences are taken")
    if stops:
        body["stop_sequences"] = stops[:STOPS_MAX]
    if request.seed is not None and request.seed < 0:
        losses.add("seed", "a seed cannot be negative here")
    elif request.seed is not None:
        body["seed"] = request.seed
    bounds = {
        "temperature": ("temperature", request.temperature, 0.0, None),
        "top_p": ("p", request.top_p, P_MIN, P_MAX),
        "top_k": ("k", request.top_k, 0, K_MAX),
        "frequency_penalty": ("frequency_penalty", request.frequency_penalty, 0.0, 1.0),
        "presence_penalty": ("presence_penalty", request.presence_penalty, 0.0, 1.0),
    }
    for field, (name, asked, least, most) in bounds.items():
        if asked is None:
            continue
        if not target.capabilities.sampling:
            losses.add(field, "the model's sampling cannot be adjusted")
            continue
        value = max(asked, least) if most is None else min(max(asked, least), most)
        if value != asked:
            losses.add(field, f"only {least} to {most} is taken")
        body[name] = value


def _thinking(body: dict[str, Any], request: chat.ChatRequest, target: Target, losses: Losses) -> None:
    asked = request.reasoning
    if asked is None:
        return
    off = asked.enabled is False or asked.effort == "none" or asked.budget_tokens == 0
    on = asked.enabled or asked.adaptive or asked.effort is not None or asked.budget_tokens is not None
    if not target.capabilities.reasoning:
        if on and not off:
            losses.add("reasoning_effort", "the model does not reason")
        return
    if off:
        body["thinking"] = {"type": "disabled"}
    elif on:
        body["thinking"] = {"type": "enabled"}
        budget = asked.budget_tokens if asked.budget_tokens is not None else BUDGETS.get(asked.effort or "")
        if budget is not None and budget > 0:
            body["thinking"]["token_budget"] = budget
    if asked.show is False and not off:
        losses.add("reasoning.show", "the model's thoughts cannot be hidden")
