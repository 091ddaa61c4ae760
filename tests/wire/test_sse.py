"""Server-sent events from bytes that are cut anywhere."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_router.wire.framing.sse import EventTooLarge, Frame, SSEReader


def _read(data: bytes, *cuts: int) -> list[Frame]:
    reader = SSEReader()
    frames: list[Frame] = []
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    for start, end in pairwise(edges):
        frames += reader.feed(data[start:end])
    return frames + reader.close()


@pytest.mark.parametrize(
    ("data", "frames"),
    [
        (b"", []),
        (b"data: a\n\n", [(b"", b"a")]),
        (b"data:a\n\n", [(b"", b"a")]),
        (b"data:  a \n\n", [(b"", b" a ")]),
        (b"data: a\r\n\r\ndata: b\r\n\r\n", [(b"", b"a"), (b"", b"b")]),
        (b"data: a\r\rdata: b\r\r", [(b"", b"a"), (b"", b"b")]),
        (b"data: a\n\r\ndata: b\r\n\n", [(b"", b"a"), (b"", b"b")]),
        (b"\xef\xbb\xbfdata: a\n\n", [(b"", b"a")]),
        (b": a comment\n\ndata: a\n: another\n\n", [(b"", b"a")]),
        (b":\n\n:\n\n", []),
        (b"id: 1\nretry: 5\ndata: a\n\n", [(b"", b"a")]),
        (b"event: error\ndata: a\n\ndata: b\n\n", [(b"error", b"a"), (b"", b"b")]),
        (b"data: a\nevent: late\n\n", [(b"late", b"a")]),
        (b"data: a\ndata: b\ndata:\n\n", [(b"", b"a\nb\n")]),
        (b"data\n\n", [(b"", b"")]),
        (b"event: only\n\ndata: a\n\n", [(b"", b"a")]),
        (b"\n\n\ndata: a\n\n\n\n", [(b"", b"a")]),
        (b"data: no blank line", [(b"", b"no blank line")]),
        (b"data: one newline\n", [(b"", b"one newline")]),
        (b"unknown: x\ndata: a\n\n", [(b"", b"a")]),
        ("data: \U0001f600\n\n".encode(), [(b"", "\U0001f600".encode())]),
    ],
)
def test_the_standard_at_every_cut(data: bytes, frames: list[tuple[bytes, bytes]]) -> None:
    assert _read(data) == frames
    assert _read(data, *range(len(data))) == frames
    for cut in range(len(data)):
        assert _read(data, cut) == frames


LINES = st.sampled_from(
    [
        b"data: x",
        b"data: y\n",
        b"data:",
        b"event: e",
        b": c",
        b"",
        b"",
        b"id: 3",
        b'data: {"a":1}',
        b"\xef\xbb\xbf",
    ]
)
ENDS = st.sampled_from([b"\n", b"\r\n", b"\r", b"\n\n", b"\r\n\r\n"])


@given(st.lists(st.tuples(LINES, ENDS)), st.lists(st.integers(0, 200)))
def test_no_cut_changes_the_events(lines: list[tuple[bytes, bytes]], cuts: list[int]) -> None:
    data = b"".join(line + end for line, end in lines)
    assert _read(data, *cuts) == _read(data, *range(len(data)))


def test_comments_are_counted() -> None:
    reader = SSEReader()
    reader.feed(b"data: a\n\n: one\n: two\n\ndata: b\n\n")
    assert reader.comments == 2


@pytest.mark.parametrize("newlines", [b"", b"\n", b"\n\n"])
def test_an_event_may_not_grow_without_bound(newlines: bytes) -> None:
    reader = SSEReader(event_bytes_max=100)
    reader.feed(b"data: first\n\n")
    with pytest.raises(EventTooLarge):
        reader.feed(b"data: " + b"x" * 200 + newlines)


def test_many_lines_of_one_event_count_together() -> None:
    reader = SSEReader(event_bytes_max=100)
    for _ in range(20):
        reader.feed(b"data: 12345\n")
    with pytest.raises(EventTooLarge):
        reader.feed(b"data: 1\n")


@pytest.mark.parametrize("line", [b":\n", b": x\r\n", b"retry: 1\n", b"?\n", b"event: x\n"])
def test_lines_that_bring_nothing_are_not_read_for_ever(line: bytes) -> None:
    reader = SSEReader()
    for _ in range(999):
        reader.feed(line * 100)
    with pytest.raises(EventTooLarge):
        reader.feed(line * 200)
    reader = SSEReader()
    for _ in range(2000):  # an event now and then is all it takes
        reader.feed(line * 99)
        reader.feed(b"data: x\n\n")


def test_blank_lines_cost_nothing() -> None:
    reader = SSEReader()
    assert [reader.feed(b"\n" * 2**20) for _ in range(64)] == [[]] * 64
    assert reader.feed(b"\n\n\ndata: x\n" + b"\n" * 2**20) == [Frame(b"", b"x")]
