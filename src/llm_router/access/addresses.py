"""Where a request comes from, and whether that is one of some ranges of addresses."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from functools import lru_cache

Range = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address

HOPS_MAX = 20
"""Addresses of proxies that are looked at."""


def parse_range(text: str) -> str:
    """A range in its usual form: ``10.0.0.0/8``, ``2001:db8::/32``; an address is the range of itself.

    Raises:
        ValueError: it is none, or has bits behind its prefix.
    """
    return str(ipaddress.ip_network(text.strip()))


def is_inside(address: str, ranges: Iterable[str]) -> bool:
    """Whether an address lies in one of the ranges. What is no address lies in none."""
    found = _address(address)
    return found is not None and any(_contains(_range(text), found) for text in ranges)


def within(outer: Sequence[str] | None, inner: Sequence[str] | None) -> bool:
    """Whether whatever lies in ``inner`` lies in ``outer``; None is everywhere."""
    if outer is None:
        return True
    return inner is not None and all(
        any(_covers(_range(wide), _range(narrow)) for wide in outer) for narrow in inner
    )


def network_of(address: str) -> str:
    """What one caller has at least: an address of IPv4, of IPv6 the network of 64 bits. What is none stays as it is."""
    found = _address(address)
    if found is None or found.version == 4:
        return address if found is None else str(found)
    return str(ipaddress.IPv6Network((int(found) >> 64 << 64, 64)))


def client_address(peer: str, forwarded: str | None, trusted: Sequence[str]) -> str:
    """The address of who asks.

    Only a proxy that the operator trusts is believed about whom it speaks for: X-Forwarded-For is read from
    its end, as far as those are trusted who wrote it, and the first that is not is the client.
    https://developer.mozilla.org/en-US/docs/Web/HTTP/Reference/Headers/X-Forwarded-For

    Args:
        peer: who is at the other end of the connection.
        forwarded: the header, with all its lines joined by commas.
        trusted: ranges of the operator's own proxies.
    """
    if forwarded is None or not trusted or not is_inside(peer, trusted):
        return peer
    found = peer
    for text in reversed(forwarded.split(",")[-HOPS_MAX:]):
        address = _address(_bare(text.strip()))
        if address is None:
            return found
        found = str(address)
        if not is_inside(found, trusted):
            return found
    return found


def _bare(text: str) -> str:
    """Without a port, as some proxies add one."""
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return text.partition(":")[0] if text.count(":") == 1 else text


def _address(text: str) -> Address | None:
    try:
        found = ipaddress.ip_address(text)
    except ValueError:
        return None
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return found if mapped is None else mapped


@lru_cache(maxsize=4096)
def _range(text: str) -> Range:
    return ipaddress.ip_network(text)


def _contains(range_: Range, address: Address) -> bool:
    return range_.version == address.version and address in range_


def _covers(wide: Range, narrow: Range) -> bool:
    return (
        wide.version == narrow.version
        and wide.network_address <= narrow.network_address  # type: ignore[operator]
        and narrow.broadcast_address <= wide.broadcast_address  # type: ignore[operator]
    )
