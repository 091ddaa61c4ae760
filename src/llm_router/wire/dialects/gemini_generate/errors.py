"""Google's error envelope, read and written.

``{"error": {"code": 429, "message", "status": "RESOURCE_EXHAUSTED", "details": [...]}}``, at times
inside a list of one. A wrong key is status 400 with the reason API_KEY_INVALID, and the time to wait
stands in a RetryInfo detail instead of a header (https://cloud.google.com/apis/design/errors).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import msgspec

from llm_router.domain.errors import RouterError, UpstreamError
from llm_router.domain.limit import LimitState
from llm_router.wire.classify import WAIT_MAX_S, header_retry_after_s, message_retry_after_s, scrub
from llm_router.wire.dialects.gemini_generate.members import value_of
from llm_router.wire.judging import judge, member_at_fault

MESSAGE_CHARS_MAX = 4000
_TYPE = "type.googleapis.com/google.rpc."
_DOMAIN = "llm-router"

_STATUS = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    402: "FAILED_PRECONDITION",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    405: "UNIMPLEMENTED",
    408: "DEADLINE_EXCEEDED",
    409: "ABORTED",
    413: "INVALID_ARGUMENT",
    415: "INVALID_ARGUMENT",
    422: "INVALID_ARGUMENT",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    500: "INTERNAL",
    501: "UNIMPLEMENTED",
    502: "UNAVAILABLE",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
    529: "UNAVAILABLE",
}
"""https://cloud.google.com/apis/design/errors#handling_errors, and the nearest word for the rest."""


def decode_error(status: int, headers: Mapping[str, str], body: bytes) -> UpstreamError:
    """Classify an upstream error. Never raises."""
    error = _error_object(value_of(body))
    retry_after_s = header_retry_after_s(headers)
    if error is None:
        text = scrub(body[: 4 * MESSAGE_CHARS_MAX].decode("utf-8", "replace").strip())[:MESSAGE_CHARS_MAX]
        text = "" if "<" in text[:20] else text  # a web page
        judged = judge(status, text, None, None)
        return UpstreamError(
            text or f"The provider answered with status {status}.",
            kind=judged.kind,
            grounds=judged.grounds,
            suspected=judged.suspected,
            status=status if 400 <= status <= 599 else None,
            retry_after_s=retry_after_s,
        )
    return _decoded(error, status, retry_after_s)


def decode_reported(body: bytes) -> UpstreamError:
    """Classify an error inside a 200 reply or stream."""
    error = _error_object(value_of(body)) or {}
    return _decoded(error, 200, None)


def is_error(value: object) -> bool:
    """Whether a decoded body is Google's error envelope, bare or in a list."""
    return _error_object(value) is not None


def _error_object(value: object) -> dict[str, Any] | None:
    if isinstance(value, list) and value:
        value = value[0]
    if not isinstance(value, dict):
        return None
    error = value.get("error")
    if isinstance(error, str) and error:
        message = value.get("error_description") or value.get("message")
        return {"message": message if isinstance(message, str) else error, "status": error}
    if isinstance(error, dict):
        return error
    if error is not None or "candidates" in value:
        return {} if error else None
    return value if isinstance(value.get("message"), str) and ("code" in value or "status" in value) else None


