"""One output item while it is streamed: what of it was told already, and what is still missing."""

from __future__ import annotations

from typing import Any, Literal

from llm_router.wire import events
from llm_router.wire.chat import Citation, Opaque, Refusal, Text
from llm_router.wire.dialects.openai_responses.content import citation
from llm_router.wire.dialects.openai_responses.outputs import (
    arguments_of,
    call_id,
    content_part,
    image_part,
    is_call,
    logprobs_of,
    opaque_part,
)
from llm_router.wire.dialects.openai_responses.seal import (
    call_state,
    reasoning_texts,
    state_of,
    told_state,
)
from llm_router.wire.dialects.openai_responses.words import NAME, SEPARATOR, objects, text_of

Events = list[events.Event]

_PARTS_BITS = 16
"""Room for the parts of one item in the numbers of parts."""

Form = Literal["text", "refusal"]


class _Said:
    """A text that comes in pieces, and then once more as a whole."""

    __slots__ = ("_pieces",)

    def __init__(self) -> None:
        self._pieces: list[str] = []

    def add(self, piece: str) -> None:
        self._pieces.append(piece)

    def text(self) -> str:
        if len(self._pieces) > 1:
            self._pieces = ["".join(self._pieces)]
        return self._pieces[0] if self._pieces else ""

    def rest(self, whole: str) -> str:
        """What of the whole was not said; nothing if it is another text."""
        said = self.text()
        return whole[len(said) :] if whole.startswith(said) else ""


class _Content:
    """A content part. ``said``: its text so far."""

    __slots__ = ("cited", "closed", "form", "part", "said", "signed")

    def __init__(self, part: int, form: str, signed: bool) -> None:
        self.part = part
        self.form = form
        self.said = _Said()
        self.cited = 0
        self.signed = signed
        self.closed = False


