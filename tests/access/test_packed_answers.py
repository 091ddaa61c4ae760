"""Answers of the API are packed where it is worth it, for clients that take it, and say so to caches."""

from __future__ import annotations

import asyncio
import gzip
import json

import pytest

from llm_router.edge.api.routes import API_TABLE
from llm_router.edge.http import Request
from llm_router.edge.packing import BYTES_MIN, INLINE_BYTES_MAX, answer_packed, takes_gzip


@pytest.mark.parametrize(
    ("accepted", "taken"),
    [
        ("gzip", True),
        ("GZip, deflate, br", True),
        ("br;q=1.0, gzip;q=0.8, *;q=0.1", True),
        ("x-gzip", True),
        ("*", True),
        ("gzip;q=0.001", True),
        ("gzip; q=1", True),
        ("gzip;q=1.", True),
        (None, False),
        ("", False),
        ("identity", False),
        ("br, deflate", False),
        ("gzip;q=0", False),
        ("gzip;q=0.000, *", False),
        ("*;q=0", False),
        ("notgzip", False),
        ("gzip;q=0.5, identity", False),
        ("gzip;q=much", False),
        ("gzip;q=", False),
        ("gzip;q=inf", False),
        ("gzip;q=9", False),
    ],
)
def test_what_a_client_takes(accepted, taken):
    assert takes_gzip(accepted) is taken


def answered(value, accepted, *, fixed=False):
    """Head and body of an answer to who says that."""
    headers = [] if accepted is None else [(b"accept-encoding", accepted)]
    scope = {"method": "GET", "path": "/", "raw_path": b"/", "headers": headers}
    parts = []

    async def send(message):
        parts.append(message)

    async def main():
        request = Request(scope, send)
        await answer_packed(request, send, value, [(b"cache-control", b"no-store")], fixed=fixed)

    asyncio.run(main())
    assert parts[0]["status"] == 200
    head = dict(parts[0]["headers"])
    assert int(head[b"content-length"]) == len(parts[1]["body"])
    assert (head[b"vary"], head[b"cache-control"]) == (b"accept-encoding", b"no-store")
    return head, parts[1]["body"]


@pytest.mark.parametrize("size", [BYTES_MIN, INLINE_BYTES_MAX + 1, 400_000])
@pytest.mark.parametrize("fixed", [False, True])
def test_large_answers_are_packed(size, fixed):
    value = {"text": "x" * size}
    for _ in range(2):
        head, body = answered(value, b"gzip", fixed=fixed)
        assert head[b"content-encoding"] == b"gzip"
        assert len(body) < size / 10
        assert json.loads(gzip.decompress(body)) == value


@pytest.mark.parametrize(("size", "accepted"), [(9000, None), (9000, b"gzip;q=0"), (100, b"gzip")])
def test_others_leave_as_they_are(size, accepted):
    head, body = answered({"text": "x" * size}, accepted)
    assert b"content-encoding" not in head
    assert json.loads(body) == {"text": "x" * size}


def test_only_the_description_is_the_same_for_everybody():
    assert [route.path for route in API_TABLE.routes if route.fixed] == ["/api/v1/openapi.json"]
