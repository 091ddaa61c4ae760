"""What was lost stands in the header, in strict errors and in the record, in the words of the client's API."""

from __future__ import annotations

import json
from typing import Any

import pytest
from engine_kit import World, answer, ask, run

from llm_router.wire.dialects.registry import DIALECTS

CITED = {
    "type": "char_location", "cited_text": "QUOTE", "document_index": 0, "document_title": "D",
    "start_char_index": 0, "end_char_index": 5,
}  # fmt: skip
USAGE = {"input_tokens": 10, "output_tokens": 5}


def cited(stream: bool) -> bytes:
    """A reply of the Messages API whose text cites a document."""
    message: dict[str, Any] = {
        "id": "msg_1", "type": "message", "role": "assistant", "model": "m", "stop_reason": None,
        "content": [], "usage": USAGE,
    }  # fmt: skip
    if not stream:
        text = {"type": "text", "text": "cited", "citations": [CITED]}
        return json.dumps(message | {"content": [text], "stop_reason": "end_turn"}).encode()
    block = {"type": "text", "text": "", "citations": []}
    deltas = [{"type": "text_delta", "text": "cited"}, {"type": "citations_delta", "citation": CITED}]
    events = [
        {"type": "message_start", "message": message},
        {"type": "content_block_start", "index": 0, "content_block": block},
        *({"type": "content_block_delta", "index": 0, "delta": delta} for delta in deltas),
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": USAGE},
        {"type": "message_stop"},
    ]
    return b"".join(f"event: {e['type']}\ndata: {json.dumps(e)}\n\n".encode() for e in events)


FRONTS = {
    "openai_chat": (ask("claude"), "citations"),
    "openai_responses": ({"model": "claude", "input": "hi"}, "annotations"),
    "gemini_generate": ({"model": "claude", "contents": [{"parts": [{"text": "hi"}]}]}, "groundingMetadata"),
}


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("front", FRONTS)
def test_what_a_reply_lost_stands_in_the_record(front: str, stream: bool) -> None:
    async def main() -> None:
        world = World()
        world.upstream.scripts["anth"] = [answer(cited(stream))]
        body, field = FRONTS[front]
        call: dict[str, Any] = {"dialect": DIALECTS[front]}
        if front == "gemini_generate":
            call |= {"path_model": "claude", "path_stream": stream}
        await world.serve(body if front == "gemini_generate" else {**body, "stream": stream}, **call)
        world.check()
        assert world.client.status == 200
        assert world.books.settlements[0].losses == (field,)
        if not stream:
            assert world.client.headers["x-llm-router-losses"] == field

    run(main())


def test_a_strict_error_names_the_member_of_the_client_s_api() -> None:
    async def main() -> None:
        world = World()
        body = {"model": "claude", "contents": [{"parts": [{"text": "hi"}]}], "generationConfig": {"seed": 7}}
        call = {"dialect": DIALECTS["gemini_generate"], "path_model": "claude", "path_stream": False}
        await world.serve(body, headers={"x-llm-router-strict": "true"}, **call)
        world.check()
        assert world.client.status == 400
        assert "generationConfig.seed (" in world.client.json["error"]["message"]
        assert world.upstream.asked == []

    run(main())


def test_content_that_no_deployment_takes_is_refused_by_its_path() -> None:
    async def main() -> None:
        world = World()
        said = [{"type": "text", "text": "hi"}, {"type": "vid", "x": 1}]
        await world.serve(ask("claude", messages=[{"role": "user", "content": said}]))
        world.check()
        assert world.client.status == 400
        error = world.client.json["error"]
        assert (error["code"], error["param"]) == ("unsupported_content", "messages[0].content[1]")
        assert world.upstream.asked == []

    run(main())
