"""The HTTP server's life: started on given sockets, ended without losing what clients have sent already."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import Any

from llm_router.edge.express import protocol_of
from llm_router.edge.gateway import STOP_S, Gateway
from llm_router.edge.lean_uvicorn import Config, Server


class HttpServer(Server):
    """uvicorn's server. When it ends it takes the connections that wait at its sockets, unless these are
    somebody else's from then on; its own signal handlers are left out.

    Attributes:
        handed_over: the sockets stay open elsewhere.
    """

    handed_over = False

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        waiting = (
            [] if self.handed_over else [one for listener in sockets or () for one in _waiting(listener)]
        )
        for server in self.servers:
            server.close()
        loop = asyncio.get_running_loop()
        for one in waiting:
            with contextlib.suppress(OSError):  # it has left
                await loop.connect_accepted_socket(self._protocol, one)
        await super().shutdown(sockets)

    def _protocol(self) -> asyncio.Protocol:
        make: Any = self.config.http_protocol_class
        made: asyncio.Protocol = make(config=self.config, server_state=self.server_state, app_state={})
        return made


def _waiting(listener: socket.socket) -> list[socket.socket]:
    """Connections that are complete but not accepted."""
    found: list[socket.socket] = []
    while True:
        try:
            one, _ = listener.accept()
        except OSError:  # nobody waits any more
            return found
        one.setblocking(False)
        found.append(one)


def http_server(gateway: Gateway, drain_s: float) -> HttpServer:
    """The HTTP server around the gateway. It installs no signal handlers of its own."""
    config = Config(
        gateway,
        http=protocol_of(gateway),
        proxy_headers=False,  # nothing here believes what a client says of its address
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=gateway.guards.bounds.keep_alive_s,  # type: ignore[arg-type]  # any number will do
        timeout_graceful_shutdown=round(drain_s + STOP_S) + 1,  # the gateway itself ends them before
    )
    server = HttpServer(config)
    server.capture_signals = contextlib.nullcontext  # type: ignore[method-assign,assignment]
    return server
