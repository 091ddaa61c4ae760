"""Single flight: whole answers to requests that are the same, at the same time and of one account, from one call.

    the first ──── goes upstream as ever, and what the provider said is kept until it is over
      the others ─ are admitted and held for as ever, wait for it, and make their own reply of the same bytes
        it failed for a reason that would meet them too ── they get that error
        it failed otherwise ────────────────────────────── each goes upstream itself
        its client left ────────────────────────────────── one of them is the first now

Who waited is charged nothing: nothing was bought for it. Its record has no attempt and the flag ``shared``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from hashlib import blake2b

import msgspec

from llm_router.domain.errors import InvalidRequest, RouterError, UpstreamError, UpstreamKind
from llm_router.engine.attempt import Attempts
from llm_router.engine.landed import Landed
from llm_router.engine.tagging import HEADERS as TAGS_HEADERS
from llm_router.engine.tracks import Track
from llm_router.engine.trying import Trying
from llm_router.ports import Clock
from llm_router.routing.hedging import hedged
from llm_router.wire.dialect import Dialect

HEADER = "x-llm-router-single-flight"
_WISHES = {"on": True, "off": False}

_NOT_OF_THE_ANSWER = ("x-llm-router-timeouts", "x-llm-router-explain", TAGS_HEADERS[0], HEADER)
"""The gateway's own headers that change nothing of what is said."""

_BODY = msgspec.json.Decoder(dict[str, msgspec.Raw])


def wish_of(headers: Mapping[str, str]) -> bool | None:
    """The request's own word.

    Raises:
        InvalidRequest: it cannot be read.
    """
    wish = headers.get(HEADER)
    if wish is None:
        return None
    if (found := _WISHES.get(wish.strip().lower())) is None:
        raise InvalidRequest(f"'{HEADER}' must be on or off.", param=HEADER)
    return found


class _Flight:
    """A call under way that others may wait for. ``over``: its answer, its error, or None: nobody knows."""

    __slots__ = ("over",)

    def __init__(self) -> None:
        self.over: asyncio.Future[Landed | RouterError | None] = asyncio.get_running_loop().create_future()


class Flights:
    """Those of this process."""

    def __init__(self, trying: Trying, attempts: Attempts, clock: Clock) -> None:
        self._trying = trying
        self._attempts = attempts
        self._clock = clock
        self._under_way: dict[bytes, _Flight] = {}

    async def deliver(self, track: Track) -> None:
        """Bring the answer of an admitted request: by its own call, or by one that is under way.

        Raises:
            RouterError: as :meth:`Trying.deliver`.
        """
        wish = wish_of(track.call.headers)
        if not hedged(track.state.routing.single_flight, wish) or not _may_share(track):
            await self._trying.deliver(track)
            return
        place = _place(track)
        while (flight := self._under_way.get(place)) is not None:
            found = await self._wait(track, flight)
            if isinstance(found, RouterError):
                if found.retryable:
                    await self._trying.deliver(track)
                    return
                raise found.with_traceback(None)
            if found is not None:
                await self._attempts.replay(track, found)
                return
        await self._lead(track, place)

    async def _lead(self, track: Track, place: bytes) -> None:
        """Go upstream, for whoever waits too."""
        flight = self._under_way[place] = _Flight()
        track.landing = []
        found: Landed | RouterError | None = None
        try:
            await self._trying.deliver(track)
            found = self._landed(track)
        except RouterError as error:
            found = error
            raise
        finally:
            del self._under_way[place]
            flight.over.set_result(found)

    def _landed(self, track: Track) -> Landed | None:
        if track.candidate is None or not track.landing:
            return None
        return Landed(
            candidate=track.candidate,
            body=track.landing[-1],
            tool_names=track.tool_names,
            losses=tuple(track.losses),
        )

    async def _wait(self, track: Track, flight: _Flight) -> Landed | RouterError | None:
        """What became of the call of another.

        Raises:
            UpstreamError: the client's deadline passed meanwhile.
        """
        left_s = None
        began_us = self._clock.monotonic_us()
        if track.due_us is not None:
            left_s = max(0.0, (track.due_us - began_us) / 1_000_000)
        await asyncio.wait({flight.over}, timeout=left_s)
        track.upstream_us += self._clock.monotonic_us() - began_us
        if not flight.over.done():
            raise UpstreamError(
                "The same request is under way, and was not answered in time.", kind=UpstreamKind.TIMEOUT
            )
        return flight.over.result()


def _may_share(track: Track) -> bool:
    """Whether the answer is whole, and of nothing that is kept under the exchange's own name."""
    inspected = track.inspected
    return (
        inspected is not None and not inspected.stream and track.call.state is None and track.holder is None
    )


def _place(track: Track) -> bytes:
    """What two requests must have in common to share an answer: account, way, wishes, plan and body."""
    call, admitted = track.call, track.admitted
    assert admitted is not None
    forwarded = call.dialect.forwards if isinstance(call.dialect, Dialect) else ()
    headers = sorted(
        (name, value)
        for name, value in call.headers.items()
        if (name.startswith("x-llm-router-") and name not in _NOT_OF_THE_ANSWER) or name in forwarded
    )
    candidates = [(c.deployment.id, c.own_key) for c in admitted.plan.candidates]
    fallbacks = [[kind, *(c.deployment.id for c in chain)] for kind, chain in admitted.fallbacks.items()]
    body = dict(sorted(_BODY.decode(call.body).items()))
    digest = blake2b(digest_size=32)
    digest.update(
        msgspec.json.encode(
            (
                (admitted.key.account, call.operation, call.dialect.name, call.path_model),
                (admitted.strict, admitted.usage_chunk, admitted.output_tokens_cap, admitted.lowered_to),
                (headers, candidates, fallbacks, body),
            )
        )
    )
    return digest.digest()
