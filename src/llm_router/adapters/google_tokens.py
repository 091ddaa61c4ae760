"""Bearer tokens of Google credentials, kept until shortly before they expire.

The library ``google-auth`` (the extra ``vertex``) is loaded when the first token is asked for. It waits
for the network, so that it works in a thread: see :mod:`adapters.google_library`.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from typing import Protocol

from llm_router.domain.errors import ProviderNotConfigured, UpstreamError


class Renewable(Protocol):
    """Credentials with the token that was made of them last."""

    @property
    def fresh(self) -> bool:
        """The token holds for some minutes yet."""
        ...

    @property
    def holds(self) -> bool:
        """The token is still taken."""
        ...

    @property
    def token(self) -> str: ...

    def renew(self) -> None:
        """Ask for a token. Blocks.

        Raises:
            UpstreamError: there is none to be had.
        """
        ...


def _load(credential: str) -> Renewable:
    """The credentials of a setting. Blocks while the library is loaded for the first time.

    Raises:
        ProviderNotConfigured: the library is not installed.
        UpstreamError: AUTHENTICATION: the credentials are incomplete.
    """
    try:
        from llm_router.adapters.google_library import GoogleCredentials
    except ImportError:
        raise ProviderNotConfigured(
            "Vertex AI needs Google's credentials library: run  pip install '.[vertex]'  in the checkout of "
            "LLM Router, or  pip install google-auth requests  elsewhere; then start the gateway again."
        ) from None
    return GoogleCredentials(credential)


class GoogleTokens:
    """The port Tokens. Whoever needs a token while it is renewed waits for the same answer."""

    def __init__(self, load: Callable[[str], Renewable] = _load) -> None:
        self._load = load
        self._known: dict[str, Renewable] = {}
        self._renewals: dict[str, asyncio.Task[None]] = {}

    async def token(self, credential: str) -> str:
        """The token, renewed some minutes before it expires; the old one if that fails and it still holds.

        Raises:
            ProviderNotConfigured: the library is not installed.
            UpstreamError: AUTHENTICATION: Google refuses the credentials; UNAVAILABLE: nobody answers.
        """
        known = self._known.get(credential)
        if known is None or not known.fresh:
            try:
                await asyncio.shield(self._renewal(credential))
            except UpstreamError:
                if known is None or not known.holds:
                    raise
        return self._known[credential].token

    def _renewal(self, credential: str) -> asyncio.Task[None]:
        """The renewal under way, or a new one. It goes on although a client leaves: others may wait."""
        task = self._renewals.get(credential)
        if task is None:
            task = asyncio.create_task(asyncio.to_thread(self._renew, credential))
            self._renewals[credential] = task
            task.add_done_callback(functools.partial(self._renewed, credential))
        return task

    def _renew(self, credential: str) -> None:
        known = self._known.get(credential)
        if known is None:
            known = self._load(credential)
        known.renew()
        self._known[credential] = known

    def _renewed(self, credential: str, task: asyncio.Task[None]) -> None:
        del self._renewals[credential]
        if not task.cancelled():
            task.exception()  # whoever waited has it; if all have left, nobody misses it

    async def close(self) -> None:
        """Wait for renewals under way; each ends within its timeout."""
        await asyncio.gather(*self._renewals.values(), return_exceptions=True)
