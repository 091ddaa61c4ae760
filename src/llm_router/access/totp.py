"""Codes of a second factor that change with time: https://www.rfc-editor.org/rfc/rfc6238"""

from __future__ import annotations

import base64
import hashlib
import hmac
from urllib.parse import quote, urlencode

STEP_MS = 30_000
DIGITS = 6
DRIFT = 1
"""Steps that a clock may be off, either way."""

SECRET_BYTES = 20


def secret_text(secret: bytes) -> str:
    """A secret as authenticators take it."""
    return base64.b32encode(secret).decode().rstrip("=")


def secret_of(text: str) -> bytes:
    return base64.b32decode(text + "=" * (-len(text) % 8))


def code_at(secret: bytes, step: int) -> str:
    """The code of a step of time."""
    digest = hmac.new(secret, step.to_bytes(8, "big"), hashlib.sha1).digest()
    at = digest[-1] & 15
    number = int.from_bytes(digest[at : at + 4], "big") & 0x7FFFFFFF
    return f"{number % 10**DIGITS:0{DIGITS}}"


def step_of(secret: bytes, code: str, now_ms: int, last_step: int) -> int | None:
    """The step that a code is of, if it is one of now that comes after the last one used; else None."""
    now = now_ms // STEP_MS
    found = None
    for step in range(now - DRIFT, now + DRIFT + 1):
        if hmac.compare_digest(code_at(secret, step).encode(), code.encode()) and step > last_step:
            found = step
    return found


def provisioning_uri(secret: bytes, email: str, issuer: str) -> str:
    """What an authenticator's camera reads:
    https://github.com/google/google-authenticator/wiki/Key-Uri-Format"""
    query = urlencode({"secret": secret_text(secret), "issuer": issuer}, quote_via=quote)
    return f"otpauth://totp/{quote(f'{issuer}:{email}')}?{query}"
