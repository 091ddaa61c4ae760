"""What the gateway offers: its providers and their keys, prices, experiments; keys of accounts of their own at
providers; vouchers and credit that the operator gives.

Experiments hold for all accounts, so that they are the operator's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from llm_router.domain.errors import InvalidRequest
from llm_router.domain.experiment import Billed, Kind, Sticky
from llm_router.domain.price_rule import For
from llm_router.edge.api.money import AutoEntry, Rows
from llm_router.edge.api.table import Answer, ApiRoute, Ask, Body, Dollars, said


class SetKey(Body, frozen=True, kw_only=True):
    """``key``: it is never shown again."""

    key: str

    def __repr__(self) -> str:
        return "SetKey(***)"


class SetOwnKey(Body, frozen=True, kw_only=True):
    """``fallback``: the gateway's own keys may serve where this one fails."""

    key: str
    fallback: bool = False

    def __repr__(self) -> str:
        return f"SetOwnKey(fallback={self.fallback}, ***)"


class OwnKeyRows(Rows, frozen=True, kw_only=True):
    """``providers``: those at which an account can have a key of its own: ``id`` and ``name``."""

    providers: list[dict[str, str]]


class PublishPrices(Body, frozen=True, kw_only=True):
    """Either ``percent`` on the providers' prices ("20", "-7.5"), or dollars per million tokens. ``start``: ISO 8601;
    null is now. ``account`` may be a pattern; ``scope_id``: of a team or key. ``scope``: null is "account" where one
    is named, else "all"; what contradicts it is refused, since rules are for good."""

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


class MakeArm(Body, frozen=True, kw_only=True):
    """One arm of an experiment."""

    name: str
    weight: int = 1
    model: str | None = None
    system: str | None = None
    parameters: dict[str, Any] = {}
    provider: dict[str, Any] = {}
    dial: float | None = None


class MakeExperiment(Body, frozen=True, kw_only=True):
    """``of``: @PRESET or a model string. ``share``, ``concurrency``, ``billed``: of a shadow; ``requests_min``,
    ``margin``: of a canary."""

    name: str
    of: str
    kind: Kind = "ab"
    arms: tuple[MakeArm, ...] = ()
    sticky: Sticky = "user"
    share: float = 1.0
    concurrency: int = 4
    billed: Billed = "operator"
    requests_min: int = 20
    margin: float = 0.0
    description: str | None = None


class StopExperiment(Body, frozen=True, kw_only=True):
    reason: str | None = None


class GiveCredit(Body, frozen=True, kw_only=True):
    """``amount``: dollars. ``ref``: books once, however often it is sent."""

    account: str
    amount: Dollars
    reason: str = "added by the operator"
    ref: str | None = None


class AdjustCredit(Body, frozen=True, kw_only=True):
    """``amount``: dollars, less than 0 to take some. ``ref``: books once, however often it is sent."""

    account: str
    amount: Dollars
    reason: str
    ref: str | None = None


class SetAuto(Body, frozen=True, kw_only=True):
    """Below ``threshold`` dollars the account's saved card is charged by ``amount``, once in ``every`` ("6h", an hour
    unless said otherwise). ``off`` ends it."""

    account: str
    threshold: Dollars | None = None
    amount: Dollars | None = None
    every: str | None = None
    off: bool = False


class MakeVouchers(Body, frozen=True, kw_only=True):
    """``amount``: dollars of each. ``expires``: a span ("90d") or a time."""

    amount: Dollars
    count: int = 1
    expires: str | None = None
    note: str = ""


async def list_providers(ask: Ask) -> dict[str, object]:
    return {"data": (await ask.desk.run("providers.list", ask.by, {"every": True}))["providers"]}


async def set_provider_key(ask: Ask) -> dict[str, msgspec.Raw]:
    wanted = {"provider": ask.parameters["id"], "secret": ask.body.key}
    return await ask.desk.run("providers.set_key", ask.by, wanted)


async def remove_provider_key(ask: Ask) -> dict[str, msgspec.Raw]:
    return await ask.desk.run("providers.remove_key", ask.by, {"provider": ask.parameters["id"]})


