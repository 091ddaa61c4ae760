"""Streams of Bedrock: what they tell, at any cut; what breaks them; how other dialects say it again."""

from __future__ import annotations

import json
from typing import Any

import bedrock_kit as kit
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_router.domain.errors import UpstreamError, UpstreamKind
from llm_router.domain.usage import Usage
from llm_router.wire import chat, events
from llm_router.wire.dialect import Bill, Dialect, ReplyContext
from llm_router.wire.dialects.bedrock_converse import DIALECT
from llm_router.wire.dialects.registry import DIALECTS
from llm_router.wire.fold import fold
from llm_router.wire.framing.aws import encode_message
from llm_router.wire.relay import BridgeRelay

NAMES = list(kit.STREAMS)
every_stream = pytest.mark.parametrize("name", NAMES)
FRONTS = [dialect for dialect in DIALECTS.values() if isinstance(dialect, Dialect)]
CONTEXT = ReplyContext(reply_id="minted-1", model="claude-public", created_s=1_700_000_000)
BILL = Bill(usage=Usage(input_tokens=12, output_tokens=7), cost_pusd=5, credits_remaining_pusd=9)
TEXT = kit.stream_bytes("text without a start")


def failure(stream: list[events.Event]) -> UpstreamError:
    last = stream[-1]
    assert isinstance(last, events.Failed)
    assert not any(isinstance(event, events.Ended) for event in stream)
    return last.error


@every_stream
def test_what_a_stream_tells(name: str) -> None:
    assert kit.told(fold(kit.decode([kit.stream_bytes(name)]))) == kit.STREAMS[name]["reply"]


@every_stream
def test_a_stream_is_its_whole_reply(name: str) -> None:
    bodies = kit.STREAMS[name]["events"]
    body = kit.assembled(bodies)
    if name == "the answer of a forced tool":  # a whole reply spells the answer in its own way
        assert json.loads(kit.told(DIALECT.decode_reply(json.dumps(body).encode()))["text"]) == {"knots": 7}
        return
    whole = DIALECT.decode_reply(json.dumps(body).encode())
    assert kit.plain(fold(kit.decode([kit.stream_bytes(name)]))) == kit.plain(whole)


@every_stream
def test_any_cut_gives_the_same_events(name: str) -> None:
    data = kit.stream_bytes(name)
    whole = kit.decode([data])
    assert kit.decode([data[i : i + 1] for i in range(len(data))]) == whole
    for cut in range(0, len(data), 13):
        assert kit.decode([data[:cut], data[cut:]]) == whole


@every_stream
def test_the_grammar_of_events_is_kept(name: str) -> None:
    stream = kit.decode([kit.stream_bytes(name)])
    assert isinstance(stream[0], events.Started)
    assert isinstance(stream[-1], events.Ended)
    opened: set[int] = set()
    for event in stream:
        match event:
            case events.PartOpened():
                assert event.part not in opened
                opened.add(event.part)
            case events.PartDelta() | events.PartClosed():
                assert event.part in opened
    closed = [event.part for event in stream if isinstance(event, events.PartClosed)]
    assert sorted(closed) == sorted(opened)
    assert sum(isinstance(event, events.Finished) for event in stream) == 1


@every_stream
def test_a_cut_at_any_byte_never_looks_finished(name: str) -> None:
    messages = kit.framed(kit.STREAMS[name]["events"])
    names = [next(iter(entry)) for entry in kit.STREAMS[name]["events"]]
    safe = sum(len(message) for message in messages[: names.index("messageStop") + 1])
    data = b"".join(messages)
    for cut in range(len(data)):
        stream = kit.decode([data[:cut]])
        if cut < safe:
            assert failure(stream).kind is UpstreamKind.TRUNCATED
        else:  # the reason to stop is known; only the usage may be missing
            assert isinstance(stream[-1], events.Ended)


def test_the_end_comes_with_the_usage_and_not_before() -> None:
    decoder = DIALECT.stream_decoder()
    *body, stop, metadata = kit.framed(kit.STREAMS["text without a start"]["events"])
    decoder.feed(b"".join(body))
    assert decoder.feed(stop) == []
    last = decoder.feed(metadata)
    assert [type(event) for event in last] == [events.UsageSeen, events.Finished, events.Ended]
    assert decoder.feed(TEXT) == []
    assert decoder.close() == []


def test_a_block_that_changes_its_kind_is_two_parts() -> None:
    bodies = [
        {"contentBlockDelta": {"contentBlockIndex": 0, "delta": {"reasoningContent": {"text": "Hm."}}}},
        {"contentBlockDelta": {"contentBlockIndex": 0, "delta": {"text": "Yes."}}},
        {
            "contentBlockStart": {
                "contentBlockIndex": 0,
                "start": {"toolUse": {"toolUseId": "t", "name": "f"}},
            }
        },
        *kit.STREAMS["text and two calls"]["events"][-2:],
    ]
    (choice,) = fold(kit.decode(kit.framed(bodies))).choices
    assert choice.parts == (
        chat.Thinking(text="Hm.", origin="bedrock_converse"),
        chat.Text(text="Yes."),
        chat.ToolCall(id="t", name="f", arguments="{}"),
    )


