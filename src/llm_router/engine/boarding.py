"""What is the same for all plain requests of a kind, made once: see :mod:`llm_router.engine.express`.

A kind is who asks (the key), for which model, in which API, with which needs. What is kept here is what the
ordinary way came to for the first of them; it holds as long as nothing that it was made of has changed.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import msgspec

from llm_router.billing.estimate import Estimate, Worst, estimate, worst_of
from llm_router.billing.pricing import PriceList
from llm_router.billing.tariff import Tariff, tariff_of
from llm_router.domain.budget import Payer
from llm_router.domain.key import Key
from llm_router.domain.limit import Limit
from llm_router.domain.model import Deployment
from llm_router.domain.price import Price
from llm_router.engine.admit import Call, payer_of
from llm_router.engine.attempt import Attempts, reasons, target_for
from llm_router.engine.deadlines import LEAST_S, NO_WISH, Wish, deadlines_of
from llm_router.engine.forms import Form, form_of
from llm_router.engine.own_keys import NONE
from llm_router.engine.planning import Occasion, Planner, bounded
from llm_router.engine.state import State
from llm_router.engine.tracks import whose
from llm_router.limits.rules import own_limits
from llm_router.ports import Deadlines, Gauge, Prepared, PromptCounters
from llm_router.routing.hedging import hedged
from llm_router.routing.plan import Candidate, Plan
from llm_router.wire.bounds import REPLY_OBJECTS_MAX
from llm_router.wire.cut import Pieces
from llm_router.wire.dialect import Behind, Dialect, Fetched, Inspected, PassedReply, Spoken, Target
from llm_router.wire.loss import Loss
from llm_router.wire.plain import PlainReply, PlainRequest

HOUR_MS = 3_600_000
MINUTE_MS = 60_000

_BODY_SIGNED = ("google", "sigv4")
"""Ways to authenticate for which each request is written anew."""


class Boarding(msgspec.Struct, frozen=True, kw_only=True):
    """A kind of request.

    Attributes:
        key, state, price_list: what it was made of, by identity; until_ms: when prices may be others.
        context_tokens: a text of so many bytes fits every candidate; output_tokens_max: so does such a limit.
        prices: all that it may be charged by, and what these were made from.
        secret: what is sent of the gateway's credential at the first candidate.
        base: the deadlines of its model, and total_us of them; usual: those of a call whose client says nothing of its time;
            share: the part of what is left that such a call may take; others: somebody else may be asked after it.
        ready: heads of calls that were made already, with what of the secret is in them: by whether the answer is
            streamed, and what is forwarded of the client's headers.
        limits: the key's own; more may have been made for whoever pays. gauge: what counts against the own ones; None
            if there are none.
        target: the first candidate as the wire knows it, for requests whose limit stays as it is.
        whose: the lines of a reply's head that say who answers.
        tariff: what plain answers of the first candidate cost, and form: what is recorded of them; None: each is
            to be looked at.
        write: the body of a request as the first candidate takes it, None of one that has more to it; forwards: the
            client's headers that go with it; read: a plain reply to it, None of any other; of so many bytes at most.
            Without them each is to be looked at.
        keeps: replies may hold state that is wanted back.
    """

    key: Key
    state: State
    price_list: PriceList
    until_ms: int
    payer: Payer
    plan: Plan
    candidate: Candidate
    behind: Behind[Any, Any]
    deployments: tuple[Deployment, ...]
    prices: tuple[Price, ...]
    context_tokens: int | None
    output_tokens_max: int | None
    base: Deadlines
    total_us: int
    usual: Deadlines
    share: float
    others: bool
    secret: str | None
    ready: dict[object, tuple[str | None, Prepared]]
    worst: Worst | None
    limits: tuple[Limit, ...]
    gauge: Gauge | None
    target: Target
    whose: str
    tariff: Tariff | None
    form: Form | None
    write: Callable[[Inspected], bytes | Pieces | None] | None
    forwards: tuple[str, ...]
    read: Callable[[bytes], PlainReply | PassedReply | None] | None
    reply_bytes_max: int
    keeps: bool

    def estimate(self, inspected: Inspected) -> Estimate:
        """The worst that a request can cost of which ``worst`` does not know it."""
        return estimate(inspected, self.deployments, output_tokens_default=self.state.hold_output_tokens)

    def deadlines_of(self, wish: Wish, stream: bool, left_s: float) -> tuple[Deadlines, float]:
        """Those of a call that begins now, and how long it may take at most. ``left_s``: of the exchange's time."""
        usual = self.usual
        if wish is not NO_WISH:
            found = deadlines_of(
                self.base, wish, left_s, stream=stream, reasons=reasons(self.candidate), others=self.others
            )
            return found, found.total_s
        left_s *= self.share
        if left_s > usual.total_s:
            return usual, usual.total_s
        return usual, left_s if left_s > LEAST_S else LEAST_S


def is_plain(inspected: Inspected) -> bool:
    """Whether a request asks for nothing of the gateway but an answer of a model."""
    return not (
        inspected.routing
        or inspected.media_urls
        or inspected.session is not None
        or "@" in inspected.model
        or "|" in inspected.model
    )


