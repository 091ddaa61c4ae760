"""What a recording says, read naively and without a line of the product's code.

Only two questions of judgement are answered here, both from what providers document: how counts
include one another, and which finish a client is to see.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any

FINISH = {
    "stop": "stop", "end_turn": "stop", "stop_sequence": "stop", "STOP": "stop", "1": "stop", "eos": "stop",
    "length": "length", "max_tokens": "length", "MAX_TOKENS": "length", "2": "length",
    "model_context_window_exceeded": "length", "pause_turn": "length",
    "tool_calls": "tool_calls", "tool_use": "tool_calls", "function_call": "tool_calls",
    "content_filter": "content_filter", "refusal": "content_filter", "SAFETY": "content_filter",
    "RECITATION": "content_filter", "PROHIBITED_CONTENT": "content_filter", "BLOCKLIST": "content_filter",
    "SPII": "content_filter", "MODEL_ARMOR": "content_filter",
    "COMPLETE": "stop", "STOP_SEQUENCE": "stop", "TOOL_CALL": "tool_calls",
}  # fmt: skip
"""The provider's word -> the client's. A word that is missing here is a failure or left open."""


@dataclass
class Answer:
    """One choice of a reply. ``finish`` None: the recording leaves it open."""

    text: str = ""
    refusal: str = ""
    reasoning: str = ""
    calls: list[tuple[str, Any]] = field(default_factory=list)
    finish: str | None = None


@dataclass
class Expected:
    """Attributes: status of the error reply; broken: an error inside a 200 stream."""

    status: int = 200
    choices: dict[int, Answer] = field(default_factory=dict)
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cached_tokens: int | None = None
    broken: bool = False


def sse(text: str) -> list[tuple[str, str]]:
    """(event, data) of each event."""
    events = []
    for block in re.split(r"\r\n\r\n|\n\n|\r\r", text):
        lines = re.split(r"\r\n|\n|\r", block)
        data = [line[5:].removeprefix(" ") for line in lines if line.startswith("data:")]
        names = [line[6:].strip() for line in lines if line.startswith("event:")]
        if data:
            events.append((names[0] if names else "", "\n".join(data)))
    return events


def arguments(text: Any) -> Any:
    """Arguments as the client should parse them; cut JSON stays text."""
    if isinstance(text, dict):
        return text
    if not text or not text.strip():
        return {}
    try:
        read = json.loads(text)
    except ValueError:
        return text
    return {} if read is None else read


def expect(recording: dict[str, Any]) -> Expected:
    """The reading of any recording of the three APIs."""
    response = recording["response"]
    if response["status"] >= 400:
        return Expected(status=response["status"])
    api = recording["api"]
    if api == "chat_completions":
        return _chat_stream(response["sse"]) if response.get("sse") else _chat(response["body"])
    if api == "messages":
        return _messages_stream(response["sse"]) if response.get("sse") else _messages(response["body"])
    if response.get("sse"):
        chunks = [json.loads(data) for _, data in sse(response["sse"]) if data.startswith("{")]
    else:
        body = response["body"]
        chunks = body if isinstance(body, list) else [body]
    return _gemini(chunks)


# --- OpenAI chat ---------------------------------------------------------------------------------


def _content(value: Any) -> tuple[str, str]:
    """(text, reasoning) of content as string, list or null."""
    if isinstance(value, str):
        return value, ""
    text = reasoning = ""
    for part in value or []:
        if part.get("type") == "thinking":
            inner = part.get("thinking") or []
            reasoning += inner if isinstance(inner, str) else "".join(p.get("text", "") for p in inner)
        elif part.get("type") in ("text", "output_text"):
            text += part.get("text") or ""
    return text, reasoning


def _reasoning(message: dict[str, Any]) -> str:
    for name in ("reasoning_content", "reasoning"):
        if isinstance(message.get(name), str) and message[name]:
            return str(message[name])
    details = message.get("reasoning_details") or []
    return "".join(d.get("text") or d.get("summary") or "" for d in details if isinstance(d, dict))


def _chat_usage(expected: Expected, usage: dict[str, Any] | None) -> None:
    if not usage:
        return
    prompt, completion = usage.get("prompt_tokens"), usage.get("completion_tokens")
    total = usage.get("total_tokens")
    if not isinstance(prompt, int) or isinstance(prompt, bool):
        return
    completion = completion or 0
    details = usage.get("completion_tokens_details") or {}
    reasoning = details.get("reasoning_tokens") or 0
    audio = (usage.get("prompt_tokens_details") or {}).get("audio_tokens") or 0
    if isinstance(total, int) and total > prompt + completion:
        rest = total - prompt - completion
        if rest == audio and audio:
            prompt += audio
        else:
            completion += rest
    elif reasoning > completion and any(a.text or a.calls for a in expected.choices.values()):
        completion += reasoning  # Vercel: what it says it cost is only right so
    expected.prompt_tokens, expected.completion_tokens = prompt, completion
    prompt_details = usage.get("prompt_tokens_details") or {}
    for cached in (
        prompt_details.get("cached_tokens"), usage.get("prompt_cache_hit_tokens"),
        usage.get("cached_tokens"), usage.get("num_cached_tokens"),
    ):  # fmt: skip
        if isinstance(cached, int):
            expected.cached_tokens = min(cached, prompt)
            break


def _finish(native: Any, calls: bool) -> str | None:
    word = FINISH.get(str(native)) if native is not None else None
    if calls and word in ("stop", None):
        return "tool_calls"
    return word


def _chat(body: dict[str, Any]) -> Expected:
    expected = Expected()
    for choice in body["choices"]:
        message = choice.get("message") or {}
        text, thinking = _content(message.get("content"))
        answer = Answer(text=text, reasoning=thinking or _reasoning(message))
        answer.refusal = message.get("refusal") or ""
        for call in message.get("tool_calls") or []:
            function = call.get("function") or {
                "name": call["custom"]["name"],
                "arguments": call["custom"]["input"],
            }
            answer.calls.append((function["name"], arguments(function.get("arguments"))))
        if (message.get("function_call") or {}).get("name"):
            call = message["function_call"]
            answer.calls.append((call["name"], arguments(call.get("arguments"))))
        native = choice.get("finish_reason") or (choice.get("finish_details") or {}).get("type")
        answer.finish = _finish(native, bool(answer.calls))
        expected.choices[choice.get("index", 0)] = answer
    _chat_usage(expected, body.get("usage"))
    return expected


def _chat_stream(text: str) -> Expected:
    expected = Expected()
    usage: dict[str, Any] | None = None
    calls: dict[int, dict[Any, dict[str, str]]] = {}
    native: dict[int, Any] = {}
    for event, data in sse(text):
        if data.startswith("[DONE]"):
            break
        chunk = json.loads(data)
        if event == "error" or chunk.get("error"):
            expected.broken = True
            break
        if chunk.get("usage"):
            usage = chunk["usage"]
        elif (chunk.get("x_groq") or {}).get("usage") and usage is None:
            usage = chunk["x_groq"]["usage"]
        for choice in chunk.get("choices") or []:
            index = choice.get("index", 0)
            answer = expected.choices.setdefault(index, Answer())
            delta = choice.get("delta") or {}
            piece, thinking = _content(delta.get("content"))
            answer.text += piece
            answer.refusal += delta.get("refusal") or ""
            answer.reasoning += thinking or _reasoning(delta)
            for position, call in enumerate(delta.get("tool_calls") or []):
                slots = calls.setdefault(index, {})
                key = call["index"] if call.get("index") is not None else ("id", call.get("id") or position)
                slot = slots.setdefault(key, {"name": "", "arguments": ""})
                function = call.get("function") or {}
                slot["name"] = slot["name"] or function.get("name") or ""
                more = function.get("arguments") or ""
                slot["arguments"] += json.dumps(more) if isinstance(more, dict) else more
            if delta.get("function_call"):
                slot = calls.setdefault(index, {}).setdefault("legacy", {"name": "", "arguments": ""})
                slot["name"] = slot["name"] or delta["function_call"].get("name") or ""
                slot["arguments"] += delta["function_call"].get("arguments") or ""
            if choice.get("finish_reason") is not None:
                native.setdefault(index, choice["finish_reason"])
    for index, answer in expected.choices.items():
        for slot in calls.get(index, {}).values():
            answer.calls.append((slot["name"], arguments(slot["arguments"])))
        answer.finish = _finish(native.get(index), bool(answer.calls))
    _chat_usage(expected, usage)
    return expected


# --- Anthropic messages ---------------------------------------------------------------------------


def _messages_usage(expected: Expected, usage: dict[str, Any]) -> None:
    if not usage or usage.get("input_tokens") is None:
        return
    cached = usage.get("cache_read_input_tokens") or 0
    written = usage.get("cache_creation_input_tokens") or 0
    expected.prompt_tokens = usage["input_tokens"] + cached + written
    expected.completion_tokens = usage.get("output_tokens") or 0
    expected.cached_tokens = cached


def _messages_finish(native: Any, calls: bool) -> str | None:
    return _finish(native, calls)


def _block(answer: Answer, block: dict[str, Any]) -> None:
    if block["type"] == "text":
        answer.text += block["text"]
    elif block["type"] == "thinking":
        answer.reasoning += block["thinking"]
    elif block["type"] == "tool_use":
        answer.calls.append((block["name"], arguments(block["input"])))


def _messages(body: dict[str, Any]) -> Expected:
    expected, answer = Expected(), Answer()
    for block in body["content"]:
        _block(answer, block)
    answer.finish = _messages_finish(body["stop_reason"], bool(answer.calls))
    expected.choices[0] = answer
    _messages_usage(expected, body["usage"])
    return expected


def _messages_stream(text: str) -> Expected:
    expected, answer = Expected(), Answer()
    usage: dict[str, Any] = {}
    open_calls: dict[int, list[Any]] = {}
    native = None
    for _, data in sse(text):
        if data.startswith("[DONE]"):
            continue
        event = json.loads(data)
        match event.get("type"):
            case "message_start":
                usage.update(event["message"].get("usage") or {})
            case "content_block_start":
                block = event["content_block"]
                if block["type"] == "tool_use":
                    open_calls[event["index"]] = [block["name"], "", block.get("input")]
                elif block["type"] in ("text", "thinking"):
                    _block(answer, block)
            case "content_block_delta":
                delta = event["delta"]
                if delta["type"] == "text_delta":
                    answer.text += delta["text"]
                elif delta["type"] == "thinking_delta":
                    answer.reasoning += delta["thinking"]
                elif delta["type"] == "input_json_delta" and event["index"] in open_calls:
                    open_calls[event["index"]][1] += delta["partial_json"]
            case "message_delta":
                native = event["delta"].get("stop_reason", native)
                usage.update({k: v for k, v in (event.get("usage") or {}).items() if v is not None})
            case "error":
                expected.broken = True
    answer.calls = [(name, arguments(text or given)) for name, text, given in open_calls.values()]
    answer.finish = _messages_finish(native, bool(answer.calls))
    expected.choices[0] = answer
    _messages_usage(expected, usage)
    return expected


# --- Gemini ---------------------------------------------------------------------------------------


def _gemini(chunks: list[dict[str, Any]]) -> Expected:
    expected = Expected()
    native: dict[int, Any] = {}
    usage: dict[str, Any] = {}
    growing: dict[int, list[Any]] = {}
    for chunk in chunks:
        if chunk.get("error"):
            expected.broken = True
            break
        usage = chunk.get("usageMetadata") or usage
        if (chunk.get("promptFeedback") or {}).get("blockReason") and not chunk.get("candidates"):
            expected.choices[0] = Answer(finish="content_filter")
        for candidate in chunk.get("candidates") or []:
            index = candidate.get("index", 0)
            answer = expected.choices.setdefault(index, Answer())
            for part in (candidate.get("content") or {}).get("parts") or []:
                if "text" in part:
                    if part.get("thought"):
                        answer.reasoning += part["text"]
                    else:
                        answer.text += part["text"]
                elif "functionCall" in part:
                    _gemini_call(answer, growing, index, part["functionCall"])
            if candidate.get("finishReason") is not None:
                native[index] = candidate["finishReason"]
    for index, answer in expected.choices.items():
        word = native.get(index)
        if word is None:
            continue
        answer.finish = _finish(word, bool(answer.calls))
        if str(word) not in FINISH:
            expected.broken = True
    if usage.get("promptTokenCount") is not None:
        expected.prompt_tokens = usage["promptTokenCount"] + (usage.get("toolUsePromptTokenCount") or 0)
        expected.completion_tokens = (usage.get("candidatesTokenCount") or 0) + (
            usage.get("thoughtsTokenCount") or 0
        )
        expected.cached_tokens = usage.get("cachedContentTokenCount") or 0
    return expected


def _gemini_call(answer: Answer, growing: dict[int, list[Any]], index: int, call: dict[str, Any]) -> None:
    """A whole call, or a piece of one whose arguments come by JSON path."""
    if call.get("name"):
        growing[index] = [call["name"], dict(call.get("args") or {})]
        answer.calls.append((growing[index][0], growing[index][1]))
    for piece in call.get("partialArgs") or []:
        values = [v for k, v in piece.items() if k.endswith("Value")]
        name = piece["jsonPath"].removeprefix("$.")
        target = growing[index][1]
        value = values[0] if values else None
        if isinstance(value, str) and isinstance(target.get(name), str):
            target[name] += value
        elif value is not None:
            target[name] = value
