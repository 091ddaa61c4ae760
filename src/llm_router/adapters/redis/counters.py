"""The port Counters over a server that all nodes share, and without it when it does not answer.

Every request is also counted here, in a :class:`~llm_router.limits.tally.Tally`. While the server is
away, that alone decides, each limit at the share that was configured; and it says how many places this
node has taken, which the server is told again with each connection and each beat: so nothing that was
lost on the way stays wrong. A node that does not beat any more has no places after LEASE_S.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from llm_router.adapters.redis.link import Ask, Link
from llm_router.adapters.redis.scripts import ADMIT, BEAT, LEAVE, NODES, RELEASE, key_of
from llm_router.domain.limit import UNLIMITED, WINDOWS_MS, Admission, Limit, LimitKind
from llm_router.limits.tally import Tally, state_of, tightest
from llm_router.ports import Clock

LEASE_S = 15
"""How long the places of a node that died stay taken."""


class _Counted(msgspec.Struct):
    """An open request as the server knows it.

    Attributes:
        places: (slice, era) by limit, where its tokens are counted; empty if the server did not admit it.
    """

    limits: Sequence[Limit]
    tokens: int
    places: list[tuple[int, int]]


class RedisCounters:
    """Implements the port Counters. Make one with :meth:`open`."""

    def __init__(
        self,
        url: str,
        node: str,
        clock: Clock,
        *,
        timeout_s: float,
        local_share: float,
        lease_s: float,
        say: Callable[[str], None],
    ) -> None:
        self._node = node
        self._clock = clock
        self._local_share = local_share
        self._lease_ms = round(lease_s * 1000)
        self._say = say
        self._tally = Tally()
        self._counted: dict[str, _Counted] = {}
        # Places that the server has of this node, as far as its answers have come.
        self._taken: dict[str, int] = {}
        self._problem: str | None = None
        self._link = Link(
            url, timeout_s=timeout_s / 2, beat_s=lease_s / 3, beat=self._beat, changed=self._changed
        )

    @classmethod
    async def open(
        cls,
        url: str,
        node: str,
        clock: Clock,
        *,
        timeout_s: float,
        local_share: float,
        say: Callable[[str], None],
        lease_s: float = LEASE_S,
    ) -> RedisCounters:
        """Connect to ``redis://``, ``rediss://`` or ``unix://`` (``valkey://`` is the same).

        Args:
            node: a name that no other process has, and no earlier one had.
            timeout_s: an answer of the server that takes longer is given here.
            local_share: of each limit, what this node admits alone while the server is away.
            lease_s: how long this node's places stay taken when it dies.
            say: told once when the server is away, and when it is back.
        """
        for scheme in ("valkey", "valkeys"):
            if url.startswith(f"{scheme}://"):
                url = url.replace("valkey", "redis", 1)
        counters = cls(
            url, node, clock, timeout_s=timeout_s, local_share=local_share, lease_s=lease_s, say=say
        )
        await counters._link.start()
        return counters

    async def close(self) -> None:
        """Free this node's places."""
        await self._link.close(Ask(LEAVE, (NODES,), (self._node,)))

    def problem(self) -> str | None:
        """Why limits are not exact now; None if they are."""
        return self._problem

    async def admit(self, ticket: str, limits: Sequence[Limit], tokens: int, now_ms: int) -> Admission:
        if not limits:
            return UNLIMITED
        if not self._link.up:
            return self._admit_alone(ticket, limits, tokens, now_ms)
        future: asyncio.Future[Admission] = asyncio.get_running_loop().create_future()

        def answered(reply: Any) -> None:
            if reply is None:
                admission = self._admit_alone(ticket, limits, tokens, now_ms)
            else:
                admission = self._admitted(ticket, limits, tokens, now_ms, reply)
            if not future.done():
                future.set_result(admission)
            else:  # nobody waits any more: whoever did was cancelled
                self._release(ticket, 0, now_ms)

        arguments: list[str | int] = [self._node, self._lease_ms, tokens]
        for limit in limits:
            arguments += (limit.kind.value, limit.amount, _length_ms(limit))
        self._link.ask(Ask(ADMIT, _keys(limits), arguments, answered))
        return await future

    async def release(self, ticket: str, tokens_used: int, now_ms: int) -> None:
        self._release(ticket, tokens_used, now_ms)

    def _admitted(
        self, ticket: str, limits: Sequence[Limit], tokens: int, now_ms: int, reply: list[int]
    ) -> Admission:
        """Take note of the server's word."""
        number, wait_ms, *rest = reply
        rows = [rest[4 * i : 4 * i + 4] for i in range(len(limits))]  # used, reset, slice, era
        if number == 0:
            self._tally.count(ticket, limits, tokens, now_ms)
            self._counted[ticket] = _Counted(limits, tokens, [(row[2], row[3]) for row in rows])
            for limit in limits:
                if limit.window is None:
                    self._taken[limit.id] = self._taken.get(limit.id, 0) + 1
        refused = limits[number - 1] if number else None
        return Admission(
            refused=refused,
            remaining=0 if refused is None else max(0, refused.amount - rows[number - 1][0]),
            retry_after_s=wait_ms / 1000,
            limits=tightest(
                state_of(limit, row[0], None if limit.window is None else row[1])
                for limit, row in zip(limits, rows, strict=True)
            ),
        )

    def _admit_alone(self, ticket: str, limits: Sequence[Limit], tokens: int, now_ms: int) -> Admission:
        shares = [self._share(limit) for limit in limits]
        admission = self._tally.admit(ticket, shares, tokens, now_ms)
        if admission.refused is None:
            self._counted[ticket] = _Counted(limits, tokens, [])
        return admission

    def _share(self, limit: Limit) -> Limit:
        """What this node admits of a limit by itself: never nothing of something."""
        if self._local_share >= 1 or limit.amount <= 1:
            return limit
        return msgspec.structs.replace(limit, amount=max(1, int(limit.amount * self._local_share)))

    def _release(self, ticket: str, tokens_used: int, now_ms: int) -> None:
        counted = self._counted.pop(ticket, None)
        if counted is None:
            return
        self._tally.release(ticket, tokens_used, now_ms)
        if not self._link.up:
            return
        keys: list[str] = []
        arguments: list[str | int] = [self._node]
        freed: list[str] = []
        for i, limit in enumerate(counted.limits):
            more = tokens_used - counted.tokens
            if limit.window is None:
                freed.append(limit.id)
                arguments += (0, 0, 0, 0)
            elif limit.kind is LimitKind.TOKENS and more and counted.places:
                arguments += (_length_ms(limit), more, *counted.places[i])
            else:
                continue
            keys.append(key_of(limit.id))
        if keys:
            self._link.ask(Ask(RELEASE, keys, arguments, lambda reply: self._freed(freed, reply)))

    def _freed(self, limit_ids: list[str], reply: Any) -> None:
        if reply is not None:
            for id_ in limit_ids:
                self._taken[id_] = max(0, self._taken.get(id_, 0) - 1)

    def _beat(self) -> Ask:
        """Say that this node lives and which places it has. Made between two batches: what the server has
        is then what its answers said."""
        if not self._link.up:  # a new connection: all that is open is told
            self._taken = dict.fromkeys(self._taken, 0) | self._tally.busy()
        ask = Ask(
            BEAT,
            (NODES, *map(key_of, self._taken)),
            (self._node, self._lease_ms, *self._taken.values()),
        )
        self._taken = {id_: count for id_, count in self._taken.items() if count}
        return ask

    def _changed(self, reason: str | None) -> None:
        if reason is None:
            if self._problem is not None:
                self._say("the counters' server answers again: limits are exact over all nodes")
            self._problem = None
            return
        if self._problem is None:
            self._say(
                f"the counters' server does not answer ({reason}): until it does, this node counts limits "
                f"by itself, at {self._local_share:g} of each"
            )
        self._problem = "the counters' server does not answer; this node counts limits by itself"


def _length_ms(limit: Limit) -> int:
    return 0 if limit.window is None else WINDOWS_MS[limit.window]


def _keys(limits: Sequence[Limit]) -> list[str]:
    return [NODES, *(key_of(limit.id) for limit in limits)]
