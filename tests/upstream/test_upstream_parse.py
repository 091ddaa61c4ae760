"""The connection fed by hand: any bytes, cut anywhere, no socket."""

from __future__ import annotations

import asyncio
import gzip
import tracemalloc
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scripted_server import CHUNKED, OK, chunk, sized

from llm_router.adapters.upstream import protocol
from llm_router.adapters.upstream.framing import read_framing
from llm_router.adapters.upstream.inflate import RATIO_FREE_BYTES, STEP_BYTES, Inflater
from llm_router.adapters.upstream.protocol import Connection, WireLimits
from llm_router.adapters.upstream.reply import LeanReply
from llm_router.adapters.upstream.url import parse_url
from llm_router.ports import Deadlines

LIMIT = 2000


class StillLoop:
    """A loop whose time stands still."""

    def time(self) -> float:
        return 0.0

    def call_at(self, *_: object) -> StillLoop:
        return self

    def cancel(self) -> None:
        pass


class Transport:
    """Takes everything, records only whether it is closed and paused."""

    def __init__(self) -> None:
        self.closed = False
        self.paused = False

    def write(self, data: bytes) -> None:
        pass

    def abort(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False

    def get_write_buffer_size(self) -> int:
        return 0

    def get_extra_info(self, name: str) -> None:
        return None


class Keeper:
    def __init__(self) -> None:
        self.kept = 0

    def freed(self, connection: Connection) -> None:
        self.kept += 1

    def lost(self, connection: Connection) -> None:
        pass


def feed(pieces: list[bytes], method: str = "POST", *, earlier: bytes = b"") -> dict[str, Any]:
    """What one reply comes to when these pieces arrive and then the end. ``earlier``: a reply on the same
    connection before it."""
    loop: Any = StillLoop()
    transport: Any = Transport()
    connection = Connection(loop, "host:1", WireLimits(header_bytes_max=LIMIT, buffer_bytes_max=LIMIT))
    keeper = Keeper()
    connection.owner = keeper
    connection.connection_made(transport)
    if earlier:
        connection.begin(LeanReply(loop, "POST", Deadlines(), 600.0), b"head", b"body")
        connection.data_received(earlier)
        assert keeper.kept == 1
        keeper.kept = 0
    reply = LeanReply(loop, method, Deadlines(), 600.0)
    connection.begin(reply, b"head", b"body")
    for piece in pieces:
        if transport.closed:
            break
        connection.data_received(piece)
    if not transport.closed:
        connection.eof_received()
    connection.connection_lost(None)
    error = reply.failure
    return {
        "status": reply.status,
        "headers": reply.headers,
        "body": b"".join(reply._pieces),
        "complete": reply.complete,
        "error": None if error is None else error.kind,
        "kept": keeper.kept,
    }


SEEDS = [
    sized(b"hello"),
    CHUNKED + chunk(b"hello", b";a=b") + chunk(b"you") + b"0\r\nx-t: 1\r\n\r\n",
    b"HTTP/1.1 103 E\r\nlink: a\r\n\r\n" + sized(b"hello", b"connection: close"),
    OK + b"\r\nuntil close",
    b"HTTP/1.1 204 N\r\n\r\n",
    OK + b"content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    sized(b"hello") + sized(b"again"),
    sized(b"hello", b"Connection: keep-alive\r\nx-empty: \r\nx-many:   spaces  \r\nX-Many: times"),
    sized(b"hello", b"Content-Length: 5\r\nproxy-connection: close\r\nkeep-alive: timeout=9"),
]


@st.composite
def wounded(draw: st.DrawFn) -> bytes:
    """A reply with some bytes changed, left out or put in."""
    data = bytearray(draw(st.sampled_from(SEEDS)))
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(data)))
        what = draw(st.sampled_from([b"", b"\r\n", b"\n", b"\0", b":", b" ", b"0", b"\xff", b"chunked"]))
        data[at : at + draw(st.integers(0, 4))] = what
    return bytes(data)


@given(wounded(), st.lists(st.integers(0, 200), max_size=8))
@example(SEEDS[1], list(range(200)))
def test_cuts_change_nothing_and_nothing_escapes(raw: bytes, cuts: list[int]) -> None:
    at = sorted({0, len(raw), *(cut for cut in cuts if cut < len(raw))})
    pieces = [raw[a:b] for a, b in pairwise(at)]
    whole, cut = feed([raw]), feed(pieces)
    del whole["kept"], cut["kept"]  # bytes after the end may come when the connection is parked
    assert whole == cut
    assert whole["complete"] == (whole["error"] is None)


