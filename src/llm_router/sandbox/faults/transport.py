"""Answers that are no proper HTTP: status lines, headers, lengths, chunks, encodings, redirects."""

from __future__ import annotations

import gzip
import zlib

from llm_router.sandbox.faults.kind import Kind, Options, kind
from llm_router.sandbox.faults.steps import (
    LAST_CHUNK,
    Answer,
    Close,
    Send,
    Step,
    Wait,
    begun,
    chunk,
    end,
    head,
    instead,
    plain_headers,
    sent,
    start,
    unclosed_start,
    whole,
)

BOMB_BYTES = 1 << 30
ELSEWHERE = "http://127.0.0.1:9/elsewhere"


def _with(answer: Answer, *lines: bytes) -> list[Step]:
    """The answer with further header lines, as they stand here."""
    ready = whole(answer)
    first = ready[0]
    assert isinstance(first, Send)
    data = first.data[:-2] + b"".join(line + b"\r\n" for line in lines) + b"\r\n"
    return [Send(data), *ready[1:]]


def _framed(answer: Answer, *framing: str) -> list[Step]:
    """The answer unchunked, with these headers about its length."""
    pairs = tuple((n, v) for n, _, v in (line.partition(": ") for line in framing))
    return [unclosed_start(answer, *pairs), Send(answer.body), Close()]


def _chunks(answer: Answer, *pieces: bytes) -> list[Step]:
    """Chunked transfer, with the pieces as they stand here, after a part of the body."""
    headers = (*plain_headers(answer.headers), ("transfer-encoding", "chunked"), ("connection", "close"))
    steps: list[Step] = [Send(head(answer.status, headers))]
    if answer.streamed:
        steps += begun(answer)[1:]
    return [*steps, *(Send(piece) for piece in pieces), Close()]


def _encoded(answer: Answer, coding: str, body: bytes) -> list[Step]:
    headers = (*plain_headers(answer.headers), ("content-encoding", coding), ("connection", "close"))
    length = ("content-length", str(len(body)))
    return [Send(head(answer.status, (*headers, length))), Send(body), Close()]


def _bomb() -> bytes:
    """A gigabyte of blanks, compressed."""
    packer, block = zlib.compressobj(9, zlib.DEFLATED, 31), b" " * (1 << 20)
    first = packer.compress(block) + packer.flush(zlib.Z_FULL_FLUSH)
    again = packer.compress(block) + packer.flush(zlib.Z_FULL_FLUSH)  # refers to nothing before it
    return first + again * ((BOMB_BYTES >> 20) - 1)


def _redirect(status: int) -> Kind:
    return kind(
        f"redirect-{status}",
        "http",
        f"A {status} to another address, where the key must not go",
        lambda a, o: instead(a, status, "text/html", b"<a>Moved</a>", ("location", ELSEWHERE)),
    )


def _trailing(answer: Answer, options: Options) -> list[Step]:
    """A second reply that nobody asked for, behind the first."""
    ready = [step for step in whole(answer) if isinstance(step, Send)]
    data = b"".join(step.data for step in ready).replace(b"connection: close\r\n", b"", 1)
    return [Send(data + b"HTTP/1.1 200 X\r\ncontent-length: 2\r\n\r\n{}"), Close()]


def _raw(data: bytes) -> list[Step]:
    return [Send(data), Close()]


def _lines(answer: Answer) -> bytes:
    """The head of the answer."""
    return start(answer).data


