"""The canonical request to a request of this API.

What has no counterpart becomes a declared loss; what the API would refuse is mended or left out.
https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html
"""

from __future__ import annotations

import re

import msgspec

from llm_router.domain.errors import UnsupportedContent
from llm_router.wire.cachemarks import fit_marks
from llm_router.wire.chat import ChatRequest
from llm_router.wire.dialect import Target
from llm_router.wire.dialects.bedrock_converse.facts import AMAZON, ANTHROPIC, NAME, vendor_of
from llm_router.wire.dialects.bedrock_converse.thinking import Thought, plan_thinking
from llm_router.wire.dialects.bedrock_converse.tools import is_forced, json_tool, single_call, tool_config
from llm_router.wire.dialects.bedrock_converse.turns import Turns
from llm_router.wire.encoding import JSON_ONLY, JSON_SCHEMA, lose_options, lose_words, output_limit
from llm_router.wire.jsonschema.closed import closed_schema, is_object_schema
from llm_router.wire.loss import Loss, Losses
from llm_router.wire.quirks import apply_quirks
from llm_router.wire.toolnames import fit_tools
from llm_router.wire.verbatim import value

_TIERS = {"flex": "flex", "priority": "priority"}
_TOP_K = {ANTHROPIC: "top_k", "mistral": "top_k", "cohere": "k"}
_LABEL = re.compile(r"[a-zA-Z0-9\s:_@$#=/+,.-]{0,256}")
_LABELS_MAX = 16


def encode_request(request: ChatRequest, target: Target) -> tuple[bytes, tuple[Loss, ...]]:
    """The upstream body, and what was lost in it. The model stands in the URL alone.

    Raises:
        UnsupportedContent: no content, or of a kind that the API cannot express.
        InvalidRequest: a tool result that answers no call; two different tools of one name.
    """
    losses, vendor = Losses(), vendor_of(target.base)
    request = fit_marks(fit_tools(request, NAME), losses)
    turns = Turns(request, vendor, losses)
    if not turns.messages:
        raise UnsupportedContent(
            "The conversation is empty: at least one message must hold text.", param="messages"
        )
    tools = tool_config(request, target, vendor, turns, losses)
    output, tools = _response_format(request, target, vendor, turns, tools, losses)
    limit = output_limit(request, target, losses)
    thought = plan_thinking(request, target, vendor, limit, turns, is_forced(tools), losses)
    config = _inference(request, target, vendor, thought, losses)
    fields = {**thought.fields, **_top_k(request, target, vendor, thought, losses)}
    fields.update(single_call(request, target, vendor, tools, losses))
    if thought.effort is not None:
        output["effort"] = thought.effort
    body: dict[str, object] = {"messages": turns.messages}
    sections = {
        "system": turns.system,
        "inferenceConfig": config,
        "toolConfig": tools,
        "additionalModelRequestFields": fields,
        "outputConfig": output,
        "requestMetadata": _labels(request, losses),
    }
    body.update((name, section) for name, section in sections.items() if section)
    if vendor == ANTHROPIC and "stopSequences" in config:  # else nobody tells which one it was
        body["additionalModelResponseFieldPaths"] = ["/stop_sequence"]
    _rest(body, request, losses)
    found = losses.found + apply_quirks(body, target.quirks, *target.names)
    return msgspec.json.encode(body), tuple(found)


def _response_format(
    request: ChatRequest,
    target: Target,
    vendor: str,
    turns: Turns,
    tools: dict[str, object],
    losses: Losses,
) -> tuple[dict[str, object], dict[str, object]]:
    """``outputConfig`` and ``toolConfig`` that ask for JSON.

    By structured output, else by a forced tool, else in the instructions. The forced tool is used
    when the request has no tools of its own and asks for no reasoning.
    """
    wanted = request.response_format
    if wanted is None or wanted.mode == "text":
        return {}, tools
    if wanted.mode == "json_object" or wanted.schema is None:
        turns.instruct(JSON_ONLY)
        losses.add("response_format", "JSON is asked for in the instructions, not enforced")
        return {}, tools
    closed = closed_schema(wanted.schema) if target.capabilities.json_schema else None
    if closed is not None:
        if wanted.strict:
            lose_words(wanted.schema, "response_format.json_schema.schema", losses)
        told = {"name": wanted.name, "description": wanted.description}
        schema = {"schema": bytes(closed).decode(), **{name: text for name, text in told.items() if text}}
        return {"textFormat": {"type": "json_schema", "structure": {"jsonSchema": schema}}}, tools
    forcible = vendor in (ANTHROPIC, AMAZON) and not tools and request.reasoning is None
    if forcible and is_object_schema(wanted.schema):
        if wanted.strict:
            losses.add(
                "response_format.json_schema.strict", "the model follows the schema without a guarantee"
            )
        return {}, json_tool(wanted.schema, wanted.description)
    turns.instruct(JSON_SCHEMA + bytes(wanted.schema).decode("utf-8", "replace"))
    losses.add("response_format", "the schema is told in the instructions, not enforced")
    return {}, tools


