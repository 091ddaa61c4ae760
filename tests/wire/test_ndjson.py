"""Lines of JSON from bytes cut anywhere."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_router.wire.framing.ndjson import LineTooLarge, NDJSONReader

lines = st.lists(
    st.binary(max_size=20).map(lambda b: b.replace(b"\n", b"x").replace(b"\r", b"y")), max_size=8
)


def read(data: bytes, marks: list[int]) -> list[bytes]:
    reader = NDJSONReader()
    places = sorted({mark % (len(data) + 1) for mark in marks} | {0, len(data)})
    out = [line for a, b in itertools.pairwise(places) for line in reader.feed(data[a:b])]
    return out + reader.close()


@given(
    given_lines=lines,
    end=st.sampled_from([b"\n", b"\r\n", b"\n\n"]),
    closed=st.booleans(),
    marks=st.lists(st.integers(0, 300)),
)
def test_any_cut_and_any_end_give_the_lines(
    given_lines: list[bytes], end: bytes, closed: bool, marks: list[int]
) -> None:
    data = end.join(given_lines) + (end if closed and given_lines else b"")
    told = [line.strip() for line in given_lines]
    if told and data.startswith(b"\xef\xbb\xbf"):
        told[0] = given_lines[0][3:].strip()
    assert read(data, marks) == [line for line in told if line]


def test_a_byte_order_mark_is_skipped_at_any_cut() -> None:
    data = b'\xef\xbb\xbf{"a":1}\n{"b":2}'
    for cut in range(len(data)):
        assert read(data, [cut]) == [b'{"a":1}', b'{"b":2}']


def test_a_line_is_given_as_soon_as_it_ends() -> None:
    reader = NDJSONReader()
    assert reader.feed(b'{"a"') == []
    assert reader.feed(b":1}\n{") == [b'{"a":1}']
    assert reader.close() == [b"{"]
    assert reader.close() == []


@pytest.mark.parametrize("data", [b"x" * 11, b"x" * 11 + b"\n", b"ok\n" + b"x" * 11])
def test_a_line_has_a_cap(data: bytes) -> None:
    with pytest.raises(LineTooLarge):
        NDJSONReader(10).feed(data)


def test_many_lines_may_exceed_the_cap_together() -> None:
    assert NDJSONReader(10).feed(b"x" * 10 + b"\n" + b"y" * 10 + b"\n") == [b"x" * 10, b"y" * 10]
