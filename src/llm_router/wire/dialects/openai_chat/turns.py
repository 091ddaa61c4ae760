"""Conversations with tools and images, read in one typed pass.

Agents send the same long conversation again with each turn. Reading its turns into plain values, to look at every
member of each for what else it might be, costs many times what it takes to say that they are as usual. Turns that
are not so are not refused here; they are read the thorough way, by :mod:`checks`, :mod:`measure` and :mod:`edit`.

Where :func:`read_turns` gives a result it is what the thorough way would have given, and the turns need no change
for another provider of this dialect but of the ids of their calls.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, Raw, UnsetType

from llm_router.wire.cut import MARK
from llm_router.wire.dialects.openai_chat.measure import Measured
from llm_router.wire.lenient import load
from llm_router.wire.media import is_http_url
from llm_router.wire.verbatim import NOT_JSON

_Named = Annotated[str, Meta(min_length=1)]


class _Text(msgspec.Struct, tag_field="type", tag="text", forbid_unknown_fields=True, gc=False):
    text: str
    cache_control: dict[str, str] | UnsetType = UNSET


class _Link(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    url: str
    detail: str | UnsetType = UNSET


class _Image(msgspec.Struct, tag_field="type", tag="image_url", forbid_unknown_fields=True, gc=False):
    image_url: _Link
    cache_control: dict[str, str] | UnsetType = UNSET


class _Function(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    name: _Named
    arguments: str


class _Call(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    id: _Named
    function: _Function
    type: Literal["function"] | UnsetType = UNSET
    index: int | UnsetType = UNSET


class _Turn(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    role: Literal["system", "user", "assistant", "tool"]
    content: str | list[_Text | _Image] | None = None
    name: str | None = None
    tool_calls: list[_Call] | None = None
    tool_call_id: str | None = None
    refusal: str | None = None


_read = msgspec.json.Decoder(Annotated[list[_Turn], Meta(min_length=1)]).decode


class Turns(msgspec.Struct, frozen=True):
    """What a conversation holds.

    Attributes:
        ids: of its calls and their results, each once.
        repeats: its last two turns with calls make the same ones.
    """

    found: Measured
    ids: tuple[str, ...]
    repeats: bool


def read_turns(messages: Raw) -> Turns | None:
    """The turns of a request; None if any is other than usual."""
    try:
        turns = _read(messages)
    except NOT_JSON:
        return None
    found = Measured()
    ids: list[str] = []
    texts: list[str] = []
    calling: list[list[_Call]] = []
    for turn in turns:
        content, calls = turn.content, turn.tool_calls
        if content.__class__ is str:
            texts.append(content)
        elif content is not None:
            if not _parts(content, found):
                return None
        elif turn.role != "assistant":
            return None
        if turn.role == "tool":
            if not turn.tool_call_id:
                return None
            ids.append(turn.tool_call_id)
        if calls:
            calling.append(calls)
            for call in calls:
                ids.append(call.id)
                texts += (call.function.name, call.function.arguments)
        if turn.name:
            texts.append(turn.name)
        if turn.refusal:
            texts.append(turn.refusal)
    found.text_bytes += sum(map(len if all(map(str.isascii, texts)) else _size, texts))
    return Turns(found, tuple(dict.fromkeys(ids)), len(calling) > 1 and _same(calling[-1], calling[-2]))


def _parts(parts: list[_Text | _Image], found: Measured) -> bool:
    """Measure the parts of a turn; whether all are as usual."""
    for part in parts:
        if part.__class__ is _Text:
            found.text_bytes += _size(part.text)
            continue
        url = part.image_url.url  # type: ignore[union-attr]
        if is_http_url(url):
            found.media_urls.append(("image", url))
        elif not url.startswith("data:"):
            return False
        elif url.endswith(MARK):
            found.cut += 1
        found.images += 1
        found.needs.add("image")
    return True


def _same(calls: list[_Call], before: list[_Call]) -> bool:
    """Whether two turns may make the same calls, in any spelling of their arguments."""
    return len(calls) == len(before) and all(
        one.function.name == other.function.name and _alike(one.function.arguments, other.function.arguments)
        for one, other in zip(calls, before, strict=True)
    )


def _alike(one: str, other: str) -> bool:
    if one == other:
        return True
    try:
        return bool(load(one.encode()) == load(other.encode()))
    except NOT_JSON:
        return False


def _size(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode())
