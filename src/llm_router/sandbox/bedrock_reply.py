"""What the simulated Bedrock answers: whole replies, and event streams with their checksums.

https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ConverseStream.html
"""

from __future__ import annotations

import msgspec

from llm_router.sandbox import native
from llm_router.wire import chat, events
from llm_router.wire.dialect import Bill, ReplyContext
from llm_router.wire.events import Finish
from llm_router.wire.framing.aws import encode_message
from llm_router.wire.loss import Loss

NAME = "bedrock_converse"
LATENCY_MS = 7
_REASONS = {
    Finish.STOP: "end_turn",
    Finish.LENGTH: "max_tokens",
    Finish.TOOL_CALLS: "tool_use",
    Finish.CONTENT_FILTER: "content_filtered",
}


def encode_reply(reply: events.Reply, context: ReplyContext, bill: Bill) -> tuple[bytes, tuple[Loss, ...]]:
    choice = reply.choices[0]
    content = [block for part in choice.parts if (block := _block(part)) is not None]
    body = {
        "output": {"message": {"role": "assistant", "content": content}},
        "stopReason": _reason(choice.finish, choice.stop_sequence),
        **_metadata(bill),
    }
    return msgspec.json.encode(body), ()


def _reason(finish: Finish, stop_sequence: str | None) -> str:
    return "stop_sequence" if stop_sequence is not None else _REASONS[finish]


def _metadata(bill: Bill) -> dict[str, object]:
    """``inputTokens`` leaves the cache out; the total holds it."""
    found: dict[str, object] = {"metrics": {"latencyMs": LATENCY_MS}}
    used = bill.usage
    if used is not None:
        written = used.cache_write_tokens + used.cache_write_1h_tokens
        counts = {
            "inputTokens": used.input_tokens,
            "outputTokens": used.completion_tokens,
            "cacheReadInputTokens": used.cache_read_tokens,
            "cacheWriteInputTokens": written,
        }
        found["usage"] = {**counts, "totalTokens": sum(counts.values())}
    return found


def _block(part: chat.Part) -> dict[str, object] | None:
    match part:
        case chat.Text():
            return {"text": part.text}
        case chat.Thinking() if part.redacted is not None:
            return {"reasoningContent": {"redactedContent": part.redacted}}
        case chat.Thinking():
            return {"reasoningContent": {"reasoningText": {"text": part.text, "signature": part.signature}}}
        case chat.ToolCall():
            use = {"toolUseId": part.id, "name": part.name, "input": msgspec.Raw(part.arguments.encode())}
            return {"toolUse": use}
    return None


def event(kind: str, body: object) -> bytes:
    """One event with its headers and checksums."""
    headers = {":event-type": kind, ":content-type": "application/json", ":message-type": "event"}
    return encode_message(headers, msgspec.json.encode(body))


def failure(body: bytes, json_array: bool) -> bytes:
    """An exception in place of an event."""
    headers = {
        ":exception-type": "internalServerException",
        ":content-type": "application/json",
        ":message-type": "exception",
    }
    return encode_message(headers, body)


def garbage(json_array: bool) -> bytes:
    """An event whose checksum is wrong."""
    sound = event("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": "broken"}})
    return sound[:-1] + bytes([sound[-1] ^ 0xFF])


class Encoder(native.Encoder):
    """Events to the messages of a stream. Only tool calls and no other blocks have a start."""

    def __init__(self, context: ReplyContext) -> None:
        super().__init__(context)
        self._forms: dict[int, str] = {}

    def encode(self, event_: events.Event) -> bytes:
        match event_:
            case events.Started():
                return event("messageStart", {"role": "assistant"})
            case events.PartOpened():
                return self._open(event_)
            case events.PartDelta() if event_.text:
                form = self._forms[event_.part]
                if form == "tool_call":
                    return self._delta(event_.part, {"toolUse": {"input": event_.text}})
                if form == "thinking":
                    return self._delta(event_.part, {"reasoningContent": {"text": event_.text}})
                return self._delta(event_.part, {"text": event_.text})
            case events.PartClosed():
                out = b""
                if event_.signature is not None and self._forms[event_.part] == "thinking":
                    out = self._delta(event_.part, {"reasoningContent": {"signature": event_.signature}})
                return out + event("contentBlockStop", {"contentBlockIndex": event_.part})
            case events.Finished():
                self.finish_reason, self.stop_sequence = event_.reason, event_.stop_sequence
        return b""

    def _open(self, opened: events.PartOpened) -> bytes:
        self._forms[opened.part] = opened.form
        if opened.redacted is not None:
            return self._delta(opened.part, {"reasoningContent": {"redactedContent": opened.redacted}})
        if opened.form != "tool_call":
            return b""
        use = {"toolUse": {"toolUseId": opened.id, "name": opened.name}}
        return event("contentBlockStart", {"contentBlockIndex": opened.part, "start": use})

    def _delta(self, index: int, delta: dict[str, object]) -> bytes:
        return event("contentBlockDelta", {"contentBlockIndex": index, "delta": delta})

    def finish(self, bill: Bill) -> bytes:
        reason = _reason(self.finish_reason, self.stop_sequence)
        return event("messageStop", {"stopReason": reason}) + event("metadata", _metadata(bill))
