"""Errors: ``{"message"}``, with their kind in a header, in ``__type`` or in the stream's own headers.

https://docs.aws.amazon.com/bedrock/latest/userguide/troubleshooting-api-error-codes.html
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from llm_router.domain.errors import UpstreamError, UpstreamKind
from llm_router.wire.classify import header_retry_after_s, message_retry_after_s, scrub
from llm_router.wire.framing.aws import Message
from llm_router.wire.judging import Judged, judge
from llm_router.wire.verbatim import value

MESSAGE_CHARS_MAX = 4000
"""How much of a provider's text is passed on."""

_K = UpstreamKind
_KINDS: Mapping[str, UpstreamKind] = {
    "throttlingexception": _K.RATE_LIMIT,
    "toomanyrequestsexception": _K.RATE_LIMIT,
    "servicequotaexceededexception": _K.RATE_LIMIT,
    "modelnotreadyexception": _K.OVERLOADED,
    "serviceunavailableexception": _K.OVERLOADED,
    "serviceunavailable": _K.OVERLOADED,
    "modeltimeoutexception": _K.TIMEOUT,
    "internalserverexception": _K.SERVER,
    "internalfailure": _K.SERVER,
    "modelerrorexception": _K.SERVER,
    "modelstreamerrorexception": _K.SERVER,
    "unknownoperationexception": _K.NOT_FOUND,
    "unrecognizedclientexception": _K.AUTHENTICATION,
    "invalidclienttokenid": _K.AUTHENTICATION,
    "expiredtoken": _K.AUTHENTICATION,
    "expiredtokenexception": _K.AUTHENTICATION,
    "incompletesignature": _K.AUTHENTICATION,
    "incompletesignatureexception": _K.AUTHENTICATION,
    "invalidsignatureexception": _K.AUTHENTICATION,
    "missingauthenticationtoken": _K.AUTHENTICATION,
    "missingauthenticationtokenexception": _K.AUTHENTICATION,
    "requestexpired": _K.AUTHENTICATION,
}
"""What an exception means. Those that are not here (validation, denied access) mean several things."""

_STATUSES = {"validationexception": 400, "accessdeniedexception": 403, "resourcenotfoundexception": 404}
"""Those statuses, where an exception came without one."""

_WRONG_KEY = re.compile(r"make sure your api key is valid|bearer token|signature we calculated")


def decode_error(status: int, headers: Mapping[str, str], body: bytes) -> UpstreamError:
    """An upstream error, whatever its shape. Never raises. Header names are lower case."""
    found = value(body)
    said: Mapping[str, object] = found if isinstance(found, dict) else {}
    name = _name(headers.get("x-amzn-errortype")) or _typed(said)
    message = _message(said) if said else _plain(body)
    return _error(status, name, message, said, headers.get("x-amzn-requestid"), header_retry_after_s(headers))


def stream_error(message: Message) -> UpstreamError:
    """An exception, or an error, that came in place of an event."""
    if message.text(":message-type") == "error":
        return _error(200, message.text(":error-code"), message.text(":error-message"), {}, None, None)
    found = value(message.payload)
    said: Mapping[str, object] = found if isinstance(found, dict) else {}
    return _error(200, _name(message.text(":exception-type")), _message(said), said, None, None)


def reported_error(body: object) -> UpstreamError | None:
    """The error in a reply of status 200; None if it holds none."""
    if not isinstance(body, dict) or not (_typed(body) or _message(body)):
        return None
    return _error(200, _typed(body), _message(body), body, None, None)


def _error(
    status: int,
    name: str,
    message: str,
    said: Mapping[str, object],
    request_id: str | None,
    retry_after_s: float | None,
) -> UpstreamError:
    judged = _judged(status, name, message, said)
    if retry_after_s is None and judged.kind is _K.RATE_LIMIT:
        retry_after_s = message_retry_after_s(message)
    shown = scrub(message.strip()[:MESSAGE_CHARS_MAX])
    if not shown:
        shown = (
            f"The provider reported {scrub(name[:200])}."
            if name
            else f"The provider answered with status {status} and no message."
        )
    return UpstreamError(
        shown,
        kind=judged.kind,
        grounds=judged.grounds,
        suspected=judged.suspected,
        status=status if 400 <= status <= 599 else None,
        native_type=name or None,
        details={"upstream_request_id": request_id} if request_id else None,
        retry_after_s=retry_after_s,
    )


def _judged(status: int, name: str, message: str, said: Mapping[str, object]) -> Judged:
    original = said.get("originalStatusCode")  # what the model's own server answered
    if isinstance(original, int) and 400 <= original <= 599:
        text = said.get("originalMessage")
        return judge(original, f"{message} {text if isinstance(text, str) else ''}", None, None)
    known = _KINDS.get(name.lower())
    if known is not None:
        return Judged(known)
    if not 400 <= status <= 599:
        status = _STATUSES.get(name.lower(), status)
    if status in (401, 403) and _WRONG_KEY.search(message.lower()):
        return Judged(_K.AUTHENTICATION)
    return judge(status, message, None, name)


def _typed(said: Mapping[str, object]) -> str:
    """The name in ``__type``, also where a front door of AWS wraps it: ``{"Output": {"__type"}}``."""
    inner = said.get("Output")
    for holder in (said, inner if isinstance(inner, dict) else {}):
        for member in ("__type", "code"):
            name = holder.get(member)
            if isinstance(name, str) and name:
                return _name(name)
    return ""


def _name(text: str | None) -> str:
    """``ValidationException`` of ``com.amazon.bedrock#ValidationException:http://internal...``."""
    return (text or "").partition(":")[0].rpartition("#")[2].strip()


def _message(said: Mapping[str, object]) -> str:
    for member in ("message", "Message", "originalMessage"):
        text = said.get(member)
        if isinstance(text, str) and text:
            return text
    return ""


def _plain(body: bytes) -> str:
    """Text that is not JSON; of a web page nothing is worth showing."""
    text = body[: 4 * MESSAGE_CHARS_MAX].decode("utf-8", "replace").strip()
    return "" if text[:1] in ("<", "[") or text == "null" else text
