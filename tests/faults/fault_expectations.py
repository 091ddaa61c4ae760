"""What must become of each fault: of its client, its bill and its deployment.

A row says it for whole replies and for streams, the same for all dialects where one word stands. ``sound``
is the right answer at the right price. ``estimated`` is the right answer by our own count, ``unbilled`` for
nothing, ``mended`` with other characters, ``partial`` without the event that was lost, ``shuffled`` in the
order in which it came, ``repeated`` with what came twice, ``hollow`` without text though the provider counted some.
``504 timeout`` is that status and kind of failure before any content, so that another deployment answers;
``cut truncated`` an error of that kind after content.
"""

from __future__ import annotations

Row = str | tuple[str, str, str]
"""For all dialects, or for OpenAI chat, Anthropic messages and Gemini."""

UNAVAILABLE = "502 provider_unavailable"
TRUNCATED = "502 truncated"
MALFORMED = "502 malformed"
TIMEOUT = "504 timeout"
CUT = "cut truncated"
SERVER = "500 server"
OVERLOADED = "503 provider_overloaded"
INVALID = "400 invalid_request"
LIMITED = "429 rate_limit_exceeded"
NOT_FOUND = "404 not_found"

HOLLOW_STREAM = (MALFORMED, "hollow", TRUNCATED)

