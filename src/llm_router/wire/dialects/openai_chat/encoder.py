"""Streams: canonical events to chunks of this dialect."""

from __future__ import annotations

from typing import Any

from llm_router.domain.errors import RouterError
from llm_router.wire.again import MARK
from llm_router.wire.chat import Media, Thinking
from llm_router.wire.dialect import Bill, ReplyContext
from llm_router.wire.dialects.openai_chat.head import is_reply_id
from llm_router.wire.dialects.openai_chat.legacy import ONE_CALL
from llm_router.wire.dialects.openai_chat.parts import (
    NAME,
    SEPARATOR,
    annotation,
    call_extra,
    detail_of,
    head_detail,
    image_member,
    text_signature_detail,
)
from llm_router.wire.dialects.openai_chat.passing import DONE, error_frame
from llm_router.wire.dialects.openai_chat.reply import opaque_loss, own_members
from llm_router.wire.dialects.openai_chat.usage import usage_object
from llm_router.wire.events import (
    Event,
    Finish,
    Finished,
    LogProbs,
    OpaqueSeen,
    PartClosed,
    PartDelta,
    PartOpened,
    Started,
)
from llm_router.wire.loss import Loss
from llm_router.wire.verbatim import encode


class _Part:
    """An open part. ``index`` is its number among the calls."""

    __slots__ = ("chars", "index", "opened", "text")

    def __init__(self, opened: PartOpened, index: int) -> None:
        self.opened = opened
        self.index = index
        self.chars = 0
        self.text: list[str] = []  # of reasoning only: it is repeated beside its signature


class _Choice:
    __slots__ = ("calls", "chars", "details", "images", "parts", "refused", "started", "thoughts")

    def __init__(self) -> None:
        self.started = self.refused = False
        self.parts: dict[int, _Part] = {}
        self.calls = self.details = self.images = self.thoughts = 0
        self.chars = 0  # of text so far


