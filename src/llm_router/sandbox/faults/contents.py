"""Answers in sound HTTP whose body, events or members are wrong."""

from __future__ import annotations

from typing import Any

import msgspec

from llm_router.sandbox.faults.kind import Kind, Make, Options, kind
from llm_router.sandbox.faults.steps import (
    Answer,
    Pour,
    Send,
    Step,
    instead,
    middle,
    unclosed_start,
    whole,
)
from llm_router.sandbox.faults.troubles import page
from llm_router.sandbox.faults.units import TEXT, Message, edited, event, messages, texts

JSON = "application/json"
GIANT_BYTES = 40 * 1024 * 1024
DEEP = 100_000


def _body(content_type: str | None, data: bytes) -> Make:
    return lambda answer, options: instead(answer, 200, content_type, data)


def _typed(name: str, about: str, content_type: str | None) -> Kind:
    """A sound answer under another content type."""

    def make(answer: Answer, options: Options) -> list[Step]:
        headers = tuple((n, v) for n, v in answer.headers if n != "content-type")
        typed = () if content_type is None else (("content-type", content_type),)
        return whole(msgspec.structs.replace(answer, headers=(*headers, *typed)))

    return kind(name, "body", about, make)


def _said(name: str, about: str, change: Any) -> Kind:
    """The bytes of every message changed."""
    return kind(name, "body", about, lambda a, o: whole(a, texts(a, change)))


def _inserted(answer: Answer, options: Options, data: bytes) -> list[Step]:
    """Something between the events of a stream."""
    at = middle(answer, options.events)
    return whole(answer, [*answer.units[:at], data, *answer.units[at:]])


def _giant(answer: Answer, options: Options) -> list[Step]:
    """A line of forty megabytes after the first events."""
    if not answer.streamed:
        return [unclosed_start(answer), Send(answer.body[:-1]), Pour(b" " * 65536)]
    headers = unclosed_start(answer)
    opening = b"".join(answer.units[: middle(answer, options.events)])
    return [headers, Send(opening), Send(b'data: {"a": "'), *[Send(b"x" * (1 << 20))] * (GIANT_BYTES >> 20)]


def _replaced(answer: Answer, message: bytes) -> list[Step]:
    """One event in the middle, or the whole body, replaced."""
    if not answer.streamed:
        return whole(answer, [message])
    at = middle(answer, None)
    return whole(answer, [*answer.units[:at], event(answer, message), *answer.units[at + 1 :]])


def _swap(name: str, about: str, message: bytes) -> Kind:
    return kind(name, "body", about, lambda a, o: _replaced(a, message))


def _whole_for_stream(answer: Answer, options: Options) -> list[Step]:
    return whole(answer)


def _line_ends(old: bytes, new: bytes) -> Make:
    def make(answer: Answer, options: Options) -> list[Step]:
        units = [unit.replace(b"\r\n", b"\n").replace(old, new) for unit in answer.units]
        return whole(answer, units if not answer.json_array else None)

    return make


BODY_KINDS: tuple[Kind, ...] = (
    kind(
        "html",
        "body",
        "A page of HTML with the status 200, as portals and proxies serve it",
        _body("text/html", page("Please sign in")),
    ),
    kind("text", "body", "A line of text with the status 200", _body("text/plain", b"OK")),
    kind("empty-body", "body", "Headers that promise an answer, and a body of nothing", _body(JSON, b"")),
    kind("blank-body", "body", "A body of blanks alone", _body(JSON, b" \n \n ")),
    kind("empty-object", "body", "The body `{}`", _body(JSON, b"{}")),
    kind("empty-list", "body", "The body `[]`", _body(JSON, b"[]")),
    kind("null-body", "body", "The body `null`", _body(JSON, b"null")),
    kind("string-body", "body", "The body is a JSON string", _body(JSON, b'"Hello"')),
    kind("other-json", "body", "JSON of something else", _body(JSON, b'{"status": "ok", "data": [1, 2, 3]}')),
    kind(
        "deep-json",
        "body",
        "JSON nested a hundred thousand deep",
        lambda a, o: _replaced(a, b'{"a":' * DEEP + b"1" + b"}" * DEEP),
    ),
    kind("binary", "body", "Random bytes with the status 200", _body(JSON, bytes(range(256)) * 8)),
    _typed("wrong-type", "A sound answer that is said to be text/html", "text/html"),
    _typed("no-type", "A sound answer without a content-type", None),
    _typed("odd-charset", "A sound answer that is said to be in UTF-16", "application/json; charset=utf-16"),
    _said("not-utf8", "Text in Latin-1, which is no UTF-8", lambda data: TEXT.sub(b"caf\xe9 \xff", data)),
    _said("lone-surrogate", "Text with half of a surrogate pair", lambda data: TEXT.sub(rb"\\ud83d", data)),
    _said("nul-in-text", "Text with the character NUL", lambda data: TEXT.sub(rb"a\\u0000b", data)),
    _said(
        "raw-control",
        "Text with a control character that JSON forbids",
        lambda data: TEXT.sub(b"a\x07b", data),
    ),
    kind(
        "bom",
        "body",
        "A byte order mark before a sound answer",
        lambda a, o: whole(a, [b"\xef\xbb\xbf" + a.units[0], *a.units[1:]]),
    ),
    kind(
        "blanks-before",
        "body",
        "Blank lines before a sound answer",
        lambda a, o: whole(a, [b"\n\n  \n", *a.units]),
    ),
    kind(
        "garbage-behind",
        "body",
        "More bytes behind a complete answer",
        lambda a, o: whole(a, [*a.units, b"\n\n}}]garbage{{\n\n"]),
    ),
    _swap("broken-json", "JSON that breaks off", b'{"id": "x", "choices": [{"delta": {"content": "Hel'),
    _swap("not-json", "Words where JSON should be", b"<<< internal error >>>"),
    kind("giant-line", "body", "A line of forty megabytes; a whole reply never ends", _giant),
    kind(
        "garbage-line",
        "event",
        "A line between the events that belongs to no form",
        lambda a, o: _inserted(a, o, b"@@@ what is this\n\n"),
        "events",
        wholes=False,
    ),
    kind(
        "comments",
        "event",
        "Comments, unknown fields and unknown events in a sound stream",
        lambda a, o: _commented(a),
        wholes=False,
    ),
    kind("crlf", "event", "Lines that end in CR LF", _line_ends(b"\n", b"\r\n"), wholes=False),
    kind(
        "cr-only",
        "event",
        "Lines that end in CR alone, as the standard of event streams allows",
        _line_ends(b"\n", b"\r"),
        wholes=False,
    ),
    kind(
        "one-packet",
        "event",
        "A sound stream in a single packet",
        lambda a, o: [Send(b"".join(s.data for s in whole(a) if isinstance(s, Send))), *whole(a)[-1:]],
        wholes=False,
    ),
    kind(
        "whole-for-stream",
        "event",
        "One JSON body of an error of no form in place of a stream",
        _body(JSON, b'{"ok": false}'),
        wholes=False,
    ),
)


