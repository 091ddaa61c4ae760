"""A reply's calls in the client's own terms: its names of functions, and its free-text tools.

A provider that knows functions alone is offered a function of one string in place of a free-text
tool (:mod:`encoding`); its calls become calls of that tool again, whole, since the text is known
only when the JSON around it is.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import msgspec

from llm_router.wire import chat, events
from llm_router.wire.encoding import CUSTOM_INPUT
from llm_router.wire.lenient import load_object
from llm_router.wire.mintedids import marked
from llm_router.wire.toolnames import named_back, reply_named_back


class ToolsBack:
    """Puts the calls of one reply back. ``names``: the client's by the provider's; ``mark``: what only this
    exchange has, for the ids of calls that came without one."""

    def __init__(self, names: Mapping[str, str], custom: Collection[str] = (), mark: str = "") -> None:
        self._names = names
        self._custom = custom
        self._mark = mark
        self._calls = 0
        self._held: dict[tuple[int, int], tuple[events.PartOpened, list[str]]] = {}

    def take(self, event: events.Event) -> list[events.Event]:
        """The events to tell in place of this one."""
        event = named_back(event, self._names)
        if isinstance(event, events.PartOpened) and event.form == "tool_call":
            event = msgspec.structs.replace(event, id=self._own(event.id))
        match event:
            case events.PartOpened() if self._is_function(event):
                self._held[event.choice, event.part] = (event, [])
                return []
            case events.PartDelta() if (event.choice, event.part) in self._held:
                self._held[event.choice, event.part][1].append(event.text)
                return []
            case events.PartClosed() if (event.choice, event.part) in self._held:
                return [*self._told((event.choice, event.part)), event]
            case events.Finished() if self._held:
                return [*(told for key in [*self._held] for told in self._told(key)), event]
        return [event]

    def reply(self, reply: events.Reply) -> events.Reply:
        """The same for a whole reply."""
        reply = reply_named_back(reply, self._names)
        choices = tuple(
            msgspec.structs.replace(choice, parts=tuple(self._part(part) for part in choice.parts))
            for choice in reply.choices
        )
        return msgspec.structs.replace(reply, choices=choices)

    def _is_function(self, opened: events.PartOpened) -> bool:
        return opened.form == "tool_call" and not opened.custom and opened.name in self._custom

    def _told(self, key: tuple[int, int]) -> list[events.Event]:
        opened, pieces = self._held.pop(key)
        text = free_text("".join(pieces))
        delta = events.PartDelta(choice=opened.choice, part=opened.part, text=text)
        return [msgspec.structs.replace(opened, custom=True), delta]

    def _own(self, id_: str) -> str:
        """The id, of this exchange alone if it was minted."""
        self._calls += 1
        return marked(id_, self._mark, self._calls - 1) if self._mark else id_

    def _part(self, part: chat.Part) -> chat.Part:
        if not isinstance(part, chat.ToolCall):
            return part
        part = msgspec.structs.replace(part, id=self._own(part.id))
        if part.custom or part.name not in self._custom:
            return part
        return msgspec.structs.replace(part, custom=True, arguments=free_text(part.arguments))


def free_text(arguments: str) -> str:
    """The text in a function's arguments; these themselves where they are no such object."""
    found = load_object(arguments.encode("utf-8", "replace"))
    if found is None:
        return arguments
    text = found.get(CUSTOM_INPUT)
    if not isinstance(text, str) and len(found) == 1:
        text = next(iter(found.values()))
    return text if isinstance(text, str) else arguments
