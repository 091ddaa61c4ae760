"""Orders to the sandbox inside the prompt: ``[[error 429]]``, ``[[slow 50ms]]`` and the like.

They work with every model and client because they travel in the user's text. Only the last user
message is read, so that a conversation can go on after an ordered fault. Double brackets that are
no known order are plain text: wiki links and shell tests stay what they are.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Literal

import msgspec
from msgspec.structs import replace

STALL_S_MAX = 600.0
SLOW_S_MAX = 10.0
LONG_TOKENS_MAX = 100_000
CALLS_MAX = 16
TRIES_MAX = 100
SCRIPT_MAX = 100

FaultKind = Literal["error", "overloaded", "too-long", "cut", "stall", "malformed", "empty"]

_ORDER = re.compile(r"\[\[\s*([a-z][a-z-]*)((?:\s+[^\[\]\s]+)*)\s*\]\]", re.IGNORECASE)
_SCRIPTED = re.compile(r"\[\[\s*(then\s+)?call\s+([^\[\]\s]+)\s+(?=\\?[{\"])", re.IGNORECASE)
_SECONDS = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s)?")
_TIMES = re.compile(r"x([0-9]{1,3})")


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """One ordered misbehaviour.

    Attributes:
        status: of an ``error``; None where the kind or the provider decides.
        mid: an error inside the stream, after the first words, instead of before them.
        clean: of a ``cut``: the connection ends in order, only the end marker is missing.
        seconds: of a ``stall``.
        retry_after_s: of an ``error``: what it tells the client to wait; None is the provider's habit.
        tries: how many times the same request is treated so before it is answered; None is always.
        on: only where this provider or dialect serves the request; None is everywhere.
    """

    kind: FaultKind
    status: int | None = None
    mid: bool = False
    clean: bool = False
    seconds: float = 0.0
    retry_after_s: float | None = None
    tries: int | None = None
    on: str | None = None


class CallOrder(msgspec.Struct, frozen=True, kw_only=True):
    """A tool that is to be called.

    Attributes:
        times: how often, in parallel.
        arguments: JSON text; None leaves them to the model.
        step: after how many rounds of tool results; 0 is at once.
    """

    name: str
    times: int = 1
    arguments: str | None = None
    step: int = 0


class Directives(msgspec.Struct, frozen=True, kw_only=True):
    """All orders of one prompt. ``text`` is the prompt without them."""

    text: str = ""
    faults: tuple[Fault, ...] = ()
    slow_s: float = 0.0
    long_tokens: int | None = None
    refuse: bool = False
    redacted: bool = False
    no_usage: bool = False
    calls: tuple[CallOrder, ...] = ()

    def fault(self, kind: FaultKind, names: frozenset[str]) -> Fault | None:
        """The first ordered fault of that kind that concerns a place with one of these names."""
        for fault in self.faults:
            if fault.kind == kind and (fault.on is None or fault.on in names):
                return fault
        return None


def read_directives(text: str) -> Directives:
    """Read the orders in a prompt and take them out of its text."""
    found = _Found()

    def take(match: re.Match[str]) -> str:
        words = match[2].split()
        return "" if found.take(match[1].lower(), words) else match[0]

    rest = _ORDER.sub(take, _scripted(text, found))
    if rest != text:
        rest = re.sub(r"[ \t]{2,}", " ", rest).strip()
    return replace(found.others, text=rest, faults=tuple(found.faults), calls=tuple(found.calls))


class _Found:
    def __init__(self) -> None:
        self.faults: list[Fault] = []
        self.calls: list[CallOrder] = []
        self.others = Directives()

    def take(self, order: str, words: list[str]) -> bool:
        reader = _READERS.get(order)
        return reader is not None and reader(self, words)


def _fault(kind: FaultKind) -> Callable[[_Found, list[str]], bool]:
    def read(found: _Found, words: list[str]) -> bool:
        fault = _read_fault(kind, words)
        if fault is not None:
            found.faults.append(fault)
        return fault is not None

    return read


def _read_fault(kind: FaultKind, words: list[str]) -> Fault | None:
    """None if the words are not an order of that kind."""
    fields: dict[str, object] = {}
    rest = iter(words)
    for word in rest:
        if (times := _TIMES.fullmatch(word)) is not None:
            fields["tries"] = min(int(times[1]), TRIES_MAX)
        elif word == "on":
            fields["on"] = next(rest, "").lower()
        elif word == "after":
            fields["retry_after_s"] = _seconds(next(rest, ""), STALL_S_MAX)
        elif word == "mid" and kind in ("error", "overloaded"):
            fields["mid"] = True
        elif word == "clean" and kind == "cut":
            fields["clean"] = True
        elif kind == "stall" and (seconds := _seconds(word, STALL_S_MAX)) is not None:
            fields["seconds"] = seconds
        elif kind == "error" and re.fullmatch(r"[45][0-9][0-9]", word):
            fields["status"] = int(word)
        else:
            return None
    if (kind == "error" and "status" not in fields) or (kind == "stall" and "seconds" not in fields):
        return None
    return Fault(kind=kind, **fields)  # type: ignore[arg-type]


def _seconds(word: str, most: float) -> float | None:
    match = _SECONDS.fullmatch(word)
    if match is None:
        return None
    return min(float(match[1]) / (1000 if match[2] == "ms" else 1), most)


def _slow(found: _Found, words: list[str]) -> bool:
    seconds = _seconds(words[0], SLOW_S_MAX) if len(words) == 1 else None
    if seconds is not None:
        found.others = replace(found.others, slow_s=seconds)
    return seconds is not None


def _long(found: _Found, words: list[str]) -> bool:
    if len(words) != 1 or not words[0].isascii() or not words[0].isdigit():
        return False
    found.others = replace(found.others, long_tokens=min(int(words[0][:9]), LONG_TOKENS_MAX))
    return True


def _call(found: _Found, words: list[str]) -> bool:
    times = _TIMES.fullmatch(words[1]) if len(words) == 2 else None
    if not words or len(words) > 2 or (len(words) == 2 and times is None):
        return False
    found.calls.append(CallOrder(name=words[0], times=min(int(times[1]), CALLS_MAX) if times else 1))
    return True


def _scripted(text: str, found: _Found) -> str:
    """Take out calls with their arguments: ``[[call NAME {...}]]``, ``[[then call NAME {...}]]``.

    The arguments are JSON, of an object or, for a free-text tool, of a string; they may hold brackets.
    """
    kept, at, step = "", 0, 0
    for match in _SCRIPTED.finditer(text):
        if match.start() < at:
            continue
        told = _arguments(text, match.end())
        if told is None or len(found.calls) >= SCRIPT_MAX:
            continue
        step += match[1] is not None
        found.calls.append(CallOrder(name=match[2], arguments=told[0], step=step))
        kept, at = kept + text[at : match.start()], told[1]
    return kept + text[at:]


def _arguments(text: str, begin: int) -> tuple[str, int] | None:
    """The JSON that stands there, and where its order ends; None if there is none.

    Agents that quote the prompt write a backslash before each of its quotes.
    """
    try:
        _, end = json.JSONDecoder().raw_decode(text, begin)
        close = re.compile(r"\s*\]\]").match(text, end)
        return None if close is None else (text[begin:end], close.end())
    except (ValueError, RecursionError):
        end = text.find("]]", begin)
    try:
        quoted = json.loads(f'"{text[begin:end].strip()}"') if end > begin else ""
        json.loads(quoted)
    except (ValueError, RecursionError):
        return None
    return str(quoted), end + 2


def _flag(name: str) -> Callable[[_Found, list[str]], bool]:
    def read(found: _Found, words: list[str]) -> bool:
        if not words:
            found.others = replace(found.others, **{name: True})
        return not words

    return read


_READERS: dict[str, Callable[[_Found, list[str]], bool]] = {
    "error": _fault("error"),
    "overloaded": _fault("overloaded"),
    "too-long": _fault("too-long"),
    "cut": _fault("cut"),
    "stall": _fault("stall"),
    "malformed": _fault("malformed"),
    "empty": _fault("empty"),
    "slow": _slow,
    "long": _long,
    "call": _call,
    "refuse": _flag("refuse"),
    "redacted": _flag("redacted"),
    "no-usage": _flag("no_usage"),
}

ORDERS = tuple(_READERS)
"""All order words; the documentation's table names each."""
