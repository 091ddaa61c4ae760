"""Put overlay and sources together: one row a model, one price a deployment and date."""

from __future__ import annotations

import hashlib

import msgspec

from catalog.facts import Facts, litellm_keys
from catalog.genai import GenaiPrices
from catalog.litellm_table import LitellmTable
from catalog.overlay import ModelText, Overlay
from catalog.quotes import TOKEN_BUCKETS, Quote, Rates, differences, merged
from llm_router.catalog.schema import CatalogData, ModelRow, PriceRow
from llm_router.domain import price
from llm_router.domain.model import Provider

_ALIKE = (
    ("reasoning", "output"),
    ("input_audio", "input"),
    ("output_audio", "output"),
    ("output_image", "output"),
)
"""A rate that says what its absence says too is left out."""


class Builder:
    """Builds the catalogue; ``problems`` lists what the overlay must settle first."""

    def __init__(self, overlay: Overlay, genai: GenaiPrices, litellm: LitellmTable) -> None:
        self._overlay = overlay
        self._genai = genai
        self._litellm = litellm
        self._facts = Facts(overlay, genai, litellm)
        self._used: set[str] = set()
        self._conflicts: set[str] = set()
        self._both: set[str] = set()
        self._counts = (0, 0, 0)
        self._found: dict[str, None] = {}

    def build(self) -> CatalogData:
        models: list[ModelRow] = []
        prices: list[PriceRow] = []
        for dev in self._overlay.developers:
            for id_, text in dev.models.items():
                models.append(self._facts.model_row(id_, dev, text))
                for host in text.at:
                    prices += self._price_rows(id_, host, text)
                if dev.home in text.at:
                    self._check_aliases(id_, dev.home, text)
        self._check_settlements()
        providers = tuple(self._provider(id_) for id_ in self._overlay.catalogue.providers)
        self._counts = (len(providers), len(models), len(prices))
        return CatalogData(
            as_of=self._overlay.catalogue.as_of,
            providers=providers,
            provider_aliases=self._overlay.catalogue.provider_aliases,
            models=tuple(models),
            prices=tuple(sorted(prices, key=lambda row: (row.deployment, row.price.valid_from or ""))),
        )

    @property
    def problems(self) -> list[str]:
        """What must be settled before anything is written, each once."""
        return list(self._found)

    def _problem(self, text: str) -> None:
        self._found[text] = None

    def summary(self) -> str:
        providers, models, prices = self._counts
        return (
            f"{providers} providers, {models} models, {prices} prices; "
            f"{len(self._conflicts)} of {len(self._both)} prices in both sources conflicted and are settled"
        )

    def _provider(self, id_: str) -> Provider:
        return self._overlay.providers[id_].provider()

    def _price_rows(self, id_: str, host: str, text: ModelText) -> list[PriceRow]:
        deployment = f"{host}/{id_}"
        quotes = self._quotes(deployment, host, text)
        if not quotes:
            self._problem(f"{deployment}: no source has a price for {text.at[host]!r}")
        return [PriceRow(deployment=deployment, price=_price(deployment, quote)) for quote in quotes]

    def _stated(self, host: str, upstream: str, text: ModelText) -> tuple[list[Quote], Quote | None]:
        """What either source states of a name at a provider."""
        sources = self._overlay.providers[host].sources
        bare = text.operations == ("embed",)
        ours = self._genai.quotes(sources.genai, upstream, input_only=bare) if sources.genai else []
        return ours, self._litellm.quote(litellm_keys(sources, upstream), input_only=bare)

    def _quotes(self, deployment: str, host: str, text: ModelText) -> list[Quote]:
        """What holds now, settled between the sources, then what is announced."""
        ours, theirs = self._stated(host, text.at[host], text)
        if theirs is None or not ours:
            return ours or ([theirs] if theirs else [])
        now, coming = ours[0], ours[1:]
        self._both.add(deployment)
        found = differences(now, theirs)
        if not found:
            return [merged(now, theirs), *(merged_later(later, theirs) for later in coming)]
        self._conflicts.add(deployment)
        settled = self._overlay.settlements.get(deployment)
        if settled is None:
            self._problem(f"{deployment}: {now.source} / {theirs.source}: {'; '.join(found)}")
            return ours
        self._used.add(deployment)
        return ours if settled.take == "genai-prices" else [theirs, *coming]

    def _check_aliases(self, id_: str, host: str, text: ModelText) -> None:
        """An alias must cost at the developer's what the model costs there, or it is another model."""
        quotes = self._quotes(f"{host}/{id_}", host, text)
        if not quotes:
            return
        for alias in (*text.dated, *text.aliases):
            if alias in self._overlay.catalogue.moved_aliases:
                self._used.add(alias)
                continue
            ours, theirs = self._stated(host, alias, text)
            for quote in (*ours[:1], *((theirs,) if theirs else ())):
                if any(quote.rates[b] != quotes[0].rates[b] for b in ("input", "output")):
                    self._problem(
                        f"{id_}: {quote.source} prices the alias {alias!r} at "
                        f"{quote.rates['input']}/{quote.rates['output']}, the model at "
                        f"{quotes[0].rates['input']}/{quotes[0].rates['output']}"
                    )

    def _check_settlements(self) -> None:
        for name in sorted({*self._overlay.settlements, *self._overlay.catalogue.moved_aliases} - self._used):
            self._problem(f"{name}: settled, but there is nothing to settle")


