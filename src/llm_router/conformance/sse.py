"""Server-sent events, read as strictly as the least forgiving client does.

Source: https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Event:
    """One event. ``name`` is None where no ``event:`` line stands; ``json`` None where the data is none."""

    name: str | None
    data: str
    json: Any = None


@dataclass(kw_only=True)
class Stream:
    """A parsed stream: its events, its comments, and what is wrong with its grammar."""

    events: list[Event] = field(default_factory=list)
    comments: int = 0
    faults: list[str] = field(default_factory=list)

    @property
    def objects(self) -> list[Any]:
        """The data of all events that are JSON objects."""
        return [event.json for event in self.events if isinstance(event.json, dict)]


def parse(body: bytes) -> Stream:
    """Parse a whole stream."""
    stream = Stream()
    if body.startswith(b"\xef\xbb\xbf"):
        stream.faults.append("it begins with a byte order mark")
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        stream.faults.append(f"it is not UTF-8 at byte {error.start}")
        text = body.decode("utf-8", "replace")
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    if lines and lines[-1] != "":
        stream.faults.append(f"its last line has no end: {lines[-1][:60]!r}")
    block: list[str] = []
    for line in lines[:-1]:
        if line == "":
            _close(stream, block)
            block = []
        else:
            block.append(line)
    if block:
        stream.faults.append("its last event has no blank line behind it, so clients drop it")
    return stream


def _close(stream: Stream, block: list[str]) -> None:
    name, data = None, []
    for line in block:
        field_name, colon, value = line.partition(":")
        value = value.removeprefix(" ")
        if field_name == "" and colon:
            stream.comments += 1
        elif field_name == "data":
            data.append(value)
        elif field_name == "event":
            name = value
        elif field_name not in ("id", "retry"):
            stream.faults.append(f"a line that is no field: {line[:60]!r}")
    if not data:
        if name is not None:
            stream.faults.append(f"the event {name} has no data")
        return
    if len(data) > 1:
        stream.faults.append("an event has several data lines, which many clients do not join")
    text = "\n".join(data)
    value_json = None
    with contextlib.suppress(ValueError):
        value_json = json.loads(text)
    stream.events.append(Event(name=name, data=text, json=value_json))
