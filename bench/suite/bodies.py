"""Requests and replies of the benchmarks, of a known size."""

from __future__ import annotations

import base64
import json
import random

REQUEST_BYTES = 544
REPLY_BYTES = 832
QUESTION = "Explain in a few sentences why the sky is blue, and why it turns red at sunset. "
ANSWER = "Sunlight is scattered by the molecules of the air, and blue light far more than red. "


def chat_request(model: str = "bench-model", *, stream: bool = False) -> str:
    """A small chat request; 544 bytes if it is not streamed."""
    body = {
        "model": model,
        "messages": [
            {"role": "system", "content": "You are a helpful assistant that answers briefly and correctly."},
            {"role": "user", "content": ""},
        ],
        "temperature": 0.7,
        "max_tokens": 256,
    }
    body["messages"][1]["content"] = (QUESTION * 8)[: REQUEST_BYTES - len(json.dumps(body))]
    if stream:
        body["stream"] = True
    return json.dumps(body)


def long_request(model: str, size: int) -> str:
    """A conversation of about ``size`` bytes with tools, their calls and their results."""
    tool = {
        "type": "function",
        "function": {
            "name": "search_documents",
            "description": "Find documents by words of their text. " * 4,
            "parameters": {
                "type": "object",
                "properties": {"query": {"type": "string"}, "limit": {"type": "integer"}},
                "required": ["query"],
            },
        },
    }
    messages: list[dict[str, object]] = [{"role": "system", "content": QUESTION * 10}]
    body = {"model": model, "messages": messages, "tools": [tool] * 1, "max_tokens": 256}
    total, turn = len(json.dumps(body)), 0
    while total < size:
        added = _turn(turn)
        messages += added
        total += sum(len(json.dumps(message)) + 2 for message in added)
        turn += 1
    messages.append({"role": "user", "content": QUESTION})
    return json.dumps(body)


def _turn(number: int) -> list[dict[str, object]]:
    """A question, a call of a tool, its result and an answer: about 2 kB."""
    call = f"call_{number:024x}"
    arguments = json.dumps({"query": f"sunset colours, part {number}", "limit": 5})
    function = {"name": "search_documents", "arguments": arguments}
    return [
        {"role": "user", "content": QUESTION * 3},
        {"role": "assistant", "content": None, "tool_calls": [{"id": call, "type": "function", "function": function}]},
        {"role": "tool", "tool_call_id": call, "content": json.dumps([{"text": ANSWER, "page": n} for n in range(8)])},
        {"role": "assistant", "content": ANSWER * 5},
    ]  # fmt: skip


def image_request(model: str, size: int) -> str:
    """A question about an image of so many bytes as a data URL."""
    data = base64.b64encode(random.Random(1).randbytes(size * 3 // 4)).decode()
    content = [
        {"type": "text", "text": QUESTION},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}},
    ]
    return json.dumps({"model": model, "messages": [{"role": "user", "content": content}], "max_tokens": 256})


def chat_reply() -> str:
    body = {
        "id": "chatcmpl-bench0000000000000000000000",
        "object": "chat.completion",
        "created": 1760000000,
        "model": "bench-model",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "", "refusal": None},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": {
            "prompt_tokens": 96,
            "completion_tokens": 88,
            "total_tokens": 184,
            "prompt_tokens_details": {"cached_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 0},
        },
    }
    body["choices"][0]["message"]["content"] = (ANSWER * 10)[: REPLY_BYTES - len(json.dumps(body))]
    return json.dumps(body)


def anthropic_reply() -> str:
    body = {
        "id": "msg_bench00000000000000000000",
        "type": "message",
        "role": "assistant",
        "model": "bench-model",
        "content": [{"type": "text", "text": ""}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {
            "input_tokens": 96,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
            "output_tokens": 88,
        },
    }
    body["content"][0]["text"] = (ANSWER * 10)[: REPLY_BYTES - len(json.dumps(body))]
    return json.dumps(body)


def gemini_reply() -> str:
    body = {
        "candidates": [
            {"content": {"parts": [{"text": ""}], "role": "model"}, "finishReason": "STOP", "index": 0}
        ],
        "usageMetadata": {"promptTokenCount": 96, "candidatesTokenCount": 88, "totalTokenCount": 184},
        "modelVersion": "bench-model",
        "responseId": "bench000000000000000000",
    }
    part = body["candidates"][0]["content"]["parts"][0]
    part["text"] = (ANSWER * 10)[: REPLY_BYTES - len(json.dumps(body))]
    return json.dumps(body)
