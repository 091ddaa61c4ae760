"""Events to a stream of this API, in its exact grammar.

    message_start (content_block_start content_block_delta* content_block_stop)* message_delta message_stop

Blocks are strictly one after the other: where canonical parts interleave, the later ones wait until
the one before them is closed. A ``ping`` follows the first block's start, as the real API sends it.
https://docs.anthropic.com/en/docs/build-with-claude/streaming
"""

from __future__ import annotations

import msgspec

from llm_router.domain.errors import RouterError
from llm_router.domain.usage import Usage
from llm_router.wire import chat, events
from llm_router.wire.again import MARK
from llm_router.wire.chat import Raw
from llm_router.wire.dialect import Bill, ReplyContext
from llm_router.wire.dialects.anthropic_messages import seal
from llm_router.wire.dialects.anthropic_messages.errors import encode_error
from llm_router.wire.dialects.anthropic_messages.facts import NAME
from llm_router.wire.dialects.anthropic_messages.reply import (
    call_id,
    encode_citation,
    reply_id,
    stop_members,
    thinking_block,
)
from llm_router.wire.dialects.anthropic_messages.usage import billed_usage, encode_usage
from llm_router.wire.loss import Loss, Losses
from llm_router.wire.verbatim import members

PING = b'event: ping\ndata: {"type": "ping"}\n\n'
_PIECE = {
    "text": ("text_delta", "text"),
    "refusal": ("text_delta", "text"),
    "thinking": ("thinking_delta", "thinking"),
    "tool_call": ("input_json_delta", "partial_json"),
}


def frame(kind: str, body: object) -> bytes:
    """One event. Verbatim JSON in it may hold line breaks, always between values: they become blanks."""
    data = msgspec.json.encode(body)
    if b"\n" in data or b"\r" in data:
        data = data.replace(b"\n", b" ").replace(b"\r", b" ")
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), data)


class _Part:
    """A part that is being written, or waits for its turn."""

    __slots__ = ("begun", "closed", "early", "odd", "opened", "said", "signature", "waiting")

    def __init__(self, opened: events.PartOpened) -> None:
        self.opened = opened
        self.waiting: list[events.PartDelta] = []
        self.closed = False
        self.begun = False  # whether its block is open
        self.early = False  # whether its state went out before it
        self.said = False  # whether any of the arguments is known
        self.odd: list[str] | None = None  # arguments that are no object
        self.signature = opened.signature


