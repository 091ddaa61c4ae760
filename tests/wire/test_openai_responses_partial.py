"""Items of a response that was broken off."""

from __future__ import annotations

import json
from typing import Any

import pytest

from llm_router.wire.dialects.openai_responses.partial import items_of


def event(kind: str, index: int = 0, **members: Any) -> bytes:
    return json.dumps({"type": f"response.{kind}", "output_index": index, **members}).encode()


MESSAGE = {"type": "message", "id": "msg_1", "role": "assistant", "status": "in_progress", "content": []}
CALL = {"type": "function_call", "id": "fc_1", "call_id": "c1", "name": "f", "arguments": ""}
REASONING = {"type": "reasoning", "id": "rs_1", "summary": []}


def test_what_was_said_until_then() -> None:
    text = {"type": "output_text", "text": "", "annotations": []}
    found = items_of(
        [
            json.dumps({"type": "response.created", "response": {}}).encode(),
            event("output_item.added", item=REASONING),
            event("reasoning_summary_part.added", summary_index=0, part={"type": "summary_text", "text": ""}),
            event("reasoning_summary_text.delta", summary_index=0, delta="Let me"),
            event("reasoning_summary_text.delta", summary_index=0, delta=" see."),
            event(
                "output_item.done", item={**REASONING, "summary": [{"type": "summary_text", "text": "whole"}]}
            ),
            event("output_item.added", 1, item=MESSAGE),
            event("content_part.added", 1, content_index=0, part=text),
            event("output_text.delta", 1, content_index=0, delta="one "),
            event("output_text.delta", 1, content_index=0, delta="two"),
            event("output_item.added", 2, item=CALL),
            event("function_call_arguments.delta", 2, delta='{"a":'),
        ]
    )
    assert found == [
        {**REASONING, "summary": [{"type": "summary_text", "text": "whole"}]},
        {**MESSAGE, "status": "incomplete", "content": [{**text, "text": "one two"}]},
        {**CALL, "status": "incomplete", "arguments": '{"a":'},
    ]


@pytest.mark.parametrize(
    "odd",
    [
        b"",
        b"[]",
        b"nonsense",
        event("output_text.delta", content_index=0, delta="x"),
        event("output_item.added", item=None) + b"x",
        event("output_item.done", index="0", item=MESSAGE),  # type: ignore[arg-type]
    ],
)
def test_odd_events_say_nothing(odd: bytes) -> None:
    assert items_of([odd]) == []


def test_odd_members_do_no_harm() -> None:
    (item,) = items_of(
        [
            event("output_item.added", item={**MESSAGE, "content": None}),
            event("output_text.delta", content_index=-7, delta="a"),
            event("output_text.delta", content_index="x", delta=None),
            event("content_part.added", content_index=99, part="?"),
        ]
    )
    assert item["content"][0]["text"] == "a"
