"""A gateway that is wrong in one way: it hands everything to a right one, and spoils what comes back."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

WAIT_S = 30.0


@dataclass
class Exchange:
    """A request, and the reply that is about to go to the client."""

    method: str
    path: str
    body: bytes
    status: int
    headers: dict[str, str]
    reply: bytes
    length: int | None = None
    """What is said of the reply's length, where that is to be a lie."""

    asked: dict[str, Any] = field(default_factory=dict)

    @property
    def streamed(self) -> bool:
        return self.headers.get("content-type", "").startswith("text/event-stream")


Fault = Callable[[Exchange], None]


class Proxy:
    """Listens on any port; ``fault`` is called with every reply."""

    def __init__(self, port: int) -> None:
        proxy = self
        self.fault: Fault = lambda exchange: None

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self) -> None:
                proxy.pass_on(self)

            do_GET = do_POST = do_PUT = do_HEAD = do_OPTIONS = do_DELETE = handle_any

            def log_message(self, format: str, *arguments: object) -> None:
                pass

        self._upstream = port
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/v1"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(WAIT_S)

    def pass_on(self, handler: BaseHTTPRequestHandler) -> None:
        body = handler.rfile.read(int(handler.headers.get("content-length") or 0))
        exchange = self._forward(handler, body)
        self.fault(exchange)
        handler.send_response_only(exchange.status)
        for name, value in exchange.headers.items():
            handler.send_header(name, value)
        length = len(exchange.reply) if exchange.length is None else exchange.length
        handler.send_header("content-length", str(length))
        handler.end_headers()
        handler.wfile.write(exchange.reply)
        handler.close_connection = True

    def _forward(self, handler: BaseHTTPRequestHandler, body: bytes) -> Exchange:
        connection = http.client.HTTPConnection("127.0.0.1", self._upstream, timeout=WAIT_S)
        try:
            headers = {name: value for name, value in handler.headers.items() if name.lower() != "connection"}
            connection.request(handler.command, handler.path, body=body or None, headers=headers)
            reply = connection.getresponse()
            data = reply.read()
        finally:
            connection.close()
        kept = {name.lower(): value for name, value in reply.getheaders()}
        for name in ("content-length", "transfer-encoding", "connection"):
            kept.pop(name, None)
        try:
            asked = json.loads(body)
        except ValueError:
            asked = {}
        asked = asked if isinstance(asked, dict) else {}
        return Exchange(handler.command, handler.path, body, reply.status, kept, data, asked=asked)


# -- ways to be wrong ------------------------------------------------------------------------------


def whole(spoil: Callable[[Any], Any]) -> Fault:
    """Spoil successful JSON replies; what the function returns replaces it, unless it is None."""

    def fault(exchange: Exchange) -> None:
        if exchange.status == 200 and not exchange.streamed and exchange.reply:
            value = json.loads(exchange.reply)
            changed = spoil(value)
            exchange.reply = json.dumps(value if changed is None else changed).encode()

    return fault


def failed(spoil: Callable[[Exchange], None]) -> Fault:
    """Spoil refusals."""

    def fault(exchange: Exchange) -> None:
        if exchange.status >= 400:
            spoil(exchange)

    return fault


def stream(spoil: Callable[[bytes], bytes]) -> Fault:
    """Spoil the bytes of a stream."""

    def fault(exchange: Exchange) -> None:
        if exchange.streamed:
            exchange.reply = spoil(exchange.reply)

    return fault


def events(spoil: Callable[[list[Any]], list[Any]]) -> Fault:
    """Spoil the events of a stream: a list of (name, value); a value that is no JSON is its text."""

    def change(data: bytes) -> bytes:
        found: list[Any] = []
        for block in data.decode().replace("\r\n", "\n").split("\n\n"):
            lines = dict(line.split(": ", 1) for line in block.split("\n") if ": " in line and line[0] != ":")
            if "data" in lines:
                text = lines["data"]
                found.append([lines.get("event"), json.loads(text) if text[0] == "{" else text])
        out = []
        for name, value in spoil(found):
            head = f"event: {name}\n" if name else ""
            text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            out.append(f"{head}data: {text}\n\n")
        return "".join(out).encode()

    return stream(change)


def values(spoil: Callable[[Any], None], *, last: bool = False) -> Fault:
    """Spoil every JSON value of a stream, or the last."""

    def change(found: list[Any]) -> list[Any]:
        objects = [value for _, value in found if isinstance(value, dict)]
        for value in objects[-1:] if last else objects:
            spoil(value)
        return found

    return events(change)
