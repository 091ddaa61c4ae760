"""How prices were before: of each deployment every price that the list had, from when it had it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from llm_router.billing.pricing import PriceList
from llm_router.domain.budget import Payer
from llm_router.domain.model import Deployment
from llm_router.domain.price import Price

ENTRIES_MAX = 200
"""Of one deployment; the oldest go."""


class Noted(msgspec.Struct, frozen=True, kw_only=True):
    """``price`` None: it was taken from the list."""

    from_ms: int
    price: Price | None = None


History = dict[str, tuple[Noted, ...]]
"""By deployment, the oldest first."""


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody paid from a moment on, and what it cost the operator."""

    from_ms: int
    price: Price | None
    cost: Price | None


def noted(
    history: Mapping[str, tuple[Noted, ...]], deployments: Iterable[Deployment], now_ms: int
) -> History:
    """The history with what is new in the list. Deployments that are not in it any more keep what they had."""
    found = dict(history)
    for deployment in deployments:
        entries = found.get(deployment.id, ())
        price = deployment.operator_price
        last = entries[-1].price if entries else None
        if _version(price) != _version(last):
            found[deployment.id] = (*entries, Noted(from_ms=now_ms, price=price))[-ENTRIES_MAX:]
    return found


def steps_of(
    deployment: Deployment, entries: tuple[Noted, ...], prices: PriceList, payer: Payer, now_ms: int
) -> list[Step]:
    """What a payer paid for a deployment, the newest first: by the list and the rules of the time."""
    if not entries:
        return []
    moments = {entry.from_ms for entry in entries}
    moments |= {
        rule.valid_from_ms for rule in prices.rules if entries[0].from_ms < rule.valid_from_ms <= now_ms
    }
    steps: list[Step] = []
    for at_ms in sorted(moments):
        base = next(entry.price for entry in reversed(entries) if entry.from_ms <= at_ms)
        # Hours of the day are no change of the price: what is shown is the price that has them.
        whole = None if base is None else msgspec.structs.replace(base, off_peak=None)
        (sold,) = prices.sell((msgspec.structs.replace(deployment, price=whole, cost=None),), payer, at_ms)
        step = Step(from_ms=at_ms, price=sold.price, cost=base)
        last = steps[-1] if steps else None
        if last is None or (_version(last.price), _version(last.cost)) != (
            _version(step.price),
            _version(step.cost),
        ):
            steps.append(step)
    return steps[::-1]


def _version(price: Price | None) -> str | None:
    return None if price is None else price.version
