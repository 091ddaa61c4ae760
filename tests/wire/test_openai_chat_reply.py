"""Whole replies of the chat form: put right, and to the canonical form and back."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from chat_kit import CONTEXT, corpus, cut, known_id
from chat_reader import Read, parsed, read_body, read_stream
from hypothesis import given
from hypothesis import strategies as st

from llm_router.domain.errors import UpstreamError, UpstreamKind
from llm_router.domain.usage import Usage
from llm_router.wire import chat, events
from llm_router.wire.dialect import Bill, ReplyContext
from llm_router.wire.dialects.openai_chat import DIALECT
from llm_router.wire.fold import fold, unfold

CASES = [pytest.param(case, id=case["name"]) for case in corpus("bodies")]
LEGACY = ReplyContext(reply_id="chatcmpl-l", model="m", created_s=1, legacy_functions=True)


def _bill(usage: Usage | None) -> Bill:
    return Bill(usage=usage, cost_pusd=34_500_000, credits_remaining_pusd=12_345_678_900_000)


def _check(read: Read, expect: dict[str, Any], *, passed: bool) -> None:
    count = len(expect["text"])
    assert read.text == dict(enumerate(expect["text"]))
    assert read.reasoning == dict(enumerate(expect.get("reasoning", [""] * count)))
    assert read.refusal == dict(enumerate(expect.get("refusal", [""] * count)))
    for number, calls in enumerate(expect.get("calls", [[]] * count)):
        assert [[known_id(c["id"]), c["name"], parsed(c["arguments"])] for c in read.calls[number]] == calls
    assert read.finish == dict(enumerate(expect["finish"]))
    assert read.usage is not None
    if expect["usage"] is None:
        assert read.usage["total_tokens"] is None
    else:
        prompt, completion, cached, reasoning = expect["usage"]
        assert read.usage["prompt_tokens"] == prompt
        assert read.usage["completion_tokens"] == completion
        assert read.usage["total_tokens"] == prompt + completion
        if cached is not None:
            assert read.usage["prompt_tokens_details"]["cached_tokens"] == cached
        if reasoning is not None:
            assert read.usage["completion_tokens_details"]["reasoning_tokens"] == reasoning
    assert read.usage["cost"] == 0.0000345
    assert read.usage["credits_remaining"] == 12.3456789
    if passed:
        assert read.usage.get("upstream_cost") == expect.get("upstream_cost")
    if "native" in expect:
        assert read.members["choices"][0]["native_finish_reason"] == expect["native"]
    assert "system_fingerprint" in read.members
    assert read.id == expect.get("id", read.id)
    assert read.model == expect.get("model", read.model)


@pytest.mark.parametrize("case", CASES)
def test_bodies_are_put_right(case: dict[str, Any]) -> None:
    passed = DIALECT.pass_reply(json.dumps(case["body"]).encode(), CONTEXT)
    seen = passed.observed
    _check(read_body(passed.finish(_bill(seen.usage))), case["expect"], passed=True)
    assert seen.ended
    assert seen.content_started
    assert seen.flags == case["expect"].get("flags", [])
    assert seen.upstream_id == (case["body"]["id"] or None)
    assert seen.finish == case["expect"]["finish"][0]
    if "native" in case["expect"]:
        assert seen.native_finish == case["expect"]["native"]


@pytest.mark.parametrize("case", CASES)
def test_bodies_bridge_to_themselves(case: dict[str, Any]) -> None:
    reply = DIALECT.decode_reply(json.dumps(case["body"]).encode())
    data, losses = DIALECT.encode_reply(reply, CONTEXT, _bill(reply.usage))
    assert losses == ()
    _check(read_body(data), case["expect"], passed=False)


def test_a_clean_body_passes_unchanged_but_for_the_bill() -> None:
    body = corpus("bodies")[0]["body"]
    passed = DIALECT.pass_reply(json.dumps(body).encode(), CONTEXT)
    out = json.loads(passed.finish(_bill(passed.observed.usage)))
    assert out["usage"].pop("cost") == 0.0000345
    assert out["usage"].pop("credits_remaining") == 12.3456789
    assert out == body


@pytest.mark.parametrize(
    ("tier", "shown"), [("flex", "flex"), ("standard", "default"), ("turbo", None), (5, None)]
)
def test_service_tiers_in_the_clients_words(tier: object, shown: str | None) -> None:
    body = corpus("bodies")[0]["body"] | {"service_tier": tier}
    data = json.dumps(body).encode()
    out = json.loads(DIALECT.pass_reply(data, CONTEXT).finish(_bill(None)))
    assert out.get("service_tier") == shown
    reply = DIALECT.decode_reply(data)
    assert json.loads(DIALECT.encode_reply(reply, CONTEXT, _bill(None))[0]).get("service_tier") == shown


def test_money_is_written_exactly() -> None:
    body = corpus("bodies")[0]["body"]
    passed = DIALECT.pass_reply(json.dumps(body).encode(), CONTEXT)
    bill = Bill(usage=passed.observed.usage, cost_pusd=1, credits_remaining_pusd=10**18 + 1)
    out = passed.finish(bill)
    assert b'"cost":0.000000000001' in out
    assert b'"credits_remaining":1000000.000000000001' in out


def test_the_buckets_are_disjoint() -> None:
    case = next(c for c in corpus("bodies") if c["name"].startswith("cache reads"))
    assert DIALECT.decode_reply(json.dumps(case["body"]).encode()).usage == Usage(
        input_tokens=271, cache_read_tokens=512, cache_write_tokens=1217, output_tokens=6, reasoning_tokens=4
    )


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b"", UpstreamKind.MALFORMED, 502),
        (b"<html>login</html>", UpstreamKind.MALFORMED, 502),
        (b"[]", UpstreamKind.MALFORMED, 502),
        (b"{}", UpstreamKind.MALFORMED, 502),
        (b'{"choices":[]}', UpstreamKind.MALFORMED, 502),
        (b'{"choices":["x"]}', UpstreamKind.MALFORMED, 502),
        (b'{"choices":[{"message":{"content":"a', UpstreamKind.MALFORMED, 502),
        (b"[" * 100_000, UpstreamKind.MALFORMED, 502),
        (b'{"error":{"message":"Overloaded","type":"overloaded_error"}}', UpstreamKind.OVERLOADED, 503),
        (b'{"error":{"message":"Slow","code":429},"user_id":"u"}', UpstreamKind.RATE_LIMIT, 429),
        (b'{"error":"out of memory"}', UpstreamKind.SERVER, 502),
        (b'{"object":"error","message":"no such thing","code":404}', UpstreamKind.OBJECT, 404),
        (b'{"choices":[{"message":{"content":"a"},"finish_reason":"error"}]}', UpstreamKind.SERVER, 502),
    ],
)
def test_what_is_no_reply_is_an_error(body: bytes, kind: UpstreamKind, status: int) -> None:
    for read in (DIALECT.decode_reply, lambda data: DIALECT.pass_reply(data, CONTEXT)):
        with pytest.raises(UpstreamError) as caught:
            read(body)
        assert (caught.value.kind, caught.value.status) == (kind, status)


# -- the legacy style ------------------------------------------------------------------------------

CALL = {
    "id": "chatcmpl-9",
    "created": 5,
    "model": "m",
    "choices": [
        {
            "index": 0,
            "finish_reason": "tool_calls",
            "message": {
                "role": "assistant",
                "content": None,
                "tool_calls": [
                    {"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}},
                    {"id": "d", "type": "function", "function": {"name": "g", "arguments": "{}"}},
                ],
            },
        }
    ],
}


def test_calls_become_the_legacy_style() -> None:
    data = json.dumps(CALL).encode()
    whole = DIALECT.pass_reply(data, LEGACY)
    assert [loss.field for loss in whole.observed.losses] == ["tool_calls"]
    passed = whole.finish(_bill(None))
    bridged, losses = DIALECT.encode_reply(DIALECT.decode_reply(data), LEGACY, _bill(None))
    assert [loss.field for loss in losses] == ["tool_calls"]
    for out in (passed, bridged):
        read = read_body(out)
        assert read.function == {0: {"name": "f", "arguments": '{"a":1}'}}
        assert read.calls == {0: []}
        assert read.finish == {0: "function_call"}


# -- the canonical form and back -------------------------------------------------------------------

TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
ORIGINS = st.sampled_from(["anthropic_messages", "gemini_generate", "openai_chat", "openai_chat/other-v1"])
THINKING = st.builds(
    chat.Thinking, text=TEXT, signature=TEXT, origin=ORIGINS, id=st.none() | st.just("rs_1")
) | st.builds(chat.Thinking, redacted=TEXT, origin=ORIGINS)
CALLS = st.builds(
    chat.ToolCall,
    id=st.uuids().map(str),
    name=st.sampled_from(["f", "g"]),
    arguments=st.dictionaries(TEXT, st.integers(), max_size=2).map(json.dumps),
    signature=st.none(),
) | st.builds(
    chat.ToolCall,
    id=st.uuids().map(str),
    name=st.just("h"),
    arguments=st.just("{}"),
    signature=TEXT,
    origin=st.just("gemini_generate"),
)
USAGE = st.builds(
    Usage,
    input_tokens=st.integers(0, 1000),
    cache_read_tokens=st.integers(0, 1000),
    cache_write_tokens=st.integers(0, 1000),
    input_audio_tokens=st.integers(0, 1000),
    output_tokens=st.integers(0, 1000),
    reasoning_tokens=st.integers(0, 1000),
    output_audio_tokens=st.integers(0, 1000),
    output_image_tokens=st.integers(0, 1000),
)


@st.composite
def _replies(draw: st.DrawFn) -> events.Reply:
    choices = []
    for index in range(draw(st.integers(1, 2))):
        parts: list[chat.Part] = draw(st.lists(THINKING, max_size=3))
        if draw(st.booleans()):
            parts.append(
                draw(
                    st.builds(chat.Text, text=TEXT)
                    | st.builds(chat.Text, text=TEXT, signature=TEXT, origin=ORIGINS)
                )
            )
        if draw(st.booleans()):
            parts.append(chat.Refusal(text=draw(TEXT)))
        calls = draw(st.lists(CALLS, max_size=2))
        if draw(st.booleans()):
            parts = [*parts, *calls]
        else:
            calls = []
        if draw(st.booleans()):
            parts.append(chat.Media(form="image", data="AAAA", media_type="image/png"))
        finishes = ["length", "content_filter", "tool_calls" if calls else "stop"]
        finish = draw(st.sampled_from(finishes))
        choices.append(
            events.Choice(
                index=index,
                parts=tuple(parts),
                finish=events.Finish(finish),
                native_finish=finish,
                logprobs=draw(st.none() | st.just(chat.Raw(b'[{"token":"a","logprob":-0.5}]'))),
            )
        )
    return events.Reply(
        id="chatcmpl-x", model="m", created_s=7, choices=tuple(choices), usage=draw(USAGE),
        extras={"service_tier": chat.Raw(b'"flex"')},
    )  # fmt: skip


@given(_replies())
def test_round_trip(reply: events.Reply) -> None:
    data, losses = DIALECT.encode_reply(reply, CONTEXT, _bill(reply.usage))
    assert losses == ()
    again = DIALECT.decode_reply(data)
    assert again.choices == reply.choices
    assert (again.id, again.model, again.created_s) == (reply.id, reply.model, reply.created_s)
    assert again.usage is not None
    assert reply.usage is not None
    wanted = {**_counts(reply.usage), "service_tier": "flex"}
    assert _counts(again.usage) | {"service_tier": again.usage.service_tier} == wanted


def _counts(usage: Usage) -> dict[str, Any]:
    return {name: getattr(usage, name) for name in usage.__struct_fields__ if name.endswith("_tokens")}


@given(_replies(), st.integers(1, 60))
def test_round_trip_as_a_stream(reply: events.Reply, size: int) -> None:
    encoder = DIALECT.stream_encoder(CONTEXT)
    data = b"".join(encoder.encode(event) for event in unfold(reply)) + encoder.finish(_bill(reply.usage))
    assert encoder.losses == []
    read_stream(data)
    decoder = DIALECT.stream_decoder()
    seen = [event for piece in cut(data, size) for event in decoder.feed(piece)] + decoder.close()
    again = fold(seen)
    assert [_joined(choice) for choice in again.choices] == [_joined(choice) for choice in reply.choices]
    assert (again.id, again.model, again.created_s) == (reply.id, reply.model, reply.created_s)
    assert again.extras == reply.extras
    assert again.usage is not None
    assert reply.usage is not None
    assert _counts(again.usage) == _counts(reply.usage)


def _joined(choice: events.Choice) -> tuple[Any, ...]:
    """A choice in which a signature on an empty last text belongs to the text before it.

    A call's signature may come behind its first delta, which alone could say where it is from.
    """
    parts = [
        msgspec.structs.replace(part, origin=None) if isinstance(part, chat.ToolCall) else part
        for part in choice.parts
    ]
    last = parts[-1] if parts else None
    at = next((i for i, part in enumerate(parts) if isinstance(part, chat.Text)), None)
    if isinstance(last, chat.Text) and last.text == "" and at is not None and parts[at] is not last:
        parts.pop()
        parts[at] = msgspec.structs.replace(parts[at], signature=last.signature, origin=last.origin)
    return (tuple(parts), msgspec.structs.replace(choice, parts=()))


def test_what_cannot_be_said_is_declared() -> None:
    reply = events.Reply(
        choices=(
            events.Choice(
                parts=(
                    chat.Opaque(
                        dialect="anthropic_messages", name="web_search_tool_result", raw=chat.Raw(b"{}")
                    ),
                    chat.Text(text="a", citations=(chat.Citation(title="no url"),)),
                    chat.Media(form="video", data="AAAA", media_type="video/mp4"),
                )
            ),
        ),
        opaque=(events.OpaqueSeen(dialect="gemini_generate", name="groundingMetadata", raw=chat.Raw(b"{}")),),
    )
    data, losses = DIALECT.encode_reply(reply, CONTEXT, _bill(None))
    assert [loss.field for loss in losses] == [
        "web_search_tool_result",
        "citations",
        "video",
        "groundingMetadata",
    ]
    assert read_body(data).text == {0: "a"}


def test_sources_beside_the_choices_become_citations() -> None:
    body = {
        "choices": [{"message": {"content": "Sunny."}, "finish_reason": "stop"}],
        "citations": ["https://a.example"],
        "search_results": [{"title": "A", "url": "https://a.example"}, {"no": "url"}],
    }
    reply = DIALECT.decode_reply(json.dumps(body).encode())
    (text,) = reply.choices[0].parts
    assert isinstance(text, chat.Text)
    assert [(c.url, c.title) for c in text.citations] == [("https://a.example", "A")]


def test_citations_go_both_ways() -> None:
    note = {
        "type": "url_citation",
        "url_citation": {"url": "https://x.example", "title": "X", "start_index": 1, "end_index": 3},
    }
    body = {"choices": [{"message": {"content": "abcd", "annotations": [note]}, "finish_reason": "stop"}]}
    reply = DIALECT.decode_reply(json.dumps(body).encode())
    data, _ = DIALECT.encode_reply(reply, CONTEXT, _bill(None))
    assert json.loads(data)["choices"][0]["message"]["annotations"] == [note]
