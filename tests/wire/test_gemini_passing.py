"""The same dialect on both sides: every byte as it came, but for the bill."""

from __future__ import annotations

import json
import re
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from gemini_kit import BILL, CONTEXT, FRAMINGS, array, cases, decode, folded, joined, sse
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_router.domain.errors import UpstreamKind
from llm_router.domain.usage import Usage
from llm_router.wire.dialect import Bill, ReplyContext
from llm_router.wire.dialects.gemini_generate import DIALECT
from llm_router.wire.dialects.gemini_generate.passing import PassRelay

BILLED = re.compile(rb',?"cost":[0-9.]+,"creditsRemaining":[0-9.]+')
ARRAY = msgspec.structs.replace(CONTEXT, json_array=True)


def passed(
    raw: bytes, cuts: Any = (), context: ReplyContext = CONTEXT, bill: Bill = BILL
) -> tuple[bytes, Any]:
    relay = DIALECT.pass_relay(context)
    out, start = b"", 0
    for cut in [*sorted({c for c in cuts if 0 < c < len(raw)}), len(raw)]:
        out += relay.feed(raw[start:cut])
        start = cut
    out += relay.close()
    if relay.observed.error is None:
        out += relay.finish(bill)
    return out, relay.observed


GOOD = [case for case in cases() if "error" not in case.values[0]["expect"]]
CLEAN = [case for case in GOOD if case.id != "numbers"]


@pytest.mark.parametrize("framing", ["crlf", "lf", "cr"])
@pytest.mark.parametrize("case", CLEAN)
def test_identity_of_streams(case: Any, framing: str) -> None:
    raw = FRAMINGS[framing](case["messages"])
    for cuts in ((), range(len(raw)), range(0, len(raw), 7)):
        out, observed = passed(raw, cuts)
        assert observed.ended
        assert len(BILLED.findall(out)) == 1
        assert normal(out) == normal(raw), "apart from the bill"
        assert out.replace(b"\r", b"").replace(b"\n", b"") != b""
        newlines = {"crlf": b"\r\n\r\n", "lf": b"\n\n", "cr": b"\r\r"}[framing]
        assert out.endswith(newlines)
    before, _, tail = raw.rpartition(b"data: ")
    out, _ = passed(raw)
    held = [m for m in case["messages"] if "finishReason" in json.dumps(m) or "promptFeedback" in m]
    if len(case["messages"]) > 1 and len(held) == 1 and held[0] is case["messages"][-1]:
        assert out.startswith(before), "byte for byte until the last message"
    assert tail


def normal(raw: bytes) -> list[Any]:
    """The messages without the bill, and without a usage that holds nothing else."""
    found = [json.loads(line[6:]) for line in re.split(rb"[\r\n]+", BILLED.sub(b"", raw)) if line]
    for message in found:
        if message.get("usageMetadata") == {}:
            del message["usageMetadata"]
    return found


@pytest.mark.parametrize("case", GOOD)
@settings(max_examples=15)
@given(data=st.data())
def test_split_anywhere(case: Any, data: st.DataObject) -> None:
    raw = FRAMINGS[data.draw(st.sampled_from(sorted(FRAMINGS)))](case["messages"])
    context = data.draw(st.sampled_from([CONTEXT, ARRAY]))
    cuts = data.draw(st.lists(st.integers(1, len(raw)), max_size=8))
    out, observed = passed(raw, cuts, context)
    whole, seen = passed(raw, (), context)
    assert out == whole
    assert (observed.usage, observed.finish, observed.output_chars) == (
        seen.usage,
        seen.finish,
        seen.output_chars,
    )


