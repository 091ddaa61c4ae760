"""One error tree. Each class fixes HTTP status, code, whose fault it is and whether to retry.

RouterError
+-- ClientError                      the caller's to mend
|   +-- InvalidRequest               400 invalid_request
|   +-- UnsupportedContent           400 unsupported_content (no provider of the model takes it)
|   +-- LossRefused                  400 lossy_translation   (strict mode)
|   +-- MissingApiKey                401 missing_api_key
|   +-- InvalidApiKey                401 invalid_api_key
|   +-- SignInRefused                401 sign_in_refused     (password, code or session)
|   +-- InsufficientCredits          402 insufficient_credits
|   +-- MaxCostExceeded              402 max_cost_exceeded   (x-max-cost)
|   +-- PaymentDeclined              402 payment_declined
|   +-- ModelNotAllowed              403 model_not_allowed
|   +-- Forbidden                    403 forbidden           (one sees it, but may not do that)
|   +-- ModelNotFound                404 model_not_found
|   +-- NoEligibleDeployment         404 no_eligible_deployment
|   +-- NotFound                     404 not_found
|   +-- MethodNotAllowed             405 method_not_allowed
|   +-- RequestTimeout               408 request_timeout     (the caller was slow to send it)
|   +-- SessionBrake                 409 session_brake
|   +-- IdempotencyConflict          409 idempotency_conflict (the same request is being answered)
|   +-- IdempotencyMismatch          422 idempotency_mismatch
|   +-- PayloadTooLarge              413 payload_too_large
|   +-- UnsupportedEncoding          415 unsupported_media_type
|   +-- RateLimitExceeded            429 rate_limit_exceeded
|   +-- HeadersTooLarge              431 headers_too_large
+-- GatewayError                     ours
|   +-- ServerError                  500 server_error
|   +-- LedgerUnavailable            503 ledger_unavailable
|   +-- Overloaded                   503 overloaded
|   +-- ProviderNotConfigured        503 provider_not_configured
|   +-- PaymentUnavailable           502 payment_unavailable
+-- UpstreamError                    the provider's: its own 4xx/5xx status, else 502 or 504
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import ClassVar, NamedTuple

from llm_router.domain.limit import LimitState


class Fault(StrEnum):
    """Who has to mend it."""

    CLIENT = "client"
    GATEWAY = "gateway"
    UPSTREAM = "upstream"


class RouterError(Exception):
    """Base of everything that becomes an error reply.

    Attributes:
        message: says what is wrong and what to change; safe to show (no secrets).
        param: the request field it is about, if any.
        details: further members of the error body (plain JSON values).
        retry_after_s: seconds after which a retry makes sense.
        headers: further headers of the error reply.
        limits: where the caller's key stands, for an error about that.
    """

    status: int = 500
    code: str = "server_error"
    type: str = "server_error"
    fault: ClassVar[Fault] = Fault.GATEWAY
    retryable: bool = False
    headers: tuple[tuple[str, str], ...] = ()

    def __init__(
        self,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        details: Mapping[str, object] | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        if code is not None:
            self.code = code
        self.details = dict(details or {})
        self.retry_after_s = retry_after_s
        self.limits: tuple[LimitState, ...] = ()


class ClientError(RouterError):
    status = 400
    code = "invalid_request"
    type = "invalid_request_error"
    fault = Fault.CLIENT


class InvalidRequest(ClientError):
    pass


class UnsupportedContent(ClientError):
    code = "unsupported_content"


class LossRefused(ClientError):
    code = "lossy_translation"


class MissingApiKey(ClientError):
    status = 401
    code = "missing_api_key"
    type = "authentication_error"


class InvalidApiKey(ClientError):
    status = 401
    code = "invalid_api_key"
    type = "authentication_error"


class SignInRefused(ClientError):
    """A person did not prove who they are."""

    status = 401
    code = "sign_in_refused"
    type = "authentication_error"


class InsufficientCredits(ClientError):
    """
    Attributes:
        available_pusd: the largest hold that would be granted now.
        reachable_pusd: the largest that could be, if all that is held came back; 0 where not known.
    """

    status = 402
    code = "insufficient_credits"
    type = "billing_error"
    available_pusd = 0
    reachable_pusd = 0


class MaxCostExceeded(ClientError):
    """The request may cost more than its own ``x-max-cost`` allows."""

    status = 402
    code = "max_cost_exceeded"
    type = "billing_error"


class PaymentDeclined(ClientError):
    """A payment was refused by the customer's bank."""

    status = 402
    code = "payment_declined"
    type = "billing_error"


