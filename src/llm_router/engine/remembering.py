"""What was known when a request was planned, as its record has it: for a plan that is made again."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import msgspec

from llm_router.billing.outputs import SAMPLES_MIN, Learned, Outputs
from llm_router.domain.decision import Decision
from llm_router.routing.health import SIZES, Health, HealthRules, HealthView
from llm_router.routing.strategies import Dice

DICE = 0.5
"""Every throw that nothing is remembered of: a dry run is the same each time."""


class Remembered(msgspec.Struct, frozen=True, kw_only=True):
    """What was known then.

    Attributes:
        views: how deployments stood; lengths: by model, the output tokens that were expected.
        dice: that were thrown for the order.
        stuck: who served the session before.
    """

    views: Mapping[str, HealthView] = MappingProxyType({})
    lengths: Mapping[str, int] = MappingProxyType({})
    dice: tuple[float, ...] = ()
    stuck: str | None = None


NOTHING = Remembered()


def remembered(decision: Decision) -> Remembered:
    """What a decision was made of, beside the request itself and the configuration."""
    weighed = [(w, c) for w in decision.weighings if w.measured for c in w.candidates]
    return Remembered(
        views={
            c.deployment: view_of(
                ttft_ms=c.ttft_ms,
                tokens_per_s=c.tokens_per_s,
                in_flight=c.in_flight,
                error_rate=c.error_rate,
                share=c.share,
            )
            for _, c in weighed
        },
        lengths={c.model: w.output_tokens for w, c in weighed if w.output_tokens},
        dice=tuple(lot for w in decision.weighings for lot in w.dice),
        stuck=decision.stuck,
    )


def view_of(
    *,
    ttft_ms: float | None,
    tokens_per_s: float | None,
    in_flight: int = 0,
    error_rate: float | None = None,
    share: float = 1.0,
) -> HealthView:
    """How a deployment stood, by the numbers that are kept of it."""
    return HealthView(
        ttft_ms=(ttft_ms,) * SIZES,
        tokens_per_s=tokens_per_s,
        in_flight=in_flight,
        error_rate=error_rate,
        share=share,
    )


class RememberedHealth(Health):
    """The health of deployments as it stood."""

    def __init__(self, rules: HealthRules, views: Mapping[str, HealthView]) -> None:
        super().__init__(rules)
        self._views = views

    def view(self, deployment: str, now_ms: int) -> HealthView:
        found = self._views.get(deployment)
        return super().view(deployment, now_ms) if found is None else found


class RememberedOutputs(Outputs):
    """The length of answers as it was expected: over all ``n`` choices of the request at hand."""

    def __init__(self, lengths: Mapping[str, int], n: int) -> None:
        super().__init__()
        self._lengths = lengths
        self._n = max(1, n)

    def expect(self, key: str, model: str) -> Learned | None:
        tokens = self._lengths.get(model)
        if tokens is None:
            return None
        return Learned(mean=tokens // self._n, high=tokens, samples=SAMPLES_MIN)


def thrown(dice: tuple[float, ...]) -> Dice:
    """The dice of then, and the same number for ever after them."""
    left = iter(dice)
    return lambda: next(left, DICE)
