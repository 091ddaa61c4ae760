"""Credentials of AWS: an access key with its secret, or a Bedrock API key, which is a bearer token."""

from __future__ import annotations

import re
from collections.abc import Mapping

from llm_router.domain.model import Provider
from llm_router.settings.secrets import Secret, SecretError, usable
from llm_router.wire.sigv4 import parse_credentials, region_of

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
            'is no key for auth = "sigv4": write ACCESS_KEY:SECRET, ACCESS_KEY:SECRET:SESSION_TOKEN or a '
            "Bedrock API key"
        )
    return secret


def lacks_region(provider: Provider, url: str, secret: Secret) -> bool:
    """Whether nobody says for which region to sign."""
    signs = provider.auth == "sigv4" and parse_credentials(secret.reveal()) is not None
    return signs and provider.auth_name is None and region_of(url) is None
