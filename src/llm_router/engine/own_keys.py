"""Customers' own keys at providers: stored sealed, used in place of the gateway's, never shown again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Protocol

import msgspec

from llm_router.billing.own_keys import NO_COST, OwnKeyFee, fee_price
from llm_router.domain.errors import InvalidRequest, NotFound
from llm_router.domain.model import Provider
from llm_router.domain.own_key import OwnKey, origin_of
from llm_router.engine.moments import iso_time
from llm_router.ports import Clock, Document, TreasuryBooks
from llm_router.routing.plan import Candidate, Plan, Rejection

KIND = "own_key"
ELSEWHERE = "the account's own key was set for another address"
SECRET_CHARS_MAX = 16_384
GOOGLE_TOKEN_URI = "https://oauth2.googleapis.com/token"  # noqa: S105 - an address
WRITE_TRIES = 5
NONE: Mapping[str, OwnKey] = MappingProxyType({})


class Seals(Protocol):
    """What nobody but this installation can open, bound to an account and a name."""

    def key(self, account: str, name: bytes) -> bytes: ...

    def seal(self, account: str, key: bytes, value: bytes) -> bytes: ...

    def open(self, account: str, key: bytes, sealed: bytes) -> bytes | None: ...


class OwnKeyVault:
    """Implements :class:`~llm_router.ports.OwnKeys`: opened keys in memory, sealed ones in the store."""

    def __init__(self, *, books: TreasuryBooks, clock: Clock, seals: Callable[[], Seals]) -> None:
        self._books = books
        self._clock = clock
        self._seals = seals
        self._known: dict[str, dict[str, OwnKey]] = {}
        self._stale = True
        self._loading = asyncio.Lock()

    def forget(self) -> None:
        """They may have changed elsewhere: the next request loads them."""
        self._stale = True

    async def load(self) -> None:
        """Open all keys. One that cannot be opened (the installation's secret is another) is left out."""
        async with self._loading:
            await self._load()

    async def _load(self) -> None:
        self._stale = False  # who forgets while this reads makes it be done again
        known: dict[str, dict[str, OwnKey]] = {}
        try:
            for document in await self._documents(None):
                key = self._opened(document)
                if key is not None:
                    known.setdefault(document.account, {})[key.provider] = key
        except BaseException:
            self._stale = True
            raise
        self._known = known

    async def of(self, account: str) -> Mapping[str, OwnKey]:
        """
        Raises:
            LedgerUnavailable: they were to be loaded anew, and could not be.
        """
        if self._stale:
            async with self._loading:
                if self._stale:
                    await self._load()
        return self._known.get(account, {})

    def now(self, account: str) -> Mapping[str, OwnKey] | None:
        """As :meth:`of`, at once; None where they are to be loaded anew."""
        return None if self._stale else self._known.get(account, NONE)

    async def set(self, account: str, provider: Provider, secret: str, *, fallback: bool) -> Document:
        """Keep a key, in place of an earlier one; it holds for the next request.

        Raises:
            InvalidRequest: it is no key for that provider, or the provider has no whole address.
        """
        key = OwnKey(
            provider=provider.id,
            secret=usable_secret(provider, secret),
            origins=origins_of(provider),
            fallback=fallback,
        )
        seals, name = self._seals(), _name(account, provider.id)
        sealed = seals.seal(account, seals.key(account, name.encode()), msgspec.json.encode(key))
        for _ in range(WRITE_TRIES):
            known = await self._books.document(KIND, name)
            document = Document(
                kind=KIND,
                id=name,
                account=account,
                version=1 if known is None else known.version + 1,
                open=False,
                created_ms=self._clock.now_ms(),
                body=sealed,
            )
            if await self._books.put_document(document):
                self._known.setdefault(account, {})[provider.id] = key
                return document
        raise InvalidRequest("the key is being changed by others; try again")

    async def remove(self, account: str, provider: str) -> None:
        """Delete a key.

        Raises:
            NotFound: there is none.
        """
        if not await self._books.remove_document(KIND, _name(account, provider)):
            raise NotFound(f"the account '{account}' has no key of its own at '{provider[:100]}'")
        self._known.get(account, {}).pop(provider, None)

    async def listed(self, account: str | None) -> list[dict[str, object]]:
        """What is there, without the keys."""
        shown: list[dict[str, object]] = []
        for document in await self._documents(account):
            key = self._opened(document)
            shown.append(
                {
                    "account": document.account,
                    "provider": document.id.rpartition("/")[2],
                    "origins": None if key is None else list(key.origins),
                    "fallback": None if key is None else key.fallback,
                    "readable": key is not None,
                    "set": iso_time(document.created_ms),
                }
            )
        return shown

    async def _documents(self, account: str | None) -> list[Document]:
        found: list[Document] = []
        after = ""
        while page := await self._books.documents(KIND, account=account, after=after):
            found += page
            after = page[-1].id
        return found

    def _opened(self, document: Document) -> OwnKey | None:
        seals = self._seals()
        name = seals.key(document.account, document.id.encode())
        value = seals.open(document.account, name, document.body)
        return None if value is None else msgspec.json.decode(value, type=OwnKey)


def with_own_keys(plan: Plan, own: Mapping[str, OwnKey], fee: OwnKeyFee, active: frozenset[str]) -> Plan:
    """The plan of an account that has keys of its own.

    Its own keys come first, each at the price that is left of the usual one. The gateway's keys follow
    only if every key of its own that serves the model allows that; a provider for which it has a key is
    never called with the gateway's otherwise. A key goes nowhere but where it was set for.
    """
    mine: list[Candidate] = []
    gateways: list[Candidate] = []
    astray: list[Rejection] = []
    strict = False
    for candidate in plan.candidates:
        key = own.get(candidate.provider.id)
        if key is not None:
            strict |= not key.fallback
            if origin_of(candidate.provider.base_url) in key.origins:
                mine.append(_owned(candidate, fee))
            else:
                astray.append(Rejection(deployment=candidate.deployment.id, reason=ELSEWHERE))
        if candidate.provider.id in active:
            gateways.append(candidate)
    if strict:
        gateways = []
    rejections = (*plan.rejections, *astray)
    return msgspec.structs.replace(plan, candidates=(*mine, *gateways), rejections=rejections)


def _owned(candidate: Candidate, fee: OwnKeyFee) -> Candidate:
    price = candidate.deployment.price
    assert price is not None, "unpriced ones are not in a plan"
    deployment = msgspec.structs.replace(
        candidate.deployment,
        price=fee_price(price, fee),
        cost=NO_COST,
        tools=dict.fromkeys(candidate.deployment.tools, NO_COST),
    )
    return msgspec.structs.replace(candidate, deployment=deployment, own_key=True)


def _name(account: str, provider: str) -> str:
    return f"{account}/{provider}"


def origins_of(provider: Provider) -> tuple[str, ...]:
    """Where a key of that provider may be sent.

    Raises:
        InvalidRequest: the provider has no whole address.
    """
    urls = [provider.base_url, *(way.base_url for way in provider.also if way.base_url is not None)]
    found = [origin_of(url) for url in urls]
    known = tuple(dict.fromkeys(origin for origin in found if origin is not None))
    if not known:
        raise InvalidRequest(
            f"the address of {provider.name} is not whole in this gateway's configuration", param="provider"
        )
    return known


def usable_secret(provider: Provider, text: str) -> str:
    """The secret as it is kept.

    Raises:
        InvalidRequest: it cannot be a key of that provider. The message holds no part of it.
    """
    secret = text.strip()
    if not 0 < len(secret) <= SECRET_CHARS_MAX:
        raise InvalidRequest("the key is empty or too long", param="secret")
    if provider.auth == "google":
        return _google(secret)
    if not (secret.isascii() and secret.isprintable()) or " " in secret:
        raise InvalidRequest(
            "the key holds blanks, line breaks or characters that no key has", param="secret"
        )
    return secret


def _google(secret: str) -> str:
    """Google credentials of a service account: other kinds would have this machine ask where they say."""
    try:
        members = msgspec.json.decode(secret, type=dict[str, str])
    except (ValueError, RecursionError):
        members = {}
    if members.get("type") != "service_account" or members.get("token_uri") != GOOGLE_TOKEN_URI:
        raise InvalidRequest(
            "the key must be the JSON of a Google service account, with Google's own token_uri",
            param="secret",
        )
    return secret
