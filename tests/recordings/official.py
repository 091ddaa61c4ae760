"""What the official clients of the four APIs make of a reply: a second opinion beside the strict readers.

They get the bytes through a transport of their own, without a socket.
"""

from __future__ import annotations

import base64
import functools
from collections.abc import Iterator
from typing import Any

import anthropic
import httpx2 as httpx
import openai
from carry import Carried
from google import genai
from google.genai import errors as genai_errors
from google.genai import types as genai_types
from strict_client import Read


class _Shelf(httpx.BaseTransport):
    """Answers every request with what lies on it."""

    def __init__(self) -> None:
        self.carried = Carried(200, b"")
        self.stream = False
        self.strict = True

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        kind = "text/event-stream" if self.stream and self.carried.status < 400 else "application/json"
        return httpx.Response(self.carried.status, headers={"content-type": kind}, content=self.carried.data)


SHELF = _Shelf()


@functools.cache
def _openai(strict: bool) -> openai.OpenAI:
    return openai.OpenAI(
        api_key="k",
        base_url="http://gateway/v1",
        max_retries=0,
        _strict_response_validation=strict,
        http_client=httpx.Client(transport=SHELF),
    )


@functools.cache
def _anthropic(strict: bool) -> anthropic.Anthropic:
    return anthropic.Anthropic(
        api_key="k",
        base_url="http://gateway",
        max_retries=0,
        _strict_response_validation=strict,
        http_client=httpx.Client(transport=SHELF),
    )


@functools.cache
def _genai() -> genai.Client:
    options = genai_types.HttpOptions(base_url="http://gateway", httpx_client=httpx.Client(transport=SHELF))
    return genai.Client(api_key="k", http_options=options)


def hear(client: str, carried: Carried, *, stream: bool, native: bool) -> Read:
    """The reply as the official client tells it, which checks all types unless the reply is ``native``.

    What passes from a provider of the client's own API may be newer than the client.
    """
    SHELF.carried, SHELF.stream, SHELF.strict = carried, stream, not native
    try:
        return _HEARERS[client](stream)
    except (openai.APIStatusError, anthropic.APIStatusError) as error:
        return Read(status=error.status_code, error={"message": error.message})
    except (openai.APIError, anthropic.APIError) as error:  # told inside a stream
        return Read(error={"message": error.message})
    except genai_errors.APIError as error:
        return Read(status=error.code if carried.status >= 400 else 200, error={"message": error.message})


def _fresh() -> dict[str, Any]:
    return {"text": "", "reasoning": "", "refusal": None, "calls": [], "finish": None}


# -- OpenAI chat ------------------------------------------------------------------------------------------


def _chat(stream: bool) -> Read:
    read = Read()
    messages: Any = [{"role": "user", "content": "Hello"}]
    if not stream:
        whole = _openai(SHELF.strict).chat.completions.create(model="m", messages=messages)
        for choice in whole.choices:
            _chat_message(read.choices.setdefault(choice.index, _fresh()), choice.message)
            read.choices[choice.index]["finish"] = choice.finish_reason
        usage = whole.usage
    else:
        usage = None
        calls: dict[int, dict[int, list[str]]] = {}
        for chunk in _openai(SHELF.strict).chat.completions.create(model="m", messages=messages, stream=True):
            usage = chunk.usage or usage
            for choice in chunk.choices:
                seen, delta = read.choices.setdefault(choice.index, _fresh()), choice.delta
                seen["text"] += delta.content or ""
                seen["reasoning"] += getattr(delta, "reasoning_content", None) or ""
                if delta.refusal:
                    seen["refusal"] = (seen["refusal"] or "") + delta.refusal
                seen["finish"] = choice.finish_reason or seen["finish"]
                for call in delta.tool_calls or []:
                    slot = calls.setdefault(choice.index, {}).setdefault(call.index, ["", "", ""])
                    body = call.function or getattr(call, "custom", None)
                    body = body if isinstance(body, dict) else body.model_dump() if body else {}
                    slot[0] += body.get("name") or ""
                    slot[1] += body.get("arguments") or body.get("input") or ""
                    slot[2] += call.id or ""
                if delta.function_call:
                    slot = calls.setdefault(choice.index, {}).setdefault(0, ["", "", "legacy"])
                    slot[0] += delta.function_call.name or ""
                    slot[1] += delta.function_call.arguments or ""
        for index, slots in calls.items():
            read.choices[index]["calls"] = [tuple(slot) for slot in slots.values()]
    if usage is not None:
        cached = usage.prompt_tokens_details.cached_tokens if usage.prompt_tokens_details else 0
        read.counts = (usage.prompt_tokens, usage.completion_tokens, cached)
    return read


def _chat_message(seen: dict[str, Any], message: Any) -> None:
    seen["text"] = message.content or ""
    seen["reasoning"] = getattr(message, "reasoning_content", None) or ""
    seen["refusal"] = message.refusal
    for call in message.tool_calls or []:
        body = getattr(call, call.type)
        seen["calls"].append((body.name, getattr(body, "arguments", getattr(body, "input", "")), call.id))
    if message.function_call:
        seen["calls"].append((message.function_call.name, message.function_call.arguments, "legacy"))


