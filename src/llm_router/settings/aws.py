"""Credentials of AWS: an access key with its secret, or a Bedrock API key, which is a bearer token."""

from __future__ import annotations

import re
from collections.abc import Mapping

from llm_router.domain.model import Provider
from llm_router.settings.secrets import Secret, SecretError, usable
from llm_router.wire.sigv4 import ACCESS_KEY_CHARS_MAX, ACCESS_KEY_CHARS_MIN, parse_credentials, region_of

PAIR = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
_SESSION = "AWS_SESSION_TOKEN"
_ACCESS_KEY = re.compile(r"A[A-Z]IA[A-Z0-9]{12,}")


def environment_key(environ: Mapping[str, str]) -> Secret | None:
    """The access key of the usual variables as ``ACCESS_KEY:SECRET[:SESSION_TOKEN]``; None without one.

    Raises:
        SecretError: a variable holds no credential.
    """
    values = [environ.get(name, "").strip() for name in PAIR]
    if not all(values):
        return None
    session = environ.get(_SESSION, "").strip()
    return aws_key(usable(":".join([*values, session] if session else values), " or ".join(PAIR)))


def aws_key(secret: Secret) -> Secret:
    """The key, if it is one for AWS.

    Raises:
        SecretError: it is half an access key. The message holds no part of it.
    """
    text = secret.reveal()
    if (":" in text or _ACCESS_KEY.fullmatch(text)) and parse_credentials(text) is None:
        raise SecretError(
            f'is no key for auth = "sigv4": {_wrong(text.split(":"))}; write ACCESS_KEY:SECRET, '
            "ACCESS_KEY:SECRET:SESSION_TOKEN or a Bedrock API key"
        )
    return secret


def _wrong(parts: list[str]) -> str:
    """What is wrong with the parts between the colons, in words that hold none of them."""
    access_key, *rest = parts
    if not rest:
        return "the secret behind the access key is missing"
    if len(rest) > 2:
        return f"it has {len(parts)} parts between colons, which are two or three"
    if not all(rest):
        return f"its {'secret' if not rest[0] else 'session token'} is empty"
    length = len(access_key)
    if not ACCESS_KEY_CHARS_MIN <= length <= ACCESS_KEY_CHARS_MAX:
        return (
            f"its access key has {length} character{'' if length == 1 else 's'}, and one of AWS "
            f"{ACCESS_KEY_CHARS_MIN} or more (20 as a rule, beginning with AKIA or ASIA)"
        )
    return "its access key holds other characters than letters, digits and _"


def lacks_region(provider: Provider, url: str, secret: Secret) -> bool:
    """Whether nobody says for which region to sign."""
    signs = provider.auth == "sigv4" and parse_credentials(secret.reveal()) is not None
    return signs and provider.auth_name is None and region_of(url) is None
