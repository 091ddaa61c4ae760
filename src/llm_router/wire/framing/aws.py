"""AWS event streams (``application/vnd.amazon.eventstream``), from bytes cut anywhere.

https://smithy.io/2.0/aws/amazon-eventstream.html. A message is

    total length (4) | headers length (4) | CRC of these 8 (4) | headers | payload | CRC of all before (4)

in big-endian numbers and CRC-32. A header is its name's length (1), its name, its type (1) and a
value whose form the type tells.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping
from typing import NamedTuple

MESSAGE_BYTES_MAX = 32 * 1024 * 1024
"""Cap of one message. AWS itself sends at most 24 MiB; most are a few hundred bytes."""

HEADERS_BYTES_MAX = 128 * 1024
"""Cap of the headers of one message, the one that AWS names."""

HeaderValue = bool | int | bytes | str

_PRELUDE = struct.Struct(">III")
_CRC = struct.Struct(">I")
_OVERHEAD = _PRELUDE.size + _CRC.size

_TRUE, _FALSE, _BYTES, _STRING, _UUID = 0, 1, 6, 7, 9
_NUMBERS = {2: struct.Struct(">b"), 3: struct.Struct(">h"), 4: struct.Struct(">i"), 5: struct.Struct(">q"),
            8: struct.Struct(">q")}  # fmt: skip
"""byte, short, integer, long, and timestamp in milliseconds since 1970."""
_LENGTH = struct.Struct(">H")


class Message(NamedTuple):
    """One message. Header names are as they came (``:event-type``)."""

    headers: dict[str, HeaderValue]
    payload: bytes

    def text(self, name: str) -> str:
        """The text of a header; "" where it is absent or no text."""
        value = self.headers.get(name)
        return value if isinstance(value, str) else ""


class EventStreamReader:
    """Bytes in, messages out. ``error`` says why the stream cannot be read any further, once it cannot.

    A damaged message ends the reading, since its length cannot be trusted to find the next one; the
    messages before it are given first, however the bytes were cut.
    """

    def __init__(self, message_bytes_max: int = MESSAGE_BYTES_MAX) -> None:
        self._max = message_bytes_max
        self._buffer = bytearray()
        self._total = 0  # of the message under way; 0 until its prelude was read
        self._headers = 0
        self.error: str | None = None

    @property
    def pending(self) -> bool:
        """Whether a message has begun and is not complete."""
        return bool(self._buffer)

    def feed(self, data: bytes) -> list[Message]:
        """Take the next bytes, return the messages they complete."""
        messages: list[Message] = []
        if self.error is not None:
            return messages
        self._buffer += data
        try:
            while self._complete():
                messages.append(self._take())
        except ValueError as error:
            self.error = str(error)
            self._buffer.clear()
        return messages

    def _complete(self) -> bool:
        if not self._total and len(self._buffer) >= _PRELUDE.size:
            self._prelude()
        return 0 < self._total <= len(self._buffer)

    def _prelude(self) -> None:
        total, headers, crc = _PRELUDE.unpack_from(self._buffer)
        if zlib.crc32(self._buffer[:8]) != crc:
            raise ValueError("the checksum of a message's lengths is wrong")
        if total > self._max:
            raise ValueError(f"a stream message exceeds {self._max} bytes")
        if headers > HEADERS_BYTES_MAX or headers + _OVERHEAD > total:
            raise ValueError("the lengths of a message contradict each other")
        self._total, self._headers = total, headers

    def _take(self) -> Message:
        body = bytes(self._buffer[: self._total])
        del self._buffer[: self._total]
        (crc,) = _CRC.unpack_from(body, self._total - _CRC.size)
        if zlib.crc32(body[: -_CRC.size]) != crc:
            raise ValueError("the checksum of a message is wrong")
        end = _PRELUDE.size + self._headers
        self._total = 0
        return Message(decode_headers(body[_PRELUDE.size : end]), body[end : -_CRC.size])


def decode_headers(data: bytes) -> dict[str, HeaderValue]:
    """The headers of one message; of two with one name the last counts.

    Raises:
        ValueError: a header is cut off, or of a type that does not exist.
    """
    headers: dict[str, HeaderValue] = {}
    at = 0
    try:
        while at < len(data):
            begin = at + 1
            at = begin + data[at]
            name = data[begin:at].decode()
            headers[name], at = _value(data, at + 1, data[at])
    except (IndexError, struct.error, UnicodeDecodeError):
        raise ValueError("the headers of a message are malformed") from None
    return headers


def _value(data: bytes, at: int, kind: int) -> tuple[HeaderValue, int]:
    """The value of type ``kind`` that begins at ``at``, and where it ends."""
    if kind in (_TRUE, _FALSE):
        return kind == _TRUE, at
    if kind in _NUMBERS:
        number: int = _NUMBERS[kind].unpack_from(data, at)[0]
        return number, at + _NUMBERS[kind].size
    if kind in (_BYTES, _STRING):
        begin = at + _LENGTH.size
        end = begin + _LENGTH.unpack_from(data, at)[0]
    elif kind == _UUID:
        begin, end = at, at + 16
    else:
        raise ValueError(f"a header is of the unknown type {kind}")
    if end > len(data):
        raise IndexError
    return (data[begin:end].decode() if kind == _STRING else data[begin:end]), end


def encode_message(headers: Mapping[str, HeaderValue], payload: bytes) -> bytes:
    """One message. Numbers are written as integers, or as longs where they need it.

    Raises:
        ValueError: a name or a value is too long, or a number too large.
    """
    try:
        head = b"".join(_header(name, value) for name, value in headers.items())
        total = _OVERHEAD + len(head) + len(payload)
        lengths = struct.pack(">II", total, len(head))
    except struct.error as error:
        raise ValueError(f"the message cannot be written: {error}") from None
    body = lengths + _CRC.pack(zlib.crc32(lengths)) + head + payload
    return body + _CRC.pack(zlib.crc32(body))


def _header(name: str, value: HeaderValue) -> bytes:
    raw = name.encode()
    start = struct.pack(">B", len(raw)) + raw
    match value:
        case bool():
            return start + bytes([_TRUE if value else _FALSE])
        case int():
            kind = 4 if -(2**31) <= value < 2**31 else 5
            return start + bytes([kind]) + _NUMBERS[kind].pack(value)
        case str():
            text = value.encode()
            return start + bytes([_STRING]) + _LENGTH.pack(len(text)) + text
    return start + bytes([_BYTES]) + _LENGTH.pack(len(value)) + value
