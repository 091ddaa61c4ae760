"""How long a reply's body is, read from its head, and what of heads is refused.

llhttp, without leniency, already refuses bare LF and CR, folded lines, NUL, malformed or doubled
Content-Length, and Content-Length beside Transfer-Encoding. What it lets pass and we do not: other
transfer codings than ``chunked`` (it would read to the end of the connection), ``chunked`` from
HTTP/1.0, other protocol versions and status codes that HTTP does not have.

Source: https://www.rfc-editor.org/rfc/rfc9112#section-6
"""

from __future__ import annotations

import re

import msgspec

_KEEP_ALIVE = re.compile(r"\btimeout\s*=\s*\"?([0-9]{1,9})")


class Framing(msgspec.Struct, frozen=True):
    """Attributes:
    headers: lower-case names; several values of one name joined by ", ".
    length: of the body, if declared.
    bodiless: no body follows, whatever the headers say (HEAD, 204, 304).
    until_close: the body ends with the connection.
    keep_s: how long the server says it keeps the connection (Keep-Alive: timeout=).
    """

    headers: dict[str, str]
    length: int | None
    bodiless: bool
    until_close: bool
    keep_s: float | None


def read_framing(
    method: str, status: int, version: str, fields: list[tuple[bytes, bytes]], header_bytes_max: int
) -> Framing:
    """Judge a head.

    Raises:
        ValueError: it is not acceptable HTTP/1; the message says why.
    """
    if version not in ("1.1", "1.0"):
        raise ValueError(f"the reply speaks HTTP/{version}")
    if not 200 <= status <= 599:
        raise ValueError(f"the reply has the status {status}")
    headers = _join(fields, header_bytes_max)
    coding = headers.get("transfer-encoding")
    declared = headers.get("content-length")
    if coding is not None:
        _check_coding(coding, version, declared)
    bodiless = method == "HEAD" or status in (204, 304)
    keep = headers.get("keep-alive")
    return Framing(
        headers,
        None if declared is None else _length(declared),
        bodiless,
        not bodiless and coding is None and declared is None,
        None if keep is None else _keep_s(keep),
    )


def _join(fields: list[tuple[bytes, bytes]], header_bytes_max: int) -> dict[str, str]:
    """Decode all names, and all values, in one go: the parser lets no line feed into either."""
    if not fields:
        return {}
    raw_names, raw_values = zip(*fields, strict=True)
    names = b"\n".join(raw_names).decode("latin-1").lower()
    values = b"\n".join(raw_values).decode("latin-1")
    if len(names) + len(values) + 2 * len(fields) > header_bytes_max:
        raise ValueError(f"more than {header_bytes_max} bytes of headers")
    pairs = list(zip(names.split("\n"), [value.rstrip(" \t") for value in values.split("\n")], strict=True))
    headers = dict(pairs)
    return headers if len(headers) == len(pairs) else _merge(pairs)


def _merge(pairs: list[tuple[str, str]]) -> dict[str, str]:
    headers: dict[str, str] = {}
    for name, value in pairs:
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers


def _check_coding(coding: str, version: str, declared: str | None) -> None:
    if coding.lower() != "chunked":
        raise ValueError(f"the reply has the transfer-encoding {coding[:40]!r}; only chunked is taken")
    if version == "1.0":
        raise ValueError("the reply is HTTP/1.0 with a transfer-encoding")
    if declared is not None:
        raise ValueError("the reply has both content-length and transfer-encoding")


def _length(declared: str) -> int:
    if not (declared.isascii() and declared.isdigit() and len(declared) <= 18):
        raise ValueError("the reply's content-length is not a number")
    return int(declared)


def _keep_s(text: str) -> float | None:
    match = _KEEP_ALIVE.search(text.lower())
    return None if match is None else float(match[1])
