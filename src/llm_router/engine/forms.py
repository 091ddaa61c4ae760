"""What the records of plain answers of a kind have in common, made once; each is filled in where it differs.

A record says some thirty things, and of those that a ride delivers most are the same from one to the next. Filled in
it is what :mod:`attempt`, :mod:`deciding` and :mod:`settle` would say of the same track.
"""

from __future__ import annotations

import msgspec

from llm_router.billing.estimate import Estimate
from llm_router.billing.meter import Metered
from llm_router.domain.budget import Payer
from llm_router.domain.decision import Asks, Decision
from llm_router.domain.limit import Admission
from llm_router.domain.record import AttemptRecord, ExchangeRecord
from llm_router.engine.admit import Call
from llm_router.engine.deciding import asks_of, is_versioned, plan_keys
from llm_router.routing.plan import Candidate, Plan
from llm_router.wire.dialect import Inspected, Observed

_filled = msgspec.structs.replace


class Form(msgspec.Struct, frozen=True):
    """The record of requests of a kind that are answered by the plan's first candidate at the first attempt.

    ``asks``: of plain ones, before their numbers are filled in.
    """

    asks: Asks
    decision: Decision
    attempt: AttemptRecord
    record: ExchangeRecord

    def filled(
        self,
        id_: str,
        created_ms: int,
        begun_us: int,
        upstream_us: int,
        called_ms: int,
        called_us: int,
        status: int | None,
        first_byte_us: int | None,
        first_token_ms: int | None,
        reply_id: str,
        seen: Observed,
        bill: Metered,
        now_us: int,
        inspected: Inspected,
        held: Estimate | None,
        admission: Admission | None,
    ) -> ExchangeRecord:
        """The record of an exchange that has just delivered, and was charged by the price of its deployment.

        Args:
            begun_us: when its request came; called_ms, called_us: when the provider was called.
            upstream_us: how long that one was waited for.
        """
        duration_us, cost_pusd, usage = now_us - begun_us, bill.cost_pusd, bill.usage
        overhead_us, upstream_id = duration_us - upstream_us, seen.upstream_id
        tried = _filled(
            self.attempt,
            started_ms=called_ms,
            duration_ms=(now_us - called_us) // 1000,
            status=status,
            first_byte_ms=None if first_byte_us is None else first_byte_us // 1000,
            upstream_id=upstream_id,
            usage=seen.usage,
            operator_cost_pusd=cost_pusd,
        )
        asks = (
            _filled(self.asks, text_bytes=inspected.text_bytes, output_tokens=inspected.output_tokens)
            if inspected.plain
            else asks_of(inspected)
        )
        decision = _filled(
            self.decision,
            asks=asks,
            hold_pusd=None if held is None else held.amount_pusd,
            limits=() if admission is None else admission.limits,
        )
        return _filled(
            self.record,
            id=id_,
            reply_id=reply_id,
            created_ms=created_ms,
            duration_ms=duration_us // 1000,
            first_token_ms=first_token_ms,
            overhead_us=overhead_us if overhead_us > 0 else 0,
            finish=seen.finish,
            native_finish=seen.native_finish,
            usage=usage,
            cost_pusd=cost_pusd,
            cost=bill.lines,
            attempts=(tried,),
            flags=tuple(dict.fromkeys(seen.flags)) if seen.flags else (),
            decision=decision,
        )


def form_of(call: Call, payer: Payer, inspected: Inspected, plan: Plan, candidate: Candidate) -> Form | None:
    """That of a request's kind; None if there is more to say of each."""
    deployment, provider = candidate.deployment, candidate.provider
    if not is_versioned(plan) or deployment.price is None or candidate.own_key:
        return None
    if deployment.operator_price is not deployment.price or inspected.routing or plan.auto is not None:
        return None
    return Form(
        asks=Asks(needs=asks_of(inspected).needs),  # other numbers are those of whichever came first
        decision=Decision(named=plan.named, version=plan.version, plan=plan_keys(plan)),
        attempt=AttemptRecord(
            deployment=deployment.id,
            provider=provider.id,
            upstream_model=deployment.upstream_model,
            started_ms=0,
            duration_ms=0,
            outcome="delivered",
        ),
        record=ExchangeRecord(
            id="",
            account=payer.account,
            key=payer.key,
            team=payer.team,
            user=payer.user,
            session=payer.session,
            operation=call.operation,
            dialect=call.dialect.name,
            asked_model=inspected.model,
            model=candidate.model.id,
            deployment=deployment.id,
            provider=provider.id,
            created_ms=0,
            duration_ms=0,
            stream=inspected.stream,
            status=200,
            price_version=deployment.price.version,
        ),
    )
