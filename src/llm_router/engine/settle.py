"""From what was observed to what is charged, and to the record that says so."""

from __future__ import annotations

from typing import Any

import msgspec

from llm_router.billing.meter import FLAG_ABSURD, End, Metered, meter, rate
from llm_router.billing.policy import Bounds
from llm_router.billing.tokens import tokens_of_chars
from llm_router.domain.errors import UpstreamError
from llm_router.domain.money import MAX_PUSD
from llm_router.domain.price import Price, cost_lines
from llm_router.domain.record import OUTRUN, AttemptRecord, ExchangeRecord
from llm_router.domain.usage import MAX_COUNT, NO_USAGE, Provenance, Usage
from llm_router.engine.deciding import decision_of
from llm_router.engine.seams import Continuation
from llm_router.engine.tracks import Track, price_of, sold_price_of
from llm_router.routing.auto.choose import Choice
from llm_router.routing.plan import Candidate
from llm_router.wire.dialect import Observed

ERROR_TEXT_MAX = 2000
"""Longest error message kept in a record."""


def end_of(track: Track) -> End:
    """How the exchange ended, for the settlement table."""
    if track.gone and not (track.delivery is not None and track.delivery.observed.ended):
        return End.CLIENT_GONE
    if track.error is not None:
        return End.CUT if track.content_sent else End.FAILED
    return End.DELIVERED


FLAG_DRAINED = "drained"  # the exchange went on without its client
FLAG_OWN_KEY = "byok"  # served with the account's own provider key
FLAG_CONTINUED = "continued"  # the answer broke off, and another stream went on
FLAG_SHARED = "shared"  # the answer was that of another exchange, which asked the same at the same time
FLAG_CAPPED = "charged_up_to_hold"  # the cost was above the hold, and the policy stops there


def metered(track: Track) -> Metered | None:
    """What the exchange came to; None if it never went upstream.

    Of an answer that was gone on with: the stream that ended it, and those that broke by the policy's ``cut``.
    """
    if track.shared:
        return None
    bill, going = _metered(track), track.continuation
    return bill if bill is None or going is None else _with_cuts(track, going, bill)


def shared_usage(track: Track) -> Usage | None:
    """What the client is told of an answer that another exchange got and pays for; None if it got none."""
    bill = _metered(track) if track.shared else None
    return None if bill is None else bill.usage


def _metered(track: Track) -> Metered | None:
    """The last attempt."""
    admitted, candidate, policy = track.admitted, track.candidate, track.state.settlement
    if admitted is None or candidate is None or (price := candidate.deployment.price) is None:
        return None  # unpriced ones are excluded by the plan
    end = end_of(track)
    if track.delivery is not None:
        seen = track.delivery.observed
    elif end is End.CLIENT_GONE and policy.gone_before == "input":
        seen = Observed()
    else:
        return None
    chars = (seen.output_chars, seen.reasoning_chars)
    if end is End.CLIENT_GONE and track.delivered_chars is not None:
        chars = track.delivered_chars  # what came later reached nobody
    return meter(
        end=end,
        usage=seen.usage,
        output_chars=chars[0],
        reasoning_chars=chars[1],
        input_tokens_estimate=admitted.input_tokens_expected + _resent_tokens(track),
        price=price,
        price_of=lambda upstream_model: sold_price_of(track, upstream_model),
        policy=policy,
        bounds=_bounds(track),
        produced=seen.produced,
        nonsense=seen.usage_is_nonsense,
    )


def _resent_tokens(track: Track) -> int:
    """What the last attempt was given of the answer so far, about."""
    going = track.continuation
    return 0 if going is None else tokens_of_chars(sum(cut.observed.output_chars for cut in going.cuts))


def cuts_pusd(track: Track, going: Continuation) -> int:
    """What the customer pays for the streams that broke, by the policy."""
    return sum(bill.cost_pusd for _, bill, _ in _cuts(track, going))


