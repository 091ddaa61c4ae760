"""From what was observed to what is charged, and to the record that says so."""

from __future__ import annotations

from llm_router.billing.meter import End, Metered, meter
from llm_router.domain.errors import RouterError, UpstreamError
from llm_router.domain.price import Price
from llm_router.domain.record import ExchangeRecord
from llm_router.domain.usage import NO_USAGE
from llm_router.engine.tracks import Track

ERROR_TEXT_MAX = 2000
"""Longest error message kept in a record."""


def end_of(track: Track) -> End:
    """How the exchange ended, for the settlement table."""
    if track.gone and not (track.delivery is not None and track.delivery.observed.ended):
        return End.CLIENT_GONE
    if track.error is not None:
        return End.CUT if track.content_sent else End.FAILED
    return End.DELIVERED


def metered(track: Track) -> Metered | None:
    """What the exchange came to; None if it never went upstream."""
    if track.admitted is None or track.candidate is None or track.delivery is None:
        return None
    price = track.candidate.deployment.price
    if price is None:  # excluded by the plan
        return None
    seen = track.delivery.observed
    return meter(
        end=end_of(track),
        usage=seen.usage,
        output_chars=seen.output_chars,
        reasoning_chars=seen.reasoning_chars,
        input_tokens_estimate=track.admitted.input_tokens_expected,
        price=price,
        price_of=lambda upstream_model: _price_of(track, upstream_model),
        charge_on_error=track.state.charge_on_error,
        produced=seen.produced,
    )


def _price_of(track: Track, upstream_model: str) -> Price | None:
    """The price of another model that the same provider ran inside the exchange."""
    assert track.candidate is not None
    provider = track.candidate.provider.id
    try:
        resolved = track.state.snapshot.resolve(upstream_model)
    except RouterError:
        return None
    return next((d.price for d in resolved.deployments if d.provider == provider), None)


def record_of(track: Track, bill: Metered | None, now_ms: int, now_us: int) -> ExchangeRecord:
    """The record of the exchange as it stands."""
    seen = track.delivery.observed if track.delivery is not None else None
    error, candidate = track.error, track.candidate
    duration_us = now_us - track.call.started_us
    payer = track.payer() if track.key is not None else None
    return ExchangeRecord(
        id=track.id,
        account=payer.account if payer is not None else "",
        key=payer.key if payer is not None else "",
        team=payer.team if payer is not None else None,
        user=payer.user if payer is not None else None,
        session=payer.session if payer is not None else None,
        operation=track.call.operation,
        dialect=track.call.dialect.name,
        asked_model=track.asked_model,
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
        cost_pusd=bill.cost_pusd if bill is not None else 0,
        cost=bill.lines if bill is not None else (),
        price_version=_price_version(track),
        attempts=tuple(track.attempts),
        losses=tuple(dict.fromkeys(loss.field for loss in track.losses)),
        error_code=error.code if error is not None else None,
        error_message=error.message[:ERROR_TEXT_MAX] if error is not None else None,
        client_gone=track.gone,
        flags=_flags(track, bill),
    )


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
    if track.delivery is not None:
        flags += track.delivery.observed.flags
    if isinstance(track.error, UpstreamError):
        flags.append(f"upstream_{track.error.kind.value}")
    return tuple(dict.fromkeys(flags))
