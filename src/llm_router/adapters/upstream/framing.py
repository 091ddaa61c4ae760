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


Fields = list[tuple[bytes, bytes]]


class Framing(msgspec.Struct, eq=False):
    """What a head says of its body.

    Attributes:
        length: of the body, if declared.
        coding: the content-encoding.
        bodiless: no body follows, whatever the headers say (HEAD, 204, 304).
        until_close: the body ends with the connection.
        keep_s: how long the server says it keeps the connection (Keep-Alive: timeout=).
    """

    _fields: Fields | bytes  # or their lines
    length: int | None
    coding: str = "identity"
    bodiless: bool = False
    until_close: bool = False
    keep_s: float | None = None
    _headers: dict[str, str] | None = None

    @property
    def headers(self) -> dict[str, str]:
        """Lower-case names; several values of one name joined by ", ". Made when somebody asks: of most replies
        nobody does."""
        if self._headers is None:
            fields = self._fields
            self._headers = _join(_split(fields) if isinstance(fields, bytes) else fields)
        return self._headers


def read_framing(method: str, status: int, version: str, fields: Fields, header_bytes_max: int) -> Framing:
    """Judge a head. The fields are not to be changed afterwards.

    Raises:
        ValueError: it is not acceptable HTTP/1; the message says why.
    """
    if version != "1.1" and version != "1.0":
        raise ValueError(f"the reply speaks HTTP/{version}")
    if not 200 <= status <= 599:
        raise ValueError(f"the reply has the status {status}")
    found = {name.lower(): value for name, value in fields}
    if len(found) != len(fields):
        found = _merge(fields)
    if sum(map(len, found)) + sum(map(len, found.values())) + 4 * len(fields) > header_bytes_max:
        raise ValueError(f"more than {header_bytes_max} bytes of headers")
    coding, declared = found.get(b"transfer-encoding"), found.get(b"content-length")
    if coding is not None:
        _check_coding(coding.decode("latin-1").rstrip(" \t"), version, declared)
    bodiless = status == 204 or status == 304 or method == "HEAD"
    keep, packed = found.get(b"keep-alive"), found.get(b"content-encoding")
    return Framing(
        fields,
        length=None if declared is None else _length(declared),
        coding="identity" if packed is None else packed.decode("latin-1").strip().lower(),
        bodiless=bodiless,
        until_close=not bodiless and coding is None and declared is None,
        keep_s=None if keep is None else _keep_s(keep.decode("latin-1")),
    )


_PLAIN_HEAD = re.compile(
    rb"HTTP/1\.1 200 [A-Za-z ]*+\r\n((?:[!#$%&'*+.^_`|~0-9A-Za-z-]++: [ -~]*+\r\n)++)\r\n"
)
_LENGTH = b"\ncontent-length: "
_KEPT = b"\r\nconnection: keep-alive\r\n"


def plain_reply(data: bytes, header_bytes_max: int) -> tuple[Framing, bytes] | None:
    """The head and body of a reply that is all of this data, if there is nothing to judge: success, a head of the usual
    characters, a body of the declared length as it is, and a connection that stays. Then this is what the parser
    would have found. None of any other, and of all that it would refuse."""
    found = _PLAIN_HEAD.match(data, 0, header_bytes_max)
    if found is None:
        return None
    head = found[0].lower()
    at = head.find(_LENGTH)
    digits = head[at + len(_LENGTH) : head.find(b"\r", at + 1)]
    if at < 0 or not digits.isdigit() or len(digits) > 18 or head.count(_LENGTH[:-1]) != 1:
        return None
    if head.count(b"connection:") != head.count(_KEPT) or b"\nkeep-alive:" in head or b"-encoding:" in head:
        return None
    if b"\nupgrade:" in head or b"\ntrailer:" in head:
        return None
    body, length = data[len(head) :], int(digits)
    return (Framing(found[1], length=length), body) if len(body) == length > 0 else None


