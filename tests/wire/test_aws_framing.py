"""AWS event streams: every header type, any cut, any damage."""

from __future__ import annotations

import importlib.util
import itertools
import struct
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_router.wire.framing.aws import (
    HEADERS_BYTES_MAX,
    EventStreamReader,
    HeaderValue,
    Message,
    decode_headers,
    encode_message,
)

EVENT = encode_message({":message-type": "event", ":event-type": "chunk"}, b'{"a":1}')
names = st.text(min_size=1, max_size=20)
header_values = st.one_of(
    st.booleans(), st.integers(-(2**63), 2**63 - 1), st.binary(max_size=40), st.text(max_size=40)
)
messages = st.lists(
    st.tuples(st.dictionaries(names, header_values, max_size=4), st.binary(max_size=60)), max_size=4
)


def raw_message(headers: bytes, payload: bytes) -> bytes:
    """A message written by the specification alone."""
    prelude = struct.pack(">II", 16 + len(headers) + len(payload), len(headers))
    body = prelude + struct.pack(">I", zlib.crc32(prelude)) + headers + payload
    return body + struct.pack(">I", zlib.crc32(body))


def read(data: bytes, *, cut: int | None = None) -> tuple[list[Message], str | None]:
    reader, found = EventStreamReader(), []
    size = cut or len(data) or 1
    for start in range(0, len(data), size):
        found += reader.feed(data[start : start + size])
    return found, reader.error


def test_a_message_byte_by_byte_as_the_specification_has_it() -> None:
    head = b"\x0b:event-type\x07\x00\x05chunk"
    assert raw_message(head, b"{}") == encode_message({":event-type": "chunk"}, b"{}")
    assert read(raw_message(head, b"{}")) == ([Message({":event-type": "chunk"}, b"{}")], None)


@pytest.mark.parametrize(
    ("kind", "data", "expected"),
    [
        (0, b"", True),
        (1, b"", False),
        (2, b"\xff", -1),
        (3, b"\x01\x00", 256),
        (4, b"\xff\xff\xff\xfe", -2),
        (5, b"\x00\x00\x00\x01\x00\x00\x00\x00", 2**32),
        (6, b"\x00\x02\x00\xff", b"\x00\xff"),
        (7, b"\x00\x02\xc3\xa9", "é"),
        (8, b"\x00\x00\x01\x4f\x7f\x3e\x7a\xc0", 0x14F7F3E7AC0),
        (9, bytes(range(16)), bytes(range(16))),
    ],
)
def test_every_type_of_header(kind: int, data: bytes, expected: HeaderValue) -> None:
    headers = decode_headers(b"\x01h" + bytes([kind]) + data + b"\x04next\x00")
    assert headers == {"h": expected, "next": True}


@pytest.mark.parametrize("kind", [10, 99, 255])
def test_an_unknown_type_of_header_ends_the_reading(kind: int) -> None:
    found, error = read(EVENT + raw_message(b"\x01h" + bytes([kind]), b""))
    assert len(found) == 1
    assert error is not None
    assert "unknown type" in error


@pytest.mark.parametrize(
    "head", [b"\x05ab", b"\x01h", b"\x01h\x07\x00", b"\x01h\x07\x00\x05ab", b"\x01h\x04\x00", b"\x01h\x09abc",
             b"\x01\xff\x00", b"\x01h\x07\x00\x01\xff"]
)  # fmt: skip
def test_headers_that_are_cut_or_no_text(head: bytes) -> None:
    with pytest.raises(ValueError, match="malformed"):
        decode_headers(head)


@settings(max_examples=100)
@given(said=messages, marks=st.lists(st.integers(0, 1000), max_size=6))
def test_any_cut_gives_the_same_messages(
    said: list[tuple[dict[str, HeaderValue], bytes]], marks: list[int]
) -> None:
    data = b"".join(encode_message(headers, payload) for headers, payload in said)
    places = sorted({0, len(data), *(mark % (len(data) + 1) for mark in marks)})
    reader = EventStreamReader()
    found = [message for a, b in itertools.pairwise(places) for message in reader.feed(data[a:b])]
    assert [tuple(message) for message in found] == said
    assert [tuple(message) for message in read(data, cut=1)[0]] == said
    assert not reader.pending
    assert reader.error is None


