"""An issuer of OpenID Connect: its addresses, its tokens, its keys.

https://openid.net/specs/openid-connect-core-1_0.html, https://openid.net/specs/openid-connect-discovery-1_0.html
"""

from __future__ import annotations

import base64
import json
import socket
from collections.abc import Callable, Sequence
from ipaddress import ip_address
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from llm_router.adapters.jwt import signs, verified_claims
from llm_router.adapters.upstream.dns import system_resolve
from llm_router.adapters.upstream.guard import all_public
from llm_router.adapters.upstream.url import Origin, bracketed, parse_url
from llm_router.domain.errors import SignInRefused
from llm_router.ports import Clock, IssuerCheck

TIMEOUT_S = 10.0
BYTES_MAX = 1024 * 1024
KEYS_MS = 3_600_000
"""How long an issuer's keys and addresses are believed."""

ENDPOINTS = ("authorization_endpoint", "token_endpoint", "jwks_uri")
"""What the description of an issuer names that is used here."""


class _PublicAddresses(AbstractResolver):
    """Resolves to public addresses alone; ``hosts`` need not be."""

    def __init__(self, hosts: tuple[str, ...]) -> None:
        self._hosts = frozenset(hosts)

    def allows(self, host: str, port: int, addresses: Sequence[str]) -> bool:
        named = f"{bracketed(host)}:{port}" in self._hosts or (port in (80, 443) and host in self._hosts)
        return named or all_public(addresses)

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        addresses = await system_resolve(host, port)
        if not self.allows(host, port, addresses):
            raise _NotPublic
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=socket.IPPROTO_TCP,
                flags=socket.AI_NUMERICHOST,
            )
            for address in addresses
        ]

    async def close(self) -> None:
        pass


class _NotPublic(Exception):
    """Whoever set the issuer may not lead us there."""


class _NotSecure(Exception):
    """Codes, secrets and keys do not go there in clear."""


class HttpIssuer:
    """Implements the port Issuer. ``hosts``: those that need not be public, where not the configuration but somebody
    by the API named the issuer; None lets it be anywhere. ``plain``: hosts that need not be https; beside them none
    has to where the configuration names an issuer that is not."""

    def __init__(
        self,
        issuer: str,
        client_id: str,
        client_secret: str | None,
        clock: Clock,
        *,
        hosts: tuple[str, ...] | None = None,
        plain: tuple[str, ...] = (),
    ) -> None:
        self._public = None if hosts is None else _PublicAddresses(hosts)
        self._plain = frozenset(plain if hosts is None else hosts)
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
        tokens = await self._ask(str(known["token_endpoint"]), form, self._authorize(known, form))
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

    def _authorize(self, known: dict[str, Any], form: dict[str, str]) -> dict[str, str]:
        """Headers that say who asks; or the form does, where the issuer takes it so."""
        if self._client_secret is None:
            return {}
        methods = known.get("token_endpoint_auth_methods_supported")
        if isinstance(methods, list) and "client_secret_post" in methods:
            form["client_secret"] = self._client_secret
            return {}
        pair = base64.b64encode(f"{self._client_id}:{self._client_secret}".encode()).decode()
        return {"authorization": f"Basic {pair}"}

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
        for problem in self.wrong_endpoints(found):
            raise _refused(problem)
        keys = (await self._ask(str(found["jwks_uri"]))).get("keys")
        if not isinstance(keys, list):
            raise _refused("it shows no keys")
        self._known, self._keys, self._read_ms = found, [k for k in keys if isinstance(k, dict)], now_ms
        return found

    async def _ask(
        self, url: str, form: dict[str, str] | None = None, headers: dict[str, str] | None = None
    ) -> dict[str, Any]:
        status, found = await self._asked(url, form, headers)
        if status != 200:
            raise _refused(f"it answered with status {status}")
        if found is None:
            raise _refused("it answered with no JSON object")
        return found

    async def _asked(
        self, url: str, form: dict[str, str] | None, headers: dict[str, str] | None
    ) -> tuple[int, dict[str, Any] | None]:
        """Status and JSON object of an answer; None: it was none.

        Raises:
            SignInRefused: there was no answer.
        """
        timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
        try:
            self._check_address(url)
            connector = None if self._public is None else aiohttp.TCPConnector(resolver=self._public)
            async with (
                aiohttp.ClientSession(timeout=timeout, connector=connector) as session,
                session.request(
                    "GET" if form is None else "POST", url, data=form, headers=headers, allow_redirects=False
                ) as reply,
            ):
                data, status = await _whole(reply), reply.status
        except _NotPublic:
            raise _refused(
                "its host is not a public address; name it in [oidc] allow_hosts of the configuration if that is meant"
            ) from None
        except _NotSecure:
            raise _refused(f"{url[:200]} {_PLAIN}") from None
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            raise _refused(f"it does not answer ({type(error).__name__})") from None
        try:
            found = json.loads(data)
        except (ValueError, RecursionError):
            found = None
        return status, found if isinstance(found, dict) else None

    def _check_address(self, url: str) -> None:
        """Refuse an address in clear. Those that are written out are resolved by nobody, and judged here.

        Raises:
            _NotSecure, _NotPublic
            ValueError: it is no address that can be asked.
        """
        origin = parse_url(url).origin
        if not origin.secure and not self._may_be_plain(origin):
            raise _NotSecure
        if self._public is None:
            return
        try:
            ip_address(origin.host)
        except ValueError:
            return
        if not self._public.allows(origin.host, origin.port, (origin.host,)):
            raise _NotPublic

    def _may_be_plain(self, origin: Origin) -> bool:
        if {origin.label, origin.host} & self._plain:
            return True
        return self._public is None and not parse_url(self._issuer).origin.secure

    def wrong_endpoints(self, found: dict[str, Any]) -> list[str]:
        """What is wrong with the addresses that a description names."""
        lacking = [name for name in ENDPOINTS if not isinstance(found.get(name), str)]
        problems = [f"its description lacks {', '.join(lacking)}"] if lacking else []
        for name in ENDPOINTS:
            if name in lacking:
                continue
            try:
                self._check_address(found[name])
            except _NotSecure:
                problems.append(f"its {name} {_PLAIN}")
            except _NotPublic:
                problems.append(f"its {name} is not at a public address")
            except ValueError as error:
                problems.append(f"its {name} cannot be used: {error}")
        return problems

    async def examine(self, scopes: str) -> list[IssuerCheck]:
        """Whether one could sign in there, as far as the issuer tells. What the others need ends it."""
        checks: list[IssuerCheck] = []
        try:
            found = await self._ask(place := f"{self._issuer.rstrip('/')}/.well-known/openid-configuration")
        except SignInRefused as error:
            return [_check("description", None, f"it cannot be read: {_why(error)}")]
        checks.append(_check("description", place))
        checks += _described(found, self._issuer, scopes, self.wrong_endpoints(found))
        try:
            keys = (await self._ask(str(found.get("jwks_uri")))).get("keys")
        except SignInRefused as error:
            checks.append(_check("keys", None, f"its keys cannot be read: {_why(error)}"))
        else:
            checks.append(_check_keys(keys))
        if self._client_id and isinstance(found.get("token_endpoint"), str):
            checks.append(await self._check_client(found))
        return checks

    async def _check_client(self, found: dict[str, Any]) -> IssuerCheck:
        """Whether it knows the client: asked for a code that there is not, it minds the code, or the client."""
        form = {
            "grant_type": "authorization_code", "code": "none", "redirect_uri": "https://example.com/",
            "code_verifier": "none-none-none-none-none-none-none-none-none", "client_id": self._client_id,
        }  # fmt: skip
        try:
            status, told = await self._asked(str(found["token_endpoint"]), form, self._authorize(found, form))
        except SignInRefused as error:
            return _check("client", None, f"its token_endpoint cannot be asked: {_why(error)}")
        said = str((told or {}).get("error", f"status {status}"))[:100]
        if said in ("invalid_client", "unauthorized_client") or status == 401:
            return _check("client", said, "it does not know this client_id, or not with this client_secret")
        return _check("client", f"asked for a code that there is not, it says {said}")