_CHUNK_SIZE = re.compile(rb"([0-9a-fA-F]{1,7})\r\n")


def plain_chunks(data: bytes) -> bytes:
    """What is in these bytes, if they are nothing but whole chunks without extensions, and not the last one; b"" for
    anything else. To be asked between two chunks only."""
    size, at = len(data), 0
    bodies: list[bytes] = []  # they may be very many
    while found := _CHUNK_SIZE.match(data, at):
        begin = found.end()
        at = begin + int(found[1], 16)
        if at == begin or not data.startswith(b"\r\n", at):
            return b""
        bodies.append(data[begin:at])
        at += 2
        if at == size:
            return b"".join(bodies)
    return b""


class PlainHead(msgspec.Struct, frozen=True):
    """A head that :func:`plain_reply` has read, as bytes around the digits of its length: the next one on the same
    connection may be the same.

    Attributes:
        at: how long the former is, where the digits begin; rest: how long the latter is.
        lines_at: where the lines begin.
    """

    before: bytes
    after: bytes
    at: int
    rest: int
    lines_at: int

    @classmethod
    def of(cls, head: bytes) -> PlainHead:
        """What a plain head looks like. ``head``: with the line that ends it."""
        at = head.lower().find(_LENGTH) + len(_LENGTH)
        end = head.find(b"\r", at)
        return cls(head[:at], head[end:], at, len(head) - end, head.find(b"\n") + 1)

    def again(self, data: bytes) -> tuple[Framing, bytes] | None:
        """What :func:`plain_reply` says of data that begins with the same head; None if it does not."""
        if not data.startswith(self.before):
            return None
        at = self.at
        end = data.find(b"\r", at, at + 18)
        digits = data[at:end]
        if end < 0 or not digits.isdigit() or not data.startswith(self.after, end):
            return None
        begin, length = end + self.rest, int(digits)
        if len(data) - begin != length or not length:
            return None
        return Framing(data[self.lines_at : begin - 2], length=length), data[begin:]


def _split(block: bytes) -> Fields:
    """The fields of lines that were found to be plain."""
    pairs = (line.split(b": ", 1) for line in block.split(b"\r\n")[:-1])
    return [(name, value.lstrip(b" ")) for name, value in pairs]


def _join(fields: Fields) -> dict[str, str]:
    """Decode all names, and all values, in one go: the parser lets no line feed into either."""
    if not fields:
        return {}
    raw_names, raw_values = zip(*fields, strict=True)
    names = b"\n".join(raw_names).decode("latin-1").lower().split("\n")
    values = [value.rstrip(" \t") for value in b"\n".join(raw_values).decode("latin-1").split("\n")]
    headers = dict(zip(names, values, strict=True))
    if len(headers) == len(names):
        return headers
    merged = _merge(fields)
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in merged.items()}


def _merge(fields: Fields) -> dict[bytes, bytes]:
    found: dict[bytes, bytes] = {}
    for name, value in ((name.lower(), value.rstrip(b" \t")) for name, value in fields):
        found[name] = b"%b, %b" % (found[name], value) if name in found else value
    return found


def _check_coding(coding: str, version: str, declared: bytes | None) -> None:
    if coding.lower() != "chunked":
        raise ValueError(f"the reply has the transfer-encoding {coding[:40]!r}; only chunked is taken")
    if version == "1.0":
        raise ValueError("the reply is HTTP/1.0 with a transfer-encoding")
    if declared is not None:
        raise ValueError("the reply has both content-length and transfer-encoding")


def _length(declared: bytes) -> int:
    declared = declared.rstrip(b" \t")
    if not (declared.isdigit() and len(declared) <= 18):
        raise ValueError("the reply's content-length is not a number")
    return int(declared)


def _keep_s(text: str) -> float | None:
    match = _KEEP_ALIVE.search(text.lower())
    return None if match is None else float(match[1])
