"""The hand-written overlay: which providers and models there are, and what no source says of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import msgspec

from llm_router.catalog.schema import OperationName
from llm_router.domain.model import AuthScheme, EditKind, Knowledge, Parameter, Provider, Quirk, Way

FOLDER = Path(__file__).parent / "overlay"


class OverlayError(ValueError):
    """The overlay contradicts itself or the sources."""


class _Strict(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pass


class Sources(_Strict, frozen=True, kw_only=True):
    """What the sources call a provider; None or () where a source does not have it.

    Attributes:
        litellm: prefixes of the table's keys.
        json_schema: the table's flag for structured outputs, where not all models have them there.
    """

    genai: str | None = None
    litellm: tuple[str, ...] = ()
    json_schema: str | None = None


class QuirkText(_Strict, frozen=True, kw_only=True):
    edit: EditKind
    field: str
    why: str
    source: str
    to: str | None = None
    value: Any = msgspec.UNSET
    min: float | None = None
    max: float | None = None
    models: tuple[str, ...] = ()
    when: str | None = None
    lossless: bool = False

    def quirk(self) -> Quirk:
        value = None if self.value is msgspec.UNSET else msgspec.Raw(msgspec.json.encode(self.value))
        return Quirk(
            edit=self.edit,
            field=self.field,
            why=self.why,
            source=self.source,
            to=self.to,
            value=value,
            min=self.min,
            max=self.max,
            models=self.models,
            when=self.when,
            lossless=self.lossless,
        )


class WayText(_Strict, frozen=True, kw_only=True):
    """A further dialect of a provider."""

    dialect: str
    base_url: str | None = None
    placement: str | None = None
    auth: AuthScheme | None = None
    auth_name: str | None = None
    headers: dict[str, str] | None = None
    query: dict[str, str] | None = None
    quirks: tuple[QuirkText, ...] = ()
    takes_urls: tuple[str, ...] = ()
    knows: tuple[Knowledge, ...] = ()
    serves: tuple[str, ...] = ()
    upstream: str = "{model}"
    lacks: tuple[str, ...] = ()
    draws: tuple[str, ...] = ()
    named_only: bool = False

    def way(self) -> Way:
        return Way(
            dialect=self.dialect,
            base_url=self.base_url,
            placement=self.placement,
            auth=self.auth,
            auth_name=self.auth_name,
            headers=self.headers,
            query=self.query,
            quirks=tuple(q.quirk() for q in self.quirks),
            takes_urls=self.takes_urls,
            knows=self.knows,
            serves=self.serves,
            upstream=self.upstream,
            lacks=self.lacks,
            draws=self.draws,
            named_only=self.named_only,
        )


class ProviderText(_Strict, frozen=True, kw_only=True):
    """One file of ``overlay/providers``."""

    id: str
    name: str
    base_url: str
    docs_url: str
    developer: str | None = None
    dialect: str = "openai_chat"
    placement: str | None = None
    auth: AuthScheme = "bearer"
    auth_name: str | None = None
    env: tuple[str, ...] = ()
    key_required: bool = True
    headers: dict[str, str] = {}
    query: dict[str, str] = {}
    takes_urls: tuple[str, ...] = ()
    knows: tuple[Knowledge, ...] = ()
    serves: tuple[str, ...] = ()
    parameters: tuple[Parameter, ...] = ()
    also: tuple[WayText, ...] = ()
    quirks: tuple[QuirkText, ...] = ()
    bills_abandoned: bool = False
    bills_abandoned_source: str | None = None
    tools: dict[str, int] = {}
    deadline_header: str | None = None
    data_collection: Literal["allow", "deny"] | None = None
    zero_retention: bool | None = None
    data_source: str | None = None
    regions: tuple[str, ...] = ()
    sources: Sources = Sources()

    def provider(self) -> Provider:
        return Provider(
            id=self.id,
            name=self.name,
            base_url=self.base_url,
            dialect=self.dialect,
            placement=self.placement,
            auth=self.auth,
            auth_name=self.auth_name,
            env=self.env,
            key_required=self.key_required,
            headers=self.headers,
            query=self.query,
            quirks=tuple(q.quirk() for q in self.quirks),
            takes_urls=self.takes_urls,
            knows=self.knows,
            serves=self.serves,
            parameters=self.parameters,
            also=tuple(text.way() for text in self.also),
            bills_abandoned=self.bills_abandoned,
            bills_abandoned_source=self.bills_abandoned_source,
            tools=self.tools,
            deadline_header=self.deadline_header,
            data_collection=self.data_collection,
            zero_retention=self.zero_retention,
            data_source=self.data_source,
            regions=self.regions,
            docs_url=self.docs_url,
            developer=self.developer,
        )


class ModelText(_Strict, frozen=True, kw_only=True):
    """One table of a file of ``overlay/models``. None leaves a fact to the sources.

    Attributes:
        at: provider id -> its name of the model, in any order (the catalogue's order decides).
        dated: snapshots that cost the same; the developer's own provider knows them by this name.
        facts_of: a further key of the litellm table to read capabilities from.
        operations: what it is called for; one for embeddings is priced by its input alone.
        dialect_at: provider id -> the dialect of this model there, where it is not the provider's.
        no_tools_at: providers whose API, as we speak it, takes no tools with this model.
        earliest_shutdown_only: the date in the sources is a promise ("not before"), no announcement.
    """

    name: str
    tier: int
    at: dict[str, str]
    family: str | None = None
    strengths: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    dated: tuple[str, ...] = ()
    open_weights: bool = False
    preview: bool = False
    released: str | None = None
    deprecated: str | None = None
    shutdown: str | None = None
    successor: str | None = None
    input: tuple[str, ...] | None = None
    output: tuple[str, ...] | None = None
    tools: bool | None = None
    parallel_tools: bool | None = None
    json_object: bool | None = None
    json_schema: bool | None = None
    reasoning: bool | None = None
    reasoning_levels: tuple[str, ...] | None = None
    sampling: bool | None = None
    context_tokens: int | None = None
    output_tokens_max: int | None = None
    facts_of: str | None = None
    no_tools_at: tuple[str, ...] = ()
    operations: tuple[OperationName, ...] = ("chat",)
    dialect_at: dict[str, str] = {}
    earliest_shutdown_only: bool = False


class DeveloperText(_Strict, frozen=True, kw_only=True):
    """One file of ``overlay/models``: a developer and its models, the newest first."""

    developer: str
    family: str
    slugs: tuple[str, ...]
    home: str | None = None
    json_object: bool | None = None
    models: dict[str, ModelText]


class Settlement(_Strict, frozen=True, kw_only=True):
    """Which source to believe where they contradict each other, and why."""

    take: Literal["genai-prices", "litellm"]
    why: str
    source: str


class CatalogueText(_Strict, frozen=True, kw_only=True):
    """``overlay/catalogue.toml``.

    Attributes:
        as_of: the ISO date for which everything was checked.
        providers: ids in the order in which deployments are preferred when all else is equal.
        provider_aliases: other ids that clients write for a provider.
        moved_aliases: aliases that a source still prices as another model, with the reason.
    """

    as_of: str
    providers: tuple[str, ...]
    provider_aliases: dict[str, str]
    moved_aliases: dict[str, str]


class Overlay(msgspec.Struct, frozen=True, kw_only=True):
    catalogue: CatalogueText
    providers: dict[str, ProviderText]
    developers: tuple[DeveloperText, ...]
    settlements: dict[str, Settlement]


def load(folder: Path = FOLDER) -> Overlay:
    """Read and check the overlay.

    Raises:
        OverlayError: a file has an unknown or missing member, or names something unknown.
    """
    catalogue = _read(folder / "catalogue.toml", CatalogueText)
    providers = {}
    for path in sorted((folder / "providers").glob("*.toml")):
        text = _read(path, ProviderText)
        if path.stem != text.id:
            raise OverlayError(f"{path.name} describes the provider {text.id!r}")
        providers[text.id] = text
    if set(catalogue.providers) != set(providers):
        raise OverlayError(f"catalogue.toml orders {set(catalogue.providers) ^ set(providers)} wrongly")
    developers = [_read(p, DeveloperText) for p in sorted((folder / "models").glob("*.toml"))]
    order = [*catalogue.providers, None]
    developers.sort(key=lambda dev: order.index(dev.home))
    settlements = _read(folder / "settlements.toml", dict[str, Settlement])
    overlay = Overlay(
        catalogue=catalogue, providers=providers, developers=tuple(developers), settlements=settlements
    )
    _check(overlay)
    return overlay


def _read(path: Path, shape: Any) -> Any:
    try:
        return msgspec.toml.decode(path.read_bytes(), type=shape)
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise OverlayError(f"{path.name}: {error}") from error


def _check(overlay: Overlay) -> None:
    ids = [id_ for dev in overlay.developers for id_ in dev.models]
    if len(set(ids)) != len(ids):
        raise OverlayError(f"defined twice: {sorted({i for i in ids if ids.count(i) > 1})}")
    for dev in overlay.developers:
        for id_, model in dev.models.items():
            if model.successor is not None and model.successor not in ids:
                raise OverlayError(f"{id_}: unknown successor {model.successor!r}")
            if not 1 <= model.tier <= 5:
                raise OverlayError(f"{id_}: tier {model.tier} is not in 1..5")
            strange = set(model.strengths) - {"code", "creative", "fast", "vision", "reasoning"}
            if strange:
                raise OverlayError(f"{id_}: unknown strengths {sorted(strange)}")
            lost = set(model.at) - set(overlay.providers)
            if lost:
                raise OverlayError(f"{id_}: unknown providers {sorted(lost)}")
            if dev.home is None and model.dated:
                raise OverlayError(f"{id_}: dated snapshots need the developer's own provider")