class SessionBrake(ClientError):
    """A session has reached a ceiling, or repeats itself. Clients that repeat 409 are told not to, unless it says
    when: what other requests of it hold may come back."""

    status = 409
    code = "session_brake"
    headers = (("x-should-retry", "false"),)

    def __init__(
        self,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        details: Mapping[str, object] | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message, param=param, code=code, details=details, retry_after_s=retry_after_s)
        if retry_after_s is not None:
            self.headers = (("x-should-retry", "true"),)


class IdempotencyConflict(ClientError):
    status = 409
    code = "idempotency_conflict"


class IdempotencyMismatch(ClientError):
    status = 422
    code = "idempotency_mismatch"


class ModelNotAllowed(ClientError):
    status = 403
    code = "model_not_allowed"
    type = "permission_error"


class Forbidden(ClientError):
    """The caller sees what it is about, but may not do that with it."""

    status = 403
    code = "forbidden"
    type = "permission_error"


class ModelNotFound(ClientError):
    status = 404
    code = "model_not_found"
    type = "not_found_error"


class NoEligibleDeployment(ClientError):
    """The model is there, but nobody who serves it may or can serve this request."""

    status = 404
    code = "no_eligible_deployment"
    type = "not_found_error"


class NotFound(ClientError):
    status = 404
    code = "not_found"
    type = "not_found_error"


class MethodNotAllowed(ClientError):
    status = 405
    code = "method_not_allowed"


class RequestTimeout(ClientError):
    """The caller took too long to send it."""

    status = 408
    code = "request_timeout"


class PayloadTooLarge(ClientError):
    status = 413
    code = "payload_too_large"


class UnsupportedEncoding(ClientError):
    status = 415
    code = "unsupported_media_type"


class RateLimitExceeded(ClientError):
    """
    Attributes:
        models: the models that the limit is for, a name or a glob; None: all.
    """

    models: str | None = None
    status = 429
    code = "rate_limit_exceeded"
    type = "rate_limit_error"
    retryable = True


class HeadersTooLarge(ClientError):
    status = 431
    code = "headers_too_large"


class GatewayError(RouterError):
    pass


class ServerError(GatewayError):
    pass


class LedgerUnavailable(GatewayError):
    status = 503
    code = "ledger_unavailable"
    retryable = True


class Overloaded(GatewayError):
    status = 503
    code = "overloaded"
    type = "overloaded_error"
    retryable = True


class ProviderNotConfigured(GatewayError):
    """The model exists, but none of its providers has a key here."""

    status = 503
    code = "provider_not_configured"


class PaymentUnavailable(GatewayError):
    """The provider of payments cannot be reached, or refuses this gateway."""

    status = 502
    code = "payment_unavailable"


class UpstreamKind(StrEnum):
    """What went wrong at a provider, whatever its shape and status (OpenRouter's vocabulary where it has a word)."""

    INVALID_REQUEST = "invalid_request"
    AUTHENTICATION = "authentication"  # the gateway's credential at that provider
    PERMISSION = "permission_denied"
    PAYMENT = "payment_required"
    NOT_FOUND = "not_found"  # the model, or the provider's address
    ADDRESS = "address_refused"  # what is there takes no such request: the address or the dialect is wrong
    OBJECT = "object_not_found"  # a file, a cache, ... that the request names
    CONTEXT_LENGTH = "context_length_exceeded"
    CONTENT_POLICY = "content_policy_violation"
    PAYLOAD = "payload_too_large"
    RATE_LIMIT = "rate_limit_exceeded"
    OVERLOADED = "provider_overloaded"
    SERVER = "server"
    UNAVAILABLE = "provider_unavailable"  # refused, reset, DNS, TLS
    TIMEOUT = "timeout"
    TRUNCATED = "truncated"  # the reply ended before its end
    MALFORMED = "malformed"  # not what the dialect says


class Grounds(NamedTuple):
    """The words of a provider that alone make an error what it is, and what it is if they are the client's own,
    quoted."""

    words: str
    otherwise: UpstreamKind