class ChatStreamEncoder:
    """See :class:`wire.dialect.StreamEncoder`."""

    def __init__(self, context: ReplyContext) -> None:
        self._context = context
        self._head: dict[str, Any] | None = None
        self._choices: dict[int, _Choice] = {}
        self._extras: dict[str, Any] = {}
        self.losses: list[Loss] = []

    def encode(self, event: Event) -> bytes:
        match event:
            case PartDelta():
                return self._delta(event)
            case PartOpened():
                return self._opened(event)
            case PartClosed():
                return self._closed(event)
            case Finished():
                return self._finished(event)
            case Started():
                self._start(event)
            case LogProbs():
                return self._chunk(event.choice, {}, logprobs={"content": event.content, "refusal": None})
            case OpaqueSeen():
                if event.dialect == NAME:
                    self._extras[event.name] = event.raw
                else:
                    self._lose(opaque_loss(event.name))
        return b""

    def again(self, piece: PartDelta) -> bytes:
        part = self._choice(piece.choice).parts.get(piece.part)
        if part is None:
            return b""
        match part.opened.form:
            case "text":
                return self._chunk(piece.choice, {"content": MARK})
            case "thinking":
                return self._chunk(piece.choice, {"reasoning_content": MARK})
            case "refusal":
                return self._chunk(piece.choice, {"refusal": MARK})
            case "tool_call":
                return self._call(part.opened, part.index, MARK)
        return b""

    def told(self, piece: PartDelta, text: str) -> None:
        state = self._choice(piece.choice)
        part = state.parts[piece.part]
        part.chars += len(text)
        match part.opened.form:
            case "text":
                state.chars += len(text)
            case "thinking":
                part.text.append(text)

    def finish(self, bill: Bill) -> bytes:
        if not self._context.usage_chunk:
            return DONE
        body = {**self._members(), **self._extras, "choices": [], "usage": usage_object(bill)}
        return b"data: " + encode(body) + b"\n\n" + DONE

    def fail(self, error: RouterError, request_id: str) -> bytes:
        return error_frame(self._members(), error, request_id)

    def _start(self, event: Started) -> None:
        self._head = {
            "id": event.id if is_reply_id(event.id) else self._context.reply_id,
            "object": "chat.completion.chunk",
            "created": event.created_s or self._context.created_s,
            "model": event.model or self._context.model,
            "system_fingerprint": None,
            **own_members(event.extras),
        }

    def _members(self) -> dict[str, Any]:
        if self._head is None:
            self._start(Started())
        assert self._head is not None
        return self._head

    def _chunk(self, choice: int, delta: dict[str, Any], **more: Any) -> bytes:
        """One chunk of one choice; its first has the role."""
        state = self._choice(choice)
        if not state.started:
            state.started = True
            delta = {"role": "assistant", **({} if delta else {"content": ""}), **delta}
        member = {"index": choice, "delta": delta, "logprobs": None, "finish_reason": None, **more}
        body = {**self._members(), **self._extras, "choices": [member]}
        self._extras.clear()
        return b"data: " + encode(body) + b"\n\n"

    def _choice(self, index: int) -> _Choice:
        return self._choices.setdefault(index, _Choice())

    # -- parts -------------------------------------------------------------------------------------

    def _opened(self, event: PartOpened) -> bytes:
        state = self._choice(event.choice)
        index = 0
        match event.form:
            case "tool_call":
                index = state.calls
                state.calls += 1
            case "media":
                return self._media(event, state)
            case "opaque":
                self._lose(opaque_loss(event.name))
                return b""
        state.parts[event.part] = _Part(event, index)
        return self._call(event, index, head=True) if event.form == "tool_call" else b""

    def _delta(self, event: PartDelta) -> bytes:
        state = self._choice(event.choice)
        part = state.parts.get(event.part)
        if part is None:
            return b""
        out = b""
        if event.text:
            part.chars += len(event.text)
            match part.opened.form:
                case "text":
                    state.chars += len(event.text)
                    out = self._chunk(event.choice, {"content": event.text})
                case "thinking":
                    out = self._thought(event, part, state)
                case "refusal":
                    state.refused = True
                    out = self._chunk(event.choice, {"refusal": event.text})
                case "tool_call":
                    out = self._call(part.opened, part.index, event.text)
        if event.citation is not None:
            note = annotation(event.citation, state.chars)
            if note is not None:
                return out + self._chunk(event.choice, {"annotations": [note]})
            self._lose(Loss(field="citations", why="a source without a URL has no form here"))
        return out

    def _thought(self, event: PartDelta, part: _Part, state: _Choice) -> bytes:
        """A piece of reasoning. The first one says where it is from, and stands apart from what was before."""
        delta: dict[str, Any] = {"reasoning_content": event.text}
        if not part.text:
            if state.thoughts:
                delta["reasoning_content"] = SEPARATOR + event.text
            state.thoughts += 1
            if part.opened.dialect is not None:
                head = Thinking(id=part.opened.id or None, origin=part.opened.dialect)
                delta["reasoning_details"] = [head_detail(head, state.details)]
        part.text.append(event.text)
        return self._chunk(event.choice, delta)

    def _closed(self, event: PartClosed) -> bytes:
        state = self._choice(event.choice)
        part = state.parts.pop(event.part, None)
        if part is None:
            return b""
        opened = part.opened
        signature = event.signature if event.signature is not None else opened.signature
        match opened.form:
            case "tool_call":
                return self._end_call(event, part, signature)
            case "thinking" if signature is not None or opened.redacted is not None:
                thinking = Thinking(
                    text="".join(part.text), signature=signature, redacted=opened.redacted,
                    id=opened.id or None, origin=opened.dialect,
                )  # fmt: skip
                detail = detail_of(thinking, state.details)
            case "text" if signature is not None:
                detail = text_signature_detail(signature, opened.dialect, state.details)
            case _:
                return b""
        state.details += 1
        return self._chunk(event.choice, {"reasoning_details": [detail]})

    def _end_call(self, event: PartClosed, part: _Part, signature: str | None) -> bytes:
        """Arguments of a call that had none, and a signature that came late."""
        out = b""
        if not part.chars and not part.opened.custom:
            out = self._call(part.opened, part.index, "{}")
        if signature is not None and part.opened.signature is None and not self._context.legacy_functions:
            call = {"index": part.index, **call_extra(signature)}
            out += self._chunk(event.choice, {"tool_calls": [call]})
        return out

    def _call(self, opened: PartOpened, index: int, text: str = "", *, head: bool = False) -> bytes:
        if self._context.legacy_functions:
            return self._function(opened, index, text, head)
        kind, member = ("custom", "input") if opened.custom else ("function", "arguments")
        call: dict[str, Any] = {"index": index, kind: {member: text}}
        if head:
            call = {
                "index": index,
                "id": opened.id,
                "type": kind,
                kind: {"name": opened.name, member: text},
                **call_extra(opened.signature),
            }
        return self._chunk(opened.choice, {"tool_calls": [call]})

    def _function(self, opened: PartOpened, index: int, text: str, head: bool) -> bytes:
        """The legacy style, which knows one call a choice."""
        if index > 0:
            self._lose(ONE_CALL)
            return b""
        name = {"name": opened.name} if head else {}
        return self._chunk(opened.choice, {"function_call": {**name, "arguments": text}})

    def _media(self, event: PartOpened, state: _Choice) -> bytes:
        form = (event.media_type or "image/png").split("/", 1)[0]
        if form == "image" and event.data is not None:
            image = image_member(Media(form="image", data=event.data, media_type=event.media_type))
            state.images += 1
            return self._chunk(event.choice, {"images": [{**(image or {}), "index": state.images - 1}]})
        if form == "audio" and event.data is not None:
            return self._chunk(event.choice, {"audio": {"id": "audio_0", "data": event.data}})
        self._lose(Loss(field=form, why="generated media of this kind has no form here"))
        return b""

    def _finished(self, event: Finished) -> bytes:
        state = self._choice(event.choice)
        word: str = event.reason.value
        if word == "stop" and state.calls:
            word = "tool_calls"
        if word == "tool_calls" and self._context.legacy_functions:
            word = "function_call"
        out = b""
        if event.reason is Finish.CONTENT_FILTER and event.message and not state.refused:
            out = self._chunk(event.choice, {"refusal": event.message})
        elif not state.started:
            out = self._chunk(event.choice, {})
        more: dict[str, Any] = {"finish_reason": word}
        if event.native is not None and event.native != word:
            more["native_finish_reason"] = event.native
        return out + self._chunk(event.choice, {}, **more)

    def _lose(self, loss: Loss) -> None:
        if loss not in self.losses:
            self.losses.append(loss)
