"""Going on with a stream that broke after its client had seen content: on another deployment, or on the same.

    first stream ── kept as bytes (wire/continuing/told.py); costs nothing while it runs well
      breaks ────── may it be gone on with? mode, kind of failure, what was told, the client's deadline, the hold
        yes ─────── the next deployment is asked to go on; what it says is told as the rest of one answer
        no ──────── the client gets the error of the break in its own dialect, and no end

A continuation spends from the hold of its exchange: its output limit is what the request's own leaves and the
hold still covers. If that is next to nothing, there is none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from llm_router.billing.estimate import continued_output_tokens
from llm_router.billing.tokens import tokens_of_chars
from llm_router.domain.errors import InvalidRequest, RouterError, UpstreamError, UpstreamKind
from llm_router.domain.record import Seam
from llm_router.engine import settle
from llm_router.engine.seams import Continuation, Cut
from llm_router.engine.tracks import Track, tools_back
from llm_router.ports import Clock
from llm_router.routing.continuing import MODES, Mode, follower, may_go_on
from llm_router.routing.plan import Candidate
from llm_router.wire import events
from llm_router.wire.chat import ChatRequest
from llm_router.wire.continuing.asking import Asked, asked, resent_chars, why_not
from llm_router.wire.continuing.relay import ContinuedRelay
from llm_router.wire.continuing.told import TOLD_CHARS_MAX, Transcript
from llm_router.wire.dialect import Behind, Target

HEADER = "x-llm-router-continue"

OUTPUT_TOKENS_MIN = 16
"""With less than this the rest of no answer can be told."""


def check_wish(headers: Mapping[str, str]) -> None:
    """Read the request's own word on it.

    Raises:
        InvalidRequest: it cannot be read.
    """
    wish = headers.get(HEADER)
    if wish is not None and wish.strip().lower() not in MODES:
        raise InvalidRequest(f"'{HEADER}' must be off, on or equal.", param=HEADER)


def mode_of(track: Track) -> Mode:
    """Whether an answer may be gone on with: by the request, its preset, key, model, the configuration."""
    wish = track.call.headers.get(HEADER)
    if wish is not None:
        wish = wish.strip().lower()
        for mode in MODES:
            if wish == mode:
                return mode
    preset = None if track.inspected is None else track.inspected.routing.get("preset")
    began = track.model if track.continuation is None else track.continuation.began.model
    return track.state.continuing.mode_for(
        None if began is None else began.id,
        key=None if track.key is None else track.key.id,
        preset=preset if isinstance(preset, str) else None,
    )


def listen(track: Track, behind: Behind[Any, Any]) -> Transcript | None:
    """What keeps the stream, if it may be gone on with."""
    inspected = track.inspected
    if (
        inspected is None
        or inspected.n != 1
        or track.call.operation != "chat"
        or track.continuation is not None
    ):
        return None
    return None if mode_of(track) == "off" else Transcript(behind.stream_decoder)


def follow(
    track: Track, candidates: Sequence[Candidate], broke: Candidate, error: RouterError, clock: Clock
) -> Candidate:
    """Who goes on with the answer that broke off.

    Raises:
        RouterError: nobody; the error of the break.
    """
    going = track.continuation
    cause = error if going is None else going.cause
    if track.drain is not None or track.stopped or not _in_time(track, clock):
        raise cause
    if going is None:
        going = _first(track, broke, error)
    elif not _again(track, going, broke, error):
        raise cause
    calls = sum(each.outcome != "failed" or each.error_kind is not None for each in track.attempts)
    if calls >= track.state.retries.attempts_max:  # continuations are calls too
        raise cause
    if going.times >= track.state.continuing.times_max or going.told.chars > TOLD_CHARS_MAX:
        raise cause
    mode = mode_of(track)
    fit = [
        each.deployment.id
        for each in candidates
        if mode == "on" or each.deployment.model == going.began.deployment.model
    ]
    found = follower(candidates, broke, error, going.tried, fit)
    if found is None:
        raise cause
    going.limit = _limit(track, going, found)
    going.times += 1
    going.tried.add(found.deployment.id)
    track.continuation = going
    return found


def _in_time(track: Track, clock: Clock) -> bool:
    return track.due_us is None or clock.monotonic_us() < track.due_us


def _first(track: Track, broke: Candidate, error: RouterError) -> Continuation:
    """What is to be gone on with, when the first stream broke.

    Raises:
        RouterError: the same, where it cannot be.
    """
    delivery, transcript = track.delivery, track.transcript
    if not isinstance(error, UpstreamError) or not may_go_on(error) or transcript is None or delivery is None:
        raise error
    if transcript.lost:
        raise error
    relay = track.relay
    assert relay is not None
    told, shown = transcript.told(tools_back(track))
    track.transcript = None
    if track.canonical is None and track.inspected is not None:
        track.canonical = track.call.dialect.decode_request(track.inspected)
    if told.finished or why_not(told, track.canonical) is not None:
        raise error
    seen = delivery.observed
    encoder = relay.handover(track.call.dialect.stream_encoder(track.context()), _named(shown, seen.reply_id))
    going = Continuation(
        cause=error,
        began=broke,
        told=told,
        encoder=encoder,
        reply_id=seen.reply_id,
        tried={broke.deployment.id},
    )
    if track.outrun is not None:  # it was late a moment ago: behind all others
        going.tried.add(track.outrun.deployment.id)
    going.cuts.append(Cut(candidate=broke, observed=seen))
    going.seams.append(_seam(going, error))
    return going


def _named(shown: list[events.Event], reply_id: str | None) -> list[events.Event]:
    """The events with the id that the client saw."""
    if reply_id is None:
        return shown
    return [
        msgspec.structs.replace(event, id=reply_id) if isinstance(event, events.Started) else event
        for event in shown
    ]


def _again(track: Track, going: Continuation, broke: Candidate, error: RouterError) -> bool:
    """Whether a further continuation may follow one that failed."""
    relay, seen = going.relay, going.relay.observed if going.relay is not None else None
    if relay is None or seen is None:
        return True  # it was never asked
    refused = isinstance(error, UpstreamError) and error.kind is UpstreamKind.INVALID_REQUEST
    if refused and going.asked is not None and going.asked.way == "prefill":
        going.no_prefill.add(broke.deployment.id)
        going.tried.discard(broke.deployment.id)
        return True
    if seen.content_started:
        if isinstance(error, UpstreamError) and not may_go_on(error):
            return False
        going.cuts.append(Cut(candidate=broke, observed=seen))
        going.seams.append(_seam(going, error))
        return seen.output_chars > 0  # else it would go round in circles
    return True


def _seam(going: Continuation, error: RouterError) -> Seam:
    cause = error.kind.value if isinstance(error, UpstreamError) else error.code
    return Seam(at_chars=len(going.told.text), cause=cause)


def opened(going: Continuation) -> ContinuedRelay:
    """The relay of the continuation that begins now."""
    going.relay, going.asked = ContinuedRelay(going.told, going.encoder, going.reply_id), None
    return going.relay


def ask(going: Continuation, request: ChatRequest, target: Target, candidate: Candidate) -> Asked:
    """How the deployment is asked to go on."""
    prefill = candidate.deployment.id not in going.no_prefill
    found = asked(going.told, request, target, limit=going.limit, prefill=prefill)
    relay = going.relay
    assert relay is not None
    relay.begin(found)
    going.asked = found
    seam = going.seams[-1]
    going.seams[-1] = Seam(
        at_chars=seam.at_chars,
        cause=seam.cause,
        provider=candidate.provider.id,
        model=candidate.deployment.model,
        way=found.way,
    )
    return found


def _limit(track: Track, going: Continuation, candidate: Candidate) -> int | None:
    """The output limit: what the request's own leaves, within what the hold covers.

    Raises:
        RouterError: nothing worth it; the error of the break.
    """
    admitted = track.admitted
    assert admitted is not None
    inspected = admitted.inspected
    held_pusd = admitted.estimate.amount_pusd
    if admitted.charge_pusd_max is not None:
        held_pusd = min(held_pusd, admitted.charge_pusd_max)
    input_tokens = min(admitted.estimate.input_tokens, 2 * admitted.input_tokens_expected + 64)
    covered = continued_output_tokens(
        candidate.deployment,
        input_tokens + tokens_of_chars(resent_chars(going.told)),
        held_pusd - settle.cuts_pusd(track, going),
        inspected.service_tier,
    )
    named = inspected.output_tokens if admitted.output_tokens_cap is None else admitted.output_tokens_cap
    if covered < OUTPUT_TOKENS_MIN and (named is None or covered < named):
        raise going.cause
    if named is not None:
        left = max(OUTPUT_TOKENS_MIN, named - tokens_of_chars(going.told.chars))
        return min(left, covered)
    most = candidate.deployment.output_tokens_max
    return None if most is None else min(most, covered)
