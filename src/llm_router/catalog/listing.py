"""The catalogue as clients see it: the bodies of ``GET /v1/models`` and ``GET /v1/models/{id}``.

The shape is OpenAI's list with members of OpenRouter's names beside it
(https://openrouter.ai/docs/api-reference/list-available-models). Prices are exact decimals made
from integers: as text per token under ``pricing``, as JSON numbers per million tokens under
``price_per_mtok``.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import date

import msgspec

from llm_router.catalog.snapshot import Snapshot
from llm_router.catalog.successors import answers
from llm_router.domain.model import Capabilities, Deployment, Model, SuccessorRule
from llm_router.domain.money import format_usd
from llm_router.domain.price import Price, Rates

TOKENS_PER_MTOK = 10**6
_EPOCH_DAY = date(1970, 1, 1).toordinal()

_PRICING_NAMES = (
    ("prompt", "input"),
    ("completion", "output"),
    ("input_cache_read", "cache_read"),
    ("input_cache_write", "cache_write"),
    ("input_cache_write_1h", "cache_write_1h"),
    ("audio", "input_audio"),
    ("internal_reasoning", "reasoning"),
    ("audio_output", "output_audio"),
    ("image_output", "output_image"),
    ("web_search", "web_search"),
)
"""OpenRouter's name of a price -> our rate, where OpenRouter has a name."""

_PER_PIECE = frozenset({"web_search"})


def models_page(
    snapshot: Snapshot, active_providers: Collection[str], successors: SuccessorRule = "any"
) -> dict[str, object]:
    """The list of all models, ready for JSON.

    Args:
        active_providers: ids of the providers that can be called now.
        successors: which may stand in for models past their shutdown.
    """
    models = snapshot.models.values()
    return {
        "object": "list",
        "data": [model_entry(snapshot, model, active_providers, successors) for model in models],
    }


def model_page(
    snapshot: Snapshot, name: str, active_providers: Collection[str], successors: SuccessorRule = "any"
) -> dict[str, object]:
    """One model by id or alias. A model past its shutdown is shown itself, not its successor.

    Raises:
        ModelNotFound: the name is unknown.
    """
    return model_entry(snapshot, snapshot.find(name), active_providers, successors)


def model_entry(
    snapshot: Snapshot, model: Model, active_providers: Collection[str], successors: SuccessorRule = "any"
) -> dict[str, object]:
    """One element of the list. ``created`` is the release date, 0 where none is known.

    ``answered_by`` is the model that answers to this id, at its own price; null where nobody does.
    """
    first = model.deployments[0]
    answering = answers(successors, snapshot, model, active_providers)
    return {
        "id": model.id,
        "object": "model",
        "created": 0 if model.released is None else _unix_s(model.released),
        "owned_by": model.developer.lower().replace(" ", "-"),
        "name": model.name,
        "family": model.family,
        "developer": model.developer,
        "context_length": model.context_tokens,
        "max_output_tokens": model.output_tokens_max,
        "architecture": {
            "input_modalities": list(model.capabilities.input_modalities),
            "output_modalities": list(model.capabilities.output_modalities),
        },
        "operations": list(model.operations),
        "capabilities": _capabilities(model.capabilities),
        "status": model.status.value,
        "released": model.released,
        "deprecated": model.deprecated,
        "shutdown": model.shutdown,
        "successor": model.successor,
        "answered_by": None if answering is None else answering.id,
        "available": any(d.provider in active_providers for d in model.deployments),
        "open_weights": model.open_weights,
        "quality_tier": model.quality_tier,
        "strengths": list(model.strengths),
        "aliases": list(model.aliases),
        "pricing": _pricing(first.price),
        "price_per_mtok": per_mtok(first.price),
        "providers": [_provider_entry(d, active_providers) for d in model.deployments],
    }


def _capabilities(have: Capabilities) -> dict[str, object]:
    return {
        "tools": have.tools,
        "parallel_tools": have.parallel_tools,
        "json_object": have.json_object,
        "json_schema": have.json_schema,
        "vision": have.sees("image"),
        "audio_input": have.sees("audio"),
        "video_input": have.sees("video"),
        "file_input": have.sees("file"),
        "reasoning": have.reasoning,
        "reasoning_levels": list(have.reasoning_levels),
        "sampling": have.sampling,
        "streaming": have.streaming,
    }


def _provider_entry(deployment: Deployment, active: Collection[str]) -> dict[str, object]:
    return {
        "id": deployment.provider,
        "upstream_model": deployment.upstream_model,
        "context_length": deployment.context_tokens,
        "max_output_tokens": deployment.output_tokens_max,
        "available": deployment.provider in active,
        "pricing": _pricing(deployment.price),
        "price_per_mtok": per_mtok(deployment.price),
    }


def _pricing(price: Price | None) -> dict[str, object] | None:
    """Decimal dollars per token (per piece for searches and requests), as text; None if unpriced."""
    if price is None:
        return None
    shown: dict[str, object] = dict(_rate_texts(price.rates))
    if price.tiers:
        shown["long_context"] = [
            {"above_prompt_tokens": tier.above_prompt_tokens, **_rate_texts(tier.rates)}
            for tier in price.tiers
        ]
    if price.service_tiers:
        shown["service_tiers"] = {name: _rate_texts(rates) for name, rates in price.service_tiers.items()}
    if price.off_peak is not None:
        windows = [f"{_clock(begin)}-{_clock(end)}" for begin, end in price.off_peak.windows]
        shown["off_peak"] = {"hours_utc": windows, **_rate_texts(price.off_peak.rates)}
    return shown


def _clock(minute: int) -> str:
    return f"{minute // 60:02d}:{minute % 60:02d}"


def _rate_texts(rates: Rates) -> dict[str, str]:
    texts = {
        name: format_usd(rate)
        for name, field in _PRICING_NAMES
        if (rate := getattr(rates, field)) is not None
    }
    texts["request"] = format_usd(rates.request)
    return texts


def per_mtok(price: Price | None) -> dict[str, object] | None:
    """Dollars per million tokens, as exact JSON numbers; None if unpriced."""
    if price is None:
        return None
    shown: dict[str, object] = {
        field: msgspec.Raw(format_usd(rate * TOKENS_PER_MTOK).encode())
        for name, field in _PRICING_NAMES
        if name not in _PER_PIECE and (rate := getattr(price.rates, field)) is not None
    }
    shown["version"] = price.version
    if price.valid_from is not None:
        shown["valid_from"] = price.valid_from
    return shown


def _unix_s(iso_date: str) -> int:
    """Midnight UTC of an ISO date, in Unix seconds."""
    return (date.fromisoformat(iso_date).toordinal() - _EPOCH_DAY) * 86_400
