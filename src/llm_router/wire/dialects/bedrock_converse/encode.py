"""The canonical request to a request of this API.

What has no counterpart becomes a declared loss; what the API would refuse is mended or left out.
https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html
"""

from __future__ import annotations

import re

import msgspec

from llm_router.domain.errors import UnsupportedContent
from llm_router.wire.chat import ChatRequest
from llm_router.wire.dialect import Target
from llm_router.wire.dialects.bedrock_converse.facts import ANTHROPIC, vendor_of
from llm_router.wire.dialects.bedrock_converse.thinking import Thought, plan_thinking
from llm_router.wire.dialects.bedrock_converse.tools import is_forced, tool_config
from llm_router.wire.dialects.bedrock_converse.turns import Turns
from llm_router.wire.jsonschema.closed import closed_schema
from llm_router.wire.loss import Loss, Losses
from llm_router.wire.quirks import apply_quirks
from llm_router.wire.verbatim import value

JSON_ONLY = "Answer with one JSON object and nothing else: no words before or after it and no code fence."
JSON_SCHEMA = (
    "Answer with one JSON value that satisfies the JSON schema below, and nothing else: "
    "no words before or after it and no code fence.\n\n"
)
_SILENT_EXTRAS = ("stream_options", "usage", "store", "prompt_cache_retention", "prompt_cache_options")
"""Members of other dialects about the transport or the provider's own storage: nothing of the answer is lost."""

_TIERS = {"flex": "flex", "priority": "priority"}
_TOP_K = {"anthropic": "top_k", "mistral": "top_k", "cohere": "k"}
_LABEL = re.compile(r"[a-zA-Z0-9\s:_@$#=/+,.-]{0,256}")
_LABELS_MAX = 16


def encode_request(request: ChatRequest, target: Target) -> tuple[bytes, tuple[Loss, ...]]:
    """The upstream body, and what was lost in it. The model stands in the URL alone.

    Raises:
        UnsupportedContent: no content, or of a kind that the API cannot express.
    """
    losses, vendor = Losses(), vendor_of(target.model)
    turns = Turns(request, vendor, losses)
    if not turns.messages:
        raise UnsupportedContent(
            "The conversation is empty: at least one message must hold text.", param="messages"
        )
    tools = tool_config(request, target, vendor, turns, losses)
    output = _response_format(request, target, turns, losses)
    limit = _max_tokens(request, target, losses)
    thought = plan_thinking(request, target, vendor, limit, turns, is_forced(tools), losses)
    config = _inference(request, target, vendor, thought, losses)
    fields = {**thought.fields, **_top_k(request, target, vendor, thought, losses)}
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
    found = losses.found + apply_quirks(body, target.quirks, target.model)
    return msgspec.json.encode(body), tuple(found)


def _max_tokens(request: ChatRequest, target: Target, losses: Losses) -> int | None:
    """The client's limit within the model's; else what the balance affords; else the provider's default."""
    limit, most = request.max_tokens, target.output_tokens_max
    if limit is None:
        return target.output_tokens_cap
    if most is not None and limit > most:
        losses.add("max_tokens", f"the model gives at most {most} tokens")
        return most
    return limit


def _response_format(request: ChatRequest, target: Target, turns: Turns, losses: Losses) -> dict[str, object]:
    """``outputConfig`` that asks for JSON; in the instructions where the model or the schema cannot."""
    wanted = request.response_format
    if wanted is None or wanted.mode == "text":
        return {}
    if wanted.mode == "json_object" or wanted.schema is None:
        turns.instruct(JSON_ONLY)
        losses.add("response_format", "JSON is asked for in the instructions, not enforced")
        return {}
    closed = closed_schema(wanted.schema) if target.capabilities.json_schema else None
    if closed is None:
        turns.instruct(JSON_SCHEMA + bytes(wanted.schema).decode("utf-8", "replace"))
        losses.add("response_format", "the schema is told in the instructions, not enforced")
        return {}
    told = {"name": wanted.name, "description": wanted.description}
    schema = {"schema": bytes(closed).decode(), **{member: text for member, text in told.items() if text}}
    return {"textFormat": {"type": "json_schema", "structure": {"jsonSchema": schema}}}


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
    if both and vendor == ANTHROPIC and "claude-3" not in target.model:
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
    elif vendor == "amazon":
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
    for name, present in _unsaid(request).items():
        if present:
            losses.add(name, "the API has no such option")
    for name, raw in request.extras.items():
        if name not in _SILENT_EXTRAS and bytes(raw) not in (b"null", b"false"):
            losses.add(name, "the API has no such option")


def _unsaid(request: ChatRequest) -> dict[str, bool]:
    return {
        "n": request.n > 1,
        "logprobs": request.logprobs is True,
        "top_logprobs": request.top_logprobs is not None,
        "seed": request.seed is not None,
        "frequency_penalty": bool(request.frequency_penalty),
        "presence_penalty": bool(request.presence_penalty),
        "verbosity": request.verbosity not in (None, "medium"),
        "modalities": any(modality != "text" for modality in request.modalities),
        "prompt_cache_key": request.prompt_cache_key is not None,
    }
