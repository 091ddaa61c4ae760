"""Models of the file over those of the catalogue."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import msgspec

from llm_router.domain.model import Capabilities, Deployment, Model, Provider
from llm_router.domain.price import Price
from llm_router.settings.prices import read_price
from llm_router.settings.problems import KeyPath, Problems, closest, unknown
from llm_router.settings.schema import (
    CapabilitiesTable,
    DeploymentTable,
    ModelTable,
    PriceTable,
    ProviderTable,
)

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,199}")
_DIRECT = ("name", "family", "developer", "context_tokens", "output_tokens_max", "operations")
_NO_PRICE = (
    "is missing: write price = { input_per_mtok = 0.15, output_per_mtok = 0.60 } in US dollars per "
    "million tokens, or price = 0 if it is free"
)

PriceEntry = PriceTable | Decimal | None


class _Place(msgspec.Struct, frozen=True, kw_only=True):
    """Where a model is read and what is known around it."""

    path: KeyPath
    providers: Mapping[str, Provider]
    tables: Mapping[str, ProviderTable]
    problems: Problems


def merge_models(
    tables: Mapping[str, ModelTable],
    known: Mapping[str, Model],
    providers: Mapping[str, Provider],
    provider_tables: Mapping[str, ProviderTable],
    problems: Problems,
) -> tuple[Model, ...]:
    """The models that the file names, each whole: its changes over the known model of that id."""
    models: list[Model] = []
    names: dict[str, str] = {id_: id_ for id_ in known} | {id_: id_ for id_ in tables}
    for id_, table in tables.items():
        path: KeyPath = ("models", id_)
        if not _NAME.fullmatch(id_):
            problems.add(path, "a model's id consists of letters, digits and . _ : / @ + -")
            continue
        place = _Place(path=path, providers=providers, tables=provider_tables, problems=problems)
        _check_aliases(id_, table, names, path, problems)
        models.append(_model(id_, table, known, place))
    return tuple(models)


def _check_aliases(
    id_: str, table: ModelTable, names: dict[str, str], path: KeyPath, problems: Problems
) -> None:
    """An alias may take a name over from a catalogue alias, but never from a model or a second one."""
    for place, alias in problems.numbered((*path, "aliases"), table.aliases or ()):
        if not _NAME.fullmatch(alias):
            problems.add(place, "an alias consists of letters, digits and . _ : / @ + -")
        elif names.setdefault(alias, id_) != id_:
            problems.add(place, f'"{alias}" is already a name of the model {names[alias]}')


def _model(id_: str, table: ModelTable, known: Mapping[str, Model], place: _Place) -> Model:
    base = known.get(id_)
    if base is None:
        base = Model(
            id=id_,
            name=id_,
            family="Custom",
            developer="Custom",
            capabilities=Capabilities(),
            deployments=(),
        )
    changes: dict[str, Any] = {
        name: getattr(table, name) for name in _DIRECT if getattr(table, name) is not None
    }
    if table.aliases is not None:
        changes["aliases"] = tuple(dict.fromkeys((*base.aliases, *table.aliases)))
    if table.capabilities is not None:
        changes["capabilities"] = _capabilities(base.capabilities, table.capabilities)
    model = msgspec.structs.replace(base, **changes)
    deployments = _deployments(model, table, known, place)
    return msgspec.structs.replace(model, deployments=deployments)


def _capabilities(base: Capabilities, table: CapabilitiesTable) -> Capabilities:
    given = {name: value for name in table.__struct_fields__ if (value := getattr(table, name)) is not None}
    return msgspec.structs.replace(base, **given)


def _deployments(
    model: Model, table: ModelTable, known: Mapping[str, Model], place: _Place
) -> tuple[Deployment, ...]:
    """The file's deployments first, in its order, then those of the catalogue that it does not name."""
    problems = place.problems
    present = {deployment.provider: deployment for deployment in model.deployments}
    price = None
    if table.price is not None:
        price = read_price(table.price, (*place.path, "price"), problems)
    priced = table.price is not None or problems.inside(*place.path, "price")
    own: dict[str, Deployment] = {}
    for path, entry in problems.numbered((*place.path, "deployments"), table.deployments):
        if entry.provider in own:
            problems.add(
                (*path, "provider"),
                f"a model stands once at each provider; to offer it twice at {entry.provider}, add a "
                f'provider with extends = "{entry.provider}"',
            )
            continue
        own[entry.provider] = _deployment(
            model, entry, present.get(entry.provider), known, price, priced, path, place
        )
    if not own and not present and not problems.inside(*place.path, "deployments"):
        meant = closest(model.id, known)
        problems.add(
            place.path,
            "is not in the catalogue"
            + (f' (did you mean "{meant}"?)' if meant is not None else "")
            + f' and has no deployment: add [[models."{model.id}".deployments]] with provider and '
            "upstream_model",
        )
    rest = (
        _repriced(deployment, price, table)
        for deployment in present.values()
        if deployment.provider not in own
    )
    return (*own.values(), *rest)


