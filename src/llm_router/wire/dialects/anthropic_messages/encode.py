"""The canonical request to a request of this API.

What has no counterpart becomes a declared loss; what the API would refuse is mended or left out.
https://docs.anthropic.com/en/api/messages and https://docs.anthropic.com/en/api/openai-sdk
"""

from __future__ import annotations

import msgspec

from llm_router.domain.errors import UnsupportedContent
from llm_router.wire.cachemarks import fit_marks
from llm_router.wire.chat import ChatRequest, Raw, Tool
from llm_router.wire.dialect import Target
from llm_router.wire.dialects.anthropic_messages.facts import JSON_TOOL, NAME, cache_control
from llm_router.wire.dialects.anthropic_messages.request import TOOL_MEMBER
from llm_router.wire.dialects.anthropic_messages.thinking import Thought, plan_thinking
from llm_router.wire.dialects.anthropic_messages.turns import Turns, Wire
from llm_router.wire.encoding import lose_words, parameters_of
from llm_router.wire.jsonschema.closed import closed_schema, is_object_schema, object_schema
from llm_router.wire.loss import Loss, Losses
from llm_router.wire.quirks import apply_quirks
from llm_router.wire.toolnames import fit_tools
from llm_router.wire.verbatim import members

OUTPUT_TOKENS_DEFAULT = 4096
"""``max_tokens`` is required; this is written when neither the client nor the catalogue knows one."""

JSON_ONLY = "Answer with one JSON object and nothing else: no words before or after it and no code fence."
JSON_SCHEMA = (
    "Answer with one JSON value that satisfies the JSON schema below, and nothing else: "
    "no words before or after it and no code fence.\n\n"
)
_SILENT_EXTRAS = ("stream_options", "usage", "store", "prompt_cache_retention", "prompt_cache_options")
"""Members of other dialects about the transport or the provider's own storage: nothing of the answer is lost."""


def encode_request(request: ChatRequest, target: Target) -> tuple[bytes, tuple[Loss, ...]]:
    """The upstream body, and what was lost in it.

    Raises:
        UnsupportedContent: no content, or of a kind that the API cannot express.
        InvalidRequest: two different tools of one name.
    """
    losses = Losses()
    if not _own(request):
        request = fit_marks(fit_tools(request, NAME), losses)
    turns = Turns(request, losses)
    if not turns.turns:
        raise UnsupportedContent(
            "The conversation is empty: at least one message must hold text.", param="messages"
        )
    body: dict[str, object] = {"model": target.model, "max_tokens": _max_tokens(request, target, losses)}
    tools = _tools(request, target, losses)
    choice = _tool_choice(request, bool(tools))
    output: dict[str, object] = (
        dict(members(request.extras.get("output_config")) or {}) if _own(request) else {}
    )
    choice = _response_format(request, target, turns, tools, choice, output, losses)
    forced = choice is not None and choice["type"] in ("any", "tool")
    thought = plan_thinking(request, target, _limit(body), turns.turns, forced, losses)
    body["max_tokens"] = thought.max_tokens
    if turns.system:
        body["system"] = turns.system
    body["messages"] = [{"role": role, "content": blocks} for role, blocks in turns.turns]
    if tools:
        body["tools"] = tools
    if choice is not None:
        body["tool_choice"] = choice
    _sampling(body, request, target, thought, losses)
    if thought.thinking is not None:
        body["thinking"] = thought.thinking
    if thought.effort is not None:
        output["effort"] = thought.effort
    if output:
        body["output_config"] = output
    _rest(body, request, losses)
    found = losses.found + apply_quirks(body, target.quirks, *target.names)
    return msgspec.json.encode(body), tuple(found)


def _own(request: ChatRequest) -> bool:
    return request.dialect == NAME


def _limit(body: dict[str, object]) -> int:
    limit = body["max_tokens"]
    assert isinstance(limit, int)
    return limit


def _max_tokens(request: ChatRequest, target: Target, losses: Losses) -> int:
    most = target.output_tokens_max
    limit = request.max_tokens
    if limit is not None:
        if most is not None and limit > most:
            losses.add("max_tokens", f"the model gives at most {most} tokens")
            return most
        return limit
    known = [bound for bound in (target.output_tokens_cap, most) if bound is not None]
    return min(known) if known else OUTPUT_TOKENS_DEFAULT


def _tools(request: ChatRequest, target: Target, losses: Losses) -> list[Wire]:
    allowed = request.tool_choice.allowed if request.tool_choice is not None else ()
    out: list[Wire] = []
    for tool in request.tools:
        if tool.raw is not None:
            if tool.dialect == NAME:
                out.append(tool.raw)
            else:
                losses.add(f"tools[{tool.name}]", f"only {tool.dialect} has this tool")
        elif not allowed or tool.name in allowed:
            out.append(_tool(tool, request, target, losses))
    return out


def _tool(tool: Tool, request: ChatRequest, target: Target, losses: Losses) -> dict[str, object]:
    out: dict[str, object] = {"name": tool.name}
    if tool.description is not None:
        out["description"] = tool.description
    own = tool.parameters if _own(request) else None
    out["input_schema"] = own if own is not None else parameters_of(tool, losses)
    if tool.strict is not None and _own(request):
        out["strict"] = tool.strict
    elif tool.strict:
        _strict(out, tool, target, losses)
    if tool.cache is not None:
        out["cache_control"] = cache_control(tool.cache)
    for key, holder in request.extras.items() if _own(request) else ():
        if key.startswith(TOOL_MEMBER) and tool.name in (found := members(holder) or {}):
            out[key.removeprefix(TOOL_MEMBER)] = found[tool.name]
    return out