async def list_own_keys(ask: Ask) -> dict[str, object]:
    found = await ask.desk.run("byok.list", ask.by, {"account": ask.account})
    known = sorted(ask.desk.snapshot().providers.values(), key=lambda provider: provider.name.lower())
    takers = [{"id": each.id, "name": each.name} for each in known if each.auth != "none"]
    return {"data": found["byok"], "providers": takers}


async def set_own_key(ask: Ask) -> dict[str, msgspec.Raw]:
    wanted = {
        "account": ask.account,
        "provider": ask.parameters["id"],
        "secret": ask.body.key,
        "fallback": ask.body.fallback,
    }
    return await ask.desk.run("byok.set", ask.by, wanted)


async def remove_own_key(ask: Ask) -> dict[str, msgspec.Raw]:
    wanted = {"account": ask.account, "provider": ask.parameters["id"]}
    return await ask.desk.run("byok.remove", ask.by, wanted)


async def list_prices(ask: Ask) -> dict[str, object]:
    return {"data": (await ask.desk.run("prices.list", ask.by, {}))["rules"]}


async def publish_prices(ask: Ask) -> Answer:
    return Answer(value=await ask.desk.run("prices.publish", ask.by, said(ask.body)), status=201)


async def list_experiments(ask: Ask) -> dict[str, object]:
    return {"data": (await ask.desk.run("experiments.list", ask.by, {}))["experiments"]}


async def make_experiment(ask: Ask) -> Answer:
    wanted = {**said(ask.body), "arms": [said(arm) for arm in ask.body.arms]}
    return Answer(value=await ask.desk.run("experiments.create", ask.by, wanted), status=201)


async def report_experiment(ask: Ask) -> dict[str, msgspec.Raw]:
    return await ask.desk.run("experiments.report", ask.by, {"name": ask.parameters["id"]})


async def stop_experiment(ask: Ask) -> dict[str, msgspec.Raw]:
    return await ask.desk.run(
        "experiments.stop", ask.by, {"name": ask.parameters["id"], "reason": ask.body.reason}
    )


async def give_credit(ask: Ask) -> Answer:
    wanted = {**said(ask.body), "amount": ask.body.amount.text}
    return Answer(value=await ask.desk.run("credits.add", ask.by, wanted), status=201)


async def adjust_credit(ask: Ask) -> Answer:
    wanted = {**said(ask.body), "amount": ask.body.amount.text, "actor": ask.by.name}
    return Answer(value=await ask.desk.run("credits.adjust", ask.by, wanted), status=201)


async def set_auto(ask: Ask) -> dict[str, msgspec.Raw]:
    body: SetAuto = ask.body
    wanted: dict[str, Any] = {"account": body.account, "off": body.off}
    if not body.off:
        for name in ("threshold", "amount"):
            value = getattr(body, name)
            if value is None:
                raise InvalidRequest(f"'{name}' is missing: say both, or 'off'.", param=name)
            wanted[name] = value.text
        wanted |= {} if body.every is None else {"every": body.every}
    return await ask.desk.run("credits.auto", ask.by, wanted)


async def list_payments(ask: Ask) -> dict[str, object]:
    account = ask.request.parameter("account")
    wanted = {} if account is None else {"account": account}
    return {"data": (await ask.desk.run("payments.list", ask.by, wanted))["payments"]}


async def list_vouchers(ask: Ask) -> dict[str, object]:
    return {"data": (await ask.desk.run("vouchers.list", ask.by, {}))["vouchers"]}


async def make_vouchers(ask: Ask) -> Answer:
    wanted = {**said(ask.body), "amount": ask.body.amount.text}
    return Answer(value=await ask.desk.run("vouchers.create", ask.by, wanted), status=201)


async def revoke_voucher(ask: Ask) -> dict[str, msgspec.Raw]:
    return await ask.desk.run("vouchers.revoke", ask.by, {"id": ask.parameters["id"]})


