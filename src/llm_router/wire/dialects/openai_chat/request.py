"""Requests: canonical to wire, for any OpenAI-compatible provider.

Providers differ in what they take beyond the common core; each difference is data:

* ``max_tokens`` is written; a quirk renames it where only ``max_completion_tokens`` is known.
* ``top_k`` is no option of OpenAI: it is written only for providers with a quirk about it that is
  not a ``drop`` (see :func:`options.takes`), else it is a declared loss.
* how much to think is said in the provider's own words (:mod:`thinking`).
* ``developer`` is written as ``system`` except for providers that know it.
"""

from __future__ import annotations

from typing import Any, Final

from llm_router.domain.errors import UnsupportedContent
from llm_router.wire.cachemarks import fit_marks
from llm_router.wire.callids import fitted
from llm_router.wire.chat import ChatRequest, ResponseFormat, Tool
from llm_router.wire.dialect import Target
from llm_router.wire.dialects.openai_chat.cachemarks import Marks
from llm_router.wire.dialects.openai_chat.callids import id_form
from llm_router.wire.dialects.openai_chat.messages import Writer
from llm_router.wire.dialects.openai_chat.options import finish_body, takes
from llm_router.wire.dialects.openai_chat.parts import NAME
from llm_router.wire.dialects.openai_chat.thinking import thinking_members
from llm_router.wire.encoding import (
    JSON_ONLY,
    JSON_SCHEMA,
    functions_alone,
    knows_custom,
    parameters_of,
    schema_name,
)
from llm_router.wire.jsonschema.strict import strict_schema
from llm_router.wire.loss import Loss, Losses
from llm_router.wire.toolnames import fit_tools
from llm_router.wire.verbatim import encode, is_object

STOPS_MAX: Final = 4
_MODALITIES: Final = ("text", "audio")
_TIERS: Final = ("auto", "default", "flex", "scale", "priority")


def encode_request(request: ChatRequest, target: Target) -> tuple[bytes, tuple[Loss, ...]]:
    """The upstream body, and what of the request this dialect or provider cannot say.

    Raises:
        UnsupportedContent: no content, or a part that cannot be expressed at all.
        InvalidRequest: two different tools of one name.
    """
    noted = Losses()
    if request.dialect != NAME:
        request = _understood(fit_tools(request, NAME), target, noted)
        request = fit_marks(request, noted) if Marks(target).known else request
    request = fitted(request, id_form(target.provider, target.model))
    losses = noted.found
    writer = Writer(target, losses, own=request.dialect == NAME)
    body: dict[str, Any] = {"model": target.model, "messages": writer.messages(request.messages)}
    if not body["messages"]:
        raise UnsupportedContent(
            "The conversation is empty: at least one message must hold text.", param="messages"
        )
    if request.stream:
        body["stream"] = True
        body["stream_options"] = {"include_usage": True}
    _tools(request, target, body, noted)
    _options(request, target, body, losses)
    body |= _format(request.response_format, target, request.dialect == NAME, losses)
    if request.dialect != NAME:
        _mention_json(request.response_format, body)
    if request.reasoning is not None:
        body |= thinking_members(request.reasoning, target, losses)
    if request.dialect == NAME:
        for name, value in request.extras.items():
            body.setdefault(name, value)
    else:
        losses += (Loss(field=name, why="the provider has no such option") for name in request.extras)
    losses += finish_body(body, target)
    return encode(body), tuple(losses)


def _options(request: ChatRequest, target: Target, body: dict[str, Any], losses: list[Loss]) -> None:
    for name in (
        "max_tokens", "temperature", "top_p", "frequency_penalty", "presence_penalty", "seed",
        "user", "metadata", "prompt_cache_key",
    ):  # fmt: skip
        value = getattr(request, name)
        if value is not None:
            body[name] = value
    if request.dialect != NAME:
        _openais_alone(request, target, body, losses)
    elif request.service_tier is not None:
        body["service_tier"] = request.service_tier
    body |= _logprobs(request, losses)
    if request.n != 1:
        body["n"] = request.n
    stops = [stop for stop in request.stop if stop]
    if stops:
        body["stop"] = stops[:STOPS_MAX]
        if len(stops) > STOPS_MAX:
            losses.append(Loss(field="stop", why=f"the provider takes {STOPS_MAX} stop sequences"))
    if request.top_k is not None:
        if takes(target, "top_k"):
            body["top_k"] = request.top_k
        else:
            losses.append(Loss(field="top_k", why="the provider has no such option"))
    if request.dialect == NAME:
        body |= _present({"verbosity": request.verbosity, "modalities": list(request.modalities) or None})


def _openais_alone(request: ChatRequest, target: Target, body: dict[str, Any], losses: list[Loss]) -> None:
    """What OpenAI and the routers to it take, and hardly another provider of the API.

    https://platform.openai.com/docs/api-reference/chat/create; Groq, for one, refuses what it does not
    know (https://console.groq.com/docs/openai).
    """
    known = "developer" in target.knows or "routing" in target.knows
    tier = {"standard_only": "default"}.get(request.service_tier or "", request.service_tier)
    modalities = [word for word in request.modalities if word in _MODALITIES or "routing" in target.knows]
    wanted = {
        "verbosity": request.verbosity,
        "service_tier": tier,
        "modalities": modalities if modalities != ["text"] else None,
    }
    for name, value in wanted.items():
        if value and known and (name != "service_tier" or value in _TIERS):
            body[name] = value
        elif value and value not in ("auto", "default", "medium"):
            losses.append(Loss(field=name, why="the provider has no such option"))
    if known and len(modalities) < len(request.modalities):
        losses.append(Loss(field="modalities", why="the API answers with text or sound alone"))


