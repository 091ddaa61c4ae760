"""Several worker processes behind one port, and the process that owns what they share.

Parent   the stores (ledger, keys, limits, kept responses, side-car), the control socket, the sandbox
Worker   accepts requests; everything that must be one for all is asked of the parent over a link

A link is a pair of connected Unix sockets that only these two processes hold: it has no name that
anybody else could open, and either side sees at once that the other has gone. Each worker has a
listening socket of its own on the one port (SO_REUSEPORT), so that the kernel spreads connections
evenly. The parent keeps all of them open: connections that wait at a worker that crashed are
accepted by the one started in its place.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import pickle
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any

import msgspec
import uvloop

from llm_router.adapters.control import serve_control
from llm_router.adapters.heap import end_start
from llm_router.adapters.listeners import inherited
from llm_router.adapters.shared.hub import EXTRA, Hub, Session, Shared
from llm_router.adapters.shared.link import Link
from llm_router.adapters.shared.remote import (
    RemoteBodies,
    RemoteBooks,
    RemoteCounters,
    RemoteDirectory,
    RemoteKeyring,
    RemotePapers,
    RemotePrices,
    RemoteResponses,
    RemoteRules,
    RemoteRuns,
    RemoteSessions,
    RemoteSideCar,
    RemoteTails,
)
from llm_router.adapters.sqlite.responses import SqliteResponses
from llm_router.app import Overlay, Server, Stores, bind, build_state, sandbox_overlay
from llm_router.billing.pricing import PriceList
from llm_router.catalog.snapshot import load_builtin
from llm_router.domain import late
from llm_router.domain.account import COMMAND_LINE, Actor
from llm_router.domain.errors import LedgerUnavailable, ServerError
from llm_router.domain.model import Model, Provider
from llm_router.domain.price_rule import PriceRule
from llm_router.domain.record import ExchangeRecord
from llm_router.edge.gateway import STOP_S, Gateway
from llm_router.edge.serving import HttpServer
from llm_router.engine.background import PURGE_S, Background, broken_off
from llm_router.engine.bodies import BodyPolicy
from llm_router.engine.folding import keep_folded
from llm_router.engine.keys import first_run
from llm_router.engine.operator import Context
from llm_router.engine.price_history import keep_prices_noted
from llm_router.engine.tailing import Tail
from llm_router.ports import OtherRuns, Telemetry
from llm_router.settings import ServeOptions, Settings
from llm_router.settings.announcement import Announcement
from llm_router.settings.secrets import Secret

if TYPE_CHECKING:
    from llm_router.engine import operations
else:  # when an operator first asks for something
    operations = late.module("llm_router.engine.operations")

PAUSE_S = 0.1
"""Before a worker that ended is started again; doubled with each failure in a row."""

PAUSE_MAX_S = 10.0
STEADY_S = 60.0
"""A worker that lived so long was no failure of its start."""

FAILURES_MAX = 10
"""Failures in a row after which the gateway gives up."""

TROUBLE_CHECK_S = 0.25
"""How often the workers are told whether the ledger can be written."""

FORGET_S = 5.0
"""How long a worker may take to forget what it knows of keys and limits; one that takes longer is ended."""

FRESH_S = 1.0
"""How long a worker believes what it knows of keys and limits where other gateways may change them."""

SETTINGS_S = 10.0
"""How long a worker may take to work with other settings; one that takes longer is ended."""

HEALTH_S = 5.0
"""How long a worker may take to say how its deployments fare."""

_encoder = msgspec.msgpack.Encoder()
_records = msgspec.msgpack.Decoder(ExchangeRecord)


class Welcome(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker begins with."""

    options: ServeOptions
    settings: Settings
    price_rules: tuple[PriceRule, ...]
    sandbox_url: str | None
    sandbox_doors: Mapping[str, str]
    local: tuple[Provider, Model] | None
    local_key: str | None
    trouble: str | None
    degraded: str | None


class _Packer(pickle.Pickler):
    """Packs for the other end of a link, and only for that: credentials go with the settings."""

    def reducer_override(self, value: object) -> Any:
        return (Secret, (value.reveal(),)) if isinstance(value, Secret) else NotImplemented