def _strict(out: dict[str, object], tool: Tool, target: Target, losses: Losses) -> None:
    """Guaranteed arguments, for models that guarantee output and schemas that can be told so."""
    closed = closed_schema(parameters_of(tool, losses)) if target.capabilities.json_schema else None
    if closed is None:
        losses.add("tools[].function.strict", "the model does not guarantee that arguments match this schema")
        return
    lose_words(parameters_of(tool, losses), "tools[].function.parameters", losses)
    out["input_schema"], out["strict"] = closed, True


def _tool_choice(request: ChatRequest, tools: bool) -> dict[str, object] | None:
    if not tools:
        return None
    single = request.parallel_tool_calls is False
    asked = request.tool_choice
    if asked is None:
        return {"type": "auto", "disable_parallel_tool_use": True} if single else None
    out: dict[str, object] = {"type": "any" if asked.mode == "required" else asked.mode}
    if asked.mode == "tool" and asked.name is not None:
        out["name"] = asked.name
    if single and asked.mode != "none":
        out["disable_parallel_tool_use"] = True
    return out


def _response_format(
    request: ChatRequest,
    target: Target,
    turns: Turns,
    tools: list[Wire],
    choice: dict[str, object] | None,
    output: dict[str, object],
    losses: Losses,
) -> dict[str, object] | None:
    """Ask for JSON: by structured output, else by a forced tool, else in the instructions.

    The forced tool is used when the request has no tools of its own and asks for no reasoning; the
    reply's decoder turns its call back into text.
    """
    wanted = request.response_format
    if wanted is None or wanted.mode == "text":
        return choice
    schema = wanted.schema
    if wanted.mode == "json_object" or schema is None:
        turns.instruct(JSON_ONLY)
        losses.add("response_format", "JSON is asked for in the instructions, not enforced")
        return choice
    closed = schema if _own(request) else closed_schema(schema)
    if closed is not None and (target.capabilities.json_schema or _own(request)):
        if wanted.strict and not _own(request):
            lose_words(schema, "response_format.json_schema.schema", losses)
        output["format"] = {"type": "json_schema", "schema": closed}
        return choice
    if not tools and request.reasoning is None and is_object_schema(schema):
        tools.append(_json_tool(wanted.description, schema))
        if wanted.strict:
            losses.add(
                "response_format.json_schema.strict", "the model follows the schema without a guarantee"
            )
        return {"type": "tool", "name": JSON_TOOL, "disable_parallel_tool_use": True}
    turns.instruct(JSON_SCHEMA + bytes(schema).decode("utf-8", "replace"))
    losses.add("response_format", "the schema is told in the instructions, not enforced")
    return choice


def _json_tool(description: str | None, schema: Raw) -> dict[str, object]:
    return {
        "name": JSON_TOOL,
        "description": description or "Give the answer in this form.",
        "input_schema": object_schema(schema),
    }


def _sampling(
    body: dict[str, object], request: ChatRequest, target: Target, thought: Thought, losses: Losses
) -> None:
    stops = [stop for stop in request.stop if stop.strip()]
    if stops:
        body["stop_sequences"] = stops
    if len(stops) < len(request.stop):
        losses.add("stop", "stop sequences of nothing but white space are refused")
    if request.stream:
        body["stream"] = True
    asked = {"temperature": request.temperature, "top_p": request.top_p, "top_k": request.top_k}
    asked = {name: number for name, number in asked.items() if number is not None}
    if not target.capabilities.sampling:
        asked = _drop(asked, tuple(asked), "the model's sampling cannot be adjusted", losses)
    elif not _own(request):
        asked = _bounded(asked, target, thought.on, losses)
    body.update(asked)


def _drop(
    asked: dict[str, float | int | None], names: tuple[str, ...], why: str, losses: Losses
) -> dict[str, float | int | None]:
    """Leave these out; a value that is the default anyway is no loss."""
    for name in names:
        if name in asked and not (name != "top_k" and asked[name] == 1):
            losses.add(name, why)
    return {name: number for name, number in asked.items() if name not in names}


def _bounded(
    asked: dict[str, float | int | None], target: Target, thinking: bool, losses: Losses
) -> dict[str, float | int | None]:
    temperature = asked.get("temperature")
    if temperature is not None and temperature > 1:
        asked["temperature"] = 1.0
        losses.add("temperature", "the highest is 1")
    if thinking:
        return _drop(asked, ("temperature", "top_p", "top_k"), "not with reasoning", losses)
    if "temperature" in asked and "top_p" in asked and not target.base.startswith("claude-3"):
        both = "the model takes temperature or top_p, not both"
        return _drop(asked, ("temperature",) if asked["temperature"] == 1 else ("top_p",), both, losses)
    return asked


def _rest(body: dict[str, object], request: ChatRequest, losses: Losses) -> None:
    if request.user is not None:
        body["metadata"] = {"user_id": request.user}
    tier = {"auto": "auto", "default": "standard_only"}.get(request.service_tier or "")
    if tier is not None:
        body["service_tier"] = tier
    elif request.service_tier is not None:
        losses.add("service_tier", "the provider has no such tier")
    for name, present in _unsaid(request).items():
        if present:
            losses.add(name, "the API has no such option")
    for name, raw in request.extras.items():
        if _own(request):
            if not name.startswith(TOOL_MEMBER) and name != "output_config":
                body[name] = raw
        elif name not in _SILENT_EXTRAS and bytes(raw) not in (b"null", b"false"):
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
        "metadata": request.metadata is not None,
        "modalities": any(modality != "text" for modality in request.modalities),
        "prompt_cache_key": request.prompt_cache_key is not None,
    }