# -- tools -----------------------------------------------------------------------------------------


def _understood(request: ChatRequest, target: Target, losses: Losses) -> ChatRequest:
    """Free-text tools as functions, where the provider or model knows no others."""
    return request if knows_custom(target) else functions_alone(request, losses)


def _tools(request: ChatRequest, target: Target, body: dict[str, Any], losses: Losses) -> None:
    choice = request.tool_choice
    allowed = choice.allowed if choice is not None else ()
    marks = Marks(target)
    tools: list[Any] = []
    for tool in request.tools:
        if tool.raw is not None:
            if tool.dialect == NAME:
                tools.append(tool.raw)
            else:
                losses.add(f"tools.{tool.name}", "only its own provider runs this tool")
        elif not allowed or tool.name in allowed:
            tools.append(marks.written(tool, _tool(tool, request.dialect == NAME, losses)))
    _lose_marks(request, marks, losses)
    if not tools:
        return
    body["tools"] = tools
    if request.parallel_tool_calls is not None:
        body["parallel_tool_calls"] = request.parallel_tool_calls
    if choice is None:
        return
    if choice.mode == "tool" and choice.name is not None:
        custom = any(tool.custom for tool in request.tools if tool.name == choice.name)
        kind = "custom" if custom else "function"
        body["tool_choice"] = {"type": kind, kind: {"name": choice.name}}
    else:
        body["tool_choice"] = choice.mode


def _lose_marks(request: ChatRequest, marks: Marks, losses: Losses) -> None:
    """Declare cache marks that have no form here."""
    parts = (part for message in request.messages for part in message.parts)
    if any(marks.lost(holder) for holder in (*request.tools, *parts)):
        losses.add("cache_control", "the provider has no marks for its cache")


def _tool(tool: Tool, own: bool, losses: Losses) -> dict[str, Any]:
    if tool.custom:
        custom = {"name": tool.name, "description": tool.description, "format": tool.format}
        return {"type": "custom", "custom": _present(custom)}
    members: dict[str, Any] = {"name": tool.name, "description": tool.description}
    members |= _parameters(tool, own, losses)
    return {"type": "function", "function": _present(members)}


def _parameters(tool: Tool, own: bool, losses: Losses) -> dict[str, Any]:
    """A function's schema, as strict as it was asked for, if strict mode takes it."""
    if own and tool.parameters is not None:
        return {"parameters": tool.parameters, "strict": tool.strict}
    parameters = parameters_of(tool, losses)
    strict = strict_schema(parameters) if tool.strict else None
    if tool.strict and strict is None:
        losses.add("tools[].function.strict", "the schema is none that strict mode takes")
    said = None if tool.strict is None else strict is not None
    return {"parameters": parameters if strict is None else strict, "strict": said}


def _present(members: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in members.items() if value is not None}


# -- response format and reasoning -----------------------------------------------------------------


def _format(format_: ResponseFormat | None, target: Target, own: bool, losses: list[Loss]) -> dict[str, Any]:
    if format_ is None:
        return {}
    able = target.capabilities
    match format_.mode:
        case "json_schema" if format_.schema is None or not is_object(format_.schema):
            losses.append(Loss(field="response_format.json_schema", why="only an object is a schema here"))
            return {"response_format": {"type": "json_object"}}
        case "json_schema" if able.json_schema or not able.json_object:
            members = {"name": schema_name(format_.name), "description": format_.description}
            members |= _answer_schema(format_, own, losses)
            return {"response_format": {"type": "json_schema", "json_schema": _present(members)}}
        case "json_schema":
            losses.append(
                Loss(
                    field="response_format.json_schema",
                    why="the model has JSON mode alone: the schema is told in the instructions, not enforced",
                )
            )
            return {"response_format": {"type": "json_object"}}
        case "text":
            return {}
    return {"response_format": {"type": format_.mode}}


def _answer_schema(format_: ResponseFormat, own: bool, losses: list[Loss]) -> dict[str, Any]:
    if own or not format_.strict or format_.schema is None:
        return {"schema": format_.schema, "strict": format_.strict}
    strict = strict_schema(format_.schema)
    if strict is None:
        field = "response_format.json_schema.strict"
        losses.append(Loss(field=field, why="the schema is none that strict mode takes"))
    return {"schema": format_.schema if strict is None else strict, "strict": strict is not None}


def _logprobs(request: ChatRequest, losses: list[Loss]) -> dict[str, Any]:
    """Log probabilities; alternatives of each token are given only beside them."""
    wanted, most = request.logprobs, request.top_logprobs
    if most is not None and wanted is False:
        losses.append(Loss(field="top_logprobs", why="logprobs are not asked for"))
        most = None
    return _present({"logprobs": True if most is not None else wanted, "top_logprobs": most})


def _mention_json(format_: ResponseFormat | None, body: dict[str, Any]) -> None:
    """Say in the messages what JSON mode does not: the schema, or "JSON", without which OpenAI refuses it.

    https://platform.openai.com/docs/guides/structured-outputs#json-mode
    """
    if body.get("response_format", {}).get("type") != "json_object":
        return
    said = JSON_ONLY
    if format_ is not None and format_.mode == "json_schema" and format_.schema is not None:
        said = JSON_SCHEMA + bytes(format_.schema).decode("utf-8", "replace")
    if said is not JSON_ONLY or b"json" not in encode(body["messages"]).lower():
        at = next((n for n, m in enumerate(body["messages"]) if m["role"] != "system"), len(body["messages"]))
        body["messages"].insert(at, {"role": "system", "content": said})
