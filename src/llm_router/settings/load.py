"""Load the configuration: command line over environment over file over default."""

from __future__ import annotations

import tomllib
from collections.abc import Collection, Iterator, Mapping
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

import msgspec

from llm_router.access.addresses import parse_range
from llm_router.billing.policy import OnCut, SettlementPolicy
from llm_router.domain.key import Limits
from llm_router.domain.model import Model, Provider
from llm_router.domain.money import PUSD_PER_USD
from llm_router.domain.session import SessionLimits
from llm_router.ports import MACHINE_CREDENTIALS
from llm_router.settings.check import read_table
from llm_router.settings.counters import counter_settings
from llm_router.settings.models import merge_models
from llm_router.settings.oidc import oidc_settings
from llm_router.settings.papers import paper_settings
from llm_router.settings.payments import SecretReader, alert_settings, own_key_fee, stripe_settings
from llm_router.settings.problems import ConfigError, Problems
from llm_router.settings.providers import merge_providers
from llm_router.settings.reliability import (
    concurrency_rules,
    continuing,
    deadlines,
    deadlines_by_model,
    fallback_rules,
    health_rules,
    probe_rules,
    retry_rules,
    unknown_models,
)
from llm_router.settings.result import (
    CreditSettings,
    FetchSettings,
    PaperSettings,
    ResponseSettings,
    ServeOptions,
    ServerSettings,
    Settings,
    SideCarSettings,
    StoreSettings,
)
from llm_router.settings.routing import routing_rules
from llm_router.settings.schema import (
    CreditsTable,
    FetchTable,
    FileTable,
    InvoicesTable,
    ReceiptsTable,
    ResponsesTable,
    ServerTable,
    SessionTable,
    StoreTable,
)
from llm_router.settings.secrets import expand_home, is_literal, open_to_others
from llm_router.settings.signing import Signer
from llm_router.settings.store import store_settings
from llm_router.wire.operations import PROVIDER_DIALECTS

FILE_BYTES_MAX = 16 * 1024 * 1024
"""A configuration file beyond this is not one."""

SANDBOX_FOLDER = "sandbox"
"""Where in the usual data folder the sandbox keeps its own keys and credits."""

_NO_OPTIONS = ServeOptions()


class Catalog(Protocol):
    """What the file changes: providers and models by id (a :class:`~llm_router.catalog.snapshot.Snapshot`)."""

    @property
    def providers(self) -> Mapping[str, Provider]: ...

    @property
    def models(self) -> Mapping[str, Model]: ...


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """The part of the settings that finds a gateway's data: all that ``keys`` and ``credits`` need."""

    path: Path | None
    server: ServerSettings
    credits: CreditSettings
    store: StoreSettings | None
    papers: PaperSettings = PaperSettings()


