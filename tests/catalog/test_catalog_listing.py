"""The bodies of GET /v1/models: shape, exact decimals, availability."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from llm_router.catalog.listing import model_page, models_page
from llm_router.catalog.snapshot import Snapshot, compile_snapshot, load_builtin
from llm_router.domain.errors import ModelNotFound


@pytest.fixture(scope="module")
def snapshot() -> Snapshot:
    return compile_snapshot(load_builtin())


def _read(body: object) -> Any:
    return json.loads(msgspec.json.encode(body), parse_float=Decimal)


def test_the_list_has_openais_shape(snapshot: Snapshot) -> None:
    page = _read(models_page(snapshot, {"openai"}, 1_700_000_000))
    assert page["object"] == "list"
    assert len(page["data"]) == len(snapshot.models)
    for entry in page["data"]:
        assert entry["object"] == "model"
        assert isinstance(entry["id"], str)
        assert isinstance(entry["created"], int)
        assert isinstance(entry["owned_by"], str)


def test_prices_are_exact_decimals(snapshot: Snapshot) -> None:
    for entry in _read(models_page(snapshot, set(), 0))["data"]:
        price = snapshot.models[entry["id"]].deployments[0].price
        assert price is not None
        assert Decimal(entry["pricing"]["prompt"]).scaleb(12) == price.rates.input
        assert Decimal(entry["pricing"]["completion"]).scaleb(12) == price.rates.output
        assert Decimal(entry["price_per_mtok"]["input"]).scaleb(6) == price.rates.input
        assert "e" not in entry["pricing"]["prompt"].lower()
        assert ("input_cache_read" in entry["pricing"]) == (price.rates.cache_read is not None)


def test_known_prices_read_as_published(snapshot: Snapshot) -> None:
    entry = _read(model_page(snapshot, "gpt-4o-mini", {"openai"}, 0))
    assert entry["pricing"]["prompt"] == "0.00000015"
    assert entry["pricing"]["completion"] == "0.0000006"
    assert entry["price_per_mtok"]["input"] == Decimal("0.15")
    assert entry["pricing"]["service_tiers"]["priority"]["prompt"] == "0.00000025"


def test_long_context_prices_are_shown(snapshot: Snapshot) -> None:
    entry = _read(model_page(snapshot, "gemini-2.5-pro", set(), 0))
    assert entry["pricing"]["long_context"][0]["above_prompt_tokens"] == 200_000
    assert entry["pricing"]["long_context"][0]["prompt"] == "0.0000025"


def test_availability_follows_the_active_providers(snapshot: Snapshot) -> None:
    assert _read(model_page(snapshot, "gpt-4o", {"openai"}, 0))["available"] is True
    off = _read(model_page(snapshot, "gpt-4o", {"groq"}, 0))
    assert off["available"] is False
    hub = _read(model_page(snapshot, "gpt-4o", {"openrouter"}, 0))
    assert [p["id"] for p in hub["providers"] if p["available"]] == ["openrouter"]
    assert hub["available"] is True


def test_a_model_is_found_by_alias_and_shown_in_whatever_state(snapshot: Snapshot) -> None:
    entry = _read(model_page(snapshot, "anthropic/claude-3-sonnet", {"anthropic"}, 0))
    assert entry["id"] == "claude-3-sonnet"
    assert entry["status"] == "shutdown"
    assert entry["successor"] == "claude-sonnet-4-5"
    assert "claude-3-sonnet-20240229" in entry["aliases"]
    with pytest.raises(ModelNotFound):
        model_page(snapshot, "no-such-model", set(), 0)


def test_created_is_the_release_date(snapshot: Snapshot) -> None:
    assert _read(model_page(snapshot, "gpt-4o", set(), 7))["created"] == 1_715_558_400
    assert _read(model_page(snapshot, "grok-4.7", set(), 7))["created"] == 7
