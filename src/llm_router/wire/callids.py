"""Ids of tool calls in the form that a provider takes, unique over a conversation.

Clients bring ids of any provider: of any length, with points and colons, numbered anew in each turn.
A provider refuses a request for an id that is not of its form, for two calls with one id, and for a
result without its call.
"""

from __future__ import annotations

import hashlib
import re

import msgspec

from llm_router.wire.chat import ChatRequest, Message, Part, ToolCall, ToolResult

DIGEST_CHARS = 24


class CallIds:
    """Maps the client's ids to the provider's.

    An id that fits is kept. Others become a digest of themselves behind ``prefix``, so that the same
    conversation always gives the same request (and hits the prompt cache). Results are to be mapped
    after the calls of their turn, and before those of the next.
    """

    def __init__(self, fits: re.Pattern[str], prefix: str, chars: int = DIGEST_CHARS) -> None:
        self._fits = fits
        self._prefix = prefix
        self._chars = chars
        self._open: dict[str, list[str]] = {}  # calls of the latest turn without a result, by the client's id
        self._last: dict[str, str] = {}
        self._used: set[str] = set()
        self._answering = False

    def of_call(self, call_id: str) -> str:
        """The id of a call; another one where an earlier call had the same."""
        if self._answering:  # a new turn: what nobody has answered, nobody will
            self._open.clear()
            self._answering = False
        wire, number = self._fitting(call_id), 1
        while wire in self._used:
            number += 1
            wire = self._digest(f"{call_id}#{number}")
        self._used.add(wire)
        self._open.setdefault(call_id, []).append(wire)
        self._last[call_id] = wire
        return wire

    def knows(self, call_id: str) -> bool:
        """Whether a call had this id."""
        return call_id in self._last

    def of_result(self, call_id: str) -> str:
        """The id of the call that is answered: of several with one id in a turn, the next one."""
        self._answering = True
        waiting = self._open.get(call_id)
        if waiting:
            return waiting.pop(0)
        return self._last.get(call_id) or self._fitting(call_id)

    def _fitting(self, call_id: str) -> str:
        return call_id if self._fits.fullmatch(call_id) else self._digest(call_id)

    def _digest(self, text: str) -> str:
        return self._prefix + hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[: self._chars]


class IdForm(msgspec.Struct, frozen=True, kw_only=True):
    """The ids that a provider takes, and how those are made that stand for others."""

    fits: re.Pattern[str]
    prefix: str = "call_"
    chars: int = DIGEST_CHARS

    def ids(self) -> CallIds:
        return CallIds(self.fits, self.prefix, self.chars)


def fitted(request: ChatRequest, form: IdForm) -> ChatRequest:
    """The request with the ids of all calls and results in that form; itself if they are."""
    ids = form.ids()
    messages = tuple(_message(message, ids) for message in request.messages)
    if all(now is before for now, before in zip(messages, request.messages, strict=True)):
        return request
    return msgspec.structs.replace(request, messages=messages)


def _message(message: Message, ids: CallIds) -> Message:
    if not any(isinstance(part, ToolCall | ToolResult) for part in message.parts):
        return message
    parts = tuple(_part(part, ids) for part in message.parts)
    if all(now is before for now, before in zip(parts, message.parts, strict=True)):
        return message
    return msgspec.structs.replace(message, parts=parts)


def _part(part: Part, ids: CallIds) -> Part:
    match part:
        case ToolCall():
            wire = ids.of_call(part.id)
            return part if wire == part.id else msgspec.structs.replace(part, id=wire)
        case ToolResult():
            wire = ids.of_result(part.call_id)
            return part if wire == part.call_id else msgspec.structs.replace(part, call_id=wire)
    return part
