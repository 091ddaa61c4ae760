"""Messages of a reply to events: each is a piece of it, the last one says ``done``.

A whole reply is one such message. Parts come one behind the other; a tool call comes in one piece,
its arguments an object.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from llm_router.wire import events
from llm_router.wire.chat import Raw
from llm_router.wire.dialects.ollama_chat.facts import NAME, finish_of
from llm_router.wire.dialects.ollama_chat.usage import read_usage
from llm_router.wire.lenient import listing, mapping, text_of
from llm_router.wire.media import clean_base64, sniff
from llm_router.wire.mintedids import MintedIds

Events = list[events.Event]


class MessageReader:
    """Takes the messages of one reply and gives its events, up to and without Ended."""

    def __init__(self) -> None:
        self._ids = MintedIds()
        self._started = False
        self._form: str | None = None  # of the open part
        self._count = 0
        self._calls = False
        self.done = False

    def take(self, data: bytes, message: dict[str, Any]) -> Events:
        """The events of one message. ``data`` is its JSON, which ids are made of."""
        self._ids.seed(data)
        said = mapping(message.get("message"))
        out: Events = []
        if not self._started:
            self._started = True
            created_s = unix_s(message.get("created_at"))
            out.append(events.Started(model=text_of(message.get("model")), created_s=created_s))
        out += self._say("thinking", text_of(said.get("thinking")))
        out += self._say("text", text_of(said.get("content")))
        for call in listing(said.get("tool_calls")):
            out += self._call(mapping(call))
        for image in listing(said.get("images")):
            out += self._image(image)
        out += _logprobs(message.get("logprobs"))
        return out + self._finish(message) if message.get("done") is True else out

    def _say(self, form: str, text: str) -> Events:
        if not text:
            return []
        out: Events = []
        if self._form != form:
            dialect = NAME if form == "thinking" else None
            opened = events.PartOpened(part=self._count, form=form, dialect=dialect)  # type: ignore[arg-type]
            out = [*self._close(), opened]
            self._form, self._count = form, self._count + 1
        return [*out, events.PartDelta(part=self._count - 1, text=text)]

    def _call(self, call: dict[str, Any]) -> Events:
        function = mapping(call.get("function"))
        name = text_of(function.get("name"))
        if not name:
            return []
        self._calls = True
        number, out = self._count, self._close()
        self._count += 1
        id_ = self._ids.take(call.get("id"))
        return [
            *out,
            events.PartOpened(part=number, form="tool_call", id=id_, name=name),
            events.PartDelta(part=number, text=_arguments(function.get("arguments"))),
            events.PartClosed(part=number),
        ]

    def _image(self, image: object) -> Events:
        try:
            data = clean_base64(text_of(image))
        except ValueError:
            return []
        number, out = self._count, self._close()
        self._count += 1
        media_type = sniff(data) or "image/png"
        opened = events.PartOpened(part=number, form="media", media_type=media_type, data=data)
        return [*out, opened, events.PartClosed(part=number)]

    def _close(self) -> Events:
        closed, self._form = self._form, None
        return [] if closed is None else [events.PartClosed(part=self._count - 1)]

    def _finish(self, message: dict[str, Any]) -> Events:
        self.done = True
        native = text_of(message.get("done_reason")) or None
        out = self._close()
        seen = read_usage(message, empty=not self._count)
        if seen is not None:
            out.append(seen)
        return [*out, events.Finished(reason=finish_of(native, calls=self._calls), native=native)]


def unix_s(created_at: object) -> int:
    """Unix seconds of an RFC 3339 time; 0 where it says nothing."""
    try:
        return max(0, int(datetime.fromisoformat(text_of(created_at)).timestamp()))
    except (ValueError, OverflowError):
        return 0


def _arguments(value: object) -> str:
    """A call's arguments as JSON text. Some servers send the text itself."""
    if isinstance(value, str):
        return value if value.strip() else "{}"
    return "{}" if value is None else msgspec.json.encode(value).decode()


def _logprobs(items: object) -> Events:
    """Log probabilities, which have OpenAI's members already, or lack some."""
    content = [_logprob(mapping(item)) | {"top_logprobs": _tops(item)} for item in listing(items)]
    return [events.LogProbs(content=Raw(msgspec.json.encode(content)))] if content else []


def _tops(item: object) -> list[dict[str, Any]]:
    return [_logprob(mapping(top)) for top in listing(mapping(item).get("top_logprobs"))]


def _logprob(item: dict[str, Any]) -> dict[str, Any]:
    token, value = text_of(item.get("token")), item.get("logprob")
    known = isinstance(value, int | float) and not isinstance(value, bool)
    return {
        "token": token,
        "logprob": value if known else -9999.0,  # OpenAI's word for "not among the likely ones"
        "bytes": listing(item.get("bytes")) or list(token.encode()),
    }
