"""Google credentials by the library google-auth. Only :mod:`adapters.google_tokens` loads this module.

https://google-auth.readthedocs.io/en/latest/reference/google.auth.credentials.html
"""

from __future__ import annotations

import functools
from typing import Any

import msgspec
import requests
from google.auth import compute_engine, exceptions, identity_pool
from google.auth.credentials import TokenState
from google.auth.transport.requests import Request
from google.oauth2 import credentials, service_account

from llm_router.domain.errors import UpstreamError, UpstreamKind
from llm_router.ports import MACHINE_CREDENTIALS
from llm_router.wire.classify import scrub

SCOPE = "https://www.googleapis.com/auth/cloud-platform"
TIMEOUT_S = 20.0
"""For one answer of the server that gives tokens out."""

SAID_CHARS_MAX = 300


class GoogleCredentials:
    """See :class:`~llm_router.adapters.google_tokens.Renewable`."""

    def __init__(self, credential: str) -> None:
        """
        Raises:
            UpstreamError: AUTHENTICATION: they are incomplete.
        """
        try:
            self._own: Any = _load(credential)
        except (exceptions.GoogleAuthError, ValueError, KeyError) as error:
            raise _failed(
                "These Google credentials are not usable, and were not sent to Google", error
            ) from None

    @property
    def fresh(self) -> bool:
        return self._own.token_state is TokenState.FRESH

    @property
    def holds(self) -> bool:
        return self._own.token_state is not TokenState.INVALID

    @property
    def token(self) -> str:
        return str(self._own.token)

    def renew(self) -> None:
        """Ask for a token. Blocks.

        Raises:
            UpstreamError: AUTHENTICATION or UNAVAILABLE: there is none to be had.
        """
        with requests.Session() as session:
            session.trust_env = False  # no proxies from the environment, as everywhere
            try:
                self._own.refresh(functools.partial(Request(session), timeout=TIMEOUT_S))
            except exceptions.TransportError:
                raise UpstreamError(
                    "The server that gives out Google's tokens cannot be reached.",
                    kind=UpstreamKind.UNAVAILABLE,
                ) from None
            except (exceptions.GoogleAuthError, ValueError) as error:
                raise _failed("Google gives no token for the credentials", error) from None


def _load(credential: str) -> Any:
    if credential == MACHINE_CREDENTIALS:
        return compute_engine.Credentials(scopes=[SCOPE])  # type: ignore[no-untyped-call]
    info: dict[str, Any] = msgspec.json.decode(credential)
    match info.get("type"):
        case "service_account":
            return service_account.Credentials.from_service_account_info(info, scopes=[SCOPE])  # type: ignore[no-untyped-call]
        case "authorized_user":
            return credentials.Credentials.from_authorized_user_info(info, scopes=[SCOPE])  # type: ignore[no-untyped-call]
        case "external_account":
            return identity_pool.Credentials.from_info(info, scopes=[SCOPE])  # type: ignore[no-untyped-call]
    raise ValueError("They are of an unknown type.")


def _failed(what: str, error: Exception) -> UpstreamError:
    said = str(error.args[0]) if error.args and isinstance(error.args[0], str) else type(error).__name__
    return UpstreamError(
        f"{what}: {scrub(said[:SAID_CHARS_MAX])}",
        kind=UpstreamKind.AUTHENTICATION,
    )
