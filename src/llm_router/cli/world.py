"""Where a command runs: in the gateway that uses the data folder, or here when none does."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import sqlite3
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from llm_router.adapters.clock import SystemClock
from llm_router.adapters.control import call_control
from llm_router.adapters.data_dir import RESPONSES_NAME, STORE_NAME, prepare_data_dir
from llm_router.adapters.installation import installation_secret
from llm_router.adapters.keymaker import new_code, new_id, new_key_text
from llm_router.adapters.receipt_keys import receipt_keys
from llm_router.adapters.sealing import BODIES, GATEWAY_KEYS, OWN_KEYS, Sealer
from llm_router.catalog.listing import models_page
from llm_router.catalog.schema import CatalogData
from llm_router.catalog.snapshot import Snapshot, compile_snapshot, load_builtin
from llm_router.domain.errors import NotFound, ServerError
from llm_router.engine.auditing import recover_intents
from llm_router.engine.bodying import BodyDesk
from llm_router.engine.gateway_keys import GatewayKeys
from llm_router.engine.moments import iso_time
from llm_router.engine.operations import dispatch
from llm_router.engine.operator import Context
from llm_router.engine.own_keys import OwnKeyVault
from llm_router.engine.papers import Papers
from llm_router.engine.treasury import Treasury
from llm_router.ports import Clock
from llm_router.settings import (
    SANDBOX_FOLDER,
    ConfigError,
    Place,
    ServeOptions,
    Settings,
    find_config,
    load,
    load_place,
)

if TYPE_CHECKING:
    from llm_router.adapters.stores import Store

_WITHOUT_SECRETS = frozenset(
    {
        "keys",
        "credits",
        "forget",
        "ledger",
        "accounts",
        "members",
        "teams",
        "invitations",
        "audit",
        "people",
        "bodies",
    }
)
"""Commands that look after what no provider's key has a part in."""

Result = dict[str, object]
Ask = Callable[[str, Mapping[str, object]], Awaitable[Result]]

_MAKES_STORE = frozenset({"keys.create", "credits.add", "providers.set_key"})
"""Commands that make sense before the first start."""


def run_command(arguments: argparse.Namespace, command: str, values: Mapping[str, object]) -> Result:
    """Run an operator's command where the data is.

    Raises:
        RouterError: it was refused, or the data cannot be used.
        ConfigError: the configuration cannot be used.
    """
    return asyncio.run(_run(arguments, command, values))


async def ask_command(arguments: argparse.Namespace, command: str, values: Mapping[str, object]) -> Result:
    """As :func:`run_command`, of who waits for more than one answer."""
    return await _run(arguments, command, values)


def run_pages(
    arguments: argparse.Namespace,
    command: str,
    values: Mapping[str, object],
    each: Callable[[Result], object],
) -> None:
    """Run a command by pages: ``each`` takes one and says the ``after`` of the next, None at the end."""

    async def run(ask: Ask) -> None:
        after = each(await ask(command, values))
        while after is not None:
            after = each(await ask(command, {**values, "after": after}))

    asyncio.run(_with_gateway(arguments, command, run))


async def _with_gateway(
    arguments: argparse.Namespace, command: str, work: Callable[[Ask], Awaitable[None]]
) -> None:
    """Ask several times, of the running gateway, or here of a store that is opened once."""
    place = find_place(arguments)

    answered = False

    async def there(command: str, values: Mapping[str, object]) -> Result:
        nonlocal answered
        answer = await call_control(place.server.data_dir, command, values)
        if answer is None and answered:
            raise ServerError("the gateway stopped meanwhile; run the command again", code="not_running")
        if answer is None:
            raise _Nobody
        answered = True
        return answer

    try:
        await work(there)
    except _Nobody:
        async with _opened(arguments, place, command) as context:
            await work(lambda command, values: dispatch(command, values, context))


class _Nobody(Exception):
    """No gateway runs on the data folder."""


_OF_A_RUNNING_ONE = {
    "config.reload": "it reads its configuration when it starts",
    "deployments": "only a running one knows how its deployments fare",
    **dict.fromkeys(
        ("alerts.list", "alerts.show", "alerts.add", "alerts.change", "alerts.remove", "alerts.try"),
        "only a running one sends alerts",
    ),
    "routes.rehearse": "routes test plans the requests of a file without one",
    **dict.fromkeys(("sso.show", "sso.set", "sso.test", "sso.remove"), "people sign in at a running one"),
    "requests.list": "only a running one has requests",
    "requests.end": "only a running one has requests",
}
"""Commands that only a running gateway answers, and why."""


