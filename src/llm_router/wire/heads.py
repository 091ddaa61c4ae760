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

Headers = list[tuple[bytes, bytes]]

OPENAI_VERSION = b"2020-10-01"
"""The version of its API that OpenAI names in every reply."""

_WHAT = ("requests", "tokens", "concurrency", "input-tokens", "output-tokens")


def _names(form: str) -> dict[str, tuple[bytes, bytes, bytes]]:
    """What the limit, its rest and the time until it is whole again are called, by the kind of limit."""
    words = ("limit", "remaining", "reset")
    limit, rest, reset = ([form.format(kind=kind, word=word).encode() for kind in _WHAT] for word in words)
    return dict(zip(_WHAT, zip(limit, rest, reset, strict=True), strict=True))


_PLAIN_NAMES = _names("x-ratelimit-{word}-{kind}")
_ANTHROPIC_NAMES = _names("anthropic-ratelimit-{kind}-{word}")
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


def plain_head(head: Head) -> Headers:
    """The id, and the limits in OpenAI's names."""
    headers = [(b"x-request-id", head.request_id.encode())]
    for limit in head.limits:
        most, rest, reset = _PLAIN_NAMES[limit.kind]
        headers.append((most, b"%d" % limit.limit))
        headers.append((rest, b"%d" % limit.remaining))
        if limit.reset_ms is not None:
            headers.append((reset, duration(limit.reset_ms)))
    return headers


def openai_head(head: Head) -> Headers:
    """As OpenAI's API writes them."""
    headers = plain_head(head)
    headers.append((b"openai-version", OPENAI_VERSION))
    if head.elapsed_ms is not None:
        headers.append((b"openai-processing-ms", b"%d" % head.elapsed_ms))
    return headers


def anthropic_head(head: Head) -> Headers:
    """As Anthropic's API writes them. A limit of tokens bounds those of input and of output alike."""
    id_ = head.request_id.encode()
    headers = [(b"request-id", id_), (b"x-request-id", id_)]
    for limit in head.limits:
        for kind in _ANTHROPIC_KINDS.get(limit.kind, (limit.kind,)):
            most, rest, reset = _ANTHROPIC_NAMES[kind]
            headers.append((most, b"%d" % limit.limit))
            headers.append((rest, b"%d" % limit.remaining))
            if limit.reset_ms is not None:
                at = datetime.fromtimestamp(-(-(head.at_ms + limit.reset_ms) // 1000), UTC)
                headers.append((reset, at.strftime("%Y-%m-%dT%H:%M:%SZ").encode()))
    return headers


def duration(ms: int) -> bytes:
    """Write a time as OpenAI's headers do, in whole seconds rounded up: "0s", "1s", "6m0s", "1h0m0s"."""
    seconds = -(-ms // 1000)
    if seconds < 60:
        return b"%ds" % seconds
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return b"%dh%dm%ds" % (hours, minutes, seconds) if hours else b"%dm%ds" % (minutes, seconds)
