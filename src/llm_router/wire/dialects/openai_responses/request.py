"""Requests: canonical to wire.

Nothing is stored at the provider (``store`` false) unless a client of this API asked for it, so the
encrypted state of reasoning is asked for: it comes back with the next request.
https://platform.openai.com/docs/api-reference/responses/create
"""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec

from llm_router.domain.errors import UnsupportedContent
from llm_router.wire.cachemarks import fit_marks
from llm_router.wire.callids import IdForm, fitted
from llm_router.wire.chat import ChatRequest, Message, Raw, Reasoning, ResponseFormat, Text, Tool
from llm_router.wire.dialect import Target
from llm_router.wire.dialects.openai_responses.decode import TOOL_MEMBER
from llm_router.wire.dialects.openai_responses.items import ItemWriter, marks_known
from llm_router.wire.dialects.openai_responses.options import cap_output, drop_sampling, nearest
from llm_router.wire.dialects.openai_responses.words import ENCRYPTED, LOGPROBS, NAME, SEPARATOR
from llm_router.wire.encoding import functions_alone, knows_custom, parameters_of, schema_name
from llm_router.wire.jsonschema.strict import strict_schema
from llm_router.wire.lenient import load_object
from llm_router.wire.loss import Loss, Losses
from llm_router.wire.quirks import apply_quirks
from llm_router.wire.toolnames import fit_tools
from llm_router.wire.verbatim import encode, is_object

_TIERS: Final = ("auto", "default", "flex", "scale", "priority")

OUTPUT_TOKENS_MIN: Final = 16
"""OpenAI refuses a lower ``max_output_tokens``."""

JSON_ONLY: Final = "Answer with a JSON object."

_BUDGETS: Final = ((1024, "minimal"), (4096, "low"), (16384, "medium"))
"""Thinking budgets in tokens up to which an effort stands for them; above: high."""

_CHAT_EXTRAS: Final = ("safety_identifier", "prompt_cache_retention", "prompt_cache_options", "moderation")
"""Members of OpenAI's chat completions that mean the same here."""

_SILENT_EXTRAS: Final = ("stream_options", "store", "usage")
"""Members of other dialects about the transport or storage: nothing of the answer is lost."""


_IDS = IdForm(fits=re.compile(r".{1,64}", re.DOTALL))
"""Ids of calls: https://platform.openai.com/docs/api-reference/responses/create"""


def encode_request(request: ChatRequest, target: Target) -> tuple[bytes, tuple[Loss, ...]]:
    """The upstream body, and what of the request this dialect or provider cannot say.

    Raises:
        UnsupportedContent: no content, or of a kind that the API cannot express.
        InvalidRequest: two different tools of one name.
    """
    request = fitted(request, _IDS)
    losses = Losses()
    own = request.dialect == NAME
    if not own:
        request = fit_tools(request, NAME)
        request = fit_marks(request, losses) if marks_known(target) else request
    if not own and not knows_custom(target):
        request = functions_alone(request, losses)
    stored = own and request.extras.get("store") is not None and bytes(request.extras["store"]) == b"true"
    body: dict[str, Any] = {"model": target.model}
    instructions, messages = _instructions(request)
    if instructions is not None:
        body["instructions"] = instructions
    body["input"] = ItemWriter(request, target, losses, stateless=not stored).items(messages)
    if not body["input"] and not (own and _has_input(request)):
        raise UnsupportedContent(
            "The conversation is empty: at least one message must hold text.", param="messages"
        )
    if request.stream:
        body["stream"] = True
    _tools(request, body, losses)
    _options(request, body, losses)
    _text(request, target, body, losses)
    _mention_json(request, body)
    _reasoning(request, target, body, losses)
    body["store"] = stored
    _include(request, target, body)
    _extras(request, body, losses)
    losses.found += drop_sampling(body, target)
    cap_output(body, target)
    losses.found += apply_quirks(body, target.quirks, *target.names)
    return encode(body), tuple(losses.found)


def _instructions(request: ChatRequest) -> tuple[str | None, tuple[Message, ...]]:
    """The text of a system message at the start, if something follows it, and the other messages."""
    messages = request.messages
    roles = ("system",) if request.dialect == NAME else ("system", "developer")
    if len(messages) < 2 or messages[0].role not in roles:
        return None, messages
    texts = [part.text for part in messages[0].parts if isinstance(part, Text)]
    if len(texts) < len(messages[0].parts):
        return None, messages
    return SEPARATOR.join(texts), messages[1:]


def _has_input(request: ChatRequest) -> bool:
    return any(name in request.extras for name in ("prompt", "previous_response_id", "conversation"))


