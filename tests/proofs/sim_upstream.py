"""Providers of a simulation: what each call says and how it ends is drawn from its seed, and written down.

The log of these calls is the invoice that the auditor checks the books against.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from llm_router.domain.errors import UpstreamError, UpstreamKind
from llm_router.ports import Deadlines, UpstreamRequest

if TYPE_CHECKING:
    from simulation import Simulation

TAG = re.compile(rb"tag:(\d+):")

KINDS = (
    *("good",) * 14, "slow", "no_usage", "zero_usage", "absurd_usage", "empty", "excess", "refused", "reset",
    "silent", "status_400", "status_401", "status_429", "status_500", "status_503", "html", "error_in_200",
    "cut", "cut_head", "stall", "error_event", "twice_usage",
)  # fmt: skip
"""What a provider may do; most often what it should."""

COMPLETE = ("good", "slow", "excess", "twice_usage")
"""Whole answers with a usage that can be believed."""


@dataclass
class Script:
    """What one call does. ``usage``: (input, output) tokens, None for none."""

    kind: str
    usage: Any
    words: list[str]
    connect_s: float
    first_s: float
    gap_s: float
    cut_at: int


@dataclass
class UpCall:
    """One call as the provider saw it.

    Attributes:
        received: its bytes arrived there. taken: pieces that the gateway took. complete: all of them.
        closed: the gateway let go of it.
    """

    tag: int
    provider: str
    streamed: bool
    script: Script
    body_bytes: int
    received: bool = False
    taken: int = 0
    complete: bool = False
    closed: bool = False
    pieces: list[bytes] = field(default_factory=list)
    chars_taken: int = 0

    @property
    def exact(self) -> tuple[int, int] | None:
        """The tokens of the invoice, if the gateway was told all of them."""
        return self.script.usage if self.complete and self.script.kind in COMPLETE else None


def script_of(dice: random.Random, kinds: tuple[str, ...] = KINDS) -> Script:
    kind = dice.choice(kinds)
    words = [dice.choice(("alpha ", "beta ", "gamma delta ", "x")) for _ in range(dice.randrange(1, 12))]
    usage: Any = (dice.randrange(5, 60), dice.randrange(1, 40))
    match kind:
        case "excess":
            usage = (dice.randrange(200, 2000), dice.randrange(300, 1000))
        case "no_usage":
            usage = None
        case "zero_usage":
            usage = (0, 0)
        case "absurd_usage":
            usage = dice.choice(((-5, 3), (10**30, 1), (5, 10**9), (10**8, 10**8)))
        case "empty":
            words, usage = [], (7, 0)
    slow = kind == "slow"
    return Script(
        kind=kind,
        usage=usage,
        words=words,
        connect_s=dice.choice((0.0, 0.001, 0.03)),
        first_s=dice.uniform(1, 20) if slow else dice.choice((0.0, 0.01, 0.4)),
        gap_s=dice.uniform(0.5, 5) if slow else dice.choice((0.0, 0.001, 0.05, 0.3)),
        cut_at=dice.randrange(0, len(words) + 2),
    )


class SimUpstream:
    """The port Upstream."""

    def __init__(self, simulation: Simulation) -> None:
        self._simulation = simulation

    async def send(self, request: UpstreamRequest, deadlines: Deadlines) -> SimReply:
        simulation = self._simulation
        found = TAG.search(request.body)
        assert found is not None
        body = json.loads(request.body)
        tag = int(found[1])
        provider = request.url.split("/")[2].split(".")[0]
        nth = sum(call.tag == tag for call in simulation.calls)
        script = simulation.script(tag, nth)
        streamed = bool(body.get("stream"))
        call = UpCall(tag, provider, streamed, script, len(request.body))
        simulation.calls.append(call)
        simulation.told("asked", tag, provider, script.kind)
        simulation.must_be_held(tag)
        try:
            await asyncio.sleep(script.connect_s)
            if script.kind == "refused":
                raise UpstreamError("refused", kind=UpstreamKind.UNAVAILABLE, sent=False)
            call.received = True
            if script.kind == "reset":
                raise UpstreamError("reset", kind=UpstreamKind.UNAVAILABLE, sent=True)
            if script.kind == "silent" or script.first_s > deadlines.first_byte_s:
                await asyncio.sleep(deadlines.first_byte_s)
                raise UpstreamError("no byte", kind=UpstreamKind.TIMEOUT, sent=True)
            await asyncio.sleep(script.first_s)
        except BaseException:
            call.closed = True
            raise
        return SimReply(call, deadlines)

    async def close(self) -> None: ...


class SimReply:
    """The port UpstreamReply."""

    def __init__(self, call: UpCall, deadlines: Deadlines) -> None:
        self.call = call
        self._deadlines = deadlines
        kind = call.script.kind
        self.status = int(kind[7:]) if kind.startswith("status_") else 200
        self.headers: Mapping[str, str] = {"content-type": "application/json"}
        call.pieces = _pieces(call, self.status)

    def expect_content(self, *, more: bool) -> None: ...

    async def chunks(self) -> AsyncIterator[bytes]:
        call, script = self.call, self.call.script
        for number, piece in enumerate(call.pieces):
            if script.kind in ("cut", "cut_head", "stall") and number >= self._end():
                await self._break()
            await self._wait(script.gap_s)
            call.taken += 1
            call.chars_taken += len(piece)
            call.complete = call.taken == len(call.pieces)
            yield piece
        if script.kind in ("cut", "cut_head", "stall"):
            await self._break()

    def _end(self) -> int:
        return (
            0
            if self.call.script.kind == "cut_head"
            else min(self.call.script.cut_at, len(self.call.pieces) - 2)
        )

    async def _break(self) -> None:
        self.call.complete = False
        if self.call.script.kind == "stall":
            await asyncio.sleep(self._deadlines.idle_s)
            raise UpstreamError("silent", kind=UpstreamKind.TIMEOUT, sent=True)
        raise UpstreamError("cut", kind=UpstreamKind.TRUNCATED, sent=True)

    async def _wait(self, gap_s: float) -> None:
        if gap_s > self._deadlines.idle_s:
            await asyncio.sleep(self._deadlines.idle_s)
            raise UpstreamError("silent", kind=UpstreamKind.TIMEOUT, sent=True)
        await asyncio.sleep(gap_s)

    async def read(self, bytes_max: int) -> bytes:
        return b"".join([piece async for piece in self.chunks()])

    async def close(self) -> None:
        self.call.closed = True


# What the two dialects say.


def _pieces(call: UpCall, status: int) -> list[bytes]:
    kind = call.script.kind
    if status != 200:
        error = {"message": "no", "type": "t", "code": None}
        return [json.dumps({"type": "error", "error": error}).encode()]
    if kind == "html":
        return [b"<html><body>captcha</body></html>"]
    if kind == "error_in_200":
        return [
            json.dumps({"type": "error", "error": {"message": "broken", "type": "server_error"}}).encode()
        ]
    anthropic = call.provider == "anth"
    if call.streamed:
        events = _anthropic_events(call.script) if anthropic else _openai_events(call.script)
        if kind == "error_event":
            broken: dict[str, Any] = {
                "type": "error",
                "error": {"type": "overloaded_error", "message": "broken"},
            }
            at = min(call.script.cut_at, len(events) - 2)
            return [*events[:at], _sse(broken, "error" if anthropic else None)]
        return events
    if kind == "error_event":
        return [b"{"]
    data = json.dumps(_anthropic_whole(call.script) if anthropic else _openai_whole(call.script)).encode()
    half = len(data) // 2
    return [data[:half], data[half : half + 9], data[half + 9 :]]


def _sse(value: Any, event: str | None = None) -> bytes:
    return (f"event: {event}\n" if event else "").encode() + b"data: " + json.dumps(value).encode() + b"\n\n"


def _openai_usage(usage: Any) -> dict[str, Any]:
    return {"prompt_tokens": usage[0], "completion_tokens": usage[1], "total_tokens": sum(usage)}


def _openai_whole(script: Script) -> dict[str, Any]:
    message = {"role": "assistant", "content": "".join(script.words)}
    body: dict[str, Any] = {
        "id": "chatcmpl-up", "object": "chat.completion", "created": 1, "model": "up",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
    }  # fmt: skip
    return body if script.usage is None else body | {"usage": _openai_usage(script.usage)}


def _openai_events(script: Script) -> list[bytes]:
    common = {"id": "chatcmpl-up", "object": "chat.completion.chunk", "created": 1, "model": "up"}

    def delta(value: dict[str, Any], finish: str | None = None) -> bytes:
        return _sse({**common, "choices": [{"index": 0, "delta": value, "finish_reason": finish}]})

    said = [delta({"role": "assistant"}), *(delta({"content": word}) for word in script.words)]
    said.append(delta({}, "stop"))
    if script.usage is not None:
        last = _sse({**common, "choices": [], "usage": _openai_usage(script.usage)})
        said += [last, last] if script.kind == "twice_usage" else [last]
    return [*said, b"data: [DONE]\n\n"]


def _anthropic_usage(usage: Any) -> dict[str, Any]:
    return {"input_tokens": usage[0], "output_tokens": usage[1]}


def _anthropic_whole(script: Script) -> dict[str, Any]:
    content = [{"type": "text", "text": "".join(script.words)}] if script.words else []
    body: dict[str, Any] = {
        "id": "msg_up", "type": "message", "role": "assistant", "model": "up", "content": content,
        "stop_reason": "end_turn", "stop_sequence": None,
    }  # fmt: skip
    return body if script.usage is None else body | {"usage": _anthropic_usage(script.usage)}


def _anthropic_events(script: Script) -> list[bytes]:
    message: dict[str, Any] = {
        "id": "msg_up", "type": "message", "role": "assistant", "model": "up", "content": [],
        "stop_reason": None, "stop_sequence": None,
    }  # fmt: skip
    last: dict[str, Any] = {
        "type": "message_delta",
        "delta": {"stop_reason": "end_turn", "stop_sequence": None},
    }
    if script.usage is not None:
        message["usage"] = {**_anthropic_usage(script.usage), "output_tokens": min(1, script.usage[1])}
        last["usage"] = _anthropic_usage(script.usage)
    said: list[dict[str, Any]] = [{"type": "message_start", "message": message}]
    if script.words:
        said.append(
            {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
        )
        said += (
            {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": word}}
            for word in script.words
        )
        said.append({"type": "content_block_stop", "index": 0})
    said.append(last)
    if script.kind == "twice_usage":
        said.append(last)
    said.append({"type": "message_stop"})
    return [_sse(value, value["type"]) for value in said]
