"""How much to think, in the words of each provider that speaks OpenAI's API."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_router.domain.model import Capabilities, Knowledge
from llm_router.wire.chat import ChatRequest, Message, Reasoning, Text
from llm_router.wire.dialect import Target
from llm_router.wire.dialects.openai_chat import DIALECT

LEVELS = ("low", "high", "max")


def target(knows: tuple[Knowledge, ...], levels: tuple[str, ...] = (), model: str = "m") -> Target:
    able = Capabilities(reasoning=True, reasoning_levels=levels)
    return Target(provider="p", model=model, dialect="openai_chat", capabilities=able, knows=knows)


def sent(asked: Reasoning, to: Target) -> tuple[dict[str, Any], list[str]]:
    request = ChatRequest(
        model="m",
        dialect="anthropic_messages",
        messages=(Message(role="user", parts=(Text(text="x"),)),),
        reasoning=asked,
    )
    body, losses = DIALECT.encode_request(request, to)
    found = json.loads(body)
    return {name: found[name] for name in found if name not in ("model", "messages")}, [
        loss.field for loss in losses
    ]


ON, OFF = Reasoning(enabled=True), Reasoning(enabled=False)
HIGH, BUDGET = Reasoning(effort="high"), Reasoning(enabled=True, budget_tokens=3000)
CASES: list[tuple[tuple[Knowledge, ...], tuple[str, ...], Reasoning, dict[str, Any], list[str]]] = [
    (("thinking",), (), ON, {"thinking": {"type": "enabled"}}, []),
    (("thinking",), (), OFF, {"thinking": {"type": "disabled"}}, []),
    (("thinking",), (), HIGH, {"thinking": {"type": "enabled"}}, ["reasoning"]),
    (("thinking",), LEVELS, HIGH, {"thinking": {"type": "enabled"}, "reasoning_effort": "high"}, []),
    (("thinking",), LEVELS, Reasoning(effort="minimal"), {"thinking": {"type": "enabled"}, "reasoning_effort": "low"}, ["reasoning.effort"]),
    (("enable_thinking",), (), OFF, {"enable_thinking": False}, []),
    (("enable_thinking",), (), HIGH, {"enable_thinking": True, "thinking_budget": 16384}, []),
    (("enable_thinking",), (), BUDGET, {"enable_thinking": True, "thinking_budget": 3000}, []),
    (("enable_thinking",), (), Reasoning(effort="max"), {"enable_thinking": True}, []),
    (("reasoning",), (), BUDGET, {"reasoning": {"max_tokens": 3000}}, []),
    (("reasoning",), (), OFF, {"reasoning": {"enabled": False}}, []),
    (("reasoning",), ("none", "low"), OFF, {"reasoning": {"effort": "none"}}, []),
    (("reasoning",), (), Reasoning(adaptive=True, show=False), {"reasoning": {"enabled": True, "exclude": True}}, []),
    ((), LEVELS, BUDGET, {"reasoning_effort": "low"}, ["reasoning.budget_tokens"]),
    ((), (), HIGH, {}, ["reasoning"]),
    ((), (), ON, {}, []),
]  # fmt: skip


@pytest.mark.parametrize(("knows", "levels", "asked", "members", "lost"), CASES)
def test_the_table(
    knows: tuple[Knowledge, ...],
    levels: tuple[str, ...],
    asked: Reasoning,
    members: dict[str, Any],
    lost: list[str],
) -> None:
    assert sent(asked, target(knows, levels)) == (members, lost)


def test_models_that_always_think_are_not_told_otherwise() -> None:
    assert sent(OFF, target(("thinking",), model="kimi-k2.7-code")) == ({}, ["reasoning"])
    assert sent(OFF, target(("thinking",), LEVELS, "kimi-k3")) == (
        {"reasoning_effort": "low"},
        ["reasoning.effort"],
    )
    assert sent(ON, target(("thinking",), LEVELS, "kimi-k3")) == ({}, [])


asks = st.builds(
    Reasoning,
    effort=st.sampled_from([None, "none", "minimal", "low", "medium", "high", "xhigh", "max", "odd"]),
    budget_tokens=st.sampled_from([None, -1, 0, 500, 20_000]),
    adaptive=st.booleans(),
    enabled=st.sampled_from([None, True, False]),
    show=st.sampled_from([None, True, False]),
)
knowledges = st.sampled_from([(), ("thinking",), ("enable_thinking",), ("reasoning",), ("developer",)])


@given(asked=asks, knows=knowledges, levels=st.sampled_from([(), LEVELS, ("none", "low"), ("minimal",)]))
def test_only_known_levels_are_asked_for(
    asked: Reasoning, knows: tuple[Knowledge, ...], levels: tuple[str, ...]
) -> None:
    members, _ = sent(asked, target(knows, levels))
    effort = members.get("reasoning_effort")
    assert effort is None or effort in levels
    told = members.get("reasoning", {})
    assert told is None or len(told.keys() - {"exclude"}) <= 1
    assert members.get("thinking_budget", 1) > 0
    switch = members.get("thinking", {"type": "enabled"})["type"]
    assert switch == "enabled" or "reasoning_effort" not in members


def passed(members: dict[str, Any], to: Target) -> dict[str, Any]:
    body = {"model": "m", "messages": [{"role": "user", "content": "x"}], **members}
    found, _ = DIALECT.edit_request(DIALECT.inspect(json.dumps(body).encode()), to, {})
    return {name: value for name, value in json.loads(found).items() if name not in ("model", "messages")}


def test_words_of_another_provider_are_put_in_the_providers_own() -> None:
    openrouter = {"reasoning": {"effort": "high"}}
    assert passed(openrouter, target(("thinking",), LEVELS)) == {
        "thinking": {"type": "enabled"},
        "reasoning_effort": "high",
    }
    assert passed({"reasoning_effort": "low"}, target(("enable_thinking",))) == {
        "enable_thinking": True,
        "thinking_budget": 2048,
    }
    assert passed({"thinking": {"type": "disabled"}}, target(("developer",), ("none", "low"))) == {
        "reasoning_effort": "none"
    }


def test_the_providers_own_words_and_those_of_unknown_ones_pass_as_they_are() -> None:
    own = {"enable_thinking": True, "thinking_budget": 7}
    assert passed(own, target(("enable_thinking",))) == own
    assert passed({"thinking": {"type": "enabled", "clear_thinking": False}}, target(("thinking",))) == {
        "thinking": {"type": "enabled", "clear_thinking": False}
    }
    assert passed(own, target(())) == own
