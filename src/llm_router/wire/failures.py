"""Errors of providers that have no envelope of their own worth the name: any shape, classified.

``{"message"}``, ``{"error": "text"}``, ``{"error": {"message", "code", "type"}}``, ``{"detail"}``, a
list of one of these, plain text, a web page, nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from llm_router.domain.errors import UpstreamError, UpstreamKind
from llm_router.wire.classify import header_retry_after_s, message_retry_after_s, scrub, without_tags
from llm_router.wire.judging import Judged, judge, member_at_fault
from llm_router.wire.lenient import load, mapping

MESSAGE_CHARS_MAX = 4000
"""How much of a provider's text is passed on."""

_TEXTS = ("message", "error", "detail", "msg", "error_message", "title")


class Said(msgspec.Struct, frozen=True, kw_only=True):
    """What an error tells. ``status`` is one that it names itself, or 0."""

    message: str = ""
    code: str | None = None
    type: str | None = None
    param: str | None = None
    status: int = 0


def read_failure(body: bytes) -> Said:
    """What an error body tells, whatever it is."""
    payload = load(body)
    return said_of(_plain(body) if payload is None else payload)


def said_of(payload: object) -> Said:
    """The same for a decoded body, or for an error object inside a reply."""
    if isinstance(payload, list):
        payload = payload[0] if payload else None
    if isinstance(payload, str):
        return Said(message=payload)
    fields = mapping(payload)
    fields = {**fields, **mapping(fields.get("error"))}
    return Said(
        message=next(filter(None, (_text(fields.get(name)) for name in _TEXTS)), ""),
        code=_word(fields, "code", "error_code"),
        type=_word(fields, "error_type", "type"),
        param=member_at_fault(fields),
        status=next(
            filter(None, (_status(fields.get(name)) for name in ("status_code", "status", "code"))), 0
        ),
    )


def looks_like_failure(payload: Mapping[str, Any]) -> bool:
    """Whether an object that should be a piece of a reply is an error instead."""
    error = payload.get("error")
    if isinstance(error, str | dict) and error:
        return True
    return isinstance(payload.get("message"), str) or isinstance(payload.get("detail"), str)


def failure(
    said: Said,
    *,
    status: int = 0,
    headers: Mapping[str, str] | None = None,
    kind: UpstreamKind | None = None,
    details: Mapping[str, object] | None = None,
) -> UpstreamError:
    """The error for a client.

    ``status`` is that of the HTTP reply, 0 for an error inside a good one; ``kind`` is set where the
    dialect knows better than the words.
    """
    if not 400 <= status <= 599:
        status = said.status
    message = scrub(said.message.strip()[:MESSAGE_CHARS_MAX])
    wait = header_retry_after_s(headers or {})
    judged = (
        Judged(kind) if kind is not None else judge(status, said.message, said.code, said.type, said.param)
    )
    return UpstreamError(
        message or f"The provider answered with status {status or 'unknown'} and no explanation.",
        kind=judged.kind,
        grounds=judged.grounds,
        suspected=judged.suspected,
        status=status if 400 <= status <= 599 else None,
        native_code=said.code,
        native_type=said.type,
        details=details,
        retry_after_s=message_retry_after_s(message) if wait is None else wait,
    )


def malformed(what: str) -> UpstreamError:
    """The provider sent something that is no answer of its dialect."""
    return UpstreamError(f"The provider sent {what}.", kind=UpstreamKind.MALFORMED)


def truncated() -> UpstreamError:
    """The reply ended before its end."""
    return UpstreamError(
        "The provider's stream ended before the answer was complete.", kind=UpstreamKind.TRUNCATED
    )


def _plain(body: bytes) -> str:
    """Text that is not JSON; of a web page what it shows, of binary data nothing."""
    text = without_tags(body[: 8 * MESSAGE_CHARS_MAX].decode("utf-8", "replace"))
    text = " ".join(text.split())[:MESSAGE_CHARS_MAX]
    odd = sum(not c.isprintable() or c == "\ufffd" for c in text)
    return text if odd * 20 <= len(text) else ""


def _text(value: object, depth: int = 3) -> str:
    """The text of a message that may be a string, a list of validation errors or an object."""
    match value:
        case str():
            return value
        case list() if depth:
            return "; ".join(filter(None, (_text(item, depth - 1) for item in value[:10])))
        case dict() if depth:
            return next(filter(None, (_text(value.get(name), depth - 1) for name in _TEXTS)), "")
    return ""


def _word(fields: Mapping[str, object], *names: str) -> str | None:
    for name in names:
        value = fields.get(name)
        if isinstance(value, str) and value:
            return scrub(value)[:200]
        if isinstance(value, int) and not isinstance(value, bool):
            return str(value)
    return None


def _status(value: object) -> int:
    if isinstance(value, str) and len(value) == 3 and value.isascii() and value.isdigit():
        value = int(value)
    return value if isinstance(value, int) and 400 <= value <= 599 else 0
