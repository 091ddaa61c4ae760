"""All attempts of an exchange: one deployment after the other, until one delivers or nothing is left to try.

What is tried next, after how long a wait, or why nothing is, is decided by :mod:`llm_router.routing.advance`;
this module waits, calls and reports how each deployment fared.
"""

from __future__ import annotations

from llm_router.domain.errors import ClientError, ProviderNotConfigured, UpstreamError
from llm_router.engine import pump
from llm_router.engine.attempt import Attempts
from llm_router.engine.tracks import Track
from llm_router.routing.advance import advance


class Trying:
    """Tries plans. One per process."""

    def __init__(self, attempts: Attempts) -> None:
        self._attempts = attempts

    async def deliver(self, track: Track) -> None:
        """Try the plan's deployments in order until one delivers.

        Raises:
            RouterError: the last attempt's error; nothing more can be tried.
        """
        assert track.admitted is not None
        plan = track.admitted.plan
        tried = 0
        candidate = plan.candidates[0]
        with pump.heartbeat(track):
            while True:
                try:
                    await self._attempts.run(track, candidate)
                    return
                except UpstreamError as error:
                    tried += 1
                    following = None if track.content_sent else advance(plan, tried, error)
                    if following is None:
                        raise
                    candidate = following
                except (ClientError, ProviderNotConfigured):
                    # This deployment cannot take the request (a loss in strict mode, content it has no
                    # form for), or its provider cannot be signed in to. Another one of the plan may.
                    tried += 1
                    if tried >= len(plan.candidates):
                        raise
                    candidate = plan.candidates[tried]
