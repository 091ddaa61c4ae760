"""Seeds and their mutations: what no provider and no client should send, and one day does.

Everything is drawn from one seeded generator, so that a failure can be had again by its number.
"""

from __future__ import annotations

import copy
import json
import os
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kit import aws_frame

CORPUS = Path(__file__).parents[1] / "corpus"
ROUNDS = int(os.environ.get("LLM_ROUTER_FUZZ_ROUNDS", "1"))
"""How many times as long as usual to fuzz."""
SEED = int(os.environ.get("LLM_ROUTER_FUZZ_SEED", "20261122"))

Unit = tuple[str, Any]
"""The name of an event ("" if it has none) and its JSON."""

_LITERALS = (
    "1e400", "-1e400", "NaN", "Infinity", "123456789012345678901234567890", '"\\ud83d"', '"\\ude00\\ud83d"',
    "[" * 3000 + "]" * 3000, '{"a":' * 600 + "1" + "}" * 600, '"\\u0000"', "-0", "1e2", "0.1e-300", '"' + "x" * 70000 + '"',
)  # fmt: skip
_VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2**31, 2**63, 2**70, 1.5, "", " ", "0", "stop", "\n\n", "é\U0001f600", "data: [DONE]",
    [], {}, [None], [[]], [{}], {"": ""}, {"type": "text"}, {"type": None}, "tool_calls", "function", "null", "{", "{}", "[]",
)  # fmt: skip


@dataclass(frozen=True)
class Seed:
    """A reply that is right. ``framing``: whole, sse, ndjson, array or aws."""

    name: str
    dialect: str
    framing: str
    units: tuple[Unit, ...]


def _mark(number: int) -> str:
    return f"@@literal{number}@@"


def dump(value: Any) -> bytes:
    """JSON in which marks stand for what Python's own writer cannot say."""
    text = json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")
    if b"@@literal" in text:
        for number, literal in enumerate(_LITERALS):
            text = text.replace(f'"{_mark(number)}"'.encode(), literal.encode())
            text = text.replace(_mark(number).encode(), b"mark")  # as the name of a member
    return text


def framed(framing: str, units: list[Unit]) -> list[bytes]:
    """The units as they come over the wire."""
    match framing:
        case "sse":
            return [
                (f"event: {name}\n".encode() if name else b"") + b"data: " + dump(body) + b"\n\n"
                for name, body in units
            ]
        case "ndjson":
            return [dump(body) + b"\n" for _, body in units]
        case "array":
            pieces = [b"[" if n == 0 else b",\r\n" for n in range(len(units))]
            return [*(piece + dump(body) for piece, (_, body) in zip(pieces, units, strict=True)), b"]"]
        case "aws":
            return [aws_frame({name: json.loads(_plain(dump(body)))}) for name, body in units]
    return [dump(units[0][1])]


def _plain(text: bytes) -> bytes:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return b"null"
    return text


# -- seeds ------------------------------------------------------------------------------------------------


def _sse_units(text: str) -> tuple[Unit, ...]:
    units: list[Unit] = []
    for block in text.replace("\r\n", "\n").split("\n\n"):
        lines = block.split("\n")
        name = next((line[6:].strip() for line in lines if line.startswith("event:")), "")
        data = next((line[5:].strip() for line in lines if line.startswith("data:")), "")
        if data.startswith("{"):
            units.append((name, json.loads(data)))
    return tuple(units)


def reply_seeds() -> Iterator[Seed]:
    """The corpus of every dialect, in every framing it has."""
    yield from _folders("anthropic_messages", "sse", "sse")
    yield from _folders("cohere_chat", "sse", "sse")
    yield from _folders("ollama_chat", "ndjson", "ndjson")
    for file in sorted((CORPUS / "gemini_generate" / "streams").glob("*.json")):
        units = tuple(("", message) for message in json.loads(file.read_text())["messages"])
        yield Seed(file.stem, "gemini_generate", "sse", units)
        yield Seed(file.stem, "gemini_generate", "array", units)
        if len(units) == 1:
            yield Seed(file.stem, "gemini_generate", "whole", units)
    for case in json.loads((CORPUS / "openai_chat" / "streams.json").read_text()):
        chunks = [c["data"] if isinstance(c, dict) and "event" in c else c for c in case["chunks"]]
        yield Seed(case["name"], "openai_chat", "sse", tuple(("", c) for c in chunks if isinstance(c, dict)))
    for case in json.loads((CORPUS / "openai_chat" / "bodies.json").read_text()):
        yield Seed(case["name"], "openai_chat", "whole", (("", case["body"]),))
    for case in json.loads((CORPUS / "openai_responses" / "streams.json").read_text()):
        told = [event for event in case["events"] if isinstance(event, dict)]
        yield Seed(case["name"], "openai_responses", "sse", tuple((e.get("type", ""), e) for e in told))
        if told and isinstance(told[-1].get("response"), dict):
            yield Seed(case["name"], "openai_responses", "whole", (("", told[-1]["response"]),))
    for case in json.loads((CORPUS / "bedrock_converse" / "streams.json").read_text()):
        units = tuple(next(iter(event.items())) for event in case["events"])
        yield Seed(case["name"], "bedrock_converse", "aws", units)


def _folders(dialect: str, suffix: str, framing: str) -> Iterator[Seed]:
    for file in sorted((CORPUS / dialect / "streams").glob(f"*.{suffix}")):
        text = file.read_text()
        lines = [line for line in text.splitlines() if line.startswith("{")]
        units = _sse_units(text) if framing == "sse" else tuple(("", json.loads(line)) for line in lines)
        if units:
            yield Seed(file.stem, dialect, framing, units)
    for file in sorted((CORPUS / dialect / "replies").glob("*.json")):
        yield Seed(file.stem, dialect, "whole", (("", json.loads(file.read_text())),))