@pytest.mark.parametrize("framing", FRAMINGS)
@pytest.mark.parametrize("case", GOOD)
def test_each_framing_can_become_the_other(case: Any, framing: str) -> None:
    raw = FRAMINGS[framing](case["messages"])
    expected = folded(decode(raw)).reply()
    for context in (CONTEXT, ARRAY):
        out, _ = passed(raw, (), context)
        assert (out[:1] == b"[") == context.json_array
        back = folded(decode(out))
        assert back.ended
        assert [joined(c) for c in back.reply().choices] == [joined(c) for c in expected.choices]
        assert back.reply().usage == expected.usage


@pytest.mark.parametrize("case", CLEAN)
def test_whole_replies_keep_their_bytes(case: Any) -> None:
    body = json.dumps(case["messages"][-1], indent=2).encode()
    reply = DIALECT.pass_reply(body, CONTEXT)
    if len(case["messages"]) == 1:
        assert reply.observed.ended
        assert reply.observed.usage == folded(decode(sse(case["messages"]))).reply().usage
    out = reply.finish(BILL)
    found, expected = json.loads(out, parse_float=Decimal), json.loads(body, parse_float=Decimal)
    meta = found.pop("usageMetadata")
    assert (meta.pop("cost"), meta.pop("creditsRemaining")) == (Decimal("0.0015"), 2)
    assert meta == expected.pop("usageMetadata", {})
    assert found == expected
    for name in ("candidates",):
        if name in expected:
            raw = msgspec.json.decode(body, type=dict[str, msgspec.Raw])[name]
            assert bytes(raw) in out, "untouched values keep their bytes"


def test_what_was_observed() -> None:
    case = next(c for c in cases() if c.id == "thoughts").values[0]
    _, observed = passed(sse(case["messages"]))
    assert observed.content_started
    assert (observed.output_chars, observed.reasoning_chars) == (5, 11)
    assert (observed.upstream_id, observed.reply_id, observed.upstream_model) == ("r-1", "r-1", "gemini-test")
    assert (observed.finish, observed.native_finish) == ("stop", "STOP")
    assert observed.usage == Usage(input_tokens=8, output_tokens=2, reasoning_tokens=30)


def test_nothing_leaves_before_content() -> None:
    relay = DIALECT.pass_relay(CONTEXT)
    empty = sse(
        [{"candidates": [{"content": {"role": "model"}}], "usageMetadata": {"trafficType": "ON_DEMAND"}}]
    )
    assert relay.feed(empty) == b""
    assert not relay.observed.content_started
    text = sse([{"candidates": [{"content": {"parts": [{"text": "a"}]}}]}])
    assert relay.feed(text) == empty + text
    assert relay.observed.content_started


def test_an_error_before_content_sends_nothing() -> None:
    out, observed = passed(sse([{"error": {"code": 503, "message": "overloaded", "status": "UNAVAILABLE"}}]))
    assert out == b""
    assert observed.error.kind == UpstreamKind.OVERLOADED


@pytest.mark.parametrize("name", ["failed_call", "error_inside", "unfinished", "unexpected_call"])
@pytest.mark.parametrize("json_array", [False, True])
def test_failures(name: str, json_array: bool) -> None:
    case = next(c for c in cases() if c.id == name).values[0]
    relay = PassRelay(msgspec.structs.replace(CONTEXT, json_array=json_array))
    out = relay.feed(sse(case["messages"])) + relay.close()
    if name in ("failed_call", "unexpected_call"):  # a client of this dialect knows Google's words
        assert relay.observed.error is None
        assert relay.observed.finish == "error"
        assert relay.observed.native_finish in ("MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL")
        return
    assert relay.observed.error is not None
    assert not relay.observed.ended
    folder = folded(decode(out + relay.fail(relay.observed.error, "gen-1")))
    assert folder.error is not None
    assert not folder.ended


def test_a_failing_finish_without_content_may_fall_back() -> None:
    message = {"candidates": [{"content": {}, "finishReason": "MALFORMED_FUNCTION_CALL"}]}
    out, observed = passed(sse([message]))
    assert out == b""
    assert observed.error.kind == UpstreamKind.MALFORMED
    assert DIALECT.pass_reply(json.dumps(message).encode(), CONTEXT).observed.error is not None


