"""How much structure a request may have."""

from __future__ import annotations

import json

import pytest

from llm_router.domain.errors import InvalidRequest
from llm_router.wire.bounds import OBJECTS_MAX, REPLY_COMMAS_MAX, REPLY_OBJECTS_MAX, check_objects, overgrown
from llm_router.wire.framing.jsonarray import ElementTooLarge, JSONArrayReader
from llm_router.wire.framing.ndjson import LineTooLarge, NDJSONReader
from llm_router.wire.framing.sse import PIECE_BYTES, EventTooLarge, SSEReader, utf8


def test_objects_are_bounded() -> None:
    check_objects(b"[" + b"{}," * OBJECTS_MAX + b"1]")
    with pytest.raises(InvalidRequest, match="objects"):
        check_objects(b"[" + b"{}," * (OBJECTS_MAX + 1) + b"1]")
    with pytest.raises(InvalidRequest, match="objects"):  # in the fewest bytes
        check_objects(b"[" + b",".join([b"{}"] * (OBJECTS_MAX + 1)) + b"]")


@pytest.mark.parametrize("text", ["{", '{"', '\\"{', "\\\\{", '"{"'])
def test_braces_in_texts_do_not_count(text: str) -> None:
    check_objects(json.dumps({"a": [text * OBJECTS_MAX, {"b": text}]}).encode())


def test_nor_do_texts_hide_objects() -> None:
    item = json.dumps({"t": 'a "quoted" \\ text'})
    with pytest.raises(InvalidRequest):
        check_objects(("[" + ",".join([item] * (OBJECTS_MAX + 1)) + "]").encode())


OBJECTS = b'{"choices":[' + b"{}," * REPLY_OBJECTS_MAX + b"{}]}"


def test_a_reply_of_too_many_values_is_told() -> None:
    assert overgrown(OBJECTS) == f"more than {REPLY_OBJECTS_MAX} JSON objects and lists"
    assert (
        overgrown(b"[" + b"1," * (REPLY_COMMAS_MAX + 1) + b"1]")
        == f"more than {REPLY_COMMAS_MAX} JSON values"
    )
    assert overgrown(b"[" + b"1," * (REPLY_COMMAS_MAX + 1) + b"1]", 10**9) is None
    assert overgrown(b'{"a":"' + b"x" * 4_000_000 + b'"}') is None


def test_so_is_an_event_of_a_stream() -> None:
    with pytest.raises(EventTooLarge, match="JSON objects"):
        SSEReader().feed(b"data: " + OBJECTS + b"\nevent: a\n\n")
    with pytest.raises(LineTooLarge, match="JSON objects"):
        NDJSONReader().feed(OBJECTS + b"\n")
    with pytest.raises(ElementTooLarge, match="JSON objects"):
        JSONArrayReader().feed(b"[" + OBJECTS + b"]")


@pytest.mark.parametrize("unit", [b"a\xff", "é".encode(), b"\xe2\x82", "\U0001f600x".encode()])
def test_large_bytes_are_mended_as_small_ones_are(unit: bytes) -> None:
    data = unit * (PIECE_BYTES // len(unit) + 7)
    assert utf8(data) == data.decode("utf-8", "replace").encode()


def test_mending_is_bounded() -> None:
    data = b"\xff" * (2 * PIECE_BYTES)
    assert len(utf8(data)) == 3 * len(data)
    with pytest.raises(EventTooLarge, match="no UTF-8"):
        utf8(data, len(data))
    assert utf8("é".encode() * PIECE_BYTES, PIECE_BYTES) == "é".encode() * PIECE_BYTES