@pytest.mark.parametrize("cut", range(len(EVENT)))
def test_half_a_message_is_none(cut: int) -> None:
    reader = EventStreamReader()
    assert reader.feed(EVENT + EVENT[:cut]) == [
        Message({":message-type": "event", ":event-type": "chunk"}, b'{"a":1}')
    ]
    assert reader.pending is (cut > 0)
    assert reader.error is None


@pytest.mark.parametrize("place", range(len(EVENT)))
def test_one_wrong_bit_is_seen(place: int) -> None:
    damaged = bytearray(EVENT)
    damaged[place] ^= 0x10
    whole, error = read(EVENT + bytes(damaged) + EVENT)
    assert len(whole) == 1
    assert error is not None
    assert read(EVENT + bytes(damaged) + EVENT, cut=1) == (whole, error)


def test_nothing_is_read_behind_damage() -> None:
    reader = EventStreamReader()
    reader.feed(EVENT[:-1] + b"?")
    assert reader.error is not None
    assert reader.feed(EVENT) == []


@pytest.mark.parametrize("total", [0, 8, 15])
def test_lengths_that_cannot_be(total: int) -> None:
    prelude = struct.pack(">II", total, 0)
    _, error = read(prelude + struct.pack(">I", zlib.crc32(prelude)))
    assert error is not None
    assert "contradict" in error


def test_headers_longer_than_their_message() -> None:
    prelude = struct.pack(">II", 20, 5)
    _, error = read(prelude + struct.pack(">I", zlib.crc32(prelude)))
    assert error is not None
    assert "contradict" in error


def test_a_message_above_the_cap_is_refused_by_its_length_alone() -> None:
    reader = EventStreamReader(message_bytes_max=1000)
    prelude = struct.pack(">II", 1001, 0)
    assert reader.feed(prelude + struct.pack(">I", zlib.crc32(prelude))) == []
    assert reader.error is not None
    assert "exceeds" in reader.error


def test_headers_above_their_cap_are_refused() -> None:
    prelude = struct.pack(">II", HEADERS_BYTES_MAX + 100, HEADERS_BYTES_MAX + 1)
    _, error = read(prelude + struct.pack(">I", zlib.crc32(prelude)))
    assert error is not None


@pytest.mark.parametrize(
    "headers", [{"n" * 256: True}, {"n": "x" * 65536}, {"n": b"x" * 65536}, {"n": 2**63}, {"n": -(2**63) - 1}]
)
def test_what_cannot_be_written_is_refused(headers: dict[str, HeaderValue]) -> None:
    with pytest.raises(ValueError, match="cannot be written"):
        encode_message(headers, b"")


def test_a_header_that_is_no_text_is_no_text() -> None:
    message = Message({"a": "x", "b": 1}, b"")
    assert (message.text("a"), message.text("b"), message.text("c")) == ("x", "", "")


@settings(max_examples=60)
@given(data=st.binary(max_size=200))
def test_garbage_never_raises(data: bytes) -> None:
    read(data, cut=3)
    read(EVENT + data)


@pytest.mark.skipif(importlib.util.find_spec("botocore") is None, reason="botocore is not installed")
@settings(max_examples=60)
@given(said=messages)
def test_aws_own_client_reads_what_is_written(said: list[tuple[dict[str, HeaderValue], bytes]]) -> None:
    from botocore.eventstream import EventStreamBuffer

    buffer = EventStreamBuffer()
    buffer.add_data(b"".join(encode_message(headers, payload) for headers, payload in said))
    assert [(message.headers, message.payload) for message in buffer] == said