@pytest.mark.parametrize("case", GOOD)
def test_truncation_is_seen(case: Any) -> None:
    for framing in ("crlf", "array"):
        raw = FRAMINGS[framing](case["messages"])
        for cut in range(len(raw)):
            _, observed = passed(raw[:cut])
            assert observed.ended == folded(decode(raw[:cut])).ended
            assert observed.ended != (observed.error is not None)


def test_metered_usage_is_said_where_the_provider_said_none() -> None:
    message = {"candidates": [{"content": {"parts": [{"text": "a"}]}, "finishReason": "STOP"}]}
    bill = msgspec.structs.replace(BILL, usage=Usage(input_tokens=3, output_tokens=1))
    out, _ = passed(sse([message]), (), CONTEXT, bill)
    assert json.loads(out[6:])["usageMetadata"]["promptTokenCount"] == 3


def test_arrays_pass_element_by_element() -> None:
    case = next(c for c in cases() if c.id == "text").values[0]
    out, _ = passed(array(case["messages"]), (), ARRAY)
    found = json.loads(out)
    assert found[:-1] == case["messages"][:-1]
    assert found[-1]["usageMetadata"]["creditsRemaining"] == 2


@pytest.mark.parametrize("body", [b"", b"x", b"[]", b"{}", b'{"candidates":[]}', b"\xff"])
def test_bodies_that_are_no_reply(body: bytes) -> None:
    observed = DIALECT.pass_reply(body, CONTEXT).observed
    assert observed.error is not None
    assert not observed.ended


def test_blank_lines_ahead_are_not_kept() -> None:
    for raw in (
        sse([{"error": {"code": 503, "message": "overloaded"}}]),
        b'{"error": {"code": 503, "message": "x"}}',
    ):
        relay = PassRelay(CONTEXT)
        for _ in range(3000):
            assert relay.feed(b"\r\n" * 50) == b""
        relay.feed(raw)
        relay.close()
        assert relay.observed.error is not None
        assert relay.observed.error.kind == UpstreamKind.OVERLOADED
        assert folded(decode(b"\r\n" * 50 + raw)).error is not None
    assert folded(
        decode(b"\xef\xbb\xbf" + array([{"candidates": [{"finishReason": "STOP"}]}]), range(9))
    ).ended


NUMBERED = {
    "candidates": [
        {
            "content": {
                "role": "model",
                "parts": [{"functionCall": {"name": "rate", "args": {"category": 1}}}],
            },
            "finishReason": 1,
            "safetyRatings": [{"category": 8, "probability": 1, "severity": 2}, {"category": 99}],
        }
    ],
    "usageMetadata": {
        "promptTokenCount": 3,
        "trafficType": 1,
        "promptTokensDetails": [{"modality": 1, "tokenCount": 3}],
    },
}


def test_enums_that_come_as_numbers_get_their_names() -> None:
    """Google's own client reads names alone. A call's arguments are nobody's enum."""
    raw = json.dumps(NUMBERED).encode()
    streamed, observed = passed(b"[" + raw + b"]")
    assert observed.finish == "tool_calls"
    for out in (DIALECT.pass_reply(raw, CONTEXT).finish(BILL), streamed.removeprefix(b"data: ")):
        found = json.loads(out)
        (candidate,) = found["candidates"]
        assert candidate["finishReason"] == "STOP"
        assert candidate["content"]["parts"][0]["functionCall"]["args"] == {"category": 1}
        assert candidate["safetyRatings"] == [
            {
                "category": "HARM_CATEGORY_HATE_SPEECH",
                "probability": "NEGLIGIBLE",
                "severity": "HARM_SEVERITY_LOW",
            },
            {"category": 99},
        ]
        meta = found["usageMetadata"]
        assert (meta["trafficType"], meta["promptTokensDetails"][0]["modality"]) == ("ON_DEMAND", "TEXT")
