"""A gateway in a process of its own, a plain HTTP client for it, and its log as a test can wait for it."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec

from llm_router.adapters.control import call_control

WAIT_S = 30.0
"""For anything that has to happen; reached only when it never does."""

TROUBLE = re.compile(
    r"unforeseen error|Traceback|never retrieved|never awaited|ResourceWarning|Exception in ASGI"
    r"|ASGI callable|Task was destroyed|Exception ignored|Unclosed|running task\(s\)"
)
"""Words on standard error that no test may cause."""


@dataclass
class Answer:
    """A whole HTTP reply."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body, parse_float=Decimal)

    @property
    def error(self) -> Any:
        return self.json["error"]

    @property
    def id(self) -> str:
        return self.headers["x-generation-id"]


@dataclass
class Streamed(Answer):
    """An event stream, read to its end. ``broken``: the transfer itself was cut off."""

    chunks: list[Any] = field(default_factory=list)
    comments: int = 0
    done: bool = False
    broken: bool = False

    @property
    def text(self) -> str:
        return "".join(
            choice["delta"].get("content") or ""
            for chunk in self.chunks
            for choice in chunk.get("choices", ())
            if choice["index"] == 0
        )

    @property
    def failure(self) -> Any:
        return next((chunk["error"] for chunk in self.chunks if "error" in chunk), None)

    @property
    def usage(self) -> Any:
        return next((chunk["usage"] for chunk in reversed(self.chunks) if chunk.get("usage")), None)


