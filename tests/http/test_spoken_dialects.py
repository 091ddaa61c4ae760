"""A provider of several dialects: each client's own bytes arrive, at the address where they belong."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from gateway_kit import Gateway
from scripted_upstream import ScriptedUpstream, answers, http

pytestmark = pytest.mark.slow

CONFIG = """
[credits]
starting = 1000

[providers.hub]
base_url = "http://127.0.0.1:PORT/hub/v1"
key = "env:HUB_KEY"
knows = ["developer"]
query = { tenant = "a b" }

[[providers.hub.also]]
dialect = "openai_responses"

[[providers.hub.also]]
dialect = "anthropic_messages"
base_url = "http://127.0.0.1:PORT/hub/anthropic"
auth = "header"
auth_name = "x-api-key"

[[providers.hub.also]]
dialect = "gemini_generate"
base_url = "http://127.0.0.1:PORT/hub/v1beta"
auth = "query"
auth_name = "key"

[models.many]
price = { input_per_mtok = 1, output_per_mtok = 2 }
[[models.many.deployments]]
provider = "hub"
upstream_model = "up"

[models.fixed]
price = { input_per_mtok = 1, output_per_mtok = 2 }
[[models.fixed.deployments]]
provider = "hub"
upstream_model = "up"
dialect = "anthropic_messages"

[providers.vx]
extends = "vertex"
base_url = "http://127.0.0.1:PORT/vx/v1/projects/{project}/locations/{location}/publishers/google/models"
parameters = { project = "my-project", location = "us-east5" }
key = "file:account.json"

