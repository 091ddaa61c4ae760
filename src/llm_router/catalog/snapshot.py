"""The catalogue as the gateway uses it: compiled once from data and configuration, then only read.

Everything here is pure but :func:`load_builtin`, which reads the package's own data files.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from pkgutil import get_data
from types import MappingProxyType

import msgspec

from llm_router.catalog.resolve import (
    Ends,
    Name,
    NameIndex,
    Resolved,
    nearest,
    not_found,
    not_served,
    resolve,
)
from llm_router.catalog.schema import CatalogData, DeploymentRow, ModelRow, decode_catalog
from llm_router.domain.errors import ModelNotFound
from llm_router.domain.model import Deployment, Model, Provider, Status
from llm_router.domain.price import Price, tool_prices

__all__ = ["Resolved", "Snapshot", "compile_snapshot", "load_builtin"]


class Snapshot:
    """Providers, models and all names that lead to them. Immutable; replaced whole on a reload.

    Attributes:
        providers, models: by id, in the order of preference.
        today: the ISO date for which prices and statuses were chosen.
        next_change: the ISO date after it on which some price or status changes, if any is known.
    """

    __slots__ = ("_ends", "_index", "models", "next_change", "providers", "today")

    def __init__(
        self,
        *,
        providers: Mapping[str, Provider],
        models: Mapping[str, Model],
        index: NameIndex,
        ends: Ends,
        today: str,
        next_change: str | None,
    ) -> None:
        self.providers = MappingProxyType(dict(providers))
        self.models = MappingProxyType(dict(models))
        self.today = today
        self.next_change = next_change
        self._index = index
        self._ends = ends

    def resolve(self, name: str, *, active: Collection[str] | None = None) -> Resolved:
        """The model and deployments for a name that a client wrote; see :mod:`catalog.resolve`.

        A model past its shutdown resolves to the deployments that still serve it elsewhere, else to
        its successor (``via="successor"``). With ``active``, "elsewhere" means at these providers.

        Raises:
            ModelNotFound: with the nearest names in its message and details.
        """
        found = resolve(self._index, self.models, self._ends, name, active)
        if found is None:
            raise self._unknown(name)
        return found

    def _unknown(self, name: str) -> ModelNotFound:
        """What is said of a name that leads nowhere."""
        misplaced = self._index.misplaced(name)
        if misplaced is None:
            return not_found(name, self.nearest(name))
        host, model = misplaced
        served = (m.id for m in self.models.values() if any(d.provider == host for d in m.deployments))
        near = tuple(f"{host}/{id_}" for id_ in nearest(served, model, 3))
        return not_served(name, host, self.models[model], near)

    def find(self, name: str) -> Model:
        """The model itself for a name, in whatever state it is.

        Raises:
            ModelNotFound: as for resolve.
        """
        found = self._index.find(name)
        if found is None:
            raise not_found(name, self.nearest(name))
        return self.models[found.name.model]

    def provider_named(self, name: str) -> str | None:
        """The id of the provider that a name stands for: an id, an alias, or its name for people."""
        found = self._index.host(name)
        if found is None:
            found = next((p.id for p in self.providers.values() if p.name.lower() == name.lower()), None)
        return found

    def nearest(self, name: str, n: int = 3) -> tuple[str, ...]:
        """At most ``n`` public ids that look most like ``name``, the best first."""
        return nearest(self.models, name, n)


def load_builtin() -> CatalogData:
    """Read and decode the catalogue that comes with the package."""
    return decode_catalog(_data("providers.json"), _data("models.json"), _data("prices.json"))


def _data(name: str) -> bytes:
    data = get_data("llm_router.catalog", f"data/{name}")
    assert data is not None, "the package's loader gives its data"
    return data


def compile_snapshot(
    data: CatalogData,
    *,
    providers: Iterable[Provider] = (),
    models: Iterable[Model] = (),
    today: str | None = None,
) -> Snapshot:
    """Link the data files and the operator's own rows to a snapshot.

    Args:
        providers, models: the operator's own; one with a known id replaces that row whole.
        today: ISO date that selects dated prices and statuses; None takes the data's own date.

    Raises:
        ValueError: a reference leads nowhere or a name is taken; the message names both ends.
    """
    day = today or data.as_of
    known = {p.id: p for p in data.providers} | {p.id: p for p in providers}
    own = _by_id(models)
    prices = _prices_on(data, day)
    linked: dict[str, Model] = {}
    ended: set[str] = set()
    dead: set[str] = set()
    for row in data.models:
        if row.id in own:
            continue
        linked[row.id] = _link(row, prices, day)
        if linked[row.id].status is Status.SHUTDOWN:
            dead.add(row.id)
        if row.shutdown is not None and row.shutdown <= day:
            ended.add(row.id)
    linked |= own
    _check_references(linked, known)
    pins = {row.id: _pins(row, linked[row.id]) for row in data.models}
    index = NameIndex(
        strong=_strong_names(linked, own, pins),
        upstream=_upstream_names(linked, pins),
        slugs={row.id: frozenset(row.slugs) for row in data.models},
        hosts={**data.provider_aliases, **{id_: id_ for id_ in known}},
    )
    return Snapshot(
        providers=known,
        models=_tooled(linked, known),
        index=index,
        ends=Ends(ended=frozenset(ended), dead=frozenset(dead)),
        today=day,
        next_change=_next_change(data, day),
    )


def _tooled(models: Mapping[str, Model], providers: Mapping[str, Provider]) -> dict[str, Model]:
    """The models with the prices of their providers' tools at each deployment."""
    tools = {p.id: tool_prices(p.id, p.tools) for p in providers.values() if p.tools}
    return {
        id_: msgspec.structs.replace(
            model,
            deployments=tuple(
                msgspec.structs.replace(d, tools=tools[d.provider]) if d.provider in tools else d
                for d in model.deployments
            ),
        )
        if any(d.provider in tools for d in model.deployments)
        else model
        for id_, model in models.items()
    }


