"""Cohere's usage to disjoint buckets. https://docs.cohere.com/docs/how-does-cohere-pricing-work

``tokens`` counts all that the model read and wrote, the provider's own template included;
``billed_units`` is what Cohere charges for, and what is counted here. ``cached_tokens`` belong to
``tokens`` and change nothing of what is billed (the same prompt costs the same units with 112 of
its tokens cached and with 1,600), so they are a bucket only where nothing but ``tokens`` is known.
"""

from __future__ import annotations

from typing import Any

from llm_router.domain.usage import Usage, token_count
from llm_router.wire.events import UsageSeen
from llm_router.wire.lenient import mapping

_COUNTS = ("input_tokens", "output_tokens")


def read_usage(usage: object) -> UsageSeen | None:
    """The usage of a reply; None where it reports none."""
    fields = mapping(usage)
    billed, tokens = mapping(fields.get("billed_units")), mapping(fields.get("tokens"))
    for counts, cached in ((billed, None), (tokens, fields.get("cached_tokens"))):
        if all(counts.get(name) is not None for name in _COUNTS):
            return UsageSeen(usage=_buckets(counts, cached, billed.get("search_units")))
    return None


def _buckets(counts: dict[str, Any], cached: object, searches: object) -> Usage | None:
    """The buckets; None if a count cannot be true."""
    read, written = (token_count(counts[name]) for name in _COUNTS)
    if read is None or written is None:
        return None
    from_cache = min(token_count(cached) or 0, read)
    return Usage(
        input_tokens=read - from_cache,
        cache_read_tokens=from_cache,
        output_tokens=written,
        web_searches=token_count(searches) or 0,
    )
