"""Every recording of embeddings, answered by the running gateway to strict clients of either form.

What the vectors are is read here anew from the recorded body. The official OpenAI client reads each
reply too, by base64 as it does unless it is told otherwise.
"""

from __future__ import annotations

import base64
import http.client
import importlib.util
import json
import os
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

RECORDINGS = Path(__file__).parents[3] / "shared" / "recordings"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not RECORDINGS.is_dir(), reason="the recordings are not beside the project"),
]


def recordings() -> list[dict[str, Any]]:
    index = RECORDINGS / "dev" / "index.json"
    rows = json.loads(index.read_text()) if index.exists() else []
    found = [
        json.loads((RECORDINGS / "dev" / row["file"]).read_text())
        for row in rows
        if row["api"] in ("embeddings", "embed")
    ]
    return [r for r in found if "organization/usage" not in path_of(r)]


def path_of(recording: dict[str, Any]) -> str:
    return (recording["request"] or {}).get("path", "")


CASES = {recording["id"]: recording for recording in recordings()}
GOOD = [id_ for id_, r in CASES.items() if r["response"]["status"] == 200]
BAD = [id_ for id_ in CASES if id_ not in GOOD]


def dialect_of(recording: dict[str, Any]) -> str:
    if recording["provider"] == "cohere":
        return "cohere_chat"
    if path_of(recording).endswith(":predict"):
        return "vertex_predict"
    if path_of(recording).endswith("/api/embed"):
        return "ollama_chat"
    return "gemini_generate" if recording["provider"] == "gemini" else "openai_chat"


def vectors_of(recording: dict[str, Any]) -> list[list[float]]:
    """The vectors that the provider gave."""
    body = recording["response"]["body"]
    if "predictions" in body:
        return [item["embeddings"]["values"] for item in body["predictions"]]
    if "data" in body:
        return [numbers(item["embedding"]) for item in body["data"]]
    found = body["embeddings"]
    if isinstance(found, dict):
        return found["float"]
    return [item["values"] if isinstance(item, dict) else item for item in found]


def numbers(embedding: Any) -> list[float]:
    if isinstance(embedding, list):
        return embedding
    data = base64.b64decode(embedding)
    doubles = data[:4] == bytes(4)  # a float64 of a rounded number
    kind = "d" if doubles else "b" if len(data) == 256 else "f"
    return list(struct.unpack(f"<{len(data) // struct.calcsize(kind)}{kind}", data))


def single(values: list[float]) -> list[float]:
    return list(struct.unpack(f"<{len(values)}f", struct.pack(f"<{len(values)}f", *values)))


def tokens_of(recording: dict[str, Any]) -> int | None:
    body = recording["response"]["body"]
    for name in ("usage", "usageMetadata"):
        counts = body.get(name) or {}
        if counts:
            return counts.get("prompt_tokens", counts.get("promptTokenCount"))
    if "predictions" in body:
        return sum(item["embeddings"]["statistics"]["token_count"] for item in body["predictions"])
    if "prompt_eval_count" in body:
        return body["prompt_eval_count"]
    return body.get("meta", {}).get("billed_units", {}).get("input_tokens")


@pytest.fixture(scope="module")
def replay() -> Iterator[int]:
    spec = importlib.util.spec_from_file_location("replay_server", RECORDINGS / "replay_server.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    server = module.Server(module.load([str(RECORDINGS / "dev")]))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server.server_port
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(scope="module")
def gateway(replay: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, str]]:
    """(port, key) of a gateway with one provider and one model for each recording."""
    folder = tmp_path_factory.mktemp("embeddings")
    config = folder / "config.toml"
    lines = ["[server]", "port = 0", "access_log = false", "[credits]", 'starting = "1000"']
    for id_, recording in CASES.items():
        lines += [
            f"[providers.{id_}]", f'dialect = "{dialect_of(recording)}"',
            f'base_url = "http://127.0.0.1:{replay}/rec/{id_}"', 'auth = "none"', "key_required = false",
            f'[models."{id_}"]', 'operations = ["embed"]', "price = { input_per_mtok = 1, output_per_mtok = 0 }",
            f'[[models."{id_}".deployments]]', f'provider = "{id_}"', 'upstream_model = "m"',
        ]  # fmt: skip
    config.write_text("\n".join(lines))
    process = subprocess.Popen(
        [sys.executable, "-m", "llm_router.cli", "serve", "--config", str(config), "--data-dir", str(folder / "data")],
        stdout=subprocess.PIPE, text=True, env={**os.environ, "NO_COLOR": "1"},
    )  # fmt: skip
    try:
        port = key = None
        for line in process.stdout:
            words = line.split()
            if "answers at" in line:
                port = int(words[-1].rsplit(":", 1)[1].split("/")[0])
            if line.strip().startswith("API key"):
                key = words[-1]
            if "Data" in words:
                break
        drain = threading.Thread(target=process.stdout.read, daemon=True)
        drain.start()
        yield port, key
    finally:
        process.terminate()
        process.wait(20)
        drain.join(5)
        process.stdout.close()


