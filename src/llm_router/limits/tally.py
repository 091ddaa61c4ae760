"""What has been counted against limits. In memory, one step each: all limits of a request move, or none.

Tokens are counted at admission as estimated, and corrected when the request ends: what was not used is
taken back where it was counted, what was used beyond counts from then on.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence

import msgspec

from llm_router.domain.budget import Scope
from llm_router.domain.budget import Window as Length
from llm_router.domain.limit import UNLIMITED, WINDOWS_MS, Admission, Limit, LimitKind, LimitState
from llm_router.limits.windows import SLICES, Slice, Window

_REQUESTS = LimitKind.REQUESTS
_KINDS = {kind: kind.value for kind in LimitKind}
_KINDS_IN_ORDER = ("requests", "tokens", "concurrency")
_LENGTHS: dict[Length | None, str | None] = {None: None, **{length: length.value for length in Length}}
_SCOPES = {scope: scope.value for scope in Scope}
"""The words of the enumerations: to ask a member for its own costs more than to look it up."""

_IDLE_MS = {length: ms // SLICES * (SLICES + 1) for length, ms in WINDOWS_MS.items()}
"""Windows that nothing was counted in for so long are empty."""

_NOWHERE = Slice(0, 0)

LOOKS = 32
"""Windows are looked through for idle ones when so many may have been added."""

CONCURRENCY_RETRY_MS = 1000
"""When a slot will be free cannot be known; a second is soon, yet no busy loop."""


class _Open(msgspec.Struct):
    """An admitted request: the limits that it has a slot of, and where its tokens are counted."""

    slots: Sequence[str]
    tokens: Sequence[tuple[Limit, Window, Slice]]
    estimated: int


class Tally:
    """Holds what was counted within the windows, and the requests that are open."""

    def __init__(self) -> None:
        # Those seen last come last.
        self._windows: dict[Length, OrderedDict[str, Window]] = {w: OrderedDict() for w in WINDOWS_MS}
        self._slots: dict[str, int] = {}
        self._open: dict[str, _Open] = {}
        self._looks = 0  # due

    def __len__(self) -> int:
        """How many limits something is remembered of."""
        return len(self._slots) + sum(map(len, self._windows.values()))

    def admit(self, ticket: str, limits: Sequence[Limit], tokens: int, now_ms: int) -> Admission:
        """Count a request of so many tokens against every limit, if all have room; else against none.

        A request larger than a whole limit is refused like any other; it is told to wait a whole
        window, since no shorter time can help.
        """
        if not limits:
            return UNLIMITED
        windows: list[Window | None] = []
        refused, wait_ms = None, -1
        for limit in limits:
            length = limit.window
            if length is None:
                window = None
                over = self._slots.get(limit.id, 0) + 1 - limit.amount
            else:
                window = self._window(limit.id, length, now_ms)
                over = window.total + (1 if limit.kind is _REQUESTS else tokens) - limit.amount
            windows.append(window)
            if over > 0:
                free_ms = CONCURRENCY_RETRY_MS if window is None else window.free_in_ms(over, now_ms)
                if free_ms > wait_ms:  # it stands in the way longest
                    refused, wait_ms = limit, free_ms
        if refused is None:
            admission = Admission(limits=tightest(self._count(ticket, limits, windows, tokens, now_ms)))
        else:
            admission = Admission(
                refused=refused,
                remaining=self._remaining(refused),
                retry_after_s=wait_ms / 1000,
                limits=tightest(self._standing(limits, windows, now_ms)),
            )
        self._sweep(now_ms, len(limits) + 1)
        return admission

    def count(self, ticket: str, limits: Sequence[Limit], tokens: int, now_ms: int) -> None:
        """Count a request that somebody else has admitted, whether there is room or not."""
        windows = [
            None if limit.window is None else self._window(limit.id, limit.window, now_ms) for limit in limits
        ]
        self._count(ticket, limits, windows, tokens, now_ms)
        self._sweep(now_ms, len(limits) + 1)

    def release(self, ticket: str, tokens_used: int, now_ms: int) -> None:
        """The request ended: free its slots, and correct its tokens. Does nothing for one that is not open."""
        request = self._open.pop(ticket, None)
        if request is None:
            return
        busy = self._slots
        for id_ in request.slots:
            left = busy[id_] - 1
            if left:
                busy[id_] = left
            else:
                del busy[id_]
        less = request.estimated - tokens_used
        if less > 0:
            for _, window, where in request.tokens:
                window.take_back(less, where)
        elif less < 0:
            for limit, _, _ in request.tokens:
                assert limit.window is not None, "slots are no tokens"
                self._window(limit.id, limit.window, now_ms).add(-less, now_ms)

    def busy(self) -> dict[str, int]:
        """Open requests by limit of concurrency."""
        return dict(self._slots)

    def _window(self, id_: str, length: Length, now_ms: int) -> Window:
        shelf = self._windows[length]
        window = shelf.get(id_)
        if window is None:
            window = shelf[id_] = Window(WINDOWS_MS[length])
        if now_ms // window.slice_ms != window.slot:  # else nothing has aged since, nor has its place
            shelf.move_to_end(id_)
            window.advance(now_ms)
        return window

    def _count(
        self, ticket: str, limits: Sequence[Limit], windows: list[Window | None], tokens: int, now_ms: int
    ) -> list[LimitState]:
        """Count a request; return the limits as they stand then."""
        busy, slots = self._slots, list[str]()
        counted: list[tuple[Limit, Window, Slice]] = []
        states = []
        for limit, window in zip(limits, windows, strict=True):
            if window is None:
                id_ = limit.id
                used = busy[id_] = busy.get(id_, 0) + 1
                slots.append(id_)
                states.append(state_of(limit, used, None))
                continue
            if limit.kind is _REQUESTS:
                where = window.add(1, now_ms)
            else:
                where = window.add(tokens, now_ms)
                counted.append((limit, window, where))
            states.append(state_of(limit, window.total, window.left_ms(where, now_ms)))
        self._open[ticket] = _Open(slots, counted, tokens)
        return states

    def _remaining(self, limit: Limit) -> int:
        used = (
            self._slots.get(limit.id, 0)
            if limit.window is None
            else self._windows[limit.window][limit.id].total
        )
        return max(0, limit.amount - used)

    def _standing(
        self, limits: Sequence[Limit], windows: list[Window | None], now_ms: int
    ) -> list[LimitState]:
        """The limits as they stand."""
        states = []
        for limit, window in zip(limits, windows, strict=True):
            if window is None:
                states.append(state_of(limit, self._slots.get(limit.id, 0), None))
            else:
                states.append(state_of(limit, window.total, window.empty_in_ms(now_ms)))
        return states

    def _sweep(self, now_ms: int, looks: int) -> None:
        """Forget windows that nothing is in. Looks at more than can be added, so that idle ones cannot pile
        up, at several requests' together; puts those that it keeps to the back."""
        self._looks += looks
        if self._looks < LOOKS:
            return
        looks, self._looks = self._looks, 0
        for length, shelf in self._windows.items():
            for _ in range(looks if shelf else 0):
                if not shelf:
                    break
                id_, window = next(iter(shelf.items()))
                if 0 <= now_ms - window.seen_ms < _IDLE_MS[length]:
                    break
                window.advance(now_ms)
                if window.empty:
                    del shelf[id_]  # it has moved, so that no gauge counts in it any more
                else:
                    shelf.move_to_end(id_)


