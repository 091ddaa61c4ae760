"""Every recorded exchange of Ollama's chat, read by this dialect and by a naive reader."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import behind_kit as kit
import pytest

from llm_router.wire import chat, events
from llm_router.wire.dialect import Dialect
from llm_router.wire.dialects.ollama_chat import DIALECT
from llm_router.wire.fold import fold

RECORDINGS = Path(__file__).parents[3] / "shared" / "recordings" / "dev" / "ollama"
CASES = [json.loads(path.read_bytes()) for path in sorted(RECORDINGS.glob("ollama_chat/*.json"))]
pytestmark = pytest.mark.skipif(not CASES, reason="the folder ../shared/recordings is not there")
every = pytest.mark.parametrize("case", [pytest.param(case, id=case["id"]) for case in CASES])
streams = pytest.mark.parametrize(
    "case", [pytest.param(case, id=case["id"]) for case in CASES if case["response"].get("text")]
)


def naive(case: dict[str, Any]) -> dict[str, Any]:
    text = case["response"].get("text")
    messages = [json.loads(line) for line in text.splitlines()] if text else [case["response"]["body"]]
    said = [message["message"] for message in messages]
    calls = [call["function"] for message in said for call in message.get("tool_calls", [])]
    last = messages[-1]
    assert last["done"] is True
    return {
        "model": last["model"],
        "text": "".join(message["content"] for message in said),
        "thoughts": "".join(message.get("thinking", "") for message in said),
        "calls": [(call["name"], call["arguments"]) for call in calls],
        "finish": "length" if last["done_reason"] == "length" else "tool_calls" if calls else "stop",
        "usage": (last["prompt_eval_count"], last["eval_count"]),
    }


def told(reply: events.Reply) -> dict[str, Any]:
    (choice,) = reply.choices
    calls = [part for part in choice.parts if isinstance(part, chat.ToolCall)]
    assert all(call.id for call in calls)
    assert len({call.id for call in calls}) == len(calls)
    assert reply.usage is not None
    return {
        "model": reply.model,
        "text": "".join(part.text for part in choice.parts if isinstance(part, chat.Text)),
        "thoughts": "".join(part.text for part in choice.parts if isinstance(part, chat.Thinking)),
        "calls": [(call.name, json.loads(call.arguments)) for call in calls],
        "finish": choice.finish.value,
        "usage": (reply.usage.prompt_tokens, reply.usage.completion_tokens),
    }


def decoded(case: dict[str, Any]) -> events.Reply:
    text = case["response"].get("text")
    if text:
        return fold(kit.decode(DIALECT, [text.encode()]))
    return DIALECT.decode_reply(json.dumps(case["response"]["body"]).encode())


@every
def test_it_says_what_a_naive_reader_reads(case: dict[str, Any]) -> None:
    reply = decoded(case)
    assert told(reply) == naive(case)
    assert reply.choices[0].native_finish == case["finish"][0]


@streams
def test_awkward_cuts_and_line_ends_change_nothing(case: dict[str, Any]) -> None:
    text = case["response"]["text"]
    whole = kit.decode(DIALECT, [text.encode()])
    kit.grammar(whole)
    for end in ("\n", "\r\n", "\n\n"):
        data = text.replace("\n", end).encode()
        for size in (1, 7, 1021):
            assert kit.decode(DIALECT, (data[at : at + size] for at in range(0, len(data), size))) == whole


@pytest.mark.parametrize("front", kit.FRONTS, ids=[front.name for front in kit.FRONTS])
@every
def test_every_client_gets_it(case: dict[str, Any], front: Dialect) -> None:
    reply = decoded(case)
    body, _ = front.encode_reply(reply, kit.CONTEXT, kit.bill(reply.usage))
    assert kit.essence(front.decode_reply(body)) == kit.essence(reply)
    if case["response"].get("text"):
        data = case["response"]["text"].encode()
        out, relay = kit.through(front, DIALECT, (data[at : at + 13] for at in range(0, len(data), 13)))
        assert relay.observed.error is None
        assert kit.essence(kit.heard(front, out + relay.finish(kit.bill(reply.usage)))) == kit.essence(reply)
