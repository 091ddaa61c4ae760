"""Which addresses are public."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_router.adapters.upstream.guard import all_public, is_public

words = str.split
REFUSED = words("""
0.0.0.0 0.1.2.3 10.0.0.1 10.255.255.255 100.64.0.1 100.100.100.200 100.127.255.255 127.0.0.1 127.255.255.254
168.63.129.16 169.254.0.1 169.254.169.254 169.254.170.2 172.16.0.1 172.31.255.255 192.0.0.1 192.0.0.192
192.0.2.1 192.88.99.1 192.168.0.1 198.18.0.1 198.19.255.255 198.51.100.1 203.0.113.1 224.0.0.1 239.255.255.255
240.0.0.1 255.255.255.255
:: ::1 ::127.0.0.1 ::8.8.8.8 ::ffff:127.0.0.1 ::ffff:169.254.169.254 ::ffff:10.0.0.1 ::ffff:0:127.0.0.1
64:ff9b::127.0.0.1 64:ff9b::a9fe:a9fe 64:ff9b::10.0.0.1 64:ff9b:1::8.8.8.8
2001::1 2001:0:4136:e378:8000:63bf:3fff:fdd2 2001:10::1 2001:20::1 2001:db8::1 3fff::1
2002:7f00:1:: 2002:a9fe:a9fe:: 2002:808:808::1 2001:4860::5efe:127.0.0.1 2001:4860::200:5efe:10.0.0.1
100::1 5f00::1 fc00::1 fd00:ec2::254 fe80::1 fe80::1%eth0 2001:4860:4860::8888%1 fec0::1 ff02::1 4000::1
localhost 127.1 2130706433 0x7f000001 0177.0.0.1 1.2.3 1.2.3.4.5 01.2.3.4 1.2.3.4/32 [::1]
""")

TAKEN = words("""
1.1.1.1 8.8.8.8 9.255.255.255 11.0.0.1 100.63.255.255 100.128.0.0 126.255.255.255 128.0.0.1 169.253.0.1 172.15.0.1
172.32.0.1 192.0.1.1 192.167.1.1 192.169.1.1 198.17.0.1 198.20.0.1 223.255.255.255
2001:4860:4860::8888 2606:4700::1111 2a00:1450:4001:81b::200e 2001:200::1 ::ffff:8.8.8.8 64:ff9b::8.8.8.8
""")


@pytest.mark.parametrize("address", REFUSED)
def test_refused(address: str) -> None:
    assert not is_public(address)


def test_empty_text_is_refused() -> None:
    assert not is_public("")


@pytest.mark.parametrize("address", TAKEN)
def test_taken(address: str) -> None:
    assert is_public(address)


def test_one_bad_address_condemns_the_name() -> None:
    assert all_public(["8.8.8.8", "2606:4700::1111"])
    assert not all_public(["8.8.8.8", "127.0.0.1"])
    assert not all_public([])


@given(st.integers(0, 2**32 - 1).map(IPv4Address))
def test_an_address_inside_another_is_judged_alike(inner: IPv4Address) -> None:
    assert is_public(f"::ffff:{inner}") == is_public(str(inner)) == is_public(f"64:ff9b::{inner}")
    assert not is_public(str(IPv6Address(b"\x20\x02" + inner.packed + bytes(10))))


@given(st.one_of(st.integers(0, 2**32 - 1).map(IPv4Address), st.integers(0, 2**128 - 1).map(IPv6Address)))
def test_public_is_never_wider_than_the_standard_library(address: IPv4Address | IPv6Address) -> None:
    if is_public(str(address)):
        plain = address
        if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
            plain = address.ipv4_mapped
        assert ip_address(str(plain)).is_global
        assert not plain.is_multicast
        assert not plain.is_private
        assert not plain.is_reserved or str(address).startswith("64:ff9b::")
