"""Prices that an operator publishes, through a running gateway."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from gateway_kit import Gateway
from scripted_upstream import Peer, ScriptedUpstream, answers, config_for, frames, head, http, whole

from llm_router.adapters.sqlite.verify import verify
from llm_router.domain.errors import RouterError

NORMAL = {"connect_s": 5, "first_byte_s": 20, "idle_s": 20, "total_s": 60}
COST = 10 * 1_000_000 + 5 * 2_000_000
LATER_MS = 4_000_000_000_000


@pytest.fixture
def gateway(upstream: ScriptedUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    found = Gateway(tmp_path_factory.mktemp("prices"), config=config_for(upstream, NORMAL))
    yield found
    assert found.stop() == 0
    assert verify(found.data_dir / "llm-router.db", LATER_MS).doubt is None


def publish(gateway: Gateway, **arguments: Any) -> Any:
    return gateway.command("prices.publish", **arguments)


def charged(gateway: Gateway, upstream: ScriptedUpstream, key: str | None = None) -> Any:
    upstream.play("o1", answers(http(200, whole("openai_chat"))))
    answer = gateway.chat("mo", key=key)
    assert answer.status == 200, answer.body
    record = gateway.generation(answer.id, key)
    assert answer.json["usage"]["cost"] == Decimal(record["cost_pusd"]) / 10**12
    assert record["attempts"][0]["operator_cost_pusd"] == COST
    return record


def test_who_pays_which_price(gateway: Gateway, upstream: ScriptedUpstream) -> None:
    assert charged(gateway, upstream)["cost_pusd"] == COST
    publish(gateway, percent="20")
    record = charged(gateway, upstream)
    assert record["cost_pusd"] == COST * 12 // 10
    assert "~rule_" in record["price_version"]
    assert sum(line["amount_pusd"] for line in record["cost"]) == record["cost_pusd"]
    other = gateway.command("keys.create", name="partner", account="partner-1")["key"]
    gateway.command("credits.add", account="partner-1", amount="1")
    publish(gateway, percent="-10", scope="account", account="partner-*")
    publish(gateway, input="4", output="8", scope="account", account="partner-*", models=["ma"])
    assert charged(gateway, upstream, other)["cost_pusd"] == COST * 9 // 10
    assert charged(gateway, upstream)["cost_pusd"] == COST * 12 // 10
    publish(gateway, percent="0", scope="account", account="default", reason="as agreed")
    assert charged(gateway, upstream)["cost_pusd"] == COST
    assert [rule["percent"] for rule in gateway.command("prices.list")["rules"]] == [20, -10, None, 0]
    shown = gateway.command("prices.show", model="ma", account="partner-1")["providers"][0]
    assert (shown["price"]["input"], shown["cost"]["input"]) == (4, 1)
    body = msgspec.json.encode(
        {"model": "mo", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 100}
    )
    asked = gateway.send("POST", "/v1/estimate", body, key=other)
    assert asked.status == 200, asked.body
    plain = gateway.send("POST", "/v1/estimate", body)
    ratio = asked.json["cost"]["max"] / plain.json["cost"]["max"]
    assert ratio == Decimal("0.9")
    listed = {m["id"]: m for m in gateway.get("/v1/models", key=other).json["data"]}
    assert listed["mo"]["price_per_mtok"]["input"] == Decimal("0.9")
    assert listed["ma"]["price_per_mtok"]["output"] == 8
    assert gateway.get("/v1/models/mo", key=other).json["pricing"]["prompt"] == "0.0000009"
    assert gateway.get("/v1/models/mo").json["price_per_mtok"]["input"] == 1


def test_a_rule_that_is_published_while_a_request_is_open(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    async def script(peer: Peer) -> None:
        events = frames("openai_chat", "Hello")
        await peer.send(head(200), *events[:2])
        await asyncio.to_thread(publish, gateway, percent="100")
        await peer.send(*events[2:])

    upstream.play("o1", script)
    answer = gateway.stream("mo")
    assert gateway.generation(answer.id)["cost_pusd"] == COST
    assert charged(gateway, upstream)["cost_pusd"] == 2 * COST


def test_rules_of_later_and_after_a_restart(gateway: Gateway, upstream: ScriptedUpstream) -> None:
    publish(gateway, percent="50")
    publish(gateway, percent="300", start="2100-01-01")
    assert charged(gateway, upstream)["cost_pusd"] == COST * 3 // 2
    assert gateway.stop() == 0
    gateway.start()
    assert charged(gateway, upstream)["cost_pusd"] == COST * 3 // 2


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"percent": "20", "input": "1", "output": "2"},
        {"input": "1"},
        {"percent": "-100.01"},
        {"percent": "0.001"},
        {"percent": "1e3"},
        {"percent": "NaN"},
        {"percent": "٢"},
        {"input": "-1", "output": "2"},
        {"input": "0.0000001", "output": "2"},
        {"percent": "5", "models": []},
        {"percent": "5", "models": ["no-such-model"]},
        {"percent": "5", "scope": "team"},
        {"percent": "5", "start": "2001-01-01"},
        {"percent": "5", "start": "soon"},
    ],
    ids=str,
)
def test_rules_that_are_none(sandbox: Gateway, arguments: dict[str, Any]) -> None:
    with pytest.raises(RouterError) as refused:
        publish(sandbox, **arguments)
    assert refused.value.code == "invalid_request"
    assert sandbox.command("prices.list")["rules"] == []