KINDS: tuple[Kind, ...] = (
    kind("not-http", "http", "Bytes of another protocol", lambda a, o: _raw(b"SSH-2.0-Gateway_9.9\r\n")),
    kind(
        "tls-alert",
        "http",
        "A TLS alert on a plain connection",
        lambda a, o: _raw(b"\x15\x03\x01\x00\x02\x02\x46"),
    ),
    kind("http-0.9", "http", "A body without any headers", lambda a, o: _raw(a.body)),
    kind(
        "bad-status-line",
        "http",
        "A status that is no number",
        lambda a, o: _raw(_lines(a).replace(b" 200 ", b" OK? ", 1) + a.body),
    ),
    kind(
        "status-0",
        "http",
        "The status 000",
        lambda a, o: _raw(_lines(a).replace(b" 200 ", b" 000 ", 1) + a.body),
    ),
    kind(
        "http-3.7",
        "http",
        "A version of HTTP that does not exist",
        lambda a, o: _raw(_lines(a).replace(b"/1.1", b"/3.7", 1) + a.body),
    ),
    kind(
        "early-hints",
        "http",
        "An interim reply (103) before a sound answer",
        lambda a, o: [Send(b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n"), *whole(a)],
    ),
    kind(
        "only-interim",
        "http",
        "Interim replies (100) without end",
        lambda a, o: [*[Send(b"HTTP/1.1 100 Continue\r\n\r\n" * 100)] * 100, Wait(None)],
    ),
    kind(
        "switching",
        "http",
        "A 101 to a protocol that nobody asked for",
        lambda a, o: _raw(b"HTTP/1.1 101 X\r\nupgrade: h2c\r\nconnection: upgrade\r\n\r\n"),
    ),
    kind(
        "huge-header",
        "http",
        "A header of one megabyte",
        lambda a, o: _with(a, b"x-padding: " + b"x" * (1 << 20)),
    ),
    kind("many-headers", "http", "Twenty thousand headers", lambda a, o: _with(a, *[b"x-more: 1"] * 20_000)),
    kind(
        "header-control-byte",
        "http",
        "A header with a NUL in its value",
        lambda a, o: _with(a, b"x-odd: a\x00b"),
    ),
    kind(
        "header-without-colon",
        "http",
        "A header line without a colon",
        lambda a, o: _with(a, b"this is no header"),
    ),
    kind(
        "folded-header",
        "http",
        "A header over two lines, as it was allowed once",
        lambda a, o: _with(a, b"x-long: a", b"  b"),
    ),
    kind(
        "bad-length",
        "http",
        "A content-length that is no number",
        lambda a, o: _framed(a, "content-length: many"),
    ),
    kind(
        "negative-length", "http", "A negative content-length", lambda a, o: _framed(a, "content-length: -1")
    ),
    kind(
        "huge-length",
        "http",
        "A content-length of an exabyte",
        lambda a, o: _framed(a, f"content-length: {10**18}"),
    ),
    kind(
        "two-lengths",
        "http",
        "Two content-lengths that differ",
        lambda a, o: _framed(a, f"content-length: {len(a.body)}", f"content-length: {len(a.body) - 9}"),
    ),
    kind(
        "short-length",
        "http",
        "A content-length that is less than the body",
        lambda a, o: _framed(a, f"content-length: {len(a.body) // 2}"),
    ),
    kind(
        "long-length",
        "http",
        "A content-length that is more than the body",
        lambda a, o: _framed(a, f"content-length: {len(a.body) + 100}"),
    ),
    kind(
        "length-and-chunks",
        "http",
        "Both a content-length and chunks, which is an attack",
        lambda a, o: [
            unclosed_start(a, ("content-length", "5"), ("transfer-encoding", "chunked")),
            Send(chunk(a.body) + LAST_CHUNK),
            Close(),
        ],
    ),
    kind(
        "bad-chunk-size",
        "http",
        "A chunk whose size is no number",
        lambda a, o: _chunks(a, b"zz\r\nhello\r\n"),
    ),
    kind(
        "huge-chunk-size",
        "http",
        "A chunk size that overflows",
        lambda a, o: _chunks(a, b"F" * 40 + b"\r\nhello"),
    ),
    kind(
        "unended-chunk", "http", "A chunk without its line end", lambda a, o: _chunks(a, b"5\r\nhelloworld")
    ),
    kind(
        "bad-transfer-encoding",
        "http",
        "A transfer-encoding that does not exist",
        lambda a, o: _framed(a, "transfer-encoding: rot13"),
    ),
    kind(
        "gzip-unasked",
        "http",
        "A compressed answer that was not asked for",
        lambda a, o: _encoded(a, "gzip", gzip.compress(a.body)),
    ),
    kind("gzip-garbage", "http", "Said to be gzip, and is not", lambda a, o: _encoded(a, "gzip", a.body)),
    kind(
        "gzip-cut",
        "http",
        "A compressed answer without its end, in a sound transfer",
        lambda a, o: _encoded(a, "gzip", gzip.compress(a.body)[:-20]),
    ),
    kind(
        "gzip-bomb",
        "http",
        "A megabyte that unpacks to a gigabyte",
        lambda a, o: _encoded(a, "gzip", _bomb()),
    ),
    kind(
        "unknown-encoding",
        "http",
        "A content-encoding that does not exist",
        lambda a, o: _encoded(a, "x-squashed", a.body),
    ),
    *(_redirect(status) for status in (301, 302, 307, 308)),
    kind(
        "no-content",
        "http",
        "A 204 instead of an answer",
        lambda a, o: [Send(head(204, plain_headers(a.headers))), Close()],
    ),
    kind(
        "not-modified",
        "http",
        "A 304 instead of an answer",
        lambda a, o: [Send(head(304, plain_headers(a.headers))), Close()],
    ),
    kind("second-reply", "http", "A sound answer, and a reply that nobody asked for behind it", _trailing),
    kind(
        "trailers",
        "http",
        "A sound answer in chunks with trailers",
        lambda a, o: [
            unclosed_start(a, ("transfer-encoding", "chunked")),
            *(Send(chunk(unit)) for unit in a.units),
            Send(b"0\r\nx-checksum: 1\r\n\r\n"),
            Close(),
        ],
    ),
    kind(
        "no-keep-alive",
        "http",
        "A sound answer, whose connection is closed although it was to be kept",
        lambda a, o: [
            Send(start(a).data.replace(b"connection: close\r\n", b"")),
            *(sent(a, unit) for unit in a.units),
            *end(a),
        ],
    ),
)
