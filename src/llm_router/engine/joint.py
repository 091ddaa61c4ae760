"""One hold for several exchanges of a comparison: all of them have their credit, or none.

    each lane ── admitted as any request up to its hold, then it waits here
      all have asked, or have ended
        worst costs ── above the comparison's own maximum (x-max-cost)?  refuse, or lower max_tokens
          hold ─────── covered: all lanes go on
            short ──── no limit named: one limit for all lanes that fits
              ├─────── what others hold would cover it: wait
              └─────── refuse all of them, and say what the sum is and what would fit

A comparison is one request to its caller: what it names as its maximum bounds the sum of its lanes.
"""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Mapping, Sequence

import msgspec

from llm_router.billing.estimate import Estimate, estimate
from llm_router.billing.ledger import Wanted
from llm_router.domain.errors import InsufficientCredits, RouterError
from llm_router.domain.money import MAX_PUSD
from llm_router.engine.holding import (
    HOLD_TRIES,
    OUTPUT_TOKENS_MIN,
    OUTPUT_TOKENS_UNKNOWN,
    SHARES,
    Asking,
    Ceiling,
    Held,
    bounded_by,
    exceeded,
    max_cost,
    with_way_out,
)
from llm_router.engine.waiting import WaitingRoom
from llm_router.ports import Books
from llm_router.wire.dialect import Inspected


class _Part(msgspec.Struct, frozen=True, kw_only=True):
    """What one lane is to hold.

    Attributes:
        cap: the output limit to write upstream, where the request names none; lowered: the limit to
            which its own was lowered.
    """

    asking: Asking
    inspected: Inspected
    cap: int | None
    lowered: int | None

    @property
    def worst(self) -> Estimate:
        return self.at(self.cap)

    @property
    def named(self) -> bool:
        return self.inspected.output_tokens is not None

    def at(self, tokens: int | None) -> Estimate:
        """The worst cost with an output limit that is no higher than that."""
        inspected, own = self.inspected, self.inspected.output_tokens
        if tokens is not None:
            least = tokens if own is None else min(tokens, own)
            inspected = msgspec.structs.replace(inspected, output_tokens=least)
        return estimate(
            inspected, self.asking.deployments, output_tokens_default=self.asking.output_tokens_default
        )

    def held(self, *, bounded: bool) -> Held:
        """``bounded``: no more than its hold may be charged, or the sum could be above its maximum."""
        worst = self.worst
        return Held(
            inspected=self.inspected,
            estimate=worst,
            cap=self.cap,
            lowered=self.lowered,
            covered=tuple(d for d in self.asking.further if self._covers(worst, d)),
            most_pusd=worst.amount_pusd if bounded else None,
        )

    def _covers(self, worst: Estimate, fallback: object) -> bool:
        """Whether a fallback costs no more than what is held anyway."""
        asking = msgspec.structs.replace(self.asking, deployments=(fallback,))
        one = msgspec.structs.replace(self, asking=asking)
        return one.worst.amount_pusd <= worst.amount_pusd


class Joint:
    """The hold of one comparison. Each lane calls :meth:`hold`; whoever runs them calls the rest."""

    def __init__(self, books: Books, waiting: WaitingRoom) -> None:
        self._books = books
        self._waiting = waiting
        self._asked: dict[str, tuple[Asking, asyncio.Future[Held]]] = {}
        self._changed = asyncio.Event()

    async def hold(self, asking: Asking) -> Held:
        """What the lane may spend, once all lanes have it.

        Raises:
            RouterError: none of them has it.
        """
        answer: asyncio.Future[Held] = asyncio.get_running_loop().create_future()
        self._asked[asking.exchange_id] = (asking, answer)
        self._changed.set()
        return await answer

    async def gathered(self, lanes: Sequence[asyncio.Task[bool]]) -> None:
        """Wait until all lanes have asked for their hold, or have ended."""
        for lane in lanes:
            lane.add_done_callback(lambda _: self._changed.set())
        while len(self._open()) < sum(not lane.done() for lane in lanes):
            self._changed.clear()
            await self._changed.wait()

    async def take(self) -> Mapping[str, Held]:
        """Reserve the credit of all lanes that have asked, by their exchange ids.

        Raises:
            MaxCostExceeded, InsufficientCredits, LedgerUnavailable: as :meth:`Holding.hold`, of the sum.
        """
        askings = self._open()
        if not askings:
            return {}
        most = max_cost(askings[0].call)
        parts = await self._taken(_bounded(askings, most))
        return {part.asking.exchange_id: part.held(bounded=most is not None) for part in parts}

    def grant(self, held: Mapping[str, Held]) -> None:
        """Let the lanes go on."""
        for id_, (_, answer) in self._asked.items():
            if not answer.done() and id_ in held:
                answer.set_result(held[id_])

    def refuse(self, error: RouterError) -> None:
        """End the lanes that wait."""
        for _, answer in self._asked.values():
            if not answer.done():
                answer.set_exception(copy.copy(error))

    def _open(self) -> list[Asking]:
        return [asking for asking, answer in self._asked.values() if not answer.done()]

    async def _taken(self, base: list[_Part]) -> list[_Part]:
        """Hold for the parts, or for smaller ones."""
        loop, first = asyncio.get_running_loop(), base[0].asking
        until_s, waited, tries = loop.time() + first.wait_s, False, 0
        parts = base
        while True:
            try:
                await self._books.hold_all([_wanted(part) for part in parts], first.payer, first.now_ms)
            except InsufficientCredits as error:
                refusal = error
            else:
                self._waiting.next(first.payer)
                return parts
            if refusal.code != InsufficientCredits.code:  # neither less output nor time would help
                raise refusal
            tries += 1
            last = loop.time() >= until_s
            smaller = _smaller(base, refusal, last=last)
            if smaller is not None and tries % HOLD_TRIES:
                parts = smaller
                continue
            if last or not _reachable(base, refusal):
                if waited:
                    self._waiting.next(first.payer)
                raise with_way_out(refusal, _fit(base, refusal.available_pusd))
            await self._waiting.wait(first.payer, until_s - loop.time(), again=waited)
            parts, waited = base, True


