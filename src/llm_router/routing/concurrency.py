"""How many calls a deployment takes at a time, learned from how they go. Pure: the time is an argument.

    no limit ── it refuses, or even its fastest answers take much longer than usual ──► a limit below that
       ▲                                                                                   │ calls go well: +1
       └── a quiet minute ◄────────────────────────────────────────────────────────────────┘ again: lower

A refusal (429, overloaded, a timeout) says that there were too many calls, if several do so: the limit goes below
the number that were under way, once for all calls of one round, and not below what went well at the same time shortly
before. A lone refusal, or any with few calls under way, says nothing of their number. Latency says it
before: the *fastest* of a round of calls is compared with what the fastest usually takes, since single answers differ by their nature, but only a queue delays all.
By Little's law the calls under way times that ratio are what the deployment works on at a time. If fewer calls
are not faster, it was not their number: the limit is taken back, and that speed is the usual one from then on.

Each process learns for itself. In the spirit of TCP's congestion control and of
https://github.com/Netflix/concurrency-limits.
"""

from __future__ import annotations

from collections import OrderedDict
from enum import StrEnum
from fnmatch import fnmatchcase
from math import sqrt

import msgspec

from llm_router.routing.health import SIZES

LANES_MAX = 10_000
"""Deployments remembered; of those without a call the one that was called least recently is forgotten."""

REFUSED = 0.85
"""After a refusal the limit is this part of the calls that were under way before it."""

LATE = 0.7
"""The same after a timeout."""

HEADROOM = 1.2
"""Above what a deployment seems to work on at a time, so that it never runs dry."""

CUT_MOST = 0.5
"""Latency takes off no more than this at once."""

NEAR = 0.9
"""So near to where calls were refused the last time, the limit grows by one a round only."""

ROUND_MIN = 8
ROUND_MAX = 16
"""Calls of a round: as many as are under way, within these bounds. A longer one would see a queue too late."""

DRIFT = 1.02
"""What is usual grows by no more than this a round."""

SLACK_MS = 20.0
"""To the first token, that never count as late."""

BUSY_MIN = 4
"""With fewer calls under way nothing is learned from latency."""

REFUSALS_MIN = 3
REFUSALS_PART = 0.1
"""Refusals that lower a limit: so many within a while, and this part of the calls under way. Where calls were
refused before, one more is enough."""

TROUBLE_MS = 10_000
PROVEN_MS = 30_000
"""So long a refusal counts, and (at most twice as long) how many calls went well at the same time."""

QUIET_MS = 60_000
"""A limit that was not half used for so long is forgotten."""

WHOLE = SIZES
"""The kind of sample of whole answers: milliseconds per token. Before it: to the first token, by size of the input."""

WHOLE_TOKENS = 20
"""Added to the output of a whole answer: what its beginning takes, in tokens."""


class Went(StrEnum):
    """What a call says of the load."""

    WELL = "well"
    REFUSED = "refused"
    LATE = "late"
    NEITHER = "neither"


class ConcurrencyRules(msgspec.Struct, frozen=True, kw_only=True):
    """How calls of one deployment are bounded.

    Attributes:
        enabled: False: they are not, unless by ``most``.
        least: no limit that is learned goes below it; with no more calls under way nothing is learned.
        most: calls at a time, by patterns of deployments' ids; the first that fits counts.
        latency_factor: so many times the usual latency is too much; 0: only refusals count.
        queue_max: requests that wait for one deployment; wait_s_max: how long.
    """

    enabled: bool = True
    least: int = 4
    most: tuple[tuple[str, int], ...] = ()
    latency_factor: float = 2.0
    queue_max: int = 32
    wait_s_max: float = 1.0

    def most_of(self, deployment: str) -> int | None:
        return next((most for pattern, most in self.most if fnmatchcase(deployment, pattern)), None)


class LaneView(msgspec.Struct, frozen=True, kw_only=True):
    """A deployment's calls: under way, at most (None: no limit), and requests turned away."""

    in_flight: int = 0
    limit: int | None = None
    shed: int = 0


class Place(msgspec.Struct, eq=False):
    """A call under way, from :meth:`Lane.enter` to :meth:`Lane.leave`. ``beside``: calls with it."""

    lane: Lane
    number: int
    beside: int
    began_ms: int
    over: bool = False


class _Round:
    """The fastest of a round of calls of one kind, what that usually is, and how many were under way."""

    __slots__ = ("besides", "count", "least", "usual")

    def __init__(self) -> None:
        self.usual: float | None = None
        self.clear()

    def clear(self) -> None:
        self.count, self.least, self.besides = 0, 0.0, 0

    @property
    def beside(self) -> float:
        """Calls under way, as a mean over those of the round."""
        return self.besides / self.count

    def learn(self) -> None:
        """The usual follows what is faster at once, what is slower in small steps."""
        usual = self.least if self.usual is None else self.usual
        self.usual = (usual + self.least) / 2 if self.least < usual else min(self.least, usual * DRIFT)