# -- mutations --------------------------------------------------------------------------------------------


def mutated(seed: Seed, dice: random.Random) -> bytes:
    """The bytes of a seed after a few mutations of its JSON, its events or its bytes."""
    units = [(name, copy.deepcopy(body)) for name, body in seed.units]
    for _ in range(dice.choice((1, 1, 1, 2, 3, 6))):
        change = dice.choice(_CHANGES)
        change(units, dice)
    frames = framed(seed.framing, units) if units else []
    if dice.random() < 0.5:
        return b"".join(frames)
    return dice.choice(_BYTES)(frames, dice)


def odd(dice: random.Random) -> Any:
    if dice.random() < 0.25:
        return _mark(dice.randrange(len(_LITERALS)))
    return copy.deepcopy(dice.choice(_VALUES))


def _places(value: Any, out: list[tuple[Any, Any]]) -> list[tuple[Any, Any]]:
    """Every (holder, key) in a JSON value."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        out.append((value, key))
        _places(inner, out)
    return out


def place(value: Any, dice: random.Random) -> tuple[Any, Any] | None:
    found = _places(value, [])
    return dice.choice(found) if found else None


def _some(units: list[Unit], dice: random.Random) -> int:
    return dice.randrange(len(units))


def _replace(units: list[Unit], dice: random.Random) -> None:
    if units and (found := place(units[_some(units, dice)][1], dice)):
        found[0][found[1]] = odd(dice)


def _delete(units: list[Unit], dice: random.Random) -> None:
    if units and (found := place(units[_some(units, dice)][1], dice)):
        del found[0][found[1]]


def _wrap(units: list[Unit], dice: random.Random) -> None:
    if units and (found := place(units[_some(units, dice)][1], dice)):
        inner = found[0][found[1]]
        found[0][found[1]] = [inner, inner] if dice.random() < 0.5 else {"text": inner, "type": "text"}


def _swap_values(units: list[Unit], dice: random.Random) -> None:
    if not units:
        return
    one, other = place(units[_some(units, dice)][1], dice), place(units[_some(units, dice)][1], dice)
    if one and other:
        value = copy.deepcopy(other[0][other[1]])
        one[0][one[1]] = value


def _drop_unit(units: list[Unit], dice: random.Random) -> None:
    if units:
        del units[_some(units, dice)]


def _double_unit(units: list[Unit], dice: random.Random) -> None:
    if units:
        units.insert(dice.randrange(len(units) + 1), copy.deepcopy(units[_some(units, dice)]))


def _swap_units(units: list[Unit], dice: random.Random) -> None:
    if units:
        one, other = _some(units, dice), _some(units, dice)
        units[one], units[other] = units[other], units[one]


def _new_unit(units: list[Unit], dice: random.Random) -> None:
    body: Any = dice.choice(
        (
            {"type": "new.event"},
            odd(dice),
            {"error": odd(dice)},
            {"error": {"message": odd(dice), "code": odd(dice)}},
        )
    )
    units.insert(dice.randrange(len(units) + 1), (dice.choice(("", "error", "new")), body))


def _many(units: list[Unit], dice: random.Random) -> None:
    if units:
        units.extend(copy.deepcopy(units[_some(units, dice)]) for _ in range(30))


_CHANGES: tuple[Callable[[list[Unit], random.Random], None], ...] = (
    _replace, _replace, _replace, _replace, _delete, _delete, _wrap, _swap_values, _drop_unit, _double_unit, _swap_units,
    _new_unit, _many,
)  # fmt: skip


def _truncate(frames: list[bytes], dice: random.Random) -> bytes:
    data = b"".join(frames)
    return data[: dice.randrange(len(data) + 1)]


def _flip(frames: list[bytes], dice: random.Random) -> bytes:
    data = bytearray(b"".join(frames))
    for _ in range(dice.choice((1, 3))):
        if data:
            data[dice.randrange(len(data))] = dice.choice(
                (0, 10, 13, 34, 92, 123, 125, 0xFF, 0xC3, dice.randrange(256))
            )
    return bytes(data)


def _cut_out(frames: list[bytes], dice: random.Random) -> bytes:
    data = b"".join(frames)
    start = dice.randrange(len(data) + 1)
    return data[:start] + data[start + dice.randrange(40) :]


def _garbage(frames: list[bytes], dice: random.Random) -> bytes:
    at = dice.randrange(len(frames) + 1)
    junk = dice.choice(
        (
            dice.randbytes(20),
            b"data:\n\n",
            b": \xff\n\n",
            b"\r\r\r",
            b"<html>",
            b"data: {\n\n",
            b"\xef\xbb\xbf",
            b"[DONE]",
        )
    )
    return b"".join([*frames[:at], junk, *frames[at:]])


def _double_member(frames: list[bytes], dice: random.Random) -> bytes:
    """Some object says one of its members twice."""
    data = b"".join(frames)
    braces = [at for at in range(len(data)) if data[at : at + 2] == b'{"']
    if not braces:
        return data
    at = dice.choice(braces) + 1
    name = data[at : data.find(b'"', at + 1) + 1]
    return data[:at] + name + b": " + dump(odd(dice)) + b", " + data[at:]


_BYTES = (_truncate, _flip, _cut_out, _garbage, _double_member)