def _wanted(part: _Part) -> Wanted:
    worst = part.worst
    return Wanted(
        exchange_id=part.asking.exchange_id,
        amount_pusd=worst.amount_pusd,
        price_version=worst.price_version,
    )


def _part(asking: Asking) -> _Part:
    inspected, cap, lower = bounded_by(asking)
    return _Part(asking=asking, inspected=inspected, cap=cap, lowered=lower)


def _asked(asking: Asking) -> _Part:
    """What the lane would hold without the comparison's maximum: that is for all lanes together, and what is
    needed, and what would fit, is told of all of them."""
    if asking.ceiling is not None and asking.ceiling.session:
        return _part(asking)
    return _Part(asking=asking, inspected=asking.inspected, cap=None, lowered=None)


def _bounded(askings: Sequence[Asking], most: Ceiling | None) -> list[_Part]:
    """The lanes, each within its own bounds and together within the comparison's.

    Raises:
        MaxCostExceeded: they do not fit, and may not be lowered or not so far.
    """
    if most is None:
        return [_part(asking) for asking in askings]
    asked = [_asked(asking) for asking in askings]
    needed_pusd = _sum(asked)
    if needed_pusd <= most.amount_pusd:
        return [_part(asking) for asking in askings]
    fit = _fit(asked, most.amount_pusd)
    if fit < OUTPUT_TOKENS_MIN or not most.lowers:
        raise exceeded(needed_pusd, most, fit)
    return [_part(_within(part, fit)) for part in asked]


def _within(part: _Part, tokens: int) -> Asking:
    """The same with a maximum that allows so many output tokens."""
    amount_pusd, own = part.at(tokens).amount_pusd, part.asking.ceiling
    if own is not None and own.amount_pusd < amount_pusd:
        return part.asking
    return msgspec.structs.replace(part.asking, ceiling=Ceiling(amount_pusd=amount_pusd, lowers=True))


def _smaller(base: Sequence[_Part], refusal: InsufficientCredits, *, last: bool) -> list[_Part] | None:
    """The lanes with one output limit that the credit covers, where they name none; None if they do, or
    if it would be too low."""
    free = [part for part in base if not part.named]
    if not free:
        return None
    fit = _fit(base, refusal.available_pusd, lower_named=False)
    least = OUTPUT_TOKENS_UNKNOWN
    if last or _fit(base, refusal.reachable_pusd, lower_named=False) < least:
        least = OUTPUT_TOKENS_MIN
    if fit < least:
        return None
    cap = min(fit, max(OUTPUT_TOKENS_UNKNOWN, fit // SHARES))
    return [part if part.named else msgspec.structs.replace(part, cap=_cap(part, cap)) for part in base]


def _cap(part: _Part, tokens: int) -> int:
    """No more than what the lane would hold for anyway."""
    return min(tokens, part.worst.output_tokens // max(1, part.inspected.n))


def _reachable(base: Sequence[_Part], refusal: InsufficientCredits) -> bool:
    """Whether it is worth waiting until others give back what they hold."""
    if _sum(base) <= refusal.reachable_pusd:
        return True
    if all(part.named for part in base):
        return False
    return _fit(base, refusal.reachable_pusd, lower_named=False) >= OUTPUT_TOKENS_MIN


def _sum(parts: Sequence[_Part]) -> int:
    return sum(part.worst.amount_pusd for part in parts)


def _fit(parts: Sequence[_Part], amount_pusd: int, *, lower_named: bool = True) -> int:
    """The highest output limit for all lanes with which an amount covers them; 0 if none does."""

    def covered(tokens: int) -> bool:
        lanes = (part.at(tokens if lower_named or not part.named else None) for part in parts)
        return sum(lane.amount_pusd for lane in lanes) <= min(amount_pusd, MAX_PUSD)

    low, high = 0, max(part.worst.output_tokens // max(1, part.inspected.n) for part in parts)
    if not covered(0):
        return 0
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if covered(middle) else (low, middle - 1)
    return low
