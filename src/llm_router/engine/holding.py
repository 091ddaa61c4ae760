"""The hold of a request: how much, within which bounds, and what is done when there is too little.

    worst cost ── above the request's own maximum (x-max-cost)?  refuse, or lower max_tokens
      hold ────── covered: go on
        short ─── no limit named: hold for the answers that this key is used to get, and write that
        │         limit upstream
        ├──────── what others hold would cover it: wait until some of it has come back
        └──────── refuse, and say what would fit

A hold always bounds what its request may be charged beyond what else is available; what was learned
of answers only decides how large the holds of requests without a limit are when credit is scarce.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Protocol

import msgspec

from llm_router.billing.estimate import Estimate, affordable_output_tokens, estimate
from llm_router.billing.outputs import Outputs
from llm_router.domain.budget import Payer
from llm_router.domain.errors import InsufficientCredits, InvalidRequest, MaxCostExceeded, RouterError
from llm_router.domain.model import Deployment
from llm_router.domain.money import format_usd, parse_usd
from llm_router.engine.admit import Call
from llm_router.engine.waiting import WaitingRoom
from llm_router.ports import Books
from llm_router.wire.dialect import Inspected
from llm_router.wire.lowering import lowered

OUTPUT_TOKENS_MIN = 16
"""Below this many affordable output tokens a request without a limit is refused, not clamped."""

OUTPUT_TOKENS_UNKNOWN = 1024
"""Held for a choice when credit is scarce, until it is known how long answers are."""

SHARES = 8
"""When credit is scarce a request without a limit may take this part of it, if that is more."""

MAX_COST_HEADERS = ("x-max-cost", "x-max-cost-action")

HOLD_TRIES = 4
"""Holds tried at one go, each of what the one before left: others may be faster."""


class Ceiling(msgspec.Struct, frozen=True, kw_only=True):
    """The most that a request may hold and be charged, by its own wish or its session's.

    Attributes:
        lowers: limits that the request names may be lowered for it.
        session: it is what the session has left.
        held_pusd: what other requests of the session hold, which may come back.
    """

    amount_pusd: int
    lowers: bool = False
    session: bool = False
    held_pusd: int = 0


class Asking(msgspec.Struct, frozen=True, kw_only=True):
    """A request for credit.

    Attributes:
        further: fallbacks: covered if the credit allows, else left out.
        model: the public id, by which lengths of answers are known.
        output_tokens_default: held where no limit is named.
        wait_s: how long to wait for what others hold.
    """

    exchange_id: str
    payer: Payer
    call: Call
    inspected: Inspected
    deployments: tuple[Deployment, ...]
    further: tuple[Deployment, ...] = ()
    model: str
    output_tokens_default: int
    wait_s: float
    now_ms: int
    ceiling: Ceiling | None = None


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """A hold that stands.

    Attributes:
        inspected: the request as it is to be sent: its own limits may have been lowered.
        cap: the output limit to write upstream, where the request names none.
        lowered: the limit to which the request's own were lowered.
        covered: of the fallbacks, those that the hold covers too.
        most_pusd: at most this may be charged; None bounds nothing more.
    """

    inspected: Inspected
    estimate: Estimate
    cap: int | None
    lowered: int | None
    covered: tuple[Deployment, ...] = ()
    most_pusd: int | None = None


class Holder(Protocol):
    """Who takes the hold of an exchange."""

    async def hold(self, asking: Asking) -> Held:
        """
        Raises:
            MaxCostExceeded, InsufficientCredits, LedgerUnavailable: there is no hold.
        """
        ...


def max_cost(call: Call) -> Ceiling | None:
    """What the request says it may cost: ``x-max-cost`` in dollars, and ``x-max-cost-action``.

    Raises:
        InvalidRequest: one of them cannot be read.
    """
    amount, what = MAX_COST_HEADERS
    text, action = call.headers.get(amount), call.headers.get(what, "refuse")
    if text is None:
        return None
    amount_pusd = dollars_of("x-max-cost", text)
    action = action.strip().lower()
    if action not in ("refuse", "clamp", "downgrade"):
        raise InvalidRequest(
            "'x-max-cost-action' must be refuse, or clamp (also: downgrade).", param="x-max-cost-action"
        )
    return Ceiling(amount_pusd=amount_pusd, lowers=action != "refuse")


def dollars_of(name: str, text: str) -> int:
    """An amount of dollars in a header, as picodollars.

    Raises:
        InvalidRequest: it is none.
    """
    try:
        amount_pusd = parse_usd(text.strip())
    except ValueError:
        amount_pusd = -1
    if amount_pusd < 0:
        raise InvalidRequest(f"'{name}' must be dollars such as 0.05 or 2.", param=name)
    return amount_pusd


class Holding:
    """Takes holds. One per process; knows who waits and how long answers are."""

    def __init__(self, books: Books) -> None:
        self._books = books
        self.outputs = Outputs()
        self.waiting = WaitingRoom()

    async def hold(self, asking: Asking) -> Held:
        """Reserve the worst cost of a request, or of as much of it as may be.

        Raises:
            MaxCostExceeded: it may cost more than it says it may.
            InsufficientCredits: with needed, available and affordable_max_tokens in the body.
        """
        bounded, cap, lower = bounded_by(asking)
        wanted = bounded if cap is None else msgspec.structs.replace(bounded, output_tokens=cap)
        if asking.further and (held := await self._with_further(asking, bounded, wanted, cap)) is not None:
            return msgspec.structs.replace(held, lowered=lower)
        loop = asyncio.get_running_loop()
        until_s, waited = loop.time() + asking.wait_s, False
        while True:
            try:
                held = await self._take(asking, bounded, wanted, cap, last=loop.time() >= until_s)
            except InsufficientCredits:
                if waited:
                    self.waiting.next(asking.payer)
                raise
            if held is not None:
                self.waiting.next(asking.payer)
                return msgspec.structs.replace(held, lowered=lower)
            await self.waiting.wait(asking.payer, until_s - loop.time(), again=waited)
            waited = True

    async def _with_further(
        self, asking: Asking, bounded: Inspected, wanted: Inspected, cap: int | None
    ) -> Held | None:
        """Hold for the request and its fallbacks, or as many of them as fit; None if that does not go at once.
        Nothing is made smaller and nobody waits for a fallback's sake."""

        def worst_of(further: Sequence[Deployment]) -> Estimate:
            deployments = (*asking.deployments, *further)
            return estimate(wanted, deployments, output_tokens_default=asking.output_tokens_default)

        further = asking.further
        room_pusd = None if asking.ceiling is None else asking.ceiling.amount_pusd
        for _ in range(2):
            if room_pusd is not None:
                most_pusd = room_pusd
                further = tuple(d for d in further if worst_of((d,)).amount_pusd <= most_pusd)
            worst = worst_of(further)
            if room_pusd is not None and worst.amount_pusd > room_pusd:
                return None
            try:
                await self._books.hold(
                    asking.exchange_id, asking.payer, worst.amount_pusd, worst.price_version, asking.now_ms
                )
            except InsufficientCredits as error:
                room_pusd = (
                    error.available_pusd if room_pusd is None else min(room_pusd, error.available_pusd)
                )
            else:
                self.waiting.next(asking.payer)
                return Held(inspected=bounded, estimate=worst, cap=cap, lowered=None, covered=further)
        return None

    async def _take(
        self, asking: Asking, bounded: Inspected, wanted: Inspected, cap: int | None, *, last: bool
    ) -> Held | None:
        """Hold now; None if it is worth waiting.

        Raises:
            InsufficientCredits: it is not, or this is the last try.
        """
        for _ in range(HOLD_TRIES):
            worst = estimate(wanted, asking.deployments, output_tokens_default=asking.output_tokens_default)
            try:
                await self._books.hold(
                    asking.exchange_id, asking.payer, worst.amount_pusd, worst.price_version, asking.now_ms
                )
                return Held(inspected=bounded, estimate=worst, cap=cap, lowered=None)
            except InsufficientCredits as error:
                refusal = error
            if refusal.code != InsufficientCredits.code:  # neither less output nor time would help
                raise refusal
            affordable = affordable_output_tokens(bounded, asking.deployments, refusal.available_pusd)
            if bounded.output_tokens is not None:
                if last or refusal.reachable_pusd < worst.amount_pusd:
                    raise with_way_out(refusal, affordable)
                return None
            reachable = affordable_output_tokens(bounded, asking.deployments, refusal.reachable_pusd)
            most = worst.output_tokens // max(1, bounded.n)
            aim = self._aim(asking, affordable, reachable, most)
            if affordable < (OUTPUT_TOKENS_MIN if last else aim):
                if last or reachable < OUTPUT_TOKENS_MIN:
                    raise with_way_out(refusal, affordable)
                return None
            cap = min(affordable, aim)
            wanted = msgspec.structs.replace(bounded, output_tokens=cap)
        if last:
            raise with_way_out(refusal, affordable)
        return None

    def _aim(self, asking: Asking, affordable: int, reachable: int, most: int) -> int:
        """How many output tokens to hold for a choice of a request without a limit, when not all fits."""
        learned = self.outputs.expect(asking.payer.key, asking.model)
        need = OUTPUT_TOKENS_UNKNOWN if learned is None else max(OUTPUT_TOKENS_MIN, 2 * learned.high)
        need = min(need, most)
        if reachable < need:  # the end of it: nothing more will come back than that
            return max(OUTPUT_TOKENS_MIN, reachable // 2)
        return min(most, max(need, affordable // SHARES))


def bounded_by(asking: Asking) -> tuple[Inspected, int | None, int | None]:
    """The request within its ceiling, the limit to write where it names none, and the one it was lowered to.

    Raises:
        MaxCostExceeded: it does not fit, and may not be lowered or not so far.
    """
    inspected, ceiling = asking.inspected, asking.ceiling
    if ceiling is None:
        return inspected, None, None
    worst = estimate(inspected, asking.deployments, output_tokens_default=asking.output_tokens_default)
    named = inspected.output_tokens is not None
    if worst.amount_pusd <= ceiling.amount_pusd:
        most = worst.output_tokens // max(1, inspected.n)
        return inspected, None if named or asking.call.operation != "chat" else most, None
    fit = affordable_output_tokens(inspected, asking.deployments, ceiling.amount_pusd)
    if fit < OUTPUT_TOKENS_MIN or not (ceiling.lowers or (ceiling.session and not named)):
        raise exceeded(worst.amount_pusd, ceiling, fit)
    if not named:
        return inspected, fit, None
    body = lowered(asking.call.dialect.name, asking.call.body, fit)
    try:
        again = asking.call.dialect.inspect(body, asking.call.path_model, asking.call.path_stream)
    except InvalidRequest:  # thinking needs more than that
        raise exceeded(worst.amount_pusd, ceiling, fit) from None
    if again.output_tokens is None or again.output_tokens > fit:
        raise exceeded(worst.amount_pusd, ceiling, fit)
    again.json_array, again.keeps_state = inspected.json_array, inspected.keeps_state
    return again, None, fit


def exceeded(needed_pusd: int, ceiling: Ceiling, fit: int) -> RouterError:
    """The 402 of a request that may cost more than it says it may."""
    needed, most = format_usd(needed_pusd), format_usd(ceiling.amount_pusd)
    if fit >= OUTPUT_TOKENS_MIN:
        way = f"Set max_tokens to at most {fit}, raise x-max-cost, or send 'x-max-cost-action: clamp'."
    elif fit > 0:
        way = f"Raise x-max-cost, or set max_tokens to at most {fit}."
    else:
        way = "Raise x-max-cost, or shorten the input: not even that is covered."
    return MaxCostExceeded(
        f"The request may cost up to ${needed}, but x-max-cost allows ${most}. {way}",
        param="x-max-cost",
        details={
            "needed": msgspec.Raw(needed.encode()),
            "max_cost": msgspec.Raw(most.encode()),
            "affordable_max_tokens": fit,
        },
    )


def with_way_out(error: InsufficientCredits, affordable_max_tokens: int) -> InsufficientCredits:
    """The ledger's 402 with what would fit."""
    what = "Raise the budget" if "budget" in error.details else "Add credit"
    if affordable_max_tokens > 0:
        way = f"{what}, or set max_tokens to at most {affordable_max_tokens}."
    else:
        way = f"{what}: not even the input is covered."
    return InsufficientCredits(
        f"{error.message} {way}",
        details={**error.details, "affordable_max_tokens": affordable_max_tokens},
    )
