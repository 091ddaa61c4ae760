"""What a request costs in steps: calls, bytecode instructions and CPU, by who needs them.

    python bench/calls.py [--models bench-model,bench-anthropic] [--requests 20000] [--linked]
    python bench/calls.py --events [--models paced-model,paced-anthropic,paced-gemini]

The whole gateway runs in this process, with a ledger of its own in memory, and connections that are functions: so the
figures are of its own code alone. Calls and instructions are counted over 20 requests, one at a time, and are the same
on every machine; with ``--linked`` the ledger is behind a link, as workers have it. CPU is sampled while ``--requests`` are served, 32 at a time, and belongs to the machine.

``--events``: the same of one event of a stream, which comes as a chunk of its own.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import chain, repeat
from pathlib import Path
from types import FrameType

import msgspec
import uvloop
from suite import bodies, paced
from suite.stage import gateway_config

from llm_router import app
from llm_router.adapters.shared.hub import Hub, Shared
from llm_router.adapters.shared.link import Link
from llm_router.adapters.shared.remote import (
    RemoteBooks,
    RemoteCounters,
    RemoteKeyring,
    RemotePrices,
    RemoteRules,
)
from llm_router.adapters.upstream import client as upstream_client
from llm_router.adapters.upstream.protocol import Connection
from llm_router.engine.background import broken_off
from llm_router.settings import ServeOptions

COUNTED = 20
EVENTS = 200
"""Of a stream: so many that its begin and end hardly matter."""

AT_ONCE = 32
SAMPLE_S = 0.001

GROUPS = (
    ("ledger", "adapters/sqlite", "billing/ledger", "billing/budgets", "billing/rollups"),
    ("HTTP, both ends", "edge", "uvicorn"),
    ("way to the ledger", "adapters/shared"),
    ("limits", "limits", "engine/limits", "adapters/memory/counters"),
    ("hold, estimate", "billing/estimate", "billing/tokens"),
    ("provider's connection", "adapters/upstream"),
    ("health and load of deployments", "engine/trying", "engine/gate", "engine/watching", "routing"),
    ("metering and record", "billing", "engine/settle", "engine/forms", "engine/deciding", "engine/exchange", "domain"),
    ("requests and replies read and written", "wire", "engine/pump", "engine/intake", "engine/attempt"),
    ("the ride itself", "engine/express", "engine/boarding", "engine/tracks", "engine/deadlines", "engine/state"),
    ("clocks and ids", "adapters/clock", "adapters/ids"),
    ("all else", ""),
)  # fmt: skip
"""By the files that the code stands in; the first that fits counts."""


class Wire(asyncio.Transport):
    """A connection that hands what is written to a function, at once."""

    def __init__(self, written: Callable[[Wire, bytes], None]) -> None:
        super().__init__()
        self.written = written
        self.protocol: asyncio.Protocol | None = None
        self.closed = False

    def write(self, data: bytes) -> None:  # type: ignore[override]
        self.written(self, data)

    def is_closing(self) -> bool:
        return self.closed

    def abort(self) -> None:
        self.closed = True

    close = abort

    def get_write_buffer_size(self) -> int:
        return 0

    def get_extra_info(self, name: str, default: object = None) -> object:
        return {"peername": ("127.0.0.1", 1), "sockname": ("127.0.0.1", 2)}.get(name, default)


def reply_to(wire: Wire, data: bytes) -> None:
    """The provider: answers by the path of its dialect."""
    path = data[5 : data.index(b" ", 5)]
    if path.startswith(b"/paced"):
        stream_to(wire, *paced.dialect_of(path)(" token"))
        return
    body = next(reply for start, reply in REPLIES.items() if path.startswith(start))
    asyncio.get_running_loop().call_soon(wire.protocol.data_received, HEAD % len(body) + body)


def stream_to(wire: Wire, first: bytes, event: bytes, last: bytes) -> None:
    """The same of a stream: EVENTS events, each in an iteration of the loop of its own."""
    loop = asyncio.get_running_loop()
    pieces = chain([paced.HEAD + first], repeat(event, EVENTS), [last + b"0\r\n\r\n"])

    def send() -> None:
        piece = next(pieces, None)
        if piece is not None:
            wire.protocol.data_received(piece)
            loop.call_soon(send)

    loop.call_soon(send)


HEAD = (
    b"HTTP/1.1 200 OK\r\nServer: bench\r\nDate: Mon, 23 Nov 2026 14:00:00 GMT\r\nContent-Type: application/json\r\n"
    b"Content-Length: %d\r\nConnection: keep-alive\r\n\r\n"
)
REPLIES = {
    b"/v1": bodies.chat_reply().encode(),
    b"/anthropic": bodies.anthropic_reply().encode(),
    b"/gemini": bodies.gemini_reply().encode(),
}


async def dial(origin, addresses, until, *, limits, **_):
    """In the place of the one that opens sockets."""
    wire = Wire(reply_to)
    wire.protocol = connection = Connection(asyncio.get_running_loop(), origin.label, limits)
    connection.connection_made(wire)
    return connection, addresses[0]


class Clients:
    """Send requests, so many at a time, each as soon as the one before is answered."""

    def __init__(self, accept: Callable[[], asyncio.Protocol], key: str) -> None:
        self._accept = accept
        self._key = key
        self._idle: list[Wire] = []
        self._head_alone: set[Wire] = set()

    async def run(self, model: str, requests: int, at_once: int) -> None:
        streams = model.startswith("paced")
        body = bodies.chat_request(model, stream=streams)
        self._end = b"0\r\n\r\n" if streams else b""
        lines = (
            "POST /v1/chat/completions HTTP/1.1", "host: 127.0.0.1", "content-type: application/json",
            f"authorization: Bearer {self._key}", f"content-length: {len(body)}", "", body,
        )  # fmt: skip
        self._request = "\r\n".join(lines).encode()
        self._left, self._out = requests - at_once, at_once
        self._done = asyncio.get_running_loop().create_future()
        for _ in range(at_once):
            wire = self._idle.pop() if self._idle else self._connected()
            asyncio.get_running_loop().call_soon(wire.protocol.data_received, self._request)
        await self._done

    def leave(self) -> None:
        """Close all connections."""
        for wire in self._idle:
            wire.closed = True
            wire.protocol.connection_lost(None)

    def _connected(self) -> Wire:
        wire = Wire(self._answered)
        wire.protocol = self._accept()
        wire.protocol.connection_made(wire)
        return wire

    def _answered(self, wire: Wire, data: bytes) -> None:
        if not data.endswith(self._end):
            return
        begun = data.startswith(b"HTTP/1.1 200")
        if not begun and not self._end and wire not in self._head_alone:
            raise SystemExit(f"not answered: {data[:600]!r}")
        self._head_alone.discard(wire)
        if begun and data.endswith(b"\r\n\r\n"):  # the ordinary way writes the body behind it
            self._head_alone.add(wire)
        elif self._left > 0:
            self._left -= 1
            asyncio.get_running_loop().call_soon(wire.protocol.data_received, self._request)
        else:
            self._idle.append(wire)
            self._out -= 1
            if not self._out:
                self._done.set_result(None)


def group_of(path: str) -> str:
    """Whose code a file holds."""
    inner = (
        path.partition("llm_router/")[2] if "llm_router/" in path else path.rpartition("site-packages/")[2]
    )
    return next(name for name, *starts in GROUPS if any(inner.startswith(start) for start in starts))


async def counted(clients: Clients, model: str) -> tuple[Counter[str], Counter[str]]:
    """Calls and bytecode instructions of COUNTED requests."""
    calls, steps = Counter[str](), Counter[str]()

    def call(frame: FrameType, event: str, _: object) -> None:
        if event in ("call", "c_call") and frame.f_code.co_filename not in OURS:
            calls[group_of(frame.f_code.co_filename)] += 1

    def step(frame: FrameType, event: str, _: object) -> Callable[..., object] | None:
        if frame.f_code.co_filename in OURS:
            return None
        if event == "opcode":
            steps[group_of(frame.f_code.co_filename)] += 1
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        return step

    for install, look in ((sys.setprofile, call), (sys.settrace, step)):
        install(look)
        await clients.run(model, COUNTED, 1)
        install(None)
    return calls, steps


OURS = (__file__, bodies.__file__, paced.__file__, json.__file__, json.encoder.__file__)


@contextmanager
def sampled(found: Counter[str]) -> Iterator[None]:
    """Look where the CPU is spent."""

    def look(_: int, frame: FrameType | None) -> None:
        if frame is not None:
            found[group_of(frame.f_code.co_filename)] += 1

    signal.signal(signal.SIGPROF, look)
    signal.setitimer(signal.ITIMER_PROF, SAMPLE_S, SAMPLE_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


async def measure(clients: Clients, model: str, requests: int, events: int) -> None:
    """``events``: what a request has; its costs are shared out over them."""
    await clients.run(model, 500 // events + 2, min(AT_ONCE, 500 // events + 1))
    calls, steps = await counted(clients, model)
    samples, before = Counter[str](), time.process_time()
    with sampled(samples):
        await clients.run(model, requests, min(AT_ONCE, requests))
    cpu_us = (time.process_time() - before) / (requests * events) * 1e6
    print(f"\n{model}: {cpu_us:.1f} µs of CPU {'an event' if events > 1 else 'a request'}\n")
    print("| group | calls | instructions | of the CPU |\n|---|---:|---:|---:|")
    for name, *_ in GROUPS:
        part, of = samples[name] / max(1, samples.total()), COUNTED * events
        print(f"| {name} | {calls[name] / of:.1f} | {steps[name] / of:.0f} | {part:.0%} |")
    print(f"| all | {calls.total() / of:.1f} | {steps.total() / of:.0f} | |")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models")
    parser.add_argument("--events", action="store_true")
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--linked", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        kind = "paced" if options.events else "bench"
        models = (options.models or f"{kind}-model,{kind}-anthropic,{kind}-gemini").split(",")
        events = EVENTS if options.events else 1
        serve(Path(folder), models, max(1, options.requests // events), events, options.linked)


class Linked(app.Server):
    """A gateway that asks its own stores over a link."""

    async def _open_gateway(self, stack, stores, *others):
        shared = {name: getattr(stores, name) for name in stores.__struct_fields__ if name in SHARED}
        session = Hub(Shared(**shared, clock=self._clock, failed=broken_off)).open(b"")
        link = Link(None)
        for end, other in ((session.link, link), (link, session.link)):
            wire = Wire(
                lambda wire, data: asyncio.get_running_loop().call_soon(wire.protocol.data_received, data)
            )
            wire.protocol = other
            end.connection_made(wire)
        remote = {
            "books": RemoteBooks,
            "keyring": RemoteKeyring,
            "rules": RemoteRules,
            "counters": RemoteCounters,
        }
        linked = {name: kind(link) for name, kind in {**remote, "prices": RemotePrices}.items()}
        return await super()._open_gateway(stack, msgspec.structs.replace(stores, **linked), *others)


SHARED = Shared.__struct_fields__


def serve(folder: Path, models: list[str], requests: int, events: int, linked: bool) -> None:
    """Run the gateway until it is measured."""
    config, data = folder / "config.toml", folder / "data"
    config.write_text(gateway_config(9, 9))
    upstream_client.dial = dial
    made = []
    build = app.http_server
    app.http_server = lambda *args: made.append(build(*args)) or made[0]
    kind = Linked if linked else app.Server
    server = kind(ServeOptions(config=config, data_dir=data, host="127.0.0.1", port=0), os.environ)

    async def work() -> None:
        command = [
            sys.executable, "-m", "llm_router.cli", "keys", "create", "--name", "bench", "--json", "--config", str(config),
            "--data-dir", str(data), "--rpm", "1000000000", "--tpm", "1000000000", "--concurrency", "100000",
        ]  # fmt: skip
        key = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
        clients = Clients(made[0]._protocol, json.loads((await key.communicate())[0])["key"])
        try:
            for model in models:
                await measure(clients, model, requests, events)
        finally:
            clients.leave()
            os.kill(os.getpid(), signal.SIGTERM)

    tasks = []
    run = server.serve(lambda _: tasks.append(asyncio.get_running_loop().create_task(work())))
    asyncio.Runner(loop_factory=uvloop.new_event_loop).run(run)


if __name__ == "__main__":
    main()