[models.onvertex]
price = { input_per_mtok = 1, output_per_mtok = 2 }
[[models.onvertex.deployments]]
provider = "vx"
upstream_model = "gemini-x"
"""
KEY = "hub-key-0123456789abcdef"
TOKEN = "ya29.a-token-of-google-0123456789"


def account(port: int) -> str:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    told = {
        "type": "service_account", "project_id": "my-project", "private_key_id": "k", "private_key": key.decode(),
        "client_email": "router@my-project.iam.example", "token_uri": f"http://127.0.0.1:{port}/tok/token",
    }  # fmt: skip
    return json.dumps(told, indent=2)


@pytest.fixture(scope="module")
def gateway(scripted: ScriptedUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    folder: Path = tmp_path_factory.mktemp("spoken")
    (folder / "account.json").write_text(account(scripted.port))
    config = CONFIG.replace("PORT", str(scripted.port))
    gateway = Gateway(folder, config=config, environ={"HUB_KEY": KEY})
    yield gateway
    assert gateway.stop() == 0
    assert TOKEN not in gateway.log.text


CHAT: dict[str, Any] = {
    "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "up",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}, "strange": [1.50],
}  # fmt: skip
MESSAGE: dict[str, Any] = {
    "id": "msg_1", "type": "message", "role": "assistant", "model": "up", "stop_reason": "end_turn",
    "stop_sequence": None, "content": [{"type": "text", "text": "Hi"}], "usage": {"input_tokens": 3, "output_tokens": 2},
    "strange": [1.50],
}  # fmt: skip
RESPONSE: dict[str, Any] = {
    "id": "resp_1", "object": "response", "created_at": 1, "status": "completed", "model": "up", "strange": [1.50],
    "output": [{"type": "message", "id": "msg_1", "status": "completed", "role": "assistant",
                "content": [{"type": "output_text", "text": "Hi", "annotations": []}]}],
    "usage": {"input_tokens": 3, "input_tokens_details": {"cached_tokens": 0}, "output_tokens": 2,
              "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": 5},
}  # fmt: skip
GEMINI: dict[str, Any] = {
    "candidates": [{"content": {"role": "model", "parts": [{"text": "Hi"}]}, "finishReason": "STOP", "index": 0}],
    "usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 2, "totalTokenCount": 5}, "strange": [1.50],
}  # fmt: skip


@pytest.mark.parametrize(
    ("path", "asked", "reply", "arrived", "body", "auth"),
    [
        (
            "/v1/chat/completions",
            '{"model":"many","messages":[{"role":"developer","content":"h\\u00e9"}],"own":1.0}',
            CHAT,
            "/hub/v1/chat/completions?tenant=a%20b",
            b'{"model":"up","messages":[{"role":"developer","content":"h\\u00e9"}],"own":1.0}',
            ("authorization", f"Bearer {KEY}"),
        ),
        (
            "/v1/messages",
            '{"model":"many","max_tokens":9,"messages":[{"role":"user","content":"h\\u00e9"}],"own":1.0}',
            MESSAGE,
            "/hub/anthropic/v1/messages?tenant=a%20b",
            b'{"model":"up","max_tokens":9,"messages":[{"role":"user","content":"h\\u00e9"}],"own":1.0}',
            ("x-api-key", KEY),
        ),
        (
            "/v1/responses",
            '{"model":"many","input":"h\\u00e9","own":1.0,"store":false}',
            RESPONSE,
            "/hub/v1/responses?tenant=a%20b",
            b'{"model":"up","input":"h\\u00e9","own":1.0,"store":false}',
            ("authorization", f"Bearer {KEY}"),
        ),
        (
            "/v1beta/models/many:generateContent",
            '{"contents":[{"role":"user","parts":[{"text":"h\\u00e9"}]}],"own":1.0}',
            GEMINI,
            f"/hub/v1beta/models/up:generateContent?tenant=a%20b&key={KEY}",
            b'{"contents":[{"role":"user","parts":[{"text":"h\\u00e9"}]}],"own":1.0}',
            ("content-type", "application/json"),
        ),
    ],
    ids=["chat", "messages", "responses", "gemini"],
)
def test_each_client_is_passed_through(
    gateway: Gateway,
    upstream: ScriptedUpstream,
    path: str,
    asked: str,
    reply: dict[str, Any],
    arrived: str,
    body: bytes,
    auth: tuple[str, str],
) -> None:
    upstream.play("hub", answers(http(200, json.dumps(reply).encode())))
    answer = gateway.send("POST", path, asked.encode())
    assert answer.status == 200, answer.body
    (seen,) = upstream.at("hub")
    assert (seen.path, seen.body) == (arrived, body)
    assert seen.headers[auth[0]] == auth[1]
    assert answer.json["strange"] == [1.50]  # what nobody has heard of has come back
    assert "x-llm-router-losses" not in answer.headers


def test_a_deployment_that_names_its_dialect_is_always_reached_so(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    upstream.play("hub", answers(http(200, json.dumps(MESSAGE).encode())))
    assert gateway.chat("fixed").json["choices"][0]["message"]["content"] == "Hi"
    assert upstream.at("hub")[0].path.startswith("/hub/anthropic/v1/messages")


def test_google_credentials_become_a_token(gateway: Gateway, upstream: ScriptedUpstream) -> None:
    token = {"access_token": TOKEN, "expires_in": 3600, "token_type": "Bearer"}
    upstream.play("tok", answers(http(200, json.dumps(token).encode())))
    echo = {**GEMINI, "candidates": [{**GEMINI["candidates"][0], "content": {"role": "model", "parts": [{"text": f"You said {TOKEN}"}]}}]}  # fmt: skip
    upstream.play("vx", answers(http(200, json.dumps(echo).encode())))
    for _ in range(2):
        answer = gateway.chat("onvertex")
        assert answer.status == 200, answer.body
        assert TOKEN not in answer.body.decode()
        assert "You said" in answer.json["choices"][0]["message"]["content"]
    assert len(upstream.at("tok")) == 1
    for seen in upstream.at("vx"):
        assert (
            seen.path
            == "/vx/v1/projects/my-project/locations/us-east5/publishers/google/models/gemini-x:generateContent"
        )
        assert seen.headers["authorization"] == f"Bearer {TOKEN}"
