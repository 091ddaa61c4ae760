"""Limits in the stores: what is set is asked for with the next request, and survives."""

from __future__ import annotations

import msgspec
import pytest
from store_cases import Open, openers, run

from llm_router.domain.budget import Payer, Scope, Window
from llm_router.domain.limit import Limit, LimitKind

HOURLY = Limit(
    id="lim_1",
    account="acme",
    scope=Scope.TEAM,
    scope_id="red",
    kind=LimitKind.REQUESTS,
    amount=5,
    window=Window.HOUR,
    model="gpt-*",
    created_ms=1,
)
AT_ONCE = Limit(
    id="lim_2",
    account="acme",
    scope=Scope.ACCOUNT,
    scope_id="acme",
    kind=LimitKind.CONCURRENCY,
    amount=2,
    created_ms=2,
)
RED = Payer(account="acme", key="k", team="red")


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def open_store(request, tmp_path) -> Open:
    return openers(tmp_path)[request.param]


def test_limits_are_made_changed_and_removed(open_store) -> None:
    async def main():
        store = await open_store()
        try:
            assert await store.limits_of(RED) == ()
            await store.set_limit(AT_ONCE)
            await store.set_limit(HOURLY)
            assert await store.limits("acme") == [HOURLY, AT_ONCE]
            assert await store.limits_of(RED) == (AT_ONCE, HOURLY)
            assert await store.limits_of(Payer(account="acme", key="k")) == (AT_ONCE,)
            assert await store.limits_of(Payer(account="other", key="k", team="red")) == ()
            less = msgspec.structs.replace(HOURLY, amount=1)
            await store.set_limit(less)
            assert await store.limits_of(RED) == (AT_ONCE, less)
            with pytest.raises(ValueError, match="window"):
                await store.set_limit(msgspec.structs.replace(HOURLY, window=Window.WEEK))
            assert await store.remove_limit("lim_2") == AT_ONCE
            assert await store.remove_limit("lim_2") is None
            assert await store.limits("acme") == [less]
        finally:
            await store.close()

    run(main())


def test_limits_survive_the_process(tmp_path) -> None:
    open_store = openers(tmp_path)["sqlite"]

    async def main():
        store = await open_store()
        await store.set_limit(HOURLY)
        await store.set_limit(AT_ONCE)
        await store.remove_limit("lim_2")
        await store.close()
        store = await open_store()
        try:
            assert await store.limits_of(RED) == (HOURLY,)
        finally:
            await store.close()

    run(main())