def _by_id(models: Iterable[Model]) -> dict[str, Model]:
    found: dict[str, Model] = {}
    for model in models:
        if model.id in found:
            raise ValueError(f"model '{model.id}' is defined twice")
        found[model.id] = model
    return found


def _prices_on(data: CatalogData, day: str) -> dict[str, Price]:
    """The price of each deployment that holds on that day (ISO dates compare as text)."""
    chosen: dict[str, Price] = {}
    for row in data.prices:
        since = row.price.valid_from or ""
        if since > day:
            continue
        known = chosen.get(row.deployment)
        if known is None or (known.valid_from or "") <= since:
            chosen[row.deployment] = row.price
    return chosen


def _link(row: ModelRow, prices: Mapping[str, Price], day: str) -> Model:
    """The model of a row as it stands on that day.

    Deployments past their shutdown are left out, unless none other is left: then they stay, so
    that the model is still listed with its price.
    """
    served = tuple(d for d in row.deployments if d.shutdown is None or d.shutdown > day)
    return Model(
        id=row.id,
        name=row.name,
        family=row.family,
        developer=row.developer,
        capabilities=row.capabilities,
        deployments=tuple(_deployment(row, d, prices) for d in served or row.deployments),
        aliases=_public_aliases(row),
        context_tokens=row.context_tokens,
        output_tokens_max=row.output_tokens_max,
        status=_status(row, bool(served), day),
        released=row.released,
        deprecated=row.deprecated,
        shutdown=row.shutdown,
        successor=row.successor,
        open_weights=row.open_weights,
        quality_tier=row.quality_tier,
        strengths=row.strengths,
        operations=row.operations,
    )


def _deployment(row: ModelRow, at: DeploymentRow, prices: Mapping[str, Price]) -> Deployment:
    id_ = f"{at.provider}/{row.id}"
    lacking = row.capabilities
    if "tools" in at.lacks:
        lacking = msgspec.structs.replace(lacking, tools=False, parallel_tools=False)
    if "json_schema" in at.lacks:
        lacking = msgspec.structs.replace(lacking, json_schema=False)
    return Deployment(
        id=id_,
        model=row.id,
        provider=at.provider,
        upstream_model=at.upstream_model,
        dialect=at.dialect,
        price=prices.get(id_),
        context_tokens=at.context_tokens if at.context_tokens is not None else row.context_tokens,
        output_tokens_max=at.output_tokens_max if at.output_tokens_max is not None else row.output_tokens_max,
        capabilities=lacking if at.lacks else None,
    )


