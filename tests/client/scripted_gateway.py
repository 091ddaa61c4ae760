"""A server that answers each connection as a script says, byte by byte if need be, and keeps what it was sent."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterable
from typing import Any

Step = Callable[[socket.socket], None]

DONE = b"data: [DONE]\n\n"


def reply(status: int, body: bytes | dict[str, Any] | list[Any], **headers: str) -> list[Step]:
    """A whole reply with a length."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {"content_type": "application/json", "content_length": str(len(data)), **headers}
    lines = [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return [send("\r\n".join([f"HTTP/1.1 {status} X", *lines, "", ""]).encode() + data)]


def stream(*pieces: bytes, content_type: str = "text/event-stream") -> list[Step]:
    """A chunked reply of which every piece is sent by itself, and which ends in order."""
    head = f"HTTP/1.1 200 OK\r\ncontent-type: {content_type}\r\ntransfer-encoding: chunked\r\n\r\n"
    return [send(head.encode()), *(send(b"%x\r\n%b\r\n" % (len(p), p)) for p in pieces), send(b"0\r\n\r\n")]


def cut(steps: list[Step]) -> list[Step]:
    """The same, but the connection is gone before its end."""
    return steps[:-1]


def send(data: bytes) -> Step:
    return lambda connection: connection.sendall(data)


def silence(connection: socket.socket) -> None:
    """Say nothing until the client goes."""
    connection.settimeout(20)
    while connection.recv(4096):
        pass


def drip(data: bytes) -> Step:
    """Send the same bytes again and again, a little at a time, until the client goes."""

    def run(connection: socket.socket) -> None:
        while True:
            connection.sendall(data)
            GONE.wait(0.02)

    return run


GONE = threading.Event()
"""Never set: something to wait on."""


def chunk(content: str | None = None, **more: Any) -> bytes:
    """One event with a chunk of OpenAI's form."""
    delta = {} if content is None else {"content": content}
    return event({"choices": [{"index": 0, "delta": delta, "finish_reason": None}], **more})


def event(value: object) -> bytes:
    return f"data: {json.dumps(value)}\n\n".encode()


def choice(delta: dict[str, Any], finish: str | None = None, index: int = 0) -> bytes:
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 7, "model": "m"}
    return event({**head, "choices": [{"index": index, "delta": delta, "finish_reason": finish}]})


def read_request(connection: socket.socket) -> tuple[str, dict[str, str], Any]:
    """The request line, the headers and the body. What is left unread would reset the connection when
    it is closed, and the reply with it."""
    with connection.makefile("rb") as file:
        line = file.readline().decode().strip()
        headers = {}
        while (text := file.readline().decode().strip()) != "":
            name, _, value = text.partition(":")
            headers[name.lower()] = value.strip()
        body = file.read(int(headers.get("content-length", 0)))
    return line, headers, json.loads(body) if body else None


class ScriptedGateway:
    """Answers the n-th connection with the n-th script, further ones with the last."""

    def __init__(self, *scripts: Iterable[Step], port: int = 0) -> None:
        self.scripts = [list(script) for script in scripts]
        self.asked = threading.Event()
        self.requests: list[tuple[str, dict[str, str], Any]] = []
        self._listener = socket.create_server(("127.0.0.1", port))
        self.port = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._open: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(timeout=30)
            assert not thread.is_alive()

    def _accept(self) -> None:
        served = 0
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            script = self.scripts[min(served, len(self.scripts) - 1)]
            served += 1
            thread = threading.Thread(target=self._serve, args=(connection, script), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket, script: list[Step]) -> None:
        with connection:
            self.requests.append(read_request(connection))
            self.asked.set()
            try:
                for step in script:
                    step(connection)
            except OSError:
                pass  # the client went
