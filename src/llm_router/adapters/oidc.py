"""An issuer of OpenID Connect: its addresses, its tokens, its keys.

https://openid.net/specs/openid-connect-core-1_0.html, https://openid.net/specs/openid-connect-discovery-1_0.html
"""

from __future__ import annotations

import base64
import json
from typing import Any

import aiohttp

from llm_router.adapters.jwt import verified_claims
from llm_router.domain.errors import SignInRefused
from llm_router.ports import Clock

TIMEOUT_S = 10.0
BYTES_MAX = 1024 * 1024
KEYS_MS = 3_600_000
"""How long an issuer's keys and addresses are believed."""


class HttpIssuer:
    """Implements the port Issuer."""

    def __init__(self, issuer: str, client_id: str, client_secret: str | None, clock: Clock) -> None:
        self._issuer = issuer
        self._client_id = client_id
        self._client_secret = client_secret
        self._clock = clock
        self._known: dict[str, Any] = {}
        self._keys: list[dict[str, Any]] = []
        self._read_ms = 0

    async def authorization_url(self) -> str:
        return str((await self._discovered())["authorization_endpoint"])

    async def claims(self, code: str, verifier: str, redirect_uri: str, nonce: str) -> dict[str, Any]:
        known = await self._discovered()
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": redirect_uri,
            "code_verifier": verifier,
            "client_id": self._client_id,
        }
        headers = {}
        if self._client_secret is not None:
            if "client_secret_post" in known.get("token_endpoint_auth_methods_supported", ()):
                form["client_secret"] = self._client_secret
            else:
                pair = base64.b64encode(f"{self._client_id}:{self._client_secret}".encode()).decode()
                headers["authorization"] = f"Basic {pair}"
        tokens = await self._ask(str(known["token_endpoint"]), form, headers)
        token = tokens.get("id_token")
        if not isinstance(token, str):
            raise _refused("it gave no id_token")
        try:
            return self._verified(token, nonce)
        except KeyError:  # a key that it made since
            self._read_ms = 0
            await self._discovered()
        try:
            return self._verified(token, nonce)
        except KeyError:
            raise _refused("its token is signed with no key that it shows") from None

    def _verified(self, token: str, nonce: str) -> dict[str, Any]:
        """
        Raises:
            KeyError: no key of the issuer's is named by the token.
            SignInRefused: the token is not right.
        """
        try:
            return verified_claims(
                token,
                self._keys,
                issuer=self._issuer,
                audience=self._client_id,
                nonce=nonce,
                now_s=self._clock.now_ms() // 1000,
            )
        except ValueError as error:
            raise _refused(f"its token is not right: {error}") from None

    async def _discovered(self) -> dict[str, Any]:
        now_ms = self._clock.now_ms()
        if now_ms - self._read_ms < KEYS_MS and self._known:
            return self._known
        found = await self._ask(f"{self._issuer.rstrip('/')}/.well-known/openid-configuration")
        if found.get("issuer") != self._issuer:
            raise _refused(f"it calls itself {str(found.get('issuer'))[:200]}")
        keys = (await self._ask(str(found.get("jwks_uri")))).get("keys")
        if not isinstance(keys, list) or not {"authorization_endpoint", "token_endpoint"} <= set(found):
            raise _refused("its description lacks something")
        self._known, self._keys, self._read_ms = found, [k for k in keys if isinstance(k, dict)], now_ms
        return found

    async def _ask(
        self, url: str, form: dict[str, str] | None = None, headers: dict[str, str] | None = None
    ) -> dict[str, Any]:
        timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout) as session,
                session.request(
                    "GET" if form is None else "POST", url, data=form, headers=headers, allow_redirects=False
                ) as reply,
            ):
                data = await reply.content.read(BYTES_MAX)
                if reply.status != 200:
                    raise _refused(f"it answered with status {reply.status}")
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise _refused(f"it does not answer ({type(error).__name__})") from None
        try:
            found = json.loads(data)
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict):
            raise _refused("it answered with no JSON object")
        return found


def _refused(why: str) -> SignInRefused:
    return SignInRefused(f"Signing in at the issuer failed: {why}.", code="issuer_failed")
