"""A whole answer that several exchanges share (engine/flights.py)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from types import MappingProxyType

import msgspec

from llm_router.routing.plan import Candidate
from llm_router.wire.loss import Loss


class Landed(msgspec.Struct, frozen=True, kw_only=True):
    """A whole answer that others may be given too.

    Attributes:
        body: as the provider said it, without our credential.
        tool_names, losses: of the request, as they were on the way to it.
    """

    candidate: Candidate
    body: bytes
    tool_names: Mapping[str, str]
    losses: tuple[Loss, ...]


class Replayed:
    """A provider's reply that was read before."""

    status = 200
    headers: Mapping[str, str] = MappingProxyType({})

    def __init__(self, body: bytes) -> None:
        self._body = body

    async def chunks(self) -> AsyncIterator[bytes]:
        yield self._body

    def expect_content(self, *, more: bool) -> None:
        """All of it is there."""

    async def read(self, bytes_max: int) -> bytes:
        return self._body

    async def close(self) -> None:
        """Nothing is open."""
