"""Odd values in replies that once stopped an answer, or the reader."""

from __future__ import annotations

import json

import anthropic_kit
import bedrock_kit
import cohere_kit
import pytest

from llm_router.wire import chat, events
from llm_router.wire.dialect import Bill, ReplyContext
from llm_router.wire.dialects.anthropic_messages import DIALECT as ANTHROPIC
from llm_router.wire.dialects.bedrock_converse import DIALECT as BEDROCK
from llm_router.wire.dialects.cohere_chat import DIALECT as COHERE
from llm_router.wire.dialects.gemini_generate import DIALECT as GEMINI
from llm_router.wire.dialects.openai_chat import DIALECT as CHAT
from llm_router.wire.dialects.openai_responses import DIALECT as RESPONSES
from llm_router.wire.fold import fold, unfold

CONTEXT = ReplyContext(reply_id="msg_own", model="m", created_s=1)
BILL = Bill(usage=None, cost_pusd=0, credits_remaining_pusd=0)


def test_half_a_character_does_not_stop_a_messages_stream() -> None:
    data = anthropic_kit.stream_bytes("length").replace(
        b"A long", b"A \\\\ud83d long".replace(b"\\\\", b"\\")
    )
    assert b"\\ud83d" in data
    decoder = ANTHROPIC.stream_decoder()
    reply = fold([*decoder.feed(data), *decoder.close()])
    (part,) = reply.choices[0].parts
    assert isinstance(part, chat.Text)
    assert part.text.startswith("A \ufffd long")


@pytest.mark.parametrize("index", [[1], {"a": 1}, 1.5])
def test_an_index_that_is_none_still_tells_cohere_blocks_apart(index: object) -> None:
    told = [
        {"type": "content-start", "index": index, "delta": {"message": {"content": {"type": "text", "text": "a"}}}},
        {"type": "content-delta", "index": index, "delta": {"message": {"content": {"text": "b"}}}},
        {"type": "tool-call-start", "index": index, "delta": {"message": {"tool_calls": {"function": {"name": "f"}}}}},
        {"type": "tool-call-end", "index": index},
        {"type": "message-end", "delta": {"finish_reason": "TOOL_CALL"}},
    ]  # fmt: skip
    decoder = COHERE.stream_decoder()
    reply = fold([*decoder.feed(b"".join(map(cohere_kit.frame, told))), *decoder.close()])
    text, call = reply.choices[0].parts
    assert isinstance(text, chat.Text)
    assert isinstance(call, chat.ToolCall)
    assert (text.text, call.name, call.arguments) == ("ab", "f", "{}")


def test_bedrock_calls_without_an_id_get_one_each() -> None:
    use = {"toolUse": {"name": "tide", "input": {}}}
    body = {"output": {"message": {"content": [use, use]}}, "stopReason": "tool_use"}
    calls = BEDROCK.decode_reply(json.dumps(body).encode()).choices[0].parts
    start = {"toolUse": {"name": "tide"}}
    events_ = [("contentBlockStart", {"contentBlockIndex": n, "start": start}) for n in (0, 1)]
    told = [
        bedrock_kit.event(name, body)
        for name, body in [*events_, ("messageStop", {"stopReason": "tool_use"})]
    ]
    streamed = fold(bedrock_kit.decode(told)).choices[0].parts
    for found in (calls, streamed):
        ids = {part.id for part in found if isinstance(part, chat.ToolCall)}
        assert len(ids) == 2
        assert "" not in ids


def test_arguments_that_are_no_object_become_a_member_of_one() -> None:
    """A block of this API must have an object as input, in streams too."""
    call = chat.ToolCall(id="call_1", name="tide", arguments="[1, 2]")
    reply = events.Reply(choices=(events.Choice(parts=(call,), finish=events.Finish.TOOL_CALLS),))
    encoder = ANTHROPIC.stream_encoder(CONTEXT)
    out = b"".join([encoder.encode(event) for event in unfold(reply)]) + encoder.finish(BILL)
    pieces = [
        body["delta"]["partial_json"] for _, body in anthropic_kit.frames(out) if "partial_json" in str(body)
    ]
    assert json.loads("".join(pieces)) == {"_raw": "[1, 2]"}
    assert [loss.field for loss in encoder.losses] == ["tool_calls[].function.arguments"]


def test_the_only_choice_is_the_first_whatever_its_index() -> None:
    choice = {"index": 1, "message": {"content": "Hello"}, "finish_reason": "stop"}
    reply = CHAT.decode_reply(json.dumps({"choices": [choice]}).encode())
    assert [found.index for found in reply.choices] == [0]
    body, _ = RESPONSES.encode_reply(reply, CONTEXT, BILL)
    assert json.loads(body)["output"][0]["content"][0]["text"] == "Hello"


def test_a_stop_sequence_is_told_with_its_reason_alone() -> None:
    for finish, native, sequence, wanted in [
        (events.Finish.STOP, "stop_sequence", None, ("end_turn", None)),
        (events.Finish.LENGTH, "max_tokens", "END", ("max_tokens", None)),
        (events.Finish.STOP, "stop_sequence", "END", ("stop_sequence", "END")),
    ]:
        choice = events.Choice(finish=finish, native_finish=native, stop_sequence=sequence)
        body, _ = ANTHROPIC.encode_reply(events.Reply(choices=(choice,)), CONTEXT, BILL)
        said = json.loads(body)
        assert (said["stop_reason"], said["stop_sequence"]) == wanted


@pytest.mark.parametrize("reason", ["1e400", "-1e400", "1e300"])
def test_a_finish_reason_beyond_all_numbers_is_no_crash(reason: str) -> None:
    data = b'{"candidates": [{"content": {"parts": [{"text": "a"}]}, "finishReason": %b}]}' % reason.encode()
    assert GEMINI.decode_reply(data).choices[0].finish == "stop"


def test_a_responses_event_may_be_named_by_its_frame_alone() -> None:
    response = {"id": "resp_1", "status": "completed", "output": [{"type": ["message"]}]}
    data = b"event: response.completed\ndata: " + json.dumps({"response": response}).encode() + b"\n\n"
    decoder = RESPONSES.stream_decoder()
    assert isinstance([*decoder.feed(data), *decoder.close()][-1], events.Ended)
