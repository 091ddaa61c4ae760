"""Tools that the provider runs, in a running gateway: charged where they have a price, else refused or flagged."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from gateway_kit import Answer, Gateway
from kept_kit import message, whole
from scripted_upstream import ScriptedUpstream, answers, config_for, http

from llm_router.adapters.sqlite.verify import verify

NORMAL = {"connect_s": 5, "first_byte_s": 20, "idle_s": 20, "total_s": 60}
LATER_MS = 4_000_000_000_000
MORE = """
[providers.openai]
dialect = "openai_responses"
base_url = "{base}"
key = "sk-openai-abcdefghijkl"
also = []
tools = {{ of_ours = 0.01 }}
[models.mine]
price = {{ input_per_mtok = 1, output_per_mtok = 2 }}
[[models.mine.deployments]]
provider = "openai"
upstream_model = "m"
"""
CALLS: list[dict[str, Any]] = [
    {"type": "code_interpreter_call", "id": "ci_1", "container_id": "c1", "status": "completed", "code": "1"},
    {"type": "code_interpreter_call", "id": "ci_2", "container_id": "c1", "status": "completed", "code": "2"},
    {"type": "file_search_call", "id": "fs_1", "status": "completed", "queries": [], "results": None},
    {
        "type": "image_generation_call",
        "id": "ig_1",
        "status": "completed",
        "quality": "low",
        "result": "AAAA",
    },
    {"type": "x_search_call", "id": "x_1", "status": "completed"},
]
PRICES = {
    "tool:code_interpreter": 30_000_000_000,
    "tool:file_search": 2_500_000_000,
    "tool:image_generation": 408 * 40_000_000,
}


@pytest.fixture
def gateway(upstream: ScriptedUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    more = MORE.format(base=f"http://127.0.0.1:{upstream.port}/o1")
    found = Gateway(tmp_path_factory.mktemp("tools"), config=config_for(upstream, NORMAL) + more)
    yield found
    assert found.stop() == 0
    assert verify(found.data_dir / "llm-router.db", LATER_MS).doubt is None


def ask(gateway: Gateway, model: str, *tools: str) -> Answer:
    kinds = [{"type": kind, "vector_store_ids": ["vs"]} for kind in tools]
    body = {"model": model, "input": "hi", "tools": kinds, "store": False, "max_output_tokens": 50}
    return gateway.send("POST", "/v1/responses", json.dumps(body).encode())


@pytest.mark.parametrize("percent", [None, "100"])
def test_calls_of_hosted_tools_are_charged(
    gateway: Gateway, upstream: ScriptedUpstream, percent: str | None
) -> None:
    if percent is not None:
        gateway.command("prices.publish", percent=percent)
    upstream.play("o1", answers(http(200, whole(*CALLS, message("Done.")))))
    answer = ask(gateway, "mine", "code_interpreter", "file_search", "image_generation", "x_search")
    assert answer.status == 200, answer.body
    record = gateway.generation(answer.headers["x-generation-id"])
    times = 1 if percent is None else 2
    lines = {line["bucket"]: line["amount_pusd"] for line in record["cost"]}
    assert {name: lines[name] for name in PRICES} == {name: times * price for name, price in PRICES.items()}
    assert record["cost_pusd"] == sum(lines.values())
    assert record["flags"] == ["unpriced_usage:tool:x_search"]


def test_a_tool_without_a_price_is_refused_where_the_price_of_the_model_is_the_catalogues(
    gateway: Gateway,
) -> None:
    refused = ask(gateway, "gpt-5-mini", "of_tomorrow")
    assert refused.status == 400, refused.body
    assert refused.json["error"]["param"] == "tools"
    assert "unpriced_tools" in refused.json["error"]["message"]


def test_the_hold_covers_the_tools(gateway: Gateway) -> None:
    def most(*tools: str) -> Any:
        kinds = [{"type": kind} for kind in tools]
        body = {"model": "gpt-5-mini", "input": "hi", "tools": kinds, "max_output_tokens": 50}
        answer = gateway.send("POST", "/v1/estimate?api=responses", json.dumps(body).encode())
        assert answer.status == 200, answer.body
        return answer.json["cost"]["max"]

    assert float(most("code_interpreter")) > float(most()) + 0.15
    assert float(most("of_ours")) > float(most()) + 0.05
