"""A decision as people read it: the body of ``GET /v1/generations/{id}/explain`` and ``POST /v1/explain``.

What the record does not hold, since it is the same for all requests of a kind, is found again from the catalogue;
the digest in the record tells whether that still says what it said then.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import msgspec

from llm_router.billing.interval import expected_tokens, forecast
from llm_router.catalog.listing import per_mtok
from llm_router.catalog.snapshot import Snapshot
from llm_router.catalog.successors import told
from llm_router.domain.decision import OWN, Asks, AutoChoice, Decision, Followed, Named, Weighed, key_of
from llm_router.domain.errors import ModelNotFound, NotFound, RouterError
from llm_router.domain.model import Deployment
from llm_router.domain.price import Price
from llm_router.domain.record import AttemptRecord, ExchangeRecord
from llm_router.engine.deciding import grouped, inspected_of
from llm_router.engine.moments import iso_time
from llm_router.engine.operator import DEFAULT_ACCOUNT, Arguments, Context, Result, account_name, dollars
from llm_router.engine.planning import bounded, version_of
from llm_router.routing.plan import Plan, make_plan
from llm_router.routing.replay import replay, replay_order
from llm_router.routing.strategies import UNITS
from llm_router.wire.operations import FORMATS

Shown = dict[str, object]

CHANGED = (
    "The catalogue or the configuration has changed since: who was left out then, and at which prices the others "
    "stood, is not known any more."
)
"""Of a plain decision whose digest is not that of today."""

UNKNOWN = "Nothing was kept of this decision: the record is older than explanations, or nothing was decided."


def explain_record(record: ExchangeRecord, snapshot: Snapshot, active: Collection[str]) -> Shown:
    """All that is known of why an exchange went as it did."""
    decision, notes = record.decision, list[str]()
    if decision is None:
        notes.append(UNKNOWN)
        decision = Decision()
    again = None if decision.weighings else _again(record, decision, snapshot, active)
    if again is not None and decision.version and version_of(again) == decision.version:
        if len(decision.plan) > 1:  # it may have been cut to what a plan may hold
            again = bounded(again, len(decision.plan))
        decision = msgspec.structs.replace(
            decision,
            plan=tuple(key_of(c.deployment.id, c.own_key) for c in again.candidates),
            left_out=decision.left_out or grouped(again.rejections),
        )
    elif decision.version and not decision.weighings:
        notes.append(CHANGED)
    plan = decision.plan or ((record.deployment,) if record.deployment is not None else ())
    decision = msgspec.structs.replace(decision, plan=plan)
    return {
        "object": "explanation",
        "id": record.id,
        "created": iso_time(record.created_ms),
        "api": record.dialect,
        "operation": record.operation,
        "stream": record.stream,
        "key": record.key or None,
        "asked_model": record.asked_model,
        "planned_as": decision.model or record.asked_model,
        "model": record.model,
        "experiment": None if record.experiment is None else {"name": record.experiment, "arm": record.arm},
        "served_by": record.deployment if record.error_code is None else None,
        "status": record.status,
        **shown_decision(decision, snapshot, _prices(snapshot), notes),
        "attempts": [
            _attempt(at, each, followed)
            for at, (each, followed) in enumerate(
                zip(record.attempts, _followed(record.attempts, decision), strict=True)
            )
        ],
        "stopped": decision.stopped,
        "seams": [msgspec.to_builtins(seam) for seam in record.seams],
        "cache": {
            "session": decision.session,
            "stayed_with": decision.stuck,
            "read_tokens": record.usage.cache_read_tokens,
            "written_tokens": record.usage.cache_write_tokens + record.usage.cache_write_1h_tokens,
        },
        "hold": _hold(decision),
        "settlement": _settlement(record),
        "error": None
        if record.error_code is None
        else {"code": record.error_code, "message": record.error_message},
    }


def _request(asks: Asks, routing: Mapping[str, Any] | None) -> Shown:
    """The request in numbers. Tokens are counted only where it gives numbers of tokens in place of text."""
    inspected = inspected_of(asks, model="", stream=False, routing=None)
    return {
        **_members(asks),
        "input_tokens": None if asks.input_tokens == 0 else asks.input_tokens,
        "input_tokens_expected": expected_tokens(inspected, None)[0],
        "routing": routing,
    }


def shown_decision(
    decision: Decision, snapshot: Snapshot, prices: Mapping[str, Price], notes: list[str]
) -> Shown:
    """The decision itself: who could have served, who might not, and in which order."""
    made = replay(decision)
    asks = decision.asks
    return {
        "names": [shown_name(each, snapshot) for each in decision.named],
        "strategy": decision.strategy or "priority",
        "request": None if asks is None else _request(asks, decision.routing),
        "auto": None if decision.auto is None else _auto(decision.auto),
        "candidates": _candidates(decision, prices),
        "rejected": [
            {"deployment": deployment, "reason": each.reason}
            for each in decision.left_out
            for deployment in each.deployments
        ],
        "plan": list(decision.plan),
        "order": list(replay_order(decision, decision.plan)),
        "fallbacks": {kind: list(ids) for kind, ids in decision.fallbacks.items()},
        "limits": [_members(limit) for limit in decision.limits],
        "notes": [*notes, *decision.notes],
        "replayed": {"same": made == decision.plan, "plan": list(made)},
    }


def shown_name(named: Named, snapshot: Snapshot) -> Shown:
    """What a name of the request came to, with ``note`` in words."""
    return {**_members(named), "note": _name_note(named, snapshot)}


def _name_note(named: Named, snapshot: Snapshot) -> str:
    prefix = named.asked.partition("/")[0]
    match named.via:
        case "developer":
            return f"'{prefix}' is the model's developer: whoever serves {named.model} may be asked"
        case "provider":
            return f"{named.provider} alone may be asked; '{named.model}' asks for it wherever it is served"
        case "successor":
            try:
                return told(snapshot.find(named.asked), snapshot.find(named.model))
            except ModelNotFound:  # the catalogue has changed since
                return f"'{named.asked}' was past its shutdown; its successor {named.model} answered"
        case _:
            return f"another name of {named.model}"


def _again(
    record: ExchangeRecord, decision: Decision, snapshot: Snapshot, active: Collection[str]
) -> Plan | None:
    """The plan of such a request as the catalogue is now; None if it knows no such model."""
    if decision.asks is None:
        return None
    try:
        resolved = snapshot.resolve(decision.model or record.asked_model, active=active)
    except RouterError:
        return None
    return make_plan(
        resolved.model,
        resolved.deployments,
        providers=snapshot.providers,
        active=active,
        front=record.dialect,
        needs=frozenset(decision.asks.needs),
        formats=FORMATS[record.operation],
        asked=resolved.asked,
        via=resolved.via,
    )


def _prices(snapshot: Snapshot) -> dict[str, Price]:
    """The prices of the catalogue by deployment."""
    return {
        deployment.id: deployment.price
        for model in snapshot.models.values()
        for deployment in model.deployments
        if deployment.price is not None
    }


def _candidates(decision: Decision, prices: Mapping[str, Price]) -> list[Shown]:
    """Every candidate with its numbers, those of the plan first and in its order."""
    places = {key: at for at, key in enumerate(decision.plan)}
    weighed = [(w.strategy, c) for w in decision.weighings for c in w.candidates]
    known = {key_of(c.deployment, c.own_key) for _, c in weighed}
    plain = [
        (decision.strategy, Weighed(deployment=key.removesuffix(OWN), model="", own_key=key.endswith(OWN)))
        for key in decision.plan
        if key not in known
    ]
    rows = [_candidate(decision, strategy, c, prices, places) for strategy, c in (*plain, *weighed)]
    rows.sort(key=lambda row: (row["place"] is None, row["place"]))
    return rows


def _candidate(
    decision: Decision,
    strategy: str,
    weighed: Weighed,
    prices: Mapping[str, Price],
    places: Mapping[str, int],
) -> Shown:
    price = prices.get(weighed.deployment)
    if price is not None and weighed.price_version not in ("", price.version):
        price = None  # it was another one
    cost_pusd = weighed.cost_pusd
    if cost_pusd is None and price is not None:
        cost_pusd = _forecast(decision, weighed.deployment, price)
    stood = next((each for each in decision.stood if each.deployment == weighed.deployment), None)
    shown = {name: getattr(weighed, name) for name in _MEASURED}
    place = places.get(key_of(weighed.deployment, weighed.own_key))
    return {
        "deployment": weighed.deployment,
        "provider": weighed.deployment.split("/", 1)[0],
        "place": None if place is None else place + 1,
        "own_key": weighed.own_key,
        "strategy": strategy or "priority",
        "forecast_cost": None if cost_pusd is None else dollars(cost_pusd),
        "price_version": weighed.price_version or (None if price is None else price.version),
        "price_per_mtok": per_mtok(price),
        **shown,
        "score_unit": None if weighed.score is None else UNITS.get(strategy),
        "health": None if stood is None else _members(stood),
    }


_MEASURED = (
    "ttft_ms", "tokens_per_s", "in_flight", "error_rate", "weight", "share", "tools", "rank", "slow", "doubt",
    "stuck", "score",
)  # fmt: skip


def _forecast(decision: Decision, deployment: str, price: Price) -> int | None:
    """What such a request is expected to cost there, by what is known of answers in general."""
    if decision.asks is None:
        return None
    inspected = inspected_of(decision.asks, model="", stream=False, routing=None)
    input_tokens, output_tokens = expected_tokens(inspected, None)
    there = Deployment(id=deployment, model="", provider="", upstream_model="", price=price)
    return forecast(inspected, there, input_tokens=input_tokens, output_tokens=output_tokens)


def _auto(choice: AutoChoice) -> Shown:
    return {
        "dial": choice.dial,
        "rank": choice.rank,
        "reason": choice.reason,
        "offers": [
            {
                "model": offer.model,
                "deployment": offer.deployment,
                "expected_quality": offer.quality,
                "forecast_cost": dollars(offer.cost_pusd),
                "worth": None
                if choice.worth_min is None
                else offer.quality - choice.worth_min * offer.cost_pusd,
                "fits": offer.fits,
            }
            for offer in choice.offers
        ],
    }


FIRST, OTHER = Followed(why="first"), Followed(why="other")


def _followed(attempts: Sequence[AttemptRecord], decision: Decision) -> list[Followed]:
    """Why each attempt was made. Of two that ran side by side the one that began later was the second."""
    found = [FIRST, *decision.followed][: len(attempts)]
    found += [OTHER] * (len(attempts) - len(found))
    if len(found) > 1 and found[1].why == "hedge" and attempts[0].started_ms > attempts[1].started_ms:
        found[:2] = [found[1], FIRST]
    return found


def _attempt(at: int, attempt: AttemptRecord, followed: Followed) -> Shown:
    """One try, with why it was made."""
    cost_pusd = attempt.operator_cost_pusd
    return {
        "number": at + 1,
        "why": followed.why,
        "waited_ms": followed.wait_ms,
        "deployment": attempt.deployment,
        "provider": attempt.provider,
        "upstream_model": attempt.upstream_model,
        "outcome": attempt.outcome,
        "status": attempt.status,
        "started": iso_time(attempt.started_ms),
        "duration_ms": attempt.duration_ms,
        "first_byte_ms": attempt.first_byte_ms,
        "cause": attempt.error_kind,
        "message": attempt.error_message,
        "own_key": attempt.byok,
        "key": attempt.key,
        "provider_bills": None if cost_pusd is None else dollars(cost_pusd),
        "provider_bills_estimated": attempt.operator_cost_estimated,
    }


def _hold(decision: Decision) -> Shown | None:
    if decision.hold_pusd is None:
        return None
    return {"amount": dollars(decision.hold_pusd), "output_cap": decision.output_cap}


def _settlement(record: ExchangeRecord) -> Shown:
    return {
        "cost": dollars(record.cost_pusd),
        "absorbed": dollars(record.absorbed_pusd),
        "price_version": record.price_version,
        "lines": [
            {
                "bucket": line.bucket,
                "quantity": line.quantity,
                "rate_per_mtok": dollars(line.rate_pusd * 1_000_000),
                "amount": dollars(line.amount_pusd),
            }
            for line in record.cost
        ],
        "flags": list(record.flags),
        "client_gone": record.client_gone,
    }


class Explain(Arguments, frozen=True, kw_only=True):
    """``explain``. ``id`` is that of the exchange or of the reply."""

    id: str
    account: str = DEFAULT_ACCOUNT


async def explain(arguments: Explain, context: Context) -> Result:
    """Why an exchange of an account went as it did.

    Raises:
        NotFound: it has no such exchange.
    """
    account = account_name(arguments.account)
    record = await context.books.generation(account, arguments.id)
    if record is None:
        raise NotFound(
            f"the account '{account}' has no exchange '{arguments.id[:100]}'; it is the x-generation-id of a reply"
        )
    return explain_record(record, context.snapshot(), context.active())


def _members(value: msgspec.Struct) -> Shown:
    return {name: getattr(value, name) for name in value.__struct_fields__}
