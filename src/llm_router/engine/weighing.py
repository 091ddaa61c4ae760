"""An error of a provider, weighed against the request: what it only quotes is held against nobody."""

from __future__ import annotations

from llm_router.domain.errors import UpstreamError
from llm_router.engine.tracks import Track
from llm_router.ports import UpstreamRequest
from llm_router.routing.plan import Candidate
from llm_router.wire.quoted import weigh


def weigh_error(
    error: UpstreamError, track: Track, candidate: Candidate, request: UpstreamRequest | None
) -> None:
    """Take back from an error what rests on words of the client's request, or of the one that was sent."""
    headers = "\n".join(track.call.headers.values()).encode("utf-8", "replace")
    sent = (track.call.body, headers) if request is None else (track.call.body, headers, request.body)
    weigh(error, models=(candidate.deployment.upstream_model, candidate.model.id), sent=sent)
