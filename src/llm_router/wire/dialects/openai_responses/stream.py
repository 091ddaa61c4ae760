"""Streams: upstream bytes of this dialect to canonical events.

Read as hosts really send it: deltas without the events around them, "done" events without deltas,
items that stand only in the last event, item ids that change with every event (Copilot), missing
sequence numbers, keepalives, ``[DONE]`` behind the end, unknown events. What has an output_index is
found by it, else by its item id. The end is proven by response.completed, .incomplete or .failed.
https://platform.openai.com/docs/api-reference/responses-streaming
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from llm_router.domain.errors import UpstreamError
from llm_router.wire.dialects.openai_responses.errors import error_of, failure_of, malformed, truncated
from llm_router.wire.dialects.openai_responses.opened import Events, Form, Item
from llm_router.wire.dialects.openai_responses.reply import ending, extras_of, opaque_of
from llm_router.wire.dialects.openai_responses.usage import read_usage
from llm_router.wire.dialects.openai_responses.words import (
    FINISHED,
    finish_of,
    objects,
    text_of,
    whole_seconds,
)
from llm_router.wire.events import Ended, Failed, Finished, LogProbs, Started, UsageSeen
from llm_router.wire.framing.sse import EventTooLarge, Frame, SSEReader
from llm_router.wire.halves import HalfCharacters
from llm_router.wire.lenient import load_object
from llm_router.wire.verbatim import dump

BROKEN_MAX: Final = 1
"""How many frames that are no JSON are skipped before the stream is given up."""

LAST: Final = frozenset(
    ("response.completed", "response.incomplete", "response.failed", "response.cancelled")
)
"""Events that end a stream; each carries the whole response."""


class ResponsesStreamDecoder:
    """See :class:`wire.dialect.StreamDecoder`. ``done``: nothing comes any more."""

    def __init__(self) -> None:
        self._reader = SSEReader()
        self._halves = HalfCharacters()
        self._items: dict[int, Item] = {}
        self._indexes: dict[str, int] = {}  # by item id
        self._started = False
        self._id = ""
        self._logprobs = False
        self._broken = 0
        self.done = False

    def feed(self, data: bytes) -> Events:
        """Events completed by these bytes."""
        if self.done:
            return []
        try:
            frames = self._reader.feed(data)
        except EventTooLarge:
            return self._fail(malformed("a stream event that is larger than any answer"))
        return self._frames(frames)

    def close(self) -> Events:
        """The upstream closed cleanly: without its last event, the answer is cut."""
        if self.done:
            return []
        out = self._frames(self._reader.close())
        return out if self.done else out + self._fail(truncated())

    def _frames(self, frames: list[Frame]) -> Events:
        out: Events = []
        for frame in frames:
            if self.done:
                break
            out += self.frame(frame)
        return out

    def frame(self, frame: Frame) -> Events:
        """The events of one frame."""
        data = self._halves.join(frame.data.strip())
        if not data or data == b"[DONE]":
            return []
        body = load_object(data)
        if body is None:
            self._broken += 1
            if self._broken <= BROKEN_MAX:
                return []
            return self._fail(malformed("stream events that are no JSON"))
        return self.event(body, frame.event.decode("utf-8", "replace"))

    def event(self, body: dict[str, Any], name: str = "") -> Events:
        """The events of one parsed event; ``name`` is that of its frame."""
        kind = body.get("type")
        if not isinstance(kind, str):
            kind = name
            body = {**body, "type": kind}
        handler = _HANDLERS.get(kind)
        if handler is not None:
            out = handler(self, body)
            if out and not self._started:
                out = [*self._start(body), *out]
            return out
        if kind == "error" or (body.get("error") and not kind.startswith("response.")):
            return self._fail(error_of(body))
        return []

    def _fail(self, error: UpstreamError) -> Events:
        self.done = True
        return [Failed(error=error)]

    # -- the response ------------------------------------------------------------------------------

    def _start(self, body: dict[str, Any]) -> Events:
        """The first event, from whatever comes first."""
        if self._started:
            return []
        self._started = True
        response = body.get("response")
        response = response if isinstance(response, dict) else {}
        self._id = text_of(response.get("id"))
        return [
            Started(
                id=self._id,
                model=text_of(response.get("model")),
                created_s=whole_seconds(response.get("created_at")),
                extras=extras_of(response),
            )
        ]

    def _last(self, body: dict[str, Any]) -> Events:
        response = body.get("response")
        response = response if isinstance(response, dict) else {}
        out = self._start(body)
        kind = str(body["type"]).removeprefix("response.")
        status, reason = ending({"status": kind, **response})
        if status not in FINISHED or kind in ("failed", "cancelled"):
            return out + self._usage(response) + self._fail(failure_of({"status": kind, **response}))
        self.done = True
        out += self._rest(response)
        calls = any(item.calls for item in self._items.values())
        out += opaque_of(response)
        out.append(Finished(reason=finish_of(status, reason, calls=calls), native=reason or status))
        return [*out, *self._usage(response), Ended()]

    def _usage(self, response: dict[str, Any]) -> Events:
        reading = read_usage(response)
        return [UsageSeen(usage=reading.usage)] if reading.usage is not None or reading.flags else []

    def _rest(self, response: dict[str, Any]) -> Events:
        """What only the whole response says: items that were not told, or not to their end."""
        out: Events = []
        for index, item in enumerate(objects(response.get("output"))):
            state = self._items.get(index)
            if state is None or not state.closed:
                out += self._done(index, item)
        for state in self._items.values():
            if not state.closed:
                out += state.abandon()
        return out

    # -- items -------------------------------------------------------------------------------------

    def _index(self, body: dict[str, Any]) -> int:
        """Which item an event is about."""
        index = body.get("output_index")
        if isinstance(index, int):
            return index
        found = self._indexes.get(text_of(body.get("item_id")))
        return found if found is not None else max(self._items, default=0)

    def _item(self, index: int, kind: str = "") -> Item:
        """The state of an item; one that was not announced is opened as ``kind``."""
        state = self._items.get(index)
        if state is None:
            state = self._items[index] = Item(index, {"type": kind})
        return state

    def _item_added(self, body: dict[str, Any]) -> Events:
        item = body.get("item")
        if not isinstance(item, dict):
            return []
        index = body.get("output_index")
        if not isinstance(index, int):
            index = max(self._items, default=-1) + 1
        if index in self._items:
            return []
        state = self._items[index] = Item(index, item)
        if isinstance(item.get("id"), str):
            self._indexes[item["id"]] = index
        return state.open(self._id)

    def _item_done(self, body: dict[str, Any]) -> Events:
        item = body.get("item")
        if not isinstance(item, dict):
            return []
        index = body.get("output_index")
        if not isinstance(index, int):
            found = self._indexes.get(text_of(item.get("id")))
            index = found if found is not None else max(self._items, default=-1) + 1
        return self._done(index, item)

    def _done(self, index: int, item: dict[str, Any]) -> Events:
        state = self._items.get(index)
        out: Events = []
        if state is None:
            state = self._items[index] = Item(index, item)
            out += state.open(self._id)
        return out + state.done(item, self._id) + self._probable(state)

    def _probable(self, state: Item) -> Events:
        if not state.logprobs:
            return []
        raw = dump(state.logprobs)
        state.logprobs = []
        return [LogProbs(content=raw)]

    # -- content -----------------------------------------------------------------------------------

    def _part_added(self, body: dict[str, Any]) -> Events:
        part = body.get("part")
        if not isinstance(part, dict) or part.get("type") not in ("output_text", "refusal"):
            return []
        form: Form = "refusal" if part["type"] == "refusal" else "text"
        return self._item(self._index(body), "message").content(_at(body), form, text_of(part.get("text")))

    def _text_delta(self, body: dict[str, Any]) -> Events:
        item = self._item(self._index(body), "message")
        return item.content(_at(body), "text", text_of(body.get("delta")), body.get("logprobs"))

    def _refusal_delta(self, body: dict[str, Any]) -> Events:
        item = self._item(self._index(body), "message")
        return item.content(_at(body), "refusal", text_of(body.get("delta")))

    def _text_done(self, body: dict[str, Any]) -> Events:
        return self._item(self._index(body), "message").content_rest(
            _at(body), "text", text_of(body.get("text"))
        )

    def _refusal_done(self, body: dict[str, Any]) -> Events:
        return self._item(self._index(body), "message").content_rest(
            _at(body), "refusal", text_of(body.get("refusal"))
        )

    def _annotation(self, body: dict[str, Any]) -> Events:
        found = body.get("annotation")
        if not isinstance(found, dict):
            return []
        return self._item(self._index(body), "message").annotate(_at(body), found)

    def _arguments_delta(self, body: dict[str, Any]) -> Events:
        return self._item(self._index(body)).arguments(text_of(body.get("delta")))

    def _arguments_done(self, body: dict[str, Any]) -> Events:
        whole = body.get("arguments", body.get("input"))
        return self._item(self._index(body)).arguments_rest(text_of(whole))

    def _summary_delta(self, body: dict[str, Any]) -> Events:
        item = self._item(self._index(body), "reasoning")
        return item.thought("summary", _at(body, "summary_index"), text_of(body.get("delta")))

    def _reasoning_delta(self, body: dict[str, Any]) -> Events:
        item = self._item(self._index(body), "reasoning")
        return item.thought("content", _at(body), text_of(body.get("delta")))

    def _summary_done(self, body: dict[str, Any]) -> Events:
        item = self._item(self._index(body), "reasoning")
        return item.thought_rest("summary", _at(body, "summary_index"), text_of(body.get("text")))

    def _reasoning_done(self, body: dict[str, Any]) -> Events:
        item = self._item(self._index(body), "reasoning")
        return item.thought_rest("content", _at(body), text_of(body.get("text")))


def _at(body: dict[str, Any], name: str = "content_index") -> int:
    index = body.get(name)
    return index if isinstance(index, int) else 0


_HANDLERS: Final[dict[str, Callable[[ResponsesStreamDecoder, dict[str, Any]], Events]]] = {
    "response.created": ResponsesStreamDecoder._start,
    "response.queued": ResponsesStreamDecoder._start,
    "response.in_progress": ResponsesStreamDecoder._start,
    "response.output_item.added": ResponsesStreamDecoder._item_added,
    "response.output_item.done": ResponsesStreamDecoder._item_done,
    "response.content_part.added": ResponsesStreamDecoder._part_added,
    "response.output_text.delta": ResponsesStreamDecoder._text_delta,
    "response.output_text.done": ResponsesStreamDecoder._text_done,
    "response.output_text.annotation.added": ResponsesStreamDecoder._annotation,
    "response.refusal.delta": ResponsesStreamDecoder._refusal_delta,
    "response.refusal.done": ResponsesStreamDecoder._refusal_done,
    "response.function_call_arguments.delta": ResponsesStreamDecoder._arguments_delta,
    "response.function_call_arguments.done": ResponsesStreamDecoder._arguments_done,
    "response.custom_tool_call_input.delta": ResponsesStreamDecoder._arguments_delta,
    "response.custom_tool_call_input.done": ResponsesStreamDecoder._arguments_done,
    "response.reasoning_summary_text.delta": ResponsesStreamDecoder._summary_delta,
    "response.reasoning_summary_text.done": ResponsesStreamDecoder._summary_done,
    "response.reasoning_text.delta": ResponsesStreamDecoder._reasoning_delta,
    "response.reasoning_text.done": ResponsesStreamDecoder._reasoning_done,
    # earlier names, still sent by compatible servers
    "response.reasoning_summary.delta": ResponsesStreamDecoder._summary_delta,
    "response.reasoning.delta": ResponsesStreamDecoder._reasoning_delta,
    **dict.fromkeys(LAST, ResponsesStreamDecoder._last),
}
