"""What the tests of the Responses dialect share: own cases, framings, cuts and a plain view of replies."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from llm_router.domain.model import Capabilities
from llm_router.domain.usage import Usage
from llm_router.wire import chat
from llm_router.wire.dialect import Bill, ReplyContext, StreamDecoder, Target
from llm_router.wire.dialects.openai_responses import DIALECT
from llm_router.wire.events import Event, Failed
from llm_router.wire.fold import Folder

ROOT = Path(__file__).parents[2]
CORPUS = ROOT / "tests" / "corpus" / "openai_responses"
RECORDINGS = ROOT.parent / "shared" / "recordings"
CONTEXT = ReplyContext(reply_id="resp_own1", model="harbor-public", created_s=1_751_000_001)
BILL = Bill(
    usage=Usage(input_tokens=9, output_tokens=4), cost_pusd=1_500_000_000, credits_remaining_pusd=2 * 10**12
)
ABLE = Capabilities(
    input_modalities=("text", "image", "file"),
    tools=True,
    json_object=True,
    json_schema=True,
    reasoning=True,
    reasoning_levels=("minimal", "low", "medium", "high"),
)
TARGET = Target(
    provider="openai",
    model="harbor-1",
    dialect="openai_responses",
    capabilities=ABLE,
    knows=("developer",),
)

CASES: list[dict[str, Any]] = json.loads((CORPUS / "streams.json").read_text())
BY_NAME = {case["name"]: case for case in CASES}


def params(*, failing: bool | None = None) -> list[Any]:
    """The cases as parameters; ``failing`` picks those that end in an error, or those that do not."""
    return [pytest.param(c, id=c["name"]) for c in CASES if failing is None or ("error" in c) is failing]


def stream_bytes(case: dict[str, Any], newline: str = "\n", *, named: bool = True) -> bytes:
    """A case as a provider sends it; without event names as OpenRouter and Bedrock do."""
    out = []
    for event in case["events"]:
        if event == "[DONE]":
            out.append(f"data: [DONE]{newline * 2}")
            continue
        data = json.dumps(event, ensure_ascii=False, separators=(",", ":"))
        name = f"event: {event['type']}{newline}" if named else ""
        out.append(f"{name}data: {data}{newline * 2}")
    return "".join(out).encode()


def last_response(case: dict[str, Any]) -> dict[str, Any]:
    """The whole response that a case ends with."""
    found: dict[str, Any] = [e for e in case["events"] if e != "[DONE]"][-1]["response"]
    return found


def decode(data: bytes, cuts: Iterable[int] = (), decoder: StreamDecoder | None = None) -> list[Event]:
    """The events of a stream that arrives cut at the given places."""
    decoder = decoder or DIALECT.stream_decoder()
    out: list[Event] = []
    start = 0
    for cut in [*sorted({c for c in cuts if 0 < c < len(data)}), len(data)]:
        out += decoder.feed(data[start:cut])
        start = cut
    return out + decoder.close()


def folded(events: Iterable[Event]) -> Folder:
    folder = Folder()
    for event in events:
        folder.add(event)
    return folder


def plain(stream: Iterable[Event]) -> list[object]:
    """Events that compare: exceptions do not."""
    return [(e.error.kind, e.error.message, e.error.status) if isinstance(e, Failed) else e for e in stream]


def view(parts: Iterable[chat.Part]) -> list[list[Any]]:
    """Parts as the corpus writes them."""
    return [_view(part) for part in parts]


def _view(part: chat.Part) -> list[Any]:
    signature = getattr(part, "signature", None)
    tail = [] if signature is None else [signature]
    match part:
        case chat.Text():
            notes = [[c.url, c.title, c.start, c.end] for c in part.citations]
            return ["text", part.text, *notes, *tail]
        case chat.Refusal():
            return ["refusal", part.text]
        case chat.Thinking():
            assert part.origin == "openai_responses"
            return ["thinking", part.text, part.id, *tail]
        case chat.ToolCall():
            return ["custom" if part.custom else "call", part.id, part.name, part.arguments, *tail]
        case chat.Media():
            return ["media", part.media_type, part.data]
        case chat.Opaque():
            return ["opaque", part.name]
    raise AssertionError(part)


def usage_of(expected: dict[str, Any]) -> Usage | None:
    return None if "none" in expected else msgspec.convert(expected, Usage)


def body(request: dict[str, Any], **more: Any) -> bytes:
    return json.dumps({"model": "m", **request, **more}).encode()


def decoded(request: dict[str, Any], **more: Any) -> chat.ChatRequest:
    return DIALECT.decode_request(DIALECT.inspect(body(request, **more), None, None))


def encoded(request: chat.ChatRequest, target: Target = TARGET) -> tuple[dict[str, Any], set[str]]:
    """The upstream body, and the fields that were lost."""
    data, losses = DIALECT.encode_request(request, target)
    return json.loads(data), {loss.field for loss in losses}
