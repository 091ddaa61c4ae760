"""Vectors as they travel, exactly: JSON numbers, or base64 of little-endian float32.

A float32 is written as the JSON number of the same value, and read from base64 bit by bit. Providers
put other things into base64 too: float64 (vLLM before 0.7, for models whose tensors were float64)
and int8 (Perplexity, https://docs.perplexity.ai/docs/embeddings). Nothing in the reply says so, but the
bytes do: read as the wrong type they are absurd.
"""

from __future__ import annotations

import binascii
import struct
from collections.abc import Sequence

import msgspec

from llm_router.wire.embeddings.canonical import malformed

MAGNITUDE_MAX = 1e6
"""No embedding has larger components; bytes read as the wrong type soon have."""

MAGNITUDE_MIN = 1e-20
TINY_SHARE_MAX = 0.1
"""Real vectors have a few components smaller than that (all-MiniLM: two of 384); wrong types many."""

SAMPLE_BYTES = 4096
"""Of packed bytes, how many are looked at to tell the type of their numbers."""

Vector = tuple[float, ...]

_OF_NUMBERS = b"0123456789+-.eE, \t\r\n"
_FLOATS = msgspec.json.Decoder(list[float])


def read_vector(raw: msgspec.Raw | bytes, dimensions: int | None) -> Vector:
    """One vector in either form.

    Args:
        dimensions: what the client asked for, if it did: it tells the type of base64 bytes.

    Raises:
        UpstreamError: MALFORMED: it is neither, or holds what no vector can.
    """
    text = bytes(raw).strip()
    if text[:1] == b'"':
        return _from_base64(msgspec.json.decode(text, type=str), dimensions)
    try:
        return tuple(_FLOATS.decode(text))
    except msgspec.MsgspecError:
        raise malformed("a vector that is no list of numbers") from None


def check_numbers(raw: msgspec.Raw | bytes) -> None:
    """Check that valid JSON is a list of numbers, without decoding them.

    Raises:
        UpstreamError: MALFORMED.
    """
    text = bytes(raw).strip()
    if text[:1] != b"[" or text[1:-1].strip() == b"" or text[1:].translate(None, _OF_NUMBERS) != b"]":
        raise malformed("a vector that is no list of numbers")


def is_float32_base64(raw: msgspec.Raw | bytes, dimensions: int | None) -> bool:
    """Whether it is base64 of float32 already, so that its bytes may stay as they are."""
    text = bytes(raw).strip()
    if text[:1] != b'"':
        return False
    data = _bytes_of(msgspec.json.decode(text, type=str))
    return _kind(data, dimensions) == "f"


def to_base64(vector: Sequence[float]) -> str:
    """Base64 of little-endian float32; other numbers are rounded to the nearest float32.

    Raises:
        UpstreamError: MALFORMED: a number is beyond float32.
    """
    try:
        data = struct.pack(f"<{len(vector)}f", *vector)
    except (OverflowError, struct.error):
        raise malformed("a vector beyond the range of float32") from None
    return binascii.b2a_base64(data, newline=False).decode("ascii")


def _from_base64(text: str, dimensions: int | None) -> Vector:
    data = _bytes_of(text)
    kind = _kind(data, dimensions)
    if kind is None:
        raise malformed("a vector in base64 of an unknown type of number")
    return tuple(float(value) for value in _unpack(data, kind))


def _bytes_of(text: str) -> bytes:
    try:
        data = binascii.a2b_base64(text.encode("ascii"), strict_mode=True)
    except (binascii.Error, ValueError):
        raise malformed("a vector that is not base64") from None
    if not data:
        raise malformed("an empty vector")
    return data


_SIZES = {"f": 4, "d": 8, "b": 1}


def _unpack(data: bytes, kind: str) -> tuple[float, ...]:
    return struct.unpack(f"<{len(data) // _SIZES[kind]}{kind}", data)


def _kind(data: bytes, dimensions: int | None) -> str | None:
    """The type of the numbers: ``f`` (float32), ``d`` (float64) or ``b`` (int8)."""
    if dimensions is not None:
        for kind, size in _SIZES.items():
            if len(data) == dimensions * size:
                return kind
    for kind in ("f", "d"):
        if len(data) % _SIZES[kind] == 0 and _believable(_unpack(data[:SAMPLE_BYTES], kind), kind):
            return kind
    return "b" if dimensions is None else None


def _believable(values: tuple[float, ...], kind: str) -> bool:
    if not all(abs(value) <= MAGNITUDE_MAX for value in values):  # false for NaN too
        return False
    if sum(0 < abs(value) < MAGNITUDE_MIN for value in values) > TINY_SHARE_MAX * len(values):
        return False
    # The lower halves of float64 that were made of float16 or bfloat16 are all zero.
    halves = kind == "f" and len(values) > 2 and not any(values[::2]) and all(values[1::2])
    return not halves
