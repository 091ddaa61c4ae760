"""What the tests of kept responses share: a gateway with a provider of this API too, and what that says."""

from __future__ import annotations

import json
from typing import Any

from gateway_kit import Answer, Gateway
from scripted_upstream import ScriptedUpstream, config_for, sse

RESPONSES_PROVIDER = """
[providers.r1]
dialect = "openai_responses"
base_url = "http://127.0.0.1:{port}/r1"
key = "canary-r1-9f8e7d6c5b4a39281706f5e4d3c2b1a0"
takes_urls = []
[models.mr]
price = {{ input_per_mtok = 1, output_per_mtok = 2 }}
capabilities = {{ tools = true, reasoning = true }}
[[models.mr.deployments]]
provider = "r1"
upstream_model = "up"
"""
USAGE = {
    "input_tokens": 10,
    "input_tokens_details": {"cached_tokens": 0},
    "output_tokens": 5,
    "output_tokens_details": {"reasoning_tokens": 0},
    "total_tokens": 15,
}
REASONING = {"type": "reasoning", "id": "rs_up", "summary": [], "encrypted_content": "SEALED"}


def config(upstream: ScriptedUpstream, more: str = "") -> str:
    timeouts = {"connect_s": 5, "first_byte_s": 20, "idle_s": 20, "total_s": 60}
    return config_for(upstream, timeouts) + RESPONSES_PROVIDER.format(port=upstream.port) + more


def message(text: str, id_: str = "msg_up", status: str = "completed") -> dict[str, Any]:
    content = [{"type": "output_text", "text": text, "annotations": [], "logprobs": []}]
    return {"type": "message", "id": id_, "role": "assistant", "status": status, "content": content}


def whole(*items: dict[str, Any], **more: Any) -> bytes:
    """A whole response of the provider, which says that it stored nothing."""
    items = items or (message("Hello there"),)
    return json.dumps(response("completed", list(items), usage=USAGE, **more)).encode()


def response(status: str, output: list[Any], **more: Any) -> dict[str, Any]:
    return {
        "id": "resp_up", "object": "response", "created_at": 1, "status": status, "model": "up", "output": output,
        "store": False, "previous_response_id": None, "background": False, "parallel_tool_calls": True,
        "tool_choice": "auto", "tools": [], "metadata": {}, "usage": None, "error": None,
        "incomplete_details": None, "instructions": None, **more,
    }  # fmt: skip


def events(*texts: str) -> list[bytes]:
    """The events of a provider's stream with one message, one by one."""
    texts = texts or ("Hello", " there")
    place = {"item_id": "msg_up", "output_index": 0}
    part = {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
    said = "".join(texts)
    told: list[dict[str, Any]] = [
        {"type": "response.created", "response": response("in_progress", [])},
        {"type": "response.in_progress", "response": response("in_progress", [])},
        {
            "type": "response.output_item.added",
            "output_index": 0,
            "item": {**message("", status="in_progress"), "content": []},
        },
        {"type": "response.content_part.added", **place, "content_index": 0, "part": part},
        *(
            {"type": "response.output_text.delta", **place, "content_index": 0, "delta": t, "logprobs": []}
            for t in texts
        ),
        {"type": "response.output_text.done", **place, "content_index": 0, "text": said, "logprobs": []},
        {"type": "response.content_part.done", **place, "content_index": 0, "part": {**part, "text": said}},
        {"type": "response.output_item.done", "output_index": 0, "item": message(said)},
        {"type": "response.completed", "response": response("completed", [message(said)], usage=USAGE)},
    ]
    return [sse({**event, "sequence_number": n}, event["type"]) for n, event in enumerate(told)]


def create(
    gateway: Gateway, model: str, input_: object = "hi", *, key: str | None = None, **more: Any
) -> Answer:
    body = json.dumps({"model": model, "input": input_, **more}).encode()
    return gateway.send("POST", "/v1/responses", body, key=key)


def made(gateway: Gateway, model: str, input_: object = "hi", **more: Any) -> Any:
    """A response that must have been made."""
    answer = create(gateway, model, input_, **more)
    assert answer.status == 200, answer.body
    return answer.json


def text_of(response: Any) -> str:
    return "".join(
        part["text"] for item in response["output"] if item["type"] == "message" for part in item["content"]
    )


def read_events(data: bytes, first: int = 0) -> list[Any]:
    """The events of a stream, which must be numbered from ``first`` without a gap."""
    found = [json.loads(line[6:]) for line in data.split(b"\n") if line.startswith(b"data: ")]
    assert [event["sequence_number"] for event in found] == list(range(first, first + len(found)))
    return found