class UpstreamError(RouterError):
    """A provider failed or refused.

    Attributes:
        status: the provider's own status where it sent one (400..599), else 502, or 504 for timeouts; 502
            for what an address refuses.
        kind: the classification that fallback decisions use.
        provider: its id, set by the engine.
        native_code, native_type: as the provider spelled them.
        sent: False when not one byte of the request left, so that a retry is safe.
        grounds: on what the kind rests, where no status and no code says it.
        suspected: what it may be all the same though it cannot be told from the client's own doing: others are
            asked, and other keys, but nobody is blamed.
    """

    status = 502
    code = "upstream_error"
    type = "upstream_error"
    fault = Fault.UPSTREAM

    def __init__(
        self,
        message: str,
        *,
        kind: UpstreamKind,
        status: int | None = None,
        param: str | None = None,
        native_code: str | None = None,
        native_type: str | None = None,
        details: Mapping[str, object] | None = None,
        retry_after_s: float | None = None,
        sent: bool = True,
        grounds: Grounds | None = None,
        suspected: UpstreamKind | None = None,
    ) -> None:
        super().__init__(message, param=param, details=details, retry_after_s=retry_after_s)
        self._own_status = status
        self.become(kind)
        self.native_code = native_code
        self.native_type = native_type
        self.provider: str | None = None
        self.sent = sent
        self.grounds = grounds
        self.suspected = suspected

    def become(self, kind: UpstreamKind) -> None:
        """Be of that kind, and told as such."""
        self.kind = kind
        own = None if kind in _NOT_THE_CLIENTS else self._own_status
        self.status = own if own is not None else _STATUS.get(kind, 502)
        self.code = _CODE.get(kind, "upstream_error")
        self.type = _TYPE.get(kind, "upstream_error")
        self.retryable = kind in _RETRYABLE


_NOT_THE_CLIENTS = {UpstreamKind.ADDRESS}
"""Kinds whose status would speak of the client's own request: it used a method that this gateway takes."""
_RETRYABLE = {
    UpstreamKind.RATE_LIMIT,
    UpstreamKind.OVERLOADED,
    UpstreamKind.SERVER,
    UpstreamKind.UNAVAILABLE,
    UpstreamKind.TIMEOUT,
    UpstreamKind.TRUNCATED,
    UpstreamKind.MALFORMED,
}
_STATUS = {
    UpstreamKind.INVALID_REQUEST: 400,
    UpstreamKind.CONTEXT_LENGTH: 400,
    UpstreamKind.CONTENT_POLICY: 400,
    UpstreamKind.NOT_FOUND: 404,
    UpstreamKind.OBJECT: 404,
    UpstreamKind.PAYLOAD: 413,
    UpstreamKind.RATE_LIMIT: 429,
    UpstreamKind.OVERLOADED: 503,
    UpstreamKind.TIMEOUT: 504,
}
_CODE = {
    UpstreamKind.INVALID_REQUEST: "invalid_request",
    UpstreamKind.AUTHENTICATION: "upstream_authentication",
    UpstreamKind.PERMISSION: "upstream_permission_denied",
    UpstreamKind.PAYMENT: "upstream_payment_required",
    UpstreamKind.NOT_FOUND: "model_not_found",
    UpstreamKind.OBJECT: "not_found",
    UpstreamKind.ADDRESS: "upstream_address",
    UpstreamKind.CONTEXT_LENGTH: "context_length_exceeded",
    UpstreamKind.CONTENT_POLICY: "content_policy_violation",
    UpstreamKind.PAYLOAD: "payload_too_large",
    UpstreamKind.RATE_LIMIT: "rate_limit_exceeded",
    UpstreamKind.OVERLOADED: "upstream_overloaded",
    UpstreamKind.TIMEOUT: "upstream_timeout",
    UpstreamKind.TRUNCATED: "upstream_truncated",
    UpstreamKind.MALFORMED: "upstream_malformed",
}
_TYPE = {
    UpstreamKind.INVALID_REQUEST: "invalid_request_error",
    UpstreamKind.CONTEXT_LENGTH: "invalid_request_error",
    UpstreamKind.CONTENT_POLICY: "invalid_request_error",
    UpstreamKind.PAYLOAD: "invalid_request_error",
    UpstreamKind.NOT_FOUND: "not_found_error",
    UpstreamKind.OBJECT: "not_found_error",
    UpstreamKind.RATE_LIMIT: "rate_limit_error",
    UpstreamKind.OVERLOADED: "overloaded_error",
}