def load(
    path: Path | None,
    environ: Mapping[str, str],
    catalog: Catalog,
    *,
    options: ServeOptions = _NO_OPTIONS,
    dialects: Collection[str] = PROVIDER_DIALECTS,
    secrets: bool = True,
    document: Mapping[str, Any] | None = None,
) -> Settings:
    """Read the file (None: there is none) over the catalogue.

    Args:
        environ: the environment variables; the process's own are never looked at.
        catalog: the built-in catalogue, compiled without changes.
        options: the command line, which goes over everything else.
        secrets: False leaves credentials aside: for commands that call no provider, and may be run
            where the server's variables are not set.
        document: what takes the place of the file's content.

    Raises:
        ConfigError: with every problem of the file and of the variables that concern the server.
    """
    file = str(path) if path is not None else "environment"
    file = file if document is None else "the change"
    problems = Problems()
    table = _read_file(path, problems) if document is None else _read_document(document, problems)
    folder = path.absolute().parent if path is not None else Path.cwd()
    server = _server(table.server, environ, options, folder, problems)
    credits = _credits(table.credits, problems)
    settlement = _settlement(table, problems)
    providers = merge_providers(table.providers, catalog.providers, dialects, problems)
    models = merge_models(table.models, catalog.models, providers, table.providers, problems)
    used = frozenset(d.provider for m in table.models.values() for d in m.deployments)
    signer = Signer(environ, folder, problems, used=used, read=secrets)
    for id_, provider in providers.items():
        signer.sign(provider, table.providers.get(id_))
    own = SecretReader(environ, folder, problems, read=secrets)
    stripe = stripe_settings(table.stripe, own, problems)
    # What the sandbox simulates is not to be paid with real credit.
    store = None if options.sandbox else store_settings(table.store, own, problems)
    own_keys = own_key_fee(table.byok, problems)
    counters = counter_settings(table.counters, own, problems)
    alerts = alert_settings(table.alerts, own, problems)
    oidc = oidc_settings(table.oidc, own, problems)
    papers = paper_settings(table.receipts, table.invoices, folder, problems)
    routing = routing_rules(table.routing, table.presets, table.experiments, problems)
    if problems:
        raise ConfigError(problems.lines(file))
    return Settings(
        path=path,
        server=server,
        timeouts=(usual := deadlines(table.timeouts)),
        timeouts_by_model=deadlines_by_model(table.models, usual),
        retries=retry_rules(table.retries),
        health=health_rules(table.health),
        continuing=continuing(table.continuation),
        fallbacks=fallback_rules(table.routing.fallbacks),
        probes=probe_rules(table.routing.probes),
        concurrency=concurrency_rules(table.routing.concurrency),
        routing=routing,
        credits=credits,
        settlement=settlement,
        sessions=_session(table.sessions),
        sessions_by_key={id_: _session(session) for id_, session in table.sessions.keys.items()},
        limits=Limits(
            requests_per_minute=table.limits.requests_per_minute,
            tokens_per_minute=table.limits.tokens_per_minute,
            concurrency=table.limits.concurrency,
        ),
        counters=counters,
        fetch=_fetch(table.fetch),
        responses=_responses(table.responses),
        side_car=SideCarSettings(
            enabled=table.side_car.enabled,
            ttl_s=table.side_car.ttl_s,
            bytes_max=table.side_car.bytes_max,
        ),
        stripe=stripe,
        store=store,
        own_keys=own_keys,
        alerts=alerts,
        oidc=oidc,
        oidc_hosts=tuple(host.lower() for host in table.oidc.allow_hosts),
        papers=papers,
        providers=tuple(signer.providers.values()),
        provider_keys=signer.keys,
        key_pools=signer.pools,
        key_weights={id_: provider.key_weights for id_, provider in table.providers.items()},
        inactive=signer.inactive,
        models=models,
        warnings=(
            *_file_warnings(path, table, providers),
            *problems.warnings,
            *signer.warnings,
            *_idle(table, signer, models, catalog),
            *unknown_models(table.routing.fallbacks, _names(models, catalog)),
        ),
        disabled=frozenset(id_ for id_, provider in table.providers.items() if not provider.enabled),
    )


def load_place(
    path: Path | None, environ: Mapping[str, str], *, options: ServeOptions = _NO_OPTIONS
) -> Place:
    """Read only what finds and opens a gateway's data: ``[server]``, ``[store]``, ``[credits]``,
    ``[receipts]`` and ``[invoices]``.

    A mistake elsewhere in the file does not keep an operator from making a key.

    Raises:
        ConfigError: these tables have problems, or the file is no TOML.
    """
    problems = Problems()
    document = {} if path is None else _parse(path)
    server_table = read_table(ServerTable, document.get("server", {}), ("server",), problems)
    credits_table = read_table(CreditsTable, document.get("credits", {}), ("credits",), problems)
    folder = path.absolute().parent if path is not None else Path.cwd()
    server = _server(server_table or ServerTable(), environ, options, folder, problems)
    store_table = read_table(StoreTable, document.get("store", {}), ("store",), problems)
    secrets = SecretReader(environ, folder, problems, read=True)
    store = None if options.sandbox else store_settings(store_table or StoreTable(), secrets, problems)
    credits = _credits(credits_table or CreditsTable(), problems)
    receipts = read_table(ReceiptsTable, document.get("receipts", {}), ("receipts",), problems)
    invoices = read_table(InvoicesTable, document.get("invoices", {}), ("invoices",), problems)
    papers = paper_settings(receipts or ReceiptsTable(), invoices or InvoicesTable(), folder, problems)
    if problems:
        raise ConfigError(problems.lines(str(path) if path is not None else "environment"))
    return Place(path=path, server=server, credits=credits, store=store, papers=papers)


def find_config(flag: Path | None, environ: Mapping[str, str]) -> Path | None:
    """The file to load: of the flag, of LLM_ROUTER_CONFIG, else the usual place if there is one.

    Raises:
        ConfigError: a file was named and is not there.
    """
    named = flag
    if named is None and (text := environ.get("LLM_ROUTER_CONFIG", "")):
        named = expand_home(text, environ)
    if named is not None:
        if not named.is_file():
            raise ConfigError((f"{named}: there is no such file",))
        return named
    home = _xdg(environ, "XDG_CONFIG_HOME", ".config")
    usual = None if home is None else home / "llm-router" / "config.toml"
    return usual if usual is not None and usual.is_file() else None


