"""The sandbox plays each provider in all of its dialects."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from gateway_kit import Gateway

BODIES: dict[str, Any] = {
    "/v1/responses": lambda text: {"input": text, "store": False},
    "/v1/messages": lambda text: {"max_tokens": 99, "messages": [{"role": "user", "content": text}]},
    "/v1/chat/completions": lambda text: {"messages": [{"role": "user", "content": text}]},
}


def ask(gateway: Gateway, path: str, model: str, text: str) -> httpx.Response:
    return httpx.post(
        gateway.url.removesuffix("/v1") + path,
        headers={"authorization": f"Bearer {gateway.key}"},
        json={"model": model, **BODIES[path](text)},
        timeout=30,
    )


@pytest.mark.parametrize(
    ("path", "model", "form"),
    [
        ("/v1/responses", "gpt-6-luna", "openai_responses"),
        ("/v1/chat/completions", "gpt-6-luna", "openai_chat"),
        ("/v1/chat/completions", "gpt-5-pro", "openai_responses"),
        ("/v1/messages", "bedrock/claude-haiku-4-5", "anthropic_messages"),
        ("/v1/chat/completions", "bedrock/claude-haiku-4-5", "bedrock_converse"),
        ("/v1/messages", "deepseek/deepseek-v4-pro", "anthropic_messages"),
        ("/v1/chat/completions", "vertex/claude-haiku-5-5", "anthropic_messages"),
    ],
)
def test_a_provider_is_played_in_the_dialect_that_it_would_be_spoken_to(
    sandbox: Gateway, path: str, model: str, form: str
) -> None:
    struck = ask(sandbox, path, model, f"[[error 400 on {form}]] hi")
    assert struck.status_code == 400, struck.text
    assert "simulated error 400" in struck.text
    well = ask(sandbox, path, model, 'Say only "hello"')
    assert well.status_code == 200, well.text
    assert "hello" in well.text


def test_an_order_for_a_provider_spares_others_that_speak_its_form(sandbox: Gateway) -> None:
    answer = ask(sandbox, "/v1/messages", "claude-haiku-4-5", "[[error 500 on anthropic]] hi")
    assert answer.status_code == 200, answer.text
    assert answer.headers["x-llm-router-provider"] != "anthropic"
