"""What Anthropic bills by speed and place reaches the price list under names of its own."""

from __future__ import annotations

import json

import pytest

from llm_router.catalog.snapshot import compile_snapshot, load_builtin
from llm_router.domain.price import rates_for
from llm_router.wire.dialects.anthropic_messages.usage import UsageReader
from llm_router.wire.dialects.registry import DIALECTS

FORMS = [
    ({}, None),
    ({"service_tier": "standard"}, "standard"),
    ({"service_tier": "standard", "speed": "standard", "inference_geo": "global"}, "standard"),
    ({"service_tier": "standard", "inference_geo": "not_available"}, "standard"),
    ({"service_tier": "standard", "speed": "fast"}, "fast"),
    ({"service_tier": "priority", "inference_geo": "us"}, "us"),
    ({"speed": "fast", "inference_geo": "us"}, "us fast"),
    ({"speed": ["fast"], "inference_geo": 5}, None),
]


@pytest.mark.parametrize(("members", "tier"), FORMS)
def test_usage(members: dict[str, object], tier: str | None) -> None:
    reader = UsageReader()
    reader.add({"input_tokens": 5, "output_tokens": 3, **members})
    seen = reader.event("claude")
    assert seen is not None
    assert seen.usage is not None
    assert seen.usage.service_tier == tier


@pytest.mark.parametrize(("members", "tier"), FORMS[4:5] + FORMS[6:7])
def test_requests_are_held_at_what_they_ask_for(members: dict[str, object], tier: str) -> None:
    dialect = DIALECTS["anthropic_messages"]
    body = {"model": "m", "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}], **members}
    inspected = dialect.inspect(json.dumps(body).encode(), None, None)
    assert inspected.service_tier == tier
    assert dialect.decode_request(inspected).service_tier == members.get("service_tier")


def test_the_catalogue_has_their_prices() -> None:
    model = compile_snapshot(load_builtin()).find("claude-opus-4-8")
    price = next(d.price for d in model.deployments if d.provider == "anthropic")
    assert price is not None
    base = rates_for(price, 10)
    assert rates_for(price, 10, "us").input * 10 == base.input * 11
    assert rates_for(price, 10, "fast").output == base.output * 2
    assert rates_for(price, 10, "us fast").output * 10 == base.output * 22
