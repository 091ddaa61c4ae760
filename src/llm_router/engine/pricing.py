"""The operator's commands on prices: rules are published, listed and looked at; none is ever changed."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation

import msgspec

from llm_router.billing.pricing import PriceList
from llm_router.catalog.successors import check_successor, told
from llm_router.domain.budget import Payer
from llm_router.domain.errors import InvalidRequest, ModelNotFound
from llm_router.domain.money import PUSD_PER_USD, format_usd
from llm_router.domain.price import MAX_RATE_PUSD, Price, Rates
from llm_router.domain.price_rule import BASE_BP, PERCENT_BP, For, PriceRule
from llm_router.engine.moments import iso_time, parse_moment
from llm_router.engine.operator import DEFAULT_ACCOUNT, Arguments, Context, Result, label
from llm_router.ports import PriceRules

TOKENS_PER_MTOK = 10**6
PERCENT_MIN, PERCENT_MAX = Decimal(-100), Decimal(900)
PATTERNS_MAX = 100


class PublishPrices(Arguments, frozen=True, kw_only=True):
    """``prices.publish``. Either ``percent`` on the providers' prices (``"20"``, ``"-7.5"``), or dollars per
    million tokens. ``account`` may be a pattern; ``start`` is an ISO 8601 time, None is now. ``scope`` None follows
    from ``account``: that account, or everybody if none is named."""

    percent: str | None = None
    input: str | None = None
    output: str | None = None
    cache_read: str | None = None
    scope: For | None = None
    account: str = "*"
    scope_id: str = ""
    models: tuple[str, ...] = ("*",)
    providers: tuple[str, ...] = ("*",)
    start: str | None = None
    reason: str = ""


class ShowPrices(Arguments, frozen=True, kw_only=True):
    """``prices.show``: of a model, to whom."""

    model: str
    account: str = DEFAULT_ACCOUNT
    team: str | None = None
    key: str | None = None


async def publish_prices(arguments: PublishPrices, context: Context) -> Result:
    """Publish a rule, with every price that it makes of the present catalogue.

    Raises:
        InvalidRequest: an argument is malformed, or a price would be too large.
    """
    rules = _rules(context)
    now_ms = context.clock.now_ms()
    start_ms = now_ms if arguments.start is None else parse_moment(arguments.start, "start")
    if start_ms < now_ms:
        raise InvalidRequest("start lies in the past: what was charged stays as it is", param="start")
    known = await rules.price_rules()
    rule = PriceRule(
        id=context.new_id("rule"),
        number=1 + max((rule.number for rule in known), default=0),
        published_ms=now_ms,
        valid_from_ms=start_ms,
        scope=(scope := _scope(arguments)),
        account=label(arguments.account, "account"),
        scope_id=label(arguments.scope_id, scope.value) if scope in (For.TEAM, For.KEY) else "",
        models=_patterns(arguments.models, "models"),
        providers=_patterns(arguments.providers, "providers"),
        factor_bp=None if arguments.percent is None else _factor(arguments.percent),
        rates=_rates(arguments),
        reason=label(arguments.reason, "reason") if arguments.reason else "",
    )
    made = _made(rule, context)
    await rules.add_price_rule(rule, [price for price in made if price is not None])
    if context.reprice is not None:
        context.reprice(PriceList((*known, rule)))
    return {
        **_describe(rule),
        "prices": sum(1 for price in made if price is not None and "~" in price.version),
    }


async def list_prices(arguments: Arguments, context: Context) -> Result:
    """All rules in the order of their publication."""
    return {"rules": [_describe(rule) for rule in await _rules(context).price_rules()]}


async def show_prices(arguments: ShowPrices, context: Context) -> Result:
    """What a model is sold at to somebody, and what it costs the operator, at each provider; of a model past its
    shutdown its successor, which ``note`` says.

    Raises:
        ModelNotFound: there is no such model.
    """
    now_ms = context.clock.now_ms()
    rules = await _rules(context).price_rules()
    payer = Payer(account=arguments.account, key=arguments.key or "", team=arguments.team)
    snapshot = context.snapshot()
    asked = snapshot.find(arguments.model)
    resolved = snapshot.resolve(arguments.model, active=context.active())
    model = asked
    note: str | None = None
    if resolved.via == "successor":
        try:
            check_successor(context.configured().successors, snapshot, resolved)
            model, note = resolved.model, told(asked, resolved.model)
        except ModelNotFound as error:
            note = error.message
    price_list = PriceList(rules)
    found = zip(model.deployments, price_list.sell(model.deployments, payer, now_ms), strict=True)
    return {
        "asked": asked.id,
        "model": model.id,
        "note": note,
        "account": arguments.account,
        "team": arguments.team,
        "key": arguments.key,
        "providers": [
            {"id": base.provider, "price": figures_of(its.price), "cost": figures_of(its.operator_price)}
            for base, its in found
        ],
    }


def _rules(context: Context) -> PriceRules:
    if context.price_rules is None:
        raise InvalidRequest("this gateway's store keeps no price rules", code="not_supported")
    return context.price_rules


def _made(rule: PriceRule, context: Context) -> list[Price | None]:
    """The prices of the present catalogue that the rule concerns, and what it makes of them."""
    alone = PriceList((msgspec.structs.replace(rule, valid_from_ms=0),))
    payer = Payer(
        account=rule.account,
        key=rule.scope_id if rule.scope is For.KEY else "",
        team=rule.scope_id if rule.scope is For.TEAM else None,
    )
    made: list[Price | None] = []
    try:
        for model in context.snapshot().models.values():
            for deployment in alone.sell(model.deployments, payer, 0):
                if deployment.cost is not None:
                    made += [deployment.cost, deployment.price]
    except ValueError as error:
        raise InvalidRequest(f"the rule would make a price that is none: {error}", param="percent") from None
    if not made:
        raise InvalidRequest("no model of the catalogue is concerned; see llm-router models", param="models")
    return made


def _scope(arguments: PublishPrices) -> For:
    """Whom the rule is for: what is said of it must agree, since a rule is never taken back.

    Raises:
        InvalidRequest: it names somebody and would hold for others.
    """
    scope = arguments.scope
    if scope is None:
        if arguments.scope_id:
            raise InvalidRequest("scope must say whether scope_id is of a team or of a key", param="scope")
        scope = For.ALL if arguments.account == "*" else For.ACCOUNT
    if scope is For.ALL and arguments.account != "*":
        raise InvalidRequest(
            'a rule with scope "all" is for everybody: leave account out, or make scope "account"',
            param="scope",
        )
    if scope in (For.ALL, For.ACCOUNT) and arguments.scope_id:
        raise InvalidRequest('scope_id belongs to scope "team" or "key"', param="scope_id")
    return scope


def _patterns(given: tuple[str, ...], param: str) -> tuple[str, ...]:
    if not 1 <= len(given) <= PATTERNS_MAX:
        raise InvalidRequest(f"{param} must be 1 to {PATTERNS_MAX} names or patterns", param=param)
    return tuple(label(pattern, param) for pattern in given)


def _factor(text: str) -> int:
    percent = _decimal(text, "percent")
    scaled = percent * PERCENT_BP
    if not PERCENT_MIN <= percent <= PERCENT_MAX or scaled != int(scaled):
        raise InvalidRequest(
            f"percent must be from {PERCENT_MIN} to {PERCENT_MAX} with at most two digits behind the point",
            param="percent",
        )
    return BASE_BP + int(scaled)


def _rates(arguments: PublishPrices) -> Rates | None:
    given = {name: getattr(arguments, name) for name in ("input", "output", "cache_read")}
    if all(text is None for text in given.values()):
        if arguments.percent is None:
            raise InvalidRequest("say a percent, or input and output in dollars per million tokens")
        return None
    if arguments.percent is not None or given["input"] is None or given["output"] is None:
        raise InvalidRequest("say either a percent, or both input and output in dollars per million tokens")
    return msgspec.convert(
        {name: _per_token(text, name) for name, text in given.items() if text is not None}, Rates
    )


def _per_token(text: str, param: str) -> int:
    scaled = _decimal(text, param) * PUSD_PER_USD / TOKENS_PER_MTOK
    if not 0 <= scaled <= MAX_RATE_PUSD or scaled != int(scaled):
        raise InvalidRequest(
            f"{param} must be dollars per million tokens with at most six digits behind the point",
            param=param,
        )
    return int(scaled)


def _decimal(text: str, param: str) -> Decimal:
    plain = text.strip().removeprefix("+")
    if len(plain) > 20 or not plain.isascii() or set(plain) - set("-.0123456789"):
        raise InvalidRequest(f"{param} must be a plain decimal number", param=param)
    try:
        return Decimal(plain)
    except InvalidOperation:
        raise InvalidRequest(f"{param} must be a plain decimal number", param=param) from None


def _describe(rule: PriceRule) -> Result:
    return {
        "id": rule.id,
        "number": rule.number,
        "scope": rule.scope.value,
        "account": rule.account,
        "scope_id": rule.scope_id or None,
        "models": list(rule.models),
        "providers": list(rule.providers),
        "percent": None if rule.factor_bp is None else _percent(rule.factor_bp),
        "price_per_mtok": None if rule.rates is None else _per_mtok(rule.rates),
        "published": iso_time(rule.published_ms),
        "valid_from": iso_time(rule.valid_from_ms),
        "reason": rule.reason or None,
    }


def _percent(factor_bp: int) -> msgspec.Raw:
    sign = "-" if factor_bp < BASE_BP else ""
    whole, part = divmod(abs(factor_bp - BASE_BP), PERCENT_BP)
    text = f"{sign}{whole}.{part:02d}".rstrip("0").rstrip(".") if part else f"{sign}{whole}"
    return msgspec.Raw(text.encode())


def _per_mtok(rates: Rates) -> dict[str, msgspec.Raw]:
    named = (("input", rates.input), ("output", rates.output), ("cache_read", rates.cache_read))
    return {
        name: msgspec.Raw(format_usd(rate * TOKENS_PER_MTOK).encode())
        for name, rate in named
        if rate is not None
    }


def figures_of(price: Price | None) -> Result | None:
    """A price as commands tell it: its version and dollars per million tokens."""
    return None if price is None else {"version": price.version, **_per_mtok(price.rates)}
