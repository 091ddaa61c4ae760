"""Sign a request for AWS: Signature Version 4. Pure: the time is an argument.

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from datetime import UTC, datetime
from urllib.parse import quote, unquote, urlsplit

import msgspec

from llm_router.domain import late

ALGORITHM = "AWS4-HMAC-SHA256"
BEDROCK = "bedrock"
"""The name under which requests to ``bedrock-runtime`` hosts are signed."""

ACCESS_KEY_CHARS_MIN = 16
ACCESS_KEY_CHARS_MAX = 128
"""https://docs.aws.amazon.com/IAM/latest/APIReference/API_AccessKey.html"""

_ACCESS_KEY = late.compile(rf"[A-Za-z0-9_]{{{ACCESS_KEY_CHARS_MIN},{ACCESS_KEY_CHARS_MAX}}}")
_SAFE = "-_.~"
_BLANKS = late.compile(r" +")
_REGION = late.compile(r"(?:^|\.)bedrock-runtime(?:-fips)?\.([a-z]{2,}(?:-[a-z0-9]+)+)\.")
_DEFAULT_PORTS = {"http": 80, "https": 443}


class AwsCredentials(msgspec.Struct, frozen=True, kw_only=True):
    """An access key, and the session's token where the key is a temporary one."""

    access_key: str
    secret_key: str
    session_token: str | None = None

    def __repr__(self) -> str:
        return "AwsCredentials(***)"


def parse_credentials(text: str) -> AwsCredentials | None:
    """Read ``ACCESS_KEY:SECRET`` or ``ACCESS_KEY:SECRET:SESSION_TOKEN``; None if it is no such text.

    No part holds a colon of its own; a Bedrock API key has none at all.
    """
    access_key, *rest = text.split(":")
    if not 1 <= len(rest) <= 2 or not _ACCESS_KEY.fullmatch(access_key) or not all(rest):
        return None
    return AwsCredentials(
        access_key=access_key, secret_key=rest[0], session_token=rest[1] if len(rest) == 2 else None
    )


def region_of(url: str) -> str | None:
    """The region that a Bedrock address names: ``https://bedrock-runtime.us-east-1.amazonaws.com``."""
    found = _REGION.search(urlsplit(url).hostname or "")
    return found[1] if found is not None else None


def amz_date_of(now_ms: int) -> str:
    """A moment (Unix milliseconds) as AWS writes it: ``20150830T123600Z``."""
    return datetime.fromtimestamp(now_ms // 1000, UTC).strftime("%Y%m%dT%H%M%SZ")


def sign(
    method: str,
    url: str,
    headers: Mapping[str, str],
    body: bytes,
    *,
    credentials: AwsCredentials,
    region: str,
    service: str,
    amz_date: str,
) -> dict[str, str]:
    """The headers that sign a request: ``x-amz-date``, ``authorization``, and the session's token.

    Args:
        url: percent-encoded as it will be sent, byte for byte.
        headers: those to be signed; they must be sent unchanged. ``host`` is added from the URL.
        amz_date: of :func:`amz_date_of`; AWS takes a signature for five minutes.
    """
    added = {"x-amz-date": amz_date}
    if credentials.session_token is not None:
        added["x-amz-security-token"] = credentials.session_token
    named = {"host": _host(url), **{name.lower(): value for name, value in headers.items()}, **added}
    signed = ";".join(sorted(named))
    canonical = canonical_request(method, url, named, hashlib.sha256(body).hexdigest())
    scope = f"{amz_date[:8]}/{region}/{service}/aws4_request"
    text = "\n".join((ALGORITHM, amz_date, scope, hashlib.sha256(canonical.encode()).hexdigest()))
    key = b"AWS4" + credentials.secret_key.encode()
    for step in scope.split("/"):
        key = hmac.digest(key, step.encode(), "sha256")
    signature = hmac.digest(key, text.encode(), "sha256").hex()
    added["authorization"] = (
        f"{ALGORITHM} Credential={credentials.access_key}/{scope}, SignedHeaders={signed}, Signature={signature}"
    )
    return added


def canonical_request(method: str, url: str, headers: Mapping[str, str], body_sha256: str) -> str:
    """The text whose digest is signed. Header names must be lower case."""
    parts = urlsplit(url)
    lines = (f"{name}:{_BLANKS.sub(' ', headers[name]).strip()}\n" for name in sorted(headers))
    return "\n".join(
        (
            method,
            _path(parts.path),
            _query(parts.query),
            "".join(lines),
            ";".join(sorted(headers)),
            body_sha256,
        )
    )


def _host(url: str) -> str:
    """The value of the ``host`` header: with its port only where that is not the scheme's own."""
    parts = urlsplit(url)
    host = (parts.hostname or "").removesuffix(".")
    host = f"[{host}]" if ":" in host else host
    return host if parts.port in (None, _DEFAULT_PORTS.get(parts.scheme)) else f"{host}:{parts.port}"


def _path(path: str) -> str:
    """The path without dot segments, encoded once more (by all services but S3): %3A becomes %253A."""
    kept: list[str] = []
    for segment in path.split("/"):
        if segment == "..":
            kept = kept[:-1]
        elif segment not in ("", "."):
            kept.append(segment)
    end = "/" if kept and path.endswith(("/", "/.", "/..")) else ""
    return quote("/" + "/".join(kept) + end, safe="/" + _SAFE)


def _query(query: str) -> str:
    pairs = []
    for piece in query.split("&") if query else []:
        name, _, value = piece.partition("=")
        pairs.append((quote(unquote(name), safe=_SAFE), quote(unquote(value), safe=_SAFE)))
    return "&".join(f"{name}={value}" for name, value in sorted(pairs))
