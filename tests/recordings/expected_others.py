"""What recordings of Cohere and Ollama say, read naively and without a line of the product's code."""

from __future__ import annotations

import json
from typing import Any

from expected import FINISH, Answer, Expected, arguments, sse


def expect_other(recording: dict[str, Any]) -> Expected | None:
    """The reading of a recording of these two APIs; None if it is of another, or an error."""
    response = recording["response"]
    if response["status"] >= 400:
        return None
    if recording["api"] == "chat_v2":
        return _cohere_stream(response["sse"]) if response.get("sse") else _cohere(response["body"])
    if recording["api"] == "ollama_chat":
        text = response.get("text")
        return _ollama([json.loads(line) for line in text.splitlines()] if text else [response["body"]])
    return None


def _cohere(body: dict[str, Any]) -> Expected:
    message, billed = body["message"], body["usage"]["billed_units"]
    blocks = message.get("content") or []
    thoughts = [message.get("tool_plan"), *(block.get("thinking") for block in blocks)]
    calls = [call["function"] for call in message.get("tool_calls") or []]
    answer = Answer(
        text="".join(block.get("text", "") for block in blocks),
        reasoning="\n\n".join(filter(None, thoughts)),
        calls=[(call["name"], arguments(call["arguments"])) for call in calls],
        finish=FINISH.get(body["finish_reason"]),
    )
    return Expected(
        choices={0: answer}, prompt_tokens=billed["input_tokens"], completion_tokens=billed["output_tokens"]
    )


def _cohere_stream(text: str) -> Expected:
    """The stream as a whole reply: every piece is appended to what it continues."""
    plan, blocks, calls, body = "", {}, {}, {}
    for _, data in sse(text):
        event = json.loads(data) if data.startswith("{") else {}
        said, index = event.get("delta", {}).get("message", {}), event.get("index")
        if event.get("type") in ("content-start", "content-delta"):
            block = blocks.setdefault(index, {"text": "", "thinking": ""})
            for name in ("text", "thinking"):
                block[name] += said["content"].get(name, "")
        elif event.get("type") == "tool-plan-delta":
            plan += said["tool_plan"]
        elif event.get("type") == "tool-call-start":
            calls[index] = said["tool_calls"]
        elif event.get("type") == "tool-call-delta":
            calls[index]["function"]["arguments"] += said["tool_calls"]["function"]["arguments"]
        elif event.get("type") == "message-end":
            body = event["delta"]
    message = {"tool_plan": plan, "content": list(blocks.values()), "tool_calls": list(calls.values())}
    return _cohere({**body, "message": message})


def _ollama(messages: list[dict[str, Any]]) -> Expected:
    said, last = [message["message"] for message in messages], messages[-1]
    calls = [call["function"] for message in said for call in message.get("tool_calls", ())]
    answer = Answer(
        text="".join(message["content"] for message in said),
        reasoning="".join(message.get("thinking", "") for message in said),
        calls=[(call["name"], call["arguments"]) for call in calls],
        finish="tool_calls" if calls else FINISH.get(last["done_reason"]),
    )
    return Expected(
        choices={0: answer},
        prompt_tokens=last["prompt_eval_count"],
        completion_tokens=last["eval_count"],
        cached_tokens=last.get("prompt_eval_cached_count"),
    )
