"""All commands and methods against a running gateway whose providers are simulated."""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import Any

import pytest
from client_kit import Gateway

from llm_router_client import LLMRouterError

TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
MODELS = ["gpt-5-mini", "claude-haiku-4-5", "gemini-2.5-flash"]


def ask(text: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": text}]


def png() -> bytes:
    """A picture of one pixel."""

    def part(kind: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")

    head = (1).to_bytes(4, "big") * 2 + bytes([8, 0, 0, 0, 0])
    pixel = zlib.compress(b"\0\0")
    return b"\x89PNG\r\n\x1a\n" + part(b"IHDR", head) + part(b"IDAT", pixel) + part(b"IEND", b"")


@pytest.mark.parametrize("model", MODELS)
def test_chat_streamed_and_not(gateway: Gateway, model: str) -> None:
    client = gateway.client()
    plain = client.chat(model, ask("Say hello."), max_tokens=200)
    assert "error" not in plain, plain
    said = plain["choices"][0]["message"]["content"]
    assert "simulated" in said
    assert plain["usage"]["cost"] > 0
    assert "".join(client.chat_stream(model, ask("Say hello."), max_tokens=200)) == said
    seen = client.last_stream
    assert seen is not None
    assert (seen.text, seen.finish_reason, seen.complete) == (said, "stop", True)
    assert seen.usage["total_tokens"] == plain["usage"]["total_tokens"]
    assert seen.cost == plain["usage"]["cost"]
    assert seen.credits_remaining is not None
    assert seen.credits_remaining < plain["usage"]["credits_remaining"]
    folded = client.chat(model, ask("Say hello."), max_tokens=200, stream=True)
    assert folded["choices"][0]["message"]["content"] == said
    record = client.generation(plain["id"])
    assert record["reply_id"] == plain["id"]
    assert record["cost_usd"] == plain["usage"]["cost"]


@pytest.mark.parametrize("model", MODELS)
def test_tool_calls_streamed_and_not(gateway: Gateway, model: str) -> None:
    client = gateway.client()
    messages = ask("Weather? [[call get_weather x2]]")
    plain = client.chat(model, messages, tools=[TOOL])
    streamed = client.chat(model, messages, tools=[TOOL], stream=True)
    for got in (plain, streamed):
        assert got["choices"][0]["finish_reason"] == "tool_calls"
        calls = got["choices"][0]["message"]["tool_calls"]
        assert [call["function"]["name"] for call in calls] == ["get_weather"] * 2
        assert all("city" in json.loads(call["function"]["arguments"]) for call in calls)
        assert len({call["id"] for call in calls}) == 2
        assert not any("index" in call for call in calls)


@pytest.mark.parametrize(
    ("order", "code"),
    [
        ("[[error 500 mid]]", "upstream_error"),
        ("[[cut]]", "upstream_truncated"),
        ("[[error 400]]", "invalid_request"),
    ],
)
def test_failures_of_streams(gateway: Gateway, order: str, code: str) -> None:
    client = gateway.client(max_retries=0)
    came: list[str] = []
    with pytest.raises(LLMRouterError) as raised:
        came.extend(client.chat_stream("gpt-5-mini", ask(f"Hello {order}")))
    assert raised.value.code == code
    assert raised.value.partial_text == "".join(came)
    got = client.chat("gpt-5-mini", ask(f"Hello {order}"), stream=True)
    assert got["error"]["code"] == code
    assert got["error"]["request_id"].startswith("gen-")


def test_errors(gateway: Gateway) -> None:
    client = gateway.client(max_retries=0)
    missing = client.chat("gpt-5-mnii", ask("hi"))["error"]
    assert (missing["code"], missing["status"]) == ("model_not_found", 404)
    assert "gpt-5-mini" in missing["nearest"]
    limited = client.chat("gpt-5-mini", ask("hi [[error 429 after 9]]"))["error"]
    assert (limited["code"], limited["retry_after"]) == ("rate_limit_exceeded", 9.0)
    dear = client.chat("gpt-5-mini", ask("hi"), max_tokens=100_000, n=100)["error"]
    assert (dear["code"], dear["status"]) == ("insufficient_credits", 402)
    assert dear["needed"] > dear["available"]
    assert client.generation("gen-none")["error"]["code"] == "not_found"


def test_a_passing_fault_is_survived(gateway: Gateway, pauses: list[float]) -> None:
    # The gateway itself tries other providers, so the fault must outlast those of one request.
    got = gateway.client(max_retries=5).chat("gpt-5-mini", ask("hi [[error 503 x3]]"))
    assert "error" not in got, got


def test_vision_compare_and_models(gateway: Gateway, tmp_path: Path) -> None:
    client = gateway.client()
    (tmp_path / "dot.png").write_bytes(png())
    got = client.vision("gpt-4o", str(tmp_path / "dot.png"), "What is it?")
    assert "image/png" in got["choices"][0]["message"]["content"]
    results = client.compare_models([*MODELS, "no-such-model"], "hi")
    assert [result["success"] for result in results.values()] == [True, True, True, False]
    assert all(results[model]["cost"] > 0 and results[model]["tokens"] > 0 for model in MODELS)
    families = client.list_models()
    assert {"GPT", "Claude", "Gemini", "Grok", "Llama", "Mistral"} <= set(families)
    assert sum(len(models) for models in families.values()) >= 70
    entry = next(model for model in families["GPT"] if model["id"] == "gpt-5-mini")
    assert entry["price_per_mtok"]["input"] > 0
    assert "image" in entry["input_modalities"]
    every = client.list_models(include_unavailable=True)
    assert sum(len(models) for models in every.values()) > sum(len(models) for models in families.values())


def test_every_command(gateway: Gateway, tmp_path: Path) -> None:
    (tmp_path / "dot.png").write_bytes(png())
    image = str(tmp_path / "dot.png")
    check_every_command(gateway, image)


def check_every_command(gateway: Gateway, image: str, **options: Any) -> None:
    """Run all commands once; the options go to :meth:`Gateway.run`."""

    def run(*words: str, **more: Any) -> Any:
        done = gateway.run(*words, **options, **more)
        assert (done.returncode, done.stderr) == (0, b""), done
        return json.loads(done.stdout)

    assert run("chat", "-m", "gpt-5-mini", "--message", "Hällo")["usage"]["cost"] > 0
    asked = json.dumps(ask("Hällo")).encode()
    assert run("chat", "-m", "gpt-5-mini", "--messages", "-", stdin=asked)["object"] == "chat.completion"
    assert "image/png" in str(run("vision", "-m", "gpt-4o", "-i", image, "-p", "What?", "--max-tokens", "90"))
    assert list(run("compare", "--models", "gpt-5-mini,no-such", "-m", "hi")) == ["gpt-5-mini", "no-such"]
    assert "Claude" in run("models")
    whole = gateway.run("chat", "-m", "gpt-5-mini", "--message", "Hällo", "--stream", **options)
    assert whole.returncode == 0
    assert "Hällo" in whole.stdout.decode()
    assert json.loads(whole.stderr)["usage"]["cost"] > 0
    half = gateway.run("chat", "-m", "gpt-5-mini", "--message", "hi [[cut]]", "--stream", **options)
    assert half.returncode == 1
    assert json.loads(half.stdout.splitlines()[-1])["error"]["code"] == "upstream_truncated"
    lost = gateway.run("models", environ={"AISA_API_KEY": "sk-wrong"}, **options)
    assert lost.returncode == 1
    assert json.loads(lost.stdout)["error"]["code"] == "invalid_api_key"
