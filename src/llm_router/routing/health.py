"""How deployments fare: who may be called now, how busy and how fast each is. Pure: the time is an argument.

    closed ── failures in a row, or too many in the window ──► open ── its time is over ──► half open
      ▲                                                          ▲                             │
      └── slow start ◄── one trial succeeded                     └── the trial failed: longer ─┘

Beside the circuit stands a cooldown: a provider that says when to come back is not called before, unless
nothing else is left. What is the client's own (a bad request, a client that leaves) never counts.

Everything is in memory of one process. Several workers each know what they saw themselves.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from enum import StrEnum

import msgspec

DEPLOYMENTS_MAX = 10_000
"""Deployments remembered; who was called least recently is forgotten first, unless it is busy."""

SIZES_TOKENS = (1_000, 8_000, 64_000)
"""Bounds of the classes of input by which times to the first token are kept apart."""

SIZES = len(SIZES_TOKENS) + 1

BUCKETS = 6
"""Parts of the window in which failures are counted."""

ALPHA_MIN = 0.1
"""Weight of the newest sample of a mean; the first few are weighed equally."""

COOLDOWN_MS_MAX = 600_000
"""A provider's word is taken for no longer than this."""

COOLDOWN_MS = 1_000
"""After a refusal for too many requests that does not say when to come back; doubled with each in a row."""

COOLDOWN_DOUBLINGS_MAX = 5

SHARE_MIN = 0.1
"""Of its usual share of calls at the beginning of a slow start."""


class Fared(StrEnum):
    """How a call went, as far as the deployment is concerned."""

    WELL = "well"
    BADLY = "badly"
    LIMITED = "limited"  # too many requests: neither sick nor proven well
    NEITHER = "neither"  # the client's own fault, or it left


class HealthRules(msgspec.Struct, frozen=True, kw_only=True):
    """When a deployment is taken out, and how it comes back.

    Attributes:
        enabled: False: none is ever passed over; how they fare is still measured.
        failures_max: in a row, then its circuit opens.
        error_rate_max: of at least ``calls_min`` calls in the last ``window_s``, then too.
        open_s: for so long, doubled with each failed trial up to ``open_s_max``.
        slow_start_s: how long it takes from the trial back to its usual share.
        ejected_share_max: at most this part of what may serve a request is passed over; the rest is
            used as if it were well, so that the last one always is.
    """

    enabled: bool = True
    failures_max: int = 5
    error_rate_max: float = 0.5
    calls_min: int = 20
    window_s: float = 60.0
    open_s: float = 10.0
    open_s_max: float = 300.0
    slow_start_s: float = 30.0
    ejected_share_max: float = 0.5


class ProbeRules(msgspec.Struct, frozen=True, kw_only=True):
    """Which deployments are probed, by patterns of their ids, and how often."""

    deployments: tuple[str, ...] = ()
    interval_s: float = 30.0


class HealthView(msgspec.Struct, frozen=True, kw_only=True):
    """A deployment as those see it who choose. What is not known is None.

    Attributes:
        available: it may be called now as any other; else ``reason`` says why not and ``back_ms`` when
            (Unix time) it may be again.
        state: ``closed``, ``open`` or ``half_open``.
        share: of its usual share of calls, 0 < share <= 1; less than 1 during a slow start.
        in_flight: calls under way.
        calls: of the window, those that count; error_rate: the part of them that failed.
        ttft_ms: to the first token, by class of input (:func:`size_of`).
        tokens_per_s: of output, after the first token.
    """

    available: bool = True
    reason: str | None = None
    back_ms: int | None = None
    state: str = "closed"
    share: float = 1.0
    in_flight: int = 0
    calls: int = 0
    error_rate: float | None = None
    ttft_ms: tuple[float | None, ...] = (None,) * SIZES
    tokens_per_s: float | None = None

    def ttft_of(self, size: int) -> float | None:
        """Milliseconds to the first token for inputs of that class, else of the nearest known one."""
        known = [(abs(at - size), at, ms) for at, ms in enumerate(self.ttft_ms) if ms is not None]
        return min(known)[2] if known else None