def _cuts(track: Track, going: Continuation) -> list[tuple[str, Metered, Price]]:
    """The streams that broke and are charged, each with a name and its price."""
    assert track.admitted is not None
    found = []
    for number, cut in enumerate(going.cuts):
        price, seen = cut.candidate.deployment.price, cut.observed
        if price is None or (track.delivery is not None and track.delivery.observed is seen):
            continue
        bill = meter(
            end=End.CUT,
            usage=seen.usage,
            output_chars=seen.output_chars,
            reasoning_chars=seen.reasoning_chars,
            input_tokens_estimate=track.admitted.input_tokens_expected,
            price=price,
            price_of=lambda _: None,
            policy=track.state.settlement,
            bounds=_bounds(track),
        )
        if bill.lines:
            found.append((f"{cut.candidate.deployment.id}#{number + 1}", bill, price))
    return found


def _with_cuts(track: Track, going: Continuation, bill: Metered) -> Metered:
    """The bill with what is charged of the streams that broke: as parts of the usage that have their own price."""
    cuts = _cuts(track, going)
    if not cuts or track.candidate is None or (price := track.candidate.deployment.price) is None:
        return bill
    prices = {name: own for name, _, own in cuts}
    parts = tuple((name, part.usage) for name, part, _ in cuts)
    usage = bill.usage if bill.lines else NO_USAGE
    usage = msgspec.structs.replace(usage, others=(*usage.others, *parts))
    lines, others, _ = rate(usage, price, lambda name: prices.get(name) or sold_price_of(track, name))
    return msgspec.structs.replace(
        bill, usage=usage, lines=lines, cost_pusd=sum(line.amount_pusd for line in lines), others=others
    )


def own_usage(track: Track, usage: Usage) -> Usage:
    """The usage of the last attempt alone."""
    if track.continuation is None or not usage.others:
        return usage
    names = {f"{cut.candidate.deployment.id}#{n + 1}" for n, cut in enumerate(track.continuation.cuts)}
    return msgspec.structs.replace(
        usage, others=tuple((name, part) for name, part in usage.others if name not in names)
    )


def shown_usage(track: Track, bill: Metered) -> Usage:
    """What the client is told: of an answer that was gone on with, the output of all its streams, and the input
    of those that are charged. What went up again of the answer counts as input, not as output."""
    going = track.continuation
    if going is None:
        return bill.usage
    usage = own_usage(track, bill.usage)
    told = [cut.observed for cut in going.cuts]
    if track.delivery is not None:
        told = [seen for seen in told if seen is not track.delivery.observed]
    return msgspec.structs.replace(
        usage,
        input_tokens=usage.input_tokens + sum(part.usage.prompt_tokens for _, part, _ in _cuts(track, going)),
        output_tokens=usage.output_tokens + sum(tokens_of_chars(seen.output_chars) for seen in told),
        reasoning_tokens=usage.reasoning_tokens + sum(tokens_of_chars(seen.reasoning_chars) for seen in told),
    )


def _bounds(track: Track) -> Bounds:
    """What a true usage of the exchange can hardly exceed."""
    assert track.admitted is not None
    assert track.candidate is not None
    admitted, inspected = track.admitted, track.admitted.inspected
    choices = max(1, inspected.n)
    asked = inspected.output_tokens if admitted.output_tokens_cap is None else admitted.output_tokens_cap
    most = track.candidate.deployment.output_tokens_max
    return Bounds(
        input_tokens=admitted.estimate.input_tokens,
        window_tokens=track.candidate.deployment.context_tokens,
        output_tokens=None if asked is None else asked * choices,
        output_tokens_max=None if most is None else most * choices,
        tools="tools" in inspected.needs,
    )


