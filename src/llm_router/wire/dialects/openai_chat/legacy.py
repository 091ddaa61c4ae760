"""The legacy functions style, said in the tools style for providers that have forgotten it.

https://platform.openai.com/docs/api-reference/chat/create (``functions``, deprecated)
"""

from __future__ import annotations

from typing import Any, Final

from llm_router.wire.dialects.openai_chat.mend import minted_id
from llm_router.wire.loss import Loss

ONE_CALL: Final = Loss(field="tool_calls", why="the functions style knows one call a reply")


def modern(members: dict[str, Any], body: dict[str, Any]) -> None:
    """Rewrite ``functions``, ``function_call`` and the messages that belong to them in ``body``.

    ``members`` is the request as parsed; ``body`` its members to send, edited in place. A function
    list that comes with tools is appended to them.
    """
    functions = members.get("functions")
    if functions:
        tools = [{"type": "function", "function": function} for function in functions]
        body["tools"] = [*(members.get("tools") or ()), *tools]
        if not members.get("tools"):
            body["parallel_tool_calls"] = False  # the legacy reply has room for one call
    body.pop("functions", None)
    choice = members.get("function_call")
    body.pop("function_call", None)
    if choice is not None and members.get("tool_choice") is None and functions:
        named = isinstance(choice, dict)
        body["tool_choice"] = {"type": "function", "function": {"name": choice["name"]}} if named else choice
    messages = body["messages"] if isinstance(body["messages"], list) else members["messages"]
    if any(m["role"] == "function" or m.get("function_call") is not None for m in messages):
        body["messages"] = _messages(messages)


def _messages(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    out: list[dict[str, Any]] = []
    waiting: list[tuple[str, str]] = []  # calls without a result: (name, id)
    for number, message in enumerate(messages):
        function = message.get("function_call")
        if message["role"] == "function":
            out.append(_result(message, waiting, number))
        elif message["role"] == "assistant" and function is not None:
            id_ = minted_id("legacy", number)
            waiting.append((function["name"], id_))
            rest = {name: value for name, value in message.items() if name != "function_call"}
            call = {"id": id_, "type": "function", "function": function}
            out.append({**rest, "content": message.get("content"), "tool_calls": [call]})
        else:
            out.append(message)
    return out


def _result(message: dict[str, Any], waiting: list[tuple[str, str]], number: int) -> dict[str, Any]:
    """A function's result as that of the last open call of its name."""
    content = message.get("content")
    at = next((i for i in range(len(waiting) - 1, -1, -1) if waiting[i][0] == message["name"]), None)
    id_ = minted_id("legacy", number) if at is None else waiting.pop(at)[1]
    return {"role": "tool", "tool_call_id": id_, "content": "" if content is None else content}


def legacy_message(message: dict[str, Any], finish: str, losses: list[Loss]) -> str:
    """Turn tool_calls into the function_call of the legacy style; return the finish reason for it."""
    calls = message.pop("tool_calls", None) or []
    named = [call for call in calls if "function" in call]
    if named:
        function = named[0]["function"]
        message["function_call"] = {"name": function["name"], "arguments": function["arguments"]}
    if len(calls) > 1:
        losses.append(ONE_CALL)
    return "function_call" if finish == "tool_calls" else finish