def post(gateway: tuple[int, str], path: str, body: Any) -> tuple[int, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", gateway[0], timeout=20)
    try:
        headers = {"authorization": f"Bearer {gateway[1]}", "content-type": "application/json"}
        connection.request("POST", path, json.dumps(body), headers)
        reply = connection.getresponse()
        return reply.status, json.loads(reply.read())
    finally:
        connection.close()


def asked(id_: str) -> dict[str, Any]:
    """As many inputs as there are vectors; the dimensions that were asked for."""
    body: dict[str, Any] = {"model": id_, "input": ["a"] * len(vectors_of(CASES[id_]))}
    sent = (CASES[id_]["request"] or {}).get("body") or {}
    if isinstance(sent.get("dimensions"), int):
        body["dimensions"] = sent["dimensions"]
    return body


@pytest.mark.parametrize("id_", GOOD)
@pytest.mark.parametrize("encoding", [None, "float", "base64"])
def test_an_openai_client_gets_every_vector(id_: str, encoding: str | None, gateway: tuple[int, str]) -> None:
    wish = {} if encoding is None else {"encoding_format": encoding}
    status, body = post(gateway, "/v1/embeddings", {**asked(id_), **wish})
    assert status == 200, body
    assert body["object"] == "list"
    assert isinstance(body["model"], str)
    expected = vectors_of(CASES[id_])
    assert [item["index"] for item in body["data"]] == list(range(len(expected)))
    assert {item["object"] for item in body["data"]} == {"embedding"}
    for item, vector in zip(body["data"], expected, strict=True):
        if encoding == "base64":
            assert isinstance(item["embedding"], str)
            data = base64.b64decode(item["embedding"])
            assert list(struct.unpack(f"<{len(data) // 4}f", data)) == single(vector)
        else:
            assert item["embedding"] == vector
    usage, tokens = body["usage"], tokens_of(CASES[id_])
    assert usage["prompt_tokens"] == usage["total_tokens"]
    if tokens is not None:
        assert usage["prompt_tokens"] == tokens
    assert round(usage["cost"] * 1e6) == usage["prompt_tokens"]
    assert usage["credits_remaining"] > 900


@pytest.mark.parametrize("id_", GOOD)
def test_the_official_client_reads_it(id_: str, gateway: tuple[int, str]) -> None:
    with openai.OpenAI(
        base_url=f"http://127.0.0.1:{gateway[0]}/v1", api_key=gateway[1], max_retries=0
    ) as client:
        found = client.embeddings.create(**asked(id_))
    assert [item.embedding for item in found.data] == [single(v) for v in vectors_of(CASES[id_])]
    assert found.usage.model_extra["cost"] is not None


@pytest.mark.parametrize("id_", GOOD)
def test_a_gemini_client_gets_every_vector(id_: str, gateway: tuple[int, str]) -> None:
    expected = vectors_of(CASES[id_])
    item = {"model": f"models/{id_}", "content": {"parts": [{"text": "a"}]}}
    status, body = post(
        gateway, f"/v1beta/models/{id_}:batchEmbedContents", {"requests": [item] * len(expected)}
    )
    assert status == 200, body
    assert [e["values"] for e in body["embeddings"]] == expected
    assert body["usageMetadata"]["cost"] >= 0
    if len(expected) == 1:
        status, body = post(gateway, f"/v1/models/{id_}:embedContent", item)
        assert status == 200
        assert body["embedding"]["values"] == expected[0]
        assert "embeddings" not in body


@pytest.mark.parametrize("id_", BAD)
def test_an_error_keeps_its_status(id_: str, gateway: tuple[int, str]) -> None:
    status, body = post(gateway, "/v1/embeddings", {"model": id_, "input": "a"})
    assert status == CASES[id_]["response"]["status"], body
    assert {"message", "type", "param", "code", "request_id"} <= set(body["error"])
    assert isinstance(body["error"]["code"], str)
    status, body = post(gateway, f"/v1/models/{id_}:embedContent", {"content": {"parts": [{"text": "a"}]}})
    assert status == body["error"]["code"] == CASES[id_]["response"]["status"]
