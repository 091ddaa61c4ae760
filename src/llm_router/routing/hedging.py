"""When a second call is made because the first one is late, and how many of them may be.

    mode ───── who is hedged at all: by the request, its key, its preset, its model, the configuration
    wait ───── how long the first call has: a high percentile of what its deployment took before, to the first
               token of a stream or to the end of a whole answer                                    (:class:`Tails`)
    second ─── who is asked then: another deployment of the same model, else the same one again    (:func:`second`)
    budget ─── whether that is still within the share of calls and of cost                          (:class:`HedgeBudget`)

Pure, and in memory of one process.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from types import MappingProxyType
from typing import Literal

import msgspec

from llm_router.routing.health import HealthView, size_of
from llm_router.routing.plan import Candidate

HedgeMode = Literal["off", "asked", "on"]
HEDGE_MODES: tuple[HedgeMode, ...] = ("off", "asked", "on")

SAMPLES_MAX = 200
"""Latest times of a deployment and size of input that its percentiles are taken from."""

SAMPLES_MIN = 40
"""With fewer, nobody knows yet what is late."""

TAILS_MAX = 10_000
"""Deployments and sizes remembered; the one that was called least recently is forgotten first."""

WHOLE_BP = 10_000
"""Hundredths of a percent in all of it."""

BURST = 10
"""Second calls that may be saved up."""


class HedgeRules(msgspec.Struct, frozen=True, kw_only=True):
    """What an operator sets.

    Attributes:
        mode: "off": never; "asked": requests that say so in a header; "on": all but those that say no.
        percentile: of the times that calls took before; one that takes longer is late.
        share_bp: second calls beside all calls that may be hedged, in hundredths of a percent, by number
            and by expected cost.
        models: the mode by patterns of public model ids, the first that fits; keys, presets: by id and name.
            A key goes before a preset, a preset before a model.
    """

    mode: HedgeMode = "off"
    percentile: float = 95.0
    share_bp: int = 500
    models: tuple[tuple[str, HedgeMode], ...] = ()
    keys: Mapping[str, HedgeMode] = MappingProxyType({})
    presets: Mapping[str, HedgeMode] = MappingProxyType({})

    @property
    def never(self) -> bool:
        """Whether nobody is ever hedged. Costs next to nothing: ask it first."""
        return self.mode == "off" and not (self.models or self.keys or self.presets)

    def mode_for(self, *, model: str, key: str, preset: str | None) -> HedgeMode:
        """The mode of a request, before its own word."""
        if key in self.keys:
            return self.keys[key]
        if preset is not None and preset in self.presets:
            return self.presets[preset]
        return next((mode for pattern, mode in self.models if fnmatchcase(model, pattern)), self.mode)


def hedged(mode: HedgeMode, wish: bool | None) -> bool:
    """Whether a request is hedged. Its own word cannot switch on what the operator keeps off, since it is the
    operator who pays for what is not used."""
    return mode != "off" and wish is not False and (mode == "on" or wish is True)


Kind = int | tuple[int, int]
"""What calls of a deployment are compared with each other."""


def kind_of(*, stream: bool, input_tokens: int, output_tokens_max: int | None) -> Kind:
    """The kind of a call: the size of its input, and of whole answers that of what it may write too, since how long
    they take says first of all how much that is.

    ``output_tokens_max``: what the request asks for at most; None: it does not say.
    """
    size = size_of(input_tokens)
    return (
        size if stream else (size, -1 if output_tokens_max is None else output_tokens_max.bit_length() // 2)
    )


class _Tail:
    """The latest times of one kind of calls, in the order of their coming and of their size."""

    __slots__ = ("latest", "ranked")

    def __init__(self) -> None:
        self.latest: deque[float] = deque()
        self.ranked: list[float] = []

    def add(self, ms: float) -> None:
        if len(self.latest) == SAMPLES_MAX:
            del self.ranked[bisect_left(self.ranked, self.latest.popleft())]
        self.latest.append(ms)
        insort(self.ranked, ms)

    def at(self, percentile: float) -> float | None:
        count = len(self.ranked)
        if count < SAMPLES_MIN:
            return None
        return self.ranked[min(count - 1, int(count * percentile / 100))]


class Tails:
    """Times to the first token, or to the end of whole answers, by deployment and :func:`kind_of` call.

    Of a call that was outrun by its second one only the time that it had is known. It counts as that: it was
    late already, so no percentile up to the one that is waited for is falsified. Were it left out, what is
    late would seem rarer with each call, and the wait shorter.
    """

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[str, Kind], _Tail] = OrderedDict()

    def add(self, deployment: str, kind: Kind, ms: float) -> None:
        """A call had its first token, had ended, or was outrun, after so long."""
        place = (deployment, kind)
        tail = self._known.get(place)
        if tail is None:
            tail = self._known[place] = _Tail()
            if len(self._known) > TAILS_MAX:
                self._known.popitem(last=False)
        else:
            self._known.move_to_end(place)
        tail.add(ms)

    def late_ms(self, deployment: str, kind: Kind, percentile: float) -> float | None:
        """After how long a call is late; None if too little is known."""
        tail = self._known.get((deployment, kind))
        return None if tail is None else tail.at(percentile)


class HedgeBudget:
    """Second calls that may still be made, saved up by those that might be hedged: a share of their number,
    and the same share of their expected cost. Nothing is given in advance, so the share is never exceeded."""

    def __init__(self) -> None:
        self._calls = 0
        self._pusd = 0

    def earn(self, share_bp: int, cost_pusd: int) -> None:
        """A call begins that may be hedged."""
        self._calls = min(self._calls + share_bp, BURST * WHOLE_BP)
        self._pusd += share_bp * cost_pusd

    def spend(self, cost_pusd: int) -> bool:
        """Take a second call that may cost so much; False if that is too much."""
        if self._calls < WHOLE_BP or self._pusd < WHOLE_BP * cost_pusd:
            return False
        self._calls -= WHOLE_BP
        self._pusd -= WHOLE_BP * cost_pusd
        return True


def second(
    candidates: Sequence[Candidate],
    first: Candidate,
    views: Callable[[Sequence[str]], Sequence[HealthView]],
) -> Candidate | None:
    """Who is asked beside the first: the next deployment of the plan that serves the same model and is well,
    else the first one again, over a connection of its own. Nobody beside a customer's own key, and nobody with
    one: what is not used there, the customer would pay."""
    if first.own_key:
        return None
    others = [
        each
        for each in candidates
        if each.deployment.model == first.deployment.model
        and each.deployment.id != first.deployment.id
        and not each.own_key
    ]
    group = [*others, first]
    standing = views([each.deployment.id for each in group])
    return next((each for each, view in zip(group, standing, strict=True) if view.available), None)
