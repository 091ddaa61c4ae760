"""Several keys at one provider: which is used next, and which is left alone after it was refused. Pure.

Keys take turns by their weights. One that is refused (401, 402, 403, 429) is passed over for a while that
grows with each refusal in a row; when all are, the one that is back first is used.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from hashlib import sha256

import msgspec

from llm_router.domain.errors import UpstreamKind

COOLDOWN_MS = {
    UpstreamKind.RATE_LIMIT: 1_000,
    UpstreamKind.AUTHENTICATION: 30_000,
    UpstreamKind.PERMISSION: 30_000,
    UpstreamKind.PAYMENT: 30_000,
}
"""What is held against a key, and how long it is left alone at first if the provider says nothing."""

COOLDOWN_MS_MAX = 3_600_000
DOUBLINGS_MAX = 16

MARKED_CHARS_MIN = 16
"""Of shorter keys no mark is shown: they could be guessed from it."""


class PoolKey(msgspec.Struct, frozen=True, kw_only=True):
    """One of several keys of a provider.

    Attributes:
        number: 1, 2, 3 in the order of the configuration.
        mark: number and fingerprint, by which records and listings name it.
    """

    number: int
    secret: str
    mark: str
    weight: int = 1


def pool_of(secrets: Sequence[str], weights: Sequence[int] = ()) -> tuple[PoolKey, ...]:
    """The keys of a provider in their order; without weights all are used as often."""
    return tuple(
        PoolKey(number=n, secret=secret, mark=_mark(n, secret), weight=weights[n - 1] if weights else 1)
        for n, secret in enumerate(secrets, start=1)
    )


def _mark(number: int, secret: str) -> str:
    if len(secret) < MARKED_CHARS_MIN:
        return str(number)
    return f"{number}:{sha256(secret.encode()).hexdigest()[:8]}"


class _Turn:
    __slots__ = ("back_ms", "credit", "refusals", "why")

    def __init__(self) -> None:
        self.credit = self.back_ms = self.refusals = 0
        self.why = ""


class KeyState(msgspec.Struct, frozen=True, kw_only=True):
    """A key as operators see it. ``back_ms``: Unix time until which it is passed over; None if it is not."""

    mark: str
    back_ms: int | None
    why: str | None


class KeyRing:
    """What one process knows of the keys of all providers."""

    def __init__(self) -> None:
        self._turns: dict[tuple[str, str], _Turn] = {}

    def pick(
        self, provider: str, pool: Sequence[PoolKey], now_ms: int, without: Collection[str] = ()
    ) -> PoolKey:
        """The key whose turn it is. ``without``: marks that are used only if nothing else is left."""
        usable = self._usable(provider, pool, now_ms, without)
        if not usable:
            return min(pool, key=lambda key: self._turn(provider, key).back_ms)
        # Smooth weighted round robin: each gains its weight, the richest is used and pays for all.
        best, gained = usable[0], 0
        for key in usable:
            turn = self._turn(provider, key)
            turn.credit += key.weight
            gained += key.weight
            if turn.credit > self._turn(provider, best).credit:
                best = key
        self._turn(provider, best).credit -= gained
        return best

    def refused(
        self,
        provider: str,
        pool: Sequence[PoolKey],
        key: PoolKey,
        kind: UpstreamKind,
        now_ms: int,
        cooldown_ms: int | None = None,
        without: Collection[str] = (),
    ) -> bool:
        """A provider refused a key for what is held against keys; whether another one may be used at once."""
        turn = self._turn(provider, key)
        if cooldown_ms is None:
            cooldown_ms = COOLDOWN_MS[kind] << min(turn.refusals, DOUBLINGS_MAX)
        turn.refusals += 1
        turn.why = kind.value
        turn.back_ms = max(turn.back_ms, now_ms + min(cooldown_ms, COOLDOWN_MS_MAX))
        return bool(self._usable(provider, pool, now_ms, without))

    def doubted(
        self, provider: str, pool: Sequence[PoolKey], now_ms: int, without: Collection[str] = ()
    ) -> bool:
        """Whether another key may be used at once after one that was perhaps refused, and is not left alone."""
        return bool(self._usable(provider, pool, now_ms, without))

    def took(self, provider: str, key: PoolKey) -> None:
        """The provider took the key."""
        turn = self._turns.get((provider, key.mark))
        if turn is not None and turn.refusals:
            turn.refusals = turn.back_ms = 0

    def states(self, provider: str, pool: Sequence[PoolKey], now_ms: int) -> tuple[KeyState, ...]:
        """How the keys of a provider stand."""
        found = []
        for key in pool:
            turn = self._turns.get((provider, key.mark)) or _Turn()
            out = turn.back_ms > now_ms
            found.append(
                KeyState(mark=key.mark, back_ms=turn.back_ms if out else None, why=turn.why if out else None)
            )
        return tuple(found)

    def _usable(
        self, provider: str, pool: Sequence[PoolKey], now_ms: int, without: Collection[str]
    ) -> list[PoolKey]:
        return [
            key for key in pool if key.mark not in without and self._turn(provider, key).back_ms <= now_ms
        ]

    def _turn(self, provider: str, key: PoolKey) -> _Turn:
        turn = self._turns.get((provider, key.mark))
        if turn is None:
            turn = self._turns[provider, key.mark] = _Turn()
        return turn