class Item:
    """An output item. ``calls``: it calls a client's tool. Its parts are numbered in the order of items."""

    def __init__(self, index: int, item: dict[str, Any]) -> None:
        self._index = index
        self._item = item
        self._count = 0
        self._part: int | None = None  # of all kinds but messages
        self._thinks = False  # whether that part is open as reasoning
        self._arguments = _Said()
        self._contents: dict[int, _Content] = {}
        self._thoughts: dict[tuple[str, int], _Said] = {}  # reasoning texts in the order they came
        self._probable: list[Any] = []
        self._waiting = ""  # arguments of a call whose name is not known yet
        self.logprobs: list[Any] = []
        self.calls = False
        self.closed = False

    def _number(self) -> int:
        self._count += 1
        return (self._index << _PARTS_BITS) + self._count - 1

    # -- the whole item ----------------------------------------------------------------------------

    def open(self, seed: str) -> Events:
        """The item was announced. Messages open with their content, what is opaque when it is whole."""
        item = self._item
        if item.get("type") == "reasoning":
            return self._open_thinking()
        if is_call(item):
            out = self._open_call(seed)
            return out + self.arguments(text_of(item.get("arguments", item.get("input"))))
        if item.get("type") != "message":
            self._part = self._number()  # its place among the parts
        return []

    def done(self, item: dict[str, Any], seed: str) -> Events:
        """The whole item: what was not told yet, and its end."""
        if self.closed:
            return []
        self.closed = True
        kind = item.get("type")
        out = self._other_closed(item)
        if kind == "message":
            return out + self._message_done(item)
        out += [found for content in self._contents.values() for found in self._close(content, item)]
        if kind == "reasoning":
            return out + self._thinking_done(item)
        if is_call(item):
            return out + self._call_done(item, seed)
        part = self._part if self._part is not None else self._number()
        return out + _whole(part, item)

    def _other_closed(self, item: dict[str, Any]) -> Events:
        """Close what was opened as another kind than the item turns out to be."""
        wrong = (self._thinks and item.get("type") != "reasoning") or (self.calls and not is_call(item))
        if not wrong or self._part is None:
            return []
        part, self._part, self._thinks = self._part, None, False
        return [events.PartClosed(part=part)]

    def abandon(self) -> Events:
        """The response ended without this item's end: close what is open of it."""
        self.closed = True
        out: Events = []
        for content in self._contents.values():
            if not content.closed:
                out.append(events.PartClosed(part=content.part))
        if self._part is not None and (self.calls or self._thinks):
            out.append(events.PartClosed(part=self._part))
        return out

    # -- messages ----------------------------------------------------------------------------------

    def content(self, at: int, form: Form, text: str, logprobs: object = None) -> Events:
        """More text of a content part."""
        content, out = self._content(at, form)
        if content.closed or content.form != form:
            return out
        if isinstance(logprobs, list):
            self._probable += logprobs
        if text:
            content.said.add(text)
            out.append(events.PartDelta(part=content.part, text=text))
        return out

    def content_rest(self, at: int, form: Form, whole: str) -> Events:
        """The whole text of a content part: what is missing of it, if it goes on as it was told."""
        content, out = self._content(at, form)
        rest = content.said.rest(whole)
        if rest and not content.closed and content.form == form:
            content.said.add(rest)
            out.append(events.PartDelta(part=content.part, text=rest))
        return out

    def annotate(self, at: int, annotation: dict[str, Any]) -> Events:
        content, out = self._content(at, "text")
        content.cited += 1
        return [*out, *_cited(content.part, [citation(annotation)])]

    def _content(self, at: int, form: Form) -> tuple[_Content, Events]:
        content = self._contents.get(at)
        if content is not None:
            return content, []
        signed = form == "text" and told_state(self._item, "") is not None
        content = self._contents[at] = _Content(self._number(), form, signed)
        dialect = NAME if signed else None
        return content, [events.PartOpened(part=content.part, form=form, dialect=dialect)]

    def _message_done(self, item: dict[str, Any]) -> Events:
        if "phase" not in self._item:
            self._item = {**self._item, "phase": item.get("phase")}
        out: Events = []
        whole: list[Any] = []
        for at, part in enumerate(objects(item.get("content"))):
            whole += logprobs_of(part)
            out += self._content_done(at, part, item)
        for content in self._contents.values():
            out += self._close(content, item)
        self.logprobs = whole or self._probable
        return out

    def _content_done(self, at: int, part: dict[str, Any], item: dict[str, Any]) -> Events:
        found = content_part(part, item)
        if isinstance(found, Opaque):
            return _opaque(self._number(), found) if at not in self._contents else []
        assert isinstance(found, Text | Refusal)
        form: Form = "text" if isinstance(found, Text) else "refusal"
        at = self._told_as(at, form)
        out = self.content_rest(at, form, found.text)
        content = self._contents[at]
        if isinstance(found, Text):
            out += _cited(content.part, found.citations[content.cited :])
        return out + self._close(content, item)

    def _told_as(self, at: int, form: Form) -> int:
        """The index under which a content part was streamed: vLLM counts from 1 behind reasoning."""
        content = self._contents.get(at)
        if content is not None and content.form == form and not content.closed:
            return at
        open_ = (key for key, told in self._contents.items() if told.form == form and not told.closed)
        return next(open_, at)

    def _close(self, content: _Content, item: dict[str, Any]) -> Events:
        if content.closed:
            return []
        content.closed = True
        signature = told_state(item, content.said.text()) if content.signed else None
        return [events.PartClosed(part=content.part, signature=signature)]

    # -- reasoning ---------------------------------------------------------------------------------

    def _open_thinking(self) -> Events:
        self._part, self._thinks = self._number(), True
        opened = events.PartOpened(
            part=self._part, form="thinking", id=text_of(self._item.get("id")), dialect=NAME
        )
        return [opened]

    def thought(self, name: str, at: int, text: str) -> Events:
        """More reasoning text, of a summary or of the reasoning itself."""
        if not text or self.closed or self.calls:
            return []
        out = [] if self._thinks else self._open_thinking()
        assert self._part is not None
        shown = text if (name, at) in self._thoughts or not self._thoughts else SEPARATOR + text
        self._thought(name, at).add(text)
        return [*out, events.PartDelta(part=self._part, text=shown)]

    def _thought(self, name: str, at: int) -> _Said:
        return self._thoughts.setdefault((name, at), _Said())

    def thought_rest(self, name: str, at: int, whole: str) -> Events:
        said = self._thoughts.get((name, at))
        return self.thought(name, at, whole if said is None else said.rest(whole))

    def _thinking_done(self, item: dict[str, Any]) -> Events:
        out = [] if self._thinks else self._open_thinking()
        assert self._part is not None
        self.closed = False
        counts: dict[str, int] = {}
        for name, text in reasoning_texts(item):
            at = counts[name] = counts.get(name, -1) + 1
            out += self.thought_rest(name, at, text)
        self.closed = True
        texts = [(name, said.text()) for (name, _), said in self._thoughts.items()]
        return [*out, events.PartClosed(part=self._part, signature=state_of(item, texts))]

    # -- calls -------------------------------------------------------------------------------------

    def _open_call(self, seed: str) -> Events:
        item = self._item
        if self._part is None:
            self._part = self._number()
        self.calls = True
        state = call_state(item)
        return [
            events.PartOpened(
                part=self._part,
                form="tool_call",
                id=call_id(item, seed, self._index),
                name=item["name"],
                custom=item["type"] == "custom_tool_call",
                signature=state,
                dialect=None if state is None else NAME,
            )
        ]

    def arguments(self, piece: str) -> Events:
        """More of what a call is called with. Of an item that calls nothing, it is told with the item."""
        if self.closed or not piece:
            return []
        if not self.calls or self._part is None:
            self._waiting += piece
            return []
        self._arguments.add(piece)
        return [events.PartDelta(part=self._part, text=piece)]

    def arguments_rest(self, whole: str) -> Events:
        return self.arguments(self._arguments.rest(whole)) if self.calls else []

    def _call_done(self, item: dict[str, Any], seed: str) -> Events:
        out: Events = []
        if not self.calls or self._part is None:
            self._item = item
            out += self._open_call(seed)
        assert self._part is not None
        whole = arguments_of(item)
        if self._waiting and whole in ("", "{}"):
            whole = self._waiting
        rest = self._arguments.rest(whole)
        if rest:
            out.append(events.PartDelta(part=self._part, text=rest))
        return [*out, events.PartClosed(part=self._part)]


def _cited(part: int, found: Any) -> Events:
    sources: tuple[Citation, ...] = tuple(found)
    return [events.PartDelta(part=part, citation=source) for source in sources]


def _whole(part: int, item: dict[str, Any]) -> Events:
    """An item that is told at once: a generated image, or what only this dialect has a word for."""
    image = image_part(item)
    if image is None:
        return _opaque(part, opaque_part(item))
    opened = events.PartOpened(part=part, form="media", media_type=image.media_type, data=image.data)
    return [opened, events.PartClosed(part=part)]


def _opaque(part: int, found: Opaque) -> Events:
    opened = events.PartOpened(part=part, form="opaque", dialect=NAME, name=found.name, raw=found.raw)
    return [opened, events.PartClosed(part=part)]
