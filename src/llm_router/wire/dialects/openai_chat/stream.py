"""Streams: upstream bytes of this dialect to canonical events."""

from __future__ import annotations

import base64
import binascii
from typing import Any

from llm_router.wire.again import Spot
from llm_router.wire.chat import Citation, Raw
from llm_router.wire.dialects.openai_chat.alike import spot_of
from llm_router.wire.dialects.openai_chat.chunks import Chunk, ChunkMender
from llm_router.wire.dialects.openai_chat.mend import minted_id
from llm_router.wire.dialects.openai_chat.parts import (
    NAME,
    SEPARATOR,
    TEXT_SIGNATURE,
    call_signature,
    citations,
    image_part,
    origin_of,
)
from llm_router.wire.dialects.openai_chat.reply import extras_of, finish_of, opaque_of, top_citations
from llm_router.wire.events import (
    Ended,
    Event,
    Failed,
    Finished,
    LogProbs,
    PartClosed,
    PartDelta,
    PartOpened,
    Started,
    UsageSeen,
)
from llm_router.wire.verbatim import encode


class _Parts:
    """The parts of one choice: numbers them, and knows which are open."""

    def __init__(self, choice: int) -> None:
        self._choice = choice
        self._next = 0
        self._open: dict[str, int] = {}  # "text", "thinking", "refusal" -> part
        self._calls: dict[int, int] = {}  # a call's index -> part
        self._late_signatures: dict[int, str] = {}  # that came behind the call's first delta
        self._signature: str | None = None  # of the open thinking part
        self._detail_index: object = None  # of the open thinking part
        self._thoughts = False
        self._text_signature: tuple[str, str] | None = None
        self._sources: list[Citation] = []
        self._audio: list[bytes] = []

    def delta(self, delta: dict[str, Any]) -> list[Event]:
        """The events of one (mended) delta."""
        out: list[Event] = []
        thought = delta.get("reasoning_content")
        if isinstance(thought, str) and thought:
            out += self._thought(thought, _first_detail(delta))
        if "reasoning_details" in delta:
            out += self._details(delta["reasoning_details"])
        text = delta.get("content")
        if not text and isinstance(delta.get("audio"), dict):
            text = self._spoken(delta["audio"])
        if isinstance(text, str) and text:
            out += self._text("text", text)
        if isinstance(delta.get("refusal"), str) and delta["refusal"]:
            out += self._text("refusal", delta["refusal"])
        self._sources += citations(delta.get("annotations"))
        for call in delta.get("tool_calls", ()):
            out += self._call(call)
        function = delta.get("function_call")
        if isinstance(function, dict):
            out += self._function(function)
        for image in delta.get("images") or () if isinstance(delta.get("images"), list) else ():
            out += self._image(image)
        return out

    def end(self, sources: tuple[Citation, ...]) -> list[Event]:
        """Close what is open. ``sources`` stand beside the choices and belong to the text."""
        out: list[Event] = []
        found = self._sources or list(sources)
        if "text" in self._open:
            number = self._open["text"]
            out += (PartDelta(choice=self._choice, part=number, citation=source) for source in found)
        for form in list(self._open):
            out += self._close(form)
        if self._text_signature is not None:  # on an empty part of its own, as Gemini does it too
            data, origin = self._text_signature
            out += self._opened("text", origin)
            out.append(PartClosed(choice=self._choice, part=self._open.pop("text"), signature=data))
        out += (
            PartClosed(choice=self._choice, part=number, signature=self._late_signatures.get(index))
            for index, number in self._calls.items()
        )
        self._calls.clear()
        if self._audio:
            out += self._media("audio/pcm", base64.b64encode(b"".join(self._audio)).decode())
        return out

    def _text(self, form: Any, text: str) -> list[Event]:
        out: list[Event] = []
        if form not in self._open:
            if form != "thinking" and "thinking" in self._open:
                out += self._close("thinking")
            out += self._opened(form)
        return [*out, PartDelta(choice=self._choice, part=self._open[form], text=text)]

    def _thought(self, text: str, detail: dict[str, Any]) -> list[Event]:
        """A piece of reasoning text; its detail says where it is from, and when another part begins."""
        out: list[Event] = []
        index = detail.get("index", self._detail_index)
        if "thinking" in self._open and index != self._detail_index:
            out += self._close("thinking")
        self._detail_index = index
        if "thinking" not in self._open:
            id_ = detail.get("id")
            out += self._opened(
                "thinking", origin_of(detail.get("format")), id_ if isinstance(id_, str) else ""
            )
            if self._thoughts:
                text = text.removeprefix(SEPARATOR)
            self._thoughts = True
        return out + self._text("thinking", text)

    def _opened(self, form: Any, origin: str | None = None, id_: str = "") -> list[Event]:
        self._open[form] = self._next
        self._next += 1
        return [PartOpened(choice=self._choice, part=self._open[form], form=form, dialect=origin, id=id_)]

    def _close(self, form: str) -> list[Event]:
        number, signature = self._open.pop(form), None
        if form == "thinking":
            signature, self._signature = self._signature, None
        return [PartClosed(choice=self._choice, part=number, signature=signature)]

    def _details(self, details: object) -> list[Event]:
        """Signatures and encrypted reasoning; the text is in ``reasoning_content`` already."""
        out: list[Event] = []
        for item in details if isinstance(details, list) else ():
            if not isinstance(item, dict):
                continue
            origin, data, signature = origin_of(item.get("format")), item.get("data"), item.get("signature")
            if item.get("id") == TEXT_SIGNATURE and isinstance(data, str):
                self._text_signature = (data, origin)
            elif item.get("type") == "reasoning.encrypted" and isinstance(data, str):
                out += self._redacted(data, origin, item.get("id"))
            elif isinstance(signature, str) and signature:
                if "thinking" not in self._open:
                    out += self._opened("thinking", origin)
                self._signature = signature
        return out

    def _redacted(self, data: str, origin: str, id_: object) -> list[Event]:
        out = self._close("thinking") if "thinking" in self._open else []
        number = self._next
        self._next += 1
        return [
            *out,
            PartOpened(
                choice=self._choice, part=number, form="thinking", redacted=data, dialect=origin,
                id=id_ if isinstance(id_, str) else "",
            ),
            PartClosed(choice=self._choice, part=number),
        ]  # fmt: skip

    def _call(self, call: dict[str, Any]) -> list[Event]:
        custom = "custom" in call
        body = call["custom" if custom else "function"]
        piece = body["input" if custom else "arguments"]
        index, out = call["index"], []
        if index not in self._calls:
            if "thinking" in self._open:
                out += self._close("thinking")
            self._calls[index] = self._next
            self._next += 1
            signature = call_signature(call)
            out.append(
                PartOpened(
                    choice=self._choice, part=self._calls[index], form="tool_call", id=call["id"],
                    name=body["name"], custom=custom, signature=signature,
                    dialect="gemini_generate" if signature is not None else None,
                )
            )  # fmt: skip
        elif (late := call_signature(call)) is not None:
            self._late_signatures[index] = late
        if piece:
            out.append(PartDelta(choice=self._choice, part=self._calls[index], text=piece))
        return out

    def _function(self, function: dict[str, Any]) -> list[Event]:
        """A piece of a legacy function_call: a call whose index is -1, since it has none."""
        head = {
            "index": -1,
            "id": minted_id("", self._choice * 1000),
            "function": {"name": "", "arguments": ""},
        }
        if -1 not in self._calls and not function.get("name"):
            return []
        return self._call({**head, "function": {"arguments": "", **function}})

    def _image(self, image: object) -> list[Event]:
        part = image_part(image)
        if part is None or part.data is None:
            return self._opaque("images", image)
        return self._media(part.media_type or "image/png", part.data)

    def _media(self, media_type: str, data: str) -> list[Event]:
        number = self._next
        self._next += 1
        opened = PartOpened(choice=self._choice, part=number, form="media", media_type=media_type, data=data)
        return [opened, PartClosed(choice=self._choice, part=number)]

    def _opaque(self, name: str, value: object) -> list[Event]:
        number = self._next
        self._next += 1
        return [
            PartOpened(
                choice=self._choice, part=number, form="opaque", dialect=NAME, name=name,
                raw=Raw(encode(value)),
            ),
            PartClosed(choice=self._choice, part=number),
        ]  # fmt: skip

    def _spoken(self, audio: dict[str, Any]) -> str:
        """Keep a piece of speech; return the piece of its transcript."""
        data = audio.get("data")
        if isinstance(data, str) and data:
            try:
                self._audio.append(base64.b64decode(data))
            except binascii.Error:
                self._audio.clear()
        transcript = audio.get("transcript")
        return transcript if isinstance(transcript, str) else ""


