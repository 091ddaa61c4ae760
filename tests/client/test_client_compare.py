"""Several models at the same time."""

from __future__ import annotations

import socket
import threading
from typing import Any

import pytest
from client_kit import Script
from scripted_gateway import reply as http_reply

import llm_router_client
from llm_router_client import LLMRouterClient


def answering(monkeypatch: pytest.MonkeyPatch, chat: Any) -> LLMRouterClient:
    """A client of a gateway that compares nothing itself."""
    client = LLMRouterClient("sk-1")
    monkeypatch.setattr(client, "_compares", False)
    monkeypatch.setattr(client, "chat", chat)
    return client


def reply(text: str | None) -> dict[str, Any]:
    return {"choices": [{"message": {"content": text}}], "usage": {"total_tokens": 5, "cost": 0.0}}


def test_results_stand_in_the_order_asked_and_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    last_first = {name: threading.Event() for name in "abc"}
    last_first["c"].set()

    def chat(model: str, messages: Any, **options: Any) -> dict[str, Any]:
        asked.append(model)
        assert last_first[model].wait(20)
        if model != "a":
            last_first[chr(ord(model) - 1)].set()
        assert messages == [{"role": "user", "content": "hi"}]
        assert options == {"max_tokens": 5}
        return {"error": {"code": "x", "message": "y"}} if model == "b" else reply(model)

    got = answering(monkeypatch, chat).compare_models(["a", "b", "c", "a"], "hi", max_tokens=5)
    assert list(got) == ["a", "b", "c"]
    assert sorted(asked) == ["a", "b", "c"]
    latency = got["a"].pop("latency")
    assert latency >= 0
    assert got["a"] == {"success": True, "response": "a", "tokens": 5, "cost": 0.0}
    assert got["b"].pop("latency") >= 0
    assert got["b"] == {"success": False, "error": {"code": "x", "message": "y"}}


def test_not_too_many_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    limit = llm_router_client.COMPARE_THREADS
    entered: list[str] = []
    go, one_too_many = threading.Event(), threading.Event()

    def chat(model: str, messages: Any) -> dict[str, Any]:
        entered.append(model)
        if len(entered) == limit:
            one_too_many.wait(0.2)  # in vain, if the limit holds
            go.set()
        elif len(entered) > limit and not go.is_set():
            one_too_many.set()
        assert go.wait(20)
        return reply("x")

    names = [f"m{number}" for number in range(limit + 4)]
    assert list(answering(monkeypatch, chat).compare_models(names, "hi")) == names
    assert not one_too_many.is_set()


def test_no_models_and_no_text(monkeypatch: pytest.MonkeyPatch) -> None:
    client = answering(monkeypatch, lambda model, messages: {"choices": []} if model == "a" else reply(None))
    assert client.compare_models([], "hi") == {}
    got = client.compare_models(["a", "b"], "hi")
    assert [(r["success"], r["response"], r["cost"]) for r in got.values()] == [
        (True, "", None),
        (True, "", 0.0),
    ]


def test_a_mistake_of_the_caller_is_raised() -> None:
    with pytest.raises(TypeError):
        LLMRouterClient("sk-1").compare_models(["a"], "hi", messages=[])


def lane(model: str, **members: Any) -> dict[str, Any]:
    return {
        "model": model,
        "success": True,
        "latency_ms": 1234,
        "response": reply(f"I am {model}"),
        **members,
    }


def asked(server: Any) -> list[str]:
    return [line.split()[1] for line, _, _ in server.requests]


def test_the_gateway_compares_in_one_request(scripted: Script) -> None:
    broken = {
        "success": False,
        "status": 200,
        "error": {"code": "upstream_error", "message": "cut", "type": "t"},
    }
    unknown = {"success": False, "status": 404, "error": {"code": "model_not_found", "message": "no"}}
    lanes = [lane("b", **unknown), lane("a"), lane("c", **broken)]  # in whatever order
    server = scripted(http_reply(200, {"object": "comparison", "lanes": lanes}))
    got = LLMRouterClient("sk-1", server.url).compare_models(
        ["a", "b", "c", "a", "d "], "hi", max_tokens=5, temperature=None, seed=1
    )
    assert asked(server) == ["/v1/compare"]
    assert server.requests[0][2] == {
        "models": ["a", "b", "c", "d "],
        "messages": [{"role": "user", "content": "hi"}],
        "max_tokens": 5,
        "seed": 1,
        "stream": False,
    }
    assert list(got) == ["a", "b", "c", "d "]
    assert got["a"] == {"success": True, "response": "I am a", "latency": 1.234, "tokens": 5, "cost": 0.0}
    assert got["b"]["error"] == {"code": "model_not_found", "message": "no", "status": 404}
    assert got["c"]["error"] == {"code": "upstream_error", "message": "cut", "type": "t"}
    assert got["d "]["error"]["code"] == "NETWORK_ERROR"


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (404, {"error": {"code": "not_found", "message": "There is no POST /v1/compare."}}),
        (405, b""),
        (501, b"<html>"),
        (200, {"choices": []}),
    ],
)
def test_where_nothing_compares_each_model_is_asked(scripted: Script, status: int, body: Any) -> None:
    server = scripted(http_reply(status, body), http_reply(200, reply("x")))
    client = LLMRouterClient("sk-1", server.url)
    for _ in range(2):
        assert [r["response"] for r in client.compare_models(["a", "b"], "hi").values()] == ["x", "x"]
    assert asked(server) == ["/v1/compare"] + ["/v1/chat/completions"] * 4  # it is asked for it once


def test_a_refusal_of_the_whole_is_that_of_each_model(scripted: Script) -> None:
    error = {"code": "insufficient_credits", "message": "The request may cost up to $2", "needed": 2}
    server = scripted(http_reply(402, {"error": error}))
    got = LLMRouterClient("sk-1", server.url).compare_models(["a", "b"], "hi")
    assert asked(server) == ["/v1/compare"]
    assert [(r["success"], r["error"]["code"], r["error"]["needed"]) for r in got.values()] == [
        (False, "insufficient_credits", 2),
        (False, "insufficient_credits", 2),
    ]


@pytest.mark.parametrize("names", [["a"], [f"m{n}" for n in range(17)], ["a", " a"]])
def test_what_the_gateway_would_not_compare_is_asked_one_by_one(scripted: Script, names: list[str]) -> None:
    server = scripted(http_reply(200, reply("x")))
    assert list(LLMRouterClient("sk-1", server.url).compare_models(names, "hi")) == names
    assert set(asked(server)) == {"/v1/chat/completions"}


def test_what_cannot_be_written_is_told_for_each(scripted: Script) -> None:
    got = LLMRouterClient("sk-1").compare_models(["a", "b"], "hi", seed=object())
    assert {r["error"]["code"] for r in got.values()} == {"INVALID_INPUT"}


def test_without_a_gateway_each_model_says_so(pauses: list[float]) -> None:
    with socket.socket() as deaf:  # bound, never listening: whoever connects is refused
        deaf.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}"
        got = LLMRouterClient("sk-1", url).compare_models(["a", "b"], "hi")
    assert {r["error"]["code"] for r in got.values()} == {"NETWORK_ERROR"}
