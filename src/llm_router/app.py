"""The composition root: the only file that knows everyone.

settings + catalogue -> State          what an exchange works with; replaced whole by a reload
adapters + State     -> Engine
Engine + routes      -> Gateway        an ASGI application
Gateway + socket     -> a server       run() owns its whole life
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec
import uvloop

from llm_router import __version__
from llm_router.adapters.body_seals import BodySeals
from llm_router.adapters.clock import SystemClock
from llm_router.adapters.control import answers, serve_control
from llm_router.adapters.data_dir import RESPONSES_NAME, prepare_data_dir
from llm_router.adapters.dice import throw
from llm_router.adapters.google_tokens import GoogleTokens
from llm_router.adapters.heap import end_start
from llm_router.adapters.ids import ExchangeIds
from llm_router.adapters.installation import installation_secret
from llm_router.adapters.keymaker import new_code, new_id, new_key_text
from llm_router.adapters.listeners import inherited, succeed
from llm_router.adapters.memory.counters import MemoryCounters
from llm_router.adapters.notices import MailChannel, MailSettings, WebhookChannel
from llm_router.adapters.receipt_keys import receipt_keys
from llm_router.adapters.sealing import ALERT_TARGETS, BODIES, GATEWAY_KEYS, OWN_KEYS, Sealer
from llm_router.adapters.signals import heed
from llm_router.adapters.sqlite.lock import owner_of
from llm_router.adapters.sqlite.responses import SqliteResponses
from llm_router.adapters.sqlite.schema import StoreLocked
from llm_router.adapters.sqlite.side_car import SqliteSideCar
from llm_router.adapters.sqlite.store import SqliteStore
from llm_router.adapters.stores import open_bodies, open_directory, open_store
from llm_router.adapters.stripe import StripeApi
from llm_router.adapters.telemetry import AccessLog, NoTelemetry
from llm_router.adapters.upstream.client import LeanUpstream
from llm_router.adapters.upstream.fetch import GuardedFetcher
from llm_router.adapters.upstream.post import GuardedPost
from llm_router.adapters.upstream.url import parse_url
from llm_router.billing.own_keys import OwnKeyFee
from llm_router.billing.pricing import PriceList
from llm_router.catalog.schema import CatalogData
from llm_router.catalog.snapshot import Snapshot, compile_snapshot, load_builtin
from llm_router.domain import late
from llm_router.domain.budget import Payer
from llm_router.domain.errors import InvalidRequest, LedgerUnavailable
from llm_router.domain.model import Model, Provider, Status
from llm_router.edge.api.app import Api
from llm_router.edge.api.desk import Desk
from llm_router.edge.bounds import Bounds, Guards
from llm_router.edge.gateway import Gateway
from llm_router.edge.handlers import ROUTES
from llm_router.edge.serving import HttpServer, http_server
from llm_router.engine.alert_targets import AlertTargets, Target
from llm_router.engine.auditing import UNTOLD_MS, recover_intents
from llm_router.engine.auto import AutoKeeper
from llm_router.engine.background import Background
from llm_router.engine.bodies import KIND as BODY_RULES_KIND
from llm_router.engine.bodies import BodyKeeper, BodyPolicy
from llm_router.engine.bodying import BodyDesk
from llm_router.engine.exchange import Engine
from llm_router.engine.experiments import Experiments
from llm_router.engine.folding import keep_folded
from llm_router.engine.gateway_keys import KIND as GATEWAY_KEYS_KIND
from llm_router.engine.gateway_keys import GatewayKeys
from llm_router.engine.keys import FirstKey, first_run
from llm_router.engine.logs import Logs
from llm_router.engine.notices import Told
from llm_router.engine.operator import Context
from llm_router.engine.own_keys import KIND as OWN_KEYS_KIND
from llm_router.engine.own_keys import OwnKeyVault
from llm_router.engine.papers import Papers
from llm_router.engine.payments import PaymentRules, Payments
from llm_router.engine.presets import StoredPresets
from llm_router.engine.price_history import keep_prices_noted
from llm_router.engine.rehearsing import Rehearsal
from llm_router.engine.replays import Replays
from llm_router.engine.responses import Keeping, Responses
from llm_router.engine.saved import doubtful
from llm_router.engine.sso import SsoKeeper
from llm_router.engine.state import State
from llm_router.engine.tailing import Tail
from llm_router.engine.treasury import Treasury
from llm_router.entrance import REPEATS, Issuers, Seals, build_mailer, build_people, build_sign_ins, build_sso
from llm_router.ports import (
    BodyStore,
    Clock,
    Counters,
    Directory,
    Keyring,
    LimitRules,
    NoticeChannel,
    OtherRuns,
    PaperBooks,
    PriceBook,
    ResponseStore,
    SessionBook,
    SideCar,
    Telemetry,
    TreasuryBooks,
)
from llm_router.routing.key_ring import pool_of
from llm_router.settings import (
    ConfigError,
    ServeOptions,
    Settings,
    find_config,
    laid_over,
    load,
    needs_restart,
    parse_text,
    refused_reload,
    refused_restart,
    reload_lines,
)
from llm_router.settings.announcement import Announcement
from llm_router.settings.announcement import LocalModel as LocalNote
from llm_router.settings.result import AlertSettings, ServerSettings
from llm_router.settings.stored_keys import with_stored_keys
from llm_router.wire.operations import SPOKEN

if TYPE_CHECKING:
    from llm_router.adapters.stores import OpenBodies, OpenDirectory, Store
    from llm_router.edge.api import routes as api_routes
    from llm_router.engine import operations
    from llm_router.engine.operations import Operate
    from llm_router.sandbox.faults.load import FaultPlan
else:  # when an operator or a person first asks for something
    api_routes = late.module("llm_router.edge.api.routes")
    operations = late.module("llm_router.engine.operations")

DAY_MS = 86_400_000

DAY_CHECK_S = 60.0
"""How often the date is looked at, for prices and statuses that change with it."""

DIRECTORY_PURGE_S = 600.0
BODIES_PURGE_S = 600.0

NODES_CHECK_S = 1.0
"""How often a gateway looks at what others on its database changed."""

HOMES = ("HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME")
"""What a configuration that is tried may know of the environment: keys are no part of it."""

KEYS_COUNTED = 100
"""Keys that are looked at to say how many there are: a start takes no longer with a million of them."""

BACKLOG = 2048
"""Connections that may wait to be accepted."""


class Overlay(msgspec.Struct, frozen=True, kw_only=True):
    """What the sandbox and the local model put over the settings.

    Attributes:
        sandbox_url: the base URL at the simulated upstreams of (dialect, provider id); None without
            a sandbox. It says None for a dialect that the sandbox does not speak.
        local: the provider and model of the local model.
    """

    sandbox_url: Callable[[str, str], str | None] | None = None
    local: tuple[Provider, Model] | None = None
    local_key: str | None = None


def sandbox_overlay(base_url: str, doors: Mapping[str, str]) -> Overlay:
    """The overlay of a sandbox that answers there; ``doors``: providers with an address of their own."""
    from llm_router.sandbox.server import DIALECTS, provider_base_url

    return Overlay(
        sandbox_url=lambda dialect, provider: (
            provider_base_url(base_url, dialect, provider=provider, doors=doors)
            if dialect in DIALECTS
            else None
        )
    )


def build_state(settings: Settings, data: CatalogData, overlay: Overlay, today: str) -> State:
    """Compile settings, catalogue and overlay into what exchanges work with."""
    keys = {id_: secret.reveal() for id_, secret in settings.provider_keys.items()}
    pools = {
        id_: pool_of([secret.reveal() for secret in secrets], settings.key_weights.get(id_, ()))
        for id_, secrets in settings.key_pools.items()
    }
    active = set(settings.active)
    providers = list(settings.providers)
    models = list(settings.models)
    if overlay.sandbox_url is not None:
        providers = [_simulated(p, overlay.sandbox_url) for p in providers]
        active = {p.id for p in providers if p.simulated} - settings.disabled
        keys = dict.fromkeys(active, "sandbox")
        pools = {  # as many as are configured, none of them real
            id_: pool_of(
                [f"sandbox-{n}" for n in range(1, len(pool) + 1)], tuple(each.weight for each in pool)
            )
            for id_, pool in pools.items()
            if id_ in active
        }
    if overlay.local is not None:
        provider, model = overlay.local
        providers.append(provider)
        models.append(model)
        active.add(provider.id)
        if overlay.local_key is not None:
            keys[provider.id] = overlay.local_key
    return State(
        snapshot=compile_snapshot(data, providers=providers, models=models, today=today),
        provider_keys=keys,
        key_pools=pools,
        active=frozenset(active),
        deadlines=settings.timeouts,
        deadlines_by_model=settings.timeouts_by_model,
        retries=settings.retries,
        health=settings.health,
        concurrency=settings.concurrency,
        continuing=settings.continuing,
        fallbacks=settings.fallbacks,
        routing=settings.routing,
        probes=settings.probes,
        default_limits=settings.limits,
        hold_output_tokens=settings.credits.hold_output_tokens,
        hold_wait_s=settings.credits.hold_wait_s,
        settlement=settings.settlement,
        sessions=settings.sessions,
        sessions_by_key=settings.sessions_by_key,
        heartbeat_s=settings.server.heartbeat_s,
        lag_max_s=settings.server.lag_max_s,
        fetch_media=settings.fetch.enabled,
        own_key_fee=OwnKeyFee() if settings.own_keys is None else settings.own_keys,
    )


def _simulated(provider: Provider, sandbox_url: Callable[[str, str], str | None]) -> Provider:
    """The provider as the sandbox plays it, with a key that is none; unchanged if it cannot."""
    base_url = sandbox_url(provider.dialect, provider.id)
    if base_url is None:
        return provider
    ways = [
        msgspec.structs.replace(
            way,
            base_url=url,
            auth="bearer" if way.auth == "google" else way.auth,
            headers=None,
            query=None,
            placement=None,
        )
        for way in provider.also
        if (url := sandbox_url(way.dialect, provider.id)) is not None
    ]
    return msgspec.structs.replace(
        provider,
        base_url=base_url,
        auth="bearer" if provider.auth == "google" else provider.auth,  # the key is no Google credential
        headers={},
        query={},
        placement=None,
        also=tuple(ways),
        simulated=True,
    )


class Stores(msgspec.Struct, frozen=True, kw_only=True):
    """What outlives an exchange, wherever it is kept: in this process, or in the one that owns it."""

    books: TreasuryBooks
    keyring: Keyring
    rules: LimitRules
    counters: Counters
    sessions: SessionBook
    prices: PriceBook
    responses: ResponseStore
    bodies: BodyStore
    side_car: SideCar | None
    papers: PaperBooks
    directory: Directory
    operate: Operate


class Server:
    """A gateway from its start to its end. ``settings`` None are read from file and environment."""

    def __init__(
        self, options: ServeOptions, environ: Mapping[str, str], settings: Settings | None = None
    ) -> None:
        self._options = options
        self._environ = environ
        self._listeners: list[socket.socket] = []
        self._heirs: list[socket.socket] = []
        self._clock = SystemClock()
        self._path = find_config(options.config, environ)
        self._settings = self._started_with = self._load() if settings is None else settings
        self._plain = self._settings
        self._overlay = Overlay()
        self._now: State | None = None
        self._price_list = PriceList()
        self._sandbox_url: str | None = None
        self._faults: tuple[str, ...] = ()
        self._sandbox_doors: Mapping[str, str] = {}
        self._stop: Callable[[], None] = lambda: None
        self._stack = contextlib.AsyncExitStack()
        self._stopping = False
        self._own_keys: OwnKeyVault | None = None
        self._policy: BodyPolicy | None = None
        self._gateway_keys: GatewayKeys | None = None
        self._engine: Engine | None = None
        self._tail: Tail | None = None

    async def serve(self, announce: Callable[[Announcement], None]) -> int:
        """Run until SIGTERM or SIGINT; the exit status.

        Raises:
            RouterError: it cannot start; the message says why and what to do.
        """
        settings = self._settings.server
        async with self._stack as stack:
            self._listeners = self._listen()
            for listener in self._listeners:
                stack.enter_context(listener)
            store = await self._open_store(stack)
            await self._start_overlay(stack)
            await self._open_gateway_keys(store)
            self._now = self._state()
            side_car = await self._open_side_car(stack)
            upstream = self._open_upstream(stack)
            self._own_keys = self._build_own_keys(store)
            self._price_list = PriceList(await store.price_rules())
            treasury = self._build_treasury(store, upstream)
            stack.push_async_callback(treasury.close)
            await treasury.begin()
            directory = await self._open_directory(stack)
            responses = await self._open_responses(stack)
            bodies = await self._open_bodies(stack, store)
            context = self._operations(
                store, side_car, treasury, directory, self._body_desk(bodies, responses)
            )
            first = await first_run(context)
            control = await serve_control(settings.data_dir, lambda c, a: operations.dispatch(c, a, context))
            stack.push_async_callback(control.close)
            stores = Stores(
                books=store,
                keyring=store,
                counters=await self._open_counters(stack),
                sessions=store.sessions,
                rules=store,
                prices=store,
                responses=responses,
                bodies=bodies,
                side_car=side_car,
                papers=store,
                directory=directory,
                operate=lambda c, a, by: operations.operated(c, a, by, context),
            )
            server, gateway = await self._open_gateway(
                stack, stores, upstream, treasury, lambda: store.trouble
            )
            await gateway.responses.begin()
            treasury.start()
            stack.callback(asyncio.create_task(self._follow_nodes(store)).cancel)
            stack.callback(asyncio.create_task(keep_folded(store, self._clock)).cancel)
            noting = keep_prices_noted(store, self._clock, lambda: self._live().snapshot)
            stack.callback(asyncio.create_task(noting).cancel)
            stack.callback(asyncio.create_task(self._purge_directory(directory)).cancel)
            stack.callback(asyncio.create_task(self._purge_bodies(bodies)).cancel)
            announce(await self._announcement(self._listeners[0], store, first, context))
            end_start()
            self._heed_operator()
            await self._run(server, gateway, self._listeners)
        return 0

    async def _open_gateway(
        self,
        stack: contextlib.AsyncExitStack,
        stores: Stores,
        upstream: LeanUpstream,
        treasury: Treasury,
        trouble: Callable[[], str | None],
    ) -> tuple[HttpServer, Gateway]:
        """Everything from the engine to the HTTP server. ``trouble``: why the stores can promise nothing."""
        settings = self._settings.server
        tokens = GoogleTokens()
        stack.push_async_callback(tokens.close)
        engine = self._engine = self._build_engine(stores, upstream, tokens)
        engine.price_list = self._price_list
        if engine.experiments is not None:
            stack.push_async_callback(engine.experiments.close)
            await engine.experiments.begin()
        stack.push_async_callback(engine.close)
        keeper = AutoKeeper(engine.planner.autos, stores.books, self._clock)
        stack.push_async_callback(keeper.close)
        await keeper.begin()
        responses = self._background(engine, stores.responses)
        stack.push_async_callback(responses.close)
        papers = self._build_papers(stores.papers)
        gateway = Gateway(
            engine,
            responses,
            ROUTES,
            body_bytes_max=settings.body_bytes_max,
            exchanges_max=settings.concurrency_max,
            ready=lambda: "stopping" if self._stopping else trouble(),
            guards=Guards(bounds_of(settings)),
            treasury=treasury,
            papers=papers,
            trusted_proxies=settings.trusted_proxies,
            api=self._build_api(stores, treasury, papers),
            replays=Replays(
                treasury.replays, self._clock, lambda: engine.state.deadlines.total_s, os.getpid()
            ),
        )
        server = http_server(gateway, settings.drain_s)
        self._handle_signals(server, gateway, settings.drain_s)
        for work in (
            self._follow_days(),
            engine.probes.run(self._live),
            engine.watch.run(lambda: self._live().lag_max_s),
        ):
            stack.callback(asyncio.create_task(work).cancel)
        return server, gateway

    def _build_api(self, stores: Stores, treasury: Treasury, papers: Papers) -> Api:
        """Accounts and administration under /api/v1."""
        settings, clock = self._settings.server, self._clock
        assert self._tail is not None, "the engine is built before"
        people = build_people(stores.directory, clock, stores.keyring, stores.books)
        seals = Seals(settings.data_dir, REPEATS)
        sign_ins = build_sign_ins(people, settings.data_dir)
        desk = Desk(
            directory=stores.directory,
            people=people,
            sign_ins=sign_ins,
            oidc=Issuers(self._build_sso(stores.books), sign_ins, self._settings.oidc_hosts).now,
            keyring=stores.keyring,
            clock=clock,
            snapshot=lambda: self._live().snapshot,
            operate=stores.operate,
            treasury=treasury,
            papers=stores.papers,
            seal=seals.seal,
            unseal=seals.unseal,
            mark=seals.mark,
            logs=Logs(
                books=stores.books,
                papers=papers,
                tail=self._tail,
                state=self._live,
                monotonic_us=clock.monotonic_us,
            ),
            origin=settings.public_url,
            trusted_proxies=settings.trusted_proxies,
            sandbox=self._overlay.sandbox_url is not None,
            mail=build_mailer(self._settings.alerts, clock),
            offered=self._offered,
        )
        return Api(desk, lambda: api_routes.API_TABLE)

    def _offered(self) -> list[Model]:
        """The models that can be asked now, with those deployments alone that may serve them, at the prices of
        somebody whom no rule of their own concerns."""
        state, now_ms = self._live(), self._clock.now_ms()
        stranger = Payer(account="", key="")
        found: list[Model] = []
        for model in state.snapshot.models.values():
            serving = tuple(
                d for d in model.deployments if d.provider in state.active and d.price is not None
            )
            if serving and model.status is not Status.SHUTDOWN:
                offered = msgspec.structs.replace(model, deployments=serving)
                found.append(self._price_list.sell_model(offered, stranger, now_ms))
        return found

    async def _purge_directory(self, directory: Directory) -> None:
        """Remove sessions, links and the like that have expired; log what was begun and never told."""
        while True:
            with contextlib.suppress(LedgerUnavailable):  # the next round tries again
                now_ms = self._clock.now_ms()
                await directory.purge(now_ms)
                await recover_intents(directory, now_ms - UNTOLD_MS)
            await asyncio.sleep(DIRECTORY_PURGE_S)

    async def _purge_bodies(self, bodies: BodyStore) -> None:
        """Delete the bodies whose time is over."""
        while True:
            with contextlib.suppress(LedgerUnavailable):  # the next round tries again
                await bodies.purge(self._clock.now_ms())
            await asyncio.sleep(BODIES_PURGE_S)

    async def _setup_url(self, context: Context, url: str) -> str | None:
        """The link by which the first operator is made; None if there is one. Told on this machine alone."""
        assert context.sign_ins is not None, "a gateway has them"
        token = await context.sign_ins.setup_link()
        return None if token is None else f"{self._settings.server.public_url or url}/set-up#{token}"

    async def _run(self, server: HttpServer, gateway: Gateway, listeners: list[socket.socket]) -> None:
        """Serve until told to stop; then end what still runs."""
        await server.serve(sockets=listeners)
        if self._stopping:  # what no client waits for may end too, as long as the signals allow
            await gateway.responses.idle()
        await gateway.stop()

    async def _open_store(self, stack: contextlib.AsyncExitStack) -> Store:
        path = prepare_data_dir(self._settings.server.data_dir)
        shared = self._settings.store
        if shared is None and await answers(path.parent):  # before anything of it is touched
            raise StoreLocked(path, owner_of(path))
        password = None if shared is None or shared.password is None else shared.password.reveal()
        store = await open_store(
            path, clock=self._clock, url=None if shared is None else shared.url, password=password
        )
        stack.push_async_callback(store.close)
        return store

    def _open_upstream(self, stack: contextlib.AsyncExitStack) -> LeanUpstream:
        # An open stream keeps its connection, and a request may have two calls at a time: if there were fewer,
        # requests would wait for those of others to end.
        upstream = LeanUpstream(connections_per_origin_max=2 * self._settings.server.concurrency_max)
        stack.push_async_callback(upstream.close)
        return upstream

    async def _open_responses(self, stack: contextlib.AsyncExitStack) -> SqliteResponses:
        store = await SqliteResponses.open(self._settings.server.data_dir / RESPONSES_NAME)
        stack.push_async_callback(store.close)
        return store

    async def _open_bodies(self, stack: contextlib.AsyncExitStack, store: Store) -> OpenBodies:
        """What is kept of what was said, and the rules for that."""
        folder, shared = self._settings.server.data_dir, self._settings.store
        password = None if shared is None or shared.password is None else shared.password.reveal()
        seals = BodySeals(store, self._clock, lambda: Sealer(installation_secret(folder), BODIES))
        bodies = await open_bodies(
            folder, seals, url=None if shared is None else shared.url, password=password
        )
        stack.push_async_callback(bodies.close)
        self._policy = BodyPolicy(store, self._clock)
        await self._policy.load()
        return bodies

    def _body_desk(self, bodies: BodyStore, responses: ResponseStore) -> BodyDesk:
        assert self._policy is not None, "it is made with the store"
        return BodyDesk(store=bodies, policy=self._policy, responses=responses)

    def _body_keeper(self, bodies: BodyStore) -> BodyKeeper:
        assert self._policy is not None, "it is made before"
        return BodyKeeper(
            policy=self._policy,
            store=bodies,
            clock=self._clock,
            secrets=self._secrets,
            say=lambda line: print(line, file=sys.stderr, flush=True),
        )

    def _secrets(self) -> Iterator[str]:
        """The gateway's own credentials at providers."""
        state = self._live()
        yield from state.provider_keys.values()
        for pool in state.key_pools.values():
            yield from (key.secret for key in pool)

    def _background(self, engine: Engine, store: ResponseStore) -> Background:
        rules = self._settings.responses
        keeping = Keeping(
            store=rules.store,
            retention_ms=rules.retention_days * DAY_MS,
            bytes_max=rules.bytes_max,
            background_max=rules.background_max,
        )
        return Background(Responses(engine, store, keeping), self._others())

    def _others(self) -> OtherRuns | None:
        """Background responses of other processes of this gateway: there is no other."""
        return None

    async def _open_side_car(self, stack: contextlib.AsyncExitStack) -> SqliteSideCar | None:
        settings, folder = self._settings.side_car, self._settings.server.data_dir
        if not settings.enabled:
            return None
        side_car = await SqliteSideCar.of_folder(
            folder, bytes_max=settings.bytes_max, ttl_s=settings.ttl_s, clock=self._clock
        )
        stack.push_async_callback(side_car.close)
        return side_car

    async def _open_counters(self, stack: contextlib.AsyncExitStack) -> Counters:
        """In memory, or at the server that the settings name. Its library is not loaded when it is not."""
        settings = self._settings.counters
        if settings.url is None:
            return MemoryCounters()
        try:
            from llm_router.adapters.redis.counters import RedisCounters
        except ImportError:
            problem = (
                "counters.url: needs the extra [redis]: run  pip install '.[redis]'  in the checkout of LLM Router, "
                "or  pip install 'redis[hiredis]'  elsewhere"
            )
            raise ConfigError((f"{self._path}: {problem}",)) from None
        counters = await RedisCounters.open(
            settings.url.reveal(),
            new_id("node"),
            self._clock,
            timeout_s=settings.timeout_s,
            local_share=settings.local_share,
            say=lambda line: print(line, file=sys.stderr),
        )
        stack.push_async_callback(counters.close)
        return counters

    async def _start_overlay(self, stack: contextlib.AsyncExitStack) -> None:
        """Start the sandbox and the local model as asked. Neither is imported when it is not."""
        overlay = self._overlay
        if self._options.sandbox:
            from llm_router.sandbox.faults.load import load_faults
            from llm_router.sandbox.faults.names import told
            from llm_router.sandbox.server import start_sandbox

            named = self._options.faults
            plan = None if named is None else load_faults(named)
            if plan is not None and named is not None:
                self._check_faults(plan, named)
            faults = None if plan is None else plan.begin(self._deployments_of)
            self._faults = () if faults is None else tuple(map(told, faults.rules))
            sandbox = await start_sandbox(faults=faults)
            stack.push_async_callback(sandbox.close)
            self._sandbox_url, self._sandbox_doors = sandbox.base_url, sandbox.doors
            overlay = sandbox_overlay(sandbox.base_url, sandbox.doors)
        if self._options.local or self._options.local_gguf is not None:
            from llm_router.local import start_local

            local = await start_local(self._settings.server.shared_dir, gguf=self._options.local_gguf)
            stack.push_async_callback(local.close)
            overlay = msgspec.structs.replace(overlay, local=local.catalog_entries(), local_key=local.key)
        self._overlay = overlay

    def _check_faults(self, plan: FaultPlan, named: str) -> None:
        """Refuse rules of providers, models and deployments that this gateway does not have.

        Raises:
            ConfigError: each with the nearest that there is.
        """
        from llm_router.sandbox.faults.names import check_names

        snapshot = build_state(self._settings, load_builtin(), self._overlay, self._today()).snapshot
        check_names(plan.rules, named, snapshot)

    def _deployments_of(self, provider: str, upstream_model: str) -> Iterator[tuple[str, str]]:
        """Models and deployments that a provider knows by that name. Asked by the sandbox alone."""
        for model in self._live().snapshot.models.values():
            for deployment in model.deployments:
                if deployment.provider == provider and upstream_model in deployment.names:
                    yield model.id, deployment.id

    def _build_engine(
        self,
        stores: Stores,
        upstream: LeanUpstream,
        tokens: GoogleTokens,
    ) -> Engine:
        fetch = self._settings.fetch
        return Engine(
            state=self._live(),
            dialects=SPOKEN,
            books=stores.books,
            keyring=stores.keyring,
            rules=stores.rules,
            counters=stores.counters,
            sessions=stores.sessions,
            upstream=upstream,
            fetcher=GuardedFetcher(
                bytes_max=fetch.bytes_max, total_s=fetch.timeout_s, allow_hosts=fetch.allow_hosts
            ),
            clock=self._clock,
            telemetry=self._open_tail(),
            new_id=ExchangeIds(),
            dice=throw,
            tokens=tokens,
            side_car=stores.side_car,
            prices=stores.prices,
            own_keys=self._own_keys,
            presets=StoredPresets(stores.books, self._clock),
            experiments=Experiments(
                stores.books,
                self._clock,
                new_id("node"),
                configured=lambda: self._live().routing.experiments,
                say=lambda line: print(line, file=sys.stderr, flush=True),
            ),
            bodies=self._body_keeper(stores.bodies),
        )

    def _open_tail(self) -> Tail:
        telemetry: Telemetry = AccessLog() if self._settings.server.access_log else NoTelemetry()
        self._tail = self._make_tail(telemetry)
        return self._tail

    def _make_tail(self, telemetry: Telemetry) -> Tail:
        """What tells of exchanges that end. There is no other process to tell."""
        return Tail(telemetry)

    def _listen(self) -> list[socket.socket]:
        """The sockets that this process was given, else one of its own.

        Raises:
            OSError: the address is in use, or not one of this machine.
        """
        settings = self._settings.server
        return inherited(os.environ) or [bind(settings.host, settings.port, unread_s=settings.unread_s)]

    def _begin_anew(self, stop: Callable[[], None]) -> None:
        """Stop, and let the program that begins in this one's place have the listening sockets: who connects
        meanwhile waits there. A configuration with problems would end it, and is refused."""
        if self._stopping:
            return
        try:
            self._load()
        except ConfigError as error:
            print(refused_restart(error.problems), file=sys.stderr, flush=True)
            return
        self._heirs = [listener.dup() for listener in self._listeners]
        print("the gateway begins anew: requests that run may end, others wait", file=sys.stderr, flush=True)
        stop()

    def _disinherit(self) -> None:
        """It is to end after all."""
        for heir in self._heirs:
            heir.close()
        self._heirs = []

    def succeed(self) -> None:
        """Give way to the program that begins anew, if there is to be one; else return."""
        if self._heirs:
            succeed(self._heirs, os.environ)

    def _build_treasury(self, store: TreasuryBooks, upstream: LeanUpstream) -> Treasury:
        alerts, folder = self._settings.alerts, self._settings.server.data_dir
        channels = notice_channels(alerts, self._clock)
        return Treasury(
            books=store,
            clock=self._clock,
            new_code=new_code,
            new_id=new_id,
            payments=self._build_payments(store, upstream),
            own_keys=self._own_keys,
            channels=channels,
            low_pusd=self._settings.alerts.low_pusd,
            targets=AlertTargets(
                books=store,
                clock=self._clock,
                seals=lambda: Sealer(installation_secret(folder), ALERT_TARGETS),
                configured=tuple(channel.name for channel in channels),
                channel=lambda target: target_channel(target, alerts, self._clock),
            ),
            told={"webhook": Told(url=alerts.webhook_url), "mail": Told(to=alerts.mail_to)},
        )

    def _build_papers(self, store: PaperBooks) -> Papers:
        settings = self._settings
        signer = receipt_keys(settings.papers.receipt_keys, settings.server.data_dir)
        return Papers(books=store, signer=signer, clock=self._clock, issuer=settings.papers.issuer)

    def _build_own_keys(self, store: TreasuryBooks) -> OwnKeyVault | None:
        if self._settings.own_keys is None:
            return None
        secret = installation_secret(self._settings.server.data_dir)
        return OwnKeyVault(books=store, clock=self._clock, seals=lambda: Sealer(secret, OWN_KEYS))

    async def _open_gateway_keys(self, store: TreasuryBooks) -> None:
        """Put the keys of providers that the store holds over those of file and environment."""
        folder = self._settings.server.data_dir
        self._gateway_keys = GatewayKeys(
            store, self._clock, lambda: Sealer(installation_secret(folder), GATEWAY_KEYS)
        )
        await self._gateway_keys.load()
        self._settings = self._keyed(self._plain)

    def _keyed(self, settings: Settings) -> Settings:
        return with_stored_keys(settings, {} if self._gateway_keys is None else self._gateway_keys.known)

    async def _rekey(self) -> None:
        """Call providers with the keys that the store holds now, from the next request on."""
        self._settings = self._keyed(self._plain)
        self._adopt(self._state())

    def _build_payments(self, store: TreasuryBooks, upstream: LeanUpstream) -> Payments | None:
        stripe = self._settings.stripe
        if stripe is None:
            return None
        rules = PaymentRules(
            webhook_secrets=tuple(secret.reveal() for secret in stripe.webhook_secrets),
            livemode=stripe.livemode,
            success_url=stripe.success_url,
            cancel_url=stripe.cancel_url,
            cents_min=stripe.cents_min,
            cents_max=stripe.cents_max,
            tolerance_s=stripe.tolerance_s,
            by_keys=stripe.by_keys,
        )
        api = StripeApi(upstream=upstream, key=stripe.key.reveal(), base_url=stripe.base_url)
        return Payments(books=store, api=api, clock=self._clock, new_id=new_id, rules=rules)

    async def _open_directory(self, stack: contextlib.AsyncExitStack) -> OpenDirectory:
        """The directory that goes with the store, which is open."""
        shared = self._settings.store
        password = None if shared is None or shared.password is None else shared.password.reveal()
        directory = await open_directory(
            self._settings.server.data_dir, url=None if shared is None else shared.url, password=password
        )
        stack.push_async_callback(directory.close)
        if shared is None:  # nobody else is at anything: what is not told was cut off
            await recover_intents(directory, self._clock.now_ms())
        return directory

    def _operations(
        self,
        store: Store,
        side_car: SqliteSideCar | None,
        treasury: Treasury,
        directory: Directory,
        bodies: BodyDesk,
    ) -> Context:
        return Context(
            keyring=store,
            books=store,
            clock=self._clock,
            snapshot=lambda: self._live().snapshot,
            active=lambda: self._live().active,
            new_key_text=new_key_text,
            new_id=new_id,
            starting_pusd=self._settings.credits.starting_pusd,
            reload=self._reload,
            health=self._health,
            under_way=self._under_way,
            end_one=self._end_one,
            side_car=side_car,
            treasury=treasury,
            papers=self._build_papers(store),
            price_rules=store,
            reprice=self._reprice,
            configured=lambda: self._live().routing,
            directory=directory,
            sign_ins=build_sign_ins(
                build_people(directory, self._clock, store, store), self._settings.server.data_dir
            ),
            gateway_keys=self._gateway_keys,
            rekey=self._rekey,
            bodies=bodies,
            sso=self._build_sso(store),
            rehearse=self._rehearse,
        )

    async def _rehearse(self, text: str, whole: bool) -> Rehearsal:
        """What exchanges would work with under a changed configuration. Keys are not looked at: who can be called now
        can be then, and so can whom the change gives a key.

        Raises:
            InvalidRequest: with every problem of it.
        """
        before = self._live()
        try:
            after, settings = await asyncio.to_thread(self._changed_state, text, whole, before.active)
        except ConfigError as error:
            raise InvalidRequest(
                error.message, param="config" if whole else "change", code=error.code
            ) from None
        except ValueError as error:
            raise InvalidRequest(
                str(error), param="config" if whole else "change", code=ConfigError.code
            ) from None
        warnings = (*settings.warnings, *doubtful(settings.routing, after.snapshot))
        return Rehearsal(before=before, after=after, warnings=warnings)

    def _changed_state(self, text: str, whole: bool, active: frozenset[str]) -> tuple[State, Settings]:
        document = parse_text(text, "the configuration") if whole else laid_over(self._path, text)
        homes = {name: self._environ[name] for name in HOMES if name in self._environ}
        settings = load(
            self._path, homes, self._catalogue(), options=self._options, secrets=False, document=document
        )
        state = build_state(settings, load_builtin(), self._overlay, self._today())
        if self._overlay.sandbox_url is not None:
            return state, settings
        called = {
            provider.id
            for provider in settings.providers
            if provider.id in settings.active or (provider.key_required and provider.id in active)
        }
        tables = document.get("providers", {})
        called |= {id_ for id_, table in tables.items() if "key" in table or "keys" in table}
        local = {provider for provider in state.active if provider not in settings.active}
        return msgspec.structs.replace(state, active=frozenset(called - settings.disabled | local)), settings

    def _build_sso(self, books: TreasuryBooks) -> SsoKeeper:
        settings = self._settings
        return build_sso(settings.oidc, settings.oidc_hosts, books, self._clock, settings.server.data_dir)

    def _reprice(self, price_list: PriceList) -> None:
        """Requests that are admitted from now on pay by it."""
        self._price_list = price_list
        if self._engine is not None:
            self._engine.price_list = price_list

    async def _health(self) -> list[list[dict[str, object]]]:
        """How the deployments stand, by each process that serves requests."""
        return [] if self._engine is None else [self._engine.health()]

    async def _under_way(self) -> list[list[dict[str, object]]]:
        """The exchanges that run, by each process that serves requests."""
        return [] if self._engine is None else [self._engine.under_way()]

    async def _end_one(self, id_: str) -> bool:
        return self._engine is not None and self._engine.end_one(id_)

    def _live(self) -> State:
        """What exchanges work with now."""
        assert self._now is not None, "it is made before anybody can ask"
        return self._now

    def _adopt(self, state: State) -> None:
        """Have the exchanges that begin from now on work with it."""
        self._now = state
        if self._engine is not None:
            self._engine.state = state

    def _catalogue(self) -> Snapshot:
        """The catalogue alone. It is needed to read a configuration, and too large to be kept for that."""
        return compile_snapshot(load_builtin(), today=self._today())

    def _load(self) -> Settings:
        return load(self._path, self._environ, self._catalogue(), options=self._options)

    def _state(self) -> State:
        return build_state(self._settings, load_builtin(), self._overlay, self._today())

    def _today(self) -> str:
        return datetime.fromtimestamp(self._clock.now_ms() / 1000, UTC).date().isoformat()

    async def _reload(self) -> dict[str, object]:
        """Read the configuration again, and say on standard error what came of it.

        Raises:
            InvalidRequest: with every problem of the file.
        """
        try:
            result = self._read_again()
        except InvalidRequest as error:
            print(error.message, file=sys.stderr)
            raise
        print("\n".join(reload_lines(result)), file=sys.stderr)
        return result

    def _read_again(self) -> dict[str, object]:
        """Take the configuration over; an invalid one is refused whole and changes nothing.

        Raises:
            InvalidRequest: with every problem of the file.
        """
        try:
            settings = self._load()
            plain, settings = settings, self._keyed(settings)
            state = build_state(settings, load_builtin(), self._overlay, self._today())
        except ConfigError as error:
            raise refused_reload(error.problems) from None
        except ValueError as error:
            raise refused_reload((f"{self._path}: {error}",)) from None
        self._plain, self._settings = plain, settings
        self._adopt(state)
        return {
            "reloaded": True,
            "config": str(self._path) if self._path is not None else None,
            "models": len(state.snapshot.models),
            "providers_active": sorted(state.active),
            "warnings": [
                *settings.warnings,
                *doubtful(settings.routing, state.snapshot),
                *(
                    f"{key} changed; it takes effect at the next start"
                    for key in needs_restart(self._started_with, settings)
                ),
            ],
        }

    async def _follow_nodes(self, store: Store) -> None:
        """Take over what other gateways on the same database change of prices and of keys at providers."""
        if isinstance(store, SqliteStore):
            return
        known: tuple[int, int] | None = None
        keys: int | None = None
        rules: int | None = None
        while True:
            with contextlib.suppress(LedgerUnavailable):  # the next look tells
                now = (await store.changes(GATEWAY_KEYS_KIND))[0]
                if self._gateway_keys is not None and keys != now:
                    await self._gateway_keys.load()
                    await self._rekey()
                keys = now
                now = (await store.changes(BODY_RULES_KIND))[0]
                if rules != now:
                    await self._body_rules_changed()
                rules = now
                changes = await store.changes(OWN_KEYS_KIND)
                if known is None or changes[0] != known[0]:
                    await self._own_keys_changed()
                if known is None or changes[1] != known[1]:
                    self._reprice(PriceList(await store.price_rules()))
                known = changes
            await asyncio.sleep(NODES_CHECK_S)

    async def _body_rules_changed(self) -> None:
        if self._policy is not None:
            await self._policy.load()

    async def _own_keys_changed(self) -> None:
        if self._own_keys is not None:
            await self._own_keys.load()

    async def _follow_days(self) -> None:
        """Compile the catalogue anew when a new day (UTC) brings other prices or statuses."""
        while True:
            await asyncio.sleep(DAY_CHECK_S)
            state, today = self._live(), self._today()
            change = state.snapshot.next_change
            if change is not None and state.snapshot.today < change <= today:
                self._adopt(self._state())

    def _handle_signals(self, server: HttpServer, gateway: Gateway, drain_s: float) -> None:
        """Stop at the first SIGTERM or SIGINT: open requests may end for ``drain_s``, then they are ended.
        A second signal ends them at once."""
        loop = asyncio.get_running_loop()

        def end() -> None:
            task = loop.create_task(gateway.stop())
            self._stack.callback(task.cancel)

        def stop() -> None:
            if self._stopping:
                self._disinherit()
                server.force_exit = True
                end()
                return
            self._stopping = server.should_exit = True
            if self._tail is not None:
                self._tail.close()
            server.handed_over = bool(self._heirs)
            self._stack.callback(loop.call_later(drain_s, end).cancel)

        self._stop = stop
        loop.add_signal_handler(signal.SIGTERM, stop)
        loop.add_signal_handler(signal.SIGINT, stop)

    def _heed_operator(self) -> None:
        """Reload at SIGHUP, begin anew at SIGUSR2. Not before all has begun and was announced."""
        loop = asyncio.get_running_loop()

        def hang_up() -> None:
            if self._stopping:
                return
            task = loop.create_task(self._reload_and_say())
            self._stack.callback(task.cancel)

        heed(loop, {signal.SIGHUP: hang_up, signal.SIGUSR2: lambda: self._begin_anew(self._stop)})

    async def _reload_and_say(self) -> None:
        with contextlib.suppress(InvalidRequest):  # said already
            await self._reload()

    async def _announcement(
        self, listener: socket.socket, store: Store, first: FirstKey | None, context: Context
    ) -> Announcement:
        settings, state = self._settings, self._live()
        now_ms = self._clock.now_ms()
        some = await store.some(KEYS_COUNTED + 1)
        keys = [
            key
            for key in some
            if key.revoked_ms is None and (key.expires_ms is None or key.expires_ms > now_ms)
        ]
        answering = [
            model
            for model in state.snapshot.models.values()
            if any(d.provider in state.active and d.price is not None for d in model.deployments)
        ]
        local = self._overlay.local
        return Announcement(
            version=__version__,
            url=address_of(listener),
            data_dir=settings.server.data_dir,
            data_dir_named=self._options.data_dir is not None,
            config=settings.path,
            config_named=self._options.config is not None,
            setup_url=await self._setup_url(context, address_of(listener)),
            first_key=first.text if first is not None else None,
            starting_pusd=settings.credits.starting_pusd if first is not None else 0,
            keys=len(keys),
            more_keys=len(some) > KEYS_COUNTED,
            active=tuple(sorted(p for p in state.active if not self._is_overlay(p))),
            switches=_switches(settings),
            models=len(answering),
            example_model=_example(answering, None if local is None else local[1].id),
            sandbox=self._options.sandbox,
            local=None if local is None else LocalNote(model=local[1].id, note=local[1].name),
            warnings=(*settings.warnings, *doubtful(settings.routing, state.snapshot)),
            faults=self._faults,
        )

    def _is_overlay(self, provider: str) -> bool:
        if self._options.sandbox:
            return True
        return self._overlay.local is not None and provider == self._overlay.local[0].id


