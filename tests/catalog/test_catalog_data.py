"""The shipped catalogue: complete, consistent, priced in integers."""

from __future__ import annotations

import json
from importlib import resources
from typing import Any

import pytest

from llm_router.catalog.schema import CatalogData
from llm_router.catalog.snapshot import Snapshot, compile_snapshot, load_builtin
from llm_router.domain.model import Status
from llm_router.domain.price import MAX_RATE_PUSD, Price, Rates
from llm_router.wire.dialects.registry import DIALECTS
from llm_router.wire.operations import FORMATS

PROMISED = """
    gpt-5.2 gpt-5 gpt-5-mini gpt-4.1 gpt-4.1-mini gpt-4o gpt-4o-mini gpt-3.5-turbo o1 gpt-oss-120b
    claude-sonnet-4-5 claude-opus-4-1 claude-opus-4 claude-sonnet-4 claude-haiku-4-5
    claude-3-7-sonnet claude-3-sonnet
    gemini-2.5-pro gemini-2.5-flash gemini-2.5-flash-lite gemini-3-pro-preview
    grok-4 grok-3 grok-2
    llama-3.1-405b llama-3.1-70b llama-3.1-8b
    mistral-large mistral-medium mixtral-8x7b
"""
FAMILIES = (
    "GPT Claude Gemini Grok Llama Mistral Mixtral Qwen DeepSeek Kimi GLM MiniMax Command Nova Gemma Phi Sonar"
)
KNOWN_FORMS = {
    "openrouter/anthropic/claude-sonnet-4-5": "claude-sonnet-4-5",
    "anthropic/claude-sonnet-4.5": "claude-sonnet-4-5",
    "openai/gpt-4o": "gpt-4o",
    "google/gemini-2.5-pro": "gemini-2.5-pro",
    "gemini/gemini-2.5-pro": "gemini-2.5-pro",
    "meta-llama/llama-3.1-70b-instruct": "llama-3.1-70b",
    "mistralai/mixtral-8x7b-instruct": "mixtral-8x7b",
    "mistral-large-latest": "mistral-large-3",
    "together_ai/moonshotai/Kimi-K3": "kimi-k3",
    "gpt-4o-2024-08-06": "gpt-4o",
    "GPT-4o": "gpt-4o",
}


@pytest.fixture(scope="module")
def data() -> CatalogData:
    return load_builtin()


@pytest.fixture(scope="module")
def snapshot(data: CatalogData) -> Snapshot:
    return compile_snapshot(data)


@pytest.mark.parametrize("name", PROMISED.split())
def test_every_promised_name_resolves_to_something_priced_and_served(name: str, snapshot: Snapshot) -> None:
    found = snapshot.resolve(name)
    assert found.deployments
    assert all(d.price is not None for d in found.deployments)
    itself = snapshot.find(name)
    assert all(d.price is not None for d in itself.deployments)
    if found.via == "successor":
        assert itself.status is Status.SHUTDOWN
        assert itself.successor is not None


@pytest.mark.parametrize(("name", "model"), KNOWN_FORMS.items())
def test_usual_ways_to_write_a_name(name: str, model: str, snapshot: Snapshot) -> None:
    assert snapshot.resolve(name).model.id == model


def test_there_are_many_models_of_many_providers(snapshot: Snapshot) -> None:
    alive = [m for m in snapshot.models.values() if m.status is not Status.SHUTDOWN]
    assert len(alive) > 200
    assert len({d.provider for m in alive for d in m.deployments}) >= 15
    assert set(FAMILIES.split()) <= {m.family for m in alive}


def test_the_newest_models_are_there(snapshot: Snapshot) -> None:
    names = (
        "gpt-6-sol claude-opus-5-5 claude-haiku-5-5 gemini-4-argon grok-4.7 deepseek-v4-pro kimi-k3 glm-5.3"
    )
    for name in names.split():
        assert snapshot.resolve(name).via == "id"


def test_every_deployment_has_a_price(snapshot: Snapshot) -> None:
    assert [d.id for m in snapshot.models.values() for d in m.deployments if d.price is None] == []


def test_the_current_embedding_models_are_there(snapshot: Snapshot) -> None:
    for name in [
        "text-embedding-3-small",
        "text-embedding-3-large",
        "text-embedding-ada-002",
        "gemini-embedding-001",
        "gemini-embedding-2",
        "mistral-embed",
        "codestral-embed",
        "embed-v4.0",
        "embed-v5.0-pro",
        "voyage-4-large",
        "bge-m3",
    ]:
        model = snapshot.resolve(name).model
        assert model.operations == ("embed",)
        assert (
            model.deployments[0].dialect or snapshot.providers[model.deployments[0].provider].dialect
        ) in FORMATS["embed"]


def test_every_price_belongs_to_a_deployment(data: CatalogData) -> None:
    known = {f"{d.provider}/{m.id}" for m in data.models for d in m.deployments}
    assert {row.deployment for row in data.prices} == known


