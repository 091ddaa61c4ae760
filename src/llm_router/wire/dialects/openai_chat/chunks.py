"""The chunks of a stream, put right one by one: the part that pass-through and decoding share.

What comes out is strict OpenAI form whatever the provider's habits: one id, model and created; the
role once; one finish a choice, held back until the end is proven; tool calls numbered from 0; no
usage in any chunk (it is kept in ``usage``); errors and cut streams known as such.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from llm_router.domain.errors import UpstreamError, UpstreamKind
from llm_router.wire.dialects.openai_chat.calls import CallTracker, LegacyCall
from llm_router.wire.dialects.openai_chat.errors import error_of, is_error, malformed
from llm_router.wire.dialects.openai_chat.finish import ERROR, failure_kind, meaning, native_word
from llm_router.wire.dialects.openai_chat.head import StreamHead, text_of
from llm_router.wire.dialects.openai_chat.mend import (
    add_arguments,
    has_substance,
    mend_choice,
    mend_fields,
    only_delta,
)
from llm_router.wire.dialects.openai_chat.usage import NOTHING, Reading, read_usage
from llm_router.wire.framing.sse import EventTooLarge, Frame, SSEReader
from llm_router.wire.halves import HalfCharacters
from llm_router.wire.lenient import load_exact
from llm_router.wire.verbatim import encode

CHOICES_MAX = 128
"""OpenAI's own limit of n."""


class Chunk(NamedTuple):
    """A strict chunk, and its bytes as they came if nothing had to be changed."""

    body: dict[str, Any]
    data: bytes | None

    def frame(self) -> bytes:
        data = self.data if self.data is not None else encode(self.body)
        return b"data: " + data + b"\n\n"


class _Choice:
    """What is known of one choice."""

    __slots__ = (
        "calls",
        "ended",
        "held",
        "legacy",
        "native",
        "said",
        "spoke",
        "started",
        "thought",
    )

    def __init__(self, calls: CallTracker) -> None:
        self.started = False  # its role is out
        self.ended = False  # a finish reason came
        self.native: str | None = None
        self.said: str | None = None  # the word of the provider behind an aggregator, or ``native``
        self.held: Chunk | None = None  # the chunk that ended it
        self.calls = calls
        self.legacy = LegacyCall()
        self.thought = False  # reasoning text came
        self.spoke = False  # text or a call came


