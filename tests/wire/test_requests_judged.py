"""Whatever is asked: what is sent is a request that the provider's own types and rules take."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from asking import requests
from hypothesis import given, settings
from judge_bodies import JUDGES, faults_of, missing

from llm_router.domain.errors import RouterError
from llm_router.domain.model import Capabilities
from llm_router.wire import chat
from llm_router.wire.dialect import Dialect, Target
from llm_router.wire.dialects.registry import DIALECTS

ABLE = Capabilities(tools=True, json_object=True, json_schema=True, reasoning=True)
LEVELS = Capabilities(
    tools=True, json_object=True, json_schema=True, reasoning=True, reasoning_levels=("low", "medium", "high")
)
PLAIN = Capabilities(tools=True, json_object=True, sampling=False)

MODELS = {
    "openai_chat": ("gpt-4.1", "gpt-5.6-sol"),
    "openai_responses": ("gpt-5", "gpt-4.1"),
    "anthropic_messages": ("claude-sonnet-4-5",),
    "gemini_generate": ("gemini-2.5-flash", "gemini-3-pro-preview"),
    "bedrock_converse": ("us.anthropic.claude-sonnet-4-5-20250929-v1:0", "us.amazon.nova-pro-v1:0"),
    "cohere_chat": ("command-a-03-2025",),
    "ollama_chat": ("qwen3:8b",),
}

RECORDINGS = Path(__file__).parents[2].parent / "shared" / "recordings" / "dev"
APIS = {
    "chat_completions": "openai_chat",
    "responses": "openai_responses",
    "messages": "anthropic_messages",
    "generate_content": "gemini_generate",
    "stream_generate_content": "gemini_generate",
}


def target(dialect: str, model: str, able: Capabilities) -> Target:
    provider = "openai" if dialect.startswith("openai") else dialect.partition("_")[0]
    return Target(
        provider=provider,
        model=model,
        dialect=dialect,
        capabilities=able,
        takes_urls=("image", "file"),
        output_tokens_max=64_000,
        knows=("developer",) if provider == "openai" else (),
    )


def refused(dialect: str, model: str, able: Capabilities, request: chat.ChatRequest) -> list[str]:
    """What the provider would refuse; nothing where we refuse the request ourselves, with the reason."""
    try:
        body, _ = DIALECTS[dialect].encode_request(request, target(dialect, model, able))
    except RouterError:
        return []
    return faults_of(dialect, body)


@pytest.mark.parametrize("dialect", list(JUDGES))
@settings(max_examples=60)
@given(request=requests())
def test_no_request_that_the_provider_must_refuse(dialect: str, request: chat.ChatRequest) -> None:
    if missing(dialect):
        pytest.skip(f"{missing(dialect)} is not installed")
    if request.dialect == dialect:
        return  # a client's own words pass through as they are
    for model in MODELS[dialect]:
        for able in (ABLE, LEVELS, PLAIN):
            assert refused(dialect, model, able, request) == []


def recorded() -> list[Any]:
    index = RECORDINGS / "index.json"
    rows = json.loads(index.read_text()) if index.is_file() else []
    return [row for row in rows if row["api"] in APIS and row["has_request"] and row["status"] < 400]


ROWS = recorded()


@pytest.mark.skipif(not ROWS, reason="no recordings in shared/recordings")
@pytest.mark.parametrize("dialect", list(JUDGES))
def test_recorded_requests_for_every_provider(dialect: str) -> None:
    if missing(dialect):
        pytest.skip(f"{missing(dialect)} is not installed")
    found: dict[str, list[str]] = {}
    for row in ROWS:
        front = DIALECTS[APIS[row["api"]]]
        assert isinstance(front, Dialect)
        if front.name == dialect:
            continue
        case = json.loads((RECORDINGS / row["file"].removeprefix("dev/")).read_text())
        body = json.dumps(case["request"]["body"]).encode()
        try:
            inspected = front.inspect(body, case["model"] or "m", "stream" in row["api"])
        except RouterError:
            continue
        request = front.decode_request(inspected)
        faults = refused(dialect, MODELS[dialect][0], LEVELS, request)
        if faults:
            found[row["id"]] = faults
    assert found == {}


def test_the_judges_see_faults() -> None:
    """Each judge refuses what its provider refuses, so that its silence means something."""
    bad: dict[str, dict[str, Any]] = {
        "openai_chat": {"model": "m", "messages": [{"role": "assistant", "content": None}]},
        "openai_responses": {"model": "m", "input": [{"type": "message", "role": "user", "content": []}]},
        "anthropic_messages": {
            "model": "m",
            "max_tokens": 500,
            "messages": [{"role": "user", "content": "x"}],
            "thinking": {"type": "enabled", "budget_tokens": 1024},
        },
        "gemini_generate": {"contents": [{"role": "user", "parts": [{"textual": "x"}]}]},
        "bedrock_converse": {"messages": [{"role": "user", "content": [{"texts": "x"}]}]},
        "cohere_chat": {"model": "m", "messages": [{"role": "user", "content": "x"}], "top_p": 1},
        "ollama_chat": {"model": "m", "messages": [{"role": "developer", "content": "x"}]},
    }
    for dialect, body in bad.items():
        if not missing(dialect):
            assert faults_of(dialect, json.dumps(body).encode()), dialect
