"""Gemini in front: replies and streams as Google's clients expect them, and back without loss."""

from __future__ import annotations

import json
import warnings
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from gemini_kit import BILL, CONTEXT, cases, decode, folded, merged, sse
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_router.domain.errors import InsufficientCredits, UpstreamError, UpstreamKind
from llm_router.domain.usage import Usage
from llm_router.wire import chat
from llm_router.wire.dialect import Bill, ReplyContext
from llm_router.wire.dialects.gemini_generate import DIALECT
from llm_router.wire.events import Choice, Event, Finish, OpaqueSeen, Reply
from llm_router.wire.fold import fold, unfold

NAME = "gemini_generate"
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
some_text = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
signatures = st.none() | st.sampled_from(["c2ln", "AB+/cd==", "x" * 40])
origins = st.sampled_from([NAME, "anthropic_messages", "openai_responses"])
arguments = st.dictionaries(texts, st.none() | st.booleans() | st.integers() | texts, max_size=3).map(
    lambda value: msgspec.json.encode(value).decode()
)
parts = st.one_of(
    st.builds(chat.Text, text=some_text, signature=signatures, origin=origins),
    st.builds(chat.Thinking, text=some_text, signature=signatures, origin=origins),
    st.builds(
        chat.Thinking,
        redacted=some_text,
        origin=st.just("anthropic_messages"),
        id=st.none() | st.just("rs_1"),
    ),
    st.builds(
        chat.ToolCall, id=st.uuids().map(str), name=st.just("f"), arguments=arguments, signature=signatures,
        origin=origins,
    ),
    st.builds(chat.Media, form=st.just("image"), data=st.just("aGk="), media_type=st.just("image/png"), origin=st.just(NAME)),
    st.builds(chat.Opaque, dialect=st.just(NAME), name=st.just("executableCode"),
              raw=st.just(chat.Raw(b'{"executableCode":{"code":"1"}}'))),
)  # fmt: skip
usages = st.builds(
    Usage,
    input_tokens=st.integers(0, 999),
    cache_read_tokens=st.integers(0, 999),
    input_audio_tokens=st.integers(0, 99),
    output_tokens=st.integers(0, 999),
    reasoning_tokens=st.integers(0, 999),
    output_image_tokens=st.integers(0, 99),
    output_audio_tokens=st.integers(0, 99),
    service_tier=st.none() | st.just("flex"),
)


def replies(part: st.SearchStrategy[Any] = parts) -> st.SearchStrategy[Reply]:
    def choice(number: int) -> st.SearchStrategy[Choice]:
        return st.builds(
            Choice,
            index=st.just(number),
            parts=st.lists(part, max_size=4).map(tuple),
            finish=st.sampled_from([Finish.STOP, Finish.LENGTH, Finish.CONTENT_FILTER]),
            finish_message=st.none() | some_text,
        )

    return st.builds(
        Reply,
        id=st.just("r-1"),
        model=st.just("gemini-x"),
        choices=st.integers(1, 2).flatmap(lambda n: st.tuples(*[choice(i) for i in range(n)])),
        usage=usages,
    )


def settled(reply: Reply) -> Reply:
    """The reply as it comes back: unsigned state is this dialect's, calls decide the finish, Google's words."""

    def part(p: chat.Part) -> chat.Part:
        if isinstance(p, chat.Text | chat.ToolCall) and p.signature is None:
            return msgspec.structs.replace(p, origin=NAME)
        if isinstance(p, chat.Thinking) and p.signature is None and p.redacted is None:
            return msgspec.structs.replace(p, origin=NAME)
        return p

    def choice(c: Choice) -> Choice:
        found = tuple(part(p) for p in c.parts)
        calls = any(isinstance(p, chat.ToolCall) for p in found)
        native = {"stop": "STOP", "length": "MAX_TOKENS", "content_filter": "SAFETY"}[c.finish.value]
        finish = Finish.TOOL_CALLS if calls and c.finish == Finish.STOP else c.finish
        return msgspec.structs.replace(c, parts=found, finish=finish, native_finish=native)

    return msgspec.structs.replace(reply, choices=tuple(choice(c) for c in reply.choices))


@given(replies())
def test_round_trip_of_replies(reply: Reply) -> None:
    body, losses = DIALECT.encode_reply(reply, CONTEXT, BILL)
    assert losses == ()
    assert DIALECT.decode_reply(body) == settled(reply)


def stream_of(events: list[Event], context: ReplyContext = CONTEXT, bill: Bill = BILL) -> bytes:
    encoder = DIALECT.stream_encoder(context)
    return b"".join(encoder.encode(event) for event in events) + encoder.finish(bill)


def seen_in_stream(choice: Choice) -> list[chat.Part]:
    """Parts as a stream can say them: signatures of text in a part of their own."""
    out: list[chat.Part] = []
    for part in choice.parts:
        if isinstance(part, chat.Text | chat.Thinking) and part.signature is not None and part.text:
            out.append(msgspec.structs.replace(part, signature=None, origin=NAME))
            out.append(msgspec.structs.replace(part, text=""))
        else:
            out.append(part)
    return merged(out)