class ChunkMender:
    """Bytes of a stream in, strict chunks out. Never raises.

    Attributes:
        done: the end is proven; nothing comes any more.
        error: the stream failed; nothing comes any more.
        usage, reading: the last usage object, and what it says.
        head: what all chunks have in common.
    """

    def __init__(self, *, reply_id: str = "", model: str = "", created_s: int = 0) -> None:
        self._reader = SSEReader()
        self._halves = HalfCharacters()
        self.head = StreamHead(reply_id, model, created_s)
        self._choices: dict[int, _Choice] = {}
        self.usage: dict[str, Any] | None = None
        self._second_usage: dict[str, Any] | None = None  # Groq's x_groq.usage
        self.reading: Reading = NOTHING
        self.output_chars = self.reasoning_chars = 0
        self.flags: list[str] = []
        self.done = False
        self.error: UpstreamError | None = None

    def feed(self, data: bytes) -> list[Chunk]:
        """The chunks that these bytes complete."""
        out: list[Chunk] = []
        if self.done or self.error:
            return out
        try:
            frames = self._reader.feed(data)
        except EventTooLarge:
            self.error = malformed("a stream event that is larger than any answer")
            return out
        for frame in frames:
            self._frame(frame, out)
        return out

    @property
    def whole(self) -> bool:
        """Whether what was fed last was whole events."""
        return self._reader.whole

    def goes_on(self, index: int) -> bool:
        """Whether a choice is in the midst of its text: more of it changes nothing here but its length."""
        state = self._choices.get(index)
        if state is None or self.done or self.error:
            return False
        return state.started and state.spoke and not state.ended and not self.head.extras

    def close(self) -> list[Chunk]:
        """The connection was closed cleanly: the last chunks. Afterwards ``done`` or ``error`` is set."""
        out: list[Chunk] = []
        if self.done or self.error:
            return out
        for frame in self._reader.close():
            self._frame(frame, out, last=True)
        if self.done or self.error:
            return out
        if self._choices and all(choice.ended for choice in self._choices.values()):
            self._end(out)
        elif not self._choices and "malformed_chunk" in self.flags:
            self.error = malformed("a stream that holds no answer")
        else:
            self._truncated()
        return out

    def spoke(self) -> bool:
        """Whether any choice showed text or a call."""
        return any(
            choice.spoke or choice.calls.sent or choice.legacy.begun for choice in self._choices.values()
        )

    def first_finish(self) -> tuple[str | None, str | None]:
        """OpenAI's word for the end of the first choice, and the provider's own."""
        if not self._choices:
            return None, None
        state = self._choices[min(self._choices)]
        return meaning(state.native, tools=state.calls.sent > 0, legacy=state.legacy.begun), state.said

    def release(self) -> list[Chunk]:
        """What was held back of choices that had ended, without their finish: the stream failed."""
        out = []
        for choice in self._choices.values():
            if choice.held is not None and has_substance(choice.held.body["choices"][0]["delta"]):
                out.append(_unfinished(choice.held))
            choice.held = None
        return out

    # -- one frame ---------------------------------------------------------------------------------

    def _frame(self, frame: Frame, out: list[Chunk], *, last: bool = False) -> None:
        if self.done or self.error or not (data := self._halves.join(frame.data.strip())):
            return
        if data.startswith(b"[DONE]"):
            if self._choices:
                self._end(out)
            else:
                self.error = self.error or malformed("the end of an answer without the answer")
            return
        body, exact = load_exact(data)
        if frame.event == b"error":
            self.error = error_of(body if body is not None else data.decode("utf-8", "replace"))
        elif body is None:
            if b"\n" in data:  # a server that sends no blank lines between its events
                for line in data.split(b"\n"):
                    self._frame(Frame(frame.event, line), out, last=last)
            elif not last and data.startswith(b"{"):  # an event, and what it held is lost
                self.error = malformed("an event that is broken: a part of the answer is lost")
            elif not last:
                self._flag("malformed_chunk")
            elif not b"[DONE]".startswith(data):
                self._truncated()
        else:
            self._body(body, data if exact else None, out)

    def _body(self, body: dict[str, Any], data: bytes | None, out: list[Chunk]) -> None:
        usage = body.get("usage")
        if isinstance(usage, dict) and usage:
            self._take_usage(usage, body)
        if "x_groq" in body:
            self._take_second(body["x_groq"])
        if ("error" in body or "choices" not in body) and is_error(body):
            self.error = error_of(body)
            return
        choices = body.get("choices")
        if not isinstance(choices, list) or not choices:
            self.head.stash(body)
            return
        changed = self.head.mend(body)
        if len(choices) == 1:
            self._choice(body, None if changed else data, out)
            return
        for choice in choices[:CHOICES_MAX]:
            self._choice({**body, "choices": [choice]}, None, out)

    # -- one choice --------------------------------------------------------------------------------

    def _choice(self, body: dict[str, Any], data: bytes | None, out: list[Chunk]) -> None:
        choice = body["choices"][0]
        if not isinstance(choice, dict):
            self._flag("malformed_chunk")
            return
        index = choice.get("index")
        if index.__class__ is not int or not 0 <= index < CHOICES_MAX:
            index = choice["index"] = 0
            data = None
        state = self._choices.get(index)
        if state is None:
            state = self._choices[index] = _Choice(
                CallTracker(self.head.reply_id or self.head.upstream_id, index * 1000)
            )
        delta = choice.get("delta")
        if delta.__class__ is not dict or "message" in choice:
            delta, data = only_delta(choice, state.started), None
        if self._mend_delta(state, delta):
            data = None
        if mend_choice(choice):
            data = None
        native = native_word(choice)
        if native == "":
            choice["finish_reason"], native, data = None, None, None
        if native is not None and meaning(native, tools=False) == ERROR:
            self.error = UpstreamError(
                f"The provider broke off the answer: {native}.",
                kind=failure_kind(native),
                native_code=native,
            )
            return
        self._emit(state, Chunk(body, data), native, out)

    def _emit(self, state: _Choice, chunk: Chunk, native: str | None, out: list[Chunk]) -> None:
        """Send the chunk, or hold it back if it ends its choice; drop what only repeats the end."""
        if state.ended and not has_substance(chunk.body["choices"][0]["delta"]):
            self.head.stash(chunk.body)
            return
        if state.held is not None:
            out.append(_unfinished(state.held))
            state.held = None
        if native is not None and not state.ended:
            state.ended, state.native = True, native
            state.said = text_of(chunk.body["choices"][0].get("native_finish_reason")) or native
        if state.ended:
            state.held = chunk
        else:
            out.append(chunk)

    def _mend_delta(self, state: _Choice, delta: dict[str, Any]) -> bool:
        changed = mend_fields(delta, details_too=not state.thought)
        if not state.started:
            state.started = True
            if delta.get("role") != "assistant":
                rest = {name: value for name, value in delta.items() if name != "role"}
                delta.clear()
                delta.update({"role": "assistant", **rest})
                changed = True
        elif "role" in delta:
            del delta["role"]
            changed = True
        content = delta.get("content")
        if content:
            self.output_chars += len(content)
            state.spoke = True
        if len(delta) > 1 or content is None:
            changed |= self._mend_rest(state, delta)
        return changed

    def _mend_rest(self, state: _Choice, delta: dict[str, Any]) -> bool:
        changed = False
        reasoning = delta.get("reasoning_content")
        if reasoning and isinstance(reasoning, str):
            self.reasoning_chars += len(reasoning)
            state.thought = True
        refusal = delta.get("refusal")
        if refusal and isinstance(refusal, str):
            self.output_chars += len(refusal)
            state.spoke = True
        if "tool_calls" in delta:
            calls = delta["tool_calls"]
            before = state.calls.chars
            right = state.calls.take(calls) if isinstance(calls, list) else []
            self.output_chars += state.calls.chars - before
            if not right:
                del delta["tool_calls"]
                changed = True
            elif right != calls:
                delta["tool_calls"] = right
                changed = True
        if delta.get("function_call") is not None:
            changed |= self._mend_function(state, delta)
        return changed

    def _mend_function(self, state: _Choice, delta: dict[str, Any]) -> bool:
        """A piece of a legacy function_call. Beside tool calls it only repeats them."""
        before = delta["function_call"]
        counted = state.legacy.chars
        right = None if state.calls.sent else state.legacy.take(before)
        self.output_chars += state.legacy.chars - counted
        if right is None:
            del delta["function_call"]
        else:
            delta["function_call"] = right
        return bool(right != before)

    # -- usage and end -----------------------------------------------------------------------------

    def _take_usage(self, usage: dict[str, Any], body: dict[str, Any]) -> None:
        """The last usage is right; several are never added up."""
        self.head.note_tier(body)
        reading = read_usage(usage, visible=self.spoke(), service_tier=self.head.service_tier)
        if reading.usage is not None or reading.flags:
            self.usage, self.reading = usage, reading
            for flag in reading.flags:
                self._flag(flag)

    def _take_second(self, holder: object) -> None:
        usage = holder.get("usage") if isinstance(holder, dict) else None
        if isinstance(usage, dict):
            self._second_usage = usage

    def settle_usage(self) -> None:
        """Read the usage once more, now that the whole answer is known."""
        raw = self.usage if self.usage is not None else self._second_usage
        if raw is not None:
            self.usage = raw
            self.reading = read_usage(raw, visible=self.spoke(), service_tier=self.head.service_tier)
            for flag in self.reading.flags:
                self._flag(flag)

    def _end(self, out: list[Chunk]) -> None:
        """The end is proven: send the finish of every choice."""
        for index, choice in sorted(self._choices.items()):
            out.append(self._finish(index, choice))
            if choice.calls.unnamed():
                self._flag("tool_call_unreadable")
        self.settle_usage()
        self.done = True

    def _finish(self, index: int, state: _Choice) -> Chunk:
        word = meaning(state.native, tools=state.calls.sent > 0, legacy=state.legacy.begun)
        if not state.ended:
            self._flag("finish_missing")
        body, data = state.held or Chunk(
            {**self.head.members(), "choices": [{"index": index, "delta": {}}]}, None
        )
        state.held = None
        choice = body["choices"][0]
        cut = word in ("length", "content_filter")
        if missing := state.calls.finish(cut=cut):
            add_arguments(choice["delta"], missing)
            data = None
        if (rest := state.legacy.finish(cut=cut)) is not None:
            choice["delta"].setdefault("function_call", {}).update(rest)
            data = None
        if choice.get("finish_reason") != word:
            choice["finish_reason"] = word
            if state.native is not None:
                choice.setdefault("native_finish_reason", state.native)
            data = None
        return Chunk(body, data)

    def _truncated(self) -> None:
        self.error = UpstreamError(
            "The provider's stream ended before the answer was complete.", kind=UpstreamKind.TRUNCATED
        )

    def _flag(self, flag: str) -> None:
        if flag not in self.flags:
            self.flags.append(flag)


def _unfinished(chunk: Chunk) -> Chunk:
    """The same chunk as if its choice went on."""
    choice = {**chunk.body["choices"][0], "finish_reason": None}
    choice.pop("native_finish_reason", None)
    return Chunk({**chunk.body, "choices": [choice]}, None)