def _read_file(path: Path | None, problems: Problems) -> FileTable:
    if path is None:
        return FileTable()
    return _read_document(_parse(path), problems)


def _read_document(document: Mapping[str, Any], problems: Problems) -> FileTable:
    table = read_table(FileTable, document, (), problems)
    assert table is not None, "every key of the top level has a default"
    return table


def laid_over(path: Path | None, text: str) -> dict[str, Any]:
    """The document of a file (None: there is none) with another laid over it: tables are joined, all else is replaced.

    Raises:
        ConfigError: one of them is no TOML.
    """
    change = parse_text(text, "the change")
    return change if path is None else _joined(_parse(path), change)


def _joined(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    joined = dict(below)
    for name, value in above.items():
        known = joined.get(name)
        both = isinstance(known, dict) and isinstance(value, dict)
        joined[name] = _joined(known, value) if both and isinstance(known, dict) else value
    return joined


def parse_text(text: str, name: str) -> dict[str, Any]:
    """The document of a text.

    Raises:
        ConfigError: it is no TOML.
    """
    try:
        return tomllib.loads(text, parse_float=Decimal)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError((f"{name}: is not valid TOML: {_lower(str(error))}",)) from None
    except RecursionError:
        raise ConfigError((f"{name}: is nested too deeply",)) from None
    except (ValueError, InvalidOperation):  # neither an int nor a Decimal can be so large
        raise ConfigError((f"{name}: a number in it is too large",)) from None


def _parse(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            content = file.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        raise ConfigError((f"{path}: cannot be read: {error.strerror or error}",)) from None
    if len(content) > FILE_BYTES_MAX:
        raise ConfigError((f"{path}: is larger than {FILE_BYTES_MAX // 2**20} MiB",))
    try:
        return parse_text(content.decode(), str(path))
    except UnicodeDecodeError as error:
        raise ConfigError((f"{path}: is not UTF-8 text (byte {error.start})",)) from None


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]


def _server(
    table: ServerTable,
    environ: Mapping[str, str],
    options: ServeOptions,
    folder: Path,
    problems: Problems,
) -> ServerSettings:
    host = options.host or environ.get("LLM_ROUTER_HOST", "").strip() or table.host
    if any(c.isspace() or c == "/" for c in host):
        problems.add(("server", "host"), 'must be a host name or address such as "127.0.0.1"')
    port = table.port
    if options.port is not None:
        port = options.port
    elif text := environ.get("LLM_ROUTER_PORT", "").strip():
        port = _port(text, problems)
    usual = _data_dir(table, environ, options, folder, problems)
    # Simulated tokens must not be paid with real credit; a folder that the flag names is meant as it is.
    apart = options.sandbox and options.data_dir is None
    return ServerSettings(
        host=host,
        port=port,
        data_dir=usual / SANDBOX_FOLDER if apart else usual,
        shared_dir=usual,
        body_bytes_max=table.body_bytes_max,
        header_bytes_max=table.header_bytes_max,
        headers_max=table.headers_max,
        head_s=float(table.head_s),
        body_s=float(table.body_s),
        unread_s=float(table.unread_s),
        keep_alive_s=float(table.keep_alive_s),
        connections_max=table.connections_max,
        connections_per_address_max=table.connections_per_address_max,
        heartbeat_s=float(table.heartbeat_s),
        lag_max_s=float(table.lag_max_s),
        drain_s=float(table.drain_s),
        concurrency_max=table.concurrency_max,
        access_log=table.access_log,
        workers=table.workers if options.workers is None else options.workers,
        public_url=_public_url(table.public_url, problems),
        trusted_proxies=_ranges(table.trusted_proxies, problems),
    )


def _public_url(text: str | None, problems: Problems) -> str | None:
    if text is None:
        return None
    found = urlsplit(text)
    if found.scheme not in ("http", "https") or not found.hostname or found.path.strip("/") or found.query:
        problems.add(("server", "public_url"), 'must be an origin such as "https://llm.example.com"')
    return text.rstrip("/")


def _ranges(texts: tuple[str, ...], problems: Problems) -> tuple[str, ...]:
    found = []
    for text in texts:
        try:
            found.append(parse_range(text))
        except ValueError:
            problems.add(
                ("server", "trusted_proxies"),
                f"'{text[:50]}' is no address and no range of addresses such as \"10.0.0.0/8\"",
            )
    return tuple(found)


def _port(text: str, problems: Problems) -> int:
    if text.isascii() and text.isdigit() and len(text) <= 5 and int(text) <= 65535:
        return int(text)
    problems.add(("LLM_ROUTER_PORT",), "must be a whole number from 0 to 65535")
    return 0


def _data_dir(
    table: ServerTable,
    environ: Mapping[str, str],
    options: ServeOptions,
    folder: Path,
    problems: Problems,
) -> Path:
    if options.data_dir is not None:
        return options.data_dir.absolute()
    if text := environ.get("LLM_ROUTER_DATA_DIR", ""):
        return expand_home(text, environ).absolute()
    if table.data_dir is not None:
        return folder / expand_home(table.data_dir, environ)
    home = _xdg(environ, "XDG_DATA_HOME", ".local/share")
    if home is None:
        problems.add(("server", "data_dir"), "is missing, and there is no HOME to take the usual place in")
        return folder
    return home / "llm-router"


def _xdg(environ: Mapping[str, str], variable: str, below_home: str) -> Path | None:
    """A folder of the XDG base directory specification, whose relative values are to be ignored.

    https://specifications.freedesktop.org/basedir-spec/latest/
    """
    named = environ.get(variable, "")
    if named.startswith("/"):
        return Path(named)
    home = environ.get("HOME", "")
    return Path(home) / below_home if home else None


def _credits(table: CreditsTable, problems: Problems) -> CreditSettings:
    starting = table.starting * PUSD_PER_USD
    if starting != int(starting):
        problems.add(("credits", "starting"), "has more than 12 digits behind the point")
    return CreditSettings(
        starting_pusd=int(starting),
        hold_output_tokens=table.hold_output_tokens,
        hold_wait_s=float(table.hold_wait_s),
    )


def _settlement(table: FileTable, problems: Problems) -> SettlementPolicy:
    """Who pays. ``credits.charge_on_error`` is the older name of ``settlement.cut``."""
    chosen = msgspec.structs.asdict(table.settlement)
    policy = SettlementPolicy(**{**chosen, "drain_s": float(table.settlement.drain_s)})
    old = table.credits.charge_on_error
    if old is None:
        return policy
    cut: OnCut = "reported" if old == "delivered" else "free"
    if table.settlement.cut not in ("free", cut):
        problems.add(("credits", "charge_on_error"), "is the older name of settlement.cut; leave it out")
    return msgspec.structs.replace(policy, cut=cut)


def _session(table: SessionTable) -> SessionLimits:
    cost = table.max_cost
    return SessionLimits(
        cost_pusd=None if cost is None else int(cost * PUSD_PER_USD),
        steps=table.max_steps,
        tokens=table.max_tokens,
        repeats=table.repeats,
    )


def _responses(table: ResponsesTable) -> ResponseSettings:
    return ResponseSettings(
        store=table.store,
        retention_days=table.retention_days,
        bytes_max=table.bytes_max,
        background_max=table.background_max,
    )


def _fetch(table: FetchTable) -> FetchSettings:
    return FetchSettings(
        enabled=table.enabled,
        bytes_max=table.bytes_max,
        timeout_s=float(table.timeout_s),
        allow_hosts=tuple(host.lower() for host in table.allow_hosts),
    )


def _idle(table: FileTable, signer: Signer, models: Collection[Model], catalog: Catalog) -> Iterator[str]:
    """A word about each provider of the file that can be called, but for no model."""
    served = {d.provider for m in (*models, *catalog.models.values()) for d in m.deployments}
    for id_ in table.providers:
        if id_ not in served and id_ not in signer.inactive:
            yield (
                f'providers.{id_}: no model is served by it; add [[models."MODEL".deployments]] with '
                f'provider = "{id_}" and upstream_model'
            )


def _names(models: Collection[Model], catalog: Catalog) -> set[str]:
    """All names of models."""
    return {name for m in (*models, *catalog.models.values()) for name in (m.id, *m.aliases)}


def _file_warnings(path: Path | None, table: FileTable, providers: Mapping[str, Provider]) -> list[str]:
    warnings = []
    literal = [
        id_
        for id_, provider in table.providers.items()
        for key in (provider.key or "", *provider.keys)
        if key and is_literal(key) and not _is_machines(key, providers.get(id_))
    ]
    warnings += [
        f'providers.{id_}.key: stands in the file in clear; better "env:NAME" or "file:PATH"'
        for id_ in dict.fromkeys(literal)
    ]
    if literal and path is not None and open_to_others(path):
        warnings.append(f"{path}: holds a key and can be read by other users; run: chmod 600 {path}")
    return warnings


def _is_machines(key: str, provider: Provider | None) -> bool:
    """Whether the key is no key but the word for the credentials of this machine."""
    return key == MACHINE_CREDENTIALS and provider is not None and provider.auth == "google"
