"""A client of streams: holds so many at once, and tells what came of each.

    python bench/suite/clients.py REQUEST_FILE < parameters in JSON

``REQUEST_FILE`` holds the bytes of the whole HTTP request. Parameters: ``port``, ``streams`` (at once),
``seconds`` (how long is measured), ``settle_s`` (how long after the start that begins), ``repeat`` (begin
another when one has ended). Prints ``ready`` on a line when all have their first event, then the figures
as JSON. ``events`` are the pieces of text that came (by their words, whatever the dialect), ``reads`` how
often the socket was read: about the same if nothing on the way made heaps of them.
"""

from __future__ import annotations

import asyncio
import json
import re
import statistics
import sys
import time
from pathlib import Path

import uvloop

STAMP = re.compile(rb"@(\d{19})@")


class Held(asyncio.Protocol):
    """One stream after the other on one connection."""

    def __init__(self, crowd: Crowd) -> None:
        self.crowd = crowd
        self.events = 0
        self.begun = False
        self.tail = b""
        self.late_ns: list[int] = []

    def connection_made(self, transport: asyncio.Transport) -> None:
        self.transport = transport
        transport.write(self.crowd.request)

    def connection_lost(self, error: Exception | None) -> None:
        if not self.crowd.over:
            self.crowd.lost += 1

    def data_received(self, data: bytes) -> None:
        crowd = self.crowd
        if not self.begun:
            self.begun = True
            crowd.began(data)
        if crowd.measuring:
            crowd.reads += 1
            self.events += data.count(b" token")
            now = time.monotonic_ns()
            stamps = STAMP.findall(data)
            self.events += len(stamps)
            self.late_ns += [now - int(stamp) for stamp in stamps]
        self.tail = (self.tail + data)[-200:]
        if data.endswith(b"0\r\n\r\n"):
            crowd.ended += 1
            if b"[DONE]" not in self.tail:
                crowd.lost += 1
            if not crowd.over and crowd.repeat:
                self.transport.write(crowd.request)


class Crowd:
    """All streams of one measurement."""

    def __init__(self, request: bytes, port: int, streams: int, repeat: bool) -> None:
        self.request, self.port, self.streams, self.repeat = request, port, streams, repeat
        self.measuring = self.over = False
        self.reads = self.ended = self.lost = self.waiting = 0
        self.held: list[Held] = []
        self.refused = b""
        self.all_began = asyncio.Event()

    def began(self, data: bytes) -> None:
        if not data.startswith(b"HTTP/1.1 200"):
            self.refused = data[:2000]
            self.all_began.set()
        self.waiting -= 1
        if not self.waiting:
            self.all_began.set()

    async def open(self) -> None:
        loop = asyncio.get_running_loop()
        self.waiting = self.streams
        for number in range(self.streams):
            held = Held(self)
            self.held.append(held)
            await loop.create_connection(lambda held=held: held, "127.0.0.1", self.port)
            if number % 20 == 19:
                await asyncio.sleep(0.02)
        async with asyncio.timeout(120):
            await self.all_began.wait()
        if self.refused:
            raise SystemExit(f"a stream was refused: {self.refused!r}")

    def close(self) -> None:
        self.over = True
        for held in self.held:
            held.transport.abort()

    def figures(self, seconds: float) -> dict[str, float]:
        per_stream = sorted(held.events for held in self.held)
        late = sorted(ns for held in self.held for ns in held.late_ns)
        figures: dict[str, float] = {
            "events": sum(per_stream),
            "events_per_s": sum(per_stream) / seconds,
            "reads": self.reads,
            "ended": self.ended,
            "lost": self.lost,
            "events_least": per_stream[0],
            "events_median": statistics.median(per_stream),
        }
        if late:
            figures |= {
                "late_p50_ms": late[len(late) // 2] / 1e6,
                "late_p99_ms": late[int(len(late) * 0.99)] / 1e6,
                "late_max_ms": late[-1] / 1e6,
            }
        return figures


async def main(request: bytes, parameters: dict[str, float]) -> None:
    crowd = Crowd(request, int(parameters["port"]), int(parameters["streams"]), bool(parameters["repeat"]))
    await crowd.open()
    await asyncio.sleep(parameters["settle_s"])
    print("ready", flush=True)
    sys.stdin.readline()  # whoever measures has looked at the clock
    crowd.measuring = True
    begin = time.monotonic()
    await asyncio.sleep(parameters["seconds"])
    seconds = time.monotonic() - begin
    crowd.measuring = False
    print(json.dumps(crowd.figures(seconds)), flush=True)
    sys.stdin.readline()
    crowd.close()


if __name__ == "__main__":
    uvloop.run(main(Path(sys.argv[1]).read_bytes(), json.loads(sys.stdin.readline())))
