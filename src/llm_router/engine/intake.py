"""What comes in from a provider, before anything reads it: bounded, and rid of the gateway's credential.

A proxy or a debugging server before a model may echo what it was sent; its answer goes to clients
and into records.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping

from llm_router.domain.errors import UpstreamError, UpstreamKind
from llm_router.wire.classify import REDACTED
from llm_router.wire.dialect import Unframer

SECRET_CHARS_MIN = 16
"""Shorter credentials are placeholders for servers that want any ("ollama", "none"): words that an
answer may well contain."""

ERROR_SECRET_CHARS_MIN = 8
"""Of errors: they are the provider's words about the request, where a word too many that is taken out is no
harm to an answer."""

TURN_BYTES = 256 * 1024
"""After so many bytes at one go, others get their turn: compressed data comes without any wait."""


def telling(secret: str | None) -> str | None:
    """The credential, if it is one that must be taken out of what comes back."""
    return secret if secret is not None and len(secret) >= SECRET_CHARS_MIN else None


def redact_error(error: UpstreamError, secret: str | None) -> None:
    """Take the credential out of everything that an error says."""
    if secret is None or len(secret) < ERROR_SECRET_CHARS_MIN:
        return
    error.message = error.message.replace(secret, REDACTED)
    error.param = _without(error.param, secret)
    error.native_code = _without(error.native_code, secret)
    error.native_type = _without(error.native_type, secret)
    error.details = {name: _clean(value, secret) for name, value in error.details.items()}


def _without(text: str | None, secret: str) -> str | None:
    return None if text is None else text.replace(secret, REDACTED)


def _clean(value: object, secret: str) -> object:
    match value:
        case str():
            return value.replace(secret, REDACTED)
        case Mapping():
            return {name: _clean(inner, secret) for name, inner in value.items()}
        case list() | tuple():
            return [_clean(inner, secret) for inner in value]
    return value


def redact_body(body: bytes, secret: str | None) -> bytes:
    """Take the credential out of a whole reply."""
    secret = telling(secret)
    return body if secret is None else body.replace(secret.encode(), REDACTED.encode())


async def unframed(chunks: AsyncIterator[bytes], unframer: Unframer) -> AsyncIterator[bytes]:
    """The stream of a dialect out of the framing of the platform it lives on.

    Raises:
        UpstreamError: as the chunks do; what an exception of the platform says; MALFORMED.
    """
    async for chunk in chunks:
        data = unframer.feed(chunk)
        if data:
            yield data
            unframer.feed(b"")  # raises what follows upon the data


class Intake:
    """The pieces of a stream, read from ``chunks`` or handed in. What may be the beginning of the credential waits for the next piece."""

    def __init__(self, chunks: AsyncIterator[bytes] | None, secret: str | None, bytes_max: int) -> None:
        secret = telling(secret)
        self._chunks = chunks
        self._secret = b"" if secret is None else secret.encode()
        self._bytes_max = bytes_max
        self.size = 0
        self._turn = 0
        self._tail = b""

    async def next(self) -> bytes | None:
        """The next bytes; None at the end.

        Raises:
            UpstreamError: as the chunks do; MALFORMED above ``bytes_max``.
        """
        assert self._chunks is not None, "what comes is handed in"
        async for chunk in self._chunks:
            self._turn += len(chunk)
            data = self.take(chunk)
            if self._turn > TURN_BYTES:
                self._turn = 0
                await asyncio.sleep(0)
            return data
        return self.rest() or None

    def take(self, chunk: bytes) -> bytes:
        """What may be read of a piece that has come.

        Raises:
            UpstreamError: MALFORMED above ``bytes_max``.
        """
        self.size += len(chunk)
        if self.size > self._bytes_max:
            raise UpstreamError(
                f"The provider's stream is larger than {self._bytes_max} bytes.",
                kind=UpstreamKind.MALFORMED,
            )
        return self._rid(chunk) if self._secret else chunk

    def clean(self, events: bytes) -> bool:
        """Whether whole events may be read as they are, by whoever adds to ``size`` then: a credential has no line feed in
        it, so that none begins at the end of an event."""
        if self._tail or self.size + len(events) > self._bytes_max:
            return False
        return not self._secret or self._secret not in events

    def rest(self) -> bytes:
        """What was kept back and was no credential: nothing more comes."""
        rest, self._tail = self._tail, b""
        return rest

    def _rid(self, chunk: bytes) -> bytes:
        secret = self._secret
        data = self._tail + chunk if self._tail else chunk
        self._tail = b""
        if secret in data:
            data = data.replace(secret, REDACTED.encode())
        at = data.find(secret[:1], max(0, len(data) - len(secret) + 1))
        while at >= 0:
            if secret.startswith(data[at:]):
                self._tail = data[at:]
                return data[:at]
            at = data.find(secret[:1], at + 1)
        return data
