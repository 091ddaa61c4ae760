"""Budgets, limits and credit of an account."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from llm_router.access.grants import bounds_of, check_key_grant, check_spending_grant, unbounded_only
from llm_router.billing.payments import PUSD_PER_CENT
from llm_router.domain.budget import Scope, Window
from llm_router.domain.errors import InvalidRequest, NotFound
from llm_router.domain.key import Key
from llm_router.domain.limit import LimitKind
from llm_router.edge.api.desk import Desk
from llm_router.edge.api.table import Answer as Answered
from llm_router.edge.api.table import ApiRoute, Ask, Body, Dollars, Reply, said
from llm_router.engine.operator import dollars
from llm_router.engine.payments import Payments
from llm_router.engine.topping import describe_auto
from llm_router.engine.treasury import Treasury

CENTS_MAX = 10**9 - 1
"""Of one top-up, whatever the operator's own bounds are."""

Amounts = dict[str, Any]


class MakeBudget(Body, frozen=True, kw_only=True):
    """``amount``: dollars. ``scope_id``: of a team, user or key; null is the account itself."""

    amount: Dollars
    scope: Scope = Scope.ACCOUNT
    scope_id: str | None = None
    window: Window = Window.MONTH
    rolling: bool = False
    time_zone: str = "UTC"


class MakeLimit(Body, frozen=True, kw_only=True):
    """``window``: null is a minute; it means nothing to concurrency. ``model``: a name or glob."""

    kind: LimitKind
    amount: int
    scope: Scope = Scope.ACCOUNT
    scope_id: str | None = None
    window: Window | None = None
    model: str | None = None


class Redeem(Body, frozen=True, kw_only=True):
    code: str


class AutoTopupEntry(Reply, frozen=True, kw_only=True):
    """Below ``threshold`` dollars the saved card is charged by ``amount``, once in ``every_s`` at most. ``disabled``:
    why it is off."""

    threshold: float
    amount: float
    every_s: int
    enabled: bool
    disabled: str | None
    last_charge: str | None


class AutoEntry(Reply, frozen=True, kw_only=True):
    account: str
    auto_topup: AutoTopupEntry | None


class TopUp(Body, frozen=True, kw_only=True):
    """``amount``: dollars, with two digits behind the point at most."""

    amount: Dollars
    save_card: bool = False


class Rows(Reply, frozen=True, kw_only=True):
    data: list[dict[str, Any]]


class CreditWays(Reply, frozen=True, kw_only=True):
    """``minimum``, ``maximum``: dollars of one top-up; null where there are none."""

    top_up: bool
    minimum: float | None
    maximum: float | None


class CreditData(Reply, frozen=True, kw_only=True):
    """Dollars. ``total_credits`` less ``total_usage`` is what is booked; what runs holds some of it."""

    total_credits: float
    total_usage: float
    credits_remaining: float
    held: float
    owed: float


class Credits(Reply, frozen=True, kw_only=True):
    data: CreditData


async def list_budgets(ask: Ask) -> dict[str, object]:
    found = await ask.desk.run("budgets.list", ask.by, {"account": ask.account})
    return {"data": found["budgets"]}


async def set_budget(ask: Ask) -> Answered:
    """Make a budget, or give the one of that scope and window another amount."""
    body: MakeBudget = ask.body
    await _check_key_scope(ask, body.scope, body.scope_id)
    wanted: dict[str, object] = {
        name: getattr(body, name) for name in ("scope", "window", "rolling", "time_zone")
    }
    if body.scope_id is not None:
        wanted["scope_id"] = body.scope_id
    found = await ask.desk.run(
        "budgets.set", ask.by, {**wanted, "account": ask.account, "amount": body.amount.text}
    )
    return Answered(value=found, status=201)


async def remove_budget(ask: Ask) -> dict[str, object]:
    await _check_there(ask, "budgets", "budget")
    await ask.desk.run("budgets.remove", ask.by, {"id": ask.parameters["id"]})
    return {"deleted": True}


async def list_limits(ask: Ask) -> dict[str, object]:
    found = await ask.desk.run("limits.list", ask.by, {"account": ask.account})
    return {"data": found["limits"]}


async def set_limit(ask: Ask) -> Answered:
    """Make a limit, or give the one of that scope, kind, window and model another amount."""
    body: MakeLimit = ask.body
    await _check_key_scope(ask, body.scope, body.scope_id)
    found = await ask.desk.run("limits.set", ask.by, {**said(body), "account": ask.account})
    return Answered(value=found, status=201)


