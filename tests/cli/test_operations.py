"""The operator's commands over a real store."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest

from llm_router.adapters.keymaker import new_id, new_key_text
from llm_router.adapters.memory.side_car import MemorySideCar
from llm_router.adapters.sealing import Sealer
from llm_router.adapters.sqlite.store import SqliteStore
from llm_router.domain.errors import InvalidRequest, ModelNotFound, NotFound, RouterError
from llm_router.domain.key import key_digest
from llm_router.domain.model import Capabilities, Deployment, Model
from llm_router.engine.keys import first_run
from llm_router.engine.moments import iso_time, parse_expiry
from llm_router.engine.operations import dispatch
from llm_router.engine.operator import Context

NOW_MS = 1_780_000_000_000  # 2026-05-28T20:26:40Z


class FixedClock:
    def now_ms(self) -> int:
        return NOW_MS

    def monotonic_us(self) -> int:
        return 0


class _Resolved(msgspec.Struct):
    model: Model
    via: str = "id"


class SmallSnapshot:
    """Two models, one of them with an alias."""

    def __init__(self) -> None:
        self.models = {id_: _model(id_) for id_ in ("gpt-5", "gpt-5-mini")}

    def resolve(self, name: str, *, active: object = None) -> _Resolved:
        id_ = {"gpt-5-2025-08-07": "gpt-5"}.get(name, name)
        if id_ not in self.models:
            raise ModelNotFound(f"Model '{name}' is not available. Nearest: gpt-5.")
        return _Resolved(self.models[id_])


def _model(id_: str) -> Model:
    deployment = Deployment(id=f"openai/{id_}", model=id_, provider="openai", upstream_model=id_, price=None)
    return Model(
        id=id_,
        name=id_,
        family="GPT",
        developer="OpenAI",
        capabilities=Capabilities(),
        deployments=(deployment,),
    )


Test = Callable[[Context, SqliteStore], Awaitable[None]]


def with_store(tmp_path: Path, test: Test, **changes: Any) -> None:
    """Run a test on a fresh store."""

    async def run() -> None:
        store = await SqliteStore.open(tmp_path / "books.db", clock=FixedClock())
        context = Context(
            keyring=store,
            books=store,
            clock=FixedClock(),
            snapshot=SmallSnapshot,  # type: ignore[arg-type]
            active=lambda: ("openai",),
            new_key_text=new_key_text,
            new_id=new_id,
            starting_pusd=5 * 10**12,
        )
        try:
            await test(msgspec.structs.replace(context, **changes), store)
        finally:
            await store.close()

    asyncio.run(run())


def test_a_key_works_by_its_digest_and_its_text_is_stored_nowhere(tmp_path: Path) -> None:
    texts: list[str] = []

    async def test(context: Context, store: SqliteStore) -> None:
        made = await dispatch("keys.create", {"name": " alice "}, context)
        text = made["key"]
        assert isinstance(text, str)
        assert re.fullmatch(r"sk-lr-[0-9A-Za-z]{43}", text)
        assert (made["name"], made["account"], made["created"]) == ("alice", "default", iso_time(NOW_MS))
        assert text.startswith(str(made["prefix"]))
        key = await store.find(key_digest(text.encode()))
        assert key is not None
        assert key.id == made["id"]
        listed = await dispatch("keys.list", {}, context)
        assert text not in repr(listed)
        texts.append(text)

    with_store(tmp_path, test)
    assert texts[0].encode() not in b"".join(path.read_bytes() for path in tmp_path.iterdir())


def test_the_first_key_brings_its_account_the_starting_credit_once(tmp_path: Path) -> None:
    async def test(context: Context, store: SqliteStore) -> None:
        await dispatch("keys.create", {"name": "a", "account": "team"}, context)
        await dispatch("keys.create", {"name": "b", "account": "other"}, context)
        assert store.available("team") == 5 * 10**12
        assert store.available("other") == 0
        assert await first_run(context) is None

    with_store(tmp_path, test)


def test_the_first_start_makes_account_credit_and_key(tmp_path: Path) -> None:
    async def test(context: Context, store: SqliteStore) -> None:
        first = await first_run(context)
        assert first is not None
        assert first.credits_remaining_pusd == store.available("default") == 5 * 10**12
        assert await store.find(key_digest(first.text.encode())) == first.key
        assert await first_run(context) is None
        await store.revoke(first.key.id, NOW_MS)
        assert await first_run(context) is None

    with_store(tmp_path, test)


def test_no_starting_credit_books_nothing(tmp_path: Path) -> None:
    async def test(context: Context, store: SqliteStore) -> None:
        first = await first_run(context)
        assert first is not None
        assert first.credits_remaining_pusd == 0

    with_store(tmp_path, test, starting_pusd=0)


def test_a_key_carries_its_rights(tmp_path: Path) -> None:
    async def test(context: Context, store: SqliteStore) -> None:
        asked = {
            "name": "a",
            "expires": "30d",
            "models": ["gpt-5-2025-08-07", "gpt-*", "gpt-5"],
            "requests_per_minute": 10,
            "tokens_per_minute": 20,
            "concurrency": 3,
            "usage_chunk": False,
            "strict": True,
        }
        made = await dispatch("keys.create", asked, context)
        (key,) = await store.list()
        assert key.models == ("gpt-5", "gpt-*")
        assert key.expires_ms == NOW_MS + 30 * 86_400_000
        assert msgspec.to_builtins(key.limits) == made["limits"]
        assert (key.limits.requests_per_minute, key.limits.tokens_per_minute, key.limits.concurrency) == (
            10,
            20,
            3,
        )
        assert (key.usage_chunk, key.strict) == (False, True)

    with_store(tmp_path, test)


@pytest.mark.parametrize(
    ("command", "arguments", "words"),
    [
        ("keys.create", {}, "missing required field `name`"),
        ("keys.create", {"name": "a", "admin": True}, "unknown field `admin`"),
        ("keys.create", {"name": " "}, "name must be"),
        ("keys.create", {"name": "a\nb"}, "name must be"),
        ("keys.create", {"name": "a" * 101}, "name must be"),
        ("keys.create", {"name": "a", "account": "../x"}, "account must be"),
        ("keys.create", {"name": "a", "account": ""}, "account must be"),
        ("keys.create", {"name": "a", "expires": "tomorrow"}, "expires must be"),
        ("keys.create", {"name": "a", "expires": "0d"}, "expires must be"),
        (
            "keys.create",
            {"name": "a", "expires": "2020-01-01"},
            "expires lies in the past: 2020-01-01T00:00:00Z",
        ),
        ("keys.create", {"name": "a", "requests_per_minute": 0}, "requests_per_minute must be from 1"),
        ("keys.create", {"name": "a", "concurrency": -1}, "concurrency must be from 1"),
        ("keys.create", {"name": "a", "tokens_per_minute": True}, "Expected `int | null`"),
        ("keys.create", {"name": "a", "models": []}, "models must name"),
        ("keys.create", {"name": "a", "models": ["gtp-5"]}, "Nearest: gpt-5"),
        ("keys.create", {"name": "a", "models": ["claude*"]}, "no model fits the pattern 'claude*'"),
        ("credits.add", {"amount": "0"}, "more than 0"),
        ("credits.add", {"amount": "-5"}, "more than 0"),
        ("credits.add", {"amount": "1e3"}, "amount must be dollars"),
        ("credits.add", {"amount": "\u0665"}, "amount must be dollars"),
        ("credits.add", {"amount": "0.0000000000001"}, "amount must be dollars"),
        ("credits.add", {"amount": "4600001"}, "at most 4600000"),
        ("credits.add", {"amount": "4599999"}, "an account holds at most"),
        ("credits.add", {"amount": "5", "ref": "a b"}, "ref must be"),
        ("credits.add", {"amount": "5", "reason": ""}, "reason must be"),
        ("credits.show", {"account": "nobody"}, "there is no account 'nobody'"),
        ("keys.revoke", {"id": "key_x"}, "there is no key with the id 'key_x'"),
        ("keys.list", {"all": True}, "unknown field `all`"),
        ("config.reload", {}, "no gateway runs"),
        ("keys.drop", {}, "knows no command 'keys.drop'"),
    ],
)
def test_wrong_arguments_are_refused_and_change_nothing(
    tmp_path: Path, command: str, arguments: Mapping[str, object], words: str
) -> None:
    async def test(context: Context, store: SqliteStore) -> None:
        await first_run(context)
        before = (await store.list(), store.available("default"))
        with pytest.raises(RouterError) as caught:
            await dispatch(command, arguments, context)
        assert words in caught.value.message
        assert (await store.list(), store.available("default")) == before

    with_store(tmp_path, test)


def test_a_refused_first_key_books_no_credit(tmp_path: Path) -> None:
    async def test(context: Context, store: SqliteStore) -> None:
        with pytest.raises(InvalidRequest):
            await dispatch("keys.create", {"name": ""}, context)
        assert store.available("default") == 0

    with_store(tmp_path, test)


def test_credits_are_booked_exactly_and_once_per_reference(tmp_path: Path) -> None:
    async def test(context: Context, store: SqliteStore) -> None:
        await first_run(context)
        one = await dispatch("credits.add", {"amount": "$0.000000000001"}, context)
        assert msgspec.json.encode(one["credits_remaining"]) == b"5.000000000001"
        assert "warnings" not in one
        for _ in range(2):
            again = await dispatch("credits.add", {"amount": "2.50", "ref": "invoice-7"}, context)
        assert msgspec.json.encode(again["credits_remaining"]) == b"7.500000000001"
        shown = await dispatch("credits.show", {}, context)
        assert (
            msgspec.json.encode(shown) == b'{"account":"default","credits_remaining":7.500000000001,"keys":1}'
        )

    with_store(tmp_path, test)


def test_credits_nobody_can_spend_are_pointed_out(tmp_path: Path) -> None:
    async def test(context: Context, store: SqliteStore) -> None:
        await first_run(context)
        added = await dispatch("credits.add", {"amount": "1", "account": "defualt"}, context)
        (warning,) = added["warnings"]  # type: ignore[misc]
        assert "no key spends from the account 'defualt' yet" in warning

    with_store(tmp_path, test)


def test_a_revoked_key_is_shown_as_such(tmp_path: Path) -> None:
    async def test(context: Context, store: SqliteStore) -> None:
        made = await dispatch("keys.create", {"name": "a"}, context)
        revoked = await dispatch("keys.revoke", {"id": made["id"]}, context)
        assert (revoked["status"], revoked["revoked"]) == ("revoked", iso_time(NOW_MS))
        assert "key" not in revoked
        with pytest.raises(NotFound):
            await dispatch("keys.revoke", {"id": "sk-lr-x"}, context)

    with_store(tmp_path, test)


def test_reload_is_left_to_the_gateway(tmp_path: Path) -> None:
    async def reload() -> Mapping[str, object]:
        return {"models": 3}

    async def test(context: Context, store: SqliteStore) -> None:
        assert await dispatch("config.reload", {}, context) == {"models": 3}

    with_store(tmp_path, test, reload=reload)


def test_models_are_listed_as_clients_see_them(tmp_path: Path) -> None:
    async def test(context: Context, store: SqliteStore) -> None:
        page = await dispatch("models", {}, context)
        assert [entry["id"] for entry in page["data"]] == ["gpt-5", "gpt-5-mini"]  # type: ignore[attr-defined]

    with_store(tmp_path, test)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("90m", "2026-05-28T21:56:40Z"),
        ("12h", "2026-05-29T08:26:40Z"),
        ("1d", "2026-05-29T20:26:40Z"),
        ("2w", "2026-06-11T20:26:40Z"),
        ("2027-01-31", "2027-01-31T00:00:00Z"),
        ("2027-01-31T12:00:00", "2027-01-31T12:00:00Z"),
        ("2027-01-31T12:00:00+02:00", "2027-01-31T10:00:00Z"),
        ("9999-12-31T23:59:59Z", "9999-12-31T23:59:59Z"),
    ],
)
def test_expiry_is_a_span_or_a_time(text: str, expected: str) -> None:
    assert iso_time(parse_expiry(text, NOW_MS)) == expected


def test_keys_and_ids_do_not_repeat() -> None:
    assert len({new_key_text() for _ in range(1000)}) == 1000
    assert {len(new_key_text()) for _ in range(1000)} == {6 + 43}
    assert len({new_id("key") for _ in range(1000)}) == 1000


def test_what_is_kept_of_conversations_is_deleted_by_account(tmp_path: Path) -> None:
    car = MemorySideCar(Sealer(bytes(32), "test"), bytes_max=10**6, ttl_ms=10**6)
    for account in ("acme", "rival"):
        car.put(account, [b"call"], b"state", NOW_MS)

    async def test(context: Context, store: SqliteStore) -> None:
        assert await dispatch("forget", {"account": "acme"}, context) == {
            "account": "acme",
            "forgotten": True,
        }
        assert await car.get("acme", [b"call"], NOW_MS) == {}
        assert await car.get("rival", [b"call"], NOW_MS) == {b"call": b"state"}
        for wrong in ({}, {"account": ""}, {"account": "a", "more": 1}):
            with pytest.raises(InvalidRequest):
                await dispatch("forget", wrong, context)
        with pytest.raises(InvalidRequest, match=r"side-car\.db"):
            await dispatch("forget", {"account": "acme"}, msgspec.structs.replace(context, side_car=None))

    with_store(tmp_path, test, side_car=car)


def test_questions_about_one_key_or_account_do_not_read_all_keys(tmp_path: Path) -> None:
    async def test(context: Context, store: SqliteStore) -> None:
        async def read_all() -> list[object]:
            raise AssertionError("all keys were read")

        store.list = read_all  # type: ignore[method-assign,assignment]
        first = await first_run(context)
        assert first is not None
        assert await first_run(context) is None
        made = await dispatch("keys.create", {"name": "b"}, context)
        assert (await dispatch("credits.show", {}, context))["keys"] == 2
        added = await dispatch("credits.add", {"amount": "1"}, context)
        assert "warnings" not in added
        key = {"scope": "key", "scope_id": made["id"]}
        await dispatch("limits.set", {**key, "kind": "requests", "amount": 5}, context)
        await dispatch("budgets.set", {**key, "amount": "1", "window": "day"}, context)
        for command, rest in (
            ("limits.set", {"kind": "requests", "amount": 5}),
            ("budgets.set", {"amount": "1"}),
        ):
            with pytest.raises(InvalidRequest, match="has no key"):
                await dispatch(command, {**key, **rest, "scope_id": "key_none"}, context)

    with_store(tmp_path, test)