def _pack(value: object) -> bytes:
    packed = io.BytesIO()
    _Packer(packed).dump(value)
    return packed.getvalue()


def _unpack(data: bytes) -> Any:
    return pickle.loads(data)  # noqa: S301 - of our own parent, by a socket that only it has


def _share(settings: Settings, workers: int) -> Settings:
    """The settings for one of so many workers."""
    server, responses = settings.server, settings.responses
    return msgspec.structs.replace(
        settings,
        server=msgspec.structs.replace(
            server,
            concurrency_max=-(-server.concurrency_max // workers),
            connections_max=-(-server.connections_max // workers),
            connections_per_address_max=-(-server.connections_per_address_max // workers),
        ),
        responses=msgspec.structs.replace(responses, background_max=-(-responses.background_max // workers)),
    )


class Parent(Server):
    """Owns the stores and the workers; accepts no request itself."""

    async def serve(self, announce: Callable[[Announcement], None]) -> int:
        """Run until SIGTERM or SIGINT; the exit status.

        Raises:
            RouterError: it cannot start, or its workers end again and again.
        """
        settings = self._settings.server
        async with self._stack as stack:
            listeners = self._listeners = self._listen()
            for listener in listeners:
                stack.enter_context(listener)
            store = await self._open_store(stack)
            await self._start_overlay(stack)
            await self._open_gateway_keys(store)
            self._adopt(self._state())
            side_car = await self._open_side_car(stack)
            responses = await self._open_responses(stack)
            for row in await responses.unfinished():
                await responses.put(broken_off(row))
            counters = await self._open_counters(stack)
            directory = await self._open_directory(stack)
            bodies = await self._open_bodies(stack, store)
            hub = Hub(
                Shared(
                    books=store,
                    keyring=store,
                    rules=store,
                    counters=counters,
                    sessions=store.sessions,
                    prices=store,
                    responses=responses,
                    side_car=side_car,
                    papers=store,
                    directory=directory,
                    bodies=bodies,
                    operate=lambda c, a, by: self._operate(c, a, by, context),
                    clock=self._clock,
                    failed=broken_off,
                )
            )
            self._hub = hub
            fleet = self._fleet = Fleet(
                hub,
                share_out(listeners, settings.workers),
                lambda: self._welcome(store.trouble, counters.problem()),
                lambda process: treasury.replays.ended(process),
            )
            self._own_keys = self._build_own_keys(store)
            self._price_list = PriceList(await store.price_rules())
            treasury = self._build_treasury(store, self._open_upstream(stack))
            stack.push_async_callback(treasury.close)
            await treasury.begin()
            context = self._operations(
                store, side_car, treasury, directory, self._body_desk(bodies, responses)
            )
            first = await first_run(context)
            control = await serve_control(settings.data_dir, lambda c, a: self._command(c, a, context))
            stack.push_async_callback(control.close)
            for work in (
                self._follow_days(),
                self._follow_nodes(store),
                keep_folded(store, self._clock),
                keep_prices_noted(store, self._clock, lambda: self._live().snapshot),
                self._purge(responses),
                self._purge_directory(directory),
                self._purge_bodies(bodies),
                self._tell("trouble", lambda: store.trouble),
                self._tell("degraded", counters.problem),
            ):
                stack.callback(asyncio.create_task(work).cancel)
            self._follow_signals(fleet, settings.drain_s)
            stack.push_async_callback(fleet.close)
            treasury.start()
            await fleet.start()
            end_start()
            if not self._stopping:
                announce(await self._announcement(listeners[0], store, first, context))
            self._heed_operator()
            await fleet.ended()
        return 0

    async def _operate(self, command: str, arguments: bytes, by: Actor, context: Context) -> bytes:
        """Run a command that a worker was asked for."""
        values: dict[str, object] = msgspec.json.decode(arguments)
        return msgspec.json.encode(await self._command(command, values, context, by))

    async def _command(
        self, command: str, arguments: Mapping[str, object], context: Context, by: Actor = COMMAND_LINE
    ) -> Mapping[str, object]:
        """Run an operator's command. When it returns, no worker goes by what it knew before: a revoked key
        is refused by all."""
        try:
            return await operations.dispatch(command, arguments, context, by)
        finally:
            for session in await self._hub.ask("forget", timeout_s=FORGET_S):
                self._fleet.end(session)

    def _welcome(self, trouble: str | None, degraded: str | None) -> bytes:
        welcome = Welcome(
            options=self._options,
            settings=_share(self._settings, self._started_with.server.workers),
            price_rules=self._price_list.rules,
            sandbox_url=self._sandbox_url,
            sandbox_doors=self._sandbox_doors,
            local=self._overlay.local,
            local_key=self._overlay.local_key,
            trouble=trouble,
            degraded=degraded,
        )
        return _pack(welcome)

    async def _own_keys_changed(self) -> None:
        await super()._own_keys_changed()
        self._hub.tell("own_keys")

    async def _body_rules_changed(self) -> None:
        await super()._body_rules_changed()
        self._hub.tell("body_rules")

    def _reprice(self, price_list: PriceList) -> None:
        """All workers hear of it before the command that published the rule returns."""
        super()._reprice(price_list)
        self._hub.tell("price_rules", _pack(price_list.rules))

    async def _reload(self) -> dict[str, object]:
        """Read the configuration again, and have all workers work with it.

        Raises:
            InvalidRequest: with every problem of the file; nothing changed.
        """
        result = await super()._reload()
        await self._share_settings()
        return result

    async def _rekey(self) -> None:
        await super()._rekey()
        await self._share_settings()

    async def _share_settings(self) -> None:
        """Have all workers work with the settings of now; one that does not answer is ended."""
        packed = _pack(_share(self._settings, self._started_with.server.workers))
        for session in await self._hub.ask("settings", packed, timeout_s=SETTINGS_S):
            self._fleet.end(session)

    async def _health(self) -> list[list[dict[str, object]]]:
        """Each worker knows what it saw itself; one that does not answer in time is left out."""
        return list(await self._hub.gather("health", timeout_s=HEALTH_S))

    async def _under_way(self) -> list[list[dict[str, object]]]:
        return list(await self._hub.gather("under_way", timeout_s=HEALTH_S))

    async def _end_one(self, id_: str) -> bool:
        return any(await self._hub.gather("end_one", id_, timeout_s=HEALTH_S))

    async def _purge(self, responses: SqliteResponses) -> None:
        while True:
            with contextlib.suppress(LedgerUnavailable):  # the next round tries again
                await responses.purge(self._clock.now_ms(), self._settings.responses.bytes_max)
            await asyncio.sleep(PURGE_S)

    async def _tell(self, name: str, of: Callable[[], str | None]) -> None:
        """Tell the workers whenever it changes."""
        told: str | None = None
        while True:
            if of() != told:
                told = of()
                self._hub.tell(name, told)
            await asyncio.sleep(TROUBLE_CHECK_S)

    def _follow_signals(self, fleet: Fleet, drain_s: float) -> None:
        """Stop at the first SIGTERM or SIGINT, at once at the second."""
        loop = asyncio.get_running_loop()

        def stop() -> None:
            if self._stopping:
                self._disinherit()
            fleet.stop(force=self._stopping, handed_over=bool(self._heirs))
            if not self._stopping:
                self._stopping = True
                self._stack.callback(loop.call_later(drain_s + 3 * STOP_S, fleet.kill).cancel)

        self._stop = stop
        loop.add_signal_handler(signal.SIGTERM, stop)
        loop.add_signal_handler(signal.SIGINT, stop)

    def _listen(self) -> list[socket.socket]:
        settings = self._settings.server
        return inherited(os.environ) or bind_shared(
            settings.host, settings.port, settings.workers, unread_s=settings.unread_s
        )


class Fleet:
    """The worker processes: started, and started again when they end though nobody told them to. ``ended``
    hears of the number of each that died."""

    def __init__(
        self,
        hub: Hub,
        listeners: list[list[socket.socket]],
        welcome: Callable[[], bytes],
        ended: Callable[[int], Awaitable[None]],
    ) -> None:
        self._hub = hub
        self._listeners = listeners
        self._welcome = welcome
        self._ended = ended
        self._processes: dict[Session, asyncio.subprocess.Process] = {}
        self._keepers: list[asyncio.Task[None]] = []
        self._ready = [asyncio.Event() for _ in listeners]
        self._stopping = False

    async def start(self) -> None:
        """Start all; return when each has accepted requests once, or they are to stop.

        Raises:
            ServerError: they cannot be started.
        """
        loop = asyncio.get_running_loop()
        self._keepers = [
            loop.create_task(self._keep(number, group), name=f"worker {number + 1}")
            for number, group in enumerate(self._listeners)
        ]
        ready = loop.create_task(self._all_ready())
        await asyncio.wait((ready, *self._keepers), return_when=asyncio.FIRST_COMPLETED)
        ready.cancel()

    async def _all_ready(self) -> None:
        for event in self._ready:
            await event.wait()

    async def ended(self) -> None:
        """Wait until all have ended for good.

        Raises:
            ServerError: one of them ended again and again.
        """
        await asyncio.gather(*self._keepers)

    def stop(self, *, force: bool, handed_over: bool = False) -> None:
        """Let them finish what they serve, or end it at once. ``handed_over``: who waits at the sockets is
        served by others."""
        self._stopping = True
        for listener in (one for group in self._listeners for one in group):
            listener.close()  # the workers close theirs: nobody is kept waiting for nothing
        self._hub.tell("stop", force, handed_over)

    def end(self, session: Session) -> None:
        """Kill one that does not answer; another is started in its place."""
        process = self._processes.get(session)
        if process is not None and process.returncode is None:
            process.kill()

    def kill(self) -> None:
        """Kill all."""
        for session in tuple(self._processes):
            self.end(session)

    async def close(self) -> None:
        """End what still runs, and wait for it."""
        self.stop(force=True)
        if self._keepers:
            _, late = await asyncio.wait(self._keepers, timeout=2 * STOP_S)
            if late:
                self.kill()
                await asyncio.wait(late)

    async def _keep(self, number: int, listeners: list[socket.socket]) -> None:
        """Have one worker run until all are to stop."""
        loop, failures = asyncio.get_running_loop(), 0
        while not self._stopping:
            began_s = loop.time()
            session, process = await self._spawn(number, listeners)
            status = await process.wait()
            del self._processes[session]
            session.link.close()
            left = await session.left
            if self._stopping:
                return
            failures = 1 if loop.time() - began_s >= STEADY_S else failures + 1
            if failures >= FAILURES_MAX:
                raise ServerError(
                    f"worker {number + 1} ended {failures} times in a row; what it said before says why",
                    code="workers_failing",
                )
            pause_s = min(PAUSE_S * 2 ** (failures - 1), PAUSE_MAX_S)
            _say(
                f"worker {number + 1} (process {process.pid}) ended by {_cause(status)}: {left.holds} holds voided, "
                f"{left.places} places in limits freed, {left.responses} responses failed; "
                f"started again in {pause_s:g} s"
            )
            with contextlib.suppress(LedgerUnavailable):  # else they are free when their time is over
                await self._ended(process.pid)
            await asyncio.sleep(pause_s)

    async def _spawn(
        self, number: int, listeners: list[socket.socket]
    ) -> tuple[Session, asyncio.subprocess.Process]:
        loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        with theirs:
            session = self._hub.open(self._welcome())
            given = (theirs.fileno(), *(listener.fileno() for listener in listeners))
            ours.setblocking(False)
            await loop.create_unix_connection(lambda: session.link, sock=ours)
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "llm_router.workers", *map(str, given),
                stdin=asyncio.subprocess.DEVNULL,
                pass_fds=given,
            )  # fmt: skip
        self._processes[session] = process
        session.ready.add_done_callback(lambda _: self._begun(number))
        if self._stopping:  # told before it could hear
            self._hub.tell("stop", True, False)
        return session, process

    def _begun(self, number: int) -> None:
        self._ready[number].set()


class Worker(Server):
    """Serves requests; asks its parent for all that is shared. Ends with its parent."""

    def __init__(self, link: Link, welcome: Welcome) -> None:
        super().__init__(welcome.options, os.environ, welcome.settings)
        self._price_list = PriceList(welcome.price_rules)
        self._link = link
        self._trouble = welcome.trouble
        self._responses: Background | None = None
        self._server: HttpServer | None = None
        fresh_s = None if welcome.settings.store is None else FRESH_S
        self._keyring = RemoteKeyring(link, fresh_s)
        self._rules = RemoteRules(link, fresh_s)
        self._prices = RemotePrices(link)
        self._counters = RemoteCounters(link)
        self._counters.degraded = welcome.degraded
        overlay = (
            Overlay()
            if welcome.sandbox_url is None
            else sandbox_overlay(welcome.sandbox_url, welcome.sandbox_doors)
        )
        self._overlay = msgspec.structs.replace(overlay, local=welcome.local, local_key=welcome.local_key)

    async def serve_on(self, listeners: list[socket.socket]) -> int:
        """Serve until told to stop, or the parent has gone; the exit status."""
        async with self._stack as stack:
            for listener in listeners:
                stack.enter_context(listener)
            self._adopt(self._state())
            stores = Stores(
                books=self._port(RemoteBooks(self._link)),
                keyring=self._port(self._keyring),
                rules=self._rules,
                counters=self._port(self._counters),
                sessions=self._port(RemoteSessions(self._link)),
                prices=self._prices,
                responses=self._port(RemoteResponses(self._link)),
                bodies=self._port(RemoteBodies(self._link)),
                side_car=self._port(RemoteSideCar(self._link)) if self._settings.side_car.enabled else None,
                papers=self._port(RemotePapers(self._link)),
                directory=self._port(RemoteDirectory(self._link)),
                operate=lambda c, a, by: EXTRA["operate"].ask(self._link, (c, a, by)),
            )
            upstream = self._open_upstream(stack)
            self._own_keys = self._build_own_keys(stores.books)
            self._policy = BodyPolicy(stores.books, self._clock)
            await self._policy.load()
            treasury = self._build_treasury(stores.books, upstream)
            server, gateway = await self._open_gateway(
                stack, stores, upstream, treasury, lambda: self._trouble
            )
            self._responses = gateway.responses
            end_start()
            await EXTRA["begun"].ask(self._link, ())
            self._server = server
            await self._run(server, gateway, listeners)
        return 1 if self._link.closed else 0

    def _others(self) -> OtherRuns:
        return RemoteRuns(self._link)

    def _make_tail(self, telemetry: Telemetry) -> Tail:
        tails = RemoteTails(self._link)
        return Tail(telemetry, changed=tails.changed, hand_on=tails.hand_on)

    def _port(self, remote: object) -> Any:
        """The remote as the port that it is: its methods are made from the port's own."""
        return remote

    def _handle_signals(self, server: HttpServer, gateway: Gateway, drain_s: float) -> None:
        """Heed no signal: service managers and terminals send them to all processes, and the parent says
        what is to be done."""
        super()._handle_signals(server, gateway, drain_s)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR2):
            asyncio.get_running_loop().add_signal_handler(number, lambda: None)

    def lost(self) -> None:
        """The parent has gone: nothing can be charged any more."""
        self._trouble = "ledger_unavailable"
        for _ in range(2 - self._stopping):  # stop, at once
            self._stop()

    async def hear(self, name: str, arguments: list[Any]) -> object:
        """Do what the parent says, or answer what it asks."""
        match name, arguments:
            case "health", []:
                return [] if self._engine is None else self._engine.health()
            case "under_way", []:
                return [] if self._engine is None else self._engine.under_way()
            case "end_one", [id_]:
                return self._engine is not None and self._engine.end_one(id_)
            case "forget", []:
                self._keyring.forget()
                self._rules.forget()
                if self._own_keys is not None:
                    self._own_keys.forget()
                if self._policy is not None:
                    self._policy.forget()
            case "body_rules", [] if self._policy is not None:
                self._policy.forget()
            case "own_keys", [] if self._own_keys is not None:
                self._own_keys.forget()
            case "trouble", [trouble]:
                self._trouble = trouble
                self._prices.forget()
            case "degraded", [problem]:
                self._counters.degraded = problem
            case "price_rules", [packed]:
                self._reprice(PriceList(_unpack(packed)))
            case "settings", [packed]:
                self._settings = _unpack(packed)
                self._adopt(build_state(self._settings, load_builtin(), self._overlay, self._today()))
            case "tail", [accounts] if self._tail is not None:
                self._tail.elsewhere = frozenset(accounts)
            case "tailed", [packed] if self._tail is not None:
                self._tail.hear(_records.decode(packed))
            case "cancel_run", [account, id_] if self._responses is not None:
                await self._responses.cancel(account, id_)
            case "stop", [force, handed_over]:
                if not self._stopping:
                    self._stop()
                    if self._server is not None:
                        self._server.handed_over = handed_over
                if force:
                    self._stop()
        return None


class _Ears:
    """Hears the parent, from before there is a worker on."""

    def __init__(self) -> None:
        self.worker: Worker | None = None

    async def answer(self, name: str, body: msgspec.Raw) -> bytes:
        answer: object = None
        if self.worker is not None:
            answer = await self.worker.hear(name, msgspec.msgpack.decode(body))
        elif name == "stop":
            os._exit(0)
        return _encoder.encode(answer)

    def lost(self) -> None:
        if self.worker is None:
            os._exit(1)
        self.worker.lost()


async def work(link_fd: int, *listener_fds: int) -> int:
    """Be a worker, on a link and listening sockets that were inherited; the exit status."""
    ears, loop = _Ears(), asyncio.get_running_loop()
    ours = socket.socket(fileno=link_fd)
    ours.setblocking(False)
    _, link = await loop.create_unix_connection(lambda: Link(ears.answer, ears.lost), sock=ours)
    welcome = _unpack(await EXTRA["welcome"].ask(link, ()))
    ears.worker = Worker(link, welcome)
    try:
        return await ears.worker.serve_on([socket.socket(fileno=number) for number in listener_fds])
    except LedgerUnavailable:
        if not link.closed:
            raise
        return 1  # the parent ended while this one began: there is nobody to serve for, and nobody to tell
    finally:
        link.close()


def bind_shared(host: str, port: int, count: int, *, unread_s: float) -> list[socket.socket]:
    """So many listening sockets on one port. Where the kernel does not spread connections over several
    (other systems than Linux) they are one socket.

    Raises:
        OSError: the address is in use, or not one of this machine.
    """
    first = bind(
        host, port, unread_s=unread_s
    )  # alone at first: a port that another gateway shares is in use
    if sys.platform != "linux":
        return [first, *(first.dup() for _ in range(count - 1))]
    address = first.getsockname()
    first.close()
    return [bind(address[0], address[1], shared=True, unread_s=unread_s) for _ in range(count)]


def share_out(listeners: list[socket.socket], count: int) -> list[list[socket.socket]]:
    """The listening sockets of each of so many workers: all are somebody's, and everybody has one."""
    return [listeners[i::count] or [listeners[i % len(listeners)].dup()] for i in range(count)]


def _cause(status: int) -> str:
    return f"signal {-status}" if status < 0 else f"status {status}"


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def run(options: ServeOptions, announce: Callable[[Announcement], None]) -> int:
    """Serve with several workers until told to stop; the exit status.

    Raises:
        RouterError, ConfigError: it cannot start.
    """
    parent = Parent(options, os.environ)
    status = asyncio.Runner(loop_factory=uvloop.new_event_loop).run(parent.serve(announce))
    parent.succeed()
    return status


def main() -> int:
    """The process of a worker: ``python -m llm_router.workers LINK LISTENER...``, descriptors."""
    runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)
    return runner.run(work(*map(int, sys.argv[1:])))


if __name__ == "__main__":
    from llm_router import workers  # under the name by which its classes travel

    sys.exit(workers.main())
