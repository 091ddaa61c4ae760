"""Which addresses may be fetched from on a stranger's word. Pure: it judges addresses, never names.

Names are not judged, since resolvers read ``127.1``, ``2130706433``, ``0x7f.1`` and even circled digits
as loopback: what counts is the address that comes out. An address that holds another one (IPv4-mapped,
NAT64) is judged by what it holds; 6to4, Teredo and IPv4-compatible ones are refused whole.

Sources: https://www.iana.org/assignments/iana-ipv4-special-registry and
https://www.iana.org/assignments/iana-ipv6-special-registry
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

_V4_REFUSED = tuple(
    IPv4Network(text)
    for text in (
        "0.0.0.0/8",  # this network: Linux takes 0.0.0.0 for loopback
        "10.0.0.0/8",
        "100.64.0.0/10",  # shared by carriers; Alibaba's metadata at 100.100.100.200
        "127.0.0.0/8",
        "168.63.129.16/32",  # Azure's wire server
        "169.254.0.0/16",  # link-local; the metadata address of most clouds
        "172.16.0.0/12",
        "192.0.0.0/24",  # protocol assignments; Oracle's metadata at 192.0.0.192
        "192.0.2.0/24",
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",
        "240.0.0.0/4",
    )
)
_V6_GLOBAL = IPv6Network("2000::/3")
_V6_REFUSED = tuple(
    IPv6Network(text)
    for text in (
        "2001::/23",  # protocol assignments, Teredo among them
        "2001:db8::/32",
        "2002::/16",  # 6to4
        "3fff::/20",
    )
)
_MAPPED = IPv6Network("::ffff:0:0/96")
_NAT64 = IPv6Network("64:ff9b::/96")
_ISATAP = (b"\x00\x00\x5e\xfe", b"\x02\x00\x5e\xfe")


def is_public(address: str) -> bool:
    """Whether that address (as a resolver prints it) is one of the public Internet.

    What is not an address at all, or carries a zone (``fe80::1%eth0``), is not.
    """
    try:
        parsed = ip_address(address)
    except ValueError:
        return False
    if isinstance(parsed, IPv4Address):
        return _public_v4(parsed)
    return parsed.scope_id is None and _public_v6(parsed)


def all_public(addresses: Iterable[str]) -> bool:
    """Whether every address is public; one that is not condemns the name, and so does having none."""
    judged = [is_public(address) for address in addresses]
    return bool(judged) and all(judged)


def _public_v4(address: IPv4Address) -> bool:
    return address.is_global and not any(address in network for network in _V4_REFUSED)


def _public_v6(address: IPv6Address) -> bool:
    if address in _MAPPED or address in _NAT64:
        return _public_v4(IPv4Address(address.packed[12:]))
    if address not in _V6_GLOBAL or any(address in network for network in _V6_REFUSED):
        return False
    if address.packed[8:12] in _ISATAP:
        return _public_v4(IPv4Address(address.packed[12:]))
    return address.is_global
