"""What an exchange consumed, in disjoint buckets: every token is counted in exactly one of them.

Providers disagree on what includes what (OpenAI's prompt_tokens include cached ones, Anthropic's
input_tokens do not; most completion counts include reasoning, xAI's chat form and Gemini's do
not). Each dialect's decoder does that arithmetic once; from here on the sum of the buckets is the
total.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

MAX_COUNT = 10**8
"""The largest believable count in one bucket; anything above is treated as not reported."""


class Provenance(StrEnum):
    """How the counts came to be known."""

    REPORTED = "reported"  # by the provider
    COUNTED = "counted"  # by us, from the text that was delivered
    ESTIMATED = "estimated"  # by us, from less than that
    NONE = "none"  # nothing was consumed


class Usage(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Counts by bucket. Units are tokens unless the name says otherwise; all are >= 0.

    Attributes:
        input_tokens: fresh text and image input: neither from a cache, nor written to one, nor audio.
        cache_read_tokens: input served from the provider's prompt cache.
        cache_write_tokens: input written to the cache with the default (5 minute) lifetime.
        cache_write_1h_tokens: input written to the cache with the one-hour lifetime.
        input_audio_tokens: audio input.
        output_tokens: visible output: text and tool calls, neither reasoning nor audio.
        reasoning_tokens: hidden or shown reasoning.
        output_audio_tokens: audio output.
        output_image_tokens: image output.
        web_searches: server-side searches that the provider bills by the piece.
        provenance: how the counts came to be known.
        service_tier: the tier the provider says it served, as it spells it.
        others: tokens that another model consumed inside this exchange (advisors, compaction), by
            upstream model id; they are not part of the buckets above.
    """

    input_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    cache_write_1h_tokens: int = 0
    input_audio_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    output_audio_tokens: int = 0
    output_image_tokens: int = 0
    web_searches: int = 0
    provenance: Provenance = Provenance.REPORTED
    service_tier: str | None = None
    others: tuple[tuple[str, Usage], ...] = ()

    @property
    def prompt_tokens(self) -> int:
        """All input, the way OpenAI's ``prompt_tokens`` counts it."""
        return (
            self.input_tokens
            + self.cache_read_tokens
            + self.cache_write_tokens
            + self.cache_write_1h_tokens
            + self.input_audio_tokens
        )

    @property
    def completion_tokens(self) -> int:
        """All output, the way OpenAI's ``completion_tokens`` counts it (reasoning included)."""
        return (
            self.output_tokens + self.reasoning_tokens + self.output_audio_tokens + self.output_image_tokens
        )

    @property
    def total_tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens


NO_USAGE = Usage(provenance=Provenance.NONE)
"""The usage of an exchange that consumed nothing."""


def token_count(value: object) -> int | None:
    """Read one count from untrusted JSON: a whole number in 0..MAX_COUNT, else None (not reported).

    A float with a whole value is taken, since some providers send ``12.0``. Booleans, negative,
    fractional, absurd and textual values are None, so that they can never become a credit.
    """
    if isinstance(value, bool):
        return None
    if isinstance(value, float):
        if not value.is_integer():  # False for NaN and infinities too
            return None
        value = int(value)
    if isinstance(value, int) and 0 <= value <= MAX_COUNT:
        return value
    return None