def notice_channels(alerts: AlertSettings, clock: Clock) -> list[NoticeChannel]:
    """The ways in which notices leave, as configured."""
    channels: list[NoticeChannel] = []
    if alerts.webhook_url is not None and alerts.webhook_secret is not None:
        post = GuardedPost(allow_hosts=alerts.allow_hosts)
        secret = alerts.webhook_secret.reveal()
        channels.append(WebhookChannel(post=post, url=alerts.webhook_url, secret=secret, clock=clock))
    if alerts.mail_to and (mail := _mail_settings(alerts, alerts.mail_to)) is not None:
        channels.append(MailChannel(mail))
    return channels


def target_channel(target: Target, alerts: AlertSettings, clock: Clock) -> NoticeChannel:
    """How notices leave by a way that the operator made.

    Raises:
        InvalidRequest: nothing can be sent so; the message says why.
    """
    if target.kind == "mail":
        mail = _mail_settings(alerts, target.to)
        if mail is None:
            raise InvalidRequest(
                "mail needs a server: name smtp_host and mail_from under [alerts] of the configuration",
                param="kind",
                code="no_mail_server",
            )
        return MailChannel(mail, name=target.name)
    assert target.url is not None, "checked before it is kept"
    assert target.secret is not None, "checked before it is kept"
    try:
        origin = parse_url(target.url).origin
    except ValueError as error:
        raise InvalidRequest(f"url cannot be used: {error}", param="url") from None
    allowed = {origin.label, origin.host} & set(alerts.allow_hosts)
    if not origin.secure and not allowed:
        raise InvalidRequest(
            "url must be https://, unless [alerts] allow_hosts of the configuration names its host",
            param="url",
        )
    post = GuardedPost(allow_hosts=alerts.allow_hosts)
    return WebhookChannel(post=post, url=target.url, secret=target.secret, clock=clock, name=target.name)


