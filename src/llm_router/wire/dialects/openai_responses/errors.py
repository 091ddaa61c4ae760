"""Errors: what hosts of this API send, classified; and OpenAI's envelope.

{"error": {"message", "type", "param", "code"}}    OpenAI and most
{"code": "...", "error": "text"}                    xAI
{"type": "error", "code", "message", "param"}       inside a stream
{"response": {"error": {"code", "message"}}}        a response that failed
{"message": "text"}, {"detail": ...}, HTML, nothing gateways and proxies
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from llm_router.domain.errors import RouterError, UpstreamError, UpstreamKind
from llm_router.wire.classify import header_retry_after_s, message_retry_after_s, scrub, without_tags
from llm_router.wire.judging import judge, member_at_fault
from llm_router.wire.lenient import load
from llm_router.wire.openaierrors import error_members

MESSAGE_CHARS_MAX = 4000
"""Of a provider's error text that is passed on."""

_KINDS: Final = {
    "server_error": UpstreamKind.SERVER,
    "rate_limit_exceeded": UpstreamKind.RATE_LIMIT,
    "slow_down": UpstreamKind.OVERLOADED,
    "vector_store_timeout": UpstreamKind.TIMEOUT,
    "invalid_prompt": UpstreamKind.INVALID_REQUEST,
    "data_residency_mismatch": UpstreamKind.INVALID_REQUEST,
    "image_parse_error": UpstreamKind.INVALID_REQUEST,
    "failed_to_download_image": UpstreamKind.INVALID_REQUEST,
    "bio_policy": UpstreamKind.CONTENT_POLICY,
    "misalignment_policy_violation": UpstreamKind.CONTENT_POLICY,
    "image_content_policy_violation": UpstreamKind.CONTENT_POLICY,
}
"""What the codes of a failed response mean where its text says nothing more exact.

https://platform.openai.com/docs/api-reference/responses/object#responses/object-error
"""

_IMAGE_CODE = re.compile(r"(invalid|unsupported|empty)_\w*image|image_(too|file)_\w+|invalid_base64_image")


def decode_error(status: int, headers: Mapping[str, str], body: bytes) -> UpstreamError:
    """An error reply, classified. Takes any bytes and never raises."""
    payload = load(body) if body else None
    if payload is None:
        payload = _plain_text(body)
    return error_of(payload, status=status, headers=headers)


def error_of(payload: object, *, status: int = 0, headers: Mapping[str, str] | None = None) -> UpstreamError:
    """An error object or text in any of the shapes above; ``status`` 0: inside a good reply."""
    if isinstance(payload, list):
        payload = payload[0] if payload else None
    fields = _fields(payload)
    code, type_ = _word(fields, "code"), _word(fields, "type")
    if type_ == "error":
        type_ = None
    message = payload if isinstance(payload, str) else _message(fields)
    param = fields.get("param")
    param = param if isinstance(param, str) else None
    judged = judge(status, message, code, type_, member_at_fault(fields))
    kind = judged.kind
    if not 400 <= status <= 599 and kind is UpstreamKind.SERVER and code is not None:
        kind = _kind_of_code(code)
    message = scrub(message)[:MESSAGE_CHARS_MAX]
    wait = header_retry_after_s(headers or {})
    return UpstreamError(
        message or f"The provider answered with status {status or 'unknown'} and no explanation.",
        kind=kind,
        status=status if 400 <= status <= 599 else None,
        param=param,
        native_code=code,
        native_type=type_,
        retry_after_s=message_retry_after_s(message) if wait is None else wait,
        grounds=judged.grounds,
        suspected=judged.suspected,
    )


def failure_of(response: dict[str, Any]) -> UpstreamError:
    """The error of a response that failed or was cancelled."""
    error = response.get("error")
    if isinstance(error, dict | str) and error:
        return error_of(error)
    status = response.get("status")
    word = status if isinstance(status, str) else "failed"
    return UpstreamError(
        f"The provider broke off the answer: {word}.", kind=UpstreamKind.SERVER, native_code=word
    )


def is_error(payload: dict[str, Any]) -> bool:
    """Whether an object that should be a response is an error instead."""
    if payload.get("type") == "error":
        return True
    error = payload.get("error")
    if error and "output" not in payload and payload.get("object") != "response":
        return True
    return "output" not in payload and ("message" in payload or "detail" in payload)


def malformed(what: str) -> UpstreamError:
    """The provider sent something that is no answer of this dialect."""
    return UpstreamError(f"The provider sent {what}.", kind=UpstreamKind.MALFORMED)


def truncated() -> UpstreamError:
    return UpstreamError(
        "The provider's stream ended before the answer was complete.", kind=UpstreamKind.TRUNCATED
    )


def _kind_of_code(code: str) -> UpstreamKind:
    found = _KINDS.get(code)
    if found is None:
        found = UpstreamKind.INVALID_REQUEST if _IMAGE_CODE.match(code) else UpstreamKind.SERVER
    return found


def _fields(payload: object) -> dict[str, Any]:
    if not isinstance(payload, dict):
        return {}
    inner = payload.get("error")
    if isinstance(inner, dict):
        return {**payload, **inner}
    response = payload.get("response")
    if isinstance(response, dict) and isinstance(response.get("error"), dict):
        return dict(response["error"])
    return payload


def _message(fields: dict[str, Any]) -> str:
    for name in ("message", "error", "detail", "msg"):
        text = _text(fields.get(name))
        if text:
            return text
    return ""


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
            text = next(filter(None, (_text(value.get(n), depth - 1) for n in ("message", "msg"))), "")
            return f"{'.'.join(map(str, where))}: {text}" if isinstance(where, list) and text else text
    return ""


def _word(fields: dict[str, Any], name: str) -> str | None:
    value = fields.get(name)
    if isinstance(value, str) and value:
        return scrub(value)[:200]
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else None


def _plain_text(body: bytes) -> str:
    text = without_tags(body[: 8 * MESSAGE_CHARS_MAX].decode("utf-8", "replace"))
    head = text[:500]
    odd = sum(not (c.isprintable() or c in "\r\n\t") or c == "\ufffd" for c in head)
    return "" if odd * 20 > len(head) else " ".join(text.split())[:MESSAGE_CHARS_MAX]


# -- to the client ---------------------------------------------------------------------------------


_OWN_CODES: Final = ("rate_limit_exceeded", "context_length_exceeded", "server_error", "insufficient_credits")


def failed_members(error: RouterError, request_id: str) -> dict[str, object]:
    """The ``error`` of a failed response: a code of the API's own where it has one, else server_error.

    The gateway's own code stays beside it, as ``gateway_code``.
    """
    found = error_members(error, request_id)
    code = error.code
    if isinstance(error, UpstreamError):
        native = error.native_code
        if error.kind is UpstreamKind.CONTENT_POLICY:
            code = "invalid_prompt"
        elif native is not None and (native in _KINDS or _IMAGE_CODE.match(native)):
            code = native
    if code not in _KINDS and code not in _OWN_CODES and not _IMAGE_CODE.match(code):
        code = "server_error"
    return {**found, "code": code, "gateway_code": error.code}