async def _run(arguments: argparse.Namespace, command: str, values: Mapping[str, object]) -> Result:
    place = find_place(arguments)
    answer = await call_control(place.server.data_dir, command, values)
    if answer is not None:
        return answer
    if command in _OF_A_RUNNING_ONE:
        raise ServerError(
            f"no gateway runs on the data folder {place.server.data_dir}; {_OF_A_RUNNING_ONE[command]}",
            code="not_running",
        )
    return await _run_here(arguments, place, command, values)


async def _run_here(
    arguments: argparse.Namespace, place: Place, command: str, values: Mapping[str, object]
) -> Result:
    if command == "models":  # needs no store
        offer = Offer(arguments, SystemClock().now_ms())
        active = offer.active()  # reads credentials too, so that it knows of every problem
        return models_page(offer.snapshot(), active, offer.settings(secrets=False).routing.successors)
    async with _opened(arguments, place, command) as context:
        if command != "forget":
            return await dispatch(command, values, context)
        from llm_router.adapters.sqlite.side_car import SqliteSideCar

        data_dir = place.server.data_dir
        side_car = await SqliteSideCar.of_folder(
            data_dir, bytes_max=sys.maxsize, ttl_s=1, clock=context.clock
        )
        try:
            return await dispatch(command, values, msgspec.structs.replace(context, side_car=side_car))
        finally:
            await side_car.close()


@contextlib.asynccontextmanager
async def _opened(arguments: argparse.Namespace, place: Place, command: str) -> AsyncIterator[Context]:
    """What commands work on, where no gateway runs.

    Raises:
        NotFound: there is no data yet.
        ServerError: it cannot be used.
    """
    from llm_router.adapters.store_errors import StoreError
    from llm_router.adapters.stores import open_directory, open_store
    from llm_router.entrance import build_people, build_sign_ins

    clock = SystemClock()
    offer = Offer(arguments, clock.now_ms())
    data_dir, shared = place.server.data_dir, place.store
    if shared is None and command not in _MAKES_STORE and not (data_dir / STORE_NAME).exists():
        apart = data_dir / SANDBOX_FOLDER / STORE_NAME
        elsewhere = "; where it runs with --data-dir or --sandbox, give the same here"
        hint = "; add --sandbox for the keys and credits of the sandbox" if apart.exists() else elsewhere
        raise NotFound(
            f"there is no gateway data in {data_dir} yet; llm-router serve makes it{hint}",
            code="no_data",
        )
    path = prepare_data_dir(data_dir)
    try:
        password = None if shared is None or shared.password is None else shared.password.reveal()
        store = await open_store(
            path, clock=clock, url=None if shared is None else shared.url, password=password
        )
    except StoreError as error:
        raise ServerError(str(error), code="store_unusable") from None
    except (OSError, sqlite3.Error) as error:
        raise ServerError(f"the store {path} cannot be opened: {error}", code="store_unusable") from None
    try:
        directory = await open_directory(
            data_dir, url=None if shared is None else shared.url, password=password
        )
    except StoreError as error:
        await store.close()
        raise ServerError(str(error), code="store_unusable") from None
    keys = GatewayKeys(store, clock, lambda: Sealer(installation_secret(data_dir), GATEWAY_KEYS))
    stack = contextlib.AsyncExitStack()
    try:
        await keys.load()
        if shared is None:  # nobody else is at anything: what is not told was cut off
            await recover_intents(directory, clock.now_ms())
        yield Context(
            bodies=await _bodies(stack, place, store, clock) if command.startswith("bodies.") else None,
            keyring=store,
            books=store,
            clock=clock,
            snapshot=offer.snapshot,
            active=lambda: frozenset(offer.active()) | (set(keys.known) - offer.settings().disabled),
            gateway_keys=keys,
            configured=lambda: offer.settings(secrets=False).routing,
            new_key_text=new_key_text,
            new_id=new_id,
            starting_pusd=place.credits.starting_pusd,
            price_rules=store,
            directory=directory,
            sign_ins=build_sign_ins(build_people(directory, clock, store, store), data_dir),
            papers=Papers(
                books=store,
                signer=receipt_keys(place.papers.receipt_keys, data_dir),
                clock=clock,
                issuer=place.papers.issuer,
            ),
            treasury=Treasury(
                books=store,
                clock=clock,
                new_code=new_code,
                new_id=new_id,
                own_keys=OwnKeyVault(
                    books=store,
                    clock=clock,
                    seals=lambda: Sealer(installation_secret(data_dir), OWN_KEYS),
                ),
            ),
        )
    finally:
        await stack.aclose()
        await directory.close()
        await store.close()


