"""Whether a key may be used for what is asked, and from where: what a plain key is never asked."""

from __future__ import annotations

from collections.abc import Sequence

from llm_router.access.addresses import client_address, is_inside
from llm_router.access.permissions import of_scopes
from llm_router.domain.errors import Forbidden
from llm_router.domain.key import Key
from llm_router.edge.http import Request

USE = "inference:use"
MODELS = "model:read"
USAGE = "usage:read"
CREDIT = "credit:read"

LOOK_US = 1_000_000
"""How often it is looked up, while a long answer is sent, whether who asked may still read it."""


def address_of(request: Request, trusted: Sequence[str]) -> str:
    """The address of who asks, as far as that can be believed."""
    return client_address(request.peer, request.headers.get("x-forwarded-for"), trusted)


def check_key(key: Key, request: Request, permission: str | None, trusted: Sequence[str]) -> None:
    """Refuse a use that the key is not for.

    Args:
        permission: what is asked for; None asks for nothing but the place.

    Raises:
        Forbidden
    """
    if key.scopes is not None and permission is not None and permission not in of_scopes(key.scopes):
        scopes = ", ".join(key.scopes) or "none"
        raise Forbidden(
            f"This API key is not for this: it takes the permission {permission}, and its scopes are {scopes}."
        )
    if key.ip_ranges is not None:
        address = address_of(request, trusted)
        if not is_inside(address, key.ip_ranges):
            raise Forbidden(f"This API key may not be used from the address {address}.")