UNKNOWN = HealthView()
"""Of a deployment that was never called."""


def size_of(input_tokens: int) -> int:
    """The class of an input, from 0."""
    return bisect_right(SIZES_TOKENS, input_tokens)


class _Mean:
    """An exponentially weighted mean that begins as a plain one."""

    __slots__ = ("count", "value")

    def __init__(self) -> None:
        self.count = 0
        self.value = 0.0

    def add(self, sample: float) -> None:
        self.count += 1
        self.value += (sample - self.value) * max(ALPHA_MIN, 1 / self.count)


class _Window:
    """Good and bad calls of the last while, in buckets of a sixth of it."""

    __slots__ = ("bad", "good", "slots")

    def __init__(self) -> None:
        self.slots = [-1] * BUCKETS
        self.good = [0] * BUCKETS
        self.bad = [0] * BUCKETS

    def add(self, slot: int, bad: bool) -> None:
        at = slot % BUCKETS
        if self.slots[at] != slot:
            self.slots[at], self.good[at], self.bad[at] = slot, 0, 0
        if bad:
            self.bad[at] += 1
        else:
            self.good[at] += 1

    def counts(self, slot: int) -> tuple[int, int]:
        """(calls, failures) of the window that ends with the slot."""
        live = [at for at in range(BUCKETS) if slot - BUCKETS < self.slots[at] <= slot]
        bad = sum(self.bad[at] for at in live)
        return bad + sum(self.good[at] for at in live), bad

    def clear(self) -> None:
        self.slots = [-1] * BUCKETS


class _Standing:
    """What is known of one deployment."""

    __slots__ = (
        "back_ms", "closed_ms", "cool_ms", "failures", "in_flight", "limited", "opened", "speed", "trials",
        "ttft", "why", "window",
    )  # fmt: skip

    def __init__(self) -> None:
        self.in_flight = self.trials = self.failures = self.limited = 0
        self.opened = 0  # times in a row that the circuit opened; 0: it is closed
        self.back_ms = 0  # when an open circuit lets a trial through
        self.cool_ms = 0  # not to be called before
        self.closed_ms: int | None = None  # since when a slow start goes on
        self.why = ""
        self.window = _Window()
        self.ttft: list[_Mean | None] = [None] * SIZES
        self.speed = _Mean()


class Call(msgspec.Struct, kw_only=True):
    """A call under way, from :meth:`Health.began` to :meth:`Health.ended`."""

    deployment: str
    trial: bool = False
    over: bool = False


