"""Usage, ids and finish reasons that are missing, doubled, absurd or wrong."""

from __future__ import annotations

import re
from typing import Any

from llm_router.sandbox.faults.kind import Kind, Options, kind
from llm_router.sandbox.faults.steps import Answer, Step, whole
from llm_router.sandbox.faults.units import COUNT, Message, finish_at, holds_usage, messages, texts

_USAGES = ("usage", "usageMetadata", "prompt_eval_count", "eval_count")
_HOLDERS = ("message", "response", "delta")
_IDS = ("id", "responseId", "message_id")
_MODELS = ("model", "modelVersion")


def _without(*names: str) -> Any:
    def change(message: Message) -> Message:
        kept = {name: value for name, value in message.items() if name not in names}
        for holder in _HOLDERS:
            if isinstance(kept.get(holder), dict):
                kept[holder] = {n: v for n, v in kept[holder].items() if n not in names}
        return kept

    return change


def _with(value: Any, *names: str) -> Any:
    """The members of these names, where they are, with another value."""

    def change(message: Message) -> Message:
        new = {name: value if name in names else old for name, old in message.items()}
        for holder in _HOLDERS:
            if isinstance(new.get(holder), dict):
                inner = new[holder].items()
                new[holder] = {n: value if n in names else v for n, v in inner}
        return new

    return change


def _counted(name: str, about: str, count: bytes) -> Kind:
    """Every token count replaced."""

    def change(data: bytes) -> bytes:
        return COUNT.sub(lambda m: m[1] + count, data)

    return kind(name, "usage", about, lambda a, o: whole(a, texts(a, change)))


def _twice(answer: Answer, options: Options) -> list[Step]:
    """Each event that tells usage comes twice."""
    units = [part for unit in answer.units for part in ([unit, unit] if holds_usage(unit) else [unit])]
    return whole(answer, units)


def _everywhere(answer: Answer, options: Options) -> list[Step]:
    """The last usage stands in every message that has a place for it."""
    found: list[tuple[str, Any]] = []

    def look(message: Message) -> Message:
        found.extend((name, message[name]) for name in ("usage", "usageMetadata") if message.get(name))
        return message

    messages(answer, look)
    if not found:
        return whole(answer)
    name, usage = found[-1]
    if answer.form.name not in ("openai", "gemini"):  # other forms have no place for it elsewhere
        return whole(answer)
    return whole(answer, messages(answer, lambda message: {**message, name: usage}))


def _finished_twice(answer: Answer, options: Options) -> list[Step]:
    at = finish_at(answer)
    return whole(answer, [*answer.units[: at + 1], answer.units[at], *answer.units[at + 1 :]])


def _end_twice(answer: Answer, options: Options) -> list[Step]:
    return whole(answer, [*answer.units, answer.units[-1]])


def _unfinished(answer: Answer, options: Options) -> list[Step]:
    """No message says why it ended; the rest is there."""

    def change(data: bytes) -> bytes:
        return _REASON.sub(rb"\1null", data)

    return whole(answer, texts(answer, change))


_REASON = re.compile(rb'("(?:finish_reason|finishReason|stop_reason|stopReason|done_reason)"\s*:\s*)"[^"]*"')


def _reason(name: str, about: str, value: bytes) -> Kind:
    def change(data: bytes) -> bytes:
        return _REASON.sub(lambda m: m[1] + value, data)

    return kind(name, "usage", about, lambda a, o: whole(a, texts(a, change)))


def _changing_ids(answer: Answer, options: Options) -> list[Step]:
    """A new id in every message."""
    numbers = iter(range(10_000))

    def change(message: Message) -> Message:
        fresh = f"other-{next(numbers)}"
        return {name: fresh if name in _IDS else value for name, value in message.items()}

    return whole(answer, messages(answer, change))


def _members(name: str, about: str, change: Any) -> Kind:
    return kind(name, "usage", about, lambda a, o: whole(a, messages(a, change)))


KINDS: tuple[Kind, ...] = (
    _members("no-usage", "An answer without token counts", _without(*_USAGES)),
    _members("null-usage", "An answer whose usage is null", _with(None, *_USAGES)),
    _members("text-usage", "An answer whose usage is a text", _with("many", *_USAGES)),
    _members("list-usage", "An answer whose usage is a list", _with([], *_USAGES)),
    _counted("zero-usage", "All token counts are 0", b"0"),
    _counted("negative-usage", "All token counts are negative", b"-7"),
    _counted("absurd-usage", "All token counts are 90 million", b"90000000"),
    _counted("huge-usage", "All token counts have thirty digits", b"1" * 30),
    _counted("fractional-usage", "All token counts are 1.5", b"1.5"),
    _counted("text-counts", "All token counts are words", b'"many"'),
    _counted("nan-usage", "All token counts are NaN, which is no JSON", b"NaN"),
    kind("double-usage", "usage", "Every event with usage comes twice", _twice, wholes=False),
    kind("usage-everywhere", "usage", "The final usage stands in every event", _everywhere, wholes=False),
    kind(
        "double-finish",
        "usage",
        "The event that tells the finish reason comes twice",
        _finished_twice,
        wholes=False,
    ),
    kind("double-end", "usage", "The last event comes twice", _end_twice, wholes=False),
    kind("no-finish", "usage", "The finish reason is null", _unfinished),
    _reason("odd-finish", "A finish reason that does not exist", b'"because"'),
    _reason("number-finish", "The finish reason is a number", b"1"),
    _members("no-id", "An answer without an id", _without(*_IDS)),
    _members("empty-id", "An answer whose id is empty", _with("", *_IDS)),
    _members("null-id", "An answer whose id is null", _with(None, *_IDS)),
    _members("number-id", "An answer whose id is a number", _with(7, *_IDS)),
    kind("changing-ids", "usage", "Another id in every event", _changing_ids, wholes=False),
    _members("other-model", "An answer that names another model", _with("somebody-else-1", *_MODELS)),
    _members("no-model", "An answer that names no model", _without(*_MODELS)),
)
