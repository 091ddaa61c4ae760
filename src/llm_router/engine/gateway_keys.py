"""The gateway's own keys at providers, as the operator gives them while it runs: sealed, never shown again."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec

from llm_router.domain.errors import InvalidRequest, NotFound
from llm_router.domain.model import Provider
from llm_router.engine.operator import Arguments, Context, Result
from llm_router.engine.own_keys import Seals, origins_of, usable_secret
from llm_router.ports import Clock, Document, TreasuryBooks

KIND = "gateway_key"
WRITE_TRIES = 5
MARK_CHARS = 4
"""How much of the end of a key is shown, so that it is known again; of a short one nothing is."""

TAKEN = ("bearer", "header", "query")
"""How a key has to be sent for it to be kept here: other credentials are more than a key."""


class StoredKey(msgspec.Struct, frozen=True, kw_only=True):
    """A key as it is sealed."""

    provider: str
    secret: str


class GatewayKeys:
    """Those in the store. ``known``: their texts by provider, as they were last read."""

    def __init__(self, books: TreasuryBooks, clock: Clock, seals: Callable[[], Seals]) -> None:
        self.known: Mapping[str, str] = {}
        self.marks: Mapping[str, str] = {}
        self._books = books
        self._clock = clock
        self._seals = seals

    async def load(self) -> None:
        """Open all keys. One that cannot be opened (the installation's secret is another) is left out."""
        found = await self._books.documents(KIND)
        opened = [key for document in found if (key := self._opened(document)) is not None]
        self.known = {key.provider: key.secret for key in opened}
        self.marks = {key.provider: _mark(key.secret) for key in opened}

    async def set(self, provider: Provider, text: str) -> None:
        """Keep a key, in place of an earlier one.

        Raises:
            InvalidRequest: it is no key for that provider.
        """
        if provider.auth not in TAKEN:
            raise InvalidRequest(
                f"{provider.name} is not called with a plain key: name its credentials in the configuration",
                param="provider",
            )
        origins_of(provider)  # nothing can be sent to an address that is not whole
        key = StoredKey(provider=provider.id, secret=usable_secret(provider, text))
        seals = self._seals()
        sealed = seals.seal("", seals.key("", provider.id.encode()), msgspec.json.encode(key))
        for _ in range(WRITE_TRIES):
            before = await self._books.document(KIND, provider.id)
            document = Document(
                kind=KIND,
                id=provider.id,
                account="",
                version=1 if before is None else before.version + 1,
                open=False,
                created_ms=self._clock.now_ms(),
                body=sealed,
            )
            if await self._books.put_document(document):
                return
        raise InvalidRequest("the key is being changed by others; try again")

    async def remove(self, provider: str) -> None:
        """Delete a key.

        Raises:
            NotFound: there is none.
        """
        if not await self._books.remove_document(KIND, provider):
            raise NotFound(f"the gateway keeps no key for '{provider[:100]}'")

    def _opened(self, document: Document) -> StoredKey | None:
        seals = self._seals()
        value = seals.open("", seals.key("", document.id.encode()), document.body)
        return None if value is None else msgspec.json.decode(value, type=StoredKey)


def _mark(secret: str) -> str:
    return f"...{secret[-MARK_CHARS:]}" if len(secret) >= 4 * MARK_CHARS else "..."


class ListProviders(Arguments, frozen=True, kw_only=True):
    """``providers.list``. ``every``: those that cannot be called too."""

    every: bool = False


class SetProviderKey(Arguments, frozen=True, kw_only=True):
    """``providers.set_key``."""

    provider: str
    secret: str

    def __repr__(self) -> str:
        return f"SetProviderKey(provider={self.provider!r}, ***)"


class RemoveProviderKey(Arguments, frozen=True, kw_only=True):
    """``providers.remove_key``."""

    provider: str


async def list_providers(arguments: ListProviders, context: Context) -> Result:
    """The providers, whether they can be called, and where their key comes from; never the key."""
    snapshot, active = context.snapshot(), set(context.active())
    marks = {} if context.gateway_keys is None else context.gateway_keys.marks
    counts: dict[str, int] = {}
    for model in snapshot.models.values():
        for id_ in {deployment.provider for deployment in model.deployments}:
            counts[id_] = counts.get(id_, 0) + 1
    shown = [
        {
            "id": provider.id,
            "name": provider.name,
            "active": provider.id in active,
            "key_required": provider.key_required,
            "key": "stored" if provider.id in marks else "configured" if provider.id in active else None,
            "key_mark": marks.get(provider.id),
            "takes_key": provider.auth in TAKEN,
            "env": list(provider.env),
            "dialect": provider.dialect,
            "base_url": provider.base_url,
            "models": counts.get(provider.id, 0),
        }
        for provider in snapshot.providers.values()
        if arguments.every or provider.id in active or provider.id in marks
    ]
    return {"providers": sorted(shown, key=lambda row: (not row["active"], str(row["name"]).lower()))}


async def set_provider_key(arguments: SetProviderKey, context: Context) -> Result:
    """Keep a key of the gateway at a provider; the next request is called with it.

    Raises:
        NotFound: there is no such provider.
        InvalidRequest: it is no key for it.
    """
    provider = context.snapshot().providers.get(arguments.provider)
    if provider is None:
        raise NotFound(f"there is no provider '{arguments.provider[:100]}'", param="provider")
    await _keys(context).set(provider, arguments.secret)
    await _changed(context)
    return {"provider": provider.id, "set": True, "active": provider.id in set(context.active())}


async def remove_provider_key(arguments: RemoveProviderKey, context: Context) -> Result:
    """Delete a key; what file and environment say of the provider holds again.

    Raises:
        NotFound: there is none.
    """
    await _keys(context).remove(arguments.provider)
    await _changed(context)
    return {
        "provider": arguments.provider,
        "removed": True,
        "active": arguments.provider in set(context.active()),
    }


def _keys(context: Context) -> GatewayKeys:
    if context.gateway_keys is None:
        raise InvalidRequest("this gateway's store keeps no keys of providers", code="not_supported")
    return context.gateway_keys


async def _changed(context: Context) -> None:
    await _keys(context).load()
    if context.rekey is not None:
        await context.rekey()