async def _bodies(stack: contextlib.AsyncExitStack, place: Place, store: Store, clock: Clock) -> BodyDesk:
    """What is kept of what was said, for the commands on it."""
    from llm_router.adapters.body_seals import BodySeals
    from llm_router.adapters.sqlite.responses import SqliteResponses
    from llm_router.adapters.stores import open_bodies
    from llm_router.engine.bodies import BodyPolicy

    folder, shared = place.server.data_dir, place.store
    password = None if shared is None or shared.password is None else shared.password.reveal()
    seals = BodySeals(store, clock, lambda: Sealer(installation_secret(folder), BODIES))
    bodies = await open_bodies(folder, seals, url=None if shared is None else shared.url, password=password)
    stack.push_async_callback(bodies.close)
    responses = await SqliteResponses.open(folder / RESPONSES_NAME)
    stack.push_async_callback(responses.close)
    return BodyDesk(store=bodies, policy=BodyPolicy(store, clock), responses=responses)


class Offer:
    """The catalogue with the configuration over it, read when it is first asked for."""

    def __init__(self, arguments: argparse.Namespace, now_ms: int) -> None:
        self._arguments = arguments
        self._today = iso_time(now_ms)[:10]
        self._data: CatalogData | None = None

    def settings(self, *, secrets: bool = True) -> Settings:
        """
        Raises:
            ConfigError: the configuration has problems.
        """
        builtin = compile_snapshot(self._builtin(), today=self._today)
        path = find_config(self._arguments.config, os.environ)
        return load(path, os.environ, builtin, options=options_of(self._arguments), secrets=secrets)

    def compile(self, settings: Settings) -> Snapshot:
        """
        Raises:
            ConfigError: the file's models do not fit together with the catalogue.
        """
        try:
            return compile_snapshot(
                self._builtin(), providers=settings.providers, models=settings.models, today=self._today
            )
        except ValueError as error:
            raise ConfigError((f"{settings.path}: {error}",)) from None

    def snapshot(self) -> Snapshot:
        # Credentials have no part in this, and may be known to the gateway's own environment only.
        return self.compile(self.settings(secrets=False))

    def active(self) -> Collection[str]:
        settings = self.settings()
        if options_of(self._arguments).sandbox:
            return frozenset(p.id for p in settings.providers) - settings.disabled
        return settings.active

    def _builtin(self) -> CatalogData:
        if self._data is None:
            self._data = load_builtin()
        return self._data


def find_place(arguments: argparse.Namespace) -> Place:
    """The data folder that the command line, environment and file name.

    Raises:
        ConfigError: they name none, or a file that cannot be used; with every problem of the file.
    """
    path = find_config(arguments.config, os.environ)
    try:
        return load_place(path, os.environ, options=options_of(arguments))
    except ConfigError:
        # Keys and credits may be looked after where the variables of the providers' keys are not set.
        Offer(arguments, SystemClock().now_ms()).settings(secrets=arguments.command not in _WITHOUT_SECRETS)
        raise


def options_of(arguments: argparse.Namespace) -> ServeOptions:
    """The command line's say in the settings."""
    gguf: Path | None = getattr(arguments, "local_gguf", None)
    return ServeOptions(
        host=getattr(arguments, "host", None),
        port=getattr(arguments, "port", None),
        workers=getattr(arguments, "workers", None),
        data_dir=arguments.data_dir,
        config=arguments.config,
        sandbox=getattr(arguments, "sandbox", False),
        faults=getattr(arguments, "faults", None),
        local=getattr(arguments, "local", False) or gguf is not None,
        local_gguf=gguf,
    )
