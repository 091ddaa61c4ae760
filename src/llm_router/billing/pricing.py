"""From a provider's price to the one that a customer pays: rounded once, when the rule is applied.

A sold price has a version of its own, ``BASE~RULE``: the same two always make the same rates, so that a
stored cost can be calculated again. Where no rule applies the provider's price is the customer's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase

import msgspec

from llm_router.domain.budget import Payer
from llm_router.domain.model import Deployment, Model
from llm_router.domain.price import OffPeak, Price, Rates, price_at
from llm_router.domain.price_rule import BASE_BP, For, PriceRule

MARK = "~"
"""Between the version of a price and the rule that was applied to it."""

SOLD_RATE_MAX = 10**12
"""No sold rate may exceed this: a dollar a token or a piece. What it makes of absurd counts is more than
an account can hold, and is not believed."""

_RANK = {scope: rank for rank, scope in enumerate(For)}


def sold(price: Price, rule: PriceRule) -> Price:
    """The price that a rule makes of a provider's.

    Raises:
        ValueError: a rate would exceed SOLD_RATE_MAX.
    """
    version = f"{price.version}{MARK}{rule.id}"
    if rule.rates is not None:
        return Price(version=version, rates=rule.rates, source=f"rule {rule.id}")
    factor = BASE_BP if rule.factor_bp is None else rule.factor_bp
    return Price(
        version=version,
        rates=_scaled(price.rates, factor),
        tiers=tuple(msgspec.structs.replace(tier, rates=_scaled(tier.rates, factor)) for tier in price.tiers),
        service_tiers={name: _scaled(rates, factor) for name, rates in price.service_tiers.items()},
        service_tiers_long={
            name: tuple(msgspec.structs.replace(tier, rates=_scaled(tier.rates, factor)) for tier in tiers)
            for name, tiers in price.service_tiers_long.items()
        },
        off_peak=None
        if price.off_peak is None
        else OffPeak(windows=price.off_peak.windows, rates=_scaled(price.off_peak.rates, factor)),
        valid_from=price.valid_from,
        source=f"rule {rule.id}",
    )


def _scaled(rates: Rates, factor_bp: int) -> Rates:
    known = {name: rate for name, rate in msgspec.structs.asdict(rates).items() if rate is not None}
    return msgspec.convert({name: _rate(rate, factor_bp) for name, rate in known.items()}, Rates)


def _rate(rate: int, factor_bp: int) -> int:
    """rate x factor, rounded half to even."""
    whole, rest = divmod(rate * factor_bp, BASE_BP)
    up = 2 * rest > BASE_BP or (2 * rest == BASE_BP and whole % 2 == 1)
    found = whole + up
    if found > SOLD_RATE_MAX:
        raise ValueError(f"a rate of {found} p$ is above the largest one, {SOLD_RATE_MAX}")
    return found


class PriceList:
    """The published rules, and the prices that they make."""

    def __init__(self, rules: Iterable[PriceRule] = ()) -> None:
        self.rules = tuple(sorted(rules, key=lambda rule: rule.number))
        self._made: dict[tuple[str, str], Price] = {}

    def rule_for(self, payer: Payer, model: str, provider: str, now_ms: int) -> PriceRule | None:
        """The rule that a request of that payer and moment pays by: the most particular one, and of these
        the last that has come into force."""
        best: PriceRule | None = None
        for rule in self.rules:
            if rule.valid_from_ms > now_ms or not _concerns(rule, payer, model, provider):
                continue
            if best is None or _order(rule) >= _order(best):
                best = rule
        return best

    def sell(self, deployments: tuple[Deployment, ...], payer: Payer, now_ms: int) -> tuple[Deployment, ...]:
        """The deployments at the prices of a payer and hour, with what they cost the operator beside."""
        if not self.rules and all(d.price is None or d.price.off_peak is None for d in deployments):
            return deployments
        found = tuple(self._sell(deployment, payer, now_ms) for deployment in deployments)
        same = all(one is other for one, other in zip(found, deployments, strict=True))
        return deployments if same else found

    def sell_model(self, model: Model, payer: Payer, now_ms: int) -> Model:
        """A model with the prices of a payer."""
        found = self.sell(model.deployments, payer, now_ms)
        if found == model.deployments:
            return model
        return msgspec.structs.replace(model, deployments=found)

    def _sell(self, deployment: Deployment, payer: Payer, now_ms: int) -> Deployment:
        if deployment.price is None:
            return deployment
        base = price_at(deployment.price, now_ms)
        rule = self.rule_for(payer, deployment.model, deployment.provider, now_ms)
        if rule is None:
            return deployment if base is deployment.price else msgspec.structs.replace(deployment, price=base)
        place = (base.version, rule.id)
        price = self._made.get(place)
        if price is None:
            price = self._made[place] = sold(base, rule)
        return msgspec.structs.replace(
            deployment, price=price, cost=base, tools=self._sell_tools(deployment.tools, rule)
        )

    def _sell_tools(self, tools: Mapping[str, Price], rule: PriceRule) -> dict[str, Price]:
        """Tools by the percent of a rule; one of dollars for tokens says nothing of them."""
        if rule.rates is not None or not tools:
            return dict(tools)
        found = {}
        for name, base in tools.items():
            place = (base.version, rule.id)
            if place not in self._made:
                self._made[place] = sold(base, rule)
            found[name] = self._made[place]
        return found


def _order(rule: PriceRule) -> tuple[int, int, int]:
    return _RANK[rule.scope], rule.valid_from_ms, rule.number


def _concerns(rule: PriceRule, payer: Payer, model: str, provider: str) -> bool:
    match rule.scope:
        case For.KEY:
            whose = payer.key == rule.scope_id
        case For.TEAM:
            whose = payer.team == rule.scope_id and fnmatchcase(payer.account, rule.account)
        case For.ACCOUNT:
            whose = fnmatchcase(payer.account, rule.account)
        case For.ALL:
            whose = True
    return (
        whose
        and any(fnmatchcase(model, pattern) for pattern in rule.models)
        and any(fnmatchcase(provider, pattern) for pattern in rule.providers)
    )
