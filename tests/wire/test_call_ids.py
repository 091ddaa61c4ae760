"""No request is refused for the id of a call, whatever ids a history holds."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_router.wire.callids import CallIds, IdForm, fitted
from llm_router.wire.chat import ChatRequest, Message, Text, ToolCall, ToolResult
from llm_router.wire.dialect import Target
from llm_router.wire.dialects.registry import DIALECTS

SAFE = re.compile(r"[a-zA-Z0-9_-]{1,64}")
NINE = re.compile(r"[a-zA-Z0-9]{9}")

Pairs = tuple[list[str], list[str]]
"""Ids of calls and of results in the order of the request."""


def of_chat(body: Any) -> Pairs:
    calls = [call["id"] for m in body["messages"] for call in m.get("tool_calls") or ()]
    return calls, [m["tool_call_id"] for m in body["messages"] if m["role"] == "tool"]


def of_messages(body: Any) -> Pairs:
    blocks = [b for m in body["messages"] if isinstance(m["content"], list) for b in m["content"]]
    return (
        [b["id"] for b in blocks if b["type"] == "tool_use"],
        [b["tool_use_id"] for b in blocks if b["type"] == "tool_result"],
    )


def of_responses(body: Any) -> Pairs:
    return (
        [i["call_id"] for i in body["input"] if i["type"] == "function_call"],
        [i["call_id"] for i in body["input"] if i["type"] == "function_call_output"],
    )


def of_bedrock(body: Any) -> Pairs:
    blocks = [b for m in body["messages"] for b in m["content"]]
    return (
        [b["toolUse"]["toolUseId"] for b in blocks if "toolUse" in b],
        [b["toolResult"]["toolUseId"] for b in blocks if "toolResult" in b],
    )


def of_gemini(body: Any) -> Pairs:
    parts = [p for c in body["contents"] for p in c["parts"]]
    return (
        [p["functionCall"].get("id", "") for p in parts if "functionCall" in p],
        [p["functionResponse"].get("id", "") for p in parts if "functionResponse" in p],
    )


CASES: dict[str, tuple[str, str, str, Callable[[Any], Pairs], re.Pattern[str]]] = {
    "openai": ("openai", "openai_chat", "gpt-x", of_chat, re.compile(r"(?s).{1,40}")),
    "mistral": ("mistral", "openai_chat", "mistral-large", of_chat, NINE),
    "mistral elsewhere": ("my", "openai_chat", "Devstral-Small", of_chat, NINE),
    "claude at a router": ("openrouter", "openai_chat", "anthropic/claude-x", of_chat, SAFE),
    "anthropic": ("anthropic", "anthropic_messages", "claude-x", of_messages, SAFE),
    "responses": ("openai", "openai_responses", "gpt-x", of_responses, re.compile(r"(?s).{1,64}")),
    "bedrock": ("bedrock", "bedrock_converse", "anthropic.claude-x", of_bedrock, SAFE),
    "gemini": ("google", "gemini_generate", "gemini-2.5-pro", of_gemini, re.compile(r"(?s).*")),
    "cohere": ("cohere", "cohere_chat", "command-a", of_chat, re.compile(r"(?s).+")),
}

IDS = st.one_of(
    st.sampled_from(
        ["call_0", "call_1", "functions.f:0", "toolu_01AbC", "x" * 65, "a b", "\u00e9", "abcdefghi"]
    ),
    st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=90),
)
HISTORIES = st.lists(st.lists(IDS, min_size=1, max_size=4), min_size=1, max_size=4)


def request_of(history: list[list[str]]) -> ChatRequest:
    """Turns of parallel calls, each answered in order; the result says which call it answers."""
    messages = [Message(role="user", parts=(Text(text="q"),))]
    for turn, ids in enumerate(history):
        calls = [ToolCall(id=id_, name="f", arguments=f'{{"n":"{turn}.{n}"}}') for n, id_ in enumerate(ids)]
        results = [ToolResult(call_id=id_, name="f", content=(Text(text="r"),)) for id_ in ids]
        messages += [
            Message(role="assistant", parts=tuple(calls)),
            Message(role="tool", parts=tuple(results)),
        ]
    return ChatRequest(model="m", dialect="openai_chat", messages=tuple(messages))


@pytest.mark.parametrize("case", CASES)
@given(history=HISTORIES)
def test_every_call_has_an_id_of_its_own_in_the_right_form_and_its_result_has_the_same(
    case: str, history: list[list[str]]
) -> None:
    provider, dialect, model, read, form = CASES[case]
    target = Target(provider=provider, model=model, dialect=dialect)
    body, losses = DIALECTS[dialect].encode_request(request_of(history), target)
    calls, results = read(json.loads(body))
    assert len(calls) == sum(map(len, history))
    assert calls == results
    assert len(set(calls)) == len(calls)
    assert all(form.fullmatch(id_) for id_ in calls), calls
    assert not losses
    assert DIALECTS[dialect].encode_request(request_of(history), target)[0] == body


@pytest.mark.parametrize(("provider", "model", "form"), [("mistral", "m", NINE), ("openai", "gpt-x", None)])
@given(history=HISTORIES)
def test_passed_requests_are_only_changed_where_an_id_does_not_fit(
    provider: str, model: str, form: re.Pattern[str] | None, history: list[list[str]]
) -> None:
    chat = DIALECTS["openai_chat"]
    messages: list[dict[str, Any]] = [{"role": "user", "content": "q"}]
    for ids in history:
        calls = [{"id": id_, "type": "function", "function": {"name": "f", "arguments": "{}"}} for id_ in ids]
        messages.append({"role": "assistant", "content": None, "tool_calls": calls})
        messages += [{"role": "tool", "tool_call_id": id_, "content": "r"} for id_ in ids]
    inspected = chat.inspect(json.dumps({"model": "m", "messages": messages}).encode(), None, None)
    target = Target(provider=provider, model=model, dialect="openai_chat")
    sent = json.loads(chat.edit_request(inspected, target, {})[0])["messages"]
    calls_sent, results_sent = of_chat({"messages": sent})
    assert calls_sent == results_sent
    fits = form or re.compile(r"(?s).{1,40}")
    assert all(fits.fullmatch(id_) for id_ in calls_sent)
    if all(fits.fullmatch(id_) for ids in history for id_ in ids):
        assert sent == messages


def test_ids_that_fit_are_kept_and_the_request_is_then_the_same_object() -> None:
    request = request_of([["call_a", "call_b"], ["call_c"]])
    assert fitted(request, IdForm(fits=SAFE)) is request


def test_an_id_that_comes_again_in_a_later_turn_is_another_calls() -> None:
    ids = CallIds(SAFE, "call_")
    first = ids.of_call("x")
    assert ids.of_result("x") == first == "x"
    second = ids.of_call("x")
    assert second != first
    assert ids.of_result("x") == second
    assert ids.of_result("x") == second  # answered twice: still the same call


def test_an_unanswered_call_does_not_take_the_result_of_a_later_one() -> None:
    ids = CallIds(SAFE, "call_")
    ids.of_call("x")
    other = ids.of_call("y")
    assert ids.of_result("y") == other
    later = ids.of_call("x")
    assert ids.of_result("x") == later
