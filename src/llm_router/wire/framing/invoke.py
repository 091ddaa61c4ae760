"""Amazon Bedrock's InvokeModelWithResponseStream: a model's own events inside AWS event-stream messages.

Each message ``chunk`` holds ``{"bytes": base64}`` of one event of the model's own API; an exception
comes as a message of its own. What comes out here is that API's server-sent events.

https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_InvokeModelWithResponseStream.html
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable

from llm_router.domain.errors import UpstreamError
from llm_router.wire.failures import malformed
from llm_router.wire.framing.aws import EventStreamReader, Message
from llm_router.wire.verbatim import members, string


class InvokeUnframer:
    """See :class:`~llm_router.wire.dialect.Unframer`. ``failure_of`` reads an exception message."""

    def __init__(self, failure_of: Callable[[Message], UpstreamError]) -> None:
        self._failure_of = failure_of
        self._reader = EventStreamReader()
        self._error: UpstreamError | None = None

    def feed(self, data: bytes) -> bytes:
        """The events that these bytes complete. An error is raised by the next call if events come before it."""
        if self._error is not None:
            raise self._error
        out = bytearray()
        for message in self._reader.feed(data):
            try:
                out += self._event(message)
            except UpstreamError as error:
                self._error = error
                break
        if self._error is None and self._reader.error is not None:
            self._error = malformed(f"a damaged stream: {self._reader.error}")
        if self._error is not None and not out:
            raise self._error
        return bytes(out)

    def _event(self, message: Message) -> bytes:
        """One event as a server-sent event; b"" for a message of a kind that nobody has heard of.

        Raises:
            UpstreamError: it is an exception, or holds no event.
        """
        if message.text(":message-type") in ("exception", "error"):
            raise self._failure_of(message)
        if message.text(":event-type") != "chunk":
            return b""
        text = string((members(message.payload) or {}).get("bytes"))
        if text is None:
            raise malformed("a chunk without bytes")
        try:
            payload = base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            raise malformed("a chunk whose bytes are no base64") from None
        name = string((members(payload) or {}).get("type"))
        event = b"" if name is None or not name.isidentifier() else b"event: " + name.encode() + b"\n"
        lines = payload.splitlines() or [b""]
        return event + b"".join(b"data: " + line + b"\n" for line in lines) + b"\n"
