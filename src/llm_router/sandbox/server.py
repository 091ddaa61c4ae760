"""The sandbox as a server on the loopback: inside a running event loop, or by itself."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Callable, Generator, Mapping
from typing import Any, Literal, NamedTuple, cast

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from llm_router.adapters.clock import SystemClock
from llm_router.sandbox.app import FORMS, Sandbox
from llm_router.sandbox.faults.doors import Door
from llm_router.sandbox.faults.lab import WIRE, FaultLab
from llm_router.sandbox.faults.rules import Faults, Rule

_BY_DIALECT = {form.dialect.name: form for form in FORMS.values()}

DIALECTS = frozenset(_BY_DIALECT)
"""The dialects that the sandbox's providers speak."""

DEFAULT_PORT = 4041
"""Where ``llm-router sandbox`` listens: next to the gateway's own port."""


BACKLOG = 1024


class _Protocol(HttpToolsProtocol):
    """uvicorn's protocol, silent about replies that were ordered to break off. Faults reach the connection."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.logger = _SILENT

    def on_message_begin(self) -> None:
        super().on_message_begin()
        cast("dict[str, Any]", self.scope)["extensions"] = {WIRE: {"connection": self}}


_SILENT = logging.Logger("llm_router.sandbox", level=logging.CRITICAL + 1)


class _Server(uvicorn.Server):
    """uvicorn's server with doors. As a guest in somebody's event loop it leaves the signals alone."""

    def __init__(self, config: uvicorn.Config, *, guest: bool) -> None:
        super().__init__(config)
        self.listening = asyncio.Event()
        self.doors: list[Door] = []
        self._guest = guest

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        if self._guest:
            yield
            return
        with super().capture_signals():
            yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        for door in self.doors:
            await door.begin()
        self.listening.set()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for door in self.doors:
            await door.close()
        await super().shutdown(sockets)

    def accept(self) -> asyncio.Protocol:
        """A protocol for a connection that came through a door."""
        protocol: asyncio.Protocol = self.config.http_protocol_class(  # type: ignore[call-arg]
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )
        return protocol

    def shut_out(self, port: int) -> None:
        """Drop the connections to that port."""
        for connection in list(self.server_state.connections):
            here = getattr(connection, "server", None)
            if here is not None and here[1] == port:
                connection.transport.abort()


class RunningSandbox:
    """A started sandbox. ``base_url`` has no path: ``http://127.0.0.1:PORT``.

    Attributes:
        doors: addresses of providers that have one of their own, so that they can be unreachable.
    """

    def __init__(
        self, base_url: str, server: _Server, task: asyncio.Task[None], doors: Mapping[str, str]
    ) -> None:
        self.base_url = base_url
        self.doors = doors
        self._server = server
        self._task = task

    @property
    def dialects(self) -> frozenset[str]:
        """The dialects that its providers speak."""
        return DIALECTS

    def provider_base_url(self, dialect: str, *, provider: str | None = None) -> str:
        """The base URL of the simulated provider of a dialect.

        Args:
            provider: its id, so that orders in the prompt can concern it alone (``[[error 500 on groq]]``).

        Raises:
            ValueError: the sandbox has no provider that speaks the dialect.
        """
        return provider_base_url(self.base_url, dialect, provider=provider, doors=self.doors)

    async def close(self) -> None:
        """End the server and what it still serves. May be called twice."""
        self._server.should_exit = self._server.force_exit = True
        await asyncio.wait([self._task])
        for task in list(self._server.server_state.tasks):
            task.cancel()


def provider_base_url(
    base_url: str, dialect: str, *, provider: str | None = None, doors: Mapping[str, str] | None = None
) -> str:
    """See :meth:`RunningSandbox.provider_base_url`; for a sandbox that runs elsewhere."""
    form = _BY_DIALECT.get(dialect)
    if form is None:
        raise ValueError(f"the sandbox speaks {', '.join(sorted(_BY_DIALECT))}, not {dialect!r}")
    place = ""
    if provider is not None:
        place = f"/at/{provider}"
        base_url = (doors or {}).get(provider, base_url)
    return f"{base_url}{place}/{form.name}{form.base_path}"


async def start_sandbox(
    *, host: str = "127.0.0.1", port: int = 0, faults: Faults | None = None
) -> RunningSandbox:
    """Start the sandbox in the running event loop; port 0 takes a free one.

    Raises:
        OSError: the address is taken or not of this machine.
    """
    prepared = _prepare(host, port, faults, loop="none")
    server = prepared.server
    task = asyncio.create_task(server.serve(sockets=prepared.listeners), name="sandbox")
    await server.listening.wait()
    return RunningSandbox(prepared.base_url, server, task, prepared.doors)


def run_standalone(
    host: str = "127.0.0.1",
    port: int = DEFAULT_PORT,
    *,
    faults: Faults | None = None,
    ready: Callable[[str, Mapping[str, str]], None] | None = None,
) -> None:
    """Serve until interrupted, for ``llm-router sandbox``.

    Args:
        ready: called once with the base URL and the doors, when the addresses are taken.

    Raises:
        OSError: the address is taken or not of this machine.
    """
    prepared = _prepare(host, port, faults, loop="auto")
    if ready is not None:
        ready(prepared.base_url, prepared.doors)
    with contextlib.suppress(KeyboardInterrupt):
        prepared.server.run(sockets=prepared.listeners)


class _Prepared(NamedTuple):
    """A server that has its addresses; ``listeners`` are those that no door stands before."""

    server: _Server
    base_url: str
    listeners: list[socket.socket]
    doors: Mapping[str, str]


def _prepare(host: str, port: int, faults: Faults | None, *, loop: Literal["none", "auto"]) -> _Prepared:
    listener = _listen(host, port)
    clock = SystemClock()
    sandbox = Sandbox(clock)
    app = sandbox if faults is None else FaultLab(sandbox, faults, clock)
    rules: tuple[Rule, ...] = () if faults is None else faults.doors
    config = uvicorn.Config(
        app,
        http=_Protocol,
        ws="none",
        loop=loop,
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=None if loop == "none" else 1,
    )
    server = _Server(config, guest=loop == "none")
    of_all = [rule for rule in rules if not rule.providers]
    doors: dict[str, str] = {}
    if of_all:
        server.doors.append(Door(listener, of_all, server.accept, server.shut_out))
    for provider in dict.fromkeys(name for rule in rules for name in rule.providers):
        own = _listen(host, 0)
        theirs = [rule for rule in rules if not rule.providers or provider in rule.providers]
        server.doors.append(Door(own, theirs, server.accept, server.shut_out))
        doors[provider] = _base_url(host, own)
    return _Prepared(server, _base_url(host, listener), [] if of_all else [listener], doors)


def _base_url(host: str, listener: socket.socket) -> str:
    shown = f"[{host}]" if ":" in host else host
    return f"http://{shown}:{listener.getsockname()[1]}"


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(BACKLOG)  # whoever is told the address may connect at once
    except OSError:
        listener.close()
        raise
    listener.setblocking(False)
    return listener
