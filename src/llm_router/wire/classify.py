"""What a provider's error means, whatever its status and wording; how long to wait; what to hide.

Statuses mislead: a wrong key is 400 at some providers and 403 at others, an unknown model 400, a
prompt that is too long 400, 413, 429 or 500. So the code, the type and the text are read first,
and the status decides where they say nothing.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime

from llm_router.domain.errors import UpstreamKind

_K = UpstreamKind

_CONTEXT = re.compile(
    r"context_length_exceeded|context_window_exceeded|exceed_context_size|too_many_prompt_tokens"
    r"|string_above_max_length|prompt is too long|prompt too long"
    r"|(maximum|max) context length|context (length|window|size) (is |was |has been )?exceeded"
    r"|exceed\w* (the |its |your )?(\w+ ){0,3}context (length|window|size|limit)"
    r"|input (token count|length|tokens)[^.]{0,60}exceed|(input|prompt)[^.]{0,40}exceeds? the maximum"
    r"|input tokens exceeded|exceeds? the (available|maximum) context"
    r"|(messages?|prompt|input|request)[^.]{0,30} (is|are) too long"
    r"|too large to process|maximum prompt length|longer than the (model|maximum)"
)
_TOO_MANY_TOKENS = re.compile(r"too[ _]many[ _](input[ _])?tokens(?![^.]*\bwait\b)")
_KEY = re.compile(
    r"invalid_api_key|api_key_invalid|invalid x-api-key|authentication_error|unrecognizedclient"
    r"|expiredtoken|(incorrect|invalid|wrong|missing|unknown|expired|no) (api|access|subscription)[ -]?key"
    r"|api[ -]?key (is |was )?(not valid|invalid|expired|missing|not found|incorrect|required)"
    r"|api[ -]?key: \S+ is invalid|valid api key|invalid (authentication|credential|bearer|token\b)"
    r"|missing authentication|authentication (fails|failed|required)|invalid subscription key"
    r"|security token included|unauthenticated|unauthori[sz]ed\b"
)
_POLICY = re.compile(
    r"content_filter|content_policy|contentpolicy|responsibleaipolicy|content management policy"
    r"|usage polic|safety (system|polic|filter|setting)|moderation_blocked|data_inspection_failed"
    r"|flagged (by|as|for)|requires moderation|inappropriate content|prohibited_content"
    r"|guardrail|sensitive (content|word|information)|new_sensitive|content violat"
)
_PAYMENT = re.compile(
    r"insufficient_quota|insufficient[ _](balance|credit|fund)|billing_(hard_limit|not_active|error)"
    r"|credit balance is too low|payment[ _]required|arrearage|out of credits|more credits"
    r"|account (is )?(deactivated for )?(not active, please check your billing|overdue|in arrears)"
    r"|exceeded your (monthly|spending|budget)|spending limit|used all available credits"
)
_MODEL = re.compile(
    r"model_not_found|deploymentnotfound|invalid_model|model_not_available|model not (exist|found)"
    r"|unknown_model|unknown model|invalid model|no such model|model identifier is invalid"
    r"|\bmodel\b.{0,120}(does not exist|not found|is not available|was removed|has been deprecated"
    r"|been decommissioned|reached its end of life|isn't supported)"
    r"|model_decommissioned|(deployment|endpoint).{0,80} (does not exist|not found)|not a valid model"
    r"|no (allowed )?endpoints found"
)
_OVERLOADED = re.compile(
    r"overloaded|server_is_busy|server is busy|at capacity|capacity_exceeded|capacity exceeded"
    r"|no capacity|service[ _]?unavailable|model is (currently )?loading|modelnotready"
    r"|temporarily unavailable|high demand|no healthy upstream|no available (server|worker|instance)"
)
_RATE = re.compile(
    r"rate[ _-]?limit|ratelimit|throttl|resource_exhausted|too_many_requests|too many requests"
    r"|tokens_per_minute|requests per minute|quota exceeded|exceeded your current quota|quota_exceeded"
)
_PAYLOAD = re.compile(r"request_too_large|request too large|payload too large|entity too large")
_TIMEOUT = re.compile(r"timeout_error|timed?[ -]?out\b|gateway timeout|deadline[ _]?exceeded")
_SERVER = re.compile(
    r"server_error|internal[ _]?(server[ _]?)?error|api_error|internalserver|upstream_error|bad gateway"
)
_INVALID = re.compile(
    r"invalid[ _-]?(request|argument|parameter|value)|validation|bad[ _]request|unsupported"
)
_NEVER_FITS = re.compile(r"limit:? (\d+),? .{0,40}requested:? (\d+)")

_BY_STATUS = {
    401: _K.AUTHENTICATION,
    402: _K.PAYMENT,
    403: _K.PERMISSION,
    404: _K.NOT_FOUND,
    405: _K.NOT_FOUND,
    408: _K.TIMEOUT,
    410: _K.NOT_FOUND,
    413: _K.PAYLOAD,
    429: _K.RATE_LIMIT,
    451: _K.CONTENT_POLICY,
    498: _K.OVERLOADED,
    501: _K.INVALID_REQUEST,
    502: _K.UNAVAILABLE,
    503: _K.OVERLOADED,
    504: _K.TIMEOUT,
    521: _K.UNAVAILABLE,
    522: _K.TIMEOUT,
    523: _K.UNAVAILABLE,
    524: _K.TIMEOUT,
    529: _K.OVERLOADED,
}
_PASSING = (409, 425)
"""Statuses below 500 that say nothing against the request: something else was under way."""

_REFUSALS = (
    (_KEY, _K.AUTHENTICATION),
    (_POLICY, _K.CONTENT_POLICY),
    (_MODEL, _K.NOT_FOUND),
    (_PAYLOAD, _K.PAYLOAD),
    (_RATE, _K.RATE_LIMIT),
    (_OVERLOADED, _K.OVERLOADED),
)
"""What a plain 400, 409 or 422 may really be, first match wins."""

_UNSTATED = (
    (_KEY, _K.AUTHENTICATION),
    (_POLICY, _K.CONTENT_POLICY),
    (_OVERLOADED, _K.OVERLOADED),
    (_RATE, _K.RATE_LIMIT),
    (_MODEL, _K.NOT_FOUND),
    (_TIMEOUT, _K.TIMEOUT),
    (_SERVER, _K.SERVER),
    (_INVALID, _K.INVALID_REQUEST),
)
"""For an error that came without a status of its own (inside a stream)."""


def classify(status: int, message: str, code: str | None, type_: str | None) -> UpstreamKind:
    """Say what kind of failure a provider reports.

    ``status`` is the HTTP status; for an error inside a 200 reply pass 200, then a numeric ``code``
    of 400..599 is taken as the status.
    """
    if not 400 <= status <= 599:
        status = _numeric(code) or _numeric(type_) or 0
    words = " ".join(part for part in (code, type_, message) if part).lower()
    if _CONTEXT.search(words) or (status != 429 and _TOO_MANY_TOKENS.search(words)):
        return _K.CONTEXT_LENGTH
    if _PAYMENT.search(words):
        return _K.PAYMENT
    if status in (413, 429) and _never_fits(words):
        return _K.PAYLOAD
    if status == 429 and _OVERLOADED.search(words) and not _RATE.search(words):
        return _K.OVERLOADED
    if status == 403:
        return _first(words, _REFUSALS[:2]) or _K.PERMISSION
    if status >= 500 and _OVERLOADED.search(words):
        return _K.OVERLOADED
    if status in _BY_STATUS:
        return _BY_STATUS[status]
    if status >= 500:
        return _K.TIMEOUT if _TIMEOUT.search(words) else _K.SERVER
    if status:
        return _first(words, _REFUSALS) or (_K.SERVER if status in _PASSING else _K.INVALID_REQUEST)
    return _first(words, _UNSTATED) or _K.SERVER


def _first(words: str, table: tuple[tuple[re.Pattern[str], UpstreamKind], ...]) -> UpstreamKind | None:
    return next((kind for pattern, kind in table if pattern.search(words)), None)


def _numeric(text: str | None) -> int | None:
    if text is None or len(text) != 3 or not (text.isascii() and text.isdigit()):
        return None
    return int(text) if 400 <= int(text) <= 599 else None


def _never_fits(words: str) -> bool:
    """Whether one request asks for more than a whole rate window holds: no retry ever succeeds."""
    found = _NEVER_FITS.search(words)
    return found is not None and int(found[2][:18]) > int(found[1][:18])


_IMF_DATE = re.compile(r"\w{3}, (\d{2}) (\w{3}) (\d{4}) (\d{2}):(\d{2}):(\d{2}) GMT", re.ASCII)
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_TRY_AGAIN = re.compile(
    r"(?:try again|retry)(?: again)? (?:in|after) (?:(\d{1,4})h)?(?:(\d{1,6})m(?!s))?(?:([\d.]{1,16}) ?(ms|s))?"
)


def header_retry_after_s(headers: Mapping[str, str], now_s: float | None = None) -> float | None:
    """Seconds that a provider asks to wait, from ``retry-after-ms``, else ``retry-after``; else None.

    Names must be lower case. A value that is no finite number >= 0 is not reported. An HTTP date
    counts from ``now_s`` (Unix seconds) or else from the reply's own ``date`` header.
    https://www.rfc-editor.org/rfc/rfc9110#name-retry-after
    """
    millis = _seconds(headers.get("retry-after-ms"))
    if millis:  # Azure sends 0 here beside a full second in retry-after
        return millis / 1000
    text = headers.get("retry-after")
    wait = _seconds(text)
    if wait is None and text is not None:
        until = _http_date(text)
        since = now_s if now_s is not None else _http_date(headers.get("date", ""))
        if until is not None and since is not None:
            return max(0.0, until - since)
    return wait if wait is not None else millis


def message_retry_after_s(message: str) -> float | None:
    """Seconds in a text such as "Please try again in 6.78s", "in 1m30s" or "in 20ms"; else None."""
    found = _TRY_AGAIN.search(message.lower())
    if found is None or not any(found.groups()):
        return None
    hours, minutes, number, unit = found.groups()
    last = _seconds(number) or 0.0
    return int(hours or 0) * 3600 + int(minutes or 0) * 60 + (last / 1000 if unit == "ms" else last)


def _seconds(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) and value >= 0 else None


def _http_date(text: str) -> float | None:
    found = _IMF_DATE.fullmatch(text.strip())
    if found is None or found[2] not in _MONTHS:
        return None
    day, month, year = int(found[1]), _MONTHS.index(found[2]) + 1, int(found[3])
    try:
        return datetime(year, month, day, int(found[4]), int(found[5]), int(found[6]), tzinfo=UTC).timestamp()
    except ValueError:
        return None


REDACTED = "[redacted]"

_SECRETS = (
    # URLs with a user in them, and values that are named as secrets
    (re.compile(r"(://)[^/\s:@]+:[^/\s@]+@"), rf"\1{REDACTED}@"),
    (re.compile(r"(?i)\b(bearer|basic)(\s+)[A-Za-z0-9._~+/=*-]{4,}"), rf"\1\2{REDACTED}"),
    (
        re.compile(
            r"(?i)((?:(?:api|access|secret|subscription|auth|client)[ _-]?(?:key|token|secret)"
            r"(?: provided)?[\"']?\s*[=:]|(?:key|token|secret|password|signature|sig)[\"']?=)\s*[\"'`]?)"
            r"(?!\[redacted\])[^\s\"'`,;&<>)}\]]+"
        ),
        rf"\1{REDACTED}",
    ),
    (re.compile(r"(?i)(\bauthorization[\"']?\s*[=:]\s*[\"']?)(?!bearer|basic)[^\s\"',;]+"), rf"\1{REDACTED}"),
    # the prefixes by which providers mark their keys
    (
        re.compile(
            r"(?<![A-Za-z0-9])(?:sk|pk|rk|gsk|xai|csk|hf|r8|fw|fpk|pplx|nvapi|tgp_v1|ghp|gho|ghs|github_pat|glpat"
            r"|xox[abprs]|ABSK|dop_v1|sess|aisa)[-_][A-Za-z0-9_*.+/=-]{5,}"
        ),
        REDACTED,
    ),
    (re.compile(r"(?<![A-Za-z0-9])(?:AIza|AQ\.)[A-Za-z0-9_-]{8,}"), REDACTED),
    (re.compile(r"(?<![A-Za-z0-9])ya29\.[A-Za-z0-9_-]{8,}"), REDACTED),
    (re.compile(r"(?<![A-Za-z0-9])(?:AKIA|ASIA)[A-Z0-9]{12,}"), REDACTED),
    (re.compile(r"(?<![A-Za-z0-9])eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_.-]+"), REDACTED),
    (
        re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.S),
        REDACTED,
    ),
    # keys without a mark (Azure, Mistral, Cohere): long words of letters and digits that stand alone
    (
        re.compile(
            r"(?<![A-Za-z0-9_/-])(?=[A-Za-z]*[0-9])(?=[0-9]*[A-Za-z])[A-Za-z0-9]{32,}(?![A-Za-z0-9_-])"
        ),
        REDACTED,
    ),
)


def scrub(text: str) -> str:
    """Replace whatever looks like a credential in text that came from a provider.

    It errs on the side of hiding: a provider's error text may quote the key that the gateway sent.
    """
    for pattern, replacement in _SECRETS:
        text = pattern.sub(replacement, text)
    return text