_ROUTES: tuple[Mapping[str, Any], ...] = (
    {
        "method": "GET", "path": "/api/v1/gateway/providers", "handler": list_providers, "reply": Rows,
        "summary": "All providers: whether they can be called, and where their key comes from; never the key.",
        "permission": "provider:read", "house": True,
    },
    {
        "method": "PUT", "path": "/api/v1/gateway/providers/{id}/key", "handler": set_provider_key, "body": SetKey,
        "summary": "Keep a key of the gateway's own, sealed; the next request is called with it.",
        "permission": "provider:write", "house": True,
    },
    {
        "method": "DELETE", "path": "/api/v1/gateway/providers/{id}/key", "handler": remove_provider_key,
        "summary": "Delete it: what file and environment say holds again.",
        "permission": "provider:write", "house": True,
    },
    {
        "method": "GET", "path": "/api/v1/gateway/prices", "handler": list_prices, "reply": Rows,
        "summary": "The rules that customers' prices are made by, in the order of their publication.",
        "permission": "model:read", "house": True,
    },
    {
        "method": "POST", "path": "/api/v1/gateway/prices", "handler": publish_prices, "body": PublishPrices,
        "status": 201, "summary": "Publish a rule, for good; a later one takes its place.",
        "permission": "model:write", "house": True,
    },
    {
        "method": "POST", "path": "/api/v1/gateway/credits", "handler": give_credit, "body": GiveCredit, "status": 201,
        "summary": "Book credit to an account.", "permission": "credit:write", "house": True,
    },
    {
        "method": "POST", "path": "/api/v1/gateway/credits/adjust", "handler": adjust_credit, "body": AdjustCredit,
        "status": 201, "permission": "credit:write", "house": True,
        "summary": "Add or take credit by hand, with a reason that stands in the books.",
    },
    {
        "method": "PUT", "path": "/api/v1/gateway/credits/auto", "handler": set_auto, "body": SetAuto, "reply": AutoEntry,
        "summary": "Have an account topped up by its saved card, or not any more.",
        "permission": "credit:write", "house": True,
    },
    {
        "method": "GET", "path": "/api/v1/gateway/payments", "handler": list_payments, "reply": Rows,
        "summary": "The orders of credit, the oldest first.", "parameters": (("account", "of this account alone"),),
        "permission": "credit:read", "house": True,
    },
    {
        "method": "GET", "path": "/api/v1/gateway/vouchers", "handler": list_vouchers, "reply": Rows,
        "summary": "All vouchers with their state, without their codes.",
        "permission": "credit:read", "house": True,
    },
    {
        "method": "POST", "path": "/api/v1/gateway/vouchers", "handler": make_vouchers, "body": MakeVouchers,
        "status": 201, "summary": "Make vouchers; their codes are shown once.",
        "permission": "credit:write", "house": True,
    },
    {
        "method": "DELETE", "path": "/api/v1/gateway/vouchers/{id}", "handler": revoke_voucher,
        "summary": "Refuse a voucher from now on.", "permission": "credit:write", "house": True,
    },
    {
        "method": "GET", "path": "/api/v1/provider-keys", "handler": list_own_keys, "reply": OwnKeyRows,
        "summary": "Where the account has keys of its own; never the keys.", "permission": "provider_key:read",
    },
    {
        "method": "PUT", "path": "/api/v1/provider-keys/{id}", "handler": set_own_key, "body": SetOwnKey,
        "summary": "Keep the account's own key at a provider, sealed.", "permission": "provider_key:write",
    },
    {
        "method": "DELETE", "path": "/api/v1/provider-keys/{id}", "handler": remove_own_key,
        "summary": "Delete the account's own key at a provider.", "permission": "provider_key:write",
    },
    {
        "method": "GET", "path": "/api/v1/experiments", "handler": list_experiments, "reply": Rows,
        "summary": "All experiments, those that are over too.", "permission": "experiment:read", "house": True,
    },
    {
        "method": "POST", "path": "/api/v1/experiments", "handler": make_experiment, "body": MakeExperiment,
        "status": 201, "summary": "Begin an experiment.", "permission": "experiment:write", "house": True,
    },
    {
        "method": "GET", "path": "/api/v1/experiments/{id}", "handler": report_experiment,
        "summary": "An experiment with its figures and its verdict.", "permission": "experiment:read", "house": True,
    },
    {
        "method": "POST", "path": "/api/v1/experiments/{id}/stop", "handler": stop_experiment, "body": StopExperiment,
        "summary": "End an experiment; what was counted stays.", "permission": "experiment:write", "house": True,
    },
)  # fmt: skip

OFFER_ROUTES = tuple(ApiRoute(**row) for row in _ROUTES)
