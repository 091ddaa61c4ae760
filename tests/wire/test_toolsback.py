"""Calls come back under the client's names, and to its free-text tools, streamed and whole."""

from __future__ import annotations

import json
from typing import Any

import pytest

from llm_router.domain.usage import Usage
from llm_router.wire import chat, events
from llm_router.wire.dialect import Bill, Dialect, ReplyContext
from llm_router.wire.dialects.registry import DIALECTS
from llm_router.wire.fold import fold, unfold
from llm_router.wire.relay import BridgeRelay
from llm_router.wire.toolsback import ToolsBack, free_text

CONTEXT = ReplyContext(reply_id="chatcmpl-1", model="m", created_s=1, custom_tools=("pa.tch",))
BILL = Bill(usage=Usage(input_tokens=1, output_tokens=1), cost_pusd=0, credits_remaining_pusd=0)
BACK: dict[str, Any] = {"names": {"pa_tch": "pa.tch", "a_b": "a.b"}, "custom": ("pa.tch",)}
REPLY = events.Reply(
    model="m",
    created_s=1,
    choices=(
        events.Choice(
            parts=(
                chat.ToolCall(id="call_1", name="pa_tch", arguments='{"input":"+ lïne"}'),
                chat.ToolCall(id="call_2", name="a_b", arguments='{"x":1}'),
            ),
            finish=events.Finish.TOOL_CALLS,
        ),
    ),
    usage=Usage(input_tokens=1, output_tokens=1),
)


def calls(reply: events.Reply) -> list[tuple[str, str, bool]]:
    parts = reply.choices[0].parts
    return [(p.name, p.arguments, p.custom) for p in parts if isinstance(p, chat.ToolCall)]


EXPECTED = [("pa.tch", "+ lïne", True), ("a.b", '{"x":1}', False)]


def test_a_whole_reply() -> None:
    assert calls(ToolsBack(**BACK).reply(REPLY)) == EXPECTED
    assert ToolsBack({}).reply(REPLY) == REPLY


def test_events() -> None:
    back = ToolsBack(**BACK)
    told = [event for seen in unfold(REPLY) for event in back.take(seen)]
    assert calls(fold(told)) == EXPECTED


@pytest.mark.parametrize("name", ["openai_chat", "openai_responses"])
def test_through_a_relay_to_a_client_that_knows_free_text(name: str) -> None:
    behind, front = DIALECTS["anthropic_messages"], DIALECTS[name]
    assert isinstance(behind, Dialect)
    assert isinstance(front, Dialect)
    encoder = behind.stream_encoder(CONTEXT)
    data = b"".join(encoder.encode(e) for e in unfold(REPLY) if not isinstance(e, events.Ended))
    data += encoder.finish(BILL)
    relay = BridgeRelay(behind.stream_decoder(), front.stream_encoder(CONTEXT), ToolsBack(**BACK))
    out = b"".join(relay.feed(data[at : at + 7]) for at in range(0, len(data), 7))
    out += relay.finish(BILL)
    decoder = front.stream_decoder()
    found = calls(fold([*decoder.feed(out), *decoder.close()]))
    assert [(n, a if c else json.loads(a), c) for n, a, c in found] == [
        ("pa.tch", "+ lïne", True),
        ("a.b", {"x": 1}, False),
    ]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [('{"input":"x"}', "x"), ('{"patch":"x"}', "x"), ("plain", "plain"), ('{"input":1,"b":2}', '{"input":1,"b":2}')],
)  # fmt: skip
def test_free_text(arguments: str, text: str) -> None:
    assert free_text(arguments) == text