def _first_detail(delta: dict[str, Any]) -> dict[str, Any]:
    details = delta.get("reasoning_details")
    first = details[0] if isinstance(details, list) and details else None
    return first if isinstance(first, dict) else {}


class ChatStreamDecoder:
    """See :class:`wire.dialect.StreamDecoder`."""

    def __init__(self) -> None:
        self._mender = ChunkMender()
        self._last: Chunk | None = None
        self._parts: dict[int, _Parts] = {}
        self._started = False
        self._sources: tuple[Citation, ...] = ()
        self._seen: set[str] = set()

    def feed(self, data: bytes) -> list[Event]:
        chunks = self._mender.feed(data)
        self._last = chunks[-1] if chunks else None
        return self._events(chunks)

    def alike(self, event: bytes) -> Spot | None:
        if self._last is None or not self._mender.whole:
            return None
        found = spot_of(event, self._last, self._mender)
        return None if found is None else found[0]

    def took(self, piece: PartDelta, text: str) -> None:
        """Of text nothing is noted."""

    def close(self) -> list[Event]:
        return self._events(self._mender.close())

    def _events(self, chunks: list[Chunk]) -> list[Event]:
        mender, out = self._mender, []
        finished: list[Event] = []
        if mender.error is not None:
            chunks = [*chunks, *mender.release()]
        for chunk in chunks:
            out += self._head(chunk.body)
            for choice in chunk.body["choices"]:
                out += self._choice(choice, finished)
        out += finished
        if mender.error is not None:
            if mender.reading.usage is not None:
                out.append(UsageSeen(usage=mender.reading.usage))
            out.append(Failed(error=mender.error))
        elif mender.done:
            out += self._members(mender.head.extras)
            if mender.usage is not None:
                out.append(UsageSeen(usage=mender.reading.usage))
            out.append(Ended())
        return out

    def _head(self, body: dict[str, Any]) -> list[Event]:
        out: list[Event] = []
        if not self._started:
            self._started = True
            mender = self._mender
            out.append(
                Started(
                    id=mender.head.upstream_id,
                    model=mender.head.upstream_model,
                    created_s=mender.head.created,
                    extras=extras_of(body),
                )
            )
        return out + self._members(body)

    def _members(self, members: dict[str, Any]) -> list[Event]:
        """Members that the canonical form has no word for, once by name."""
        self._sources = self._sources or top_citations(members)
        out: list[Event] = []
        for seen in opaque_of(members):
            if seen.name not in self._seen:
                self._seen.add(seen.name)
                out.append(seen)
        return out

    def _choice(self, choice: dict[str, Any], finished: list[Event]) -> list[Event]:
        index = choice["index"]
        parts = self._parts.get(index)
        if parts is None:
            parts = self._parts[index] = _Parts(index)
        out = parts.delta(choice["delta"])
        logprobs = choice.get("logprobs")
        items = logprobs.get("content") if isinstance(logprobs, dict) else None
        if isinstance(items, list) and items:
            out.append(LogProbs(choice=index, content=Raw(encode(items))))
        word = choice["finish_reason"]
        if word is not None:
            out += parts.end(self._sources if index == 0 else ())
            native = choice.get("native_finish_reason")
            finished.append(
                Finished(
                    choice=index,
                    reason=finish_of(word),
                    native=native if isinstance(native, str) else word,
                )
            )
        return out
