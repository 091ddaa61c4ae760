"""Several models at the same time."""

from __future__ import annotations

import threading
from typing import Any

import pytest

import llm_router_client
from llm_router_client import LLMRouterClient


def answering(monkeypatch: pytest.MonkeyPatch, chat: Any) -> LLMRouterClient:
    client = LLMRouterClient("sk-1")
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