def attempts_of(track: Track, bill: Metered | None) -> tuple[AttemptRecord, ...]:
    """The attempts, each with what it costs the operator at the provider's own price.

    By the usage that the provider reported, whether the customer pays for it or not; where the answer
    is charged by our own count, the last one by that too. None where nobody knows.
    """
    attempts = list(track.attempts)
    if track.outrun is not None:
        attempts = [_outrun(track, track.outrun, each, bill) for each in attempts]
    orphaned = _billed_on(track)
    if bill is not None and attempts and (bill.lines or orphaned or FLAG_ABSURD in bill.flags):
        cost_pusd = operator_cost(track, bill) if bill.lines and not orphaned else None
        if cost_pusd != attempts[-1].operator_cost_pusd:
            attempts[-1] = msgspec.structs.replace(attempts[-1], operator_cost_pusd=cost_pusd)
    return tuple(attempts)


def _outrun(
    track: Track, candidate: Candidate, attempt: AttemptRecord, bill: Metered | None
) -> AttemptRecord:
    """The attempt with what a call that was cancelled, because another one answered first, may cost the operator:
    its input, and where the provider bills to the end an answer as long as the one that was given."""
    price = candidate.deployment.operator_price
    if attempt.outcome != OUTRUN or price is None or track.admitted is None:
        return attempt
    told = attempt.usage
    output = 0 if told is None else told.completion_tokens
    if candidate.provider.bills_abandoned and bill is not None:
        output = max(output, bill.usage.completion_tokens)
    prompt = track.admitted.input_tokens_expected if told is None else told.prompt_tokens
    usage = Usage(  # what was told is not to be believed beyond reason
        input_tokens=min(max(0, prompt), MAX_COUNT),
        output_tokens=min(max(0, output), MAX_COUNT),
        provenance=Provenance.ESTIMATED,
    )
    cost_pusd = sum(line.amount_pusd for line in cost_lines(price, usage))
    return msgspec.structs.replace(
        attempt, operator_cost_pusd=min(cost_pusd, MAX_PUSD), operator_cost_estimated=True
    )


def _billed_on(track: Track) -> bool:
    """Whether the provider bills more than anybody has heard of."""
    if end_of(track) is not End.CLIENT_GONE or track.candidate is None:
        return False
    return track.candidate.provider.bills_abandoned


def operator_cost(track: Track, bill: Metered) -> int | None:
    """What the charged usage costs the operator."""
    assert track.candidate is not None
    price = track.candidate.deployment.operator_price
    if price is None:
        return None
    if track.candidate.own_key:
        return 0
    if price is track.candidate.deployment.price and track.continuation is None and not bill.usage.others:
        return bill.cost_pusd
    lines, _, unpriced = rate(own_usage(track, bill.usage), price, lambda model: price_of(track, model))
    return None if unpriced else sum(line.amount_pusd for line in lines)


def record_of(track: Track, bill: Metered | None, now_us: int) -> ExchangeRecord:
    """The record of the exchange as it stands."""
    seen = track.delivery.observed if track.delivery is not None else None
    error, candidate = track.error, track.candidate
    duration_us = now_us - track.call.started_us
    payer = track.payer() if track.key is not None else None
    capped = _above_hold(track, bill)
    return ExchangeRecord(
        id=track.id,
        account=payer.account if payer is not None else "",
        key=payer.key if payer is not None else "",
        team=payer.team if payer is not None else None,
        user=payer.user if payer is not None else None,
        session=payer.session if payer is not None else None,
        tags=track.tags,
        tags_over=track.tags_over,
        operation=track.call.operation,
        dialect=track.call.dialect.name,
        asked_model=track.asked_model,
        comparison=track.call.comparison,
        model=track.model.id if track.model is not None else None,
        deployment=candidate.deployment.id if candidate is not None else None,
        provider=candidate.provider.id if candidate is not None else None,
        reply_id=_reply_id(track),
        created_ms=track.created_ms,
        duration_ms=duration_us // 1000,
        first_token_ms=track.first_token_ms,
        overhead_us=max(0, duration_us - track.upstream_us),
        stream=track.inspected.stream if track.inspected is not None else False,
        status=_status(track),
        finish=seen.finish if seen is not None else None,
        native_finish=seen.native_finish if seen is not None else None,
        usage=bill.usage if bill is not None else NO_USAGE,
        cost_pusd=bill.cost_pusd - capped if bill is not None else 0,
        absorbed_pusd=capped,
        cost=bill.lines if bill is not None else (),
        price_version=_price_version(track),
        other_prices=tuple((model, price.version) for model, price in bill.others)
        if bill is not None
        else (),
        attempts=attempts_of(track, bill),
        losses=tuple(dict.fromkeys(loss.field for loss in track.losses)),
        error_code=error.code if error is not None else None,
        error_message=error.message[:ERROR_TEXT_MAX] if error is not None else None,
        client_gone=track.gone,
        seams=tuple(track.continuation.seams) if track.continuation is not None else (),
        flags=_flags(track, bill) if capped == 0 else (*_flags(track, bill), FLAG_CAPPED),
        decision=decision_of(track),
        **(_trial(track) if track.trial is not None or _auto(track) is not None else {}),
    )