# -- Anthropic messages -----------------------------------------------------------------------------------

_STOPS = {"max_tokens": "length", "pause_turn": "length", "tool_use": "tool_calls", "refusal": "content_filter",
          "model_context_window_exceeded": "length"}  # fmt: skip


def _messages(stream: bool) -> Read:
    messages: Any = [{"role": "user", "content": "Hello"}]
    if stream:
        with _anthropic(SHELF.strict).messages.stream(model="m", max_tokens=9, messages=messages) as told:
            message: Any = told.get_final_message()
    else:
        message = _anthropic(SHELF.strict).messages.create(model="m", max_tokens=9, messages=messages)
    read, seen = Read(), _fresh()
    for block in message.content:
        if block.type == "text":
            seen["text"] += block.text
        elif block.type == "thinking":
            seen["reasoning"] += block.thinking
        elif block.type == "tool_use":
            seen["calls"].append((block.name, block.input, block.id))
    seen["finish"] = _STOPS.get(message.stop_reason, "stop")
    read.choices[0] = seen
    usage = message.usage
    cached, written = usage.cache_read_input_tokens or 0, usage.cache_creation_input_tokens or 0
    read.counts = (usage.input_tokens + cached + written, usage.output_tokens, cached)
    return read


# -- OpenAI Responses -------------------------------------------------------------------------------------


def _responses(stream: bool) -> Read:
    if stream:
        last: Any = None
        with _openai(SHELF.strict).responses.stream(model="m", input="Hello") as told:
            for event in told:
                if event.type in ("response.completed", "response.incomplete", "response.failed"):
                    last = event.response
                if event.type == "error":
                    return Read(error={"message": event.message})
        response = last
    else:
        response = _openai(SHELF.strict).responses.create(model="m", input="Hello")
    if response.status == "failed":
        return Read(error={"message": response.error.message})
    read, seen = Read(), _fresh()
    thoughts = []
    for item in response.output:
        if item.type == "message":
            for part in item.content:
                if part.type == "refusal":
                    seen["refusal"] = (seen["refusal"] or "") + part.refusal
                else:
                    seen["text"] += part.text
        elif item.type == "reasoning":
            thoughts += [part.text for part in (*item.summary, *(item.content or []))]
        elif item.type == "function_call":
            seen["calls"].append((item.name, item.arguments, item.call_id))
        elif item.type == "custom_tool_call":
            seen["calls"].append((item.name, item.input, item.call_id))
    seen["reasoning"] = "\n\n".join(thoughts)
    reason = response.incomplete_details.reason if response.incomplete_details else None
    known = {"max_output_tokens": "length", "content_filter": "content_filter"}
    seen["finish"] = known.get(reason or "", "tool_calls" if seen["calls"] else "stop")
    read.choices[0] = seen
    usage = response.usage
    read.counts = (usage.input_tokens, usage.output_tokens, usage.input_tokens_details.cached_tokens)
    return read


# -- Gemini -----------------------------------------------------------------------------------------------


def _gemini(stream: bool) -> Read:
    read = Read()
    replies: Iterator[Any] | list[Any]
    if stream:
        replies = _genai().models.generate_content_stream(model="m", contents="Hello")
    else:
        replies = [_genai().models.generate_content(model="m", contents="Hello")]
    usage = None
    for reply in replies:
        usage = reply.usage_metadata or usage
        if reply.prompt_feedback and reply.prompt_feedback.block_reason and not reply.candidates:
            read.choices.setdefault(0, _fresh())["finish"] = "content_filter"
        for candidate in reply.candidates or []:
            seen = read.choices.setdefault(candidate.index or 0, _fresh())
            for part in (candidate.content.parts if candidate.content else None) or []:
                if part.text is not None:
                    seen["reasoning" if part.thought else "text"] += part.text
                elif part.function_call and part.function_call.name:
                    call = part.function_call
                    seen["calls"].append((call.name, call.args or {}, call.id or f"#{len(seen['calls'])}"))
                if part.thought_signature is not None:
                    base64.b64encode(part.thought_signature)
            if candidate.finish_reason:
                seen["finish"] = _gemini_finish(candidate.finish_reason.name, seen)
    if usage is not None:
        prompt = (usage.prompt_token_count or 0) + (usage.tool_use_prompt_token_count or 0)
        output = (usage.candidates_token_count or 0) + (usage.thoughts_token_count or 0)
        read.counts = (prompt, output, usage.cached_content_token_count or 0)
    return read


def _gemini_finish(word: str, seen: dict[str, Any]) -> str | None:
    known = {"STOP": "tool_calls" if seen["calls"] else "stop", "MAX_TOKENS": "length"}
    if word not in known:
        seen["native"] = word
    return known.get(word, "content_filter")


_HEARERS = {"chat": _chat, "messages": _messages, "responses": _responses, "gemini": _gemini}
