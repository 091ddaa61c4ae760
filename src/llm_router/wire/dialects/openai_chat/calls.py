"""Tool calls in a stream of deltas, brought into OpenAI's form.

The form: each call has an index, counted from 0 in the order of appearance; its first delta has
id, type, name and the first piece of the arguments; later ones have the index and a piece.
"""

from __future__ import annotations

from typing import Any

from llm_router.wire.dialects.openai_chat.mend import arguments_text, minted_id
from llm_router.wire.lenient import load_object

_KNOWN = frozenset(("index", "id", "type", "function", "custom"))


class _Call:
    __slots__ = ("custom", "extra", "held", "name", "native_id", "number", "pieces")

    def __init__(self, native_id: str, custom: bool) -> None:
        self.native_id = native_id
        self.custom = custom
        self.name = ""
        self.number = -1  # until its first delta is out
        self.held = ""  # arguments not sent yet: the name is missing, or it may be a bare null
        self.pieces: list[str] = []
        self.extra: dict[str, Any] = {}

    def is_whole(self) -> bool:
        """Whether the arguments so far are a JSON object."""
        if not self.pieces or not self.pieces[-1].rstrip().endswith("}"):
            return False
        return load_object("".join(self.pieces).encode("utf-8", "replace")) is not None


class CallTracker:
    """The tool calls of one choice. ``sent`` counts those whose first delta is out."""

    def __init__(self, seed: str, first: int = 0) -> None:
        self._seed = seed
        self._first = first
        self._calls: list[_Call] = []
        self._by_index: dict[int, _Call] = {}
        self._ids: set[str] = set()
        self.sent = 0
        self.chars = 0

    def take(self, items: list[Any]) -> list[dict[str, Any]]:
        """The strict form of a delta's tool_calls."""
        return [right for item in items if isinstance(item, dict) and (right := self._take(item)) is not None]

    def finish(self, *, cut: bool) -> list[dict[str, Any]]:
        """What is still missing when the choice ends: "{}" for calls without arguments."""
        if cut:
            return []
        missing = []
        for call in self._calls:
            if call.number >= 0 and not call.pieces and not call.custom:
                held = call.held.strip()
                missing.append(_later(call, call.held if held not in ("", "null") else "{}"))
        return missing

    def unnamed(self) -> bool:
        """Whether something came that is no call, since it never got a name."""
        return any(call.number < 0 for call in self._calls)

    def _take(self, item: dict[str, Any]) -> dict[str, Any] | None:
        custom = isinstance(item.get("custom"), dict)
        body = item.get("custom" if custom else "function")
        if not isinstance(body, dict):
            body = {}
        name = body.get("name")
        name = name if isinstance(name, str) else ""
        native_id = item.get("id")
        native_id = native_id if isinstance(native_id, str) else ""
        call = self._find(item.get("index"), native_id, name)
        if call is None:
            call = self._open(item.get("index"), native_id, custom)
        call.name = call.name or name
        call.native_id = call.native_id or native_id
        call.extra.update((key, value) for key, value in item.items() if key not in _KNOWN)
        piece = _release(call, arguments_text(body.get("input" if custom else "arguments")))
        if call.number >= 0:
            return _later(call, self._count(call, piece))
        if not call.name:
            call.held += piece
            return None
        return self._head(call, piece)

    def _head(self, call: _Call, piece: str) -> dict[str, Any]:
        call.number = self.sent
        self.sent += 1
        id_ = call.native_id
        if not id_ or id_ in self._ids:
            id_ = minted_id(self._seed, self._first + call.number)
        self._ids.add(id_)
        self.chars += len(call.name)
        kind, text = ("custom", "input") if call.custom else ("function", "arguments")
        head = {
            "index": call.number,
            "id": id_,
            "type": kind,
            kind: {"name": call.name, text: self._count(call, piece)},
            **call.extra,
        }
        call.extra.clear()
        return head

    def _count(self, call: _Call, piece: str) -> str:
        if piece:
            call.pieces.append(piece)
            self.chars += len(piece)
        return piece

    def _open(self, index: object, native_id: str, custom: bool) -> _Call:
        call = _Call(native_id, custom)
        self._calls.append(call)
        if isinstance(index, int):
            self._by_index[index] = call
        return call

    def _find(self, index: object, native_id: str, name: str) -> _Call | None:
        """The open call that a delta continues; None if it begins another one.

        Providers leave out the index, send 0 for every parallel call, or repeat an empty id.
        """
        if isinstance(index, int):
            call = self._by_index.get(index)
            if call is None or not name:
                return call
            if native_id and call.native_id:
                return call if native_id == call.native_id else None
            return None if call.name and call.is_whole() else call
        if native_id:
            return next((call for call in self._calls if call.native_id == native_id), None)
        last = self._calls[-1] if self._calls else None
        if last is None or not name or not last.name:
            return last
        return last if last.name == name and not last.is_whole() else None


def _later(call: _Call, piece: str) -> dict[str, Any]:
    kind, text = ("custom", "input") if call.custom else ("function", "arguments")
    delta = {"index": call.number, kind: {text: piece}, **call.extra}
    call.extra.clear()
    return delta


def _release(call: _Call, piece: str) -> str:
    """The piece to send now: text that may turn out to be a bare ``null`` waits."""
    if call.pieces or call.custom:
        return piece
    text = call.held + piece
    if text and (call.number >= 0 or call.name) and "null".startswith(text):
        call.held = text
        return ""
    call.held = ""
    return text


class LegacyCall:
    """The one function_call of a choice in the legacy style. ``begun``: its name is out."""

    def __init__(self) -> None:
        self.begun = False
        self.chars = 0
        self._arguments = False

    def take(self, function: dict[str, Any]) -> dict[str, Any] | None:
        """The strict form of a piece; None if it belongs to no named function."""
        name = function.get("name")
        named = isinstance(name, str) and name != ""
        if not (named or self.begun):
            return None
        text = arguments_text(function.get("arguments"))
        self._arguments = self._arguments or text != ""
        self.chars += len(text) + (len(name) if isinstance(name, str) and not self.begun else 0)
        right: dict[str, Any] = {} if self.begun else {"name": name}
        self.begun = True
        return {**right, "arguments": text}

    def finish(self, *, cut: bool) -> dict[str, Any] | None:
        """What is still missing when the choice ends: "{}" if there were no arguments."""
        return {"arguments": "{}"} if self.begun and not self._arguments and not cut else None