def _options(request: ChatRequest, body: dict[str, Any], losses: Losses) -> None:
    for name in (
        "temperature", "top_p", "top_logprobs", "user", "metadata", "prompt_cache_key",
    ):  # fmt: skip
        value = getattr(request, name)
        if value is not None:
            body[name] = value
    if request.service_tier is not None:
        tier = {"standard_only": "default"}.get(request.service_tier, request.service_tier)
        if tier in _TIERS or request.dialect == NAME:
            body["service_tier"] = tier
        else:
            losses.add("service_tier", "the provider has no such tier")
    if request.max_tokens is not None:
        body["max_output_tokens"] = request.max_tokens
        if request.dialect != NAME and request.max_tokens < OUTPUT_TOKENS_MIN:
            body["max_output_tokens"] = OUTPUT_TOKENS_MIN
            losses.add("max_tokens", f"the API's lowest limit is {OUTPUT_TOKENS_MIN}")
    unsaid = {
        "n": request.n > 1,
        "stop": bool(request.stop),
        "seed": request.seed is not None,
        "top_k": request.top_k is not None,
        "frequency_penalty": bool(request.frequency_penalty),
        "presence_penalty": bool(request.presence_penalty),
        "modalities": any(modality != "text" for modality in request.modalities),
    }
    for name, present in unsaid.items():
        if present:
            losses.add(name, "the Responses API has no such option")


def _include(request: ChatRequest, target: Target, body: dict[str, Any]) -> None:
    raw = request.extras.get("include") if request.dialect == NAME else None
    wanted: list[str] = msgspec.json.decode(raw) if raw is not None else []
    able = target.capabilities
    if not body["store"] and (able.reasoning or able.reasoning_levels):
        wanted.append(ENCRYPTED)
    if request.logprobs or request.top_logprobs:
        wanted.append(LOGPROBS)
    if wanted:
        body["include"] = wanted


def _extras(request: ChatRequest, body: dict[str, Any], losses: Losses) -> None:
    for name, raw in request.extras.items():
        if request.dialect == NAME:
            if name == "reasoning":
                body[name] = {**(load_object(bytes(raw)) or {}), **body.get(name, {})}
            elif not name.startswith(TOOL_MEMBER):
                body.setdefault(name, raw)
        elif request.dialect == "openai_chat" and name in _CHAT_EXTRAS:
            body[name] = raw
        elif name not in _SILENT_EXTRAS and bytes(raw) not in (b"null", b"false"):
            losses.add(name, "the Responses API has no such option")


# -- tools -----------------------------------------------------------------------------------------


def _tools(request: ChatRequest, body: dict[str, Any], losses: Losses) -> None:
    tools: list[Any] = []
    for tool in request.tools:
        if tool.raw is None:
            tools.append(_tool(tool, request, losses))
        elif tool.dialect == NAME:
            tools.append(tool.raw)
        else:
            losses.add(f"tools.{tool.name}", "only its own provider runs this tool")
    if not tools:
        return
    body["tools"] = tools
    if request.parallel_tool_calls is not None:
        body["parallel_tool_calls"] = request.parallel_tool_calls
    choice = request.tool_choice
    if choice is None:
        return
    kinds = {tool.name: "custom" if tool.custom else "function" for tool in request.tools}
    if choice.mode == "tool" and choice.name is not None:
        body["tool_choice"] = {"type": kinds.get(choice.name, "function"), "name": choice.name}
    elif choice.allowed and choice.mode in ("auto", "required"):
        allowed = [{"type": kinds.get(name, "function"), "name": name} for name in choice.allowed]
        body["tool_choice"] = {"type": "allowed_tools", "mode": choice.mode, "tools": allowed}
    else:
        body["tool_choice"] = choice.mode


def _tool(tool: Tool, request: ChatRequest, losses: Losses) -> dict[str, Any]:
    """A tool. ``strict`` is written always: left out, it would mean true here, and false elsewhere."""
    found: dict[str, Any] = {"type": "custom" if tool.custom else "function", "name": tool.name}
    if tool.description is not None:
        found["description"] = tool.description
    if tool.custom:
        if tool.format is not None:
            found["format"] = _flat_grammar(tool.format)
    else:
        found |= _parameters(tool, request.dialect == NAME, losses)
    for key, raw in request.extras.items() if request.dialect == NAME else ():
        if key.startswith(TOOL_MEMBER) and tool.name in (held := load_object(bytes(raw)) or {}):
            found[key.removeprefix(TOOL_MEMBER)] = held[tool.name]
    return found


