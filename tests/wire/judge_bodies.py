"""Judges of the requests that are sent: the provider's own types, and what its documentation demands.

Independent of the encoders: each judge reads the JSON text alone. ``faults_of`` gives what a
provider would refuse. A judge whose types are not installed says nothing; ``missing`` names them.
"""

from __future__ import annotations

import importlib.util
import json
import re
from collections.abc import Callable
from functools import cache
from typing import Any

from judge_types import faults

Body = dict[str, Any]
Judge = Callable[[Body], list[str]]

OPENAI_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
CLAUDE_NAME = re.compile(r"[a-zA-Z0-9_-]{1,128}")
GEMINI_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_.:-]{0,127}")


def installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def duplicates(names: list[Any]) -> list[str]:
    return [f"the tool {name!r} is there twice" for name in {n for n in names if names.count(n) > 1}]


def bad_names(names: list[Any], form: re.Pattern[str]) -> list[str]:
    return [f"the name {name!r:.80} is not taken" for name in names if not form.fullmatch(str(name))]


def judge_openai_chat(body: Body) -> list[str]:
    """https://platform.openai.com/docs/api-reference/chat/create"""
    from openai.types.chat import completion_create_params as params

    kind = (
        params.CompletionCreateParamsStreaming
        if body.get("stream")
        else params.CompletionCreateParamsNonStreaming
    )
    found = faults(kind, body)
    tools = [tool.get(tool["type"], {}).get("name") for tool in body.get("tools", ())]
    found += bad_names(tools, OPENAI_NAME) + duplicates(tools)
    found += chat_order(body["messages"])
    found += bad_names(
        [c[c["type"]]["name"] for m in body["messages"] for c in m.get("tool_calls", ())], OPENAI_NAME
    )
    if not tools and ("tool_choice" in body or "parallel_tool_calls" in body):
        found.append("tool_choice without tools")
    if "top_logprobs" in body and body.get("logprobs") is not True:
        found.append("top_logprobs without logprobs")
    if len(body.get("stop") or ()) > 4:
        found.append("more than four stop sequences")
    wanted = body.get("response_format", {})
    if wanted.get("type") == "json_object" and "json" not in json.dumps(body["messages"]).lower():
        found.append("JSON mode, and no message speaks of JSON")
    if wanted.get("type") == "json_schema" and not OPENAI_NAME.fullmatch(wanted["json_schema"]["name"]):
        found.append("the schema's name is not taken")
    return found


def chat_order(messages: list[Body]) -> list[str]:
    """Results of tools follow the calls they answer; no turn of an assistant is empty."""
    found = [] if messages else ["no messages"]
    open_calls: set[str] = set()
    for message in messages:
        role = message.get("role")
        if role == "tool":
            if message.get("tool_call_id") not in open_calls:
                found.append("a tool message answers no call before it")
            open_calls.discard(message.get("tool_call_id", ""))
            continue
        if open_calls:
            found.append(f"calls {sorted(open_calls)} are not answered")
        open_calls = {call["id"] for call in message.get("tool_calls", ())}
        empty = message.get("content") in (None, "", [])
        if (
            role == "assistant"
            and empty
            and not any(message.get(name) for name in ("tool_calls", "refusal", "audio", "function_call"))
        ):
            found.append("an assistant turn without content")
        if role != "assistant" and message.get("content") in (None, []):
            found.append(f"a {role} turn without content")
    return found


def judge_openai_responses(body: Body) -> list[str]:
    """https://platform.openai.com/docs/api-reference/responses/create"""
    from openai.types.responses import response_create_params as params

    streaming = params.ResponseCreateParamsStreaming
    found = faults(streaming if body.get("stream") else params.ResponseCreateParamsNonStreaming, body)
    tools = [tool["name"] for tool in body.get("tools", ()) if tool["type"] in ("function", "custom")]
    found += bad_names(tools, OPENAI_NAME) + duplicates(tools)
    items = body["input"] if isinstance(body.get("input"), list) else []
    calls = {i["call_id"] for i in items if i.get("type") in ("function_call", "custom_tool_call")}
    for item in items:
        kind = item.get("type", "message")
        if kind in ("function_call_output", "custom_tool_call_output") and item["call_id"] not in calls:
            found.append("an output answers no call")
        if kind in ("function_call", "custom_tool_call"):
            found += bad_names([item["name"]], OPENAI_NAME)
        if kind == "message" and item.get("content") == []:
            found.append("an empty message")
    if body.get("max_output_tokens", 16) is not None and body.get("max_output_tokens", 16) < 16:
        found.append("max_output_tokens below 16")
    form = (body.get("text") or {}).get("format") or {}
    if form.get("type") == "json_schema" and not OPENAI_NAME.fullmatch(form["name"]):
        found.append("the schema's name is not taken")
    if not tools and not body.get("tools") and body.get("tool_choice") not in (None, "auto", "none"):
        found.append("tool_choice without tools")
    return found


