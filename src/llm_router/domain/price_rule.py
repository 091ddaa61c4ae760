"""What an operator sells at: rules over the providers' prices, published once and never changed."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from llm_router.domain.price import Rates

PERCENT_BP = 100
"""Basis points in one percent."""

BASE_BP = 10_000
"""The provider's own price, in basis points of itself."""


class For(StrEnum):
    """Whom a rule is for, the least particular first."""

    ALL = "all"
    ACCOUNT = "account"
    TEAM = "team"
    KEY = "key"


class PriceRule(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One published rule. A later one takes its place; it is never changed itself.

    Attributes:
        id: names it for ever; part of the version of every price that it makes.
        number: 1, 2, 3 and so on in the order of publication.
        scope: whom it is for; account: a pattern of account names (of a team: the account it is in);
            scope_id: the team, or the key's id.
        models, providers: patterns of public model ids and provider ids.
        factor_bp: what is sold at, in basis points of the provider's price: 12,000 is 20 % above it.
        rates: what is sold at in place of that, whatever the provider's price.
        valid_from_ms: requests admitted from then on pay by it.
    """

    id: str
    number: int
    published_ms: int
    valid_from_ms: int
    scope: For = For.ALL
    account: str = "*"
    scope_id: str = ""
    models: tuple[str, ...] = ("*",)
    providers: tuple[str, ...] = ("*",)
    factor_bp: int | None = None
    rates: Rates | None = None
    reason: str = ""