def _parameters(tool: Tool, own: bool, losses: Losses) -> dict[str, Any]:
    """A function's schema, as strict as it was asked for, if strict mode takes it."""
    if own and tool.parameters is not None:
        return {"parameters": tool.parameters} | ({} if tool.strict is None else {"strict": tool.strict})
    parameters = parameters_of(tool, losses)
    strict = strict_schema(parameters) if tool.strict else None
    if tool.strict and strict is None:
        losses.add("tools[].function.strict", "the schema is none that strict mode takes")
    said = {} if own and tool.strict is None else {"strict": strict is not None}
    return {"parameters": parameters if strict is None else strict, **said}


def _flat_grammar(format_: Raw) -> Any:
    """The canonical (chat) form of a grammar in this API's."""
    found = load_object(bytes(format_))
    if found is None or not isinstance(found.get("grammar"), dict):
        return format_
    return {"type": "grammar", **found["grammar"]}


# -- text and reasoning ----------------------------------------------------------------------------


def _text(request: ChatRequest, target: Target, body: dict[str, Any], losses: Losses) -> None:
    text: dict[str, Any] = {}
    if request.response_format is not None:
        text["format"] = _format(request.response_format, target, losses, own=request.dialect == NAME)
    if request.verbosity is not None:
        text["verbosity"] = request.verbosity
    if text:
        body["text"] = text


def _mention_json(request: ChatRequest, body: dict[str, Any]) -> None:
    """Say "JSON" in the input: OpenAI refuses JSON mode where no message does. Other APIs do not ask for it."""
    asked = body.get("text", {}).get("format", {}).get("type") == "json_object"
    if asked and request.dialect != NAME and b"json" not in encode(body["input"]).lower():
        body["input"] = [{"type": "message", "role": "system", "content": JSON_ONLY}, *body["input"]]


def _format(format_: ResponseFormat, target: Target, losses: Losses, *, own: bool) -> dict[str, Any]:
    able = target.capabilities
    if format_.mode != "json_schema":
        return {"type": format_.mode}
    if format_.schema is None or not is_object(format_.schema):
        losses.add("response_format.json_schema", "only an object is a schema here")
        return {"type": "json_object"}
    if able.json_object and not able.json_schema:
        losses.add("response_format.json_schema", "the model takes JSON mode without a schema")
        return {"type": "json_object"}
    found: dict[str, Any] = {
        "type": "json_schema",
        "name": schema_name(format_.name),
        "schema": format_.schema,
    }
    if format_.description is not None:
        found["description"] = format_.description
    if format_.strict is not None:
        strict = strict_schema(found["schema"]) if format_.strict and not own else None
        if format_.strict and strict is None and not own:
            losses.add("response_format.json_schema.strict", "the schema is none that strict mode takes")
        found["strict"] = format_.strict if own else strict is not None
        found["schema"] = found["schema"] if strict is None else strict
    return found


def _reasoning(request: ChatRequest, target: Target, body: dict[str, Any], losses: Losses) -> None:
    asked = request.reasoning
    if asked is None:
        return
    if request.dialect == NAME:
        found = {"effort": asked.effort, "summary": asked.summary}
    else:
        effort = _effort(asked, target, losses)
        able = target.capabilities.reasoning or bool(target.capabilities.reasoning_levels)
        found = {"effort": effort, "summary": _summary(asked) if able and effort != "none" else None}
    found = {name: value for name, value in found.items() if value is not None}
    if found:
        body["reasoning"] = found


def _summary(asked: Reasoning) -> str | None:
    """Whether reasoning is shown: as asked for, and to those who asked for thinking without a word on it."""
    if asked.summary is not None or asked.show is False:
        return asked.summary if asked.show is not False else None
    thinks = asked.enabled or asked.adaptive or asked.budget_tokens not in (None, 0)
    return "auto" if asked.show or thinks else None


def _effort(asked: Reasoning, target: Target, losses: Losses) -> str | None:
    able = target.capabilities
    wish = asked.effort
    if asked.enabled is False:
        wish = "none"
    elif wish is None and asked.budget_tokens is not None and asked.budget_tokens >= 0:
        wish = next((word for most, word in _BUDGETS if asked.budget_tokens <= most), "high")
        if able.reasoning:
            losses.add("reasoning.budget_tokens", "the provider takes an effort in place of a budget")
    if wish is None:
        return None
    if not able.reasoning_levels:
        if wish != "none" or able.reasoning:
            losses.add("reasoning", "the model's reasoning cannot be adjusted")
        return None
    effort = nearest(wish, able.reasoning_levels)
    if effort != wish:
        losses.add("reasoning.effort", f"the model knows no {wish!r}; {effort!r} was sent")
    return effort
