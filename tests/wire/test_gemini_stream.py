"""Gemini behind: streams and whole replies to events, under every framing and cut."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from gemini_kit import FRAMINGS, cases, decode, folded, joined, merged, plain, sse, usage_of, view
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_router.domain.errors import UpstreamError, UpstreamKind
from llm_router.wire import chat, events
from llm_router.wire.dialects.gemini_generate import DIALECT


def check(folder: Any, expect: dict[str, Any]) -> None:
    reply = folder.reply()
    assert reply.usage == usage_of(expect["usage"])
    if "error" in expect:
        assert folder.error.error.kind == expect["error"]
        assert not folder.ended
        return
    assert folder.error is None
    assert folder.ended
    choice = reply.choices[0]
    assert view(choice) == expect["parts"]
    assert choice.finish == expect["finish"]
    if "native" in expect:
        assert choice.native_finish == expect["native"]
    assert choice.finish_message == expect.get("message")
    if "second" in expect:
        assert view(reply.choices[1]) == expect["second"]
    if "citations" in expect:
        cited = [c for p in choice.parts if isinstance(p, chat.Text) for c in p.citations]
        assert [[c.url, c.title, c.start, c.end] for c in cited] == expect["citations"]
    if "logprobs" in expect:
        assert choice.logprobs is not None
        assert json.loads(bytes(choice.logprobs)) == expect["logprobs"]
    assert [seen.name for seen in reply.opaque] == expect.get("opaque", [])
    calls = [part for part in choice.parts if isinstance(part, chat.ToolCall)]
    assert len({call.id for call in calls}) == len(calls)
    assert all(call.id for call in calls)
    for call, id_ in zip(calls, expect.get("ids", [])[: len(calls)], strict=False):
        assert id_ is None or call.id == id_


@pytest.mark.parametrize("framing", FRAMINGS)
@pytest.mark.parametrize("case", cases())
def test_every_case_in_every_framing_byte_by_byte(case: Any, framing: str) -> None:
    data = FRAMINGS[framing](case["messages"])
    check(folded(decode(data, range(len(data)))), case["expect"])


@pytest.mark.parametrize("case", cases())
@settings(max_examples=25)
@given(data=st.data())
def test_split_anywhere(case: Any, data: st.DataObject) -> None:
    raw = FRAMINGS[data.draw(st.sampled_from(sorted(FRAMINGS)))](case["messages"])
    cuts = data.draw(st.lists(st.integers(1, len(raw)), max_size=8))
    assert plain(decode(raw, cuts)) == plain(decode(raw))


@pytest.mark.parametrize("case", cases())
def test_whole_replies(case: Any) -> None:
    messages, expect = case["messages"], case["expect"]
    if len(messages) > 1 or expect.get("error") == "truncated":
        return
    body = json.dumps(messages[0]).encode()
    if "error" in expect:
        with pytest.raises(UpstreamError) as caught:
            DIALECT.decode_reply(body)
        assert caught.value.kind == expect["error"]
        return
    folder = folded(decode(sse(messages)))
    whole = DIALECT.decode_reply(body)
    assert [merged(c.parts) for c in whole.choices] == [merged(c.parts) for c in folder.reply().choices]
    assert [c.finish for c in whole.choices] == [c.finish for c in folder.reply().choices]
    assert whole.usage == folder.reply().usage
    assert DIALECT.decode_reply(b"[" + body + b"]").choices == whole.choices


@pytest.mark.parametrize("framing", FRAMINGS)
@pytest.mark.parametrize("case", cases())
def test_truncation_is_seen(case: Any, framing: str) -> None:
    """Cut at every byte: what ends before the last finish reason never looks whole."""
    if "error" in case["expect"]:
        return
    data = FRAMINGS[framing](case["messages"])
    whole = folded(decode(data)).reply()
    for cut in range(len(data)):
        folder = folded(decode(data[:cut]))
        if folder.ended:
            # complete by the dialect's own rule: every candidate so far has finished, no array is open
            assert framing != "array" or data[:cut].rstrip().endswith(b"]")
            assert [c.native_finish for c in folder.reply().choices] == [
                c.native_finish for c in whole.choices
            ]
        else:
            assert folder.error is not None
            assert folder.error.error.kind in (UpstreamKind.TRUNCATED, UpstreamKind.MALFORMED)


def test_cuts_inside_a_message_are_truncations() -> None:
    data = sse([{"candidates": [{"content": {"parts": [{"text": "a"}]}, "finishReason": "STOP"}]}])
    for cut in range(len(data) - 4):
        folder = folded(decode(data[:cut]))
        assert folder.error is not None, cut
        assert folder.error.error.kind == UpstreamKind.TRUNCATED, cut


HOSTILE = [
    b"", b"\n\n\n", b"data: \r\n\r\n", b"data: null\n\n", b"data: [1]\n\n", b"data: {\n\n", b"<html>", b"[1,2]",
    b"[[]]", b"[}", b'{"candidates":5}', b'data: {"candidates":[5,{"content":7,"index":"x"}]}\n\n',
    b'data: {"candidates":[{"content":{"parts":[null,5,{},{"text":5},{"functionCall":5},'
    b'{"functionCall":{"name":7,"args":5,"partialArgs":9}},{"inlineData":{}}]},"finishReason":[]}],'
    b'"usageMetadata":[]}\n\n',
    b'data: {"candidates":[{"finishReason":"STOP","content":{"parts":[{"text":"\\ud83d"}]}}]}\n\n',
    b'data: {"candidates":[{"finishReason":"STOP","groundingMetadata":{"groundingSupports":[5,{"segment":'
    b'{"startIndex":-1,"endIndex":1e9},"groundingChunkIndices":[true,-1]}],"groundingChunks":"x"},'
    b'"logprobsResult":{"chosenCandidates":[1,{"token":5}],"topCandidates":{}}}],"createTime":"?"}\n\n',
    b'data: {"error":"x"}\n\n', b'data: {"error":{}}\n\n', b'[{"error":{"code":"x","details":[5]}}]',
    b"data: " + b"[" * 5000 + b"\n\n", b'data: {"a":' + b'{"a":' * 3000 + b"1" + b"}" * 3001 + b"\n\n",
    b"\xff\xfe\x00", b'data: {"candidates":[{"content":{"parts":[{"text":"\xff"}]}}]}\n\n',
]  # fmt: skip


@pytest.mark.parametrize("data", HOSTILE)
def test_hostile_bytes_never_raise(data: bytes) -> None:
    found = decode(data, range(min(len(data), 300)))
    assert isinstance(found[-1], events.Failed | events.Ended)
    with contextlib.suppress(UpstreamError):
        DIALECT.decode_reply(data)


junk = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5)
    | st.sampled_from(["STOP", "MAX_TOKENS", "OTHER", "$.a[0].b", "image/png"]),
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(
        st.sampled_from(
            ["candidates", "content", "parts", "text", "thought", "thoughtSignature", "functionCall", "name", "args",
             "partialArgs", "jsonPath", "stringValue", "willContinue", "finishReason", "usageMetadata", "index",
             "promptTokenCount", "totalTokenCount", "inlineData", "data", "mimeType", "error", "promptFeedback",
             "blockReason", "groundingMetadata", "groundingSupports", "groundingChunks", "segment", "details"]
        ), inner, max_size=5,
    ),
    max_leaves=25,
)  # fmt: skip


@given(
    st.lists(
        st.dictionaries(st.sampled_from(["candidates", "usageMetadata", "error", "x"]), junk), max_size=4
    )
)
def test_any_json_is_survived(messages: list[object]) -> None:
    found = decode(sse(messages))
    assert isinstance(found[-1], events.Failed | events.Ended)
    assert not any(isinstance(event, events.Failed | events.Ended) for event in found[:-1])
    opened = {(e.choice, e.part) for e in found if isinstance(e, events.PartOpened)}
    closed = {(e.choice, e.part) for e in found if isinstance(e, events.PartClosed)}
    if isinstance(found[-1], events.Ended):
        assert opened == closed


def test_parts_follow_the_grammar() -> None:
    for case in cases():
        open_: set[tuple[int, int]] = set()
        for event in decode(sse(case.values[0]["messages"])):
            match event:
                case events.PartOpened():
                    open_.add((event.choice, event.part))
                case events.PartDelta():
                    assert (event.choice, event.part) in open_
                case events.PartClosed():
                    open_.remove((event.choice, event.part))


def test_minted_ids_are_stable_and_belong_to_the_reply() -> None:
    def ids(response: str) -> list[str]:
        parts = [{"functionCall": {"name": "f"}}, {"functionCall": {"name": "f"}}]
        message = {
            "candidates": [{"content": {"parts": parts}, "finishReason": "STOP"}],
            "responseId": response,
        }
        reply = folded(decode(sse([message]))).reply()
        return [part.id for part in reply.choices[0].parts if isinstance(part, chat.ToolCall)]

    assert ids("r") == ids("r")
    assert len({*ids("r"), *ids("s")}) == 4
    twice = [{"functionCall": {"name": "f", "id": "x"}}] * 2
    message = {"candidates": [{"content": {"parts": twice}, "finishReason": "STOP"}]}
    parts = folded(decode(sse([message]))).reply().choices[0].parts
    assert len({part.id for part in parts if isinstance(part, chat.ToolCall)}) == 2


def test_a_plain_object_answers_a_streaming_call() -> None:
    body = b'{"error": {"code": 429, "message": "slow down", "status": "RESOURCE_EXHAUSTED"}}'
    folder = folded(decode(body, range(len(body))))
    assert folder.error is not None
    assert folder.error.error.kind == UpstreamKind.RATE_LIMIT


@pytest.mark.parametrize("case", cases())
def test_stream_equals_whole_in_text_and_calls(case: Any) -> None:
    if "error" in case["expect"]:
        return
    by_stream = folded(decode(sse(case["messages"]))).reply()
    by_array = DIALECT.decode_reply(json.dumps(case["messages"]).encode())
    assert [joined(c) for c in by_stream.choices] == [joined(c) for c in by_array.choices]
    assert by_stream.usage == by_array.usage


def test_offsets_count_bytes_even_where_no_text_is_quoted() -> None:
    grounding = {
        "groundingChunks": [{"web": {"uri": "https://a.example"}}],
        "groundingSupports": [
            {"segment": {"startIndex": 6, "endIndex": 9}, "groundingChunkIndices": [0]},
            {"segment": {"startIndex": 2, "endIndex": 9}, "groundingChunkIndices": [0]},  # inside a character
            {"segment": {"startIndex": 6, "endIndex": 99}, "groundingChunkIndices": [0]},
        ],
    }
    message = {
        "candidates": [
            {
                "content": {"parts": [{"text": "Käse ist"}]},
                "finishReason": "STOP",
                "groundingMetadata": grounding,
            }
        ]
    }
    for reply in (folded(decode(sse([message]))).reply(), DIALECT.decode_reply(json.dumps(message).encode())):
        (part,) = reply.choices[0].parts
        assert isinstance(part, chat.Text)
        assert [part.text[c.start : c.end] for c in part.citations] == ["ist"]