@given(wounded(), st.sampled_from([SEEDS[0], SEEDS[7], sized(b"hi", b"x: 1")]), st.integers(0, 300))
@example(SEEDS[0], SEEDS[0], 0)
@example(sized(b"a longer one"), SEEDS[0], 0)
@example(SEEDS[0] + b"more", SEEDS[0], 0)
@example(SEEDS[0].replace(b"5", b"+5"), SEEDS[0], 0)
def test_the_reply_before_changes_nothing(raw: bytes, earlier: bytes, cut: int) -> None:
    pieces = [raw[:cut], raw[cut:]] if 0 < cut < len(raw) else [raw]
    assert feed(pieces, earlier=earlier) == feed(pieces)


CHUNKS = st.one_of(
    st.binary(max_size=20).map(chunk),
    st.binary(min_size=1, max_size=300).map(chunk),
    st.sampled_from(
        (b"0x3\r\nabc\r\n", b"03\r\nabc\r\n", b"3 \r\nabc\r\n", b"3;a=b\r\nabc\r\n", b"3\nabc\r\n", b"A\r\n0123456789\r\n",
         b"+3\r\nabc\r\n", b"1_0\r\nabcdefghijklmnop\r\n", b"3\r\nabcd\r\n", b"ffffffff3\r\nabc\r\n", b"\r\n", b"5\r\nab", b"cde\r\n")
    ),
)  # fmt: skip


@given(st.lists(st.lists(CHUNKS, max_size=3).map(b"".join), max_size=6), st.booleans())
def test_chunks_that_come_whole_mean_what_the_parser_reads(pieces: list[bytes], ends: bool) -> None:
    raw = [CHUNKED, *pieces, *([b"0\r\n\r\n"] if ends else [])]
    found = feed(raw)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(protocol, "plain_chunks", lambda data: b"")
        assert feed(raw) == found


@given(st.binary(max_size=300), st.sampled_from(["POST", "HEAD"]))
def test_garbage_is_an_error_and_nothing_else(raw: bytes, method: str) -> None:
    result = feed([raw], method)
    assert result["error"] is not None or result["complete"]


@pytest.mark.parametrize("raw", SEEDS[:5])
def test_the_seeds_are_whole(raw: bytes) -> None:
    assert feed([raw])["complete"]


def test_excess_is_not_kept() -> None:
    assert feed([SEEDS[0]])["kept"] == 1
    assert feed([SEEDS[6]])["kept"] == 0
    assert feed([SEEDS[0]], "HEAD")["kept"] == 0


@pytest.mark.parametrize(
    ("start", "filler"),
    [
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        (b"", b"\r\n"),
        (OK, b"x-a: b\r\n"),
        (OK + b"x-a: ", b"b" * 50),
        (CHUNKED + b"5", b";extension"),
        (CHUNKED + b"5;a=", b"b" * 50),
        (CHUNKED + chunk(b"hello") + b"0\r\n", b"x-t: 1\r\n"),
        (CHUNKED + b"0\r\nx-t: ", b"b" * 50),
    ],
)
def test_what_brings_no_body_is_bounded(start: bytes, filler: bytes) -> None:
    result = feed([start, *[filler] * LIMIT])
    assert result["error"] == "malformed"
    assert len(result["body"]) <= 5


def test_a_large_head_in_one_piece_is_refused() -> None:
    assert feed([OK + b"x-a: " + b"b" * LIMIT + b"\r\ncontent-length: 0\r\n\r\n"])["error"] == "malformed"


def test_many_small_chunks_are_no_overhead() -> None:
    result = feed([CHUNKED, *[chunk(b"x")] * LIMIT, b"0\r\n\r\n"])
    assert (result["complete"], len(result["body"])) == (True, LIMIT)
    pieces = [CHUNKED, *[b"1\r\n", b"x", b"\r\n"] * LIMIT, b"0\r\n\r\n"]
    assert feed(pieces)["complete"]


def test_a_refused_head_has_no_body() -> None:
    result = feed([OK + b"transfer-encoding: x\r\n\r\nhello"])
    assert (result["error"], result["body"], result["status"]) == ("malformed", b"", 0)


def test_reading_stops_when_nobody_takes() -> None:
    loop: Any = StillLoop()
    transport: Any = Transport()
    connection = Connection(loop, "host:1", WireLimits(buffer_bytes_max=1000))
    connection.connection_made(transport)
    first = LeanReply(loop, "POST", Deadlines(), 600.0)
    connection.begin(first, b"", b"")
    connection.data_received(CHUNKED + chunk(b"x" * 1000))
    assert not transport.paused
    connection.data_received(chunk(b"x"))
    assert transport.paused
    assert len(first._take()) == 1001
    assert not transport.paused