_PLAIN = "is not https://; name its host in [oidc] allow_hosts of the configuration if that is meant"


def _refused(why: str) -> SignInRefused:
    return SignInRefused(f"Signing in at the issuer failed: {why}.", code="issuer_failed")


async def _whole(reply: aiohttp.ClientResponse) -> bytes:
    """The body, as far as it may be long."""
    parts, size = [], 0
    async for part in reply.content.iter_any():
        parts.append(part)
        size += len(part)
        if size > BYTES_MAX:
            break
    return b"".join(parts)


def _why(error: SignInRefused) -> str:
    return error.message.removeprefix("Signing in at the issuer failed: ").removesuffix(".")


def _check(name: str, found: object, problem: str | None = None) -> IssuerCheck:
    shown = None if found is None else str(found)[:500]
    return IssuerCheck(check=name, ok=problem is None, found=shown, problem=problem)


def _described(found: dict[str, Any], issuer: str, scopes: str, wrong: list[str]) -> list[IssuerCheck]:
    """What the description of an issuer comes to
    (https://openid.net/specs/openid-connect-discovery-1_0.html#ProviderMetadata)."""
    named = found.get("issuer")
    problem = None if named == issuer else f"it calls itself {str(named)[:200]}: write it exactly so"
    checks = [_check("issuer", named, problem)]
    problem = "; ".join(wrong) or None
    checks.append(_check("endpoints", found.get("authorization_endpoint"), problem))
    checks.append(_of_list(found, "signing", "id_token_signing_alg_values_supported", signs,
        "it signs tokens by nothing that is taken here: RS, PS and ES of 256 to 512 bits, and EdDSA are"))  # fmt: skip
    checks.append(_of_list(found, "pkce", "code_challenge_methods_supported", "S256".__eq__,
        "it does not take PKCE with S256, which is always used"))  # fmt: skip
    offered = found.get("scopes_supported")
    missing = [each for each in scopes.split() if isinstance(offered, list) and each not in offered]
    problem = f"it does not name {', '.join(missing)} among its scopes" if missing else None
    checks.append(_check("scopes", scopes, problem))
    return checks


def _of_list(
    found: dict[str, Any], check: str, member: str, fits: Callable[[Any], bool], wrong: str
) -> IssuerCheck:
    """Whether any of a list in the description fits; one that is not there says nothing."""
    offered = found.get(member)
    if not isinstance(offered, list):
        return _check(check, "not told")
    return _check(check, ", ".join(map(str, offered)), None if any(map(fits, offered)) else wrong)


def _check_keys(keys: object) -> IssuerCheck:
    usable = (
        [k for k in keys if isinstance(k, dict) and k.get("use", "sig") == "sig"]
        if isinstance(keys, list)
        else []
    )
    kinds = ", ".join(sorted({str(key.get("kty")) for key in usable}))
    known = any(key.get("kty") in ("RSA", "EC", "OKP") for key in usable)
    problem = None if known else "it shows no public key that signs (RSA, EC or OKP)"
    return _check("keys", f"{len(usable)} ({kinds})" if usable else "none", problem)
