"""Errors, both ways: ``{"type": "error", "error": {"type", "message"}, "request_id"}``.

https://docs.anthropic.com/en/api/errors
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from llm_router.domain.errors import RouterError, UpstreamError, UpstreamKind
from llm_router.wire.classify import header_retry_after_s, message_retry_after_s, scrub
from llm_router.wire.judging import judge, member_at_fault
from llm_router.wire.verbatim import value

MESSAGE_CHARS_MAX = 4000
"""How much of a provider's text is passed on."""

_TYPES = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    409: "conflict_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}


class _Said(msgspec.Struct, kw_only=True):
    message: str = ""
    code: str | None = None
    type: str | None = None
    param: str | None = None
    request_id: str | None = None


def decode_error(status: int, headers: Mapping[str, str], body: bytes) -> UpstreamError:
    """An upstream error, whatever its shape. Never raises. Header names are lower case."""
    decoded = value(body)
    said = _said(decoded) if isinstance(decoded, dict | list) else _Said(message=_plain(body))
    said.request_id = said.request_id or headers.get("request-id")
    return _error(said, status, header_retry_after_s(headers))


def stream_error(body: object) -> UpstreamError:
    """An error event inside a stream (or an error object in a reply of status 200)."""
    return _error(_said(body), 200, None)


def _error(said: _Said, status: int, retry_after_s: float | None) -> UpstreamError:
    known = 400 <= status <= 599
    judged = judge(status, said.message, said.code, said.type, said.param)
    if retry_after_s is None and judged.kind is UpstreamKind.RATE_LIMIT:
        retry_after_s = message_retry_after_s(said.message)
    message = scrub(said.message.strip()[:MESSAGE_CHARS_MAX])
    if not message:
        message = f"The provider answered with status {status} and no message."
    return UpstreamError(
        message,
        kind=judged.kind,
        grounds=judged.grounds,
        suspected=judged.suspected,
        status=status if known else None,
        native_code=said.code,
        native_type=said.type,
        details={"upstream_request_id": said.request_id} if said.request_id else None,
        retry_after_s=retry_after_s,
    )


def _said(body: object) -> _Said:
    """Find message, code and type in the shapes that hosts of this API use.

    Anthropic nests an object, Google one in a list, Bedrock sends a bare ``message``, proxies a
    text in ``error`` or ``detail``.
    """
    if isinstance(body, list):
        body = body[0] if body else None
    if not isinstance(body, dict):
        return _Said(message=body if isinstance(body, str) else "")
    error = body.get("error")
    inner: Mapping[str, object] = error if isinstance(error, dict) else body
    message = inner.get("message")
    if not isinstance(message, str):
        message = next(
            (text for text in (error, body.get("detail"), body.get("message")) if isinstance(text, str)), ""
        )
    metadata = inner.get("metadata")
    typed = inner.get("error_type") or (metadata.get("error_type") if isinstance(metadata, dict) else None)
    request_id = body.get("request_id")
    return _Said(
        message=message,
        code=_word(typed) or _word(inner.get("code")) or _word(inner.get("status")),
        type=_word(inner.get("type")),
        param=member_at_fault(inner),
        request_id=request_id if isinstance(request_id, str) else None,
    )


def _word(name: object) -> str | None:
    if isinstance(name, str):
        return name or None
    return str(name) if isinstance(name, int) and not isinstance(name, bool) else None


def _plain(body: bytes) -> str:
    """Text that is not JSON; of a web page nothing is worth showing."""
    text = body[: 4 * MESSAGE_CHARS_MAX].decode("utf-8", "replace").strip()
    return "" if text[:1] == "<" or text == "null" else text


def encode_error(error: RouterError, request_id: str) -> bytes:
    """The error envelope. ``code``, ``param`` and details stand beside the type and the message."""
    body: dict[str, object] = {"type": error_type(error), "message": error.message, "code": error.code}
    if error.param is not None:
        body["param"] = error.param
    body.update((name, detail) for name, detail in error.details.items() if name not in body)
    return msgspec.json.encode({"type": "error", "error": body, "request_id": request_id})


def error_type(error: RouterError) -> str:
    """The API's own name for an error."""
    if error.type == "overloaded_error":
        return error.type
    known = _TYPES.get(error.status)
    if known is not None:
        return known
    return "api_error" if error.status >= 500 else "invalid_request_error"
