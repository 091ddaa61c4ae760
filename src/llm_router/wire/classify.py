"""What a provider's error tells beside its kind (wire/judging.py): how long to wait; and what to hide of it."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime

from llm_router.domain import late

_IMF_DATE = late.compile(r"\w{3}, (\d{2}) (\w{3}) (\d{4}) (\d{2}):(\d{2}):(\d{2}) GMT", re.ASCII)
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_TRY_AGAIN = late.compile(
    r"(?:try again|retry)(?: again)? (?:in|after) (?:(\d{1,4})h)?(?:(\d{1,6})m(?!s))?(?:([\d.]{1,16}) ?(ms|s))?"
)


WAIT_MAX_S = 366 * 86_400.0
"""Longer waits are as good as this one, and what is reckoned with them has room."""


def header_retry_after_s(headers: Mapping[str, str], now_s: float | None = None) -> float | None:
    """Seconds that a provider asks to wait, from ``retry-after-ms``, else ``retry-after``; else None.

    Names must be lower case. A value that is no finite number >= 0 is not reported. An HTTP date
    counts from ``now_s`` (Unix seconds) or else from the reply's own ``date`` header.
    https://www.rfc-editor.org/rfc/rfc9110#name-retry-after
    """
    millis = _seconds(headers.get("retry-after-ms"))
    if millis:  # Azure sends 0 here beside a full second in retry-after
        return min(millis / 1000, WAIT_MAX_S)
    text = headers.get("retry-after")
    wait = _seconds(text)
    if wait is None and text is not None:
        until = _http_date(text)
        since = now_s if now_s is not None else _http_date(headers.get("date", ""))
        if until is not None and since is not None:
            return min(max(0.0, until - since), WAIT_MAX_S)
    return min(wait, WAIT_MAX_S) if wait is not None else millis


def message_retry_after_s(message: str) -> float | None:
    """Seconds in a text such as "Please try again in 6.78s", "in 1m30s" or "in 20ms"; else None."""
    found = message_wait(message)
    return None if found is None else found[0]


def message_wait(message: str) -> tuple[float, str] | None:
    """The same, and the words that say it."""
    found = _TRY_AGAIN.search(message.lower())
    if found is None or not any(found.groups()):
        return None
    hours, minutes, number, unit = found.groups()
    last = _seconds(number) or 0.0
    wait_s = int(hours or 0) * 3600 + int(minutes or 0) * 60 + (last / 1000 if unit == "ms" else last)
    return min(wait_s, WAIT_MAX_S), found[0]


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


_TAGS = late.compile(r"<(script|style)\b(?:(?!<\1\b).)*?</\1>|<[^<>]*>", re.S | re.I)


def without_tags(page: str) -> str:
    """What a web page shows, if it is one. It is read once, however many tags begin in it and never end."""
    return _TAGS.sub(" ", page) if "<" in page[:200] else page


REDACTED = "[redacted]"

_SECRETS = (
    # URLs with a user in them, and values that are named as secrets
    (late.compile(r"(://)[^/\s:@]+:[^/\s@]+@"), rf"\1{REDACTED}@"),
    (late.compile(r"(?i)\b(bearer|basic)(\s+)[A-Za-z0-9._~+/=*-]{4,}"), rf"\1\2{REDACTED}"),
    (
        late.compile(
            r"(?i)((?:(?:api|access|secret|subscription|auth|client)[ _-]?(?:key|token|secret)"
            r"(?: provided)?[\"']?\s*[=:]|(?:key|token|secret|password|signature|sig)[\"']?=)\s*[\"'`]?)"
            r"(?!\[redacted\])[^\s\"'`,;&<>)}\]]+"
        ),
        rf"\1{REDACTED}",
    ),
    (
        late.compile(r"(?i)(\bauthorization[\"']?\s*[=:]\s*[\"']?)(?!bearer|basic)[^\s\"',;]+"),
        rf"\1{REDACTED}",
    ),
    # the prefixes by which providers mark their keys
    (
        late.compile(
            r"(?<![A-Za-z0-9])(?:sk|pk|rk|gsk|xai|csk|hf|r8|fw|fpk|pplx|nvapi|tgp_v1|ghp|gho|ghs|github_pat|glpat"
            r"|xox[abprs]|ABSK|dop_v1|sess|aisa)[-_][A-Za-z0-9_*.+/=-]{5,}"
        ),
        REDACTED,
    ),
    (late.compile(r"(?<![A-Za-z0-9])(?:AIza|AQ\.)[A-Za-z0-9_-]{8,}"), REDACTED),
    (late.compile(r"(?<![A-Za-z0-9])ya29\.[A-Za-z0-9_-]{8,}"), REDACTED),
    (late.compile(r"(?<![A-Za-z0-9])(?:AKIA|ASIA)[A-Z0-9]{12,}"), REDACTED),
    (late.compile(r"(?<![A-Za-z0-9])eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_.-]+"), REDACTED),
    (
        late.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.S),
        REDACTED,
    ),
    # keys without a mark (Azure, Mistral, Cohere): long words of letters and digits that stand alone
    (
        late.compile(
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
