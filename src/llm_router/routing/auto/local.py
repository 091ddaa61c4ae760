"""Heads that learn from the operator's own outcomes how good a model is on the operator's own prompts.

A head learns, by model, what the shipped router gets wrong: a correction in log-odds, linear in hashed
words. Nothing but numbers of buckets and weights is kept. A head says nothing before it has seen
:data:`LABELS_MIN` outcomes, and then counts for more with each.
"""

from __future__ import annotations

import struct
import sys
from array import array
from collections.abc import Sequence
from math import sqrt

import msgspec

from llm_router.routing.auto.scoring import Score, chance, log_odds

LABELS_MIN = 300

BITS = 12

KEPT_MAX = 160
"""Buckets kept of a prompt, for its outcome to be learned later."""

MODELS_MAX = 32
"""Heads; of the model that was learned least recently the head goes."""

RATE = 0.5
"""Of the first steps; it falls with the root of what was seen."""

DECAY = 1e-4
"""Of what a bucket weighs, with each step that touches it."""

ODDS_MAX = 4.0

_SCORE = struct.Struct("<ffBB")

DIGITS = 5
"""Of a weight: what is stored of all heads stays below 2 MB."""


class Head(msgspec.Struct, kw_only=True):
    """What was learned of one model. ``weights``: log-odds by bucket."""

    labels: int = 0
    base: float = 0.0
    weights: dict[int, float] = {}

    def correction(self, buckets: Sequence[int]) -> float:
        if not buckets:
            return self.base
        return self.base + sum(self.weights.get(b, 0.0) for b in buckets) / sqrt(len(buckets))


def local_buckets(buckets: Sequence[int]) -> tuple[int, ...]:
    """What of a prompt is kept for its outcome: fewer, coarser buckets, in rising order."""
    return tuple(sorted({b & ((1 << BITS) - 1) for b in buckets})[:KEPT_MAX])


def pack_outcome(score: Score, buckets: Sequence[int]) -> bytes:
    """What of a prompt has to be kept to learn from its outcome later: at most 330 bytes, no text."""
    kept = array("H", local_buckets(buckets))
    if sys.byteorder == "big":
        kept.byteswap()
    return _SCORE.pack(score.weak, score.gain, *score.tiers) + kept.tobytes()


def unpack_outcome(packed: bytes) -> tuple[Score, tuple[int, ...]]:
    """The inverse of :func:`pack_outcome`.

    Raises:
        ValueError: that is none.
    """
    if len(packed) < _SCORE.size or len(packed) % 2 or len(packed) > _SCORE.size + 2 * KEPT_MAX:
        raise ValueError("no features of a prompt")
    weak, gain, low, high = _SCORE.unpack_from(packed)
    kept = array("H", packed[_SCORE.size :])
    if sys.byteorder == "big":
        kept.byteswap()
    buckets = tuple(kept)
    if not (0.01 < weak < 0.985 and -2 < gain < 2 and low < high) or any(b >> BITS for b in buckets):
        raise ValueError("no features of a prompt")
    return Score(weak=weak, gain=gain, tiers=(low, high)), buckets


class LocalHeads:
    """All heads, in memory. The same outcomes in the same order give the same heads."""

    def __init__(self, heads: dict[str, Head] | None = None) -> None:
        self.heads: dict[str, Head] = {} if heads is None else heads

    def observe(self, buckets: Sequence[int], model: str, label: float, shipped: float) -> None:
        """Learn one outcome.

        Args:
            buckets: of :func:`local_buckets`.
            label: 1 good .. 0 bad.
            shipped: the quality that the shipped router expected of the model for it.
        """
        head = self.heads.pop(model, None) or Head(weights={})
        self.heads[model] = head
        odds = log_odds(_inside(shipped)) + head.correction(buckets)
        head.labels += 1
        step = RATE / sqrt(1 + head.labels / 100) * (min(max(label, 0.0), 1.0) - chance(odds))
        head.base += step * 0.2
        part = step / sqrt(max(len(buckets), 1))
        for bucket in buckets:
            weight = head.weights.get(bucket, 0.0) * (1 - DECAY) + part
            head.weights[bucket] = round(weight, DIGITS)
        while len(self.heads) > MODELS_MAX:
            del self.heads[next(iter(self.heads))]

    def quality(self, buckets: Sequence[int], model: str, shipped: float) -> float:
        """What the shipped router expects, corrected as far as enough was learned."""
        head = self.heads.get(model)
        if head is None or head.labels < LABELS_MIN:
            return shipped
        trust = head.labels / (head.labels + LABELS_MIN)
        correction = min(max(head.correction(buckets), -ODDS_MAX), ODDS_MAX)
        return chance(log_odds(_inside(shipped)) + trust * correction)


def _inside(share: float) -> float:
    return min(max(share, 0.01), 0.99)
