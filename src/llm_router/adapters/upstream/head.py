"""The head of a request as bytes."""

from __future__ import annotations

import re

from llm_router.adapters.upstream.faults import unavailable
from llm_router.adapters.upstream.url import HttpUrl

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_BODILESS = frozenset({"GET", "HEAD", "OPTIONS", "DELETE"})

OURS = frozenset({"host", "content-length", "transfer-encoding", "connection", "upgrade", "expect", "te"})
"""Headers that frame the message: the client writes them, nobody else."""

_FIELDS = re.compile(r"(?:[!#$%&'*+.^_`|~0-9A-Za-z-]+: [\t -~\x80-\xff]*\r\n)*")
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


def encode_head(
    method: str, url: HttpUrl, headers: tuple[tuple[str, str], ...], length: int, user_agent: str
) -> bytes:
    """The request line and all headers, up to and with the empty line; see :func:`encode_start`.

    Raises:
        UpstreamError: as there.
    """
    size = b"" if not length and method in _BODILESS else b"content-length: %d\r\n" % length
    return encode_start(method, url, headers, user_agent) + size + b"\r\n"


def encode_start(method: str, url: HttpUrl, headers: tuple[tuple[str, str], ...], user_agent: str) -> bytes:
    """The request line and all headers that do not depend on the body.

    ``accept-encoding: identity`` is sent unless the caller asks for something else: a compressed
    stream of small events gains little and arrives late.

    Raises:
        UpstreamError: UNAVAILABLE with ``sent`` False: a method, name or value that may not be sent.
            The message names the header, never its value.
    """
    fields = "".join([f"{name}: {value}\r\n" for name, value in headers])
    names = {name.lower() for name, _ in headers}
    agent = "" if "user-agent" in names else f"user-agent: {user_agent}\r\n"
    encoding = "" if "accept-encoding" in names else "accept-encoding: identity\r\n"
    text = f"{method} {url.target} HTTP/1.1\r\nhost: {url.authority}\r\n{fields}{agent}{encoding}"
    if (
        method not in METHODS
        or fields.count("\n") != len(headers)
        or not _FIELDS.fullmatch(fields)
        or not OURS.isdisjoint(names)
    ):
        raise unavailable(url.origin.label, f"not called: {_culprit(method, headers)}", sent=False)
    return text.encode("latin-1")


def _culprit(method: str, headers: tuple[tuple[str, str], ...]) -> str:
    if method not in METHODS:
        return "the request's method is not one of HTTP"
    for name, value in headers:
        if not _NAME.fullmatch(name):
            return f"the header name {name[:40]!r} is malformed"
        if name.lower() in OURS:
            return (
                f"the header {name!r} is written by the client itself: remove it from the provider's headers"
            )
        if not _FIELDS.fullmatch(f"{name}: {value}\r\n"):
            return (
                f"the value of the header {name!r} holds a line break, a control character or one beyond"
                " Latin-1: correct it in the provider's key or headers"
            )
    return "its headers are malformed"