def judge_anthropic_messages(body: Body) -> list[str]:
    """https://docs.anthropic.com/en/api/messages"""
    from anthropic.types.beta import message_create_params as params

    streaming = params.MessageCreateParamsStreaming
    sampling = ("temperature", "top_p", "top_k")  # no longer in the types, since the newest models take none
    typed = {name: part for name, part in body.items() if name not in sampling}
    found = faults(streaming if body.get("stream") else params.MessageCreateParamsNonStreaming, typed)
    tools = [tool.get("name") for tool in body.get("tools", ()) if "input_schema" in tool]
    found += bad_names(tools, CLAUDE_NAME) + duplicates(tools)
    found += [
        "input_schema is no object's"
        for tool in body.get("tools", ())
        if "input_schema" in tool and tool["input_schema"].get("type") != "object"
    ]
    if json.dumps(body).count('"cache_control": {') > 4:
        found.append("more than four cache breakpoints")
    found += _claude_turns(body["messages"]) + _claude_thinking(body)
    if any(not stop.strip() for stop in body.get("stop_sequences") or ()):
        found.append("a stop sequence of white space")
    if body["max_tokens"] < 1:
        found.append("max_tokens below 1")
    if body.get("temperature") is not None and not 0 <= body["temperature"] <= 1:
        found.append("temperature above 1")
    if body.get("tool_choice") and not body.get("tools"):
        found.append("tool_choice without tools")
    chosen = body.get("tool_choice") or {}
    if chosen.get("type") == "tool" and chosen["name"] not in [t.get("name") for t in body["tools"]]:
        found.append("the chosen tool is not offered")
    return found


def _claude_turns(messages: list[Body]) -> list[str]:
    found = [] if messages else ["no messages"]
    if messages and messages[0]["role"] != "user":
        found.append("the first turn is not the user's")
    asked: list[str] = []
    seen: set[str] = set()
    for message in messages:
        content = message["content"]
        blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
        if not blocks:
            found.append("a turn without content")
        answered = [block["tool_use_id"] for block in blocks if block["type"] == "tool_result"]
        if message["role"] == "user":
            if sorted(answered) != sorted(asked):
                found.append(f"calls {asked} are answered by {answered}")
            kinds = [block["type"] for block in blocks]
            if "tool_result" in kinds[len(answered) :]:
                found.append("results do not come first")
            asked = []
        if message["role"] == "assistant":
            asked = [block["id"] for block in blocks if block["type"] == "tool_use"]
            if seen & set(asked) or len(set(asked)) < len(asked):
                found.append("an id of a call is there twice")
            seen |= set(asked)
            found += bad_names([b["name"] for b in blocks if b["type"] == "tool_use"], CLAUDE_NAME)
        found += ["blank text" for b in blocks if b["type"] == "text" and not b["text"].strip()]
    if asked:
        found.append("calls at the end are not answered")
    return found


def _claude_thinking(body: Body) -> list[str]:
    thinking = body.get("thinking") or {}
    if thinking.get("type") not in ("enabled", "adaptive"):
        return []
    found = []
    if thinking["type"] == "enabled" and not 1024 <= thinking["budget_tokens"] < body["max_tokens"]:
        found.append("the budget is below 1024 or not below max_tokens")
    if body.get("temperature") not in (None, 1) or body.get("top_k") is not None:
        found.append("temperature or top_k with thinking")
    if body.get("top_p") is not None and not 0.95 <= body["top_p"] <= 1:
        found.append("top_p with thinking")
    if (body.get("tool_choice") or {}).get("type") in ("any", "tool"):
        found.append("a forced tool with thinking")
    return found