_Row = tuple[str, int, Window | None, int, Slice, int, int, str, str | None, str]
"""One of a gauge's limits: its id and amount, its window, how often that had moved when it was looked up, the slice
to count in and when that leaves the window, what each request counts as (0: as its tokens), and its words."""


class Gauge:
    """Limits that are counted together again and again: those of a key. What can be looked up once is kept.

    Its word is :meth:`Tally.admit`'s, and what it counts is released there.
    """

    __slots__ = (
        "_counted", "_from_ms", "_in_order", "_limits", "_rows", "_slots", "_tally", "_until_ms",
    )  # fmt: skip

    def __init__(self, tally: Tally, limits: Sequence[Limit]) -> None:
        self._tally = tally
        self._limits = limits
        self._slots = [limit.id for limit in limits if limit.window is None]
        self._in_order = tuple(_KINDS[limit.kind] for limit in limits) == _KINDS_IN_ORDER
        self._rows: list[_Row] = []
        self._counted: list[tuple[Limit, Window, Slice]] = []
        self._from_ms = self._until_ms = 0  # what was looked up holds from, until

    def admit(self, ticket: str, tokens: int, now_ms: int) -> Admission:
        """Count a request of so many tokens against all of the limits, or none."""
        tally = self._tally
        if not self._from_ms <= now_ms < self._until_ms:
            self._look_up(now_ms)
        busy, states = tally._slots, list[LimitState]()
        for id_, amount, window, moves, where, ends_ms, one, kind, length, scope in self._rows:
            if window is None:
                used, reset_ms = busy.get(id_, 0) + 1, None
                if used > amount:
                    break
                busy[id_] = used
            else:
                units = one or tokens
                used, reset_ms = window.total + units, ends_ms - now_ms
                if used > amount or window.moves != moves:
                    break
                window.total = used
                where.units += units
                if not where.units:
                    reset_ms = window.empty_in_ms(now_ms)
            states.append(
                LimitState(
                    kind=kind,
                    limit=amount,
                    remaining=amount - used,
                    reset_ms=reset_ms,
                    window=length,
                    scope=scope,
                )
            )
        else:
            tally._open[ticket] = _Open(self._slots, self._counted, tokens)
            tally._looks += len(states) + 1
            if tally._looks >= LOOKS:
                tally._sweep(now_ms, 0)
            return Admission(limits=tuple(states) if self._in_order else tightest(states))
        self._take_back(len(states), tokens)
        self._until_ms = 0
        return tally.admit(ticket, self._limits, tokens, now_ms)

    def _take_back(self, rows: int, tokens: int) -> None:
        """The request does not fit into the next of the limits: take it out of these."""
        busy = self._tally._slots
        for id_, _, window, _, where, _, one, _, _, _ in self._rows[:rows]:
            if window is not None:
                window.take_back(one or tokens, where)
            elif busy[id_] > 1:
                busy[id_] -= 1
            else:
                del busy[id_]

    def _look_up(self, now_ms: int) -> None:
        """Find the windows and slices, as they are at that time."""
        tally, rows, counted = self._tally, list[_Row](), list[tuple[Limit, Window, Slice]]()
        from_ms, until_ms = 0, now_ms + 60_000
        for limit in self._limits:
            one = 1 if limit.kind is _REQUESTS else 0
            words = (_KINDS[limit.kind], _LENGTHS[limit.window], _SCOPES[limit.scope])
            if limit.window is None:
                rows.append((limit.id, limit.amount, None, 0, _NOWHERE, 0, 0, *words))
                continue
            window = tally._window(limit.id, limit.window, now_ms)
            where, slice_ms = window.add(0, now_ms), window.slice_ms
            ends_ms = (where.at + SLICES + 1) * slice_ms
            rows.append((limit.id, limit.amount, window, window.moves, where, ends_ms, one, *words))
            if not one:
                counted.append((limit, window, where))
            from_ms = max(from_ms, where.at * slice_ms)
            until_ms = min(until_ms, (where.at + 1) * slice_ms)
        self._rows, self._counted = rows, counted
        self._from_ms, self._until_ms = from_ms, until_ms


def state_of(limit: Limit, used: int, reset_ms: int | None) -> LimitState:
    """A limit of which so much is used."""
    remaining = limit.amount - used
    return LimitState(
        kind=_KINDS[limit.kind],
        limit=limit.amount,
        remaining=remaining if remaining > 0 else 0,
        reset_ms=reset_ms,
        window=_LENGTHS[limit.window],
        scope=_SCOPES[limit.scope],
    )


def tightest(standing: Iterable[LimitState]) -> tuple[LimitState, ...]:
    """Of each kind the limit that leaves least; of those that leave as much, the one that lasts longest."""
    states = tuple(standing)
    if len(states) == len(_KINDS_IN_ORDER):
        first, second, third = states
        if (first.kind, second.kind, third.kind) == _KINDS_IN_ORDER:  # those of a key alone, as most have
            return states
    found: dict[str, LimitState] = {}
    for state in states:
        other = found.setdefault(state.kind, state)
        if other is not state and _order(state) < _order(other):
            found[state.kind] = state
    return tuple([found[kind] for kind in _KINDS_IN_ORDER if kind in found])


def _order(state: LimitState) -> tuple[int, int]:
    return state.remaining, -(state.reset_ms or 0)
