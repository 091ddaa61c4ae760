"""The messages inside of a reply: found, split and rewritten in each form's framing."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from llm_router.sandbox.faults.steps import Answer
from llm_router.wire.framing.aws import decode_headers, encode_message

Message = dict[str, Any]

_SSE_END = re.compile(rb"(?<=\n\n)|(?<=\r\n\r\n)")
_OBJECT = re.compile(rb"\{[^\r\n]*\}")
_PRELUDE = 12
_CHECKSUM = 4


def split(form: str, parts: Sequence[bytes], json_array: bool) -> tuple[bytes, ...]:
    """The events of a stream, each whole. ``parts``: the stream as it was written."""
    data = b"".join(parts)
    match form:
        case "bedrock":
            return _frames(data)
        case "ollama":
            return tuple(data.splitlines(keepends=True))
        case "gemini" if json_array:
            return tuple(part for part in parts if part)
    return tuple(unit for unit in _SSE_END.split(data) if unit)


def _frames(data: bytes) -> tuple[bytes, ...]:
    frames = []
    while data:
        size = int.from_bytes(data[:4], "big")
        frames.append(data[:size])
        data = data[size:]
    return tuple(frames)


def edited(answer: Answer, unit: bytes, change: Callable[[Message], object]) -> bytes:
    """One event or body with its message changed. ``change`` returns the new one; others are kept."""
    if answer.form.name == "bedrock" and answer.streamed:
        size = int.from_bytes(unit[4:8], "big")
        payload = unit[_PRELUDE + size : -_CHECKSUM]
        new = msgspec.json.encode(change(msgspec.json.decode(payload)))
        return encode_message(decode_headers(unit[_PRELUDE : _PRELUDE + size]), new)
    return _OBJECT.sub(lambda m: msgspec.json.encode(change(msgspec.json.decode(m[0]))), unit, count=1)


def messages(answer: Answer, change: Callable[[Message], object]) -> list[bytes]:
    """All events with their messages changed."""
    return [edited(answer, unit, change) for unit in answer.units]


def texts(answer: Answer, change: Callable[[bytes], bytes]) -> list[bytes]:
    """All events with the bytes of their messages changed, which need not be JSON then."""
    if answer.form.name != "bedrock" or not answer.streamed:
        return [change(unit) for unit in answer.units]
    changed = []
    for unit in answer.units:
        size = int.from_bytes(unit[4:8], "big")
        payload = change(unit[_PRELUDE + size : -_CHECKSUM])
        changed.append(encode_message(decode_headers(unit[_PRELUDE : _PRELUDE + size]), payload))
    return changed


def event(answer: Answer, text: bytes) -> bytes:
    """A text as an event of the answer's form, whatever it says."""
    if answer.json_array:
        return b",\r\n" + text
    match answer.form.name:
        case "bedrock":
            kind = {":event-type": "contentBlockDelta", ":content-type": "application/json"}
            return encode_message({**kind, ":message-type": "event"}, text)
        case "ollama":
            return text + b"\n"
        case "anthropic":
            return b"event: content_block_delta\ndata: " + text + b"\n\n"
    return b"data: " + text + b"\n\n"


TEXT = re.compile(rb"simulated")
"""A word of every answer's text; it stands in one event."""


def holds_usage(unit: bytes) -> bool:
    """Whether an event tells token counts."""
    return _USAGE.search(unit) is not None


_USAGE = re.compile(rb'"(?:usage|usageMetadata|prompt_eval_count|billed_units)"\s*:\s*[{\d]')

_FINISH = re.compile(
    rb'"(?:finish_reason|finishReason|stop_reason|stopReason|done_reason)"\s*:\s*"|response\.completed'
)


def finish_at(answer: Answer) -> int:
    """Which event tells why the answer ended; the last one where none does."""
    found = [at for at, unit in enumerate(answer.units) if _FINISH.search(unit)]
    return found[-1] if found else len(answer.units) - 1


COUNT = re.compile(
    rb'("(?:\w*_tokens|\w*TokenCount|inputTokens|outputTokens|totalTokens|\w*eval_count)"\s*:\s*)(\d+(?:\.\d+)?)'
)
"""A token count in a message, whatever the form calls it."""
