"""Errors: every shape that OpenAI-like providers send, classified; and our own envelope.

{"error": {"message", "type", "param", "code"}}      OpenAI and most
{"error": {"code": 429, "metadata": {"raw": ...}}}   OpenRouter, with the provider's own words
{"error": "text"}, {"code": ..., "error": "text"}    Ollama, Venice; xAI
{"object": "error", "message", "type", "code"}       Mistral, vLLM
{"detail": "text" | [{"loc", "msg"}]}                FastAPI servers
{"message": "text"}                                  gateways
HTML, plain text, nothing                            proxies
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llm_router.domain.errors import UpstreamError, UpstreamKind
from llm_router.wire.classify import header_retry_after_s, message_retry_after_s, scrub, without_tags
from llm_router.wire.judging import judge, member_at_fault
from llm_router.wire.lenient import load

MESSAGE_CHARS_MAX = 4000
"""Of a provider's error text that is passed on."""

_KEPT_DETAILS = ("failed_generation", "innererror", "n_ctx", "n_prompt_tokens")


def decode_error(status: int, headers: Mapping[str, str], body: bytes) -> UpstreamError:
    """An error reply, classified. Takes any bytes and never raises."""
    payload = load(body) if body else None
    if payload is None:
        payload = _plain_text(body)
    return error_of(payload, status=status, headers=headers)


def error_of(payload: object, *, status: int = 0, headers: Mapping[str, str] | None = None) -> UpstreamError:
    """An error object or text in any of the shapes above.

    ``status``: of the HTTP reply; 0 or 200 for an error inside a good one, which may name its own.
    """
    if isinstance(payload, list):  # Gemini's OpenAI form wraps the envelope in an array
        payload = payload[0] if payload else None
    fields = _fields(payload)
    code, type_ = _word(fields, "code", "error_code"), _word(fields, "type", "error_type", "status")
    message = _message(payload, fields)
    if not 400 <= status <= 599:
        status = _own_status(fields)
    param = fields.get("param")
    param = param if isinstance(param, str) else None
    judged = judge(status, message, _reason(fields) or code, type_, member_at_fault(fields))
    message = scrub(message)[:MESSAGE_CHARS_MAX]
    wait = header_retry_after_s(headers or {})
    return UpstreamError(
        message or f"The provider answered with status {status or 'unknown'} and no explanation.",
        kind=judged.kind,
        status=status if 400 <= status <= 599 else None,
        param=param,
        native_code=code,
        native_type=type_,
        details=_details(fields),
        retry_after_s=message_retry_after_s(message) if wait is None else wait,
        grounds=judged.grounds,
        suspected=judged.suspected,
    )


def is_error(payload: dict[str, Any]) -> bool:
    """Whether an object that should be a reply or a chunk is an error instead, or holds one."""
    inner = payload.get("error")
    if isinstance(inner, dict):
        return any(value not in (None, "", 0) for value in inner.values())
    if inner:
        return True
    if payload.get("object") == "error":
        return True
    if "choices" in payload or "usage" in payload:
        return False
    return (isinstance(payload.get("message"), str) and ("code" in payload or "type" in payload)) or (
        "detail" in payload and len(payload) == 1
    )


def _plain_text(body: bytes) -> str:
    text = without_tags(body[: 8 * MESSAGE_CHARS_MAX].decode("utf-8", "replace"))
    return " ".join(text.split())[:MESSAGE_CHARS_MAX] if text.isprintable() or _mostly_text(text) else ""


def _mostly_text(text: str) -> bool:
    head = text[:500]
    odd = sum(not (c.isprintable() or c in "\r\n\t") or c == "\ufffd" for c in head)
    return odd * 20 <= len(head)


def _message(payload: object, fields: dict[str, Any]) -> str:
    if isinstance(payload, str):
        return payload
    for name in ("message", "error", "detail", "msg", "error_message", "errors", "title"):
        text = _text(fields.get(name))
        if text:
            said = _raw_words(fields)
            return f"{text}: {said}" if said and said not in text else text
    return ""


def _fields(payload: object) -> dict[str, Any]:
    if not isinstance(payload, dict):
        return {}
    inner = payload.get("error")
    return {**payload, **inner} if isinstance(inner, dict) else payload


def _text(value: object, depth: int = 3) -> str:
    """Text of a message that may be a string, a list of validation errors or an object."""
    if depth == 0:
        return ""
    match value:
        case str():
            return value
        case list():
            return "; ".join(filter(None, (_text(item, depth - 1) for item in value[:10])))
        case dict():
            where = value.get("loc")
            said = (_text(value.get(name), depth - 1) for name in ("message", "msg", "detail"))
            text = next(filter(None, said), "")
            return f"{'.'.join(map(str, where))}: {text}" if isinstance(where, list) and text else text
    return ""


def _word(fields: dict[str, Any], *names: str) -> str | None:
    for name in names:
        value = fields.get(name)
        if isinstance(value, str) and value:
            return scrub(value)[:200]
        if isinstance(value, int) and not isinstance(value, bool):
            return str(value)
    return None


def _own_status(fields: dict[str, Any]) -> int:
    for name in ("status_code", "raw_status_code", "http_status", "code", "status"):
        value = fields.get(name)
        if isinstance(value, str) and len(value) == 3 and value.isascii() and value.isdigit():
            value = int(value)
        if isinstance(value, int) and 400 <= value <= 599:
            return int(value)
    return 0


def _reason(fields: dict[str, Any]) -> str | None:
    """The reason among Google's details, which stands for a code."""
    details = fields.get("details")
    for detail in details if isinstance(details, list) else ():
        if isinstance(detail, dict) and isinstance(detail.get("reason"), str):
            return scrub(detail["reason"])[:200]
    return None


def _raw_words(fields: dict[str, Any]) -> str:
    """What the provider behind an aggregator said: text, or JSON text of its own error."""
    metadata = fields.get("metadata")
    raw = metadata.get("raw") if isinstance(metadata, dict) else None
    if not isinstance(raw, str):
        return ""
    inner = load(raw.encode("utf-8", "replace")) if raw.lstrip()[:1] == "{" else None
    return (_text(inner) or _text(_fields(inner).get("message")) or raw)[:MESSAGE_CHARS_MAX]


def _details(fields: dict[str, Any]) -> dict[str, object]:
    found: dict[str, object] = {}
    for name in _KEPT_DETAILS:
        value = fields.get(name)
        if isinstance(value, str):
            found[name] = scrub(value)[:MESSAGE_CHARS_MAX]
        elif isinstance(value, int) and not isinstance(value, bool):
            found[name] = value
    return found


def malformed(what: str) -> UpstreamError:
    """The provider sent something that is no answer of this dialect."""
    return UpstreamError(f"The provider sent {what}.", kind=UpstreamKind.MALFORMED)
