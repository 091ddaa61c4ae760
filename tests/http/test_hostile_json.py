"""Every entrance that reads JSON, with JSON that is legal and absurd, or nearly JSON: it is refused or heeded, never a 5xx.

The routes are those of the gateway's own tables, so that a new one is tried as soon as it is there.
LLM_ROUTER_FUZZ_ROUNDS makes it longer, LLM_ROUTER_FUZZ_SEED another one.
"""

from __future__ import annotations

import http.client
import json
import os
import random
import re
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from gateway_kit import Gateway
from people_kit import Browser, first_operator

from llm_router.edge.api.routes import API_TABLE
from llm_router.edge.handlers import ROUTES

ROUNDS = int(os.environ.get("LLM_ROUTER_FUZZ_ROUNDS", "1"))
SEED = os.environ.get("LLM_ROUTER_FUZZ_SEED", "1")
MODEL = "gpt-6-luna"

VALUES = (
    b"1" + b"0" * 400, b"-1" + b"0" * 400, b"9" * 5000, b"1e400", b"-1e999999", b"1e-400", b"NaN", b"Infinity", b"-0.0", b"-1",
    b"9223372036854775807", b"9223372036854775808", b"18446744073709551616", b"-9223372036854775809", b"0.1", b"1.0", b"1e2",
    rb'"\ud800"', rb'"\udfff\ud800"', rb'"a\u0000b"', b'"\xed\xa0\x80"', b'"\xff"', b'"\xc0\xaf"', b'"\n"', rb'"\x"', b'""', b'" "',
    b'"' + b"y" * 70_000 + b'"', b"null", b"true", b"[]", b"{}", b"[null]", b'[""]', b'{"":null}', rb'{"\ud800":1}', b'[{"type":{}}]',
    b'{"type":[]}', b"[[[[[1]]]]]", b"[" * 900 + b"]" * 900, b'{"a":' * 900 + b"1" + b"}" * 900, b"[" * 100_000, b'{"a":' * 50_000, b"",
    b"[" * 100_000 + b"]" * 100_000, b"[" + b"0," * 20_000 + b"0]", b'{"a":1,"a":2}',
)  # fmt: skip
"""What may stand in place of any member: some of it is no JSON, or no Unicode."""

KEYS = (rb'"\ud800"', b'""', b'"\xff"', b'"__proto__"', b'"' + b"k" * 70_000 + b'"')
DOCUMENTS = (
    *VALUES, b"{", b"}", b'{"a"', b'{"a":1}}', b"\xef\xbb\xbf{}", b"\x00", "{}".encode("utf-16"), b'{"a":1,}', b"{} {}", b"'", b"{'a':1}",
)  # fmt: skip

CONTENT = [{"role": "user", "content": "Hi"}]
BODIES: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {
        "model": MODEL, "messages": CONTENT, "max_tokens": 9, "temperature": 1, "n": 1, "stop": ["x"], "tools": [], "seed": 1, "user": "u",
        "tool_choice": "auto", "response_format": {"type": "text"}, "logit_bias": {}, "metadata": {}, "stream": False, "dial": 3, "session_id": "s",
        "models": [], "provider": {"sort": "price"}, "reasoning_effort": "low", "service_tier": "auto", "stream_options": None,
    },
    "/v1/messages": {
        "model": MODEL, "messages": CONTENT, "max_tokens": 9, "system": "s", "tools": [], "thinking": {"type": "disabled"}, "metadata": {},
        "stop_sequences": [], "temperature": 1, "top_k": 4, "stream": False, "tool_choice": {"type": "auto"},
    },
    "/v1/responses": {
        "model": MODEL, "input": "Hi", "max_output_tokens": 16, "instructions": "s", "tools": [], "store": False, "metadata": {}, "text": {},
        "reasoning": {}, "previous_response_id": None, "conversation": None, "include": [], "background": False, "truncation": "auto",
    },
    "/v1/completions": {"model": MODEL, "prompt": "Hi", "max_tokens": 9, "n": 1, "echo": False, "suffix": "x", "logprobs": 1, "best_of": 1},
    "/v1/embeddings": {"model": "text-embedding-3-small", "input": ["Hi"], "dimensions": 8, "encoding_format": "float", "user": "u"},
    "/v1/compare": {"models": [MODEL, "claude-haiku-4-5"], "messages": CONTENT, "max_tokens": 9, "stream_options": {}, "stream": False},
    ":generateContent": {
        "contents": [{"role": "user", "parts": [{"text": "Hi"}]}], "generationConfig": {"maxOutputTokens": 9}, "tools": [],
        "systemInstruction": {"parts": [{"text": "s"}]}, "safetySettings": [], "toolConfig": {}, "cachedContent": None,
    },
    ":embedContent": {"content": {"parts": [{"text": "Hi"}]}, "outputDimensionality": 8, "taskType": "x", "title": "t"},
    ":batchEmbedContents": {"requests": [{"content": {"parts": [{"text": "Hi"}]}, "model": "models/x"}]},
    "/v1/conversations": {"metadata": {}, "items": []},
    "/feedback": {"score": 1, "label": "good", "comment": "c", "tags": ["a"]},
    "/v1/credits/redeem": {"code": "x"},
    "/v1/credits": {"amount": "5", "code": "x", "currency": "usd", "success_url": "https://a.test", "threshold": "1", "enabled": False},
}  # fmt: skip
ALIKE = (
    ("/v1/estimate", "/v1/chat/completions"), ("/v1/explain", "/v1/chat/completions"), ("count_tokens", "/v1/messages"),
    ("input_tokens", "/v1/responses"), ("compact", "/v1/responses"), (":streamGenerateContent", ":generateContent"), (":countTokens", ":generateContent"),
)  # fmt: skip