def test_price_versions_are_unique_unless_the_price_is_the_same(data: CatalogData) -> None:
    seen: dict[str, tuple[Rates, object, object]] = {}
    for row in data.prices:
        price = row.price
        body = (price.rates, price.tiers, price.service_tiers)
        assert seen.setdefault(price.version, body) == body
        assert price.version.startswith(row.deployment + "@")
        assert price.source


def _all_rates(price: Price) -> list[Rates]:
    long = [tier.rates for tiers in price.service_tiers_long.values() for tier in tiers]
    return [price.rates, *(t.rates for t in price.tiers), *price.service_tiers.values(), *long]


def test_rates_are_believable_and_nothing_is_free(data: CatalogData) -> None:
    embedding = {
        f"{d.provider}/{m.id}" for m in data.models if m.operations == ("embed",) for d in m.deployments
    }
    for row in data.prices:
        for rates in _all_rates(row.price):
            assert 0 < rates.input <= MAX_RATE_PUSD
            assert (rates.output == 0) if row.deployment in embedding else (0 < rates.output <= MAX_RATE_PUSD)
            for name in ("cache_read", "cache_write", "cache_write_1h", "input_audio", "reasoning"):
                rate = getattr(rates, name)
                assert rate is None or 0 <= rate <= MAX_RATE_PUSD


def test_tiers_rise(data: CatalogData) -> None:
    for row in data.prices:
        for tiers in (row.price.tiers, *row.price.service_tiers_long.values()):
            starts = [tier.above_prompt_tokens for tier in tiers]
            assert starts == sorted(set(starts))
            assert all(
                tier.rates.input >= row.price.rates.input or tiers is not row.price.tiers for tier in tiers
            )


def test_no_float_stands_in_the_prices() -> None:
    def refuse(text: str) -> Any:
        raise AssertionError(f"{text} is not an integer")

    folder = resources.files("llm_router.catalog") / "data"
    json.loads((folder / "prices.json").read_bytes(), parse_float=refuse)


def test_one_row_stands_on_each_line(data: CatalogData) -> None:
    folder = resources.files("llm_router.catalog") / "data"
    for name, count in (
        ("providers.json", len(data.providers)),
        ("models.json", len(data.models)),
        ("prices.json", len(data.prices)),
    ):
        lines = (folder / name).read_text().splitlines()
        assert sum(line.startswith('{"') and line.rstrip(",").endswith("}") for line in lines[1:]) == count


def test_no_alias_leads_to_two_models(data: CatalogData) -> None:
    owner: dict[str, str] = {model.id: model.id for model in data.models}
    for model in data.models:
        dated = [alias for at in model.deployments for alias in at.dated]
        for alias in {*model.aliases, *dated}:
            assert owner.setdefault(alias, model.id) == model.id


def test_successors_end_at_a_model_that_is_served(snapshot: Snapshot) -> None:
    for model in snapshot.models.values():
        if model.status is Status.SHUTDOWN:
            assert model.successor is not None, model.id
            assert snapshot.resolve(model.id).model.status is not Status.SHUTDOWN, model.id


def test_the_developers_own_provider_comes_first(snapshot: Snapshot) -> None:
    homes = {"OpenAI": "openai", "Anthropic": "anthropic", "xAI": "xai", "DeepSeek": "deepseek"}
    for model in snapshot.models.values():
        home = homes.get(model.developer)
        served = [d.provider for d in model.deployments]
        if home in served:
            assert served[0] == home


def test_providers_are_usable(data: CatalogData) -> None:
    for provider in data.providers:
        assert provider.base_url.startswith(("https://", "http://127.0.0.1:", "{endpoint}/")), provider.id
        assert not provider.base_url.endswith("/")
        assert provider.docs_url
        assert provider.env
        assert (provider.auth_name is not None) == (provider.auth == "header")
        assert provider.dialect in DIALECTS


def test_every_quirk_says_why_and_where_it_is_written(data: CatalogData) -> None:
    quirks = [q for p in data.providers for way in (p, *p.also) for q in way.quirks]
    assert len(quirks) > 20
    for quirk in quirks:
        assert quirk.why
        assert quirk.source.startswith("https://")
        assert (quirk.to is not None) == (quirk.edit in ("rename", "move"))
        assert (quirk.value is not None) == (quirk.edit in ("set", "default", "replace"))


def test_levels_are_named_as_clients_write_them(data: CatalogData) -> None:
    efforts = {"none", "minimal", "low", "medium", "high", "xhigh", "max"}
    for model in data.models:
        assert set(model.capabilities.reasoning_levels) <= efforts
        assert model.capabilities.reasoning or not model.capabilities.reasoning_levels
        assert set(model.capabilities.input_modalities) <= {"text", "image", "audio", "video", "file"}


def test_limits_are_believable(data: CatalogData) -> None:
    for model in data.models:
        least = 4000 if "chat" in model.operations else 500
        assert model.context_tokens is None or least < model.context_tokens < 3_000_000
        if model.output_tokens_max is not None and model.context_tokens is not None:
            assert model.output_tokens_max < model.context_tokens
