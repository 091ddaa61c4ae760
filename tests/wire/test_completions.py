"""Legacy completions: the prompt as a chat request, and any answer as a text_completion."""

from __future__ import annotations

import itertools
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_router.domain.errors import InvalidRequest, ServerError, UnsupportedContent
from llm_router.domain.usage import Usage
from llm_router.wire import chat, events
from llm_router.wire.completions import FRONT
from llm_router.wire.dialect import Bill, Dialect, Inspected, ReplyContext
from llm_router.wire.dialects.registry import DIALECTS
from llm_router.wire.fold import unfold
from llm_router.wire.relay import BridgeRelay

BILL = Bill(
    usage=Usage(input_tokens=7, output_tokens=5), cost_pusd=123_000_000, credits_remaining_pusd=10**12
)
BEHIND = [d for d in DIALECTS.values() if isinstance(d, Dialect)]
texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40)


def context(**members: Any) -> ReplyContext:
    return ReplyContext(reply_id="cmpl-1", model="m", created_s=1_700_000_000, **members)


def asked(**members: Any) -> Inspected:
    return FRONT.inspect(json.dumps({"model": "m", "prompt": "Say hi", **members}).encode(), None, None)


def chunks(data: bytes) -> list[Any]:
    frames = [frame.removeprefix(b"data: ") for frame in data.split(b"\n\n") if frame]
    assert frames.pop() == b"[DONE]"
    return [json.loads(frame) for frame in frames]


def test_a_prompt_is_the_message_of_a_user() -> None:
    inspected = asked(temperature=0.5, stop=["x"], n=2, logprobs=3, user="u", logit_bias={"1": 2})
    request = FRONT.decode_request(inspected)
    assert request.messages == (chat.Message(role="user", parts=(chat.Text(text="Say hi"),)),)
    assert (request.max_tokens, request.n, request.stop, request.temperature) == (16, 2, ("x",), 0.5)
    assert (request.logprobs, request.top_logprobs, request.user) == (True, 3, "u")
    assert inspected.losses == ()
    assert inspected.output_tokens == 16