@given(replies(), st.booleans(), st.data())
def test_round_trip_of_streams(reply: Reply, json_array: bool, data: st.DataObject) -> None:
    context = msgspec.structs.replace(CONTEXT, json_array=json_array)
    raw = stream_of(list(unfold(reply)), context)
    cuts = data.draw(st.lists(st.integers(1, len(raw)), max_size=4))
    back = fold(decode(raw, cuts))
    expected = settled(reply)
    assert [seen_in_stream(c) for c in back.choices] == [seen_in_stream(c) for c in expected.choices]
    assert [(c.finish, c.finish_message) for c in back.choices] == [
        (c.finish, c.finish_message) for c in expected.choices
    ]
    assert back.usage == reply.usage


@settings(max_examples=60)
@given(replies(st.builds(chat.Text, text=some_text)))
def test_a_stream_says_what_the_whole_reply_says(reply: Reply) -> None:
    body, _ = DIALECT.encode_reply(reply, CONTEXT, BILL)
    whole = DIALECT.decode_reply(body)
    streamed = fold(decode(stream_of(list(unfold(reply)))))
    assert streamed.usage == whole.usage
    assert [merged(c.parts) for c in streamed.choices] == [merged(c.parts) for c in whole.choices]


@pytest.mark.parametrize("json_array", [False, True])
@given(replies(), st.data())
def test_truncation_of_our_own_stream_is_seen(json_array: bool, reply: Reply, data: st.DataObject) -> None:
    raw = stream_of(list(unfold(reply)), msgspec.structs.replace(CONTEXT, json_array=json_array))
    cut = data.draw(st.integers(0, len(raw) - 6))
    folder = folded(decode(raw[:cut]))
    assert not folder.ended
    assert folder.error is not None


def messages_of(raw: bytes) -> list[dict[str, Any]]:
    return [json.loads(line[6:], parse_float=Decimal) for line in raw.decode().split("\r\n") if line]


REPLY = Reply(
    id="chatcmpl-1",
    model="m",
    choices=(
        Choice(
            parts=(
                chat.Thinking(text="hm", signature="EqQB", origin="anthropic_messages"),
                chat.Text(
                    text="Käse",
                    citations=(chat.Citation(url="https://a.example", title="A", start=0, end=4),),
                ),
                chat.ToolCall(id="toolu_1", name="f", arguments='{"a": 1}'),
            ),
            finish=Finish.TOOL_CALLS,
            native_finish="tool_use",
        ),
    ),
    usage=Usage(input_tokens=3, cache_read_tokens=2, output_tokens=4, reasoning_tokens=5),
)


def test_the_last_message_carries_usage_and_the_exact_bill() -> None:
    found = messages_of(stream_of(list(unfold(REPLY))))
    assert all("usageMetadata" not in message for message in found[:-1])
    assert found[-1]["usageMetadata"] == {
        "promptTokenCount": 5, "candidatesTokenCount": 4, "cachedContentTokenCount": 2, "thoughtsTokenCount": 5,
        "totalTokenCount": 14, "cost": Decimal("0.0015"), "creditsRemaining": 2,
    }  # fmt: skip
    assert {message["responseId"] for message in found} == {"chatcmpl-1"}
    assert {message["modelVersion"] for message in found} == {"m"}
    assert found[-1]["candidates"][0]["finishReason"] == "STOP"
    support = found[-1]["candidates"][0]["groundingMetadata"]["groundingSupports"][0]
    assert support["segment"] == {"partIndex": 1, "startIndex": 0, "endIndex": 5, "text": "Käse"}


def test_google_genai_reads_replies_and_streams() -> None:
    types = pytest.importorskip("google.genai.types")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        body, _ = DIALECT.encode_reply(REPLY, CONTEXT, BILL)
        found = types.GenerateContentResponse._from_response(response=json.loads(body), kwargs={})
        assert found.function_calls[0].name == "f"
        assert found.function_calls[0].id == "toolu_1"
        assert found.function_calls[0].args == {"a": 1}
        assert found.candidates[0].content.parts[0].thought is True
        assert found.usage_metadata.thoughts_token_count == 5
        for message in messages_of(stream_of(list(unfold(REPLY)))):
            types.GenerateContentResponse._from_response(
                response=json.loads(json.dumps(message, default=float)), kwargs={}
            )


def test_google_genai_brings_a_foreign_signature_back() -> None:
    """Its client decodes signatures to bytes and writes them in the URL-safe alphabet."""
    types = pytest.importorskip("google.genai.types")
    thinking = chat.Thinking(text="hm", signature="Eq/+>?\u00bf\u00ff~~~" * 7, origin="anthropic_messages")
    reply = msgspec.structs.replace(REPLY, choices=(Choice(parts=(thinking,)),))
    body, _ = DIALECT.encode_reply(reply, CONTEXT, BILL)
    assert b"/" in body or b"+" in body, "a character that the URL-safe alphabet spells differently"
    found = types.GenerateContentResponse._from_response(response=json.loads(body), kwargs={})
    content = found.candidates[0].content.model_dump(mode="json", by_alias=True, exclude_none=True)
    asked = {"contents": [{"role": "user", "parts": [{"text": "x"}]}, content]}
    request = DIALECT.decode_request(DIALECT.inspect(json.dumps(asked).encode(), "m", False))
    assert request.messages[1].parts == (thinking,)


