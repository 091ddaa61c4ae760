"""A request of very many small things is refused before it can hold up all others."""

from __future__ import annotations

import json

import pytest
from gateway_kit import Gateway


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/responses", "/v1/messages"])
def test_half_a_million_messages(sandbox: Gateway, path: str) -> None:
    name = "input" if path.endswith("responses") else "messages"
    many = [{"role": "user", "content": "x"}] * 500_000
    body = json.dumps({"model": "openai/gpt-4o-mini", "max_tokens": 5, name: many}).encode()
    answer = sandbox.send("POST", path, body)
    assert answer.status == 400
    assert "JSON objects" in answer.json["error"]["message"]