def _public_aliases(row: ModelRow) -> tuple[str, ...]:
    dated = (alias for at in row.deployments for alias in at.dated)
    slugged = (f"{slug}/{row.id}" for slug in row.slugs)
    return tuple(dict.fromkeys((*row.aliases, *dated, *slugged)))


def _status(row: ModelRow, served: bool, day: str) -> Status:
    """A model that its developer has shut down, but others still serve, is deprecated."""
    if not served:
        return Status.SHUTDOWN
    if row.shutdown is not None or (row.deprecated is not None and row.deprecated <= day):
        return Status.DEPRECATED
    return Status.PREVIEW if row.preview else Status.ACTIVE


def _check_references(models: Mapping[str, Model], providers: Mapping[str, Provider]) -> None:
    for model in models.values():
        if model.successor is not None and model.successor not in models:
            raise ValueError(f"model '{model.id}' names the unknown successor '{model.successor}'")
        if not model.deployments:
            raise ValueError(f"model '{model.id}' has no deployment")
        ids: set[str] = set()
        for deployment in model.deployments:
            if deployment.provider not in providers:
                raise ValueError(
                    f"deployment '{deployment.id}' of model '{model.id}' names the unknown provider "
                    f"'{deployment.provider}'"
                )
            if deployment.model != model.id:
                raise ValueError(
                    f"deployment '{deployment.id}' belongs to '{deployment.model}', not '{model.id}'"
                )
            if deployment.id in ids:
                raise ValueError(f"model '{model.id}' has two deployments '{deployment.id}'")
            ids.add(deployment.id)


Pins = Mapping[str, Mapping[str, str]]
"""Alias of a dated snapshot -> deployment id -> what the provider calls the snapshot."""


def _pins(row: ModelRow, model: Model) -> dict[str, dict[str, str]]:
    """The dated snapshots of a row, at those deployments that the model still has unchanged."""
    ours = {(d.id, d.upstream_model) for d in model.deployments}
    pins: dict[str, dict[str, str]] = {}
    for at in row.deployments:
        id_ = f"{at.provider}/{row.id}"
        if (id_, at.upstream_model) in ours:
            for alias, upstream in at.dated.items():
                pins.setdefault(alias, {})[id_] = upstream
    return pins


def _strong_names(
    models: Mapping[str, Model], own: Mapping[str, Model], pins: Mapping[str, Pins]
) -> dict[str, Name]:
    """Ids, then aliases: the operator's before the catalogue's.

    Raises:
        ValueError: an alias is another model's id, or two models of one origin claim it.
    """
    names = {id_: Name(id_) for id_ in models}
    taken: dict[str, str] = {}
    for model in (*own.values(), *(m for m in models.values() if m.id not in own)):
        for alias in model.aliases:
            holder = alias if alias in models else taken.get(alias, model.id)
            if holder == model.id:
                taken[alias] = model.id
                names[alias] = Name(model.id, pins.get(model.id, {}).get(alias, {}))
            elif model.id in own or holder not in own:
                raise ValueError(
                    f"alias '{alias}' of model '{model.id}' is a name of the model '{holder}' already"
                )
    return names


def _upstream_names(models: Mapping[str, Model], pins: Mapping[str, Pins]) -> dict[tuple[str, str], Name]:
    """What providers themselves call the models; the first model with a name keeps it."""
    names: dict[tuple[str, str], Name] = {}
    for model in models.values():
        for deployment in model.deployments:
            names.setdefault((deployment.provider, deployment.upstream_model), Name(model.id))
            for snapshots in pins.get(model.id, {}).values():
                upstream = snapshots.get(deployment.id)
                if upstream is not None:
                    name = Name(model.id, {deployment.id: upstream})
                    names.setdefault((deployment.provider, upstream), name)
    return names


def _next_change(data: CatalogData, day: str) -> str | None:
    dates = {row.price.valid_from for row in data.prices}
    for model in data.models:
        dates |= {model.shutdown, model.deprecated, *(d.shutdown for d in model.deployments)}
    return min((date for date in dates if date is not None and date > day), default=None)
