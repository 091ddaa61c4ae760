"""A stream of Cohere's v2 chat to events. https://docs.cohere.com/v2/docs/streaming

Server-sent events, each with its ``type``; ``data: [DONE]`` behind the last one, or not. The stream
is whole when ``message-end`` came.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llm_router.domain.errors import UpstreamError
from llm_router.wire import events
from llm_router.wire.dialects.cohere_chat.facts import FAILURES, finish_of
from llm_router.wire.dialects.cohere_chat.parts import Events, PartsReader
from llm_router.wire.dialects.cohere_chat.usage import read_usage
from llm_router.wire.failures import Said, failure, looks_like_failure, malformed, said_of, truncated
from llm_router.wire.framing.sse import EventTooLarge, Frame, SSEReader
from llm_router.wire.halves import HalfCharacters
from llm_router.wire.lenient import listing, load, mapping, text_of

BROKEN_MAX = 1
"""How many frames that are no JSON are skipped before the stream is given up."""


class Decoder:
    """A :class:`~llm_router.wire.dialect.StreamDecoder`. Never raises."""

    def __init__(self) -> None:
        self._reader = SSEReader()
        self._halves = HalfCharacters()
        self._parts = PartsReader()
        self._broken = 0
        self._closing = False  # half an event at the end is a cut, not an event that is no JSON
        self._started = False
        self._done = False

    def feed(self, data: bytes) -> Events:
        """Events completed by these bytes."""
        if self._done:
            return []
        try:
            frames = self._reader.feed(data)
        except EventTooLarge as error:
            return self._fail(malformed(f"a stream that cannot be read: {error}"))
        return self._frames(frames)

    def close(self) -> Events:
        """The upstream closed cleanly: the last events."""
        if self._done:
            return []
        self._closing = True
        out = self._frames(self._reader.close())
        return out if self._done else out + self._fail(truncated())

    def _frames(self, frames: list[Frame]) -> Events:
        return [event for frame in frames for event in self._frame(frame)]

    def _frame(self, frame: Frame) -> Events:
        data = self._halves.join(frame.data.strip())
        if self._done or not data or data == b"[DONE]":
            return []
        body = load(data)
        if not isinstance(body, dict):
            self._broken += body is None and data != b"null" and not self._closing
            return [] if self._broken <= BROKEN_MAX else self._fail(malformed("events that are no JSON"))
        self._parts.ids.seed(data)
        kind = text_of(body.get("type")) or frame.event.decode("utf-8", "replace")
        handler = _HANDLERS.get(kind)
        if handler is not None:
            return self._begun(handler(self, body))
        if kind == "error" or looks_like_failure(body):
            return self._fail(failure(said_of(body)))
        return []

    def _begun(self, out: Events) -> Events:
        """See to it that Started comes first, and once."""
        if out and not self._started:
            self._started = True
            if not isinstance(out[0], events.Started):
                out.insert(0, events.Started())
        return out

    def _fail(self, error: UpstreamError) -> Events:
        self._done = True
        return [events.Failed(error=error)]

    def _message_start(self, body: dict[str, Any]) -> Events:
        return [] if self._started else [events.Started(id=text_of(body.get("id")))]

    def _content(self, body: dict[str, Any]) -> Events:
        out = self._parts.content(body.get("index"), _message(body).get("content"))
        return out + self._parts.logprobs(body.get("logprobs"))

    def _tool_plan(self, body: dict[str, Any]) -> Events:
        return self._parts.plan(_message(body).get("tool_plan"))

    def _call_start(self, body: dict[str, Any]) -> Events:
        return self._parts.call(body.get("index"), _first(_message(body).get("tool_calls")))

    def _call_delta(self, body: dict[str, Any]) -> Events:
        function = mapping(_first(_message(body).get("tool_calls"))).get("function")
        return self._parts.more_call(body.get("index"), mapping(function).get("arguments"))

    def _call_end(self, body: dict[str, Any]) -> Events:
        return self._parts.end_call(body.get("index"))

    def _citation(self, body: dict[str, Any]) -> Events:
        return self._parts.cite(_message(body).get("citations"))

    def _message_end(self, body: dict[str, Any]) -> Events:
        delta = mapping(body.get("delta"))
        native = text_of(delta.get("finish_reason")) or None
        seen = read_usage(delta.get("usage"))
        out = self._parts.finish()
        if seen is not None:
            out.append(seen)
        broken = failed(native, delta.get("error"))
        if broken is not None:
            return out + self._fail(broken)
        self._done = True
        flags = ("malformed_chunk",) if self._broken else ()
        finish = finish_of(native, calls=self._parts.calls)
        return [*out, events.Finished(reason=finish, native=native), events.Ended(flags=flags)]


def failed(native: str | None, error: object) -> UpstreamError | None:
    """The failure that a finish reason, or the error beside it, tells; None for a good end."""
    kind = FAILURES.get((native or "").upper())
    if kind is None and not error:
        return None
    said = said_of(error) if error else Said()
    if not said.message:
        said = Said(message=f"The provider ended the answer with {native}.")
    return failure(said, kind=kind)


def _message(body: dict[str, Any]) -> dict[str, Any]:
    return mapping(mapping(body.get("delta")).get("message"))


def _first(value: object) -> object:
    """One object, also where it comes in a list."""
    found = listing(value)
    return found[0] if found else value


_HANDLERS: dict[str, Callable[[Decoder, dict[str, Any]], Events]] = {
    "message-start": Decoder._message_start,
    "content-start": Decoder._content,
    "content-delta": Decoder._content,
    "content-end": lambda decoder, body: [],  # see parts.py
    "tool-plan-delta": Decoder._tool_plan,
    "tool-call-start": Decoder._call_start,
    "tool-call-delta": Decoder._call_delta,
    "tool-call-end": Decoder._call_end,
    "citation-start": Decoder._citation,
    "citation-end": lambda decoder, body: [],
    "message-end": Decoder._message_end,
    "debug": lambda decoder, body: [],
}
