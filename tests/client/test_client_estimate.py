from __future__ import annotations

import json

from client_kit import Gateway

from llm_router_client import LLMRouterClient

ASKED = [{"role": "user", "content": "hi"}]


def test_one_model_and_several(gateway: Gateway) -> None:
    client = gateway.client()
    one = client.estimate("gpt-6-luna", ASKED, max_tokens=50)
    assert one["cost"]["min"] <= one["cost"]["expected"] <= one["cost"]["max"]
    assert one["output_tokens"]["max"] == 50
    several = client.estimate(["gpt-6-luna", "nope"], ASKED, max_tokens=50)["data"]
    assert several[0]["cost"] == one["cost"]
    assert several[1]["error"]["code"] == "model_not_found"


def test_what_is_wrong_is_an_error(gateway: Gateway) -> None:
    client = gateway.client()
    assert client.estimate("nope", ASKED)["error"]["code"] == "model_not_found"
    assert client.estimate([], ASKED)["error"]["code"] == "INVALID_INPUT"
    nobody = LLMRouterClient("k", "http://127.0.0.1:9", max_retries=0)
    assert nobody.estimate("m", ASKED)["error"]["code"] == "NETWORK_ERROR"


def test_the_command_line(gateway: Gateway) -> None:
    done = gateway.run("estimate", "--models", "gpt-6-luna,claude-haiku-4-5", "-m", "hi", "--max-tokens", "9")
    assert done.returncode == 0
    found = json.loads(done.stdout)["data"]
    assert [entry["model"] for entry in found] == ["gpt-6-luna", "claude-haiku-4-5"]
    assert gateway.run("estimate", "--models", ",", "-m", "hi").returncode == 1