def _trial(track: Track) -> dict[str, Any]:
    """What the record says of an experiment, and of a choice of ``auto`` whose outcome may be learned."""
    trial, auto = track.trial, _auto(track)
    found: dict[str, Any] = {} if auto is None else {"features": auto.features()}
    if trial is not None and not trial.left:
        found |= {
            "experiment": trial.experiment.name,
            "arm": trial.arm.name,
            "trial": f"{trial.run}/{trial.group}",
        }
    return found


def _auto(track: Track) -> Choice | None:
    return None if track.admitted is None else track.admitted.plan.auto


def settled_record(record: ExchangeRecord, charged_pusd: int) -> ExchangeRecord:
    """The record with what was charged in the end: less where the account could not bear it."""
    rest_pusd = record.cost_pusd - charged_pusd
    if rest_pusd <= 0:
        return record
    return msgspec.structs.replace(
        record, cost_pusd=charged_pusd, absorbed_pusd=record.absorbed_pusd + rest_pusd
    )


def _above_hold(track: Track, bill: Metered | None) -> int:
    """What of a cost is left to the operator: above the hold by policy, above what the request allows."""
    if bill is None or track.admitted is None:
        return 0
    bounds = [track.admitted.charge_pusd_max]
    if track.state.settlement.excess == "hold":
        bounds.append(track.admitted.estimate.amount_pusd)
    return max(0, *(bill.cost_pusd - bound for bound in bounds if bound is not None), 0)


def _price_version(track: Track) -> str | None:
    """Of the price that was charged, so that the cost can be calculated again; else of the hold."""
    if track.candidate is not None and track.candidate.deployment.price is not None:
        return track.candidate.deployment.price.version
    return track.admitted.estimate.price_version if track.admitted is not None else None


def _reply_id(track: Track) -> str | None:
    """The id that the client saw: the provider's where the relay kept it, else ours."""
    if track.delivery is None:
        return None
    seen = track.delivery.observed
    return track.reply_id_for(seen.upstream_id) if seen.reply_id is None else seen.reply_id


def _status(track: Track) -> int:
    if track.gone and not track.client.started:
        return 499
    if track.error is not None and not track.client.started:
        return track.error.status
    return 200


def _flags(track: Track, bill: Metered | None) -> tuple[str, ...]:
    flags = list(bill.flags) if bill is not None else []
    if track.candidate is not None and track.candidate.own_key:
        flags.append(FLAG_OWN_KEY)
    if track.drain is not None:
        flags.append(FLAG_DRAINED)
    if track.delivery is not None:
        flags += track.delivery.observed.flags
    if track.continuation is not None:
        flags.append(FLAG_CONTINUED)
    if track.shared:
        flags.append(FLAG_SHARED)
    if isinstance(track.error, UpstreamError):
        flags.append(f"upstream_{track.error.kind.value}")
    return tuple(dict.fromkeys(flags))
