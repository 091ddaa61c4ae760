"""The port Keyring, the same for every store."""

from __future__ import annotations

import msgspec
import pytest
from store_cases import Open, make_key, openers, run

from llm_router.domain.key import Limits, key_digest


@pytest.fixture(params=["memory", "sqlite", "postgres", "remote"])
def open_store(request, tmp_path) -> Open:
    return openers(tmp_path)[request.param]


def with_store(open_store, scenario):
    async def main():
        store = await open_store()
        try:
            return await scenario(store)
        finally:
            await store.close()

    return run(main())


def test_find_returns_what_was_created(open_store):
    async def scenario(store):
        key, digest = make_key(
            1, models=("gpt-*",), limits=Limits(requests_per_minute=5), expires_ms=9, strict=True
        )
        await store.create(key, digest)
        assert await store.find(digest) == key
        assert await store.find(digest) == key  # and from the cache
        assert await store.find(key_digest(b"another")) is None

    with_store(open_store, scenario)


def test_ids_and_digests_are_unique(open_store):
    async def scenario(store):
        key, digest = make_key(1)
        await store.create(key, digest)
        with pytest.raises(ValueError, match="key"):
            await store.create(key, key_digest(b"other"))
        with pytest.raises(ValueError, match="key"):
            await store.create(make_key(2)[0], digest)
        assert await store.list() == [key]

    with_store(open_store, scenario)


def test_revocation_is_effective_at_once_and_dated_once(open_store):
    async def scenario(store):
        key, digest = make_key(1)
        await store.create(key, digest)
        assert (await store.find(digest)).revoked_ms is None
        revoked = msgspec.structs.replace(key, revoked_ms=77)
        assert await store.revoke(key.id, 77) == revoked
        assert await store.find(digest) == revoked
        assert await store.revoke(key.id, 99) == revoked
        assert await store.list() == [revoked]
        assert await store.revoke("key_none", 1) is None

    with_store(open_store, scenario)


def test_list_is_in_order_of_creation(open_store):
    async def scenario(store):
        for number in (3, 1, 2):
            await store.create(*make_key(number))
        assert [key.id for key in await store.list()] == ["key_1", "key_2", "key_3"]

    with_store(open_store, scenario)