class _Cut(msgspec.Struct, frozen=True):
    """A limit that latency lowered: from what, and why."""

    kind: int
    before: float | None
    least: float
    beside: float


class Lane:
    """The calls of one deployment. It is kept while there are any."""

    __slots__ = (
        "_cut", "_numbered", "_proven", "_proven_ms", "_refusals", "_refused_at", "_refused_ms", "_rounds", "_since",
        "_used_ms", "deployment", "duration_ms", "in_flight", "learned", "most", "promised", "rules", "shed",
    )  # fmt: skip

    def __init__(self, deployment: str, rules: ConcurrencyRules) -> None:
        self.deployment = deployment
        self.rules = rules
        self.most = rules.most_of(deployment)
        self.learned: float | None = None
        self.in_flight = 0
        self.promised = 0  # places that are kept for who waited
        self.shed = 0
        self.duration_ms = 0.0  # of a call that went well, as a mean
        self._numbered = 0
        self._since = 0  # calls up to this number began before the limit was lowered
        self._used_ms = 0
        self._refused_at = 0.0
        self._refusals = 0  # of late, since the limit was lowered
        self._refused_ms, self._proven_ms = -TROUBLE_MS, 0
        self._proven = (0, 0)  # calls that went well at the same time: since _proven_ms, and the while before
        self._rounds: list[_Round | None] = [None] * (SIZES + 1)
        self._cut: _Cut | None = None

    @property
    def limit(self) -> int | None:
        """Calls at a time; None without a limit."""
        learned, most = self.learned, self.most
        if learned is None:
            return most
        limit = int(learned) if learned >= 1 else 1
        return limit if most is None or limit < most else most

    def enter(self, now_ms: int) -> Place:
        """A call begins. Hand what it returns to :meth:`leave`."""
        self._numbered = number = self._numbered + 1
        self.in_flight = beside = self.in_flight + 1
        learned = self.learned
        if learned is not None:
            if 2 * beside >= learned:
                self._used_ms = now_ms
            elif now_ms - self._used_ms > QUIET_MS:
                self.learned, self._cut, self._refused_at = None, None, 0.0
        return Place(self, number, beside, now_ms)

    def leave(self, place: Place, now_ms: int, went: Went, kind: int, sample: float | None) -> None:
        """A call is over. A second word about the same call is not heard.

        Args:
            sample: how long it took, for calls of its ``kind``: milliseconds to the first token by size of
                the input, or per token (WHOLE).
        """
        if place.over:
            return
        place.over = True
        rules = self.rules
        self.in_flight -= 1
        if went is Went.WELL:
            went_ms, usual_ms = now_ms - place.began_ms, self.duration_ms
            if went_ms < 0:  # the clock ran backwards
                went_ms = 0
            self.duration_ms = usual_ms + (went_ms - usual_ms) * (0.1 if usual_ms else 1.0)
        if not rules.enabled or went is Went.NEITHER or place.number <= self._since:
            return
        if went is Went.WELL:
            learned, beside = self.learned, place.beside
            if learned is not None and 2 * beside >= learned:
                self._grow(learned)
            if now_ms - self._refused_ms > TROUBLE_MS and (
                beside > self._proven[0] or now_ms - self._proven_ms >= PROVEN_MS
            ):
                self._prove(beside, now_ms)
            if sample is not None and rules.latency_factor > 0:
                self._timed(rules, beside, now_ms, kind, sample)
            return
        if place.beside <= rules.least or not self._enough(place.beside, now_ms):
            return
        self._refused_at = float(place.beside)
        self._cut = None
        part = REFUSED * (place.beside - 1) if went is Went.REFUSED else LATE * place.beside
        self._lower(rules, max(part, self._proven_of_late(now_ms)), now_ms)
        self._refusals, self._proven = 0, (0, 0)  # what comes after it counts

    def _enough(self, beside: int, now_ms: int) -> bool:
        """Add a refusal; whether there are enough to believe that it was the number of calls."""
        self._refusals = 1 + (self._refusals if now_ms - self._refused_ms <= TROUBLE_MS else 0)
        self._refused_ms = now_ms
        known = self.learned is not None and beside >= NEAR * self._refused_at > 0
        return known or self._refusals >= max(REFUSALS_MIN, REFUSALS_PART * beside)

    def _prove(self, beside: int, now_ms: int) -> None:
        """So many calls at a time went well, and nothing was refused for a while."""
        if now_ms - self._proven_ms >= PROVEN_MS:
            self._proven_of_late(now_ms)
        if beside > self._proven[0]:
            self._proven = (beside, self._proven[1])

    def _proven_of_late(self, now_ms: int) -> int:
        """The most calls at a time that went well of late."""
        gone_ms = now_ms - self._proven_ms
        if gone_ms >= PROVEN_MS:
            self._proven = (0, self._proven[0] if gone_ms < 2 * PROVEN_MS else 0)
            self._proven_ms = now_ms
        return max(self._proven)

    def _grow(self, learned: float) -> None:
        """A call went well, and the limit was in use: allow a little more, and soon as much again as was refused."""
        near = NEAR * self._refused_at <= learned <= self._refused_at / NEAR
        far = learned < NEAR * self._refused_at
        self.learned = learned + (1 / learned if near else 1 if far else 1 / sqrt(learned))

    def _lower(self, rules: ConcurrencyRules, limit: float, now_ms: int) -> None:
        limit = limit if self.learned is None else min(limit, self.learned)
        self.learned = max(float(rules.least), limit)
        self._since = self._numbered
        self._used_ms = now_ms
        for each in self._rounds:
            if each is not None:
                each.clear()

    def _timed(self, rules: ConcurrencyRules, beside: int, now_ms: int, kind: int, sample: float) -> None:
        """Add a sample to its round; judge the round when it is whole."""
        found = self._rounds[kind]
        if found is None:
            found = self._rounds[kind] = _Round()
        if found.count == 0 or sample < found.least:
            found.least = sample
        found.besides += beside
        found.count += 1
        if found.count < ROUND_MIN or found.count < min(ROUND_MAX, beside):
            return
        if found.usual is not None and self._late(rules, found, kind, now_ms):
            return
        found.learn()
        found.clear()

    def _late(self, rules: ConcurrencyRules, found: _Round, kind: int, now_ms: int) -> bool:
        """Lower the limit if a round was late; take that back if fewer calls were no faster."""
        assert found.usual is not None
        cut, least, beside = self._cut, found.least, found.beside
        slack = SLACK_MS if kind < WHOLE else 0.0
        late = least > rules.latency_factor * found.usual + slack
        if cut is not None and cut.kind == kind and beside < NEAR * cut.beside:
            self._cut = None
            if late and not _helped(cut, least, beside):
                self.learned, found.usual = cut.before, least
                found.clear()
                return True
        if not late or beside < BUSY_MIN:
            return False
        works_on = beside * found.usual / least
        self._cut = _Cut(kind, self.learned, least, beside)
        self._lower(rules, max(HEADROOM * works_on, CUT_MOST * beside), now_ms)
        return True