async def remove_limit(ask: Ask) -> dict[str, object]:
    await _check_there(ask, "limits", "limit")
    await ask.desk.run("limits.remove", ask.by, {"id": ask.parameters["id"]})
    return {"deleted": True}


async def _check_key_scope(ask: Ask, scope: Scope, scope_id: str | None) -> None:
    """A management key bounds the keys that it could make, and neither the account nor itself; one that is bounded
    bounds nothing but keys.

    Raises:
        InvalidRequest, Forbidden, NotFound
    """
    key = ask.subject.key
    if key is None:
        return
    of_key = scope is Scope.KEY or (scope is Scope.SESSION and scope_id not in (None, ask.account))
    if of_key and scope_id == key.id:
        raise InvalidRequest("An API key does not change its own bounds.", param="scope_id")
    if scope is Scope.KEY or (of_key and "account:read" in ask.subject.permissions(ask.account)):
        await check_other_key(ask, scope_id)
        return
    if "account:read" not in ask.subject.permissions(ask.account):
        raise InvalidRequest(
            "A key with the scope 'keys' bounds other keys alone: scope is 'key'.", param="scope"
        )
    if bounds := await bounds_with_dollars(ask, key):
        raise unbounded_only(bounds, "changes no bounds of the account, of teams and of users")


async def check_other_key(ask: Ask, id_: str | None) -> None:
    """Refuse that an API key does to another what it could not give.

    Raises:
        NotFound: the account has no such key.
        Forbidden: that one may do more, or spends what this one's limit would not let it.
    """
    key = ask.subject.key
    if key is None or id_ == key.id:
        return
    other = None if id_ is None else await ask.desk.keyring.get(id_)
    if other is None or other.account != ask.account:
        raise NotFound(f"There is no key '{(id_ or '')[:100]}'.", param="scope_id")
    check_key_grant(ask.subject, other)
    if await has_budget(ask, key):
        check_spending_grant(key, other)


async def bounds_with_dollars(ask: Ask, key: Key) -> tuple[str, ...]:
    """The names of all that a key is bound to, its own budgets and limits among them."""
    rows = await ask.desk.rows("limits.list", ask.by, {"account": key.account}, "limits")
    more = [
        *(["limit"] if await has_budget(ask, key) else []),
        *(["limits"] if any(_is_of(row, key) for row in rows) else []),
    ]
    return (*bounds_of(key), *more)


async def check_gives_roles(ask: Ask) -> None:
    """Refuse that an API key that is bounded, be it in dollars, gives, changes or takes roles.

    Raises:
        Forbidden
    """
    key = ask.subject.key
    if key is not None and (bounds := await bounds_with_dollars(ask, key)):
        raise unbounded_only(bounds, "gives, changes and takes no roles")


async def has_budget(ask: Ask, key: Key) -> bool:
    """Whether a key is bounded in dollars by itself."""
    rows = await ask.desk.rows("budgets.list", ask.by, {"account": key.account}, "budgets")
    return any(_is_of(row, key) for row in rows)


def _is_of(row: dict[str, msgspec.Raw], key: Key) -> bool:
    """Whether a budget or limit is that of a key, or of each of its sessions."""
    scope = msgspec.json.decode(row["scope"])
    return scope in (Scope.KEY, Scope.SESSION) and msgspec.json.decode(row["scope_id"]) == key.id


async def _check_there(ask: Ask, rows: str, what: str) -> None:
    """
    Raises:
        NotFound: the account has no such row.
    """
    id_ = ask.parameters["id"]
    for row in await ask.desk.rows(f"{rows}.list", ask.by, {"account": ask.account}, rows):
        if msgspec.json.decode(row["id"]) == id_:
            await _check_key_scope(
                ask, Scope(msgspec.json.decode(row["scope"])), msgspec.json.decode(row["scope_id"])
            )
            return
    raise NotFound(f"There is no {what} '{id_[:100]}'.")


async def _has_budget(ask: Ask, account: str) -> bool:
    return await _has(ask, "budgets", account)


async def _has_limit(ask: Ask, account: str) -> bool:
    return await _has(ask, "limits", account)


async def _has(ask: Ask, name: str, account: str) -> bool:
    """Whether an account has the budget or limit that the path names."""
    rows = await ask.desk.rows(f"{name}.list", ask.by, {"account": account}, name)
    return any(msgspec.json.decode(row["id"]) == ask.parameters["id"] for row in rows)


async def show_credits(ask: Ask) -> dict[str, object]:
    return await _treasury(ask.desk).credits(ask.account)


