"""What the records of plain answers of a kind have in common, made once; each is filled in where it differs.

A record says some thirty things, and of those that a ride delivers most are the same from one to the next. Filled in
it is what :mod:`attempt`, :mod:`deciding` and :mod:`settle` would say of the same track.
"""

from __future__ import annotations

import msgspec

from llm_router.billing.meter import Metered
from llm_router.domain.budget import Payer
from llm_router.domain.decision import Asks, Decision
from llm_router.domain.record import AttemptRecord, ExchangeRecord
from llm_router.engine.admit import Call
from llm_router.engine.attempt import Attempt
from llm_router.engine.deciding import asks_of, is_versioned, plan_keys
from llm_router.engine.tracks import Track
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
        self, track: Track, attempt: Attempt, seen: Observed, bill: Metered, now_us: int
    ) -> ExchangeRecord:
        """The record of an exchange that has just delivered, and was charged by the price of its deployment."""
        duration_us, first_byte_us = now_us - track.call.started_us, attempt.first_byte_us
        overhead_us, cost_pusd = duration_us - track.upstream_us, bill.cost_pusd
        tried = _filled(
            self.attempt,
            started_ms=attempt.started_ms,
            duration_ms=(now_us - attempt.started_us) // 1000,
            status=attempt.status,
            first_byte_ms=None if first_byte_us is None else first_byte_us // 1000,
            upstream_id=seen.upstream_id,
            usage=seen.usage,
            operator_cost_pusd=cost_pusd,
        )
        return _filled(
            self.record,
            id=track.id,
            reply_id=track.reply_id_for(seen.upstream_id) if seen.reply_id is None else seen.reply_id,
            created_ms=track.created_ms,
            duration_ms=duration_us // 1000,
            first_token_ms=track.first_token_ms,
            overhead_us=overhead_us if overhead_us > 0 else 0,
            finish=seen.finish,
            native_finish=seen.native_finish,
            usage=bill.usage,
            cost_pusd=cost_pusd,
            cost=bill.lines,
            attempts=(tried,),
            flags=tuple(dict.fromkeys(seen.flags)) if seen.flags else (),
            decision=self._decided(track),
        )

    def _decided(self, track: Track) -> Decision:
        admitted = track.admitted
        assert admitted is not None
        inspected = admitted.inspected
        asks = (
            _filled(self.asks, text_bytes=inspected.text_bytes, output_tokens=inspected.output_tokens)
            if inspected.plain
            else asks_of(inspected)
        )
        return _filled(
            self.decision,
            asks=asks,
            hold_pusd=admitted.estimate.amount_pusd,
            limits=admitted.admission.limits,
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
