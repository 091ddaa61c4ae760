"""Streams: canonical events to events of this API, in its exact grammar.

    created in_progress (output_item.added ... output_item.done)* (completed | incomplete | failed)

Parts follow one another: where canonical parts interleave, the later ones wait until the one before
is closed. A text that is left open when a call begins does not hold the call up: it counts as
closed, and what comes of it later stands in a further message.
https://platform.openai.com/docs/api-reference/responses-streaming
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from llm_router.domain.errors import RouterError
from llm_router.wire import events
from llm_router.wire.chat import Citation, Thinking
from llm_router.wire.dialect import Bill, ReplyContext
from llm_router.wire.dialects.openai_responses.content import CONTENT, annotation
from llm_router.wire.dialects.openai_responses.errors import failed_members
from llm_router.wire.dialects.openai_responses.response import head_of
from llm_router.wire.dialects.openai_responses.seal import bound_content, encrypted_content, kept_members
from llm_router.wire.dialects.openai_responses.usage import usage_object
from llm_router.wire.dialects.openai_responses.words import ID_CHARS_MAX, NAME, seed_of, status_of
from llm_router.wire.dialects.openai_responses.writer import OutputWriter
from llm_router.wire.lenient import load_object
from llm_router.wire.loss import Loss, Losses

_TEXTS: Final = ("text", "refusal")


class _Part:
    """A part that is being written, or waits for its turn."""

    __slots__ = ("begun", "chars", "closed", "opened", "pieces", "signature", "told", "waiting")

    def __init__(self, opened: events.PartOpened) -> None:
        self.opened = opened
        self.waiting: list[events.PartDelta] = []
        self.pieces: list[str] = []  # of all but texts
        self.begun = self.closed = False
        self.signature = opened.signature
        self.told = False  # whether its state went out before it
        self.chars = 0


class ResponsesStreamEncoder:
    """See :class:`wire.dialect.StreamEncoder`."""

    def __init__(self, context: ReplyContext) -> None:
        self._context = context
        self._lost = Losses()
        self.losses: list[Loss] = self._lost.found
        self._writer = OutputWriter(seed_of(context.reply_id))
        self._head: dict[str, Any] | None = None
        self._parts: dict[int, _Part] = {}  # in the order in which they were opened
        self._live: int | None = None  # the part whose events are being written
        self._left: dict[int, events.PartOpened] = {}  # texts that a call cut short
        self._logprobs: list[Any] = []
        self._finished: events.Finished | None = None
        self._refused = False
        self._ids: set[str] = set()

    def encode(self, event: events.Event) -> bytes:
        """Client bytes for one event. Usage and the end are kept for :meth:`finish`."""
        match event:
            case events.PartOpened() | events.PartDelta() | events.PartClosed() | events.Finished() if (
                event.choice
            ):
                self._lost.add("n", "a response has one answer")
            case events.PartDelta():
                return self._delta(event)
            case events.PartOpened():
                return self._open(event)
            case events.PartClosed():
                return self._close(event)
            case events.Started():
                return self._begin(event)
            case events.Finished():
                return self._finish_parts(event)
            case events.LogProbs():
                self._logprobs += msgspec.json.decode(event.content)
            case events.OpaqueSeen() if event.dialect != NAME:
                self._lost.add(event.name, f"only {event.dialect} has this")
        return b""

    def finish(self, bill: Bill) -> bytes:
        """The last event, with the whole response, its usage and the bill."""
        out = self._begin(events.Started())
        if self._finished is None:
            out += self._finish_parts(events.Finished(reason=events.Finish.STOP))
        response = self.response(bill)
        return out + self._writer.event(f"response.{response['status']}", response=response)

    def fail(self, error: RouterError, request_id: str) -> bytes:
        """An error in mid-stream, which ends it."""
        out = self._begin(events.Started())
        response = self._response(status="failed", error=failed_members(error, request_id))
        return out + self._writer.event("response.failed", response=response)

    def response(self, bill: Bill) -> dict[str, Any]:
        """The whole response. All events must have been encoded."""
        assert self._finished is not None
        status, details = status_of(self._finished.reason)
        native = self._finished.native
        told = {} if native in (None, status) else {"native_finish_reason": native}
        return self._response(status=status, incomplete_details=details, usage=usage_object(bill), **told)

    def named(self, ids: Mapping[int, str]) -> ResponsesStreamEncoder:
        """The same with the ids of items that were announced already."""
        self._writer.known = ids
        return self

    def resume(self, sequence: int, done: int) -> None:
        """Go on where another stream of events stopped: at a number, with so many items told as done."""
        if done > len(self._writer.output):
            parts = list(self._parts.values())
            if parts and parts[-1].opened.form in _TEXTS and not (parts[-1].begun or parts[-1].waiting):
                parts.pop()  # it was opened behind what is done, and nothing is told of it yet
            for part in parts:
                part.closed = True
            self._advance()
            self._end_text()
            self._writer.close()
        self._writer.resume(sequence)

    def _response(self, **last: Any) -> dict[str, Any]:
        assert self._head is not None
        return {**self._head, "output": self._writer.output, "usage": None, **last}

    def _begin(self, event: events.Started) -> bytes:
        if self._head is not None:
            return b""
        self._head = head_of(event, self._context)
        response = self._response(status="in_progress")
        out = self._writer.event("response.created", response=response)
        return out + self._writer.event("response.in_progress", response=response)

    # -- order -------------------------------------------------------------------------------------

    def _open(self, event: events.PartOpened) -> bytes:
        if event.form == "opaque" and (event.dialect != NAME or event.name.startswith(CONTENT)):
            self._lost.add(event.name, f"only {event.dialect} has this kind of content")
            return b""
        if event.form == "media" and not (event.media_type or "image/png").startswith("image/"):
            self._lost.add("output.media", "a response holds no generated media but images")
            return b""
        self._leave()
        self._parts[event.part] = _Part(event)
        return self._begin(events.Started()) + self._advance()

    def _leave(self) -> None:
        """Let the part that is being written not hold up the next one, where that is safe."""
        live = self._parts.get(self._live) if self._live is not None else None
        if live is None or live.closed:
            return
        if live.opened.form in _TEXTS:
            live.closed = True
            self._left[live.opened.part] = live.opened
        elif live.opened.form == "tool_call" and not live.opened.custom and _is_object(live.pieces):
            live.closed = True

    def _delta(self, event: events.PartDelta) -> bytes:
        part = self._parts.get(event.part)
        out = b""
        if part is None:
            opened = self._left.get(event.part)
            if opened is None:
                return b""
            if not event.text:
                self._lost.add("annotations", "a source that was named behind a call has no place here")
                return b""
            del self._left[event.part]
            out = self._open(opened)
            part = self._parts[event.part]
        if event.part != self._live:
            part.waiting.append(event)
            return out
        return out + self._write(part, event)

    def _close(self, event: events.PartClosed) -> bytes:
        part = self._parts.get(event.part)
        self._left.pop(event.part, None)
        if part is None:
            return b""
        part.closed = True
        part.signature = event.signature if event.signature is not None else part.signature
        # The last part ends with the answer, which may turn out to be cut.
        return self._advance() if len(self._parts) > 1 else b""

    def _advance(self) -> bytes:
        """End the part that is written if it is whole, and let the next ones through up to one still open."""
        out = b""
        while self._parts:
            number, part = next(iter(self._parts.items()))
            self._live = number
            out += self._start(part)
            for delta in part.waiting:
                out += self._write(part, delta)
            part.waiting.clear()
            if not part.closed:
                return out
            out += self._stop(part)
            del self._parts[number]
            self._live = None
        return out

    def _finish_parts(self, event: events.Finished) -> bytes:
        """The answer ended: close what is open. The last item is as whole as the answer is."""
        self._finished = event
        out = self._begin(events.Started())
        for part in self._parts.values():
            part.closed = True
        out += self._advance()
        if event.reason is events.Finish.CONTENT_FILTER and event.message and not self._refused:
            out += self._writer.part("refusal") + self._writer.text(event.message)
        out += self._end_text()
        return out + self._writer.close(status_of(event.reason)[0])

    # -- parts -------------------------------------------------------------------------------------

    def _start(self, part: _Part) -> bytes:
        """Begin a part. Texts begin with their first piece: an empty one leaves no trace."""
        opened = part.opened
        if part.begun or opened.form in _TEXTS:
            return b""
        part.begun = True
        out = self._end_text()
        match opened.form:
            case "thinking":
                return out + self._writer.add("reasoning", _own_id(opened, "rs_"), summary=[])
            case "tool_call":
                return out + self._start_call(part)
            case "media":
                return out + self._image(opened)
        return out + self._writer.verbatim(opened.raw)

    def _start_call(self, part: _Part) -> bytes:
        """A call. State that is bound to it and known goes before it."""
        opened = part.opened
        out = self._bound(opened.dialect, opened.signature, "next")
        part.told = out != b""
        id_ = opened.id
        if not id_ or id_ in self._ids:
            id_ = f"call_{seed_of(self._context.reply_id)}_{opened.part}"
        self._ids.add(id_)
        kind, text = (
            ("custom_tool_call", "input") if self._is_custom(opened) else ("function_call", "arguments")
        )
        return out + self._writer.add(kind, **{"call_id": id_, "name": opened.name, text: ""})

    def _is_custom(self, opened: events.PartOpened) -> bool:
        return opened.custom or opened.name in self._context.custom_tools

    def _write(self, part: _Part, event: events.PartDelta) -> bytes:
        out = b""
        if event.text:
            part.chars += len(event.text)
            out = self._write_text(part, event.text)
        if event.citation is not None:
            out += self._cite(part, event.citation)
        return out

    def _write_text(self, part: _Part, text: str) -> bytes:
        match part.opened.form:
            case "text" | "refusal" as form:
                return self._begin_text(part, form) + self._writer.text(text)
            case "thinking":
                first = not part.pieces
                part.pieces.append(text)
                out = b""
                if first:
                    empty = {"type": "summary_text", "text": ""}
                    out = self._writer.about(
                        "response.reasoning_summary_part.added", summary_index=0, part=empty
                    )
                return out + self._writer.about(
                    "response.reasoning_summary_text.delta", summary_index=0, delta=text
                )
            case "tool_call":
                part.pieces.append(text)
                if not self._is_custom(part.opened):
                    return self._writer.about("response.function_call_arguments.delta", delta=text)
                if part.opened.custom:
                    return self._writer.about("response.custom_tool_call_input.delta", delta=text)
        return b""

    def _begin_text(self, part: _Part, form: str) -> bytes:
        if part.begun:
            return b""
        part.begun = True
        self._refused = self._refused or form == "refusal"
        return self._end_text() + self._writer.part(form)

    def _cite(self, part: _Part, source: Citation) -> bytes:
        note = annotation(source, part.chars) if part.opened.form == "text" else None
        if note is None:
            self._lost.add("annotations", "a source without a URL has no form here")
            return b""
        return self._begin_text(part, "text") + self._writer.annotate(note)

    def _end_text(self) -> bytes:
        """The open content part is done; log probabilities so far are its own."""
        found, self._logprobs = self._logprobs, []
        return self._writer.part_done(found)

    def _stop(self, part: _Part) -> bytes:
        opened = part.opened
        match opened.form:
            case "thinking":
                return self._stop_thinking(part)
            case "tool_call":
                out = self._stop_call(part)
                return out if part.told else out + self._bound(opened.dialect, part.signature, "previous")
            case "text":
                return self._bound(opened.dialect, part.signature, "previous")
        return b""

    def _stop_thinking(self, part: _Part) -> bytes:
        opened, out, text = part.opened, b"", "".join(part.pieces)
        if text:
            summary = {"type": "summary_text", "text": text}
            out = self._writer.about("response.reasoning_summary_text.done", summary_index=0, text=text)
            out += self._writer.about("response.reasoning_summary_part.done", summary_index=0, part=summary)
            self._writer.update(summary=[summary])
        state = encrypted_content(
            Thinking(
                signature=part.signature,
                redacted=opened.redacted,
                id=opened.id or None,
                origin=opened.dialect,
            )
        )
        if state is not None:
            self._writer.update(encrypted_content=state)
        return out

    def _stop_call(self, part: _Part) -> bytes:
        text = "".join(part.pieces)
        self._writer.update(**kept_members(part.opened.dialect, part.signature))
        if not self._is_custom(part.opened):
            out = b""
            if not text and not self._was_cut():
                text = "{}"
                out = self._writer.about("response.function_call_arguments.delta", delta=text)
            self._writer.update(arguments=text)
            return out + self._writer.about(
                "response.function_call_arguments.done", name=part.opened.name, arguments=text
            )
        out = b""
        if not part.opened.custom:
            text = _free_text(text)
            out = self._writer.about("response.custom_tool_call_input.delta", delta=text)
        self._writer.update(input=text)
        return out + self._writer.about("response.custom_tool_call_input.done", input=text)

    def _was_cut(self) -> bool:
        return self._finished is not None and status_of(self._finished.reason)[1] is not None

    def _bound(self, origin: str | None, signature: str | None, side: Any) -> bytes:
        """State that is bound to a text or call, in a reasoning item of its own."""
        state = bound_content(origin, signature, side)
        if state is None:
            return b""
        out = self._end_text()
        out += self._writer.add("reasoning", summary=[], encrypted_content=state)
        return out + self._writer.close()

    def _image(self, opened: events.PartOpened) -> bytes:
        kind = (opened.media_type or "image/png").partition("/")[2].partition("+")[0]
        out = self._writer.add("image_generation_call", result=None)
        out += self._writer.about("response.image_generation_call.completed")
        self._writer.update(result=opened.data, output_format=kind)
        return out + self._writer.close()


def _own_id(opened: events.PartOpened, prefix: str) -> str | None:
    """The provider's id of an item, where it may stand as it is."""
    own = opened.dialect == NAME and opened.id.startswith(prefix)
    return opened.id if own and len(opened.id) <= ID_CHARS_MAX else None


def _is_object(pieces: list[str]) -> bool:
    """Whether the arguments so far are a whole JSON object, which nothing can follow."""
    if not pieces or not pieces[-1].rstrip().endswith("}"):
        return False
    return load_object("".join(pieces).encode("utf-8", "replace")) is not None


def _free_text(arguments: str) -> str:
    """The text for a free-text tool that a provider without such tools called with JSON."""
    found = load_object(arguments.encode("utf-8", "replace"))
    if found is None:
        return arguments
    text = found.get("input")
    if not isinstance(text, str) and len(found) == 1:
        text = next(iter(found.values()))
    return text if isinstance(text, str) else arguments