class Encoder:
    """A :class:`~llm_router.wire.dialect.StreamEncoder`."""

    def __init__(self, context: ReplyContext) -> None:
        self._context = context
        self._lost = Losses()
        self.losses: list[Loss] = self._lost.found
        self._started = events.Started()
        self._begun = False
        self._pinged = False
        self._parts: dict[int, _Part] = {}  # in the order in which they were opened
        self._live: int | None = None  # the part whose block is open
        self._index = 0
        self._behind: list[object] = []  # blocks that go out if anything follows: see reply.without_tail
        self._usage: Usage | None = None
        self._finished: events.Finished | None = None
        self._refused = False
        self._opaque: dict[str, Raw] = {}

    def encode(self, event: events.Event) -> bytes:
        """Client bytes for one event. Usage and finish are kept for :meth:`finish`."""
        match event:
            case events.PartOpened() | events.PartDelta() | events.PartClosed() | events.Finished() if (
                event.choice
            ):
                self._lost.add("n", "a message has one choice")
            case events.PartDelta():
                return self._delta(event)
            case events.PartOpened():
                return self._open(event)
            case events.PartClosed():
                return self._close(event)
            case events.Started():
                self._started = event
            case events.UsageSeen():
                self._usage = event.usage
            case events.Finished():
                self._finished = event
            case events.OpaqueSeen() if event.dialect == NAME:
                self._opaque[event.name] = event.raw
            case events.OpaqueSeen():
                self._lost.add(event.name, f"only {event.dialect} has this")
            case events.LogProbs():
                self._lost.add("logprobs", "messages have no log probabilities")
            case events.Failed() | events.Ended():
                pass  # told by fail() and finish()
        return b""

    def again(self, piece: events.PartDelta) -> bytes:
        part = self._parts.get(piece.part)
        if part is None or piece.choice or piece.part != self._live or part.opened.custom or not part.begun:
            return b""
        if part.opened.form not in _PIECE or part.odd is not None:
            return b""
        if part.opened.form == "tool_call" and not part.said:
            return b""
        kind, name = _PIECE[part.opened.form]
        return self._piece({"type": kind, name: MARK})

    def told(self, piece: events.PartDelta, text: str) -> None:
        """Nothing of it is noted."""

    def finish(self, bill: Bill) -> bytes:
        """Close what is open; then the reason to stop with usage and bill, and the end."""
        out = self._begin()
        for part in self._parts.values():
            part.closed = True
        out += self._advance()
        done = self._finished or events.Finished(reason=events.Finish.STOP)
        delta = stop_members(done.reason, done.native, done.stop_sequence, done.message, self._refused)
        body: dict[str, object] = {"type": "message_delta", "delta": delta, "usage": billed_usage(bill)}
        for name, raw in self._opaque.items():
            (delta if name == "container" else body)[name] = raw
        return out + frame("message_delta", body) + frame("message_stop", {"type": "message_stop"})

    def fail(self, error: RouterError, request_id: str) -> bytes:
        """An error in mid-stream, which ends it."""
        return b"event: error\ndata: %b\n\n" % encode_error(error, request_id)

    def _begin(self) -> bytes:
        if self._begun:
            return b""
        self._begun = True
        usage = encode_usage(self._usage)
        if self._usage is None:
            usage = {"input_tokens": self._context.prompt_tokens_estimate, "output_tokens": 0}
        message: dict[str, object] = {
            "id": reply_id(self._started.id, self._context),
            "type": "message",
            "role": "assistant",
            "model": self._started.model or self._context.model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": {"cache_creation_input_tokens": 0, "cache_read_input_tokens": 0, **usage},
        }
        return frame("message_start", {"type": "message_start", "message": message})

    def _open(self, event: events.PartOpened) -> bytes:
        if event.form == "media":
            self._lost.add("content.media", "messages hold no generated media")
            return b""
        if event.form == "opaque" and event.dialect != NAME:
            self._lost.add(event.name, f"only {event.dialect} has this kind of content")
            return b""
        self._refused = self._refused or event.form == "refusal"
        self._parts[event.part] = _Part(event)
        return self._begin() + self._advance()

    def _delta(self, event: events.PartDelta) -> bytes:
        part = self._parts.get(event.part)
        if part is None:
            return b""
        if event.part != self._live or part.opened.custom or not part.begun:
            part.waiting.append(event)
            return self._advance() if event.part == self._live and not part.begun else b""
        return self._write(part, event)

    def _close(self, event: events.PartClosed) -> bytes:
        part = self._parts.get(event.part)
        if part is None:
            return b""
        part.closed = True
        part.signature = event.signature if event.signature is not None else part.signature
        return self._advance()

    def _advance(self) -> bytes:
        """Close the live block if it is whole, and let the next parts through up to one still open."""
        out = b""
        while self._parts:
            number, part = next(iter(self._parts.items()))
            self._live = number
            if part.closed and not part.begun and self._put_behind(part):
                del self._parts[number]
                self._live = None
                continue
            out += self._start(part)
            if not part.opened.custom:
                out += self._flush(part)
            if not part.closed:
                return out
            out += self._stop(part)
            del self._parts[number]
            self._live = None
        return out

    def _put_behind(self, part: _Part) -> bool:
        """Keep a text that holds nothing but foreign state until something follows; False if it is none."""
        sealed = seal.seal_bound(part.opened.dialect, part.signature, "previous")
        if part.opened.form != "text" or part.waiting or sealed is None or not self._index:
            return False
        self._behind += [{"type": "text", "text": ""}, sealed]
        return True

    def _flush(self, part: _Part) -> bytes:
        out = b"".join(self._write(part, delta) for delta in part.waiting)
        part.waiting.clear()
        return out

    def _start(self, part: _Part) -> bytes:
        """Open the block; state that is bound to a foreign call goes before it if it is known yet.

        Text behind other blocks waits for its first word: a provider may send a signature alone.
        """
        opened = part.opened
        wordless = opened.form == "text" and not part.waiting and not part.closed
        if part.begun or (wordless and self._index > 0):
            return b""
        part.begun = True
        known = part.signature if opened.form == "tool_call" else None
        part.early = known is not None
        return self._sealed(opened.dialect, known, "next") + self._block(self._block_of(part))

    def _sealed(self, origin: str | None, signature: str | None, side: seal.Side) -> bytes:
        block = seal.seal_bound(origin, signature, side)
        return b"" if block is None else self._block(block) + self._block_stop()

    def _block_of(self, part: _Part) -> object:
        opened = part.opened
        match opened.form:
            case "thinking":
                known = chat.Thinking(redacted=opened.redacted, origin=opened.dialect, id=opened.id or None)
                if opened.redacted is not None:
                    return thinking_block(known)
                return {"type": "thinking", "thinking": "", "signature": ""}
            case "tool_call":
                block: dict[str, object] = {
                    "type": "tool_use",
                    "id": call_id(opened.id, self._context, opened.part),
                    "name": opened.name,
                    "input": {},
                }
                if opened.dialect == NAME and opened.signature is not None:
                    block.update(members(opened.signature.encode()) or {})
                return block
            case "opaque":
                return opened.raw
        return {"type": "text", "text": ""}

    def _block(self, block: object) -> bytes:
        behind, self._behind = self._behind, []
        out = b"".join(self._block(earlier) + self._block_stop() for earlier in behind)
        out += frame(
            "content_block_start",
            {"type": "content_block_start", "index": self._index, "content_block": block},
        )
        if not self._pinged:
            self._pinged = True
            out += PING
        return out

    def _block_stop(self) -> bytes:
        out = frame("content_block_stop", {"type": "content_block_stop", "index": self._index})
        self._index += 1
        return out

    def _write(self, part: _Part, event: events.PartDelta) -> bytes:
        out = b""
        if part.opened.form == "tool_call" and self._is_odd(part, event.text):
            return out
        if event.text and part.opened.form in _PIECE:
            kind, name = _PIECE[part.opened.form]
            out += self._piece({"type": kind, name: event.text})
        cited = event.citation
        if cited is None:
            return out
        told = encode_citation(cited) if part.opened.form == "text" else None
        if told is None:
            self._lost.add("annotations", "citations that name no page have no place here")
            return out
        return out + self._piece({"type": "citations_delta", "citation": told})

    def _is_odd(self, part: _Part, text: str) -> bool:
        """Hold back arguments that do not begin as an object: a call's input must be one."""
        if part.odd is None and text.strip() and not text.lstrip().startswith("{") and not part.said:
            part.odd = []
            self._lost.add("tool_calls[].function.arguments", 'no JSON object; given as the member "_raw"')
        part.said = part.said or bool(text.strip())
        if part.odd is not None:
            part.odd.append(text)
        return part.odd is not None

    def _piece(self, delta: dict[str, object]) -> bytes:
        body = {"type": "content_block_delta", "index": self._index, "delta": delta}
        return frame("content_block_delta", body)

    def _stop(self, part: _Part) -> bytes:
        out = b""
        if part.opened.custom:
            text = "".join(delta.text for delta in part.waiting)
            arguments = msgspec.json.encode({"input": text}).decode()
            out += self._piece({"type": "input_json_delta", "partial_json": arguments})
        if part.odd is not None:
            arguments = msgspec.json.encode({"_raw": "".join(part.odd)}).decode()
            out += self._piece({"type": "input_json_delta", "partial_json": arguments})
        if part.opened.form == "thinking" and part.opened.redacted is None:
            signature = self._signature(part)
            if signature:
                out += self._piece({"type": "signature_delta", "signature": signature})
        out += self._block_stop()
        if part.opened.form == "text":
            sealed = seal.seal_bound(part.opened.dialect, part.signature, "previous")
            self._behind += [] if sealed is None else [sealed]
        elif part.opened.form == "tool_call" and not part.early:
            out += self._sealed(part.opened.dialect, part.signature, "previous")
        return out

    def _signature(self, part: _Part) -> str | None:
        opened = part.opened
        if opened.dialect == NAME:
            return part.signature
        return seal.seal_thinking(
            chat.Thinking(signature=part.signature, id=opened.id or None, origin=opened.dialect)
        )
