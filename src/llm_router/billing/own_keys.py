"""What requests with a customer's own provider key cost: nothing, or a fee. A fee is a price as any
other, made once from the published one, so that holds, cost lines and records need no second rule."""

from __future__ import annotations

import msgspec

from llm_router.domain.price import Price, Rates, Tier

PPM = 10**6

FEE_MARK = "+own-key-"
"""Between the version of a price and the fee that was made of it."""


class OwnKeyFee(msgspec.Struct, frozen=True, kw_only=True):
    """Attributes:
    ppm: of the usual cost, in parts per million (50,000 is 5 %).
    request_pusd: for each request that is charged.
    """

    ppm: int = 0
    request_pusd: int = 0


NO_COST = Price(version="own-key", rates=Rates(input=0, output=0))
"""What the provider bills the operator: the customer has a bill of their own."""


def fee_price(price: Price, fee: OwnKeyFee) -> Price:
    """The price with a customer's own key. Rates are rounded once, half to even."""
    return Price(
        version=f"{price.version}{FEE_MARK}{fee.ppm}-{fee.request_pusd}",
        rates=_rates(price.rates, fee),
        tiers=_tiers(price.tiers, fee),
        service_tiers={name: _rates(rates, fee) for name, rates in price.service_tiers.items()},
        service_tiers_long={name: _tiers(tiers, fee) for name, tiers in price.service_tiers_long.items()},
        valid_from=price.valid_from,
        source=price.source,
    )


def _tiers(tiers: tuple[Tier, ...], fee: OwnKeyFee) -> tuple[Tier, ...]:
    return tuple(msgspec.structs.replace(tier, rates=_rates(tier.rates, fee)) for tier in tiers)


def _rates(rates: Rates, fee: OwnKeyFee) -> Rates:
    parts = {name: _part(getattr(rates, name), fee.ppm) for name in rates.__struct_fields__}
    request = parts["request"]
    assert request is not None, "it always has a value"
    return Rates(**{**parts, "request": request + fee.request_pusd})  # type: ignore[arg-type]


def _part(rate: int | None, ppm: int) -> int | None:
    """The part of a rate, rounded half to even; None stays None (another bucket's rate holds)."""
    if rate is None:
        return None
    whole, rest = divmod(rate * ppm, PPM)
    up = 2 * rest > PPM or (2 * rest == PPM and whole % 2 == 1)
    return whole + up
