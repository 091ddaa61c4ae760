"""Sending replies over ASGI: whole, in events, and broken in the ordered ways."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from llm_router.sandbox.directives import Fault
from llm_router.sandbox.form import Form, Headers
from llm_router.sandbox.stream import small_events
from llm_router.wire import events
from llm_router.wire.dialect import Bill, ReplyContext

_DATA = re.compile(rb"(?<=data: )\{[^\r\n]*\}")
_ELEMENT = re.compile(rb"\{[^\r\n]*\}")
"""A message of a JSON array, which the encoder writes on one line each."""

_USAGE = re.compile(rb'"usage(?:Metadata)?"\s*:')


class Gone(Exception):
    """The client closed the connection."""


class Connection:
    """One request and its reply over ASGI. Notices when the client goes, which ``send`` never says."""

    def __init__(self, receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]) -> None:
        self._receive = receive
        self._send = send
        self._gone = asyncio.Event()
        self._watcher: asyncio.Task[None] | None = None

    async def read(self, bytes_max: int) -> bytes | None:
        """The request's body; None if it is longer than ``bytes_max``.

        Raises:
            Gone: the client left before it was whole.
        """
        parts: list[bytes] = []
        size = 0
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise Gone
            size += len(message.get("body", b""))
            if size <= bytes_max:
                parts.append(message.get("body", b""))
            if not message.get("more_body", False):
                break
        self._watcher = asyncio.create_task(self._watch())
        return b"".join(parts) if size <= bytes_max else None

    async def pause(self, seconds: float) -> None:
        """Wait; with 0, only let others run.

        Raises:
            Gone: the client left meanwhile.
        """
        if seconds > 0:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._gone.wait(), seconds)
        else:
            await asyncio.sleep(0)
        if self._gone.is_set():
            raise Gone

    async def start(self, status: int, headers: Headers) -> None:
        encoded = [(name.encode(), value.encode("latin-1", "replace")) for name, value in headers]
        await self._send({"type": "http.response.start", "status": status, "headers": encoded})

    async def body(self, data: bytes, *, more: bool) -> None:
        await self._send({"type": "http.response.body", "body": data, "more_body": more})

    async def send_whole(self, status: int, headers: Headers, body: bytes) -> None:
        await self.start(status, (*headers, ("content-length", str(len(body)))))
        await self.body(body, more=False)

    async def send_part_of(self, status: int, headers: Headers, body: bytes, size: int) -> None:
        """Announce the whole body, send ``size`` bytes of it; the server then drops the connection."""
        await self.start(status, (*headers, ("content-length", str(len(body)))))
        await self.body(body[:size], more=True)

    async def close(self) -> None:
        if self._watcher is not None:
            self._watcher.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._watcher

    async def _watch(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._gone.set()


async def send_stream(
    connection: Connection,
    form: Form,
    head: Headers,
    reply: events.Reply,
    context: ReplyContext,
    faults: dict[str, Fault],
    failure: bytes | None,
    slow_s: float,
) -> None:
    """Stream a reply event by event; ordered faults strike in its middle."""
    counted = reply.usage is not None
    kind = "application/json" if context.json_array else form.dialect.content_type_stream
    await connection.start(200, (*(h for h in head if h[0] != "content-type"), ("content-type", kind)))
    encoder = form.dialect.stream_encoder(context)
    batch = list(small_events(reply))
    if reply.usage is not None:  # what Anthropic's first message tells: the input, and hardly any output
        early = msgspec.structs.replace(reply.usage, output_tokens=1, reasoning_tokens=0)
        batch.insert(1, events.UsageSeen(usage=early))
    deltas = [at for at, event in enumerate(batch) if isinstance(event, events.PartDelta)]
    middle = deltas[len(deltas) // 2] if deltas else 0
    for at, event in enumerate(batch):
        data = encoder.encode(event)
        if data:
            await connection.body(_mended(form, context, data, counted), more=True)
            await connection.pause(slow_s)
        if at == middle and not await _strike(connection, form, context, faults, failure):
            return
    bill = Bill(usage=reply.usage, cost_pusd=0, credits_remaining_pusd=0)
    await connection.body(_mended(form, context, encoder.finish(bill), counted), more=False)


async def _strike(
    connection: Connection, form: Form, context: ReplyContext, faults: dict[str, Fault], failure: bytes | None
) -> bool:
    """Do what was ordered for the middle of the stream; False if that ends it."""
    if "stall" in faults:
        await connection.pause(faults["stall"].seconds)
    if "malformed" in faults:
        await connection.body(form.garbage(context.json_array), more=True)
    if failure is not None:
        await connection.body(form.failure(failure, context.json_array), more=False)
        return False
    if "cut" in faults:
        if faults["cut"].clean:
            await connection.body(b"", more=False)
        return False  # without an end, the server drops the connection
    return True


def _mended(form: Form, context: ReplyContext, data: bytes, counted: bool) -> bytes:
    """Stream bytes with every message that holds usage put the way the provider writes it."""
    if not _USAGE.search(data):
        return data

    def mend(match: re.Match[bytes]) -> bytes:
        message = form.mend(msgspec.json.decode(match[0]), context.model, counted)
        return msgspec.json.encode(message)

    return (_ELEMENT if context.json_array else _DATA).sub(mend, data)
