"""A provider that streams at a fixed pace, and costs little: events are written from prepared bytes.

    python bench/suite/paced.py PORT

``/paced/INTERVAL_MS/EVENTS/...`` answers with a stream of so many events, one each interval, in the
dialect of the rest of the path (OpenAI chat, Anthropic messages, Gemini). One timer a millisecond serves
all streams: those of an interval are spread over its slots by when they began. An event that is late is
not caught up with, so that events do not come in heaps. From 100 ms on, an event carries the time at which
it was written (``@NANOSECONDS@``, monotonic).
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Callable

import uvloop

HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncache-control: no-cache\r\n"
    b"transfer-encoding: chunked\r\n\r\n"
)
STAMPED_FROM_MS = 100


def chunk(*events: str) -> bytes:
    data = "".join(events).encode()
    return b"%x\r\n%b\r\n" % (len(data), data)


def sse(value: object, name: str = "") -> str:
    return f"{f'event: {name}' + chr(10) if name else ''}data: {json.dumps(value)}\n\n"


def openai(text: str) -> tuple[bytes, bytes, bytes]:
    """First bytes, an event and the last bytes of a stream."""

    def event(delta: dict[str, str], finish: str | None = None) -> str:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return sse({**shell, "choices": [choice], "usage": None})

    shell = {
        "id": "chatcmpl-bench0000000000000000000000", "object": "chat.completion.chunk",
        "created": 1760000000, "model": "bench-model", "system_fingerprint": None,
    }  # fmt: skip
    usage = {"prompt_tokens": 96, "completion_tokens": 500, "total_tokens": 596}
    last = (event({}, "stop"), sse({**shell, "choices": [], "usage": usage}), "data: [DONE]\n\n")
    return chunk(event({"role": "assistant", "content": ""})), chunk(event({"content": text})), chunk(*last)


def anthropic(text: str) -> tuple[bytes, bytes, bytes]:
    def event(kind: str, **members: object) -> str:
        return sse({"type": kind, **members}, kind)

    message = {
        "id": "msg_bench00000000000000000000", "type": "message", "role": "assistant", "model": "bench-model",
        "content": [], "stop_reason": None, "stop_sequence": None,
        "usage": {"input_tokens": 96, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0, "output_tokens": 1},
    }  # fmt: skip
    first = (
        event("message_start", message=message),
        event("content_block_start", index=0, content_block={"type": "text", "text": ""}),
    )
    each = event("content_block_delta", index=0, delta={"type": "text_delta", "text": text})
    end = {"stop_reason": "end_turn", "stop_sequence": None}
    last = (
        event("content_block_stop", index=0),
        event("message_delta", delta=end, usage={"output_tokens": 500}),
        event("message_stop"),
    )
    return chunk(*first), chunk(each), chunk(*last)


def gemini(text: str) -> tuple[bytes, bytes, bytes]:
    def event(text: str, **members: object) -> str:
        candidate = {"content": {"parts": [{"text": text}], "role": "model"}, "index": 0, **members}
        usage = {"promptTokenCount": 96, "candidatesTokenCount": 500, "totalTokenCount": 596}
        return sse(
            {
                "candidates": [candidate],
                "usageMetadata": usage,
                "modelVersion": "bench-model",
                "responseId": "b1",
            }
        )

    return b"", chunk(event(text)), chunk(event(" end", finishReason="STOP"))  # fmt: skip


def dialect_of(path: bytes) -> Callable[[str], tuple[bytes, bytes, bytes]]:
    if b"/messages" in path:
        return anthropic
    return gemini if b"streamGenerateContent" in path else openai


class Wheel:
    """One timer of a millisecond for all streams of all intervals."""

    def __init__(self) -> None:
        self.slots: dict[int, list[set[Stream]]] = {}
        self.tick = 0

    def add(self, stream: Stream) -> None:
        slots = self.slots.setdefault(stream.interval_ms, [set() for _ in range(stream.interval_ms)])
        stream.slot = slots[self.tick % stream.interval_ms]
        stream.slot.add(stream)

    def turn(self, loop: asyncio.AbstractEventLoop) -> None:
        loop.call_later(0.001, self.turn, loop)
        self.tick += 1
        for interval_ms, slots in self.slots.items():
            for stream in tuple(slots[self.tick % interval_ms]):
                stream.step()


class Stream(asyncio.Protocol):
    """A connection; at most one stream at a time goes over it."""

    def __init__(self, wheel: Wheel) -> None:
        self.wheel = wheel
        self.waiting = b""
        self.slot: set[Stream] = set()
        self.interval_ms = self.left = 0
        self.event = self.last = b""
        self.stamp: Callable[[], bytes] | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:
        self.transport = transport

    def connection_lost(self, error: Exception | None) -> None:
        self.slot.discard(self)

    def data_received(self, data: bytes) -> None:
        self.waiting += data
        head, found, body = self.waiting.partition(b"\r\n\r\n")
        if not found:
            return
        length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
        if len(body) < length:
            return
        self.waiting = body[length:]
        self.begin(head.split(b" ", 2)[1])

    def begin(self, path: bytes) -> None:
        _, _, interval_ms, events, _ = path.split(b"/", 4)
        self.interval_ms, self.left = int(interval_ms), int(events)
        dialect = dialect_of(path)
        first, self.event, self.last = dialect(" token")
        if self.interval_ms >= STAMPED_FROM_MS:
            before, after = dialect(f" {'@' * 21}")[1].split(b"@" * 21)
            self.stamp = lambda: b"%b@%019d@%b" % (before, time.monotonic_ns(), after)
        self.transport.write(HEAD + first)
        self.wheel.add(self)

    def step(self) -> None:
        if not self.left:
            self.slot.discard(self)
            self.transport.write(self.last + b"0\r\n\r\n")
            return
        self.left -= 1
        self.transport.write(self.event if self.stamp is None else self.stamp())


async def main(port: int) -> None:
    loop, wheel = asyncio.get_running_loop(), Wheel()
    server = await loop.create_server(lambda: Stream(wheel), "127.0.0.1", port, backlog=4096)
    wheel.turn(loop)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