def test_citations_keep_their_source_and_the_providers_own_form() -> None:
    (choice,) = fold(kit.decode([kit.stream_bytes("citations")])).choices
    (part,) = choice.parts
    assert isinstance(part, chat.Text)
    first, second = part.citations
    assert (first.title, first.url, first.cited_text) == ("Shipyard book", None, "keel of oak")
    assert second.url == "https://log.example/2"
    assert first.raw is not None
    assert json.loads(bytes(first.raw))["location"]["documentChar"]["end"] == 20


def test_what_the_provider_says_beside_the_answer() -> None:
    guarded = fold(kit.decode([kit.stream_bytes("a guardrail that says why")]))
    assert guarded.choices[0].finish_message == "Guardrail masked."
    assert [seen.name for seen in guarded.opaque] == ["trace"]
    stopped = fold(kit.decode([kit.stream_bytes("a stop sequence that is told")]))
    assert stopped.choices[0].stop_sequence == ", three"
    assert stopped.opaque == ()


def test_the_service_tier_is_told() -> None:
    usage = fold(kit.decode([kit.stream_bytes("the cache with both lifetimes")])).usage
    assert usage is not None
    assert usage.service_tier == "flex"


@pytest.mark.parametrize(
    ("name", "body", "kind"),
    [
        ("throttlingException", {"message": "Too many tokens, please wait before trying again."}, "RATE_LIMIT"),
        ("internalServerException", {"message": "Unexpected error."}, "SERVER"),
        ("serviceUnavailableException", {"message": "Try later."}, "OVERLOADED"),
        ("modelStreamErrorException", {"message": "The model broke off."}, "SERVER"),
        ("modelTimeoutException", {"message": "The model took too long."}, "TIMEOUT"),
        ("validationException", {"message": "Malformed input request."}, "INVALID_REQUEST"),
        ("validationException", {"message": "Input is too long for requested model."}, "CONTEXT_LENGTH"),
        ("modelStreamErrorException",
         {"message": "The model erred.", "originalStatusCode": 429, "originalMessage": "slow down"}, "RATE_LIMIT"),
        ("somethingNewException", {"message": "What is this?"}, "SERVER"),
        ("throttlingException", None, "RATE_LIMIT"),
        ("throttlingException", [1], "RATE_LIMIT"),
    ],
)  # fmt: skip
def test_an_exception_fails_the_stream(name: str, body: Any, kind: str) -> None:
    head = kit.framed(kit.STREAMS["text without a start"]["events"][:3])
    error = failure(kit.decode([*head, kit.exception(name, body), TEXT]))
    assert error.kind is UpstreamKind[kind]
    assert error.native_type == name
    if isinstance(body, dict):
        assert body["message"] in error.message


def test_an_error_message_fails_the_stream() -> None:
    said = {":message-type": "error", ":error-code": "InternalFailure", ":error-message": "Lost a server."}
    error = failure(kit.decode([encode_message(said, b"")]))
    assert (error.kind, error.message) == (UpstreamKind.SERVER, "Lost a server.")


@pytest.mark.parametrize("reason", ["malformed_model_output", "malformed_tool_use"])
def test_an_end_that_is_a_failure(reason: str) -> None:
    bodies = kit.STREAMS["text without a start"]["events"]
    changed = [*bodies[:-2], {"messageStop": {"stopReason": reason}}, bodies[-1]]
    stream = kit.decode(kit.framed(changed))
    assert failure(stream).native_code == reason
    assert any(isinstance(event, events.UsageSeen) for event in stream)  # it is billed all the same


@pytest.mark.parametrize("payload", [b"", b"nonsense", b"[]", b"3", b'{"delta"', b"\xff"])
def test_a_known_event_that_is_no_object_is_seen(payload: bytes) -> None:
    bad = encode_message({":message-type": "event", ":event-type": "contentBlockDelta"}, payload)
    assert failure(kit.decode([bad, TEXT])).kind is UpstreamKind.MALFORMED
    unknown = encode_message({":message-type": "event", ":event-type": "novelty"}, payload)
    assert kit.decode([unknown, TEXT]) == kit.decode([TEXT])


def test_damage_is_seen_and_what_came_before_is_kept() -> None:
    data = bytearray(TEXT)
    data[-3] ^= 1
    for chunks in ([bytes(data)], [bytes(data[i : i + 1]) for i in range(len(data))]):
        stream = kit.decode(chunks)
        assert failure(stream).kind is UpstreamKind.MALFORMED
        assert "".join(e.text for e in stream if isinstance(e, events.PartDelta)) == "Snow fällt ❄."


