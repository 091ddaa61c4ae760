"""The headers of a reply in the words of the API that was called: its id, and what is left of the limits.

They are written as lines, each with its end, which is what goes out; :func:`fields` takes lines apart.

OpenAI's: https://platform.openai.com/docs/api-reference/debugging-requests and
https://platform.openai.com/docs/guides/rate-limits#rate-limits-in-headers. Anthropic's:
https://docs.anthropic.com/en/api/rate-limits#response-headers. Google's API has none: its errors say
all (``RetryInfo``, ``QuotaFailure``).
"""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec

from llm_router.domain.limit import LimitState

Headers = list[tuple[bytes, bytes]]

OPENAI_VERSION = "2020-10-01"
"""The version of its API that OpenAI names in every reply."""

_ANTHROPIC_KINDS = {"tokens": ("tokens", "input-tokens", "output-tokens")}


class Head(msgspec.Struct, frozen=True, kw_only=True):
    """What the headers tell.

    Attributes:
        request_id: of the exchange.
        at_ms: Unix time at which ``limits`` stood so.
        elapsed_ms: since the request came; None where nobody counted.
    """

    request_id: str
    at_ms: int
    elapsed_ms: int | None = None
    limits: tuple[LimitState, ...] = ()


def fields(told: str) -> Headers:
    """The names and values of lines, for a server that writes them itself."""
    pairs = (line.split(": ", 1) for line in told.split("\r\n")[:-1])
    return [(name.encode("latin-1", "replace"), value.encode("latin-1", "replace")) for name, value in pairs]


def lines(headers: Headers) -> str:
    """The other way round."""
    return b"".join([b"%b: %b\r\n" % pair for pair in headers]).decode("latin-1")


def plain_head(head: Head) -> str:
    """The id, and the limits in OpenAI's names."""
    told = f"x-request-id: {head.request_id}\r\n"
    for limit in head.limits:
        kind = limit.kind
        told += (
            f"x-ratelimit-limit-{kind}: {limit.limit}\r\nx-ratelimit-remaining-{kind}: {limit.remaining}\r\n"
        )
        reset_ms = limit.reset_ms
        if reset_ms is not None:
            after_s = -(-reset_ms // 1000)
            told += (
                f"x-ratelimit-reset-{kind}: {_SHORT[after_s] if after_s < _MANY_S else _long(after_s)}\r\n"
            )
    return told


def openai_head(head: Head) -> str:
    """As OpenAI's API writes them."""
    told = f"{plain_head(head)}openai-version: {OPENAI_VERSION}\r\n"
    return told if head.elapsed_ms is None else f"{told}openai-processing-ms: {head.elapsed_ms}\r\n"


def anthropic_head(head: Head) -> str:
    """As Anthropic's API writes them. A limit of tokens bounds those of input and of output alike."""
    told = f"request-id: {head.request_id}\r\nx-request-id: {head.request_id}\r\n"
    for limit in head.limits:
        for kind in _ANTHROPIC_KINDS.get(limit.kind, (limit.kind,)):
            name = f"anthropic-ratelimit-{kind}"
            told += f"{name}-limit: {limit.limit}\r\n{name}-remaining: {limit.remaining}\r\n"
            if limit.reset_ms is not None:
                at = datetime.fromtimestamp(-(-(head.at_ms + limit.reset_ms) // 1000), UTC)
                told += f"{name}-reset: {at:%Y-%m-%dT%H:%M:%SZ}\r\n"
    return told


def duration(ms: int) -> str:
    """Write a time as OpenAI's headers do, in whole seconds rounded up: "0s", "1s", "6m0s", "1h0m0s"."""
    seconds = -(-ms // 1000)
    return _SHORT[seconds] if seconds < _MANY_S else _long(seconds)


def _long(seconds: int) -> str:
    if seconds < 60:
        return f"{seconds}s"
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes}m{seconds}s" if hours else f"{minutes}m{seconds}s"


_MANY_S = 121
_SHORT = tuple(_long(seconds) for seconds in range(_MANY_S))
"""Most limits are by the minute."""
