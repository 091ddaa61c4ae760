"""Requests to go on with an answer that broke off, read as the gateway writes them: what was asked at first, and
how the answer is to be told further. The simulated models obey them, as real ones do."""

from __future__ import annotations

import re

import msgspec
from msgspec.structs import replace

from llm_router.wire.chat import ChatRequest, Message, Raw, ResponseFormat, Text, ToolChoice
from llm_router.wire.continuing.asking import (
    ASKS_ANEW,
    ASKS_TO_GO_ON,
    CALLS_ARRIVED,
    JSON_SCHEMA,
    JSON_TOGETHER,
)

_ALIGN_CHARS = 60
_MARK = re.compile(
    r"\[simulated (?P<shown>[^\]\s]+)|\"simulated\":true,\"model\":\"(?P<json>[^\"]+)", re.IGNORECASE
)
_ASKS = (ASKS_TO_GO_ON, ASKS_ANEW, CALLS_ARRIVED)
_WORDS = re.compile(r"<(last_words|first_words|arguments)>(.*)</\1>", re.DOTALL)


class Resumption(msgspec.Struct, frozen=True, kw_only=True):
    """An answer that is to be gone on with.

    Attributes:
        request: as it was at first.
        begun: the text of the answer so far.
        repeated: what of it is said once more, since that was asked.
        calls: how many calls of it arrived.
        prefilled: the answer was begun by the request itself, in whatever words.
    """

    request: ChatRequest
    begun: str = ""
    repeated: str = ""
    calls: int = 0
    prefilled: bool = False

    def name(self, own: str) -> str:
        """The model's name in the answer: another deployment has another one for it, and an answer that is gone
        on with keeps the one that it began with. Of a name that broke off as much as arrived, unless the own
        begins so."""
        found = _MARK.search(self.begun)
        if found is None:
            return own
        told = found["shown"] or found["json"]
        broke_off = found.end() == len(self.begun)
        return own if broke_off and own.startswith(told) else told

    def said(self, own: str) -> str:
        """What is said now of an answer that would be told so from its beginning."""
        rest = _rest(own, self.begun)
        if rest is None:
            return own if self.prefilled else self.repeated + own[min(len(self.begun), len(own)) :]
        return self.repeated + rest


def resumption(request: ChatRequest) -> Resumption | None:
    """How a request asks to go on; None if it does not."""
    if not request.messages:
        return None
    last, text = request.messages[-1], _last_text(request.messages[-1])
    if last.role == "assistant" and text and len(last.parts) == 1:
        return Resumption(
            request=replace(request, messages=request.messages[:-1]), begun=text, prefilled=True
        )
    at = next((at for mark in _ASKS if (at := text.rfind(mark)) >= 0), -1)
    if last.role != "user" or at < 0:
        return None
    asked, found = text[at:], _WORDS.search(text, at)
    if found is None and CALLS_ARRIVED not in asked:
        return None
    mark, words = (found[1], found[2]) if found is not None else ("", "")
    messages = _without(request.messages, text[:at])
    begun = words if mark == "first_words" else ""
    if mark != "first_words" and messages and messages[-1].role == "assistant":
        begun, messages = _last_text(messages[-1]), messages[:-1]
    first = _as_at_first(replace(request, messages=messages), asked)
    calls = sum(asked.count(f"\n{tool.name}(") for tool in request.tools)
    if calls and request.tools:
        first = replace(first, tool_choice=ToolChoice(mode="required"))
    repeated = "" if mark == "arguments" or calls else words
    return Resumption(request=first, begun=begun, repeated=repeated, calls=calls)


def _last_text(message: Message) -> str:
    last = message.parts[-1] if message.parts else None
    return last.text if isinstance(last, Text) else ""


def _without(messages: tuple[Message, ...], before: str) -> tuple[Message, ...]:
    """The turns without the word of the gateway's; some providers' forms put it into the user's own turn."""
    *earlier, last = messages
    parts = last.parts[:-1]
    if before.strip():
        parts = (*parts, Text(text=before.rstrip()))
    return (*earlier, replace(last, parts=parts)) if parts else tuple(earlier)


def _as_at_first(request: ChatRequest, asked: str) -> ChatRequest:
    """The request with the form of answer that was asked for."""
    if JSON_TOGETHER not in asked:
        return request
    _, told, schema = asked.partition(JSON_SCHEMA)
    if not told:
        return replace(request, response_format=ResponseFormat(mode="json_object"))
    try:
        msgspec.json.decode(schema)
    except msgspec.MsgspecError:
        return replace(request, response_format=ResponseFormat(mode="json_object"))
    found = ResponseFormat(mode="json_schema", name="answer", schema=Raw(schema.encode()))
    return replace(request, response_format=found)


def _rest(own: str, begun: str) -> str | None:
    """What follows the beginning in an answer. One that was begun in other words has the place in its last ones;
    None if they are not in it, or stand there twice, so that they do not say where."""
    if own.startswith(begun):
        return own[len(begun) :]
    for size in range(min(_ALIGN_CHARS, len(begun)), 3, -1):
        at = own.find(begun[-size:])
        if at >= 0:
            return own[at + size :] if own.find(begun[-size:], at + 1) < 0 else None
    return None