@pytest.mark.parametrize(
    "usage",
    [{"inputTokens": -1, "outputTokens": 1}, {"inputTokens": 1}, {"inputTokens": "1", "outputTokens": 1}, [],
     {"inputTokens": 1, "outputTokens": 10**12}, {"inputTokens": 1, "outputTokens": 1, "cacheReadInputTokens": -5},
     {"inputTokens": True, "outputTokens": 1}],
)  # fmt: skip
def test_counts_that_cannot_be_true_are_no_counts(usage: Any) -> None:
    bodies = kit.STREAMS["text without a start"]["events"][:-1]
    stream = kit.decode(kit.framed([*bodies, {"metadata": {"usage": usage}}]))
    assert [event.usage for event in stream if isinstance(event, events.UsageSeen)] == [None]
    assert isinstance(stream[-1], events.Ended)


def test_metadata_without_usage_reports_none() -> None:
    bodies = kit.STREAMS["text without a start"]["events"][:-1]
    stream = kit.decode(kit.framed([*bodies, {"metadata": {"metrics": {}}}]))
    assert not any(isinstance(event, events.UsageSeen) for event in stream)
    assert isinstance(stream[-1], events.Ended)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
WORDS = ["contentBlockIndex", "start", "delta", "text", "toolUse", "input", "name", "toolUseId", "type", "usage",
         "reasoningContent", "signature", "redactedContent", "citation", "toolResult", "image", "source", "bytes",
         "stopReason", "trace", "inputTokens", "location", "web"]  # fmt: skip
odd_bodies = st.recursive(
    json_values, lambda inner: st.dictionaries(st.sampled_from(WORDS), inner, max_size=4), max_leaves=10
)
odd_events = st.lists(
    st.dictionaries(
        st.sampled_from(
            [
                "messageStart",
                "contentBlockStart",
                "contentBlockDelta",
                "contentBlockStop",
                "messageStop",
                "metadata",
            ]
        ),
        odd_bodies,
        min_size=1,
        max_size=1,
    ),
    max_size=8,
)


@settings(max_examples=200)
@given(bodies=odd_events)
def test_no_event_raises_or_breaks_the_grammar(bodies: list[dict[str, Any]]) -> None:
    stream = kit.decode(kit.framed(bodies))
    assert isinstance(stream[-1], events.Ended | events.Failed)
    if isinstance(stream[-1], events.Ended):
        fold(stream)


@settings(max_examples=100)
@given(data=st.binary(max_size=300))
def test_garbage_never_raises(data: bytes) -> None:
    assert isinstance(kit.decode([data])[-1], events.Failed)
    assert isinstance(kit.decode([TEXT[:120], data])[-1], events.Failed | events.Ended)


def bridged(front: Dialect, data: bytes, size: int) -> tuple[bytes, BridgeRelay]:
    relay = BridgeRelay(DIALECT.stream_decoder(), front.stream_encoder(CONTEXT))
    out = b"".join(relay.feed(data[i : i + size]) for i in range(0, len(data), size))
    return out + (b"" if relay.observed.ended else relay.close()), relay


@pytest.mark.parametrize("front", FRONTS, ids=[front.name for front in FRONTS])
@every_stream
def test_every_client_reads_it(front: Dialect, name: str) -> None:
    data, expected = kit.stream_bytes(name), kit.STREAMS[name]["reply"]
    out, relay = bridged(front, data, 5)
    assert bridged(front, data, len(data))[0] == out
    assert relay.observed.ended
    assert relay.observed.usage is not None
    decoder = front.stream_decoder()
    client = fold([*decoder.feed(out + relay.finish(BILL)), *decoder.close()])
    seen = kit.told(client)
    assert seen["text"] == expected["text"]
    assert seen["finish"] == expected["finish"]
    assert [call[1:] for call in seen["calls"]] == [call[1:] for call in expected["calls"]]
    assert [text for text, _ in seen["thinking"] if text] == [text for text, _ in expected["thinking"]]


@pytest.mark.parametrize("front", FRONTS, ids=[front.name for front in FRONTS])
def test_a_failure_reaches_every_client_without_an_end(front: Dialect) -> None:
    head = b"".join(kit.framed(kit.STREAMS["text without a start"]["events"][:3]))
    out, relay = bridged(
        front, head + kit.exception("throttlingException", {"message": "Too many requests"}), 9
    )
    assert relay.observed.error is not None
    tail = relay.fail(relay.observed.error, "req-1")
    decoder = front.stream_decoder()
    assert isinstance([*decoder.feed(out + tail), *decoder.close()][-1], events.Failed)
