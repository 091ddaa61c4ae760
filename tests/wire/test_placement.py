"""Placements: what a platform changes of a dialect, and nothing else."""

from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_router.domain.errors import UpstreamError, UpstreamKind
from llm_router.wire.dialects.registry import DIALECTS
from llm_router.wire.framing.aws import encode_message
from llm_router.wire.placement import PLACEMENTS, placed

CLAUDE = DIALECTS["anthropic_messages"]
BEDROCK = placed(CLAUDE, "bedrock_claude")
VERTEX = placed(CLAUDE, "vertex_claude")
AZURE = placed(DIALECTS["openai_chat"], "azure_deployments")


def chunk(payload: bytes, kind: str = "chunk") -> bytes:
    body = json.dumps({"bytes": base64.b64encode(payload).decode()}).encode()
    return encode_message({":message-type": "event", ":event-type": kind}, body)


def exception(name: str, text: str) -> bytes:
    body = json.dumps({"message": text}).encode()
    return encode_message({":message-type": "exception", ":exception-type": name}, body)


EVENTS = (b'{"type":"message_start"}', b'{"type":"ping" }', b'{"no":"type"}', '{"type":"x","t":"é"}'.encode())
STREAM = b"".join(map(chunk, EVENTS))
FRAMES = (
    b'event: message_start\ndata: {"type":"message_start"}\n\n'
    b'event: ping\ndata: {"type":"ping" }\n\n'
    b'data: {"no":"type"}\n\n' + 'event: x\ndata: {"type":"x","t":"é"}\n\n'.encode()
)


@given(st.lists(st.integers(0, len(STREAM)), max_size=6))
def test_no_cut_changes_what_comes_out(cuts: list[int]) -> None:
    assert BEDROCK.unframe is not None
    unframer, out, last = BEDROCK.unframe(), b"", 0
    for at in [*sorted(cuts), len(STREAM)]:
        out += unframer.feed(STREAM[last:at])
        last = at
    assert out == FRAMES


def test_an_exception_is_raised_at_once_and_what_was_before_it_is_given() -> None:
    assert BEDROCK.unframe is not None
    alone = BEDROCK.unframe()
    with pytest.raises(UpstreamError, match="Slow down") as raised:
        alone.feed(exception("throttlingException", "Slow down."))
    assert raised.value.kind is UpstreamKind.RATE_LIMIT
    behind = BEDROCK.unframe()
    assert behind.feed(
        chunk(EVENTS[1]) + exception("throttlingException", "Slow down.") + chunk(EVENTS[0])
    ) == (b'event: ping\ndata: {"type":"ping" }\n\n')
    for _ in range(2):
        with pytest.raises(UpstreamError, match="Slow down"):
            behind.feed(b"")


@pytest.mark.parametrize(
    "data",
    [
        encode_message({":message-type": "event", ":event-type": "chunk"}, b"[]"),
        encode_message({":message-type": "event", ":event-type": "chunk"}, b'{"bytes": 5}'),
        encode_message({":message-type": "event", ":event-type": "chunk"}, b'{"bytes": "%%"}'),
        chunk(EVENTS[0])[:-1] + b"\x00",
    ],
)
def test_what_is_no_event_is_an_error(data: bytes) -> None:
    assert BEDROCK.unframe is not None
    with pytest.raises(UpstreamError) as raised:
        BEDROCK.unframe().feed(data)
    assert raised.value.kind is UpstreamKind.MALFORMED


def test_unknown_events_are_passed_over_and_lines_stay_lines() -> None:
    assert BEDROCK.unframe is not None
    unframer = BEDROCK.unframe()
    assert unframer.feed(chunk(b'{"type":"a"}', kind="new")) == b""
    assert unframer.feed(chunk(b'{"type":\n"a b"}')) == b'data: {"type":\ndata: "a b"}\n\n'


@pytest.mark.parametrize(
    ("dialect", "base", "operation", "stream", "url"),
    [
        (BEDROCK, "https://b.test", "chat", False, "https://b.test/model/a%3Ab%2F1/invoke"),
        (BEDROCK, "https://b.test/", "chat", True, "https://b.test/model/a%3Ab%2F1/invoke-with-response-stream"),
        (VERTEX, "https://v.test/models", "chat", False, "https://v.test/models/a%3Ab%2F1:rawPredict"),
        (VERTEX, "https://v.test/models", "chat", True, "https://v.test/models/a%3Ab%2F1:streamRawPredict"),
        (VERTEX, "https://v.test/models", "count_tokens", False, "https://v.test/models/count-tokens:rawPredict"),
        (AZURE, "https://a.test/openai", "chat", True, "https://a.test/openai/deployments/a%3Ab%2F1/chat/completions"),
    ],
)  # fmt: skip
def test_addresses(dialect: object, base: str, operation: str, stream: bool, url: str) -> None:
    assert dialect.upstream_url(base, operation, "a:b/1", stream) == url  # type: ignore[attr-defined]


def test_operations_that_are_not_offered() -> None:
    with pytest.raises(ValueError, match="count_tokens"):
        BEDROCK.upstream_url("https://b.test", "count_tokens", "m", False)


def test_bodies_keep_the_clients_bytes_and_say_a_version_once() -> None:
    assert BEDROCK.place is not None
    assert VERTEX.place is not None
    body = b'{"model":"m","stream":true,"a" : 1.0,"anthropic_version":"own"}'
    flags = {"anthropic-beta": "context-1m-2025-08-07, unheard-of-1", "anthropic-version": "2023-06-01"}
    written, headers, losses = BEDROCK.place(body, flags, "chat")
    assert written == b'{"a":1.0,"anthropic_version":"own","anthropic_beta":["context-1m-2025-08-07"]}'
    assert headers == {}
    assert [loss.field for loss in losses] == ["anthropic-beta: unheard-of-1"]
    written, headers, losses = VERTEX.place(body, flags, "chat")
    assert written == b'{"stream":true,"a":1.0,"anthropic_version":"own"}'
    assert headers == {"anthropic-beta": "context-1m-2025-08-07"}
    assert VERTEX.place(b'{"model":"m"}', {}, "count_tokens")[0] == (
        b'{"model":"m","anthropic_version":"vertex-2023-10-16"}'
    )
    assert BEDROCK.place(b"no json", {}, "chat")[0] == b"no json"


def test_headers_and_the_dialect_itself_stay() -> None:
    assert dict(BEDROCK.upstream_headers(True)) == {"accept": "application/vnd.amazon.eventstream"}
    assert dict(BEDROCK.upstream_headers(False)) == {"accept": "application/json"}
    assert placed(CLAUDE, None) is CLAUDE
    assert CLAUDE.place is None
    assert BEDROCK.decode_reply is CLAUDE.decode_reply


def test_every_placement_says_why() -> None:
    for name, place in PLACEMENTS.items():
        assert place.name == name
        assert place.why
        assert place.source.startswith("https://")
        assert set(place.dialects) <= set(DIALECTS)
        assert (place.below is None) != (not place.paths)
