"""What requests ask to be kept, and what is told of it: any JSON is read or refused, nothing fails."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
import responses_kit as kit
from hypothesis import given
from hypothesis import strategies as st

from llm_router.domain.errors import InvalidRequest, ServerError
from llm_router.wire.chat import Raw
from llm_router.wire.dialects.openai_responses import state
from llm_router.wire.framing.sse import SSEReader

ODD = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
ITEM = st.dictionaries(
    st.sampled_from(["type", "id", "role", "content", "output", "call_id", "name", "arguments", "summary"]),
    ODD | st.sampled_from(["message", "item_reference", "reasoning", "user", "assistant", "function_call"]),
    max_size=5,
)
BODY = st.fixed_dictionaries(
    {"model": st.just("m")},
    optional={
        "input": ODD | st.lists(ITEM, max_size=3), "items": ODD | st.lists(ITEM, max_size=3), "store": ODD,
        "background": ODD, "previous_response_id": ODD, "conversation": ODD, "metadata": ODD, "stream": ODD,
    },
)  # fmt: skip


def asked(**members: Any) -> state.Asked:
    return state.read_asked(json.dumps({"model": "m", "input": "hi", **members}).encode())


@given(BODY)
def test_any_request_is_read_or_refused(body: dict[str, Any]) -> None:
    raw = json.dumps(body).encode()
    with contextlib.suppress(InvalidRequest):
        found = state.read_asked(raw)
        assert state.input_ids(found.items, "resp_1") is not None
        state.references(found.items)
        assert json.loads(state.request_body(found, found.items))["model"] == "m"
    with contextlib.suppress(InvalidRequest):
        state.conversation_members(raw)


@given(ODD | ITEM)
def test_any_item_is_listed_with_an_id(item: Any) -> None:
    listed = state.listed_item(Raw(json.dumps(item).encode()), "resp_abc", 3)
    assert listed["id"]
    assert isinstance(listed["type"], str)
    state.references([Raw(json.dumps(item).encode())])


def test_what_is_asked() -> None:
    plain = asked()
    assert (plain.store, plain.background, plain.stream, plain.previous, plain.conversation) == (
        True, False, False, None, None,
    )  # fmt: skip
    assert [json.loads(bytes(item)) for item in plain.items] == [
        {"type": "message", "role": "user", "content": "hi"}
    ]
    full = asked(store=True, background=True, stream=True, conversation={"id": "conv_1"})
    assert (full.background, full.stream, full.conversation) == (True, True, "conv_1")
    assert asked(store=False, previous_response_id="resp_1").store is False
    assert asked(store=None).store
    assert {name: json.loads(bytes(raw)) for name, raw in state.told_state(full, stored=True).items()} == {
        "background": True, "conversation": {"id": "conv_1"}, "previous_response_id": None, "store": True,
    }  # fmt: skip


def test_items_keep_their_bytes() -> None:
    item = b'{"role":"user","content":"hi","n":1.50}'
    found = state.read_asked(b'{"model":"m","top_p":0.90,"input":[' + item + b"]}")
    before = Raw(b'{"x":1e2}')
    body = state.request_body(found, [before, *found.items])
    assert b"[" + bytes(before) + b"," + item + b"]" in body
    assert b'"top_p":0.90' in body


def test_references() -> None:
    items = [
        {"type": "item_reference", "id": "msg_1"}, {"id": "msg_2"}, {"role": "user", "content": "x", "id": "m"},
        {"type": "reasoning", "id": "rs_1", "summary": []},
        {"type": "reasoning", "id": "rs_2", "summary": [], "encrypted_content": "E"},
    ]  # fmt: skip
    raws = [Raw(json.dumps(item).encode()) for item in items]
    assert state.references(raws) == {0: "msg_1", 1: "msg_2", 3: "rs_1"}
    assert [state.is_reference(raw) for raw in raws] == [True, True, False, False, False]


@pytest.mark.parametrize("stream", [False, True])
def test_the_last_response_is_found_and_marked(stream: bool) -> None:
    response = {"object": "response", "id": "resp_1", "store": True, "text": "a\n\nb"}
    if stream:
        event = {"type": "response.completed", "sequence_number": 4, "response": response}
        data = (
            b"event: x\ndata: {}\n\nevent: response.completed\ndata: " + json.dumps(event).encode() + b"\n\n"
        )
    else:
        data = json.dumps(response).encode()
    found = state.last_response(data, stream=stream)
    assert found is not None
    assert {name: json.loads(bytes(raw)) for name, raw in found.items()} == response
    marked = state.unstored(data, stream=stream)
    again = state.last_response(marked, stream=stream)
    assert again is not None
    assert {name: json.loads(bytes(raw)) for name, raw in again.items()} == {**response, "store": False}
    if stream:
        assert marked.startswith(b"event: x\ndata: {}\n\nevent: response.completed\n")
    error = b'{"error":{"message":"no"}}'
    assert state.last_response(error, stream=stream) is None
    assert state.unstored(error, stream=stream) == error


@pytest.mark.parametrize("sequence", [0, 1, 2, 7])
@pytest.mark.parametrize("status", ["failed", "cancelled"])
def test_a_stream_that_was_not_answered_gets_an_end(sequence: int, status: str) -> None:
    body = json.dumps(
        {**json.loads(json.dumps({"id": "resp_1", "object": "response"})), "status": status}
    ).encode()
    events = [
        json.loads(frame.data)
        for frame in SSEReader().feed(state.last_events(state.response_of(body), sequence))
    ]
    kinds = ["response.created", "response.in_progress"][sequence:]
    assert [event["type"] for event in events] == [
        *kinds, "response.failed" if status == "failed" else "response.incomplete",
    ]  # fmt: skip
    assert [event["sequence_number"] for event in events] == list(range(sequence, sequence + len(events)))


def test_a_failed_one_keeps_what_it_was() -> None:
    queued = state.with_members(json.dumps(state.queued(kit.CONTEXT)).encode())
    failed = json.loads(state.failed(queued, ServerError("no"), "gen-1"))
    assert (failed["status"], failed["error"]["code"], failed["id"]) == (
        "failed",
        "server_error",
        "resp_own1",
    )