def _helped(cut: _Cut, least: float, beside: float) -> bool:
    """Whether fewer calls were faster, by half of what they would be if their number were all there is to it."""
    return least <= cut.least * (1 + beside / cut.beside) / 2


class Lanes:
    """Those of all deployments that one process calls."""

    def __init__(self, rules: ConcurrencyRules | None = None) -> None:
        self._rules = ConcurrencyRules() if rules is None else rules
        self._lanes: OrderedDict[str, Lane] = OrderedDict()

    @property
    def rules(self) -> ConcurrencyRules:
        """May be replaced at any time."""
        return self._rules

    @rules.setter
    def rules(self, rules: ConcurrencyRules) -> None:
        self._rules = rules
        for deployment, lane in self._lanes.items():
            lane.rules, lane.most = rules, rules.most_of(deployment)
            if not rules.enabled:
                lane.learned = None

    def room(self, deployment: str) -> bool:
        """Whether a call may begin now."""
        lane = self._lanes.get(deployment)
        if lane is None:
            return True
        learned, most, with_it = lane.learned, lane.most, lane.in_flight + lane.promised + 1
        if learned is not None and with_it > learned and with_it > 1:
            return False
        return most is None or with_it <= most

    def lane(self, deployment: str) -> Lane:
        """What is known of a deployment."""
        lane = self._lanes.get(deployment)
        if lane is None:
            lane = self._lanes[deployment] = Lane(deployment, self._rules)
            self._forget()
        return lane

    def enter(self, deployment: str, now_ms: int) -> Place:
        """A call begins, whether there is room or not. Hand what it returns to :meth:`leave`."""
        lane = self._lanes.get(deployment)
        return (self.lane(deployment) if lane is None else lane).enter(now_ms)

    def leave(
        self, place: Place, now_ms: int, went: Went, *, kind: int = WHOLE, sample: float | None = None
    ) -> None:
        """A call is over: see :meth:`Lane.leave`."""
        place.lane.leave(place, now_ms, went, kind, sample)

    def wait_ms(self, deployment: str, ahead: int) -> float:
        """How long one waits for a place, behind so many others."""
        lane = self.lane(deployment)
        return (ahead + 1) * lane.duration_ms / max(1, lane.limit or 1)

    def view(self, deployment: str) -> LaneView:
        """How many calls a deployment has and may have."""
        lane = self._lanes.get(deployment)
        if lane is None:
            return LaneView(limit=self._rules.most_of(deployment))
        return LaneView(in_flight=lane.in_flight, limit=lane.limit, shed=lane.shed)

    @property
    def full(self) -> tuple[str, ...]:
        """Deployments that take no further call now."""
        return tuple(id_ for id_ in self._lanes if not self.room(id_))

    @property
    def shed(self) -> int:
        """Requests that were turned away for want of a place."""
        return sum(lane.shed for lane in self._lanes.values())

    def _forget(self) -> None:
        if len(self._lanes) <= LANES_MAX:
            return
        for deployment, lane in self._lanes.items():
            if not lane.in_flight and not lane.promised:
                del self._lanes[deployment]
                return