def _mail_settings(alerts: AlertSettings, to: tuple[str, ...]) -> MailSettings | None:
    """Mail to these by the configured server; None where there is none."""
    if alerts.smtp_host is None or alerts.mail_from is None:
        return None
    password = alerts.smtp_password
    return MailSettings(
        host=alerts.smtp_host,
        port=alerts.smtp_port,
        security=alerts.smtp_security,
        sender=alerts.mail_from,
        to=to,
        user=alerts.smtp_user,
        password=None if password is None else password.reveal(),
    )


EXAMPLES = ("gpt-6-luna", "claude-haiku-4-5", "gemini-3.5-flash-lite")
"""Well-known, cheap models for the first curl line, if one of them answers."""

SWITCHES = ("openai", "anthropic", "google", "xai", "mistral", "groq", "openrouter")
"""Providers whose variables are named when they are not active."""


def _example(answering: list[Model], local: str | None) -> str | None:
    """A model for the curl line: the real one of this machine, else a well-known one, else any."""
    if local is not None:
        return local
    ids = [model.id for model in answering if "chat" in model.operations]
    return next((id_ for id_ in EXAMPLES if id_ in ids), ids[0] if ids else None)


def _switches(settings: Settings) -> tuple[str, ...]:
    inactive = {p.id: p for p in settings.providers if p.id in settings.inactive}
    return tuple(inactive[id_].env[0] for id_ in SWITCHES if id_ in inactive and inactive[id_].env)


def bounds_of(settings: ServerSettings) -> Bounds:
    """What a connection may take, in one process."""
    return Bounds(**{name: getattr(settings, name) for name in Bounds.__struct_fields__})


def bind(host: str, port: int, *, unread_s: float, shared: bool = False) -> socket.socket:
    """A listening socket. ``shared``: others may listen there too, and get their share. ``unread_s``: how long
    the kernel waits for somebody who does not acknowledge what was sent.

    Raises:
        OSError: the address is in use, or not one of this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux; accepted sockets inherit it
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(unread_s * 1000))
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    listener.setblocking(False)
    return listener


def address_of(listener: socket.socket) -> str:
    """The URL under which the socket is reached from this machine."""
    host, port = listener.getsockname()[:2]
    if host in ("0.0.0.0", "::"):  # noqa: S104 - compared, not bound
        host = "127.0.0.1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def run(options: ServeOptions, announce: Callable[[Announcement], None]) -> int:
    """Serve until told to stop; the exit status.

    Raises:
        RouterError, ConfigError: it cannot start.
    """
    server = Server(options, os.environ)
    status = asyncio.Runner(loop_factory=uvloop.new_event_loop).run(server.serve(announce))
    server.succeed()
    return status
