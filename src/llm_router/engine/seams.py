"""What is known of an answer that is put together from several streams."""

from __future__ import annotations

import msgspec

from llm_router.domain.errors import RouterError
from llm_router.domain.record import Seam
from llm_router.routing.plan import Candidate
from llm_router.wire.continuing.asking import Asked
from llm_router.wire.continuing.relay import ContinuedRelay
from llm_router.wire.continuing.told import Told
from llm_router.wire.dialect import Observed, StreamEncoder


class Cut(msgspec.Struct, frozen=True, kw_only=True):
    """A stream that broke, and what came of it."""

    candidate: Candidate
    observed: Observed


class Continuation(msgspec.Struct, kw_only=True):
    """An answer that is gone on with.

    Attributes:
        cause: why it broke off: what the client is told if nobody can go on.
        began: the deployment that began it.
        told: what the client was told; encoder: what tells it more.
        times: how often it was gone on with; tried: on which deployments.
        limit: the output limit of the next one; None: the provider's own.
        no_prefill: deployments that refused to have their answer begun for them.
        relay, asked: of the continuation under way.
        cuts: the streams that broke; seams: where, and who went on.
    """

    cause: RouterError
    began: Candidate
    told: Told
    encoder: StreamEncoder
    reply_id: str | None
    tried: set[str]
    times: int = 0
    limit: int | None = None
    no_prefill: set[str] = msgspec.field(default_factory=set)
    relay: ContinuedRelay | None = None
    asked: Asked | None = None
    cuts: list[Cut] = msgspec.field(default_factory=list)
    seams: list[Seam] = msgspec.field(default_factory=list)
