"""An open loop: requests at a fixed rate, whether or not the earlier ones were answered.

    python bench/suite/openloop.py REQUEST_FILE PORT RATE SECONDS

A request's time begins when it was due, not when it could be sent, so that a stall counts against all
requests that it delays (no coordinated omission). One thread; ``select`` waits to the microsecond, where
the timers of event loops are a millisecond coarse. Prints the times in microseconds as JSON.
"""

from __future__ import annotations

import json
import select
import socket
import sys
import time
from collections import deque
from pathlib import Path


class Loop:
    """Connections to one server, kept open; a further one is opened when all are busy."""

    def __init__(self, request: bytes, port: int) -> None:
        self.request, self.port = request, port
        self.idle: deque[socket.socket] = deque()
        self.busy: dict[socket.socket, float] = {}
        self.got: dict[socket.socket, bytes] = {}
        self.times_us: list[float] = []

    def send(self, due: float) -> None:
        if not self.idle:
            connection = socket.create_connection(("127.0.0.1", self.port))
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.idle.append(connection)
        connection = self.idle.pop()
        self.busy[connection] = due
        self.got[connection] = b""
        connection.sendall(self.request)

    def receive(self, timeout_s: float) -> None:
        ready, _, _ = select.select(list(self.busy), [], [], max(0.0, timeout_s))
        for connection in ready:
            received = connection.recv(65536)
            if not received:
                raise SystemExit("a connection was closed in place of an answer")
            self.got[connection] = data = self.got[connection] + received
            if whole(data):
                self.times_us.append((time.perf_counter() - self.busy.pop(connection)) * 1e6)
                self.idle.append(connection)
                if not data.startswith(b"HTTP/1.1 200"):
                    raise SystemExit(f"a request was refused: {data[:600]!r}")

    def run(self, rate: float, seconds: float) -> None:
        begin = time.perf_counter() + 0.05
        for number in range(int(rate * seconds)):
            due = begin + number / rate
            while (left := due - time.perf_counter()) > 0:
                self.receive(left)
            self.send(due)
        end = time.perf_counter() + 30
        while self.busy and time.perf_counter() < end:
            self.receive(1)
        if self.busy:
            raise SystemExit(f"{len(self.busy)} requests had no answer in 30 s")


def whole(data: bytes) -> bool:
    head, found, body = data.partition(b"\r\n\r\n")
    if not data or not found:
        return False
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return len(body) >= int(line[15:])
    return body.endswith(b"0\r\n\r\n")


if __name__ == "__main__":
    loop = Loop(Path(sys.argv[1]).read_bytes(), int(sys.argv[2]))
    loop.run(float(sys.argv[3]), float(sys.argv[4]))
    print(json.dumps(loop.times_us))