@pytest.mark.parametrize(
    ("members", "param"),
    [
        ({"prompt": ""}, "prompt"), ({"prompt": None}, "prompt"), ({"prompt": []}, "prompt"), ({"prompt": {}}, "prompt"),
        ({"logprobs": 6}, "logprobs"), ({"logprobs": True}, "logprobs"), ({"echo": "x"}, "echo"), ({"suffix": 1}, "suffix"),
        ({"n": 3, "best_of": 2}, "best_of"), ({"messages": []}, "messages"), ({"max_tokens": 0}, "max_tokens"),
        ({"temperature": 3}, "temperature"), ({"tools": []}, "tools"), ({"model": 4}, "model"),
    ],
)  # fmt: skip
def test_a_bad_request_is_refused_with_the_member_that_is_wrong(members: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        asked(**members)
    assert refused.value.param == param


@pytest.mark.parametrize("prompt", [["a", "b"], [1, 2], [[1], [2]]])
def test_several_prompts_and_tokens_are_refused(prompt: Any) -> None:
    with pytest.raises(UnsupportedContent):
        asked(prompt=prompt)
    assert FRONT.decode_request(asked(prompt=["one"])).messages[0].parts == (chat.Text(text="one"),)


def test_what_no_chat_model_can_be_told_is_a_declared_loss() -> None:
    fields = [loss.field for loss in asked(suffix="x", n=1, best_of=3, echo=True, logprobs=1).losses]
    assert fields == ["suffix", "best_of", "logprobs"]
    assert asked(suffix="", n=2, best_of=2, echo=True).losses == ()


def replied(*parts: chat.Part, finish: events.Finish = events.Finish.STOP, **members: Any) -> events.Reply:
    choice = events.Choice(parts=parts, finish=finish, **members)
    return events.Reply(id="up", model="up-1", created_s=5, choices=(choice,), usage=BILL.usage)


def test_a_whole_reply() -> None:
    reply = replied(chat.Thinking(text="hm"), chat.Text(text="Hello"), native_finish="end_turn")
    body, losses = FRONT.encode_reply(reply, context(), BILL)
    found = json.loads(body)
    assert [loss.field for loss in losses] == ["reasoning"]
    usage = found.pop("usage")
    assert found == {
        "id": "cmpl-1", "object": "text_completion", "created": 5, "model": "up-1",
        "choices": [
            {"text": "Hello", "index": 0, "logprobs": None, "finish_reason": "stop", "native_finish_reason": "end_turn"}
        ],
    }  # fmt: skip
    assert (usage["prompt_tokens"], usage["completion_tokens"], usage["total_tokens"]) == (7, 5, 12)
    assert (usage["cost"], usage["credits_remaining"]) == (0.000123, 1)


LOGPROBS = msgspec.Raw(
    b'[{"token":"He","logprob":-0.5,"top_logprobs":[{"token":"He","logprob":-0.5}]},{"token":"llo","logprob":-1,"top_logprobs":[]}]'
)


def test_echo_and_log_probabilities() -> None:
    echoed = context(echo=asked(echo=True).echo)
    body, _ = FRONT.encode_reply(replied(chat.Text(text="Hello"), logprobs=LOGPROBS), echoed, BILL)
    choice = json.loads(body)["choices"][0]
    assert choice["text"] == "Say hiHello"
    lists = {
        "tokens": ["He", "llo"], "token_logprobs": [-0.5, -1], "top_logprobs": [{"He": -0.5}, {}], "text_offset": [6, 8],
    }  # fmt: skip
    assert choice["logprobs"] == lists
    encoder = FRONT.stream_encoder(echoed)
    reply = replied(chat.Text(text="Hello"), logprobs=LOGPROBS)
    out = b"".join(encoder.encode(event) for event in unfold(reply) if not isinstance(event, events.Ended))
    got = chunks(out + encoder.finish(BILL))
    assert "".join(c["choices"][0]["text"] for c in got[:-1]) == "Say hiHello"
    assert [c["choices"][0]["logprobs"] for c in got[:-1] if c["choices"][0]["logprobs"]] == [lists]


@pytest.mark.parametrize("behind", BEHIND, ids=lambda d: d.name)
@settings(max_examples=25)
@given(text=texts, thought=st.none() | texts, marks=st.lists(st.integers(0, 4000), max_size=8))
def test_every_stream_of_a_provider_becomes_the_same_text(
    behind: Dialect, text: str, thought: str | None, marks: list[int]
) -> None:
    parts = (*(() if thought is None else (chat.Thinking(text=thought),)), chat.Text(text=text))
    spoken = behind.stream_encoder(context())
    data = b"".join(spoken.encode(e) for e in unfold(replied(*parts)) if not isinstance(e, events.Ended))
    data += spoken.finish(BILL)
    relay = BridgeRelay(behind.stream_decoder(), FRONT.stream_encoder(context()))
    places = sorted({mark % (len(data) + 1) for mark in marks} | {0, len(data)})
    out = b"".join(relay.feed(data[a:b]) for a, b in itertools.pairwise(places))
    out += relay.close() if not relay.observed.ended else b""
    assert relay.observed.error is None
    got = chunks(out + relay.finish(BILL))
    assert {c["object"] for c in got} == {"text_completion"}
    assert len({(c["id"], c["created"], c["model"]) for c in got}) == 1
    assert got[0]["id"].startswith("cmpl-")
    assert "".join(c["choices"][0]["text"] for c in got[:-1]) == text
    assert [c["choices"][0]["finish_reason"] for c in got[:-1]][-1] == "stop"
    assert got[-1]["usage"]["cost"] == 0.000123
    assert [loss.field for loss in relay.observed.losses] == (["reasoning"] if thought else [])


def test_a_failure_in_mid_stream_is_an_error_without_an_end() -> None:
    data = FRONT.stream_encoder(context()).fail(ServerError("oh"), "gen-1")
    assert json.loads(data.removeprefix(b"data: "))["error"]["message"] == "oh"
    assert b"[DONE]" not in data