def _commented(answer: Answer) -> list[Step]:
    if answer.form.name in ("bedrock", "ollama") or answer.json_array:
        return whole(answer, [part for unit in answer.units for part in (unit, b"\n")])
    noise = b': keep-alive\n\nid: 7\nretry: 10\n\nevent: ping\ndata: {"type": "ping"}\n\n'
    return whole(answer, [part for unit in answer.units for part in (noise, unit)])


# Members.

_CONTENT = ("choices", "content", "candidates", "output", "message", "delta")
_EMPTIED: dict[str, Any] = {
    "choices": [],
    "content": [],
    "candidates": [],
    "output": [],
    "message": {},
    "delta": {},
}


def _emptied(message: Message) -> Message:
    """The members that hold the answer, with nothing in them."""
    return {name: _EMPTIED[name] if name in _CONTENT else value for name, value in message.items()}


def _null(message: Message) -> Message:
    return {name: None if name in _CONTENT else value for name, value in message.items()}


def _numbers(message: Message) -> Message:
    return {name: 7 if name in _CONTENT else value for name, value in message.items()}


def _gone(message: Message) -> Message:
    return {name: value for name, value in message.items() if name not in _CONTENT}


def _extra(message: Message) -> Message:
    return {"x_new": {"a": [1]}, **message, "obfuscation": "zzz"}


def _members(name: str, about: str, change: Any) -> Kind:
    return kind(name, "event", about, lambda a, o: whole(a, messages(a, change)))


def _one_event(name: str, about: str, change: Any) -> Kind:
    """The change happens in one event in the middle; in a whole reply, in its body."""

    def make(answer: Answer, options: Options) -> list[Step]:
        at = middle(answer, options.events) if answer.streamed else 0
        at = min(at, len(answer.units) - 1)
        units = list(answer.units)
        units[at] = edited(answer, units[at], change)
        return whole(answer, units)

    return kind(name, "event", about, make, "events")


def _shuffled(answer: Answer, options: Options) -> list[Step]:
    """The first event comes after the content."""
    at = middle(answer, options.events)
    return whole(answer, [*answer.units[1:at], answer.units[0], *answer.units[at:]])


MEMBER_KINDS: tuple[Kind, ...] = (
    _members("empty-content", "Replies whose lists of content are empty", _emptied),
    _members("null-content", "Replies whose content is null", _null),
    _members("missing-content", "Replies without the members that hold the content", _gone),
    _members("number-content", "Replies with a number where the content should be", _numbers),
    _members("unknown-members", "A sound answer with members that nobody knows", _extra),
    _one_event("null-event", "One message whose content is null", _null),
    _one_event("number-event", "One message with a number where the content should be", _numbers),
    kind(
        "no-first-event",
        "event",
        "A stream without its first event",
        lambda a, o: whole(a, a.units[1:]),
        wholes=False,
    ),
    kind(
        "late-first-event",
        "event",
        "A stream whose first event comes in its middle",
        _shuffled,
        "events",
        wholes=False,
    ),
    kind(
        "twice-begun",
        "event",
        "A stream whose first event comes twice",
        lambda a, o: whole(a, [a.units[0], *a.units]),
        wholes=False,
    ),
)