def _repriced(deployment: Deployment, price: Price | None, table: ModelTable) -> Deployment:
    """A catalogue deployment with what the model's own table says of it."""
    changes: dict[str, Any] = {}
    if price is not None:
        changes["price"] = price
    if table.context_tokens is not None:
        changes["context_tokens"] = table.context_tokens
    if table.output_tokens_max is not None:
        changes["output_tokens_max"] = table.output_tokens_max
    return msgspec.structs.replace(deployment, **changes) if changes else deployment


def _deployment(
    model: Model,
    entry: DeploymentTable,
    base: Deployment | None,
    known: Mapping[str, Model],
    model_price: Price | None,
    priced: bool,
    path: KeyPath,
    place: _Place,
) -> Deployment:
    problems = place.problems
    if entry.provider not in place.providers and not problems.lost("providers", entry.provider):
        problems.add((*path, "provider"), unknown("provider", entry.provider, place.providers))
    provider = place.providers.get(entry.provider)
    spoken = () if provider is None else (provider.dialect, *(way.dialect for way in provider.also))
    if entry.dialect is not None and provider is not None and entry.dialect not in spoken:
        problems.add((*path, "dialect"), unknown(f"dialect of {entry.provider}", entry.dialect, spoken))
    upstream = entry.upstream_model or (base.upstream_model if base else None)
    if upstream is None and not problems.touch(*path, "upstream_model"):
        problems.add((*path, "upstream_model"), "is missing: what the provider calls this model")
    price = model_price
    if entry.price is not None:
        price = read_price(entry.price, (*path, "price"), problems)
    elif not priced and not problems.inside(*path, "price"):
        price = _inherited_price(entry, base, place)
        if price is None:
            problems.add((*path, "price"), _NO_PRICE)
    held = (base.context_tokens, base.output_tokens_max) if base else (None, None)
    return Deployment(
        id=f"{entry.provider}/{model.id}",
        model=model.id,
        provider=entry.provider,
        upstream_model=upstream or "",
        price=price,
        context_tokens=_first(entry.context_tokens, held[0], model.context_tokens),
        output_tokens_max=_first(entry.output_tokens_max, held[1], model.output_tokens_max),
        dialect=entry.dialect or (base.dialect if base else None),
        capabilities=base.capabilities if base else None,
        quirks=base.quirks if base else (),
        quantization=entry.quantization or (base.quantization if base else None),
        weight=1 if entry.weight is None else entry.weight,
        base_names=_base_names(model, entry, upstream or "", known, place),
    )


def _base_names(
    model: Model, entry: DeploymentTable, upstream: str, known: Mapping[str, Model], place: _Place
) -> tuple[str, ...]:
    """How the model behind a deployment is called usually: at its provider (or the one that this
    extends), then by the catalogue. Empty where nothing is known of it but its own name."""
    named = entry.base_model
    meant = known.get(named if named is not None else model.id)
    if meant is None:
        names = [] if named is None else [named]
    else:
        table = place.tables.get(entry.provider)
        hosts = (entry.provider, table.extends if table is not None else None)
        found = {deployment.provider: deployment.upstream_model for deployment in meant.deployments}
        names = [*(found[host] for host in hosts if host is not None and host in found), meant.id]
    return () if upstream in names[:1] else tuple(dict.fromkeys(names))


def _inherited_price(entry: DeploymentTable, base: Deployment | None, place: _Place) -> Price | None:
    """The catalogue's price of that deployment, or the zero that its provider's table declares."""
    if base is not None and base.price is not None:
        return base.price
    provider = place.tables.get(entry.provider)
    if provider is not None and provider.price is not None:
        return read_price(Decimal(0), (*place.path, "price"), place.problems)
    return None


def _first(*values: int | None) -> int | None:
    return next((value for value in values if value is not None), None)
