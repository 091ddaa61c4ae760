"""The bodies of GET /v1/models: shape, exact decimals, availability."""

from __future__ import annotations

import json
import re
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from llm_router.catalog.foreign import anthropic_entry
from llm_router.catalog.listing import model_page, models_page
from llm_router.catalog.snapshot import Snapshot, compile_snapshot, load_builtin
from llm_router.domain.errors import ModelNotFound


@pytest.fixture(scope="module")
def snapshot() -> Snapshot:
    return compile_snapshot(load_builtin())


def _read(body: object) -> Any:
    return json.loads(msgspec.json.encode(body), parse_float=Decimal)


def test_the_list_has_openais_shape(snapshot: Snapshot) -> None:
    page = _read(models_page(snapshot, {"openai"}))
    assert page["object"] == "list"
    assert len(page["data"]) == len(snapshot.models)
    for entry in page["data"]:
        assert entry["object"] == "model"
        assert isinstance(entry["id"], str)
        assert isinstance(entry["created"], int)
        assert isinstance(entry["owned_by"], str)


def test_prices_are_exact_decimals(snapshot: Snapshot) -> None:
    for entry in _read(models_page(snapshot, set()))["data"]:
        price = snapshot.models[entry["id"]].deployments[0].price
        assert price is not None
        assert Decimal(entry["pricing"]["prompt"]).scaleb(12) == price.rates.input
        assert Decimal(entry["pricing"]["completion"]).scaleb(12) == price.rates.output
        assert Decimal(entry["price_per_mtok"]["input"]).scaleb(6) == price.rates.input
        assert "e" not in entry["pricing"]["prompt"].lower()
        assert ("input_cache_read" in entry["pricing"]) == (price.rates.cache_read is not None)


def test_known_prices_read_as_published(snapshot: Snapshot) -> None:
    entry = _read(model_page(snapshot, "gpt-4o-mini", {"openai"}))
    assert entry["pricing"]["prompt"] == "0.00000015"
    assert entry["pricing"]["completion"] == "0.0000006"
    assert entry["price_per_mtok"]["input"] == Decimal("0.15")
    assert entry["pricing"]["service_tiers"]["priority"]["prompt"] == "0.00000025"


def test_long_context_prices_are_shown(snapshot: Snapshot) -> None:
    entry = _read(model_page(snapshot, "gemini-2.5-pro", set()))
    assert entry["pricing"]["long_context"][0]["above_prompt_tokens"] == 200_000
    assert entry["pricing"]["long_context"][0]["prompt"] == "0.0000025"


def test_availability_follows_the_active_providers(snapshot: Snapshot) -> None:
    assert _read(model_page(snapshot, "gpt-4o", {"openai"}))["available"] is True
    off = _read(model_page(snapshot, "gpt-4o", {"groq"}))
    assert off["available"] is False
    hub = _read(model_page(snapshot, "gpt-4o", {"openrouter"}))
    assert [p["id"] for p in hub["providers"] if p["available"]] == ["openrouter"]
    assert hub["available"] is True


def test_a_model_is_found_by_alias_and_shown_in_whatever_state(snapshot: Snapshot) -> None:
    entry = _read(model_page(snapshot, "anthropic/claude-3-sonnet", {"anthropic"}))
    assert entry["id"] == "claude-3-sonnet"
    assert entry["status"] == "shutdown"
    assert entry["successor"] == "claude-sonnet-4-5"
    assert "claude-3-sonnet-20240229" in entry["aliases"]
    with pytest.raises(ModelNotFound):
        model_page(snapshot, "no-such-model", set())


def test_who_answers_to_the_id_of_a_model_past_its_shutdown(snapshot: Snapshot) -> None:
    active = {"openai"}
    entry = _read(model_page(snapshot, "gpt-3.5-turbo", active))
    assert entry["status"] == "shutdown"
    assert (
        entry["answered_by"] == snapshot.resolve("gpt-3.5-turbo", active=active).model.id != "gpt-3.5-turbo"
    )
    assert _read(model_page(snapshot, "gpt-3.5-turbo", active, "none"))["answered_by"] is None
    assert _read(model_page(snapshot, "gpt-3.5-turbo", active, "not_dearer"))["answered_by"] is None
    assert _read(model_page(snapshot, "gpt-4o-mini", active, "none"))["answered_by"] == "gpt-4o-mini"


def test_created_is_the_release_date(snapshot: Snapshot) -> None:
    assert _read(model_page(snapshot, "gpt-4o", set()))["created"] == 1_715_558_400
    assert _read(model_page(snapshot, "gpt-5-pro", set()))["created"] == 1_759_708_800


def test_an_unknown_release_date_is_the_epoch_and_never_changes(snapshot: Snapshot) -> None:
    entry = _read(model_page(snapshot, "grok-4.7", set()))
    assert (entry["created"], entry["released"]) == (0, None)
    assert anthropic_entry(snapshot.models["grok-4.7"])["created_at"] == "1970-01-01T00:00:00Z"


def test_a_dated_name_is_a_release_date_at_hand(snapshot: Snapshot) -> None:
    """The first of a model's dated snapshots was there on its day, so that the date is known."""
    dated = re.compile(r"-(20[0-9]{2})-?([01][0-9])-?([0-3][0-9])$")
    for row in load_builtin().models:
        names = [alias for at in row.deployments for alias in at.dated]
        assert row.released is not None or not any(map(dated.search, names)), row.id
