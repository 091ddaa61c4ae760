"""Usage in disjoint buckets.

``totalTokens`` is the sum of ``inputTokens``, ``outputTokens``, ``cacheReadInputTokens`` and
``cacheWriteInputTokens`` (in every recorded reply): ``inputTokens`` leaves the cache out.
``cacheDetails`` tells the lifetimes of what was written. Reasoning is part of ``outputTokens`` and
not told apart.
https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_TokenUsage.html
"""

from __future__ import annotations

from llm_router.domain.usage import Usage, token_count


def decode_usage(usage: object, service_tier: object) -> Usage | None:
    """The counts; None if they cannot be true. ``service_tier`` is the reply's ``serviceTier``."""
    if not isinstance(usage, dict):
        return None
    counts = [
        token_count(usage.get("inputTokens")),
        token_count(usage.get("outputTokens")),
        _cached(usage, "cacheReadInputTokens", "cacheReadInputTokenCount"),
        _cached(usage, "cacheWriteInputTokens", "cacheWriteInputTokenCount"),
    ]
    fresh, output, read, written = counts
    if fresh is None or output is None or read is None or written is None:
        return None
    hour = min(_hour(usage.get("cacheDetails")), written)
    tier = service_tier.get("type") if isinstance(service_tier, dict) else None
    return Usage(
        input_tokens=fresh,
        cache_read_tokens=read,
        cache_write_tokens=written - hour,
        cache_write_1h_tokens=hour,
        output_tokens=output,
        service_tier=tier if isinstance(tier, str) else None,
    )


def _cached(usage: dict[str, object], *names: str) -> int | None:
    """The first of these members that is there; 0 if none is."""
    found = next((usage[name] for name in names if usage.get(name) is not None), 0)
    return token_count(found)


def _hour(details: object) -> int:
    """Tokens written with a lifetime of one hour."""
    if not isinstance(details, list):
        return 0
    counts = [
        token_count(detail.get("inputTokens"))
        for detail in details
        if isinstance(detail, dict) and detail.get("ttl") == "1h"
    ]
    return sum(count for count in counts if count is not None)
