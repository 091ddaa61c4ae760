"""Random replies, written by h11 and cut anywhere: both clients and h11 agree on what they say."""

from __future__ import annotations

import asyncio
import gzip
import ssl
import zlib
from itertools import pairwise
from typing import Any

import h11
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scripted_server import Peer, Server
from upstream_world import World, request

from llm_router.adapters.upstream.aiohttp_client import AiohttpUpstream
from llm_router.adapters.upstream.client import LeanUpstream
from llm_router.domain.errors import UpstreamError
from llm_router.ports import Deadlines

TOKEN = st.text("abcdefghijklmnopqrstuvwxyz-", min_size=1, max_size=12).map(lambda t: "x-" + t)
VALUE = st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=30)
CONTEXT = ssl.create_default_context()  # costs more than all of an example, so it is shared
CODINGS = {
    "identity": lambda body: body,
    "gzip": lambda body: gzip.compress(body, mtime=0),
    "deflate": zlib.compress,
}


@st.composite
def replies(draw: st.DrawFn) -> dict[str, Any]:
    """A reply as h11 writes it, what it means, and where it is cut."""
    coding = draw(st.sampled_from(sorted(CODINGS)))
    body = draw(st.binary(max_size=2000))
    packed = CODINGS[coding](body)
    framing = draw(st.sampled_from(["length", "chunked", "close"]))
    headers = draw(st.lists(st.tuples(TOKEN, VALUE), max_size=5))
    fields = [(name.encode(), value.encode()) for name, value in headers]
    if coding != "identity":
        fields.append((b"content-encoding", coding.encode()))
    if framing == "length":
        fields.append((b"content-length", b"%d" % len(packed)))
    elif framing == "chunked":
        fields.append((b"transfer-encoding", b"chunked"))
    else:
        fields.append((b"connection", b"close"))
    status = draw(st.sampled_from([200, 201, 400, 429, 500, 503, 529]))
    parts = _cut(packed, draw(_cuts()))
    head, rest = _write(status, fields, parts, 0 if framing == "close" else draw(st.integers(0, 2)))
    raw = head + rest
    return {
        "raw": raw,
        "pieces": _cut(raw, draw(_cuts())),
        "status": status,
        "headers": fields,
        "body": body,
        "close": framing == "close",
        "packed": coding != "identity",
        "head_bytes": len(head),
    }


def _cuts() -> st.SearchStrategy[list[float]]:
    return st.lists(st.floats(0, 1), max_size=6)


def _cut(data: bytes, cuts: list[float]) -> list[bytes]:
    at = [0, *sorted(int(len(data) * cut) for cut in cuts), len(data)]
    return [data[a:b] for a, b in pairwise(at) if a < b]


def _write(
    status: int, fields: list[tuple[bytes, bytes]], parts: list[bytes], interim: int
) -> tuple[bytes, bytes]:
    """The head, with interim replies before it, and the rest; to an HTTP/1.0 client where the
    body is to end with the connection."""
    server = h11.Connection(h11.SERVER)
    version = b"1.0" if (b"connection", b"close") in fields else b"1.1"
    server.receive_data(b"POST / HTTP/" + version + b"\r\nhost: a\r\ncontent-length: 0\r\n\r\n")
    assert [type(server.next_event()) for _ in range(2)] == [h11.Request, h11.EndOfMessage]
    hints = h11.InformationalResponse(status_code=103, headers=[(b"link", b"</a>")])
    head = [server.send(hints) for _ in range(interim)]
    head.append(server.send(h11.Response(status_code=status, headers=fields, reason=b"So")))
    rest = [server.send(h11.Data(data=part)) for part in parts]
    rest.append(server.send(h11.EndOfMessage()))
    return tuple(b"".join(piece for piece in out if piece) for out in (head, rest))  # type: ignore[return-value]


async def _hear(client: Any, server: Server) -> tuple[Any, ...]:
    """What a client makes of it: status, headers and body; or that it failed."""
    try:
        reply = await client.send(request(server.url()), Deadlines(total_s=5))
        try:
            return reply.status, dict(reply.headers), await reply.read(1_000_000)
        finally:
            await reply.close()
    except UpstreamError as error:
        return ("failed", error.kind.value if error.kind.value == "timeout" else "")


async def _both(pieces: list[bytes], calls: int) -> list[list[tuple[Any, ...]]]:
    async def script(peer: Peer) -> None:
        for _ in range(calls):
            await peer.request()
            for piece in pieces:
                await peer.send(piece)
                await asyncio.sleep(0)
            if closes:
                return

    closes = calls == 1
    server = await Server(script).start()
    heard = []
    for client in (LeanUpstream(), AiohttpUpstream(ssl_context=CONTEXT)):
        heard.append([await _hear(client, server) for _ in range(calls)])
        await client.close()
    await server.close()
    assert server.failures == []
    return heard


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(replies())
def test_whole_replies(case: dict[str, Any]) -> None:
    heard: list[Any] = []
    calls = 1 if case["close"] else 2
    World("lean", "asyncio").run(lambda: _collect(heard, case["pieces"], calls))
    lean, aio = heard
    assert lean == aio
    for status, headers, body in lean:
        assert (status, body) == (case["status"], case["body"])
        assert headers == _joined(case["headers"])


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(replies(), st.floats(0, 0.999))
def test_cut_replies(case: dict[str, Any], cut: float) -> None:
    """A reply that stops early never looks whole, unless it is one that ends with its connection."""
    raw = case["raw"][: int(len(case["raw"]) * cut)]
    heard: list[Any] = []
    World("lean", "asyncio").run(lambda: _collect(heard, [raw] if raw else [], 1))
    (lean,), (aio,) = heard
    excess = len(raw) - case["head_bytes"]
    if case["close"] and (excess == 0 or (excess > 0 and not case["packed"])):
        assert lean == aio
    else:
        assert lean == ("failed", "")
        if not case["close"]:
            assert aio == lean


async def _collect(heard: list[Any], pieces: list[bytes], calls: int) -> None:
    heard.extend(await _both(pieces, calls))


def _joined(fields: list[tuple[bytes, bytes]]) -> dict[str, str]:
    joined: dict[str, str] = {}
    for raw_name, raw_value in fields:
        name, value = raw_name.decode(), raw_value.decode()
        joined[name] = f"{joined[name]}, {value}" if name in joined else value
    return joined
