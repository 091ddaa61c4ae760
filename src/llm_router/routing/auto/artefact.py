"""The shipped router: its weights, where they come from, and the check that they are what was made.

One file: a line that names the format, a line of JSON (:class:`Header`), then the weights, little-endian:

* :data:`HEADS` x 2**16 signed bytes: a table for each linear head, one weight a bucket;
* for each node of the trees, in one order: its figure (uint8; 255 at a leaf), its threshold or value
  (float32), the places of its left and right child (uint16 each).
"""

from __future__ import annotations

import sys
from array import array
from hashlib import sha256
from pkgutil import get_data

import msgspec

from llm_router.domain.errors import ServerError
from llm_router.routing.auto.features import BUCKETS, FORM, READING

MAGIC = b"llm-router auto 1\n"

ARTEFACT_BYTES_MAX = 512 * 1024

LEAF = 255

HEADS = 6
"""Linear heads: the weak tier's and the strong tier's score, and what the strong tier adds in the eyes of
each source of the training data."""

FIGURES = len(FORM) + HEADS + 1
"""What the trees see: the figures of the form, the heads, and the difference of the first two."""

FIELD_BITS = 21
"""Room of a head's sum: 255 x 8,224 buckets, more than a prompt of the length that is read can fill."""

NAME = "router.bin"


class Provenance(msgspec.Struct, frozen=True, kw_only=True):
    """Where an artefact comes from."""

    data: tuple[str, ...]
    licences: tuple[str, ...]
    made: str
    command: str
    seed: int
    prompts: int


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """What is said of the weights.

    Attributes:
        version: of the artefact; what was learned over another one is not read.
        reading: of the features, :data:`features.READING`.
        scales, offsets: of the heads; a table's sum divided by the root of the number of buckets, times
            the scale, plus the offset is what the head says.
        base: what the trees' sum begins with.
        roots: places of the trees' roots.
        tiers: the quality tiers that the two heads stand for.
        gains: what the strong tier adds to prompts of the training data, at 101 quantiles, rising.
        payload_bytes, payload_sha256: of what follows.
    """

    version: str
    reading: int
    scales: tuple[float, ...]
    offsets: tuple[float, ...]
    base: float
    roots: tuple[int, ...]
    nodes: int
    tiers: tuple[int, int]
    gains: tuple[float, ...]
    provenance: Provenance
    payload_bytes: int
    payload_sha256: str


class Artefact(msgspec.Struct, frozen=True, kw_only=True):
    """A router, ready to score. A number of ``tables`` holds a bucket's weights in three heads."""

    header: Header
    tables: tuple[array[int], array[int]]
    figures: list[int]
    limits: list[float]
    lefts: list[int]
    rights: list[int]


def pack(first: int, second: int, third: int) -> int:
    """A bucket's weights in three heads in one number, so that one sum adds up three heads."""
    return (first + 128) | (second + 128) << FIELD_BITS | (third + 128) << 2 * FIELD_BITS


def unpack(total: int, count: int) -> tuple[int, int, int]:
    """The sums of three heads over ``count`` buckets."""
    mask, bias = (1 << FIELD_BITS) - 1, 128 * count
    return (
        (total & mask) - bias,
        (total >> FIELD_BITS & mask) - bias,
        (total >> 2 * FIELD_BITS) - bias,
    )


def decode_artefact(data: bytes) -> Artefact:
    """Read an artefact.

    Raises:
        ServerError: it is no artefact of this version, or it was changed after it was made.
    """
    if not data.startswith(MAGIC) or len(data) > ARTEFACT_BYTES_MAX:
        raise _broken("it is no router artefact of this version")
    line, _, payload = data[len(MAGIC) :].partition(b"\n")
    try:
        header = msgspec.json.decode(line, type=Header)
    except msgspec.MsgspecError as error:
        raise _broken(f"its header cannot be read ({error})") from None
    if len(payload) != header.payload_bytes or sha256(payload).hexdigest() != header.payload_sha256:
        raise _broken("its checksum is wrong: the file is damaged")
    if header.reading != READING:
        raise _broken(f"it was trained on another reading of prompts ({header.reading}, not {READING})")
    if header.payload_bytes != HEADS * BUCKETS + 9 * header.nodes:
        raise _broken("its size does not fit its header")
    return _unpack(header, payload)


def _unpack(header: Header, payload: bytes) -> Artefact:
    heads = [array("b", payload[BUCKETS * i : BUCKETS * (i + 1)]) for i in range(HEADS)]
    at, n = HEADS * BUCKETS, header.nodes
    figures = list(payload[at : at + n])
    limits = _fractions(payload[at + n : at + 5 * n])
    lefts = _whole(payload[at + 5 * n : at + 7 * n])
    rights = _whole(payload[at + 7 * n :])
    if any(f != LEAF and f >= FIGURES for f in figures) or any(
        f != LEAF and not (i < left < n and i < right < n)
        for i, (f, left, right) in enumerate(zip(figures, lefts, rights, strict=True))
    ):
        raise _broken("its trees are malformed")
    return Artefact(
        header=header,
        tables=(array("q", map(pack, *heads[:3])), array("q", map(pack, *heads[3:]))),
        figures=figures,
        limits=limits,
        lefts=lefts,
        rights=rights,
    )


def _whole(data: bytes) -> list[int]:
    values = array("H", data)
    if sys.byteorder == "big":
        values.byteswap()
    return list(values)


def _fractions(data: bytes) -> list[float]:
    values = array("f", data)
    if sys.byteorder == "big":
        values.byteswap()
    return list(values)


def _broken(why: str) -> ServerError:
    return ServerError(f"The router artefact cannot be used: {why}.", code="artefact_unusable")


def shipped() -> bytes:
    """The bytes of the artefact that comes with the program."""
    data = get_data("llm_router.routing.auto", f"data/{NAME}")
    assert data is not None, "the package's loader gives its data"
    return data