def judge_gemini_generate(body: Body) -> list[str]:
    """https://ai.google.dev/api/generate-content"""
    from google.genai import types as genai
    from pydantic import ValidationError

    kinds = {
        "contents": [genai.Content],
        "systemInstruction": genai.Content,
        "tools": [genai.Tool],
        "toolConfig": genai.ToolConfig,
        "safetySettings": [genai.SafetySetting],
        "generationConfig": genai.GenerationConfig,
    }
    plain = {"cachedContent", "labels", "serviceTier", "store", "model"}
    found = []
    for name, value in body.items():
        if name in plain:
            continue
        kind: Any = kinds.get(name)
        if kind is None:
            found.append(f"{name}: no such member")
            continue
        for item in value if isinstance(kind, list) else [value]:
            try:
                (kind[0] if isinstance(kind, list) else kind).model_validate(item)
            except ValidationError as error:
                found += [f"{name}.{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()]
            except AttributeError:
                continue  # the SDK trips over enums by number, which the API takes
    return found + _gemini_rules(body)


def _gemini_rules(body: Body) -> list[str]:
    found = [] if body["contents"] else ["no contents"]
    declared = [d["name"] for tool in body.get("tools", ()) for d in tool.get("functionDeclarations", ())]
    found += bad_names(declared, GEMINI_NAME) + duplicates(declared)
    for content in body["contents"]:
        found += [] if content.get("parts") else ["a turn without parts"]
        for part in content.get("parts", ()):
            for member in ("functionCall", "functionResponse"):
                if member in part:
                    found += bad_names([part[member]["name"]], GEMINI_NAME)
            found += ["an empty text"] if part == {"text": ""} else []
    config = body.get("generationConfig", {})
    if len(config.get("stopSequences") or ()) > 5:
        found.append("more than five stop sequences")
    thinking = config.get("thinkingConfig", {})
    if "thinkingBudget" in thinking and "thinkingLevel" in thinking:
        found.append("a budget and a level")
    calling = body.get("toolConfig", {}).get("functionCallingConfig", {})
    unknown = set(calling.get("allowedFunctionNames", ())) - set(declared)
    found += [f"{unknown} are allowed, but not declared"] if unknown else []
    if calling.get("allowedFunctionNames") and calling.get("mode") not in ("ANY", "VALIDATED"):
        found.append("names are allowed in a mode that takes none")
    if config.get("logprobs") is not None and not config.get("responseLogprobs"):
        found.append("logprobs without responseLogprobs")
    return found


@cache
def _converse_shape() -> tuple[Any, Any]:
    import botocore.session
    from botocore.validate import ParamValidator

    model = botocore.session.get_session().get_service_model("bedrock-runtime")
    return ParamValidator(), model.operation_model("Converse").input_shape


def judge_bedrock_converse(body: Body) -> list[str]:
    """AWS's own model of Converse."""
    validator, shape = _converse_shape()
    report = validator.validate({"modelId": "m", **body}, shape)
    found = report.generate_report().splitlines() if report.has_errors() else []
    tools = [t["toolSpec"]["name"] for t in body.get("toolConfig", {}).get("tools", ()) if "toolSpec" in t]
    names = [b["toolUse"]["name"] for m in body["messages"] for b in m["content"] if "toolUse" in b]
    found += bad_names(tools + names, OPENAI_NAME) + duplicates(tools)
    points = json.dumps(body).count('"cachePoint"')
    return found + (["more than four cache points"] if points > 4 else [])


def judge_cohere_chat(body: Body) -> list[str]:
    """https://docs.cohere.com/v2/reference/chat"""
    import inspect

    import cohere.types as types
    from cohere.v2.client import V2Client
    from pydantic import ValidationError

    known = {*inspect.signature(V2Client.chat).parameters, "stream"} - {"self", "request_options"}
    found = [f"{name}: no such member" for name in body.keys() - known]
    roles = {
        "system": types.SystemChatMessageV2,
        "user": types.UserChatMessageV2,
        "assistant": types.AssistantChatMessageV2,
        "tool": types.ToolChatMessageV2,
    }
    pairs: list[tuple[Any, Any]] = [(roles[m["role"]], m) for m in body["messages"]]
    pairs += [(types.ToolV2, tool) for tool in body.get("tools", ())]
    pairs += [(types.Thinking, body["thinking"])] if "thinking" in body else []
    for kind, value in pairs:
        try:
            again = json.loads(
                kind.model_validate(value).model_dump_json(exclude_unset=True, exclude_none=True)
            )
        except ValidationError as error:
            found.append(str(error))
            continue
        if again != value:
            found.append(f"{kind.__name__} does not take {value!r:.200}")
    tools = [tool["function"]["name"] for tool in body.get("tools", ())]
    found += bad_names(tools, OPENAI_NAME) + duplicates(tools)
    if len(body.get("stop_sequences") or ()) > 5:
        found.append("more than five stop sequences")
    if "tool_choice" in body and not tools:
        found.append("tool_choice without tools")
    return found + [order for order in chat_order(body["messages"]) if "answers no call" in order]


def judge_ollama_chat(body: Body) -> list[str]:
    """https://docs.ollama.com/api/chat"""
    import ollama._types as types
    from pydantic import ValidationError

    known = types.ChatRequest.model_fields.keys()
    found = [f"{name}: no such member" for name in body.keys() - known]
    try:
        types.ChatRequest.model_validate(body)
    except ValidationError as error:
        found += [f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()]
    members = types.Message.model_fields.keys() | {"tool_call_id"}
    for message in body["messages"]:
        found += [f"messages.{name}: no such member" for name in message.keys() - members]
        if message["role"] not in ("system", "user", "assistant", "tool"):
            found.append(f"no role {message['role']}")
    return found + duplicates([tool["function"]["name"] for tool in body.get("tools", ())])


JUDGES: dict[str, tuple[str, Judge]] = {
    "openai_chat": ("openai", judge_openai_chat),
    "openai_responses": ("openai", judge_openai_responses),
    "anthropic_messages": ("anthropic", judge_anthropic_messages),
    "gemini_generate": ("google.genai", judge_gemini_generate),
    "bedrock_converse": ("botocore", judge_bedrock_converse),
    "cohere_chat": ("cohere", judge_cohere_chat),
    "ollama_chat": ("ollama", judge_ollama_chat),
}
"""By dialect: the package that holds the types, and the judge."""


def missing(dialect: str) -> str | None:
    """The package that the judge needs and that is not installed."""
    package = JUDGES[dialect][0]
    return None if installed(package) else package


def faults_of(dialect: str, data: bytes) -> list[str]:
    """What the provider would refuse of this body."""
    return JUDGES[dialect][1](json.loads(data))
