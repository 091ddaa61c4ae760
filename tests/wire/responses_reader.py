"""A strict reader of the Responses API for tests. Shares no code with the product.

It insists on the order of events, on rising sequence numbers, on ids and indexes that belong
together, on done events that repeat what the deltas said, and on a last event that repeats the items.
"""

from __future__ import annotations

import json
import typing
from typing import Any

import pydantic
from openai.types.responses import Response, ResponseStreamEvent

LAST = ("response.completed", "response.incomplete", "response.failed")
TYPED = ("message", "reasoning", "function_call", "custom_tool_call", "image_generation_call")
"""Items that the product writes itself; others are the provider's own, newer than the types at times."""

OWN_CODES = {"context_length_exceeded", "insufficient_credits"}


def _literal(model: type[pydantic.BaseModel]) -> str:
    kind: str = typing.get_args(model.model_fields["type"].annotation)[0]
    return kind


EVENTS = {_literal(model): model for model in typing.get_args(typing.get_args(ResponseStreamEvent)[0])}


class Read:
    """What a client ends up with."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.refusals: list[str] = []
        self.thoughts: list[str] = []
        self.calls: list[dict[str, Any]] = []
        self.images: list[str] = []
        self.notes: list[dict[str, Any]] = []
        self.others: list[str] = []
        self.states: list[str] = []
        self.response: dict[str, Any] = {}
        self.events: list[str] = []

    @property
    def text(self) -> str:
        return "".join(self.texts)

    @property
    def status(self) -> str:
        return str(self.response["status"])

    @property
    def usage(self) -> dict[str, Any]:
        found: dict[str, Any] = self.response["usage"]
        return found

    def shown_calls(self) -> list[tuple[str, Any]]:
        return [(c["name"], parsed(c.get("arguments", c.get("input")))) for c in self.calls]


def parsed(arguments: str) -> Any:
    """Arguments as JSON where they are JSON, else the text."""
    try:
        return json.loads(arguments)
    except ValueError:
        return arguments


def read_response(body: bytes | dict[str, Any], *, passed: bool = False) -> Read:
    """A whole response."""
    response = json.loads(body) if isinstance(body, bytes) else body
    assert response["object"] == "response"
    assert response["id"].startswith("resp_")
    assert type(response["created_at"]) in (int, float)
    assert response["model"]
    if not passed:
        plain = {**response, "output": [item for item in response["output"] if item["type"] in TYPED]}
        if plain["error"] is not None and plain["error"]["code"] in OWN_CODES:
            plain["error"] = {**plain["error"], "code": "server_error"}
        if plain["usage"] is not None and plain["usage"]["input_tokens"] is None:
            plain["usage"] = None
        Response.model_validate(plain)
    read = Read()
    read.response = response
    ids = [item["id"] for item in response["output"] if item.get("id")]
    assert passed or len(set(ids)) == len(ids), ids
    assert all(len(id_) <= 64 for id_ in ids if id_.startswith(("msg_", "fc_", "ctc_", "ig_"))), ids
    for item in response["output"]:
        prefix = {"message": "msg_", "reasoning": "rs_"}.get(item["type"], "")
        assert passed or item["id"].startswith(prefix)
        _item(item, read)
    call_ids = [call["call_id"] for call in read.calls]
    assert len(set(call_ids)) == len(call_ids)
    assert all(call_ids)
    return read


def _item(item: dict[str, Any], read: Read) -> None:
    match item["type"]:
        case "message":
            assert item["role"] == "assistant"
            for part in item["content"]:
                if part["type"] == "refusal":
                    read.refusals.append(part["refusal"])
                else:
                    read.texts.append(part["text"])
                    read.notes += part["annotations"]
        case "reasoning":
            read.thoughts += [part["text"] for part in item["summary"]]
            read.thoughts += [part["text"] for part in item.get("content") or []]
            if item.get("encrypted_content"):
                read.states.append(item["encrypted_content"])
        case "function_call" | "custom_tool_call":
            read.calls.append(item)
        case "image_generation_call":
            read.images.append(item["result"])
        case kind:
            read.others.append(kind)


def frames(data: bytes) -> list[dict[str, Any]]:
    """The events of a stream, each of which must be an event line and one data line."""
    assert data.endswith(b"\n\n"), data[-80:]
    found = []
    for frame in data[:-2].split(b"\n\n"):
        first, second = frame.split(b"\n")
        assert first.startswith(b"event: ")
        assert second.startswith(b"data: ")
        body = json.loads(second[6:])
        assert body["type"] == first[7:].decode()
        found.append(body)
    return found


class _Stream:
    def __init__(self, passed: bool) -> None:
        self.passed = passed
        self.items: dict[int, dict[str, Any]] = {}
        self.open: int | None = None
        self.part: dict[str, Any] | None = None
        self.parts: list[dict[str, Any]] = []
        self.said = ""
        self.summary: dict[str, Any] | None = None
        self.whole: str | None = None

    def event(self, body: dict[str, Any]) -> None:
        kind = body["type"]
        match kind:
            case "response.output_item.added":
                assert self.open is None, "an item is added before the one before is done"
                index = body["output_index"]
                assert index == len(self.items), "items are not numbered in order"
                self.items[index], self.open = body["item"], index
                self.parts, self.said, self.whole = [], "", None
            case "response.output_item.done":
                self.done(body)
            case "response.content_part.added":
                self.about(body)
                assert self.part is None
                assert body["content_index"] == len(self.parts)
                self.part, self.said = body["part"], ""
                assert self.part.get("text", self.part.get("refusal")) == ""
            case "response.output_text.delta" | "response.refusal.delta":
                self.about(body)
                assert self.part is not None, "a delta outside of a content part"
                assert body["content_index"] == len(self.parts)
                assert ("refusal" in kind) == (self.part["type"] == "refusal")
                assert body["delta"]
                self.said += body["delta"]
            case "response.output_text.done" | "response.refusal.done":
                assert body.get("text", body.get("refusal")) == self.said
            case "response.output_text.annotation.added":
                self.about(body)
                assert self.part is not None
                assert body["annotation_index"] == len(self.part["annotations"])
                self.part["annotations"].append(body["annotation"])
            case "response.content_part.done":
                self.about(body)
                assert self.part is not None
                part = body["part"]
                assert part.get("text", part.get("refusal")) == self.said
                assert part.get("annotations") == self.part.get("annotations")
                self.parts.append(part)
                self.part = None
            case _:
                self.other(kind, body)

    def other(self, kind: str, body: dict[str, Any]) -> None:
        match kind:
            case "response.function_call_arguments.delta" | "response.custom_tool_call_input.delta":
                self.about(body)
                assert self.whole is None
                self.said += body["delta"]
            case "response.function_call_arguments.done" | "response.custom_tool_call_input.done":
                self.about(body)
                self.whole = body.get("arguments", body.get("input"))
                assert self.whole == self.said
            case "response.reasoning_summary_part.added":
                self.about(body)
                assert self.summary is None
                self.summary, self.said = body["part"], ""
            case "response.reasoning_text.delta" if self.passed:
                self.said += body["delta"]
            case "response.reasoning_summary_text.delta":
                self.about(body)
                assert self.summary is not None
                self.said += body["delta"]
            case "response.reasoning_summary_text.done":
                assert body["text"] == self.said
            case "response.reasoning_summary_part.done":
                assert body["part"]["text"] == self.said
                self.parts.append(body["part"])
                self.summary = None

    def about(self, body: dict[str, Any]) -> None:
        """The event must be about the open item."""
        assert self.open is not None, body
        assert body["output_index"] == self.open
        assert body["item_id"] == self.items[self.open]["id"]

    def done(self, body: dict[str, Any]) -> None:
        item, index = body["item"], body["output_index"]
        assert index == self.open, "an item is done that is not open"
        before = self.items[index]
        assert (item["type"], item.get("id")) == (before["type"], before.get("id"))
        assert self.passed or item.get("status") != "in_progress"
        assert self.part is None
        assert self.summary is None
        if item["type"] == "message":
            assert item["content"] == self.parts
        elif item["type"] == "reasoning" and not self.passed:
            assert item["summary"] == self.parts
        elif item["type"] in ("function_call", "custom_tool_call"):
            assert item.get("arguments", item.get("input")) == self.whole
        self.items[index], self.open = item, None


def _essence(item: dict[str, Any]) -> dict[str, Any]:
    """An item without what OpenAI encrypts anew each time it says it."""
    return {name: value for name, value in item.items() if name not in ("encrypted_content", "fingerprint")}


def read_stream(data: bytes, *, passed: bool = False) -> Read:
    """Read a stream and insist on its grammar in every event.

    ``passed``: it came from a provider of this API, which may have events of its own kinds.
    """
    bodies = frames(data)
    kinds = [body["type"] for body in bodies]
    assert kinds[0] == "response.created"
    assert kinds[1] == "response.in_progress"
    assert kinds[-1] in LAST, kinds[-1]
    assert not set(kinds[2:-1]) & {*LAST, "response.created", "response.in_progress", "error"}
    stream = _Stream(passed)
    for number, body in enumerate(bodies):
        assert body["sequence_number"] == number
        model = EVENTS.get(body["type"])
        assert model is not None or passed, body["type"]
        if (
            model is not None
            and body["type"] not in LAST
            and body.get("item", {}).get("type", "message") in TYPED
        ):
            model.model_validate({"logprobs": [], **body} if passed else body)
        stream.event(json.loads(json.dumps(body)))
    first, last = bodies[0]["response"], bodies[-1]["response"]
    for name in ("id", "model", "created_at"):
        assert first[name] == last[name]
        assert bodies[1]["response"][name] == first[name]
    assert first["status"] == "in_progress"
    assert first["output"] == []
    assert last["status"] == kinds[-1].removeprefix("response.")
    if last["status"] != "failed":
        assert stream.open is None, "the last item is not done"
        told = [stream.items[index] for index in sorted(stream.items)]
        assert list(map(_essence, last["output"])) == list(map(_essence, told))
    read = read_response(last, passed=passed)
    read.events = kinds
    return read
