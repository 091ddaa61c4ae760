"""What a connection may take of the server before anybody knows who it is: places, bytes and time.

One object for all connections of a process. It knows no HTTP; :mod:`edge.server` asks it.
"""

from __future__ import annotations

import socket
from enum import Enum

import msgspec

EXCESS_MAX = 256
"""Connections beyond a limit that are still told so, in the words of their API; more are just closed."""


class Bounds(msgspec.Struct, frozen=True, kw_only=True):
    """What the operator allows; see ``[server]`` of the configuration.

    Attributes:
        header_bytes_max: of a request line with its headers, and of the trailers of a body.
        headers_max: header fields of a request.
        head_s: from a connection's or a request's first byte to the end of its headers.
        body_s: from there to the end of its body.
        unread_s: so long may a client leave what was sent to it unread.
        keep_alive_s: so long may it stay without a request.
        connections_max, connections_per_address_max: open at the same time.
    """

    header_bytes_max: int = 64 * 1024
    headers_max: int = 200
    head_s: float = 30.0
    body_s: float = 120.0
    unread_s: float = 60.0
    keep_alive_s: float = 75.0
    connections_max: int = 10_000
    connections_per_address_max: int = 5_000


class Place(Enum):
    """What a new connection gets: it is served, or told that there is no room, or closed."""

    SERVED = "served"
    EXCESS = "excess"
    NONE = "none"


class Guards:
    """Counts who is connected. Its memory is as large as there are connections open."""

    def __init__(self, bounds: Bounds) -> None:
        self.bounds = bounds
        self.connections = 0
        self._by_network: dict[bytes | str, int] = {}

    def enter(self, address: str | None) -> Place:
        """Take a place for a connection from this address; None: a local one that has none."""
        bounds, network = self.bounds, _network(address)
        self.connections += 1
        beyond = self.connections - bounds.connections_max
        if address is not None:
            count = self._by_network[network] = self._by_network.get(network, 0) + 1
            beyond = max(beyond, count - bounds.connections_per_address_max)
        if beyond <= 0:
            return Place.SERVED
        return Place.EXCESS if beyond <= EXCESS_MAX else Place.NONE

    def leave(self, address: str | None) -> None:
        """Give the place back, whatever it was."""
        self.connections -= 1
        if address is None:
            return
        network = _network(address)
        left = self._by_network[network] - 1
        if left:
            self._by_network[network] = left
        else:
            del self._by_network[network]


def _network(address: str | None) -> bytes | str:
    """Whom an address belongs to: of IPv6 everybody has a network of 64 bits for himself."""
    if address is None or ":" not in address:
        return "" if address is None else address
    try:
        packed = socket.inet_pton(socket.AF_INET6, address.partition("%")[0])
    except OSError:
        return address
    return packed[12:] if packed.startswith(_MAPPED) else packed[:8]


_MAPPED = bytes(10) + b"\xff\xff"
"""Before an IPv4 address that came by IPv6 (https://www.rfc-editor.org/rfc/rfc4291#section-2.5.5.2)."""
