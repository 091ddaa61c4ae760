"""Read http URLs strictly: what is odd is refused, never mended, so that no two readers can differ."""

from __future__ import annotations

import re
from ipaddress import IPv6Address

import msgspec

_AUTHORITY = re.compile(r"([a-z0-9_.-]{1,253}|\[[0-9a-f:.]{2,45}\])(?::([0-9]{1,5}))?")
_SCHEME = re.compile(r"(https?)://", re.IGNORECASE)
_TARGET = re.compile(r"[!-\[\]-~]*")  # printable ASCII without blank and backslash
_DEFAULT_PORTS = {"http": 80, "https": 443}


class Origin(msgspec.Struct, frozen=True, kw_only=True):
    """Where connections go. ``host`` is lower case, an IPv6 address without its brackets."""

    scheme: str
    host: str
    port: int

    @property
    def secure(self) -> bool:
        return self.scheme == "https"

    @property
    def label(self) -> str:
        """``host:port``, for messages."""
        return f"{bracketed(self.host)}:{self.port}"


class HttpUrl(msgspec.Struct, frozen=True, kw_only=True):
    """A parsed URL.

    Attributes:
        authority: the value of the Host header: host, and port where it is not the scheme's own.
        target: path and query as they go on the request line.
    """

    origin: Origin
    authority: str
    target: str


def bracketed(host: str) -> str:
    """The host as it stands in a URL: IPv6 addresses in brackets."""
    return f"[{host}]" if ":" in host else host


def parse_url(url: str) -> HttpUrl:
    """Parse an absolute http or https URL.

    One trailing dot of the host is dropped: certificates and resolvers know the name without it.

    Raises:
        ValueError: another scheme, credentials, a fragment, a backslash, blanks, control or
            non-ASCII characters, or a malformed host or port. The message never repeats the URL,
            which may hold a secret.
    """
    scheme = _SCHEME.match(url)
    if scheme is None:
        raise ValueError("only absolute http:// and https:// URLs are taken")
    if not _TARGET.fullmatch(url):
        raise ValueError(
            "the URL holds a blank, a backslash, a control or a non-ASCII character: percent-encode it"
        )
    if "#" in url:
        raise ValueError("the URL has a fragment (#...): leave it out")
    rest = url[scheme.end() :]
    cut = min((at for at in (rest.find("/"), rest.find("?")) if at >= 0), default=len(rest))
    authority, target = rest[:cut].lower(), rest[cut:]
    if "@" in authority:
        raise ValueError("the URL holds credentials (user:password@): leave them out")
    host, port = _split_authority(authority)
    name = scheme[1].lower()
    origin = Origin(scheme=name, host=host, port=_DEFAULT_PORTS[name] if port is None else port)
    shown = bracketed(host) if origin.port == _DEFAULT_PORTS[name] else origin.label
    return HttpUrl(origin=origin, authority=shown, target=target if target.startswith("/") else "/" + target)


def _split_authority(authority: str) -> tuple[str, int | None]:
    match = _AUTHORITY.fullmatch(authority)
    if match is None:
        raise ValueError("the URL's host or port is malformed")
    host, digits = match[1], match[2]
    if host.startswith("["):
        host = str(IPv6Address(host[1:-1]))
    else:
        host = host.removesuffix(".")
        if "" in host.split("."):
            raise ValueError("the URL's host has an empty label")
    if digits is None:
        return host, None
    port = int(digits)
    if not 0 < port < 65536:
        raise ValueError("the URL's port is not between 1 and 65535")
    return host, port