def test_an_old_replys_reader_does_not_meddle_with_the_next_exchange() -> None:
    loop: Any = StillLoop()
    transport: Any = Transport()
    connection = Connection(loop, "host:1", WireLimits(buffer_bytes_max=10))
    connection.owner = Keeper()
    connection.connection_made(transport)
    old, new = (LeanReply(loop, "POST", Deadlines(), 600.0) for _ in range(2))
    connection.begin(old, b"", b"")
    connection.data_received(sized(b"x" * 100))
    connection.begin(new, b"", b"")
    connection.data_received(CHUNKED + chunk(b"y" * 100))
    assert transport.paused
    assert old._take() == b"x" * 100
    assert transport.paused
    assert new._take() == b"y" * 100
    assert not transport.paused


def test_inflater_steps_are_bounded() -> None:
    inflater, steps = Inflater("gzip"), []

    def run() -> None:
        bomb = gzip.compress(bytes(50 * 1024 * 1024), 9)
        for at in range(0, len(bomb), 100):
            steps.append(len(inflater.feed(bomb[at : at + 100])))
            while inflater.pending:
                steps.append(len(inflater.feed(b"")))

    with pytest.raises(ValueError, match="200 fold"):
        run()
    assert max(steps) <= STEP_BYTES
    assert RATIO_FREE_BYTES - STEP_BYTES <= sum(steps) <= RATIO_FREE_BYTES + STEP_BYTES


@given(st.binary(max_size=5000), st.integers(1, 50), st.booleans())
def test_inflater_undoes_gzip_at_any_cut(body: bytes, step: int, members: bool) -> None:
    packed = gzip.compress(body) + (gzip.compress(body) if members else b"")
    inflater, out = Inflater("gzip"), b""
    for at in range(0, len(packed), step):
        out += inflater.feed(packed[at : at + step])
        while inflater.pending:
            out += inflater.feed(b"")
    assert out == body * (2 if members else 1)
    assert inflater.complete


def test_header_values() -> None:
    fields = [(b"A", b"1 \t"), (b"b", b""), (b"a", b"2"), (b"C", b"\xa0x\xa0")]
    framing = read_framing("GET", 200, "1.1", fields, 1000)
    assert framing.headers == {"a": "1, 2", "b": "", "c": "\xa0x\xa0"}


@pytest.mark.parametrize(
    ("text", "host", "port", "authority", "target"),
    [
        ("http://a", "a", 80, "a", "/"),
        ("HTTPS://API.Example.com./v1?x=1", "api.example.com", 443, "api.example.com", "/v1?x=1"),
        ("https://a:443/", "a", 443, "a", "/"),
        ("http://a:443/", "a", 443, "a:443", "/"),
        ("http://a?b=/c", "a", 80, "a", "/?b=/c"),
        ("http://[2001:DB8::0:1]:8080/x", "2001:db8::1", 8080, "[2001:db8::1]:8080", "/x"),
        ("http://a_b-c.d/@:%20[]", "a_b-c.d", 80, "a_b-c.d", "/@:%20[]"),
    ],
)
def test_urls(text: str, host: str, port: int, authority: str, target: str) -> None:
    url = parse_url(text)
    assert (url.origin.host, url.origin.port, url.authority, url.target) == (host, port, authority, target)


def test_the_reason_of_a_refusal_is_said() -> None:
    for url, word in {
        "http://u:p@h/": "credentials",
        "http://h/#@x": "fragment",
        "ftp://h/": "https://",
    }.items():
        with pytest.raises(ValueError, match=word):
            parse_url(url)


@pytest.mark.parametrize("host", [".", "..", "a..", ".a", "a..b"])
def test_hosts_have_no_empty_label(host: str) -> None:
    with pytest.raises(ValueError, match="empty label"):
        parse_url(f"http://{host}/")


@given(st.text("htps:/?#@[]\\.%a1 \t\r\n\0é", max_size=20))
def test_urls_are_read_or_refused(rest: str) -> None:
    try:
        url = parse_url("http://" + rest)
    except ValueError:
        return
    again = parse_url(f"http://{url.authority}{url.target}")
    assert again == url


def test_a_whole_body_is_not_there_twice() -> None:
    async def main() -> tuple[int, int]:
        reply = LeanReply(asyncio.get_running_loop(), "POST", Deadlines(), 600.0)
        arrived = iter([b"x" * 65_536] * 256)

        async def arrive(_: LeanReply) -> bytes:
            try:
                return bytes(bytearray(next(arrived)))
            except StopIteration:
                raise StopAsyncIteration from None

        tracemalloc.start()
        try:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(LeanReply, "__anext__", arrive)
                body = await reply.read(64 * 1024 * 1024)
            return len(body), tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    size, peak = asyncio.run(main())
    assert size == 256 * 65_536
    assert peak < 1.5 * size