class Gateway:
    """``llm-router serve`` on any free port.

    Attributes:
        key: the first key; port: where it listens; url: its base URL for SDKs.
    """

    def __init__(self, folder: Path, *words: str, config: str = "", environ: dict[str, str] | None = None):
        self.folder = folder
        self.data_dir = folder / "data"
        self.config = folder / "router.toml"
        self.config.write_text(config)
        self._words = words
        self._environ = environ or {}
        self.key = ""
        self.start()

    def start(self) -> None:
        """Start it, on the data of an earlier run if there is one."""
        self.process = subprocess.Popen(
            [
                sys.executable, "-m", "llm_router.cli", "serve", *self._words,
                "--port", "0", "--data-dir", str(self.data_dir), "--config", str(self.config),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={
                **{name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ},
                "HOME": str(self.folder),
                "PYTHONWARNINGS": "default::ResourceWarning",
                **self._environ,
            },
        )  # fmt: skip
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        self.log = Log(self.process.stderr)
        said = ""
        for line in self.process.stdout:
            said += line
            if line.startswith("  Config"):
                break
        found = re.search(r"answers at http://127\.0\.0\.1:(\d+)/v1", said)
        if found is None:
            self.process.kill()
            self.process.wait()
            self.process.stdout.close()
            self.log.join()
            self.process.stderr.close()
            raise AssertionError(f"the gateway did not start:\n{said}{self.log.text}")
        self.port = int(found[1])
        self.url = f"http://127.0.0.1:{self.port}/v1"
        shown = re.search(r"sk-lr-[0-9A-Za-z]{43}", said)
        if shown is not None:
            self.key = shown[0]
        self._drain = threading.Thread(target=self.process.stdout.read, daemon=True)
        self._drain.start()

    def stop(self, number: int = signal.SIGTERM) -> int:
        """End it; its exit status. What it printed of trouble fails the test."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            status = self.process.wait(WAIT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError("the gateway did not stop:\n" + "".join(self.log.lines)) from None
        finally:
            self._drain.join(WAIT_S)
            self.log.join()
            for pipe in (self.process.stdout, self.process.stderr):
                if pipe is not None:
                    pipe.close()
        self.log.check()
        return status

    # commands

    def command(self, command: str, /, **arguments: object) -> dict[str, Any]:
        """A command of the operator, through the control socket."""
        result = asyncio.run(call_control(self.data_dir, command, arguments))
        assert result is not None, "no gateway answers on its control socket"
        decoded: dict[str, Any] = json.loads(msgspec.json.encode(result), parse_float=Decimal)
        return decoded

    def credits(self, account: str = "default") -> Decimal:
        return Decimal(self.command("credits.show", account=account)["credits_remaining"])

    def new_key(self, name: str = "test", **options: object) -> str:
        return str(self.command("keys.create", name=name, **options)["key"])

    def generation(self, id_: str, key: str | None = None) -> Any:
        answer = self.get(f"/v1/generations/{id_}", key=key)
        assert answer.status == 200, answer.body
        return answer.json

    # requests

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=WAIT_S)

    def send(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
        key: str | None = None,
    ) -> Answer:
        with closing(self.connect()) as connection:
            connection.request(method, path, body=body, headers=self._headers(headers, key))
            reply = connection.getresponse()
            return Answer(reply.status, _lower(reply), reply.read())

    def get(self, path: str, key: str | None = None) -> Answer:
        return self.send("GET", path, key=key)

    def chat(
        self,
        model: str,
        text: object = "hi",
        *,
        key: str | None = None,
        headers: dict[str, str] | None = None,
        **members: Any,
    ) -> Answer:
        body = json.dumps(chat_body(model, text, **members)).encode()
        return self.send("POST", "/v1/chat/completions", body, headers, key)

    def stream(
        self,
        model: str,
        text: object = "hi",
        *,
        key: str | None = None,
        headers: dict[str, str] | None = None,
        **members: Any,
    ) -> Streamed:
        """A streamed chat, read to its end. Not to be used for replies that stall for ever."""
        body = json.dumps(chat_body(model, text, stream=True, **members)).encode()
        with closing(self.connect()) as connection:
            connection.request("POST", "/v1/chat/completions", body, headers=self._headers(headers, key))
            reply = connection.getresponse()
            try:
                data, broken = reply.read(), False
            except http.client.IncompleteRead as cut:
                data, broken = cut.partial, True
            return read_stream(reply.status, _lower(reply), data, broken)

    def ask(self, streamed: bool, model: str, text: object = "hi", **options: Any) -> Any:
        return self.stream(model, text, **options) if streamed else self.chat(model, text, **options)

    def raw(self, *pieces: bytes) -> bytes:
        """Send bytes as they are, one piece after the other, and read until the gateway closes."""
        with socket.create_connection(("127.0.0.1", self.port), WAIT_S) as connection:
            received = b""
            with suppress(ConnectionError):
                for piece in pieces:
                    connection.sendall(piece)
            with suppress(ConnectionError):  # what came before the connection broke can still be read
                while data := connection.recv(65536):
                    received += data
            return received

    def head(self, size: int | None, *headers: str, key: str | None = None) -> bytes:
        """The head of a chat request, as bytes."""
        lines = ["POST /v1/chat/completions HTTP/1.1", "host: x", "content-type: application/json", *headers]
        key = self.key if key is None else key
        lines += [f"authorization: Bearer {key}"] if key else []
        lines += [] if size is None else [f"content-length: {size}"]
        return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n"

    def hang_up(self, body: bytes, until: bytes | None) -> None:
        """Send a chat request and leave: at once, or when these bytes have come."""
        with socket.create_connection(("127.0.0.1", self.port), WAIT_S) as connection:
            connection.sendall(self.head(len(body)) + body)
            received = b""
            while until is not None and until not in received:
                data = connection.recv(65536)
                assert data, received
                received += data

    def _headers(self, headers: dict[str, str] | None, key: str | None) -> dict[str, str]:
        key = self.key if key is None else key
        plain = {"authorization": f"Bearer {key}"} if key else {}
        return {"content-type": "application/json", **plain, **(headers or {})}


def chat_body(model: str, text: object = "hi", **members: Any) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": text}], **members}


def read_stream(status: int, headers: dict[str, str], data: bytes, broken: bool) -> Streamed:
    """Read an event stream as strict clients do: one data line an event, then a blank line."""
    answer = Streamed(status, headers, data, broken=broken)
    if not headers.get("content-type", "").startswith("text/event-stream"):
        return answer
    whole, _, rest = data.rpartition(b"\n\n")
    assert rest == b"" or broken, f"the stream ends within an event: {rest!r}"
    for event in whole.split(b"\n\n") if whole else ():
        if event.startswith(b":"):
            answer.comments += 1
        elif event == b"data: [DONE]":
            answer.done = True
        else:
            assert event.startswith(b"data: "), event
            assert not answer.done, "data after the end marker"
            answer.chunks.append(json.loads(event[6:], parse_float=Decimal))
    return answer


class Log:
    """The standard error of a process, line by line; a test may wait for a line."""

    def __init__(self, pipe: Any) -> None:
        self.lines: list[str] = []
        self._changed = threading.Condition()
        self._ended = False
        self._thread = threading.Thread(target=self._read, args=(pipe,), daemon=True)
        self._thread.start()

    def _read(self, pipe: Any) -> None:
        for line in pipe:
            with self._changed:
                self.lines.append(line)
                self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    @property
    def text(self) -> str:
        return "".join(self.lines)

    def mark(self) -> int:
        """A place from which to look; see :meth:`wait`."""
        return len(self.lines)

    def wait(self, words: str, since: int = 0, count: int = 1) -> list[str]:
        """The first ``count`` lines after ``since`` that hold ``words``."""

        def found() -> list[str]:
            return [line for line in self.lines[since:] if words in line]

        with self._changed:
            self._changed.wait_for(lambda: len(found()) >= count or self._ended, WAIT_S)
        assert len(found()) >= count, f"no {words!r} x{count} in:\n" + "".join(self.lines[since:])
        return found()[:count]

    def check(self) -> None:
        """No bug of ours was reported."""
        bad = [line for line in self.lines if TROUBLE.search(line)]
        assert not bad, "".join(self.lines[-80:])

    def join(self) -> None:
        self._thread.join(WAIT_S)


@contextmanager
def closing(connection: http.client.HTTPConnection) -> Iterator[http.client.HTTPConnection]:
    try:
        yield connection
    finally:
        connection.close()


def _lower(reply: http.client.HTTPResponse) -> dict[str, str]:
    return {name.lower(): value for name, value in reply.getheaders()}


def until(condition: Callable[[], bool]) -> None:
    """Wait for what another process does without telling; each look asks it, which takes a moment."""
    import time

    give_up = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < give_up, "it never happened"


def body_of(model: str, **members: Any) -> bytes:
    """The body of a chat request as bytes."""
    return json.dumps(chat_body(model, **members)).encode()


def status_of(reply: bytes) -> int:
    """The status of a raw reply."""
    assert reply.startswith(b"HTTP/1.1 "), reply[:200]
    return int(reply[9:12])