async def credit_ways(ask: Ask) -> dict[str, object]:
    """How credit gets here."""
    payments = _treasury(ask.desk).payments
    rules = None if payments is None else payments.rules
    return {
        "top_up": rules is not None,
        "minimum": None if rules is None else dollars(rules.cents_min * PUSD_PER_CENT),
        "maximum": None if rules is None else dollars(rules.cents_max * PUSD_PER_CENT),
    }


async def list_entries(ask: Ask) -> dict[str, object]:
    page = await _treasury(ask.desk).entries(ask.account, ask.limit(), ask.after() or None)
    return {**page, "next": page["last_id"] if page["has_more"] else None}


async def redeem(ask: Ask) -> dict[str, object]:
    """Book a voucher to the account."""
    return dict(
        await ask.desk.run("vouchers.redeem", ask.by, {"account": ask.account, "code": ask.body.code})
    )


async def top_up(ask: Ask) -> dict[str, object]:
    """A page of Stripe's to buy credit at."""
    payments = _payments(ask.desk)
    body: TopUp = ask.body
    cents, rest = divmod(body.amount.pusd, PUSD_PER_CENT)
    if rest or not 0 <= cents <= CENTS_MAX:
        raise InvalidRequest(
            "'amount' must be US dollars such as 10 or 12.50, with at most two digits behind the point.",
            param="amount",
        )
    return await payments.checkout(ask.account, cents, save_card=body.save_card)


async def show_auto(ask: Ask) -> dict[str, object]:
    """The account's auto top-up; null where there is none."""
    auto = _treasury(ask.desk).auto
    held = None if auto is None else await auto.get(ask.account)
    return {"account": ask.account, "auto_topup": None if held is None else describe_auto(held)}


def _treasury(desk: Desk) -> Treasury:
    if desk.treasury is None:
        raise NotFound("The store of this gateway does not tell of credits.")
    return desk.treasury


def _payments(desk: Desk) -> Payments:
    payments = _treasury(desk).payments
    if payments is None:
        raise NotFound("This gateway takes no payments.", code="payments_disabled")
    return payments


_ROUTES: tuple[Mapping[str, Any], ...] = (
    {
        "method": "GET", "path": "/api/v1/credits/auto", "handler": show_auto, "reply": AutoEntry,
        "summary": "The account's auto top-up, which the operator sets.", "permission": "credit:read",
    },
    {
        "method": "GET", "path": "/api/v1/budgets", "handler": list_budgets, "reply": Rows,
        "summary": "Budgets, with what is spent of each.", "permission": "budget:read",
    },
    {
        "method": "POST", "path": "/api/v1/budgets", "handler": set_budget, "body": MakeBudget, "status": 201,
        "summary": "Make a budget, or give the one of that scope and window another amount.",
        "permission": "budget:write",
    },
    {
        "method": "DELETE", "path": "/api/v1/budgets/{id}", "handler": remove_budget, "holds": _has_budget,
        "summary": "Bound nothing by it any more.", "permission": "budget:write",
    },
    {
        "method": "GET", "path": "/api/v1/limits", "handler": list_limits, "reply": Rows,
        "summary": "Limits of requests, tokens and concurrency.", "permission": "limit:read",
    },
    {
        "method": "POST", "path": "/api/v1/limits", "handler": set_limit, "body": MakeLimit, "status": 201,
        "summary": "Make a limit, or give the one of that kind another amount.", "permission": "limit:write",
    },
    {
        "method": "DELETE", "path": "/api/v1/limits/{id}", "handler": remove_limit, "holds": _has_limit,
        "summary": "Bound nothing by it any more.", "permission": "limit:write",
    },
    {
        "method": "GET", "path": "/api/v1/credits", "handler": show_credits, "reply": Credits,
        "summary": "What the account was given, what it used, what it has left.", "permission": "credit:read",
    },
    {
        "method": "GET", "path": "/api/v1/credits/ways", "handler": credit_ways, "reply": CreditWays,
        "summary": "Whether credit can be bought here, and from how many dollars to how many.",
        "permission": "credit:read",
    },
    {
        "method": "GET", "path": "/api/v1/credits/entries", "handler": list_entries,
        "summary": "The account's books, the newest first.", "permission": "credit:read",
        "parameters": (("after", "the next of the page before"), ("limit", "1 to 200")),
    },
    {
        "method": "POST", "path": "/api/v1/credits/redeem", "handler": redeem, "body": Redeem,
        "summary": "Book a voucher.", "permission": "credit:write",
    },
    {
        "method": "POST", "path": "/api/v1/credits/top-up", "handler": top_up, "body": TopUp,
        "summary": "A page of Stripe's to buy credit at.", "permission": "credit:write",
    },
)  # fmt: skip

MONEY_ROUTES = tuple(ApiRoute(**row) for row in _ROUTES)
