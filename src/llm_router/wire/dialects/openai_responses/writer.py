"""Writes the items of a response one after the other, each with its events.

Items never interleave: the next one is added when the one before is done, as the API itself does
it. An item is done when the next begins or the answer ends, since only then it is known whether it
is whole.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from llm_router.wire.verbatim import encode

PREFIXES: Final = {
    "message": "msg_",
    "function_call": "fc_",
    "custom_tool_call": "ctc_",
    "reasoning": "rs_",
    "image_generation_call": "ig_",
}


def frame(kind: str, body: object) -> bytes:
    """One event. Verbatim JSON in it may hold line breaks, always between values: they become blanks."""
    data = encode(body)
    if b"\n" in data or b"\r" in data:
        data = data.replace(b"\n", b" ").replace(b"\r", b" ")
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), data)


class OutputWriter:
    """The output of one response. ``output``: the items that are done, in their final form."""

    def __init__(self, seed: str) -> None:
        self._seed = seed
        self._sequence = 0
        self._item: dict[str, Any] | None = None
        self._part: dict[str, Any] | None = None  # the open content part of a message
        self._pieces: list[str] = []
        self._ids: set[str] = set()
        self._place: dict[str, Any] = {}  # the members that say which item or part an event is about
        self.output: list[Any] = []
        self.known: Mapping[int, str] = {}  # ids of items that were announced already, by output index

    def resume(self, sequence: int) -> None:
        """Count the events from there on."""
        self._sequence = sequence

    def event(self, kind: str, **rest: Any) -> bytes:
        body = {"type": kind, "sequence_number": self._sequence, **rest}
        self._sequence += 1
        return frame(kind, body)

    # -- items -------------------------------------------------------------------------------------

    @property
    def open_kind(self) -> str | None:
        """The type of the open item."""
        return None if self._item is None else str(self._item["type"])

    def add(self, kind: str, id_: str | None = None, **more: Any) -> bytes:
        """Begin an item; the one before is done."""
        out = self.close()
        number = len(self.output)
        id_ = self.known.get(number, id_)
        if not id_ or id_ in self._ids:  # xAI gives one id to all reasoning of a reply
            id_ = f"{PREFIXES[kind]}{self._seed}{number:04x}"
        self._ids.add(id_)
        item: dict[str, Any] = {"type": kind, "id": id_, "status": "in_progress", **more}
        self._item = item
        self._place = {"item_id": item["id"], "output_index": number}
        return out + self.event("response.output_item.added", output_index=number, item=item)

    def update(self, **more: Any) -> None:
        """Members of the open item that are known only now."""
        assert self._item is not None
        self._item.update(more)

    def close(self, status: str = "completed") -> bytes:
        """The open item, if there is one, is done."""
        if self._item is None:
            return b""
        out = self.part_done()
        item = self._item
        item["status"] = status
        if item["type"] == "reasoning":  # it has no status of its own in the API's answers
            del item["status"]
        self._item = None
        self.output.append(item)
        return out + self.event("response.output_item.done", output_index=len(self.output) - 1, item=item)

    def verbatim(self, item: Any) -> bytes:
        """An item that is told at once, as it is."""
        out = self.close()
        number = len(self.output)
        self.output.append(item)
        out += self.event("response.output_item.added", output_index=number, item=item)
        return out + self.event("response.output_item.done", output_index=number, item=item)

    def about(self, kind: str, **rest: Any) -> bytes:
        """An event about the open item."""
        return self.event(kind, **self._place, **rest)

    # -- content parts of messages -----------------------------------------------------------------

    def part(self, form: str) -> bytes:
        """Begin a content part in a message; the one before is done."""
        out = (
            self.part_done()
            if self.open_kind == "message"
            else self.add("message", role="assistant", content=[])
        )
        assert self._item is not None
        if form == "refusal":
            self._part = {"type": "refusal", "refusal": ""}
        else:
            self._part = {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
        self._place["content_index"] = len(self._item["content"])
        return out + self.about("response.content_part.added", part=self._part)

    def text(self, piece: str) -> bytes:
        assert self._part is not None
        self._pieces.append(piece)
        if "refusal" in self._part:
            return self.about("response.refusal.delta", delta=piece)
        return self.about("response.output_text.delta", delta=piece, logprobs=[])

    def annotate(self, note: dict[str, Any]) -> bytes:
        assert self._part is not None
        notes = self._part["annotations"]
        notes.append(note)
        return self.about(
            "response.output_text.annotation.added", annotation_index=len(notes) - 1, annotation=note
        )

    def part_done(self, logprobs: list[Any] | None = None) -> bytes:
        """The open content part, if there is one, is done."""
        if self._part is None:
            return b""
        assert self._item is not None
        part, whole = self._part, "".join(self._pieces)
        self._part = None
        self._pieces = []
        if "refusal" in part:
            part["refusal"] = whole
            out = self.about("response.refusal.done", refusal=whole)
        else:
            part["text"], part["logprobs"] = whole, logprobs or []
            out = self.about("response.output_text.done", text=whole, logprobs=part["logprobs"])
        out += self.about("response.content_part.done", part=part)
        self._item["content"].append(part)
        del self._place["content_index"]
        return out
