"""What the events of a stream must say where a host says it otherwise.

Strict clients find items and parts by their ids and indexes and count the events, so these hold for
every event: numbers that rise by one, one id and model a response, one id an item (Copilot gives it
another one with every event), content counted from 0 (vLLM counts from 1 behind reasoning), whole
citations (xAI gives only addresses).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from llm_router.wire.dialect import ReplyContext
from llm_router.wire.dialects.openai_responses.content import complete_notes
from llm_router.wire.dialects.openai_responses.response import absent_members, keeps_id
from llm_router.wire.dialects.openai_responses.words import objects, text_of
from llm_router.wire.verbatim import value as value_of

_CITING: Final = frozenset(
    (
        "response.output_text.annotation.added",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
        "response.incomplete",
    )
)
"""Events that hold citations."""


_ABSENT: Final = object()


class EventMender:
    """Says which members of each event must be other ones; of most events, none.

    Attributes:
        sequence: the number of the next event.
        reply_id: the id that the client sees, once it is known.
        head: the response as it was announced, put right.
    """

    def __init__(self, context: ReplyContext) -> None:
        self._context = context
        self._ids: dict[int, str] = {}  # of items, by output index
        self._places: dict[int, dict[int, int]] = {}  # of content parts, by output index
        self._renamed = False
        self.sequence = 0
        self.reply_id: str | None = None
        self.head: dict[str, Any] | None = None

    @property
    def ids(self) -> Mapping[int, str]:
        """The ids of the items so far, by output index."""
        return self._ids

    def changes(self, kind: str, body: dict[str, Any]) -> dict[str, Any]:
        """The members of an event that must be other ones."""
        changes: dict[str, Any] = {}
        if "type" not in body:
            changes["type"] = kind
        number = body.get("sequence_number")
        if number.__class__ is not int or number != self.sequence:
            number = changes["sequence_number"] = self.sequence
        self.sequence = number + 1
        index, response = body.get("output_index"), body.get("response")
        if kind in _CITING and complete_notes(body):
            changes |= {
                name: body[name] for name in ("annotation", "part", "item", "response") if name in body
            }
        if index.__class__ is int:
            self._item(index, body, changes)
        elif response.__class__ is dict:
            self._response(response, changes)
        return changes

    def _item(self, index: int, body: dict[str, Any], changes: dict[str, Any]) -> None:
        item = body.get("item")
        id_ = item.get("id") if isinstance(item, dict) else body.get("item_id")
        if isinstance(id_, str):
            known = self._ids.setdefault(index, id_)
            if known != id_:
                self._renamed = True
                if isinstance(item, dict):
                    changes["item"] = {**item, "id": known}
                else:
                    changes["item_id"] = known
        at = body.get("content_index")
        if at.__class__ is int:
            places = self._places.setdefault(index, {})
            place = places.setdefault(at, len(places))
            if place != at:
                changes["content_index"] = place

    def _response(self, response: dict[str, Any], changes: dict[str, Any]) -> None:
        right = self._right(response)
        if self.head is None:
            self.head = {**response, **right}
            self.reply_id = self.head["id"]
        if self._renamed and isinstance(response.get("output"), list):
            right["output"] = [
                {**item, "id": self._ids[number]} if number in self._ids else item
                for number, item in enumerate(objects(response["output"]))
            ]
        right |= absent_members(response, self._context)
        if right:
            changes["response"] = {**response, **right}

    def _right(self, response: dict[str, Any]) -> dict[str, Any]:
        """The id and model that a response must have, where it has others."""
        if self.head is not None:
            right = {name: self.head[name] for name in ("id", "model")}
        else:
            own, model = text_of(response.get("id")), text_of(response.get("model"))
            right = {
                "id": own if keeps_id(own, self._context) else self._context.reply_id,
                "model": model or self._context.model,
            }
        right |= {name: value_of(raw) for name, raw in self._context.state.items()}
        return {name: value for name, value in right.items() if response.get(name, _ABSENT) != value}