def merged_later(later: Quote, now: Quote) -> Quote:
    """An announced price; the other source's present rates say nothing about it but its page."""
    return Quote(
        source=later.source,
        rates=later.rates,
        tiers=later.tiers,
        services=later.services,
        off_peak=later.off_peak,
        page=now.page or later.page,
        since=later.since,
    )


def _price(deployment: str, quote: Quote) -> price.Price:
    rates = _rates(quote.rates)
    tiers = tuple(
        price.Tier(above_prompt_tokens=start, rates=_rates(own)) for start, own in sorted(quote.tiers.items())
    )
    services = {name: _rates({**quote.rates, **own}) for name, (own, _) in sorted(quote.services.items())}
    long = {
        name: tuple(_service_tier(quote, own, start, above) for start, above in sorted(steps.items()))
        for name, (own, steps) in sorted(quote.services.items())
        if steps
    }
    quiet = None
    if quote.off_peak is not None:
        quiet = price.OffPeak(windows=quote.off_peak[0], rates=_rates({**quote.rates, **quote.off_peak[1]}))
    stated = [rates, tiers, services, long] + ([] if quiet is None else [quiet])
    body = msgspec.json.encode(stated, order="sorted")
    return price.Price(
        version=f"{deployment}@{hashlib.sha256(body).hexdigest()[:10]}",
        rates=rates,
        tiers=tiers,
        service_tiers=services,
        service_tiers_long=long,
        off_peak=quiet,
        valid_from=quote.since,
        source=f"{quote.source}: {quote.page}" if quote.page else quote.source,
    )


def _service_tier(quote: Quote, own: Rates, start: int, above: Rates) -> price.Tier:
    """Above a threshold: what is stated for it, else the standard tier's rate there, else the base's."""
    standard = quote.tiers.get(start, {})
    return price.Tier(above_prompt_tokens=start, rates=_rates({**quote.rates, **own, **standard, **above}))


def _rates(own: Rates) -> price.Rates:
    kept = dict(own)
    for bucket, other in _ALIKE:
        if kept.get(bucket) == kept[other]:
            kept.pop(bucket, None)
    for bucket in TOKEN_BUCKETS:
        if kept.get(bucket, 0) > price.MAX_RATE_PUSD:
            raise ValueError(f"{bucket} rate {kept[bucket]} is above the largest that is believable")
    return price.Rates(**kept)