ENTRANCES = [
    *((route.method, route.path) for route in ROUTES.routes if route.method == "POST"),
    *((route.method, route.path) for route in API_TABLE.routes if route.body is not None),
]


def seed_of(path: str) -> dict[str, Any]:
    """A good body, or at least one with the right members."""
    api = next((r for r in API_TABLE.routes if r.path == path and r.body is not None), None)
    if api is not None and api.body is not None:
        return dict.fromkeys(api.body.__struct_fields__, "x")
    path = next((like for part, like in ALIKE if part in path), path)
    return next((body for part, body in BODIES.items() if part in path), {"name": "x", "metadata": {}})


def nested(value: Any, dice: random.Random, hostile: bytes) -> bytes:
    """The JSON of a value in which one place, at any depth, is something else."""
    if isinstance(value, dict) and value:
        name = dice.choice(list(value))
        parts = [
            json.dumps(key).encode()
            + b":"
            + (nested(each, dice, hostile) if key == name else json.dumps(each).encode())
            for key, each in value.items()
        ]
        if dice.random() < 0.1:
            parts.append(dice.choice(KEYS) + b":" + hostile)
        return b"{" + b",".join(parts) + b"}"
    if isinstance(value, list) and value and dice.random() < 0.7:
        at = dice.randrange(len(value))
        return (
            b"["
            + b",".join(
                nested(v, dice, hostile) if n == at else json.dumps(v).encode() for n, v in enumerate(value)
            )
            + b"]"
        )
    return hostile


def bodies_for(path: str) -> Iterator[bytes]:
    dice = random.Random(f"{SEED} {path}")
    yield from DOCUMENTS
    seed = seed_of(path)
    for value in VALUES * ROUNDS:
        yield nested(seed, dice, value)


@pytest.fixture(scope="module")
def operator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """The first operator at a gateway of their own: what they send is taken, and would confuse other tests."""
    gateway = Gateway(
        tmp_path_factory.mktemp("hostile_json"), "--sandbox", config="[health]\nenabled = false\n"
    )
    yield first_operator(gateway)
    assert gateway.stop() == 0


def told(
    connection: http.client.HTTPConnection, method: str, path: str, body: bytes, headers: dict[str, str]
) -> tuple[int, bytes]:
    connection.request(method, path, body, headers)
    reply = connection.getresponse()
    data = reply.read()
    if reply.will_close:
        connection.close()
    return reply.status, data


@pytest.mark.parametrize(
    ("method", "path"), ENTRANCES, ids=lambda value: value if value.startswith("/") else ""
)
def test_no_json_breaks_an_entrance(operator: Browser, method: str, path: str) -> None:
    gateway = operator.gateway
    headers = {"content-type": "application/json"}
    if path.startswith("/api/"):
        headers |= {
            "cookie": operator.cookie,
            "x-llm-router-csrf": "1",
            "origin": f"http://127.0.0.1:{gateway.port}",
        }
    else:
        headers |= {"authorization": f"Bearer {gateway.key}"}
    place = re.sub(r"\{model\}", MODEL, re.sub(r"\{path\}", "v1/messages", path))
    place = re.sub(r"\{\w+\}", "x", place)
    with closing(gateway.connect()) as connection:
        for body in bodies_for(path):
            status, data = told(connection, method, place, body, headers)
            assert status < 500, (status, data[:500], body[:300])
            if not data.startswith((b"data:", b"event:", b":")) and data:
                json.loads(data, parse_constant=lambda word: pytest.fail(f"{word} in an answer"))