def _decoded(error: dict[str, Any], status: int, retry_after_s: float | None) -> UpstreamError:
    message = error.get("message")
    message = message if isinstance(message, str) and message else "The provider reported an error."
    said, number = error.get("status"), error.get("code")
    if not 400 <= status <= 599 and isinstance(number, int) and 400 <= number <= 599:
        status = number
    details = [d for d in _list(error.get("details")) if isinstance(d, dict)]
    reason = next((d["reason"] for d in details if isinstance(d.get("reason"), str)), None)
    native = said if isinstance(said, str) else None
    judged = judge(status, message, reason, native, member_at_fault({"details": details}))
    if retry_after_s is None:
        retry_after_s = _retry_delay_s(details)
    if retry_after_s is None:
        retry_after_s = message_retry_after_s(message)
    return UpstreamError(
        scrub(message)[:MESSAGE_CHARS_MAX],
        kind=judged.kind,
        grounds=judged.grounds,
        suspected=judged.suspected,
        status=status if 400 <= status <= 599 else None,
        native_code=reason or (str(number) if number is not None else None),
        native_type=native,
        details=_quota(details),
        retry_after_s=retry_after_s,
    )


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _retry_delay_s(details: list[dict[str, Any]]) -> float | None:
    """Seconds in ``RetryInfo.retryDelay`` ("25.35s", or {seconds, nanos})."""
    for detail in details:
        delay = detail.get("retryDelay")
        if isinstance(delay, dict):
            seconds, nanos = delay.get("seconds", 0), delay.get("nanos", 0)
            delay = f"{seconds}.{nanos:09d}s" if isinstance(nanos, int) else f"{seconds}s"
        if isinstance(delay, str):
            try:
                value = float(delay.removesuffix("s"))
            except ValueError:
                continue
            if math.isfinite(value) and value >= 0:
                return min(value, WAIT_MAX_S)
    return None


def _quota(details: list[dict[str, Any]]) -> dict[str, object]:
    """Which quota was exceeded, as QuotaFailure says."""
    violations = [v for d in details for v in _list(d.get("violations")) if isinstance(v, dict)]
    quotas = [v[k] for v in violations for k in ("quotaId", "quotaMetric") if isinstance(v.get(k), str)]
    return {"quota": scrub(quotas[0])[:200]} if quotas else {}


def error_value(error: RouterError, request_id: str) -> dict[str, Any]:
    """The envelope as a value. ``code`` is the HTTP status; our own code is the reason in ErrorInfo."""
    facts = {"code": error.code, "type": error.type, "request_id": request_id}
    if error.param is not None:
        facts["param"] = error.param
    facts |= {name: _fact(value) for name, value in error.details.items()}
    details: list[dict[str, Any]] = [
        {"@type": _TYPE + "ErrorInfo", "reason": error.code.upper(), "domain": _DOMAIN, "metadata": facts},
        {"@type": _TYPE + "RequestInfo", "requestId": request_id},
    ]
    if error.param is not None:
        violation = {"field": error.param, "description": error.message}
        details.append({"@type": _TYPE + "BadRequest", "fieldViolations": [violation]})
    if error.limits:
        details.append({"@type": _TYPE + "QuotaFailure", "violations": _violations(error.limits)})
    if error.retry_after_s is not None:
        details.append({"@type": _TYPE + "RetryInfo", "retryDelay": f"{math.ceil(error.retry_after_s)}s"})
    status = _STATUS.get(error.status) or ("INVALID_ARGUMENT" if error.status < 500 else "INTERNAL")
    return {"error": {"code": error.status, "message": error.message, "status": status, "details": details}}


def _violations(limits: tuple[LimitState, ...]) -> list[dict[str, str]]:
    """The limits that are used up; all of them where a single request was too large."""
    spent = [limit for limit in limits if limit.remaining == 0] or list(limits)
    return [
        {
            "quotaMetric": f"{_DOMAIN}/{limit.kind}",
            "quotaId": _quota_id(limit),
            "quotaValue": str(limit.limit),
        }
        for limit in spent
    ]


def _fact(value: object) -> str:
    """A detail as the text that metadata holds: numbers exact, what has members as JSON."""
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def encode_error(error: RouterError, request_id: str) -> bytes:
    """Google's error envelope."""
    return msgspec.json.encode(error_value(error, request_id))


def _quota_id(limit: LimitState) -> str:
    window = "" if limit.window is None else f"Per{limit.window.capitalize()}"
    return f"{limit.kind.capitalize()}{window}Per{limit.scope.capitalize()}"
