"""The headers of a reply in the words of the API that was called: its id, and what is left of the limits.

OpenAI's: https://platform.openai.com/docs/api-reference/debugging-requests and
https://platform.openai.com/docs/guides/rate-limits#rate-limits-in-headers. Anthropic's:
https://docs.anthropic.com/en/api/rate-limits#response-headers. Google's API has none: its errors say
all (``RetryInfo``, ``QuotaFailure``).
"""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec

from llm_router.domain.limit import LimitState

Headers = tuple[tuple[str, str], ...]

OPENAI_VERSION = "2020-10-01"
"""The version of its API that OpenAI names in every reply."""


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


def plain_head(head: Head) -> Headers:
    """The id, and the limits in OpenAI's names."""
    headers = [("x-request-id", head.request_id)]
    for limit in head.limits:
        headers += [
            (f"x-ratelimit-limit-{limit.kind}", str(limit.limit)),
            (f"x-ratelimit-remaining-{limit.kind}", str(limit.remaining)),
        ]
        if limit.reset_ms is not None:
            headers.append((f"x-ratelimit-reset-{limit.kind}", duration(limit.reset_ms)))
    return tuple(headers)


def openai_head(head: Head) -> Headers:
    """As OpenAI's API writes them."""
    headers = [*plain_head(head), ("openai-version", OPENAI_VERSION)]
    if head.elapsed_ms is not None:
        headers.append(("openai-processing-ms", str(head.elapsed_ms)))
    return tuple(headers)


def anthropic_head(head: Head) -> Headers:
    """As Anthropic's API writes them. A limit of tokens bounds those of input and of output alike."""
    headers = [("request-id", head.request_id), ("x-request-id", head.request_id)]
    for limit in head.limits:
        kinds = ("tokens", "input-tokens", "output-tokens") if limit.kind == "tokens" else (limit.kind,)
        for kind in kinds:
            headers += [
                (f"anthropic-ratelimit-{kind}-limit", str(limit.limit)),
                (f"anthropic-ratelimit-{kind}-remaining", str(limit.remaining)),
            ]
            if limit.reset_ms is not None:
                reset = datetime.fromtimestamp(-(-(head.at_ms + limit.reset_ms) // 1000), UTC)
                headers.append((f"anthropic-ratelimit-{kind}-reset", reset.strftime("%Y-%m-%dT%H:%M:%SZ")))
    return tuple(headers)


def duration(ms: int) -> str:
    """Write a time as OpenAI's headers do, in whole seconds rounded up: "0s", "1s", "6m0s", "1h0m0s"."""
    seconds = -(-ms // 1000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h{minutes}m{seconds}s"
    if minutes:
        return f"{minutes}m{seconds}s"
    return f"{seconds}s"
