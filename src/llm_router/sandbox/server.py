"""The sandbox as a server on the loopback: inside a running event loop, or by itself."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Callable, Generator
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from llm_router.adapters.clock import SystemClock
from llm_router.sandbox.app import FORMS, Sandbox

_BY_DIALECT = {form.dialect.name: form for form in FORMS.values()}

DIALECTS = frozenset(_BY_DIALECT)
"""The dialects that the sandbox's providers speak."""

DEFAULT_PORT = 4041
"""Where ``llm-router sandbox`` listens: next to the gateway's own port."""


BACKLOG = 1024


class _Protocol(HttpToolsProtocol):
    """uvicorn's protocol, silent about replies that were ordered to break off."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.logger = _SILENT


_SILENT = logging.Logger("llm_router.sandbox", level=logging.CRITICAL + 1)


class _Server(uvicorn.Server):
    """uvicorn's server as a guest in somebody's event loop: it leaves the signals alone."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.listening.set()


class RunningSandbox:
    """A started sandbox. ``base_url`` has no path: ``http://127.0.0.1:PORT``."""

    def __init__(self, base_url: str, server: _Server, task: asyncio.Task[None]) -> None:
        self.base_url = base_url
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
        return provider_base_url(self.base_url, dialect, provider=provider)

    async def close(self) -> None:
        """End the server and what it still serves. May be called twice."""
        self._server.should_exit = self._server.force_exit = True
        await asyncio.wait([self._task])
        for task in list(self._server.server_state.tasks):
            task.cancel()


def provider_base_url(base_url: str, dialect: str, *, provider: str | None = None) -> str:
    """See :meth:`RunningSandbox.provider_base_url`; for a sandbox that runs elsewhere."""
    form = _BY_DIALECT.get(dialect)
    if form is None:
        raise ValueError(f"the sandbox speaks {', '.join(sorted(_BY_DIALECT))}, not {dialect!r}")
    place = f"/at/{provider}" if provider is not None else ""
    return f"{base_url}{place}/{form.name}{form.base_path}"


async def start_sandbox(*, host: str = "127.0.0.1", port: int = 0) -> RunningSandbox:
    """Start the sandbox in the running event loop; port 0 takes a free one.

    Raises:
        OSError: the address is taken or not of this machine.
    """
    listener = _listen(host, port)
    config = uvicorn.Config(
        Sandbox(SystemClock()),
        http=_Protocol,
        loop="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
    )
    server = _Server(config)
    task = asyncio.create_task(server.serve(sockets=[listener]), name="sandbox")
    await server.listening.wait()
    return RunningSandbox(_base_url(host, listener), server, task)


def run_standalone(
    host: str = "127.0.0.1", port: int = DEFAULT_PORT, *, ready: Callable[[str], None] | None = None
) -> None:
    """Serve until interrupted, for ``llm-router sandbox``.

    Args:
        ready: called once with the base URL, when the address is taken.

    Raises:
        OSError: the address is taken or not of this machine.
    """
    listener = _listen(host, port)
    if ready is not None:
        ready(_base_url(host, listener))
    config = uvicorn.Config(
        Sandbox(SystemClock()),
        http=_Protocol,
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=1,
    )
    with contextlib.suppress(KeyboardInterrupt):
        uvicorn.Server(config).run(sockets=[listener])


def _base_url(host: str, listener: socket.socket) -> str:
    shown = f"[{host}]" if ":" in host else host
    return f"http://{shown}:{listener.getsockname()[1]}"


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(BACKLOG)  # whoever is told the address may connect at once
    except OSError:
        listener.close()
        raise
    listener.setblocking(False)
    return listener
