"""Ceilings of a session, and what goes in circles, in every API."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from gateway_kit import Answer, Gateway
from test_holds_under_load import at_once, content, status_of

MODEL = "gpt-6-luna"


def chat(turns: int, argument: str = '{"a": 1, "b": 2}') -> dict[str, Any]:
    messages: list[Any] = [{"role": "user", "content": "go"}]
    for n in range(turns):
        spelled = argument if n % 2 else '{"b":2,"a":1}'
        call = {"id": f"c{n}", "type": "function", "function": {"name": "look", "arguments": spelled}}
        messages.append({"role": "assistant", "content": None, "tool_calls": [call]})
        messages.append({"role": "tool", "tool_call_id": f"c{n}", "content": "nothing"})
    return {"model": MODEL, "messages": messages, "max_tokens": 20}


def messages(turns: int) -> dict[str, Any]:
    said: list[Any] = [{"role": "user", "content": "go"}]
    for n in range(turns):
        use = {"type": "tool_use", "id": f"toolu_{n}", "name": "look", "input": {"a": 1}}
        said.append({"role": "assistant", "content": [use]})
        result = {"type": "tool_result", "tool_use_id": f"toolu_{n}", "content": "nothing"}
        said.append({"role": "user", "content": [result, {"type": "text", "text": "<reminder/>"}]})
    return {"model": MODEL, "messages": said, "max_tokens": 20}


def responses(turns: int) -> dict[str, Any]:
    items: list[Any] = [{"role": "user", "content": "go"}]
    for n in range(turns):
        items.append({"type": "function_call", "call_id": f"c{n}", "name": "look", "arguments": "{}"})
        items.append({"type": "function_call_output", "call_id": f"c{n}", "output": "nothing"})
    return {"model": MODEL, "input": items, "max_output_tokens": 20}


def gemini(turns: int) -> dict[str, Any]:
    contents: list[Any] = [{"role": "user", "parts": [{"text": "go"}]}]
    for _ in range(turns):
        contents.append({"role": "model", "parts": [{"functionCall": {"name": "look", "args": {"a": 1}}}]})
        answer = {"functionResponse": {"name": "look", "response": {"r": "nothing"}}}
        contents.append({"role": "user", "parts": [answer]})
    return {"contents": contents, "generationConfig": {"maxOutputTokens": 20}}


APIS: dict[str, tuple[str, Any]] = {
    "chat": ("/v1/chat/completions", chat),
    "messages": ("/v1/messages", messages),
    "responses": ("/v1/responses", responses),
    "gemini": (f"/v1beta/models/{MODEL}:generateContent", gemini),
}


def post(gateway: Gateway, path: str, body: object, key: str | None = None, **headers: str) -> Answer:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return gateway.send("POST", path, json.dumps(body).encode(), named, key)


@pytest.mark.parametrize("api", APIS)
def test_the_same_call_over_and_over_is_refused_and_costs_nothing(sandbox: Gateway, api: str) -> None:
    path, make = APIS[api]
    assert post(sandbox, path, make(24)).status == 200
    before = sandbox.credits()
    refused = post(sandbox, path, make(25))
    assert refused.status == 409, refused.body
    assert refused.headers["x-should-retry"] == "false"
    assert b"session_brake" in refused.body
    assert b"look" in refused.body
    assert sandbox.credits() == before


def test_other_arguments_or_a_word_of_the_user_begin_anew(sandbox: Gateway) -> None:
    path = "/v1/chat/completions"
    other = chat(26)
    other["messages"][-2]["tool_calls"][0]["function"]["arguments"] = '{"a": 2}'
    assert post(sandbox, path, other).status == 200
    spoken = chat(13)
    spoken["messages"] += [{"role": "assistant", "content": "Shall I go on?"}, *chat(13)["messages"]]
    assert post(sandbox, path, spoken).status == 200


def test_a_session_is_seen_to_repeat_itself_without_its_history(sandbox: Gateway) -> None:
    def turn(n: int) -> Answer:
        body = chat(1)
        body["messages"][1]["tool_calls"][0]["id"] = body["messages"][2]["tool_call_id"] = f"n{n}"
        return post(sandbox, "/v1/chat/completions", body, x_session_id="no-history")

    assert [turn(n).status for n in range(24)] == [200] * 24
    assert turn(23).status == 200  # the same turn, sent again
    assert turn(24).status == 409


def test_steps_and_tokens(sandbox: Gateway) -> None:
    def ask(session: str, **headers: str) -> Answer:
        return post(sandbox, "/v1/chat/completions", chat(0), x_session_id=session, **headers)

    statuses = [ask("steps", x_session_max_steps="3").status for _ in range(4)]
    assert statuses == [200, 200, 200, 409]
    assert ask("steps").status == 200  # the ceiling is the header's
    assert ask("other", x_session_max_steps="3").status == 200
    used = [ask("tokens", x_session_max_tokens="60") for _ in range(9)]
    assert used[0].status == 200
    last = used[-1]
    assert (last.status, last.error["code"], last.error["brake"]) == (409, "session_brake", "tokens")


def test_what_a_session_has_left_is_told_where_it_is_too_little(sandbox: Gateway) -> None:
    headers = {"x_session_id": "short", "x_session_max_cost": "0.0001"}
    refused = post(sandbox, "/v1/chat/completions", {**chat(0), "max_tokens": 4000}, **headers).error
    assert (refused["brake"], refused["used"]) == ("cost", 0)
    fits = refused["affordable_max_tokens"]
    assert "the session's ceiling of $0.0001 leaves $0.0001 ($0 used)" in refused["message"]
    assert (f"Set max_tokens to at most {fits}, " in refused["message"]) == (fits > 0)


@pytest.mark.parametrize("limit", [None, 60])
def test_the_money_of_a_session_is_never_exceeded(sandbox: Gateway, limit: int | None) -> None:
    session = f"money-{limit}"
    options = {} if limit is None else {"max_tokens": limit}
    body = {"model": MODEL, "messages": [{"role": "user", "content": "[[long 50]] a"}], **options}
    cost = post(sandbox, "/v1/chat/completions", body).json["usage"]["cost"]
    most = cost * 12
    data = json.dumps(body).encode()
    gateway_head = sandbox.head
    try:
        sandbox.head = lambda size, *h, key=None: gateway_head(  # type: ignore[method-assign]
            size, *h, f"x-session-id: {session}", f"x-session-max-cost: {most}", key=key
        )
        replies = at_once(sandbox, data, sandbox.key, 30)
        later = [reply for _ in range(12) for reply in at_once(sandbox, data, sandbox.key, 1)]
    finally:
        sandbox.head = gateway_head  # type: ignore[method-assign]
    statuses = {status_of(reply) for reply in (*replies, *later)}
    assert statuses == {200, 409}
    paid = [content(r)["usage"]["cost"] for r in (*replies, *later) if status_of(r) == 200]  # type: ignore[index]
    assert 0 < sum(paid) <= most
    refused = content(next(r for r in later if status_of(r) == 409))["error"]
    assert refused["brake"] == "cost"  # type: ignore[index]
    assert Decimal(refused["limit"]) == most  # type: ignore[index]


@pytest.mark.parametrize(
    ("headers", "param"),
    [
        ({"x_session_max_steps": "3"}, "x-session-id"),
        ({"x_session_id": "s", "x_session_max_steps": "-1"}, "x-session-max-steps"),
        ({"x_session_id": "s", "x_session_max_tokens": "1.5"}, "x-session-max-tokens"),
        ({"x_session_id": "s", "x_session_max_cost": "x"}, "x-session-max-cost"),
    ],
)
def test_headers_that_cannot_be_read(sandbox: Gateway, headers: dict[str, str], param: str) -> None:
    answer = post(sandbox, "/v1/chat/completions", chat(0), **headers)
    assert (answer.status, answer.error["param"]) == (400, param)
