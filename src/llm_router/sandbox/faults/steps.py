"""What a fault does, as data: bytes to send, pauses, and ways to end a connection."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from llm_router.sandbox.form import Form, Headers

CRLF = b"\r\n"
LAST_CHUNK = b"0\r\n\r\n"
_FRAMING = ("content-length", "transfer-encoding", "connection")


class Send(msgspec.Struct, frozen=True):
    """Bytes, in a packet of their own as far as the system allows."""

    data: bytes


class Wait(msgspec.Struct, frozen=True):
    """A pause; None is until the client goes."""

    seconds: float | None


class Pour(msgspec.Struct, frozen=True):
    """The same bytes again and again, as fast as they are taken, until the client goes."""

    data: bytes


class Close(msgspec.Struct, frozen=True):
    """Close in order (FIN)."""


class Reset(msgspec.Struct, frozen=True):
    """Close with RST."""


Step = Send | Wait | Pour | Close | Reset


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What the simulated provider would answer, to be spoilt.

    Attributes:
        units: the events of a stream, or the one body of a whole reply, as they would be sent.
        streamed: it was asked for as a stream, and is one.
        json_array: the stream is one JSON array (Gemini without ``alt=sse``).
    """

    form: Form
    status: int
    headers: Headers
    units: tuple[bytes, ...]
    streamed: bool
    json_array: bool
    request_id: str

    @property
    def body(self) -> bytes:
        return b"".join(self.units)


def head(status: int, headers: Headers) -> bytes:
    """The head of a reply. Nothing is checked: it may be wrong on purpose."""
    lines = [f"HTTP/1.1 {status} X", *(f"{name}: {value}" for name, value in headers)]
    return "\r\n".join(lines).encode("latin-1", "replace") + b"\r\n\r\n"


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def plain_headers(headers: Headers, *without: str) -> Headers:
    """Headers without those that say where the body ends, and some more."""
    return tuple((n, v) for n, v in headers if n.lower() not in (*_FRAMING, *without))


def start(answer: Answer, *more: tuple[str, str], without: tuple[str, ...] = ()) -> Send:
    """The head of the answer as it should be: in chunks for a stream, with its length for a whole reply."""
    length = ("content-length", str(len(answer.body)))
    framing = ("transfer-encoding", "chunked") if answer.streamed else length
    headers = (*plain_headers(answer.headers, *without), framing, ("connection", "close"), *more)
    return Send(head(answer.status, headers))


def unclosed_start(answer: Answer, *more: tuple[str, str], without: tuple[str, ...] = ()) -> Send:
    """The head of an answer that ends with its connection."""
    headers = (*plain_headers(answer.headers, *without), ("connection", "close"), *more)
    return Send(head(answer.status, headers))


def sent(answer: Answer, unit: bytes) -> Send:
    """One piece of the body in its framing."""
    return Send(chunk(unit) if answer.streamed else unit)


def end(answer: Answer) -> list[Step]:
    """The end of a body as it should be."""
    return [Send(LAST_CHUNK), Close()] if answer.streamed else [Close()]


def whole(answer: Answer, units: Sequence[bytes] | None = None, *more: tuple[str, str]) -> list[Step]:
    """The answer in sound HTTP, with other content if ``units`` says so."""
    if units is not None:
        answer = msgspec.structs.replace(answer, units=tuple(units))
    return [start(answer, *more), *(sent(answer, unit) for unit in answer.units if unit), *end(answer)]


def instead(
    answer: Answer, status: int, content_type: str | None, body: bytes, *more: tuple[str, str]
) -> list[Step]:
    """Another reply in place of the answer, in sound HTTP."""
    headers = plain_headers(
        answer.headers, "content-type", "retry-after", "retry-after-ms", "content-encoding"
    )
    typed = () if content_type is None else (("content-type", content_type),)
    ending = (("content-length", str(len(body))), ("connection", "close"))
    return [Send(head(status, (*headers, *typed, *more, *ending)) + body), Close()]


def middle(answer: Answer, events: int | None) -> int:
    """How many events of a stream are sent before the fault; half of them where nothing is said."""
    count = len(answer.units)
    return count // 2 if events is None else min(events, count)


def begun(answer: Answer, events: int | None = None) -> list[Step]:
    """The head and the first part of the body, in their framing."""
    if answer.streamed:
        return [start(answer), *(sent(answer, unit) for unit in answer.units[: middle(answer, events)])]
    return [start(answer), Send(answer.body[: len(answer.body) // 2])]


def rest(answer: Answer, events: int | None = None) -> list[Step]:
    """What :func:`begun` left out, with the end."""
    if answer.streamed:
        later = answer.units[middle(answer, events) :]
        return [*(sent(answer, unit) for unit in later), *end(answer)]
    return [Send(answer.body[len(answer.body) // 2 :]), *end(answer)]
