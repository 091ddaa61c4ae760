"""How a provider's credential goes upstream: in a header, in the query, or as a signature."""

from __future__ import annotations

from urllib.parse import quote

import msgspec

from llm_router.domain.errors import ProviderNotConfigured
from llm_router.domain.model import Provider
from llm_router.ports import Tokens, UpstreamRequest
from llm_router.wire import sigv4


async def credential_of(provider: Provider, secret: str | None, tokens: Tokens | None) -> str | None:
    """What is sent of a configured secret: itself, or the token that is made of it.

    Raises:
        ProviderNotConfigured: nobody here makes tokens.
        UpstreamError: there is no token to be had.
    """
    if provider.auth != "google" or secret is None:
        return secret
    if tokens is None:
        raise ProviderNotConfigured(
            f"{provider.name} needs tokens of Google, which this gateway does not make."
        )
    return await tokens.token(secret)


def addressed(url: str, provider: Provider, secret: str | None) -> str:
    """The URL with what the provider wants in its query: its own members, and the key if it goes there."""
    pairs = [(name, text) for name, text in provider.query.items()]
    if provider.auth == "query" and secret is not None:
        pairs.append((provider.auth_name or "key", secret))
    if not pairs:
        return url
    added = "&".join(f"{quote(name, safe='-_.~')}={quote(text, safe='-_.~')}" for name, text in pairs)
    return f"{url}{'&' if '?' in url else '?'}{added}"


def credential_headers(provider: Provider, secret: str | None) -> dict[str, str]:
    """The header that holds the credential, where it is sent by one."""
    if secret is None:
        return {}
    if provider.auth == "header":
        return {(provider.auth_name or "x-api-key").lower(): secret}
    if provider.auth in ("bearer", "google") or (
        provider.auth == "sigv4" and sigv4.parse_credentials(secret) is None
    ):
        return {"authorization": f"Bearer {secret}"}
    return {}


def sent_secret(provider: Provider, secret: str | None) -> str | None:
    """What of the credential goes upstream, and so may come back: of a key pair the session's token alone."""
    pair = sigv4.parse_credentials(secret) if provider.auth == "sigv4" and secret is not None else None
    return secret if pair is None else pair.session_token


def signed(request: UpstreamRequest, provider: Provider, secret: str | None, now_ms: int) -> UpstreamRequest:
    """The request with its signature, if the provider asks for one and the credential is a key pair.

    Raises:
        ProviderNotConfigured: nobody says for which region to sign.
    """
    if provider.auth != "sigv4" or secret is None:
        return request
    credentials = sigv4.parse_credentials(secret)
    if credentials is None:
        return request
    region = provider.auth_name or sigv4.region_of(request.url)
    if region is None:
        raise ProviderNotConfigured(
            f"The address of {provider.name} names no AWS region: set auth_name to one in the configuration."
        )
    own = {name: value for name, value in request.headers if name == "content-type"}
    added = sigv4.sign(
        request.method,
        request.url,
        own,
        request.body,
        credentials=credentials,
        region=region,
        service=sigv4.BEDROCK,
        amz_date=sigv4.amz_date_of(now_ms),
    )
    headers = {**dict(request.headers), **added}
    return msgspec.structs.replace(request, headers=tuple(headers.items()))
