"""What the quick readers of plain requests and replies say is what the thorough ones say."""

from __future__ import annotations

import json
from importlib import import_module
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_router.domain.errors import InvalidRequest, UpstreamError
from llm_router.domain.model import Capabilities, Quirk
from llm_router.domain.usage import Provenance, Usage
from llm_router.wire.dialect import Bill, ReplyContext, Target
from llm_router.wire.dialects.openai_chat import edit, passing, quick
from llm_router.wire.dialects.openai_chat.quick import quick_edit, quick_inspect, quick_reply

inspect: Any = import_module("llm_router.wire.dialects.openai_chat.inspect")  # the package's is the function

TEXTS = st.text(max_size=40) | st.sampled_from(
    ["", "hello", "größer", "日本語", "\ud83d", '"model"', "a\\b\n"]
)
NUMBERS = st.sampled_from([None, 0, 1, 2, 0.5, 1.0, -1, -2.5, 3, 10**9, True, "1", 2**63])
ROLES = st.sampled_from(["system", "user", "assistant", "developer", "tool", "wizard"])


def mostly(
    plain: dict[str, Any], odd: dict[str, st.SearchStrategy[Any]]
) -> st.SearchStrategy[dict[str, Any]]:
    """A plain object with none, one or two of its members otherwise."""

    @st.composite
    def made(draw: st.DrawFn) -> dict[str, Any]:
        names = draw(st.lists(st.sampled_from(sorted(odd)), max_size=2, unique=True))
        return plain | {name: draw(odd[name]) for name in names}

    return made()


TURNS = mostly(
    {"role": "user", "content": "hello"},
    {
        "role": ROLES,
        "content": TEXTS | st.none() | st.just([{"type": "text", "text": "x"}]),
        "name": TEXTS,
        "tool_calls": st.just([]),
    },
)
REQUESTS = mostly(
    {"model": "m", "messages": [{"role": "user", "content": "hi"}]},
    {
        "model": st.sampled_from(["gpt-5", "a/b", "auto", "m|n", "@p", "x:floor", "", " m", 3]),
        "messages": st.lists(TURNS, max_size=3),
        "temperature": NUMBERS,
        "top_p": NUMBERS,
        "frequency_penalty": NUMBERS,
        "presence_penalty": NUMBERS,
        "max_tokens": NUMBERS,
        "max_completion_tokens": NUMBERS,
        "seed": NUMBERS,
        "n": NUMBERS,
        "stream": st.sampled_from([None, True, False, 1, "yes"]),
        "stream_options": st.sampled_from(
            [None, {}, {"include_usage": True}, {"include_usage": 1}, {"x": 1}, []]
        ),
        "user": TEXTS,
        "provider": st.just({"sort": "price"}),
        "other": st.just(1),
    },
)

TARGETS = st.builds(
    Target,
    provider=st.just("p"),
    model=st.sampled_from(["m", "upstream-model"]),
    dialect=st.just("openai_chat"),
    capabilities=st.sampled_from([Capabilities(), Capabilities(sampling=False)]),
    output_tokens_cap=st.sampled_from([None, 77]),
    quirks=st.sampled_from(
        [(), (Quirk(edit="rename", field="max_tokens", to="max_completion_tokens", why="its name there"),)]
    ),
)


def body_of(value: Any) -> bytes:
    return json.dumps(value).encode("utf-8", "surrogatepass")


