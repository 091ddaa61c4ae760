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


def changed(key, **fields):
    return msgspec.structs.replace(key, version=key.version + 1, **fields)


def test_a_key_is_changed_from_the_version_that_was_read(open_store):
    async def scenario(store):
        key, digest = make_key(1)
        await store.create(key, digest)
        assert await store.find(digest) == key
        second = changed(key, name="second", disabled=True, scopes=("inference",), providers=("openai",))
        second = msgspec.convert(msgspec.to_builtins(second), type(key))
        assert await store.change(second)
        assert not await store.change(second)
        assert not await store.change(changed(changed(second)))
        assert not await store.change(changed(second, account="other"))
        assert not await store.change(changed(make_key(9)[0]))
        assert await store.get(key.id) == second
        assert await store.get("key_none") is None
        assert await store.find(digest) == second

    with_store(open_store, scenario)


def test_a_rotated_key_has_two_texts_for_a_time(open_store):
    async def scenario(store):
        key, digest = make_key(1, expires_ms=1000)
        await store.create(key, digest)
        assert await store.find(digest) == key
        second = changed(key, prefix="sk-lr-second", old_until_ms=500)
        assert await store.rotate(second, key_digest(b"second"))
        assert await store.find(key_digest(b"second")) == second
        assert await store.find(digest) == msgspec.structs.replace(second, expires_ms=500)
        third = changed(second, old_until_ms=5000)
        assert await store.rotate(third, key_digest(b"third"))
        assert await store.find(digest) is None
        assert await store.find(key_digest(b"second")) == msgspec.structs.replace(third, expires_ms=1000)
        assert await store.rotate(changed(third, old_until_ms=None), key_digest(b"fourth"))
        assert await store.find(key_digest(b"third")) is None
        assert not await store.rotate(third, key_digest(b"fifth"))
        assert await store.find(key_digest(b"fifth")) is None

    with_store(open_store, scenario)


def test_the_old_text_of_a_rotated_key_can_be_ended(open_store):
    async def scenario(store):
        key, digest = make_key(1)
        await store.create(key, digest)
        second = changed(key, old_until_ms=500)
        assert await store.rotate(second, key_digest(b"second"))
        assert await store.find(digest) is not None
        assert await store.change(changed(second, old_until_ms=None))
        assert await store.find(digest) is None
        assert await store.find(key_digest(b"second")) is not None

    with_store(open_store, scenario)


def test_revocation_takes_both_texts(open_store):
    async def scenario(store):
        key, digest = make_key(1)
        await store.create(key, digest)
        assert await store.rotate(changed(key, old_until_ms=500), key_digest(b"second"))
        assert (await store.find(digest)).revoked_ms is None
        assert (await store.find(key_digest(b"second"))).revoked_ms is None
        await store.revoke(key.id, 77)
        assert (await store.find(digest)).revoked_ms == 77
        assert (await store.find(key_digest(b"second"))).revoked_ms == 77
        assert await store.change(changed(changed(key), name="n"))
        assert (await store.get(key.id)).revoked_ms == 77

    with_store(open_store, scenario)


def test_the_text_of_another_key_is_no_text_to_rotate_to(open_store):
    async def scenario(store):
        await store.create(*make_key(1))
        key, digest = make_key(2)
        await store.create(key, digest)
        with pytest.raises(ValueError, match="key"):
            await store.rotate(changed(key, old_until_ms=5), make_key(1)[1])
        assert await store.find(digest) == key

    with_store(open_store, scenario)


def test_keys_of_an_account_come_by_pages(open_store):
    async def scenario(store):
        for number in (3, 1, 2):
            await store.create(*make_key(number))
        other = msgspec.structs.replace(make_key(4)[0], account="other")
        await store.create(other, make_key(4)[1])
        account = make_key(1)[0].account
        page = await store.of_account(account, "", 2)
        assert [key.id for key in page] == ["key_1", "key_2"]
        assert [key.id for key in await store.of_account(account, "key_2", 2)] == ["key_3"]
        assert list(await store.of_account(account, "key_4", 2)) == []
        assert [key.id for key in await store.of_account("other", "", 9)] == ["key_4"]

    with_store(open_store, scenario)


def test_some_keys_are_read_and_those_of_an_account_counted(open_store):
    async def scenario(store):
        assert list(await store.some(1)) == []
        assert await store.count("acme") == 0
        for number in (1, 2, 3):
            await store.create(*make_key(number))
        await store.revoke("key_2", 7)
        assert len(await store.some(2)) == 2
        assert {key.id for key in await store.some(9)} == {"key_1", "key_2", "key_3"}
        assert await store.count("acme") == 3
        assert await store.count("another") == 0

    with_store(open_store, scenario)