def _inference(
    request: ChatRequest, target: Target, vendor: str, thought: Thought, losses: Losses
) -> dict[str, object]:
    config: dict[str, object] = {}
    if thought.max_tokens is not None:
        config["maxTokens"] = thought.max_tokens
    temperature, top_p = _sampling(request, target, vendor, thought, losses)
    if temperature is not None:
        config["temperature"] = temperature
    if top_p is not None:
        config["topP"] = top_p
    stops = [stop for stop in request.stop if stop.strip()]
    if stops:
        config["stopSequences"] = stops
    if len(stops) < len(request.stop):
        losses.add("stop", "stop sequences of nothing but white space are refused")
    return config


def _sampling(
    request: ChatRequest, target: Target, vendor: str, thought: Thought, losses: Losses
) -> tuple[float | None, float | None]:
    """Temperature and top_p as the model takes them. Leaving out the default, 1, is no loss."""
    temperature, top_p = request.temperature, request.top_p
    if temperature is not None and temperature > 1:
        losses.add("temperature", "the highest is 1")
        temperature = 1.0
    if not target.capabilities.sampling or thought.strict:
        why = "not with reasoning" if thought.strict else "the model's sampling cannot be adjusted"
        for name, number in (("temperature", temperature), ("top_p", top_p)):
            if number not in (None, 1):
                losses.add(name, why)
        return None, None
    both = temperature is not None and top_p is not None
    if both and vendor == ANTHROPIC and "claude-3" not in target.base:
        dropped = "temperature" if temperature == 1 else "top_p"
        if top_p != 1 and temperature != 1:
            losses.add(dropped, "the model takes temperature or top_p, not both")
        return (None, top_p) if dropped == "temperature" else (temperature, None)
    return temperature, top_p


def _top_k(
    request: ChatRequest, target: Target, vendor: str, thought: Thought, losses: Losses
) -> dict[str, object]:
    """``top_k`` has a place of its own with each vendor."""
    if request.top_k is None:
        return {}
    if thought.strict or not target.capabilities.sampling:
        losses.add(
            "top_k", "not with reasoning" if thought.strict else "the model's sampling cannot be adjusted"
        )
    elif vendor in _TOP_K:
        return {_TOP_K[vendor]: request.top_k}
    elif vendor == AMAZON:
        return {"inferenceConfig": {"topK": request.top_k}}
    else:
        losses.add("top_k", "the model has no such option here")
    return {}


def _labels(request: ChatRequest, losses: Losses) -> dict[str, str]:
    """The client's metadata and user as ``requestMetadata``, which the operator's logs of AWS show."""
    found = value(request.metadata)
    labels = dict(found) if isinstance(found, dict) else {}
    if request.user is not None:
        labels.setdefault("user_id", request.user)
    kept = {
        name: text
        for name, text in labels.items()
        if isinstance(text, str) and name and _LABEL.fullmatch(name) and _LABEL.fullmatch(text)
    }
    kept = dict(list(kept.items())[:_LABELS_MAX])
    for name in labels:
        if name not in kept:
            field = "user" if name == "user_id" and request.user is not None else "metadata"
            losses.add(field, "labels have at most 256 letters, digits and : _ @ $ # = / + , - .")
    return kept


def _rest(body: dict[str, object], request: ChatRequest, losses: Losses) -> None:
    tier = request.service_tier
    if tier in _TIERS:
        body["serviceTier"] = {"type": _TIERS[tier]}
    elif tier not in (None, "auto", "default"):
        losses.add("service_tier", "the provider has no such tier")
    for name, number in (
        ("frequency_penalty", request.frequency_penalty),
        ("presence_penalty", request.presence_penalty),
    ):
        if number:
            losses.add(name, "the API has no such option")
    lose_options(request, losses, said=("user", "metadata", "service_tier", "parallel_tool_calls"))