def thoroughly(body: bytes) -> Any:
    """``inspect`` without the quick reader."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(inspect, "quick_inspect", lambda body, path_stream: None)
        return inspect.inspect(body)


@given(REQUESTS, TARGETS, st.booleans())
def test_requests_are_seen_and_edited_the_same(value: dict[str, Any], target: Target, twice: bool) -> None:
    body = body_of(value)
    if twice:  # the last of two members counts, and only that one goes on
        body = b'{"max_tokens": 5, "model": "other", ' + body[1:]
    found = quick_inspect(body, None)
    if found is None:
        return
    right = thoroughly(body)
    same = [name for name in right.__struct_fields__ if name not in ("tree", "plain")]
    assert [getattr(found, name) for name in same] == [getattr(right, name) for name in same]
    assert found.tree.body == right.tree.body
    assert quick_edit(found, target) == edit.edit_request(right, target, {})


def test_plain_requests_are_read_quickly_and_others_are_not() -> None:
    plain = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 5, "temperature": 1}
    assert quick_inspect(body_of(plain), None) is not None
    for other in (
        {"tools": []},
        {"user": "u"},
        {"temperature": 3},
        {"messages": []},
        {"max_completion_tokens": 6},
    ):
        assert quick_inspect(body_of(plain | other), None) is None
    with pytest.raises(InvalidRequest):
        inspect.inspect(body_of(plain | {"temperature": 3}))


COUNTS = st.sampled_from([0, 7, 8, 7.0, -1, 10**9, "7", None, True])
DETAILS = st.sampled_from(
    [
        {}, {"cached_tokens": 3}, {"cached_tokens": 0, "audio_tokens": 0}, {"audio_tokens": 2}, {"x": 1}, None,
        {"reasoning_tokens": 2}, {"reasoning_tokens": 0, "accepted_prediction_tokens": 1}, {"cached_tokens": 99},
    ]
)  # fmt: skip
USAGES = mostly(
    {"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8},
    {
        "prompt_tokens": COUNTS,
        "completion_tokens": COUNTS,
        "total_tokens": COUNTS,
        "prompt_tokens_details": DETAILS,
        "completion_tokens_details": DETAILS,
        "cost": st.just(1),
    },
)
MESSAGES = mostly(
    {"role": "assistant", "content": "hello"},
    {
        "role": st.just("user"),
        "content": TEXTS | st.none(),
        "refusal": st.sampled_from([None, "", "no"]),
        "annotations": st.sampled_from([[], None, ["x"]]),
        "reasoning_content": TEXTS,
        "tool_calls": st.just([]),
    },
)
CHOICES = mostly(
    {"index": 0, "message": {"role": "assistant", "content": "hello"}, "finish_reason": "stop"},
    {
        "message": MESSAGES,
        "finish_reason": st.sampled_from(["length", "eos", None, "error", "tool_calls"]),
        "index": st.sampled_from([1, None]),
        "logprobs": st.sampled_from([None, {}]),
    },
)
REPLIES = mostly(
    {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1760000000,
        "model": "m",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8},
    },
    {
        "id": st.sampled_from(["chatcmpl-", "gen-1", 5]),
        "object": st.just("error"),
        "created": st.sampled_from([1, 0, 1.5, 10**12]),
        "model": st.sampled_from(["", None]),
        "choices": st.lists(CHOICES, max_size=2),
        "usage": USAGES | st.none(),
        "service_tier": st.sampled_from([None, "", "default", "standard", "fast", 3]),
        "system_fingerprint": st.sampled_from([None, "fp"]),
        "error": st.just({"message": "x"}),
        "x_groq": st.just({}),
    },
)
CONTEXT = ReplyContext(reply_id="chatcmpl-ours", model="public", created_s=12)


def bills(usage: Usage | None) -> list[Bill]:
    counted = Usage(input_tokens=3, output_tokens=4, provenance=Provenance.ESTIMATED)
    return [Bill(usage=each, cost_pusd=1_234, credits_remaining_pusd=10**12) for each in (usage, counted)]


@given(REPLIES)
def test_replies_are_passed_the_same(value: dict[str, Any]) -> None:
    body = body_of(value)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(passing, "quick_reply", lambda body: None)
        if quick_reply(body) is None:
            return
        right = passing.pass_reply(body, CONTEXT)
    found = quick_reply(body)
    assert found is not None
    assert found.observed == right.observed
    for bill in bills(right.observed.usage):
        again = quick_reply(body)
        assert again is not None
        assert json.loads(again.finish(bill)) == json.loads(right.finish(bill))


def test_plain_replies_are_read_quickly_and_others_are_not() -> None:
    plain = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7},
    }
    found = quick_reply(body_of(plain))
    assert found is not None
    assert found.observed.usage == Usage(input_tokens=5, output_tokens=2)
    assert quick_reply(body_of(plain | {"usage": plain["usage"] | {"total_tokens": 8}})) is None  # type: ignore[operator]
    legacy = msgspec.structs.replace(CONTEXT, legacy_functions=True)
    assert not isinstance(passing.pass_reply(body_of(plain), legacy), quick.QuickBody)
    with pytest.raises(UpstreamError):
        passing.pass_reply(body_of({"error": {"message": "no"}}), CONTEXT)


def test_the_quick_readers_are_used() -> None:
    assert inspect.quick_inspect is quick.quick_inspect
    assert passing.quick_reply is quick.quick_reply
