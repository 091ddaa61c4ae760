"""A preset written into requests of every API: what they leave out is filled in, in their own words."""

from __future__ import annotations

import json
from typing import Any

import pytest

from llm_router.domain.preset import Preset
from llm_router.wire.chat import ChatRequest
from llm_router.wire.dialects.registry import DIALECTS
from llm_router.wire.presets import fill
from llm_router.wire.verbatim import dump

PRESET = Preset(
    name="p",
    models=("a",),
    system="Be brief.",
    parameters={
        name: dump(value)
        for name, value in {"temperature": 0.2, "max_tokens": 77, "stop": "END", "top_p": 0.9}.items()
    },
    provider={"sort": dump("price"), "ignore": dump(["x"])},
)
BODIES: dict[str, dict[str, Any]] = {
    "openai_chat": {"model": "@p", "messages": [{"role": "user", "content": "hi"}]},
    "openai_responses": {"model": "@p", "input": "hi"},
    "anthropic_messages": {"model": "@p", "messages": [{"role": "user", "content": "hi"}]},
    "gemini_generate": {"contents": [{"parts": [{"text": "hi"}]}]},
}


def _decoded(front: str, body: bytes) -> ChatRequest:
    dialect = DIALECTS[front]
    request = dialect.decode_request(dialect.inspect(body, "a|b", False))
    assert isinstance(request, ChatRequest)
    return request


def _fill(front: str, body: dict[str, Any]) -> tuple[bytes, list[str]]:
    filled, losses = fill(front, json.dumps(body).encode(), PRESET, "a|b", in_path=front == "gemini_generate")
    return filled, [loss.field for loss in losses]


@pytest.mark.parametrize("front", BODIES)
def test_what_is_left_out_is_filled_in(front: str) -> None:
    filled, losses = _fill(front, BODIES[front])
    request = _decoded(front, filled)
    assert (request.temperature, request.max_tokens, request.top_p) == (0.2, 77, 0.9)
    assert request.messages[0].role in ("system", "developer")
    assert "Be brief." in str(request.messages[0].parts)
    assert losses == (["preset.stop"] if front == "openai_responses" else [])
    assert request.stop == (() if front == "openai_responses" else ("END",))
    dialect = DIALECTS[front]
    inspected = dialect.inspect(filled, "a|b", False)
    assert inspected.model == "a|b"
    assert inspected.routing["provider"] == {"sort": "price", "ignore": ["x"]}


OWN: dict[str, dict[str, Any]] = {
    "openai_chat": {
        "temperature": 1, "max_completion_tokens": 5, "top_p": 0.5, "stop": ["X"],
        "messages": [{"role": "developer", "content": "Own."}, {"role": "user", "content": "hi"}],
    },
    "openai_responses": {"temperature": 1, "max_output_tokens": 5, "top_p": 0.5, "instructions": "Own."},
    "anthropic_messages": {
        "temperature": 1, "max_tokens": 5, "top_p": 0.5, "stop_sequences": ["X"], "system": "Own.",
    },
    "gemini_generate": {
        "generation_config": {"temperature": 1, "max_output_tokens": 5, "top_p": 0.5, "stop_sequences": ["X"]},
        "system_instruction": {"parts": [{"text": "Own."}]},
    },
}  # fmt: skip


@pytest.mark.parametrize("front", OWN)
def test_what_the_request_says_itself_stays(front: str) -> None:
    filled, _ = _fill(front, {**BODIES[front], **OWN[front], "provider": {"sort": "latency"}})
    request = _decoded(front, filled)
    assert (request.temperature, request.max_tokens, request.top_p) == (1, 5, 0.5)
    assert "Own." in str(request.messages[0].parts)
    assert "Be brief." not in filled.decode()
    inspected = DIALECTS[front].inspect(filled, "a|b", False)
    assert inspected.routing["provider"] == {"sort": "latency", "ignore": ["x"]}


def test_untouched_members_keep_their_bytes() -> None:
    body = b'{"model":"@p","preset":"p","models":["@p"],"messages":[{"role":"system","content" :  "x"}],"seed":1.50}'
    filled, _ = fill("openai_chat", body, Preset(name="p"), "a", in_path=False)
    assert filled == b'{"model":"a","messages":[{"role":"system","content" :  "x"}],"seed":1.50}'