EXPECTED: dict[str, tuple[Row, Row]] = {
    "refused": (UNAVAILABLE, UNAVAILABLE),
    "close": (UNAVAILABLE, UNAVAILABLE),
    "reset": (UNAVAILABLE, UNAVAILABLE),
    "close-in-head": (UNAVAILABLE, UNAVAILABLE),
    "reset-in-head": (UNAVAILABLE, UNAVAILABLE),
    "close-after-head": (TRUNCATED, TRUNCATED),
    "reset-after-head": (TRUNCATED, TRUNCATED),
    "close-in-body": (TRUNCATED, CUT),
    "reset-in-body": (TRUNCATED, CUT),
    "truncated": (MALFORMED, CUT),
    "truncated-in-event": (TRUNCATED, CUT),
    # Gemini has no end marker: its finish reason and the end of the transfer together are the end.
    "no-last-event": ("sound", ("sound", "sound", CUT)),
    "no-last-chunk": (TRUNCATED, ("sound", "sound", CUT)),
    "until-close": ("sound", "sound"),
    "silent": (TIMEOUT, TIMEOUT),
    "silent-after-head": (TIMEOUT, TIMEOUT),
    "stall": (TIMEOUT, "cut timeout"),
    "slow-first-byte": ("sound", TIMEOUT),  # only the total counts for a whole reply
    "slow-after-head": ("sound", TIMEOUT),
    "slow-events": ("sound", TIMEOUT),
    "drip": ("sound", "sound"),
    "keeps-alive": (TIMEOUT, TIMEOUT),
    "left-open": (TIMEOUT, ("sound", "sound", "cut timeout")),
    "endless": (MALFORMED, "cut malformed"),
    "early-hints": ("sound", "sound"),
    "short-length": (MALFORMED, CUT),
    "long-length": (TRUNCATED, ("sound", "sound", CUT)),
    "bad-chunk-size": (MALFORMED, "cut malformed"),
    "huge-chunk-size": (MALFORMED, "cut malformed"),
    "unended-chunk": (MALFORMED, "cut malformed"),
    "gzip-unasked": ("sound", "sound"),
    "gzip-cut": (TRUNCATED, CUT),
    "second-reply": ("sound", "sound"),
    "trailers": ("sound", "sound"),
    "no-keep-alive": ("sound", "sound"),
    **dict.fromkeys(
        (
            "not-http", "tls-alert", "http-0.9", "bad-status-line", "status-0", "http-3.7", "only-interim",
            "switching", "huge-header", "many-headers", "header-control-byte", "header-without-colon",
            "folded-header", "bad-length", "negative-length", "huge-length", "two-lengths",
            "length-and-chunks", "bad-transfer-encoding", "gzip-garbage", "gzip-bomb", "unknown-encoding",
            "redirect-301", "redirect-302", "redirect-307", "redirect-308", "not-modified",
        ),
        (MALFORMED, MALFORMED),
    ),
    "no-content": (MALFORMED, TRUNCATED),
    # Errors.
    "status": (SERVER, SERVER),
    "invalid-request": (INVALID, INVALID),
    "context-length": ("400 context_length_exceeded",) * 2,
    "content-policy": ("400 content_policy_violation",) * 2,
    "bad-key": (("401 authentication", "401 authentication", "400 authentication"),) * 2,
    "bad-key-403": ("403 authentication",) * 2,
    "no-permission": ("403 permission_denied",) * 2,
    "no-credit": (("429 payment_required", "400 payment_required", "402 payment_required"),) * 2,
    "no-such-model": (NOT_FOUND, NOT_FOUND),
    "no-such-model-400": ("400 not_found",) * 2,
    "not-found": (NOT_FOUND, NOT_FOUND),
    "method-refused": ("502 address_refused",) * 2,
    "request-timeout": ("408 timeout",) * 2,
    "conflict": ("409 server",) * 2,
    "gone": ("410 not_found",) * 2,
    "too-large": ("413 payload_too_large",) * 2,
    "unsupported-type": ("415 invalid_request",) * 2,
    "unprocessable": ("422 invalid_request",) * 2,
    "legal-reasons": ("451 content_policy_violation",) * 2,
    "server-error": (SERVER, SERVER),
    "not-implemented": ("501 invalid_request",) * 2,
    "bad-gateway": (UNAVAILABLE, UNAVAILABLE),
    "unavailable": (OVERLOADED, OVERLOADED),
    "overloaded": ((OVERLOADED, "529 provider_overloaded", OVERLOADED),) * 2,
    "overloaded-500": ("500 provider_overloaded",) * 2,
    "gateway-timeout": (TIMEOUT, TIMEOUT),
    "cloudflare-520": ("520 server",) * 2,
    "cloudflare-522": ("522 timeout",) * 2,
    "cloudflare-524": ("524 timeout",) * 2,
    "cloudflare-529": ("529 provider_overloaded",) * 2,
    "html-404": (NOT_FOUND, NOT_FOUND),
    "html-502": (UNAVAILABLE, UNAVAILABLE),
    "html-503": (OVERLOADED, OVERLOADED),
    "text-503": (OVERLOADED, OVERLOADED),
    "error-flat": (INVALID, INVALID),
    "error-code-and-text": (INVALID, INVALID),
    "error-detail": ("422 invalid_request",) * 2,
    "error-list": (OVERLOADED, OVERLOADED),
    "error-number-code": (UNAVAILABLE, UNAVAILABLE),
    "error-cut": (OVERLOADED, OVERLOADED),
    **dict.fromkeys(
        (
            "error-empty", "error-string", "error-message", "error-null", "error-number", "error-octets",
            "error-not-utf8", "error-endless", "error-stalled",
        ),
        (SERVER, SERVER),
    ),
    "error-in-200": (("502 server", "502 server", "500 server"),) * 2,  # Gemini's error names its status
    "error-event": ("sound", "cut provider_overloaded"),
    "error-first-event": ("sound", OVERLOADED),
    # Rate limits.
    **dict.fromkeys(
        (
            "429", "429-no-hint", "429-seconds", "429-ms", "429-date", "429-body", "429-both", "429-zero",
            "429-negative", "429-words", "429-past", "429-hours", "429-reset-headers", "429-html", "429-empty",
        ),
        (LIMITED, LIMITED),
    ),
    "429-never": ("429 payload_too_large",) * 2,
    "503-seconds": (OVERLOADED, OVERLOADED),
    # Bodies.
    "html": (MALFORMED, MALFORMED),
    "text": (MALFORMED, TRUNCATED),
    "empty-body": (MALFORMED, TRUNCATED),
    "blank-body": (MALFORMED, TRUNCATED),
    "empty-object": (MALFORMED, MALFORMED),
    "empty-list": ((MALFORMED, MALFORMED, TRUNCATED), TRUNCATED),
    "null-body": (MALFORMED, TRUNCATED),
    "string-body": (MALFORMED, TRUNCATED),
    "other-json": (MALFORMED, MALFORMED),
    "deep-json": (MALFORMED, "cut malformed"),
    "binary": (MALFORMED, TRUNCATED),
    "wrong-type": ("sound", "sound"),
    "no-type": ("sound", "sound"),
    "odd-charset": ("sound", "sound"),
    "not-utf8": ("mended", "mended"),
    "lone-surrogate": ("mended", "mended"),
    "nul-in-text": ("mended", "mended"),
    "raw-control": (("mended", "mended", MALFORMED),) * 2,
    "bom": ("sound", "sound"),
    "blanks-before": ("sound", "sound"),
    "garbage-behind": (MALFORMED, "sound"),
    "broken-json": (MALFORMED, "cut malformed"),
    "not-json": (MALFORMED, ("partial", "partial", "cut malformed")),
    "giant-line": (MALFORMED, "cut malformed"),
    "garbage-line": ("sound", "sound"),
    "comments": ("sound", "sound"),
    "crlf": ("sound", "sound"),
    "cr-only": ("sound", "sound"),
    "one-packet": ("sound", "sound"),
    "whole-for-stream": ("sound", MALFORMED),
    # Events and members.
    "empty-content": ((MALFORMED, "hollow", MALFORMED), HOLLOW_STREAM),
    "null-content": ((MALFORMED, "hollow", MALFORMED), HOLLOW_STREAM),
    "missing-content": (MALFORMED, HOLLOW_STREAM),
    "number-content": (MALFORMED, HOLLOW_STREAM),
    "unknown-members": ("sound", "sound"),
    "null-event": ((MALFORMED, "hollow", MALFORMED), "partial"),
    "number-event": (MALFORMED, "partial"),
    "no-first-event": ("sound", ("partial", "sound", "partial")),  # the others begin with text
    "late-first-event": ("sound", ("shuffled", "sound", "shuffled")),
    "twice-begun": ("sound", ("repeated", "sound", "repeated")),
    # Usage and ids.
    "zero-usage": ("unbilled", "unbilled"),
    **dict.fromkeys(
        (
            "no-usage", "null-usage", "text-usage", "list-usage", "negative-usage", "absurd-usage", "huge-usage",
            "fractional-usage", "text-counts",
        ),
        ("estimated", "estimated"),
    ),
    "nan-usage": ("estimated", "estimated"),
    "no-finish": ("sound", ("sound", "sound", CUT)),
    **dict.fromkeys(
        (
            "double-usage", "usage-everywhere", "double-finish", "double-end", "odd-finish", "number-finish",
            "no-id", "empty-id", "null-id", "number-id", "changing-ids", "other-model", "no-model",
        ),
        ("sound", "sound"),
    ),
}  # fmt: skip
