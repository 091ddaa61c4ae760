"""Function calls whose arguments come in pieces, put together to one.

With ``streamFunctionCallArguments`` a call arrives as ``{name, willContinue}``, then pieces
``{partialArgs: [{jsonPath, stringValue | numberValue | boolValue | nullValue}], willContinue}``,
then ``{}`` (https://cloud.google.com/vertex-ai/generative-ai/docs/multimodal/function-calling).
Text pieces of one path are appended to each other.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from llm_router.wire.dialects.gemini_generate.members import Raw, compact, list_of, object_of, value_of

LIST_ITEMS_MAX = 10_000
"""The highest list index a path may name: a hostile one must not make a list of a billion."""

_STEP = re.compile(
    r"""\.(?P<name>[^.\[\]]+)|\[(?P<index>\d{1,6})\]|\[(?P<quoted>'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")\]"""
)
_ESCAPE = re.compile(r"\\(.)")


def arguments_of(raw: Raw | None) -> str:
    """``args`` as JSON text of an object; "{}" if there are none."""
    if raw is None:
        return "{}"
    text = compact(raw)
    if text.startswith("{"):
        return text
    value = value_of(raw)
    if isinstance(value, str) and value.lstrip().startswith("{"):
        return value
    return "{}" if value is None else msgspec.json.encode({"value": value}).decode()


def is_whole(call: dict[str, Raw]) -> bool:
    """Whether the call comes in one piece."""
    return "partialArgs" not in call and value_of(call.get("willContinue")) is not True


class PartialCall:
    """A call under construction."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.signature: str | None = None
        self._args: dict[str, Any] = {}

    def add(self, call: dict[str, Raw]) -> None:
        whole = value_of(call.get("args"))
        if isinstance(whole, dict):
            self._args.update(whole)
        for raw in list_of(call.get("partialArgs")):
            piece = object_of(raw)
            if piece is None:
                continue
            path, value = value_of(piece.get("jsonPath")), _piece(piece)
            steps = parse_path(path) if isinstance(path, str) else None
            if steps and value is not _NOTHING:
                _put(self._args, steps, value)

    def arguments(self) -> str:
        return msgspec.json.encode(self._args).decode()


_NOTHING = object()


def _piece(piece: dict[str, Raw]) -> object:
    for name in ("stringValue", "numberValue", "boolValue"):
        value = value_of(piece.get(name))
        if value is not None:
            return value
    return None if "nullValue" in piece else _NOTHING


def parse_path(path: str) -> list[str | int] | None:
    """The steps of a JSON Path such as ``$.a['b c'][0]``; None if it is no plain path (RFC 9535)."""
    text = path.removeprefix("$")
    if text and text[0] not in ".[":
        text = "." + text
    steps: list[str | int] = []
    at = 0
    while at < len(text):
        match = _STEP.match(text, at)
        if match is None:
            return None
        if match["name"] is not None:
            steps.append(match["name"])
        elif match["index"] is not None:
            steps.append(int(match["index"]))
        else:
            steps.append(_ESCAPE.sub(r"\1", match["quoted"][1:-1]))
        at = match.end()
    return steps


def _put(args: dict[str, Any], steps: list[str | int], value: object) -> None:
    """Set or append a value; a path that contradicts what is there is skipped."""
    holder: Any = args
    for step, following in zip(steps, [*steps[1:], None], strict=True):
        if isinstance(step, int):
            if not isinstance(holder, list) or step > LIST_ITEMS_MAX:
                return
            holder.extend([None] * (step + 1 - len(holder)))
            there = holder[step]
        else:
            if not isinstance(holder, dict):
                return
            there = holder.get(step)
        if following is None:
            more = isinstance(there, str) and isinstance(value, str)
            holder[step] = f"{there}{value}" if more else value
            return
        if there is None:
            there = holder[step] = [] if isinstance(following, int) else {}
        holder = there
