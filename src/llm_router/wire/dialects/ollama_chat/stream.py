"""A stream of Ollama's chat to events: one JSON object a line. https://docs.ollama.com/api/streaming

The stream is whole when a message said ``done``. An error comes as a line of its own.
"""

from __future__ import annotations

from llm_router.domain.errors import UpstreamError
from llm_router.wire import events
from llm_router.wire.dialects.ollama_chat.messages import Events, MessageReader
from llm_router.wire.failures import failure, looks_like_failure, malformed, said_of, truncated
from llm_router.wire.fold import fold
from llm_router.wire.framing.ndjson import LineTooLarge, NDJSONReader
from llm_router.wire.lenient import load, load_object

BROKEN_MAX = 1
"""How many lines that are no JSON are skipped before the stream is given up."""


class Decoder:
    """A :class:`~llm_router.wire.dialect.StreamDecoder`. Never raises."""

    def __init__(self) -> None:
        self._lines = NDJSONReader()
        self._reader = MessageReader()
        self._broken = 0
        self._closing = False  # half a line at the end is a cut, not a line that is no JSON
        self._done = False

    def feed(self, data: bytes) -> Events:
        """Events completed by these bytes."""
        if self._done:
            return []
        try:
            lines = self._lines.feed(data)
        except LineTooLarge as error:
            return self._fail(malformed(f"a stream that cannot be read: {error}"))
        return [event for line in lines for event in self._line(line)]

    def close(self) -> Events:
        """The upstream closed cleanly: the last events."""
        if self._done:
            return []
        self._closing = True
        out = [event for line in self._lines.close() for event in self._line(line)]
        return out if self._done else out + self._fail(truncated())

    def _line(self, line: bytes) -> Events:
        if self._done:
            return []
        message = load(line)
        if not isinstance(message, dict):
            self._broken += message is None and line != b"null" and not self._closing
            return [] if self._broken <= BROKEN_MAX else self._fail(malformed("lines that are no JSON"))
        if looks_like_failure(message):
            return self._fail(failure(said_of(message)))
        out = self._reader.take(line, message)
        if self._reader.done:
            self._done = True
            out.append(events.Ended(flags=("malformed_chunk",) if self._broken else ()))
        return out

    def _fail(self, error: UpstreamError) -> Events:
        self._done = True
        return [events.Failed(error=error)]


def decode_reply(body: bytes) -> events.Reply:
    """The canonical form of a whole reply: one message, or the lines of a stream.

    Raises:
        UpstreamError: MALFORMED, TRUNCATED, or what the reply reports.
    """
    message = load_object(body)
    if message is None:
        if not body.lstrip().startswith(b"{"):
            raise malformed("a reply that is no JSON object")
        decoder = Decoder()
        return fold([*decoder.feed(body), *decoder.close()])
    if looks_like_failure(message):
        raise failure(said_of(message))
    if not isinstance(message.get("message"), dict):
        raise malformed("a reply without a message")
    if message.get("done") is False:
        raise truncated()
    return fold(MessageReader().take(body, {**message, "done": True}))
