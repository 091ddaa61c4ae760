"""Upstreams that do exactly what a test says, byte by byte, in a thread of their own.

Each provider of the configuration is a place: ``/ID/...`` on one listener. A script answers one
request of a place; the last script of a place answers all that follow.
"""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from gateway_kit import WAIT_S


@dataclass(frozen=True)
class Place:
    """A provider of the tests' configuration."""

    id: str
    dialect: str
    auth: str
    auth_name: str | None = None

    @property
    def secret(self) -> str:
        return f"canary-{self.id}-9f8e7d6c5b4a39281706f5e4d3c2b1a0"


PLACES = (
    Place("o1", "openai_chat", "bearer"),
    Place("o2", "openai_chat", "bearer"),
    Place("a1", "anthropic_messages", "header", "x-api-key"),
    Place("a2", "anthropic_messages", "header", "x-api-key"),
    Place("g1", "gemini_generate", "query", "key"),
    Place("g2", "gemini_generate", "header", "x-goog-api-key"),
)
SECRETS = {place.id: place.secret for place in PLACES}

LETTERS = {"openai_chat": "o", "anthropic_messages": "a", "gemini_generate": "g"}
DIALECTS = tuple(LETTERS)


@dataclass
class Seen:
    """A request that arrived at a place."""

    place: str
    head: bytes
    body: bytes
    gone: threading.Event = field(default_factory=threading.Event)

    @property
    def path(self) -> str:
        return self.head.split(b" ", 2)[1].decode()

    @property
    def headers(self) -> dict[str, str]:
        lines = self.head.decode("latin-1").split("\r\n")[1:]
        return {n.lower(): v.strip() for n, _, v in (line.partition(":") for line in lines if line)}

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Peer:
    """The upstream's end of one request."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seen: Seen) -> None:
        self._reader = reader
        self._writer = writer
        self.seen = seen

    async def send(self, *pieces: bytes) -> None:
        """Send each piece in a packet of its own, as far as the loop allows."""
        for piece in pieces:
            self._writer.write(piece)
            await self._writer.drain()
            await asyncio.sleep(0)

    @property
    def closing(self) -> bool:
        """Whether what was sent found the connection closed."""
        return self._writer.is_closing()

    def reset(self) -> None:
        """Close with RST instead of FIN."""
        raw = self._writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()

    async def gone(self) -> None:
        """Wait until the gateway has closed the connection."""
        with suppress(ConnectionError):
            while await self._reader.read(65536):
                pass
        self.seen.gone.set()


Script = Callable[[Peer], Awaitable[None]]


class ScriptedUpstream:
    """One listener for all places, and a second one that refuses every connection."""

    def __init__(self) -> None:
        self.requests: list[Seen] = []
        self.failures: list[BaseException] = []
        self._scripts: dict[str, list[Script]] = {}
        self._changed = threading.Condition()
        self._loop = asyncio.new_event_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._deaf = socket.socket()  # bound, never listening: whoever connects is refused
        self._deaf.bind(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._server = self._call(asyncio.start_server(self._accept, "127.0.0.1", 0, backlog=1024))
        self.port = int(self._server.sockets[0].getsockname()[1])
        self.deaf_port = int(self._deaf.getsockname()[1])

    def _call(self, awaitable: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(awaitable, self._loop).result(WAIT_S)

    def play(self, place: str, *scripts: Script) -> None:
        """Answer the next requests of a place so; the last one answers the rest."""
        self._scripts[place] = list(scripts)

    def reset(self) -> None:
        """Forget scripts and requests, and end what still runs."""

        async def end() -> None:
            for task in list(self._tasks):
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

        self._scripts.clear()
        self._call(end())
        self.requests.clear()

    def at(self, place: str) -> list[Seen]:
        """The requests of a place."""
        return [seen for seen in self.requests if seen.place == place]

    def wait(self, count: int = 1) -> list[Seen]:
        """Wait until so many requests have come."""
        with self._changed:
            self._changed.wait_for(lambda: len(self.requests) >= count, WAIT_S)
        assert len(self.requests) >= count
        return self.requests

    def close(self) -> None:
        async def end() -> None:
            self._server.close()

        self.reset()
        self._call(end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(WAIT_S)
        self._loop.close()
        self._deaf.close()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = self._loop.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            seen = await self._request(reader)
            scripts = self._scripts.get(seen.place, [])
            script = (scripts.pop(0) if len(scripts) > 1 else scripts[0]) if scripts else unscripted
            try:
                await script(Peer(reader, writer, seen))
            except ConnectionError:  # the gateway went while it was being sent to
                seen.gone.set()
        except (EOFError, ConnectionError, asyncio.CancelledError):
            pass
        except Exception as error:
            self.failures.append(error)
        finally:
            writer.close()

    async def _request(self, reader: asyncio.StreamReader) -> Seen:
        head = await reader.readuntil(b"\r\n\r\n")
        length = 0
        for line in head.lower().split(b"\r\n"):
            if line.startswith(b"content-length:"):
                length = int(line.partition(b":")[2])
        body = await reader.readexactly(length)
        place = head.split(b" ", 2)[1].decode().split("/")[1]
        seen = Seen(place, head, body)
        with self._changed:
            self.requests.append(seen)
            self._changed.notify_all()
        return seen


# Scripts.


async def unscripted(peer: Peer) -> None:
    await peer.send(http(599, b'{"error": {"message": "no script for this place"}}'))


def http(status: int, body: bytes, *headers: str, type_: str | None = "application/json") -> bytes:
    """A whole reply; the connection ends after it."""
    lines = [f"HTTP/1.1 {status} X", f"content-length: {len(body)}", "connection: close", *headers]
    if type_ is not None:
        lines.append(f"content-type: {type_}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def head(status: int, *headers: str, type_: str = "text/event-stream") -> bytes:
    """The head of a reply that ends with its connection."""
    lines = [f"HTTP/1.1 {status} X", f"content-type: {type_}", "connection: close", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n"


CHUNKED = "transfer-encoding: chunked"


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def answers(*pieces: bytes) -> Script:
    """Send the pieces and close in order."""

    async def script(peer: Peer) -> None:
        await peer.send(*pieces)

    return script


def sends_then_resets(*pieces: bytes) -> Script:
    async def script(peer: Peer) -> None:
        await peer.send(*pieces)
        peer.reset()

    return script


def stalls(*pieces: bytes) -> Script:
    """Send the pieces, then nothing more, until the gateway gives up."""

    async def script(peer: Peer) -> None:
        await peer.send(*pieces)
        await peer.gone()

    return script


# What the three dialects say.


def usage(dialect: str, input_: object = 10, output: object = 5) -> dict[str, Any]:
    match dialect:
        case "openai_chat":
            total = input_ + output if isinstance(input_, int) and isinstance(output, int) else 0
            return {"prompt_tokens": input_, "completion_tokens": output, "total_tokens": total}
        case "anthropic_messages":
            return {"input_tokens": input_, "output_tokens": output}
        case _:
            return {"promptTokenCount": input_, "candidatesTokenCount": output}


def whole(dialect: str, text: str = "Hello there", counted: Any = None, **more: Any) -> bytes:
    """A whole reply; ``counted`` replaces its usage, False leaves it out."""
    count = usage(dialect) if counted is None else counted
    match dialect:
        case "openai_chat":
            body: dict[str, Any] = {
                "id": "chatcmpl-up", "object": "chat.completion", "created": 1, "model": "up",
                "choices": [{"index": 0, "finish_reason": "stop",
                             "message": {"role": "assistant", "content": text}}],
            }  # fmt: skip
            body |= {"usage": count} if count is not False else {}
        case "anthropic_messages":
            body = {
                "id": "msg_up", "type": "message", "role": "assistant", "model": "up",
                "content": [{"type": "text", "text": text}], "stop_reason": "end_turn", "stop_sequence": None,
            }  # fmt: skip
            body |= {"usage": count} if count is not False else {}
        case _:
            body = {
                "candidates": [{"index": 0, "finishReason": "STOP",
                                "content": {"role": "model", "parts": [{"text": text}]}}],
                "modelVersion": "up", "responseId": "up",
            }  # fmt: skip
            body |= {"usageMetadata": count} if count is not False else {}
    return json.dumps(body | more).encode()


def frames(dialect: str, *texts: str, counted: Any = None) -> list[bytes]:
    """The events of a whole stream, one by one."""
    texts = texts or ("Hello", " there")
    count = usage(dialect) if counted is None else counted
    match dialect:
        case "openai_chat":
            return _openai(texts, count)
        case "anthropic_messages":
            return _anthropic(texts, count)
        case _:
            return _gemini(texts, count)


def sse(value: Any, event: str | None = None) -> bytes:
    name = f"event: {event}\n" if event else ""
    return f"{name}data: {json.dumps(value)}\n\n".encode()


def _openai(texts: tuple[str, ...], count: Any) -> list[bytes]:
    def part(delta: dict[str, Any], finish: str | None = None) -> bytes:
        choices = [{"index": 0, "delta": delta, "finish_reason": finish}]
        return sse({**common, "choices": choices})

    common = {"id": "chatcmpl-up", "object": "chat.completion.chunk", "created": 1, "model": "up"}
    said = [part({"role": "assistant", "content": ""}), *(part({"content": text}) for text in texts)]
    said.append(part({}, "stop"))
    if count is not False:
        said.append(sse({**common, "choices": [], "usage": count}))
    return [*said, b"data: [DONE]\n\n"]


def _anthropic(texts: tuple[str, ...], count: Any) -> list[bytes]:
    def named(value: dict[str, Any]) -> bytes:
        return sse(value, value["type"])

    message: dict[str, Any] = {
        "id": "msg_up", "type": "message", "role": "assistant", "model": "up", "content": [],
        "stop_reason": None, "stop_sequence": None,
    }  # fmt: skip
    last: dict[str, Any] = {
        "type": "message_delta",
        "delta": {"stop_reason": "end_turn", "stop_sequence": None},
    }
    if count is not False:
        message["usage"] = {**count, "output_tokens": 1}
        last["usage"] = count
    opened = {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
    deltas = (
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}}
        for text in texts
    )
    return [
        named({"type": "message_start", "message": message}),
        named(opened),
        *(named(delta) for delta in deltas),
        named({"type": "content_block_stop", "index": 0}),
        named(last),
        named({"type": "message_stop"}),
    ]


def _gemini(texts: tuple[str, ...], count: Any) -> list[bytes]:
    said = []
    for number, text in enumerate(texts):
        candidate: dict[str, Any] = {"index": 0, "content": {"role": "model", "parts": [{"text": text}]}}
        body: dict[str, Any] = {"candidates": [candidate], "modelVersion": "up", "responseId": "up"}
        if number == len(texts) - 1:
            candidate["finishReason"] = "STOP"
            if count is not False:
                body["usageMetadata"] = count
        said.append(sse(body))
    return said


def config_for(upstream: ScriptedUpstream, timeouts: dict[str, float], more: str = "") -> str:
    """A configuration with every place as a provider.

    Models: ``mX`` is at the place ``X1``, ``fX`` at ``X1`` then ``X2``, ``dX`` at one that refuses
    connections then ``X2``; X is the letter of a dialect (o, a, g). A token costs $1 a million in, $2 out.
    """
    lines = ["[server]", "heartbeat_s = 0", "[credits]", "starting = 1000", "hold_wait_s = 0"]
    # A script says what each call gets: none is to be repeated, none to be gone on with, and none to be spared.
    lines += ["[continuation]", 'mode = "off"']
    lines += ["[retries]", "repeats_max = 0", "[health]", "enabled = false", "[timeouts]"]
    lines += [f"{name} = {value}" for name, value in timeouts.items()]
    for place in PLACES:
        lines += [f"[providers.{place.id}]", *_provider(place, upstream.port, place.id)]
    for dialect, letter in LETTERS.items():
        lines += [f"[providers.{letter}0]", f'dialect = "{dialect}"', 'auth = "none"', "key_required = false"]
        lines += [f'base_url = "http://127.0.0.1:{upstream.deaf_port}"']
        for kind, places in (("m", ("1",)), ("f", ("1", "2")), ("d", ("0", "2"))):
            lines += [f'[models."{kind}{letter}"]', "price = { input_per_mtok = 1, output_per_mtok = 2 }"]
            lines += [
                'capabilities = { tools = true, json_schema = true, input_modalities = ["text", "image"] }'
            ]
            for number in places:
                lines += [f'[[models."{kind}{letter}".deployments]]', f'provider = "{letter}{number}"']
                lines += ['upstream_model = "up"']
    return "\n".join(lines) + "\n" + more


def _provider(place: Place, port: int, path: str) -> list[str]:
    lines = [f'dialect = "{place.dialect}"', f'base_url = "http://127.0.0.1:{port}/{path}"']
    lines += [f'auth = "{place.auth}"', f'key = "{place.secret}"', "takes_urls = []"]
    return lines + ([f'auth_name = "{place.auth_name}"'] if place.auth_name else [])


def error_body(dialect: str, code: int, message: str, /, **more: Any) -> bytes:
    match dialect:
        case "openai_chat":
            body: Any = {"error": {"message": message, "type": "some_error", "code": None, **more}}
        case "anthropic_messages":
            body = {"type": "error", "error": {"type": "some_error", "message": message, **more}}
        case _:
            body = {"error": {"code": code, "message": message, "status": "SOME", **more}}
    return json.dumps(body).encode()


def good(dialect: str, streamed: bool, text: str = "Hello there") -> Script:
    """What a provider should do."""
    if streamed:
        return answers(head(200), *frames(dialect, text))
    return answers(http(200, whole(dialect, text)))
