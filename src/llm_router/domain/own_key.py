"""A customer's own key at a provider. Its text is shown by no ``repr``."""

from __future__ import annotations

from urllib.parse import urlsplit

import msgspec

_PORTS = {"https": 443, "http": 80}


class OwnKey(msgspec.Struct, frozen=True, kw_only=True):
    """Attributes:
    secret: in the form that the provider's auth takes.
    origins: where it may be sent: those of the provider when the key was set.
    fallback: the gateway's own keys may serve the account where this one does not.
    """

    provider: str
    secret: str
    origins: tuple[str, ...]
    fallback: bool

    def __repr__(self) -> str:
        return f"OwnKey(provider={self.provider!r}, ***)"


def origin_of(url: str) -> str | None:
    """``https://host:port`` of an address; None if it has none."""
    try:
        parts = urlsplit(url)
        port = parts.port or _PORTS.get(parts.scheme)
    except ValueError:
        return None
    if parts.hostname is None or port is None or "{" in parts.netloc:
        return None
    return f"{parts.scheme}://{parts.hostname}:{port}"
