"""The sandbox with faults: an ASGI application that answers right, or commits what a rule says."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Awaitable, Callable
from typing import Any, Protocol
from urllib.parse import parse_qsl

import msgspec

from llm_router.ports import Clock
from llm_router.sandbox.app import BODY_BYTES_MAX, Sandbox, place
from llm_router.sandbox.faults.rules import Faults, Target
from llm_router.sandbox.faults.steps import Answer, Close, Pour, Reset, Send, Step, Wait, whole
from llm_router.sandbox.faults.units import split
from llm_router.sandbox.form import Call, Form

WIRE = "llm_router.wire"
"""The extension of the ASGI scope that holds the connection itself."""

Receive = Callable[[], Awaitable[Any]]
SendMessage = Callable[[Any], Awaitable[None]]


class Flow(Protocol):
    """When more may be written."""

    async def drain(self) -> None:
        """Wait until the client has taken enough."""
        ...


class Wire(Protocol):
    """A connection below HTTP."""

    transport: asyncio.Transport
    flow: Flow


class _Asked(msgspec.Struct):
    """What a body says of a request; it may be anything."""

    model: object = None
    stream: object = None


class FaultLab:
    """The ASGI application. Requests that no rule strikes are the sandbox's own matter."""

    def __init__(self, sandbox: Sandbox, faults: Faults, clock: Clock) -> None:
        self._sandbox = sandbox
        self._faults = faults
        self._clock = clock
        self._began_us = clock.monotonic_us()

    async def __call__(self, scope: Any, receive: Receive, send: SendMessage) -> None:
        form, provider, path = place(scope["path"]) if scope["type"] == "http" else (None, None, "")
        call = None if form is None else form.find(scope["method"], path)
        if form is None or call is None or call.operation not in ("chat", "embed"):
            await self._sandbox(scope, receive, send)
            return
        body = await _read(receive)
        if body is None:
            return
        asked = _asked(body)
        now_s = (self._clock.monotonic_us() - self._began_us) / 1_000_000
        target = self._target(form, provider, call, asked)
        struck = self._faults.strike(target, now_s)
        if struck is None:
            await self._sandbox(scope, _again(body, receive), send)
            return
        answer = await self._answer(scope, body, form, target.stream)
        if answer is None:
            return
        kind, options = struck
        sound = answer.status == 200  # else it is an error of the sandbox itself
        steps = kind.make(answer, options) if sound else whole(answer)
        await perform(scope["extensions"][WIRE]["connection"], receive, steps)

    def _target(self, form: Form, provider: str | None, call: Call, asked: _Asked) -> Target:
        model = call.model or (asked.model if isinstance(asked.model, str) else "")
        name = provider or form.name
        known = () if self._faults.known is None else tuple(self._faults.known(name, model))
        return Target(
            provider=name,
            dialect=(form.dialect.name, form.name),
            models=(model, *(model_id for model_id, _ in known)),
            deployments=(f"{name}/{model}", *(deployment for _, deployment in known)),
            stream=call.operation == "chat"
            and (asked.stream is True if call.stream is None else call.stream),
        )

    async def _answer(self, scope: Any, body: bytes, form: Form, stream: bool) -> Answer | None:
        """What the sandbox would answer. None if it breaks off itself, as the prompt ordered."""
        told: list[Any] = []

        async def keep(message: Any) -> None:
            told.append(message)

        async def never() -> Any:
            await asyncio.Event().wait()

        await self._sandbox(scope, _again(body, never), keep)
        if not told or told[-1].get("more_body", False):
            return None
        query = dict(parse_qsl(scope["query_string"].decode("latin-1")))
        json_array = stream and form.name == "gemini" and query.get("alt") != "sse"
        parts = [message["body"] for message in told[1:]]
        headers = tuple((name.decode(), value.decode("latin-1")) for name, value in told[0]["headers"])
        streamed = stream and told[0]["status"] == 200
        return Answer(
            form=form,
            status=told[0]["status"],
            headers=headers,
            units=split(form.name, parts, json_array) if streamed else (b"".join(parts),),
            streamed=streamed,
            json_array=json_array,
            request_id=dict(headers).get("x-request-id", "req_fault"),
        )


async def _read(receive: Receive) -> bytes | None:
    """The body of a request; None if the client left before its end."""
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        size += len(message.get("body", b""))
        if size <= BODY_BYTES_MAX + 1:
            parts.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(parts)


def _again(body: bytes, later: Receive) -> Receive:
    """A body that was read, to be read again."""
    given = False

    async def receive() -> Any:
        nonlocal given
        if given:
            return await later()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return receive


def _asked(body: bytes) -> _Asked:
    try:
        return msgspec.json.decode(body, type=_Asked)
    except msgspec.MsgspecError:
        return _Asked()


async def perform(wire: Wire, receive: Receive, steps: list[Step]) -> None:
    """Do the steps on the connection itself, and wait until it is gone."""
    gone = asyncio.Event()
    watcher = asyncio.create_task(_watch(receive, gone))
    transport = wire.transport
    try:
        for step in steps:
            if gone.is_set() or transport.is_closing():
                break
            await _step(wire, step, gone)
        if not transport.is_closing():
            transport.close()
        await gone.wait()
    finally:
        transport.abort()
        watcher.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watcher


async def _watch(receive: Receive, gone: asyncio.Event) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    gone.set()


async def _step(wire: Wire, step: Step, gone: asyncio.Event) -> None:
    match step:
        case Send():
            wire.transport.write(step.data)
            await wire.flow.drain()
            await asyncio.sleep(0)
        case Wait():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(step.seconds):
                    await gone.wait()
        case Pour():
            while not gone.is_set() and not wire.transport.is_closing():
                wire.transport.write(step.data)
                await wire.flow.drain()
                await asyncio.sleep(0)
        case Close():
            wire.transport.close()
        case Reset():
            reset(wire.transport)


def reset(transport: asyncio.Transport) -> None:
    """Close with RST: what was not read yet is lost."""
    raw = transport.get_extra_info("socket")
    if raw is not None:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()