class Health:
    """What one process knows of all deployments. Each step is one method call.

    Attributes:
        quiet: every deployment may be called as usual. Costs nothing: ask it first.
    """

    def __init__(self, rules: HealthRules | None = None) -> None:
        self._rules = HealthRules() if rules is None else rules
        self._slot_ms = _slot_ms(self._rules)
        self._known: OrderedDict[str, _Standing] = OrderedDict()
        self._troubled: set[str] = set()
        self.quiet = True

    @property
    def rules(self) -> HealthRules:
        """May be replaced at any time."""
        return self._rules

    @rules.setter
    def rules(self, rules: HealthRules) -> None:
        self._rules = rules
        self._slot_ms = _slot_ms(rules)

    def __contains__(self, deployment: str) -> bool:
        """Whether it was ever called."""
        return deployment in self._known

    @property
    def deployments(self) -> tuple[str, ...]:
        """Those that anything is known of."""
        return tuple(self._known)

    def began(self, deployment: str, now_ms: int) -> Call:
        """A call begins. Hand what it returns to :meth:`ended`, whatever becomes of it."""
        standing = self._known.get(deployment)
        if standing is None:
            standing = self._known[deployment] = _Standing()
            self._forget()
        elif len(self._known) >= DEPLOYMENTS_MAX:  # only then it matters who is forgotten first
            self._known.move_to_end(deployment)
        standing.in_flight += 1
        if standing.opened == 0 or now_ms < standing.back_ms:
            return Call(deployment=deployment)
        standing.trials += 1
        return Call(deployment=deployment, trial=True)

    def ended(
        self,
        call: Call,
        now_ms: int,
        fared: Fared,
        *,
        why: str = "",
        cooldown_ms: int | None = None,
        input_tokens: int = 0,
        ttft_ms: float | None = None,
        tokens_per_s: float | None = None,
    ) -> None:
        """A call is over, however it went. A second word about the same call is not heard.

        Args:
            why: what went wrong, for people: a kind of error.
            cooldown_ms: when the provider asked to come back.
            input_tokens: expected, for the class of ``ttft_ms``.
        """
        standing = self._known.get(call.deployment)
        if call.over or standing is None:
            return
        call.over = True
        standing.in_flight -= 1
        if call.trial:
            standing.trials -= 1
        if fared is Fared.WELL:
            self._well(standing, call, now_ms)
            if ttft_ms is not None or tokens_per_s is not None:
                _timed(standing, input_tokens, ttft_ms, tokens_per_s)
            if cooldown_ms is None and self.quiet:  # so this one is not, and stays so
                return
        elif fared is Fared.BADLY:
            self._badly(standing, call, now_ms, why)
        elif fared is Fared.LIMITED:
            standing.limited += 1
            if cooldown_ms is None:
                cooldown_ms = COOLDOWN_MS << min(standing.limited - 1, COOLDOWN_DOUBLINGS_MAX)
            standing.why = why
        if cooldown_ms is not None and self._rules.enabled:
            standing.cool_ms = max(standing.cool_ms, now_ms + min(max(0, cooldown_ms), COOLDOWN_MS_MAX))
        if (
            fared is not Fared.WELL
            or cooldown_ms is not None
            or standing.opened
            or standing.closed_ms is not None
            or call.deployment in self._troubled
        ):
            self._note(call.deployment, standing, now_ms)

    def went_well(self, call: Call, now_ms: int) -> None:
        """:meth:`ended`, of a call that went well and of which no more is said."""
        standing = self._known.get(call.deployment)
        if standing is None or call.over or standing.opened or call.trial or not self.quiet:
            self.ended(call, now_ms, Fared.WELL)
            return
        call.over = True
        standing.in_flight -= 1
        standing.failures = standing.limited = 0
        window, slot = standing.window, now_ms // self._slot_ms
        at = slot % BUCKETS
        if window.slots[at] == slot:
            window.good[at] += 1
        else:
            window.add(slot, False)

    def view(self, deployment: str, now_ms: int) -> HealthView:
        """How a deployment stands by itself. For a choice among several see :meth:`views`."""
        standing = self._known.get(deployment)
        return UNKNOWN if standing is None else self._view(deployment, standing, now_ms)

    def views(self, deployments: Sequence[str], now_ms: int) -> tuple[HealthView, ...]:
        """How those stand that may serve one request.

        No more of them than the rules allow are unavailable, and never all; beyond that, those that come
        back first count as available, with their reason.
        """
        views = [self.view(deployment, now_ms) for deployment in deployments]
        if not self._troubled:
            return tuple(views)
        out = [at for at, view in enumerate(views) if not view.available]
        most = min(int(len(views) * self._rules.ejected_share_max), len(views) - 1)
        if len(out) > most:
            out.sort(key=lambda at: views[at].back_ms or now_ms)
            for at in out[: len(out) - most]:
                views[at] = msgspec.structs.replace(views[at], available=True)
        return tuple(views)

    def _view(self, deployment: str, standing: _Standing, now_ms: int) -> HealthView:
        calls, bad = standing.window.counts(self._slot(now_ms))
        state, reason, back_ms = self._state(standing, now_ms)
        share = self._share(standing, now_ms)
        if deployment in self._troubled and state == "closed" and reason is None and share == 1.0:
            self._note(deployment, standing, now_ms)
        return HealthView(
            available=reason is None,
            reason=reason,
            back_ms=back_ms,
            state=state,
            share=share,
            in_flight=standing.in_flight,
            calls=calls,
            error_rate=bad / calls if calls else None,
            ttft_ms=tuple(None if mean is None else mean.value for mean in standing.ttft),
            tokens_per_s=standing.speed.value if standing.speed.count else None,
        )

    def _state(self, standing: _Standing, now_ms: int) -> tuple[str, str | None, int | None]:
        """The circuit's state, and if it may not be called: why, and until when."""
        state = "closed"
        if standing.opened:
            if now_ms < standing.back_ms:
                return "open", f"its circuit is open ({standing.why})", standing.back_ms
            state = "half_open"
        if now_ms < standing.cool_ms:
            return state, f"it asked to be left alone ({standing.why})", standing.cool_ms
        if standing.opened and standing.trials:
            return state, "a trial call is under way", now_ms
        return state, None, None

    def _share(self, standing: _Standing, now_ms: int) -> float:
        if standing.opened:
            return SHARE_MIN
        if standing.closed_ms is None:
            return 1.0
        whole_ms = self._rules.slow_start_s * 1000
        passed = 1.0 if whole_ms <= 0 else (now_ms - standing.closed_ms) / whole_ms
        return min(1.0, max(SHARE_MIN, passed))

    def _well(self, standing: _Standing, call: Call, now_ms: int) -> None:
        standing.failures = standing.limited = 0
        if standing.opened:
            if not call.trial:  # began before it opened: no proof
                return
            standing.opened = 0
            standing.closed_ms = now_ms
            standing.window.clear()
        standing.window.add(now_ms // self._slot_ms, False)

    def _badly(self, standing: _Standing, call: Call, now_ms: int, why: str) -> None:
        standing.failures += 1
        slot = self._slot(now_ms)
        standing.window.add(slot, True)
        if standing.opened:
            if call.trial:
                self._open(standing, now_ms, why)
            return
        rules = self._rules
        calls, bad = standing.window.counts(slot)
        often = calls >= rules.calls_min and bad >= rules.error_rate_max * calls
        if rules.enabled and (often or standing.failures >= rules.failures_max):
            self._open(standing, now_ms, why)

    def _open(self, standing: _Standing, now_ms: int, why: str) -> None:
        rules = self._rules
        open_s = min(rules.open_s * (1 << min(standing.opened, 30)), rules.open_s_max)
        standing.opened += 1
        standing.back_ms = now_ms + round(open_s * 1000)
        standing.closed_ms = None
        standing.why = why

    def _slot(self, now_ms: int) -> int:
        return now_ms // self._slot_ms

    def _note(self, deployment: str, standing: _Standing, now_ms: int) -> None:
        """Remember whether the deployment is one that may not be called as usual."""
        if not standing.opened and now_ms >= standing.cool_ms and self._share(standing, now_ms) == 1.0:
            standing.closed_ms = None
            self._troubled.discard(deployment)
        else:
            self._troubled.add(deployment)
        self.quiet = not self._troubled

    def _forget(self) -> None:
        if len(self._known) <= DEPLOYMENTS_MAX:
            return
        for deployment, standing in self._known.items():
            if not standing.in_flight:
                del self._known[deployment]
                self._troubled.discard(deployment)
                self.quiet = not self._troubled
                return


def _slot_ms(rules: HealthRules) -> int:
    """How long a bucket of the window is."""
    return max(1, round(rules.window_s * 1000 / BUCKETS))


def _timed(standing: _Standing, input_tokens: int, ttft_ms: float | None, tokens_per_s: float | None) -> None:
    if ttft_ms is not None:
        size = size_of(input_tokens)
        mean = standing.ttft[size]
        if mean is None:
            mean = standing.ttft[size] = _Mean()
        mean.add(ttft_ms)
    if tokens_per_s is not None:
        standing.speed.add(tokens_per_s)


def spread(views: Iterable[HealthView], dice: Iterable[float]) -> list[int]:
    """The places of an order in which those come last that are to be passed over: the unavailable ones, and
    of those that come back slowly the part that is not due yet. Among each the order stays.

    Args:
        dice: numbers from 0 to 1, one for each view whose share is less than 1.
    """
    thrown = iter(dice)
    first: list[int] = []
    last: list[int] = []
    for at, view in enumerate(views):
        due = view.share >= 1.0 or next(thrown, 0.0) < view.share
        (first if view.available and due else last).append(at)
    return first + last