def test_a_failure_in_mid_stream_has_googles_envelope_and_no_finish() -> None:
    for json_array in (False, True):
        encoder = DIALECT.stream_encoder(msgspec.structs.replace(CONTEXT, json_array=json_array))
        events = list(unfold(REPLY))
        raw = b"".join(encoder.encode(event) for event in events[:4])
        raw += encoder.fail(UpstreamError("gone", kind=UpstreamKind.OVERLOADED), "gen-7")
        folder = folded(decode(raw))
        assert folder.error is not None
        assert folder.error.error.kind == UpstreamKind.OVERLOADED
        assert b"finishReason" not in raw
        assert b"gen-7" in raw
        assert json_array == (raw[:1] == b"[")
        if json_array:
            assert json.loads(raw)[-1]["error"]["code"] == 503


def test_an_array_without_any_message_before_the_last() -> None:
    context = msgspec.structs.replace(CONTEXT, json_array=True)
    raw = stream_of(list(unfold(Reply(choices=(Choice(),)))), context)
    (message,) = json.loads(raw)
    assert message["responseId"] == CONTEXT.reply_id
    assert message["modelVersion"] == CONTEXT.model


@pytest.mark.parametrize(
    ("reason", "native", "word"),
    [
        (Finish.STOP, "end_turn", "STOP"),
        (Finish.TOOL_CALLS, "tool_calls", "STOP"),
        (Finish.LENGTH, "length", "MAX_TOKENS"),
        (Finish.LENGTH, "CONTINUATION", "CONTINUATION"),
        (Finish.CONTENT_FILTER, "refusal", "SAFETY"),
        (Finish.CONTENT_FILTER, "RECITATION", "RECITATION"),
    ],
)
def test_finish_words(reason: Finish, native: str, word: str) -> None:
    reply = Reply(choices=(Choice(finish=reason, native_finish=native),))
    body, _ = DIALECT.encode_reply(reply, CONTEXT, BILL)
    assert json.loads(body)["candidates"][0]["finishReason"] == word


def test_what_only_another_dialect_knows_is_a_declared_loss() -> None:
    foreign = chat.Opaque(dialect="anthropic_messages", name="server_tool_use", raw=chat.Raw(b"{}"))
    seen = OpaqueSeen(dialect="openai_chat", name="system_fingerprint", raw=chat.Raw(b"1"))
    reply = Reply(choices=(Choice(parts=(foreign, chat.Refusal(text="no"))),), opaque=(seen,))
    body, losses = DIALECT.encode_reply(reply, CONTEXT, BILL)
    assert {loss.field for loss in losses} == {"messages[].server_tool_use", "refusal", "system_fingerprint"}
    assert json.loads(body)["candidates"][0]["content"]["parts"] == [{"text": "no"}]
    encoder = DIALECT.stream_encoder(CONTEXT)
    for event in unfold(reply):
        encoder.encode(event)
    encoder.finish(BILL)
    assert {loss.field for loss in encoder.losses} == {loss.field for loss in losses}


@pytest.mark.parametrize("case", cases())
def test_own_members_come_back(case: Any) -> None:
    """What a Gemini provider said beside the parts reaches a Gemini client over the bridge as well."""
    if "error" in case["expect"]:
        return
    reply = fold(decode(sse(case["messages"])))
    body, losses = DIALECT.encode_reply(reply, CONTEXT, BILL)
    assert losses == ()
    back = DIALECT.decode_reply(body)
    assert {seen.name for seen in back.opaque} == {seen.name for seen in reply.opaque}
    assert [c.parts for c in back.choices] == [c.parts for c in reply.choices]


def test_errors_have_googles_envelope() -> None:
    error = InsufficientCredits("not enough", details={"needed": "0.02", "available": "0.01"})
    value = json.loads(DIALECT.encode_error(error, "gen-1"))["error"]
    assert (value["code"], value["status"], value["message"]) == (402, "FAILED_PRECONDITION", "not enough")
    info = value["details"][0]
    assert info["reason"] == "INSUFFICIENT_CREDITS"
    assert info["metadata"] == {
        "code": "insufficient_credits", "type": "billing_error", "request_id": "gen-1", "needed": "0.02",
        "available": "0.01",
    }  # fmt: skip
    errors = pytest.importorskip("google.genai.errors")
    raised = errors.ClientError(402, json.loads(DIALECT.encode_error(error, "gen-1")))
    assert raised.status == "FAILED_PRECONDITION"
    assert raised.message == "not enough"