def board(
    planner: Planner,
    attempts: Attempts,
    counters: PromptCounters | None,
    state: State,
    price_list: PriceList,
    call: Call,
    key: Key,
    inspected: Inspected,
    now_ms: int,
) -> Boarding | None:
    """What holds for all requests of a plain one's kind; None if they have to be looked at one by one."""
    routing = state.routing
    if not (state.fallbacks.empty and routing.hedging.never) or hedged(routing.single_flight, None):
        return None
    payer = payer_of(key, call)
    whole = planner.simple(
        Occasion(
            state=state,
            call=call,
            key=key,
            payer=payer,
            inspected=inspected,
            own_keys=NONE,
            price_list=price_list,
            now_ms=now_ms,
        )
    )
    if whole is None:
        return None
    plan = bounded(whole, state.routing.candidates_max)
    candidate = plan.candidates[0]
    provider = candidate.provider
    if state.key_pools.get(provider.id) or provider.auth in _BODY_SIGNED or provider.placement is not None:
        return None
    windows = [c.deployment.context_tokens for c in whole.candidates]
    limits = [c.deployment.output_tokens_max for c in whole.candidates]
    behind = attempts.behind(candidate)
    target = target_for(candidate, None)
    others = not inspected.stream and len(plan.candidates) > 1 and state.retries.attempts_max > 1
    own = tuple(own_limits(payer, key.limits, state.default_limits))
    prices = {p.version: p for d in plan.deployments for p in (d.price, d.cost) if p is not None}
    return Boarding(
        key=key,
        state=state,
        price_list=price_list,
        until_ms=_until(price_list, plan, now_ms),
        payer=payer,
        plan=plan,
        candidate=candidate,
        behind=behind,
        deployments=plan.deployments,
        prices=tuple(prices.values()),
        context_tokens=min((w for w in windows if w is not None), default=None),
        output_tokens_max=min((m for m in limits if m is not None), default=None),
        base=(base := state.deadlines_for(plan.model)),
        total_us=round(base.total_s * 1_000_000),
        usual=(
            usual := deadlines_of(
                base,
                NO_WISH,
                base.total_s,
                stream=inspected.stream,
                reasons=reasons(candidate),
                others=others,
            )
        ),
        others=others,
        share=usual.total_s / base.total_s if base.whole_s is None else 1.0,
        secret=state.provider_keys.get(provider.id),
        ready={},
        worst=worst_of(plan.deployments),
        limits=own,
        gauge=counters.gauge(own) if own and counters is not None else None,
        target=target,
        whose=whose(candidate.model, candidate),
        tariff=tariff_of(candidate.deployment),
        form=form_of(call, payer, inspected, plan, candidate),
        write=_writer(call.dialect, behind, candidate, target),
        forwards=behind.forwards if candidate.same_dialect else (),
        read=_reader(call.dialect, behind, candidate),
        reply_bytes_max=min(state.reply_bytes_max, REPLY_OBJECTS_MAX),
        keeps=attempts.keeps(candidate, inspected),
    )


def _writer(
    front: Spoken, behind: Behind[Any, Any], candidate: Candidate, target: Target
) -> Callable[[Inspected], bytes | Pieces | None] | None:
    """How plain requests are written for a deployment, and others of its own dialect."""
    if behind.place is not None or not isinstance(front, Dialect):
        return None
    if candidate.same_dialect:
        return partial(_edited, front.edit_request, target)
    if front.plain_request is None or behind.write_plain is None:
        return None
    return partial(_crossed, front.plain_request, behind.write_plain, target)


def _edited(
    edit: Callable[[Inspected, Target, dict[str, Fetched]], tuple[bytes, tuple[Loss, ...]]],
    target: Target,
    inspected: Inspected,
) -> bytes | Pieces | None:
    short = inspected.short
    if short is None:
        body, losses = edit(inspected, target, {})
        return None if losses else body
    body, losses = edit(msgspec.structs.replace(inspected, tree=short.tree), target, {})
    return None if losses else short.cut.whole(body)


def _crossed(
    read: Callable[[Inspected], PlainRequest],
    write: Callable[[PlainRequest, Target], bytes | None],
    target: Target,
    inspected: Inspected,
) -> bytes | None:
    return write(read(inspected), target)


def _reader(
    front: Spoken, behind: Behind[Any, Any], candidate: Candidate
) -> Callable[[bytes], PlainReply | PassedReply | None] | None:
    """How plain replies of a deployment are read."""
    if not isinstance(front, Dialect):
        return None
    if candidate.same_dialect:
        return front.pass_plain
    return None if front.tell_plain is None else behind.read_plain


def _until(price_list: PriceList, plan: Plan, now_ms: int) -> int:
    """Prices by the hour, and rules that come into force, change on the minute at the earliest."""
    timed = any(d.price is not None and d.price.off_peak is not None for d in plan.deployments)
    if timed or any(rule.valid_from_ms > now_ms for rule in price_list.rules):
        return now_ms // MINUTE_MS * MINUTE_MS + MINUTE_MS
    return now_ms + HOUR_MS
