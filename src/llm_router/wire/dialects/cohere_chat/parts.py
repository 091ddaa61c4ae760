"""Pieces of a reply to parts, for streams and whole replies alike.

Blocks are opened with their first text, so that an empty one leaves nothing; a text stays open until
something else begins, since its citations may come behind its end.
"""

from __future__ import annotations

import math
from typing import Any

import msgspec

from llm_router.wire import events
from llm_router.wire.chat import Raw
from llm_router.wire.dialects.cohere_chat.citations import is_of_text, read_citations
from llm_router.wire.dialects.cohere_chat.facts import NAME, PLAN
from llm_router.wire.lenient import listing, mapping, text_of
from llm_router.wire.mintedids import MintedIds

Events = list[events.Event]
Key = tuple[str, object]
"""Which part: ("plan", 0), ("content", index) or ("call", index)."""


def _place(index: object) -> object:
    """An index as the provider gave it; one that can be none is that of its text."""
    return index if index is None or isinstance(index, int | str) else str(index)


class _Part:
    __slots__ = ("form", "number", "said")

    def __init__(self, number: int, form: str) -> None:
        self.number = number
        self.form = form
        self.said = False


class PartsReader:
    """Takes the pieces of one reply and gives its events."""

    def __init__(self) -> None:
        self._open: dict[Key, _Part] = {}
        self._unknown: set[object] = set()
        self._text: Key | None = None
        self._count = 0
        self.ids = MintedIds()
        self.calls = False

    def plan(self, text: object) -> Events:
        """More of the tool plan."""
        return self._say(("plan", 0), "thinking", text_of(text))

    def content(self, index: object, block: object) -> Events:
        """A content block, its start, or more of it."""
        if isinstance(block, str):
            block = {"text": block}
        fields = mapping(block)
        kind = fields.get("type")
        if kind is not None and kind not in ("text", "thinking"):
            self._unknown.add(_place(index))
            return self._opaque(fields)
        if _place(index) in self._unknown:
            return []
        key: Key = ("content", _place(index))
        out = self._say(key, "thinking", text_of(fields.get("thinking")))
        return out + self._say(key, "text", text_of(fields.get("text")))

    def call(self, index: object, call: object) -> Events:
        """A tool call begins; perhaps with its arguments."""
        fields = mapping(call)
        function = mapping(fields.get("function"))
        key: Key = ("call", _place(index))
        out = self._close(key)
        name = text_of(function.get("name"))
        if not name:
            return out
        out += self._open_part(key, "tool_call", id_=self.ids.take(fields.get("id")), name=name)
        self.calls = True
        return out + self.more_call(index, function.get("arguments"))

    def more_call(self, index: object, arguments: object) -> Events:
        """More JSON text of a call's arguments."""
        if isinstance(arguments, dict):
            arguments = msgspec.json.encode(arguments).decode()
        key: Key = ("call", _place(index))
        if key not in self._open:
            return []
        return self._say(key, "tool_call", text_of(arguments))

    def end_call(self, index: object) -> Events:
        """A call is whole."""
        return self._close(("call", _place(index)))

    def cite(self, citation: object) -> Events:
        """One citation, put on the text it belongs to."""
        found = [item for item in listing(citation) or [citation] if isinstance(item, dict)]
        out: Events = []
        for fields in found:
            out += self._cite(fields)
        return out

    def _cite(self, fields: dict[str, Any]) -> Events:
        index = fields.get("content_index")
        key = ("content", _place(index)) if index is not None else self._text
        part = self._open.get(key) if key is not None else None
        if part is None or part.form != "text" or not is_of_text(fields):
            raw = Raw(msgspec.json.encode(fields))
            return [events.OpaqueSeen(dialect=NAME, name="citations", raw=raw)]
        return [events.PartDelta(part=part.number, citation=cited) for cited in read_citations(fields)]

    def logprobs(self, item: object) -> Events:
        """The log probability of one piece of text, in OpenAI's form."""
        fields = mapping(item)
        text = text_of(fields.get("text"))
        known = [p for p in listing(fields.get("logprobs")) if isinstance(p, int | float)]
        if not text or not known:
            return []
        joint = math.fsum(known)  # of all tokens of the piece
        content = [{"token": text, "logprob": joint, "bytes": list(text.encode()), "top_logprobs": []}]
        return [events.LogProbs(content=Raw(msgspec.json.encode(content)))]

    def finish(self) -> Events:
        """Close what is open."""
        return [event for key in list(self._open) for event in self._close(key)]

    def _say(self, key: Key, form: str, text: str) -> Events:
        if not text:
            return []
        part, out = self._open.get(key), []
        if part is None or part.form != form:
            out = self._open_part(key, form)
            part = self._open[key]
        part.said = True
        return [*out, events.PartDelta(part=part.number, text=text)]

    def _open_part(self, key: Key, form: str, *, id_: str = "", name: str = "") -> Events:
        out = [event for other in list(self._open) if other[0] != "call" for event in self._close(other)]
        part = self._open[key] = _Part(self._count, form)
        self._count += 1
        if form == "text":
            self._text = key
        thought = form == "thinking"
        opened = events.PartOpened(
            part=part.number,
            form=form,  # type: ignore[arg-type]
            id=PLAN if key[0] == "plan" else id_,
            name=name,
            dialect=NAME if thought else None,
        )
        return [*out, opened]

    def _opaque(self, block: dict[str, Any]) -> Events:
        number, self._count = self._count, self._count + 1
        kind, raw = text_of(block.get("type")) or "unknown", Raw(msgspec.json.encode(block))
        opened = events.PartOpened(part=number, form="opaque", dialect=NAME, name=kind, raw=raw)
        return [opened, events.PartClosed(part=number)]

    def _close(self, key: Key) -> Events:
        part = self._open.pop(key, None)
        if part is None:
            return []
        out: Events = []
        if part.form == "tool_call" and not part.said:
            out = [events.PartDelta(part=part.number, text="{}")]
        return [*out, events.PartClosed(part=part.number)]
