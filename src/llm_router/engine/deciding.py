"""What is kept of a decision beside the record of its exchange; see :mod:`llm_router.domain.decision`.

Nothing of it is made while a request is served: the plan holds what it was made of, the track what followed,
and both are read once, when the record is written.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from llm_router.domain.decision import (
    Asks,
    AutoChoice,
    Decision,
    Followed,
    KeyBounds,
    LeftOut,
    Stood,
    Weighed,
    Weighing,
    Worth,
    key_of,
)
from llm_router.domain.errors import RouterError
from llm_router.domain.key import Key
from llm_router.engine.tracks import Track
from llm_router.routing.arrange import Arrangement
from llm_router.routing.auto.choose import Choice
from llm_router.routing.health import HealthView
from llm_router.routing.plan import Candidate, Judged, Plan, Rejection
from llm_router.wire.dialect import Inspected

ROUTING_BYTES_MAX = 2_000
"""Of the members that speak to the gateway; longer ones are neither kept nor told."""

KEY_CHARS_MAX = 1_000
"""Of the models and providers that a key may use; longer lists are not kept."""

TIER_CHARS_MAX = 64
"""Of the service tier that a request names, which may be anything."""


def decision_of(track: Track) -> Decision | None:
    """What is kept of an exchange; None of one that came to no decision at all."""
    inspected, plan, admitted = track.inspected, track.plan, track.admitted
    if inspected is None:
        return None
    if (
        admitted is not None
        and is_versioned(admitted.plan)
        and not (admitted.fallbacks or track.followed or track.stood or track.stopped_for)
    ):
        made = admitted.plan  # as most: made in one go
        return Decision(
            asks=asks_of(inspected),
            routing=routing_of(inspected) if inspected.routing else None,
            named=made.named,
            model=inspected.model if inspected.model != track.asked_model else None,
            hold_pusd=admitted.estimate.amount_pusd,
            output_cap=admitted.output_tokens_cap,
            limits=admitted.admission.limits,
            version=made.version,
            plan=plan_keys(made),
        )
    decision = Decision(
        asks=asks_of(inspected),
        routing=routing_of(inspected),
        model=inspected.model if inspected.model != track.asked_model else None,
        hold_pusd=None if admitted is None else admitted.estimate.amount_pusd,
        output_cap=None if admitted is None else admitted.output_tokens_cap,
        limits=() if track.admission is None else track.admission.limits,
        key=None if track.key is None else bounds_of(track.key),
    )
    if plan is None:
        return msgspec.structs.replace(decision, left_out=_refused(track.error))
    if admitted is not None:
        plan = admitted.plan
    return with_plan(
        decision,
        plan,
        most=track.state.routing.candidates_max,
        fallbacks=None if admitted is None else admitted.fallbacks,
        track=track,
    )


def with_plan(
    decision: Decision,
    plan: Plan,
    *,
    most: int,
    fallbacks: Mapping[str, Sequence[Candidate]] | None,
    track: Track | None = None,
) -> Decision:
    """A decision with its plan, and with what followed from it."""
    known = {(c.deployment.id, c.own_key): c for c in plan.weighed}
    return msgspec.structs.replace(
        decision,
        version=plan.version,
        named=plan.named,
        strategy=plan.strategy,
        plan=tuple(key_of(c.deployment.id, c.own_key) for c in plan.candidates),
        weighings=tuple(_weighing(group, known, plan) for group in plan.arranged),
        most=most if plan.arranged else None,
        auto=None if plan.auto is None else _auto(plan.auto),
        left_out=grouped(plan.rejections),
        notes=plan.notes,
        session=plan.session is not None,
        stuck=plan.stuck,
        fallbacks={
            kind: tuple(c.deployment.id for c in chain) for kind, chain in (fallbacks or {}).items() if chain
        },
        stood=() if track is None else _stood(track),
        dice=() if track is None or track.stood is None else tuple(track.stood.thrown),
        followed=() if track is None else tuple(Followed(why=why, wait_ms=ms) for why, ms in track.followed),
        stopped=None if track is None else track.stopped_for,
    )


def is_versioned(plan: Plan) -> bool:
    """Whether all of a plan can be found again by its version."""
    return bool(plan.version) and not (plan.arranged or plan.session or plan.notes)


def plan_keys(plan: Plan) -> tuple[str, ...]:
    """The candidates of a plan that has several."""
    candidates = plan.candidates
    return () if len(candidates) == 1 else tuple([key_of(c.deployment.id, c.own_key) for c in candidates])


def asks_of(inspected: Inspected) -> Asks:
    """A request in numbers."""
    tier = inspected.service_tier
    return Asks(
        text_bytes=inspected.text_bytes,
        input_tokens=inspected.input_tokens,
        inputs=inspected.inputs,
        images=inspected.images,
        file_bytes=inspected.file_bytes,
        audio_bytes=inspected.audio_bytes,
        output_tokens=inspected.output_tokens,
        n=inspected.n,
        needs=tuple(sorted(inspected.needs)) if inspected.needs else (),
        service_tier=tier if tier is None else tier[:TIER_CHARS_MAX],
    )


def inspected_of(asks: Asks, *, model: str, stream: bool, routing: Mapping[str, Any] | None) -> Inspected:
    """A request as its numbers tell of it. It holds no content: nothing that reads some may be done with it."""
    return Inspected(
        model=model,
        stream=stream,
        tree=None,
        text_bytes=asks.text_bytes,
        input_tokens=asks.input_tokens,
        inputs=asks.inputs,
        images=asks.images,
        file_bytes=asks.file_bytes,
        audio_bytes=asks.audio_bytes,
        output_tokens=asks.output_tokens,
        n=asks.n,
        needs=frozenset(asks.needs),
        service_tier=asks.service_tier,
        routing={} if routing is None else routing,
    )


def grouped(rejections: Iterable[Rejection]) -> tuple[LeftOut, ...]:
    """Rejections by their reasons."""
    reasons: dict[str, list[str]] = {}
    for each in rejections:
        reasons.setdefault(each.reason, []).append(each.deployment)
    return tuple(LeftOut(reason=reason, deployments=tuple(ids)) for reason, ids in reasons.items())


def routing_of(inspected: Inspected) -> dict[str, Any] | None:
    """The members that speak to the gateway; None if there are none, or they are too long to be told again."""
    if not inspected.routing:
        return None
    try:
        size = len(msgspec.json.encode(inspected.routing))
    except (TypeError, ValueError, msgspec.MsgspecError):
        return None
    return dict(inspected.routing) if size <= ROUTING_BYTES_MAX else None


def bounds_of(key: Key) -> KeyBounds | None:
    """What a key may use; None if that is all."""
    if key.models is None and key.providers is None:
        return None
    if sum(len(name) for name in (*(key.models or ()), *(key.providers or ()))) > KEY_CHARS_MAX:
        return KeyBounds(whole=False)
    return KeyBounds(models=key.models, providers=key.providers)


def _refused(error: RouterError | None) -> tuple[LeftOut, ...]:
    """What an error says of deployments that may not serve."""
    rejected = None if error is None else (error.details or {}).get("rejected")
    if not isinstance(rejected, list):
        return ()
    return grouped(Rejection(deployment=each["deployment"], reason=each["reason"]) for each in rejected)


def _weighing(group: Arrangement, known: Mapping[tuple[str, bool], Candidate], plan: Plan) -> Weighing:
    own = group.own or (False,) * len(group.deployments)
    scores = {judged.deployment: judged for judged in plan.judged}
    return Weighing(
        strategy=group.strategy,
        candidates=tuple(
            _weighed(group, at, known[id_, own[at]], scores.get(id_))
            for at, id_ in enumerate(group.deployments)
        ),
        measured=group.facts is not None,
        size=group.size,
        output_tokens=group.output_tokens,
        dice=tuple(group.thrown),
        first_only=group.first_only,
    )


def _weighed(group: Arrangement, at: int, candidate: Candidate, judged: Judged | None) -> Weighed:
    deployment = candidate.deployment
    weighed = Weighed(
        deployment=deployment.id,
        model=candidate.model.id,
        price_version="" if deployment.price is None else deployment.price.version,
        own_key=candidate.own_key,
        rank=None if group.ranks is None else group.ranks[at],
        slow=group.slow is not None and group.slow[at],
        doubt=group.doubts[at] if group.doubts is not None else None,
        stuck=group.stuck is not None and group.stuck[at],
        score=None if judged is None else judged.score,
    )
    if group.facts is None:
        return weighed
    facts, view = group.facts[at], group.facts[at].view
    return msgspec.structs.replace(
        weighed,
        cost_pusd=facts.cost_pusd,
        ttft_ms=view.ttft_of(group.size),
        tokens_per_s=view.tokens_per_s,
        in_flight=view.in_flight,
        error_rate=view.error_rate,
        weight=facts.weight,
        share=view.share,
        tools=facts.tools,
    )


def _auto(choice: Choice) -> AutoChoice:
    return AutoChoice(
        dial=choice.dial,
        rank=choice.rank,
        worth_min=choice.worth_min,
        reason=choice.reason,
        offers=tuple(
            Worth(deployment=s.id, model=s.model, quality=s.quality, cost_pusd=s.cost_pusd, fits=s.fits)
            for s in choice.ranked
        ),
        before=choice.before,
        after=choice.after,
    )


def _stood(track: Track) -> tuple[Stood, ...]:
    """Those of the candidates that were not as usual."""
    if track.stood is None:
        return ()
    return tuple(
        shown_view(deployment, view)
        for deployment, view in zip(track.stood.deployments, track.stood.views, strict=True)
        if unusual(view)
    )


def unusual(view: HealthView) -> bool:
    """Whether a deployment is not to be called as usual."""
    return not view.available or view.share < 1.0 or view.reason is not None


def shown_view(deployment: str, view: HealthView) -> Stood:
    """How a deployment stands, as it is kept."""
    return Stood(
        deployment=deployment,
        available=view.available,
        share=view.share,
        state=view.state,
        reason=view.reason,
        back_ms=view.back_ms,
    )
