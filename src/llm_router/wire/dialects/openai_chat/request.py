"""Requests: canonical to wire, for any OpenAI-compatible provider.

Providers differ in what they take beyond the common core; each difference is data:

* ``max_tokens`` is written; a quirk renames it where only ``max_completion_tokens`` is known.
* ``top_k`` is no option of OpenAI: it is written only for providers with a quirk about it that is
  not a ``drop`` (see :func:`options.takes`), else it is a declared loss.
* ``reasoning_effort`` is written for models that reason; a quirk moves it elsewhere ("reasoning.effort").
* ``developer`` is written as ``system`` except for providers that know it.
"""

from __future__ import annotations

from typing import Any, Final

from llm_router.wire.chat import ChatRequest, Raw, Reasoning, ResponseFormat, Tool
from llm_router.wire.dialect import Target
from llm_router.wire.dialects.openai_chat.lenient import encode
from llm_router.wire.dialects.openai_chat.messages import Writer
from llm_router.wire.dialects.openai_chat.options import finish_body, takes
from llm_router.wire.dialects.openai_chat.parts import NAME
from llm_router.wire.loss import Loss

STOPS_MAX: Final = 4
EFFORTS: Final = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
_BUDGETS: Final = ((1024, "minimal"), (4096, "low"), (16384, "medium"))
"""Thinking budgets in tokens up to which an effort stands for them; above: high."""


def encode_request(request: ChatRequest, target: Target) -> tuple[bytes, tuple[Loss, ...]]:
    """The upstream body, and what of the request this dialect or provider cannot say.

    Raises:
        UnsupportedContent: a part that cannot be expressed at all.
    """
    losses: list[Loss] = []
    writer = Writer(target, losses)
    body: dict[str, Any] = {"model": target.model, "messages": writer.messages(request.messages)}
    if request.stream:
        body["stream"] = True
        body["stream_options"] = {"include_usage": True}
    _tools(request, body, losses)
    _options(request, target, body, losses)
    body |= _format(request.response_format, target, losses)
    if request.reasoning is not None:
        body |= _effort(request.reasoning, target, losses)
    if request.dialect == NAME:
        for name, value in request.extras.items():
            body.setdefault(name, value)
    else:
        losses += (Loss(field=name, why="the provider has no such option") for name in request.extras)
    losses += finish_body(body, target)
    return encode(body), tuple(losses)


def _options(request: ChatRequest, target: Target, body: dict[str, Any], losses: list[Loss]) -> None:
    for name in (
        "max_tokens", "temperature", "top_p", "frequency_penalty", "presence_penalty", "seed", "logprobs",
        "top_logprobs", "verbosity", "user", "metadata", "service_tier", "prompt_cache_key",
    ):  # fmt: skip
        value = getattr(request, name)
        if value is not None:
            body[name] = value
    if request.n != 1:
        body["n"] = request.n
    if request.stop:
        body["stop"] = list(request.stop[:STOPS_MAX])
        if len(request.stop) > STOPS_MAX:
            losses.append(Loss(field="stop", why=f"the provider takes {STOPS_MAX} stop sequences"))
    if request.top_k is not None:
        if takes(target, "top_k"):
            body["top_k"] = request.top_k
        else:
            losses.append(Loss(field="top_k", why="the provider has no such option"))
    if any(modality != "text" for modality in request.modalities):
        body["modalities"] = list(request.modalities)


# -- tools -----------------------------------------------------------------------------------------


def _tools(request: ChatRequest, body: dict[str, Any], losses: list[Loss]) -> None:
    choice = request.tool_choice
    allowed = choice.allowed if choice is not None else ()
    tools: list[Any] = []
    for tool in request.tools:
        if tool.raw is not None:
            if tool.dialect == NAME:
                tools.append(tool.raw)
            else:
                losses.append(Loss(field=f"tools.{tool.name}", why="only its own provider runs this tool"))
        elif not allowed or tool.name in allowed:
            tools.append(_tool(tool))
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


def _tool(tool: Tool) -> dict[str, Any]:
    if tool.custom:
        custom = {"name": tool.name, "description": tool.description, "format": tool.format}
        return {"type": "custom", "custom": _present(custom)}
    parameters = tool.parameters if tool.parameters is not None else _NO_PARAMETERS
    members: dict[str, Any] = {
        "name": tool.name,
        "description": tool.description,
        "parameters": parameters,
        "strict": tool.strict,
    }
    return {"type": "function", "function": _present(members)}


_NO_PARAMETERS: Final = Raw(b'{"type":"object","properties":{}}')


def _present(members: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in members.items() if value is not None}


# -- response format and reasoning -----------------------------------------------------------------


def _format(format_: ResponseFormat | None, target: Target, losses: list[Loss]) -> dict[str, Any]:
    if format_ is None:
        return {}
    able = target.capabilities
    match format_.mode:
        case "json_schema" if able.json_schema or not able.json_object:
            members = {
                "name": format_.name or "response",
                "description": format_.description,
                "schema": format_.schema,
                "strict": format_.strict,
            }
            return {"response_format": {"type": "json_schema", "json_schema": _present(members)}}
        case "json_schema":
            losses.append(
                Loss(field="response_format.json_schema", why="the model takes JSON mode without a schema")
            )
            return {"response_format": {"type": "json_object"}}
        case "text":
            return {}
    return {"response_format": {"type": format_.mode}}


def _effort(asked: Reasoning, target: Target, losses: list[Loss]) -> dict[str, Any]:
    """The member that says how much to think; what cannot be said becomes a loss."""
    able = target.capabilities
    wish = asked.effort
    if asked.enabled is False:
        wish = "none"
    elif wish is None and asked.budget_tokens is not None and asked.budget_tokens >= 0:
        wish = next((word for most, word in _BUDGETS if asked.budget_tokens <= most), "high")
        if able.reasoning:
            losses.append(
                Loss(field="reasoning.budget_tokens", why="the provider takes an effort in place of a budget")
            )
    if wish is None:
        return {}
    if not able.reasoning or not able.reasoning_levels:
        if wish != "none" or able.reasoning:
            losses.append(Loss(field="reasoning", why="the model's reasoning cannot be adjusted"))
        return {}
    effort = _nearest(wish, able.reasoning_levels)
    if effort != wish:
        losses.append(Loss(field="reasoning.effort", why=f"the model knows no {wish!r}; {effort!r} was sent"))
    return {"reasoning_effort": effort}


def _nearest(wish: str, levels: tuple[str, ...]) -> str:
    """The level the model has that is closest to the one asked for; of two, the lower one."""
    if wish in levels or wish not in EFFORTS:
        return wish
    known = [level for level in levels if level in EFFORTS]
    if not known:
        return levels[0]
    at = EFFORTS.index(wish)
    return min(known, key=lambda level: (abs(EFFORTS.index(level) - at), EFFORTS.index(level)))
