"""The port SideCar, the same for every store, and what only the one on disk must do."""

from __future__ import annotations

import asyncio
import sqlite3

import pytest
from store_cases import FixedClock, run

from llm_router.adapters.installation import installation_secret
from llm_router.adapters.memory.side_car import MemorySideCar
from llm_router.adapters.sealing import Sealer
from llm_router.adapters.sqlite.side_car import SqliteSideCar
from llm_router.domain.errors import ServerError

NOW = FixedClock().now_ms()
SECRET = bytes(range(32))


@pytest.fixture(params=["memory", "sqlite"])
def open_car(request, tmp_path):
    async def opened(bytes_max=1_000_000, ttl_ms=1000, secret=SECRET):
        sealer = Sealer(secret, "test")
        if request.param == "memory":
            return MemorySideCar(sealer, bytes_max=bytes_max, ttl_ms=ttl_ms)
        path = tmp_path / "side-car.db"
        return await SqliteSideCar.open(path, sealer, bytes_max=bytes_max, ttl_ms=ttl_ms, clock=FixedClock())

    return opened


def with_car(open_car, scenario, **options):
    async def main():
        car = await open_car(**options)
        try:
            return await scenario(car)
        finally:
            await car.close()

    return run(main())


def test_value_is_found_under_each_of_its_names(open_car):
    async def scenario(car):
        car.put("acme", [b"id", b"text"], b"state", NOW)
        assert await car.get("acme", [b"id", b"text", b"other"], NOW) == {b"id": b"state", b"text": b"state"}
        car.put("acme", [b"id"], b"newer", NOW)
        assert await car.get("acme", [b"id", b"text"], NOW) == {b"id": b"newer", b"text": b"newer"}

    with_car(open_car, scenario)


def test_accounts_do_not_share(open_car):
    async def scenario(car):
        assert not car.owns("acme")
        car.put("acme", [b"id"], b"state", NOW)
        assert car.owns("acme")
        assert not car.owns("rival")
        assert await car.get("rival", [b"id"], NOW) == {}
        car.put("rival", [b"id"], b"mine", NOW)
        assert await car.get("acme", [b"id"], NOW) == {b"id": b"state"}
        await car.forget("acme")
        assert not car.owns("acme")
        assert await car.get("acme", [b"id"], NOW) == {}
        assert await car.get("rival", [b"id"], NOW) == {b"id": b"mine"}

    with_car(open_car, scenario)


def test_what_has_expired_is_known_to_be_gone(open_car):
    async def scenario(car):
        car.put("acme", [b"id", b"text"], b"state", NOW)
        assert await car.get("acme", [b"id"], NOW + 999) == {b"id": b"state"}
        assert await car.get("acme", [b"id", b"text"], NOW + 1000) == {b"id": None, b"text": None}
        car.put("acme", [b"later"], b"state", NOW + 1500)
        assert await car.get("acme", [b"id", b"later"], NOW + 1500) == {b"id": None, b"later": b"state"}
        car.put("acme", [b"id"], b"again", NOW + 1500)
        assert await car.get("acme", [b"id"], NOW + 1500) == {b"id": b"again"}

    with_car(open_car, scenario)


def test_the_oldest_go_when_it_is_full(open_car):
    async def scenario(car):
        for number in range(10):
            car.put("acme", [b"%d" % number], b"x" * 1000, NOW)
        found = await car.get("acme", [b"%d" % number for number in range(10)], NOW)
        assert [value is not None for value in found.values()] == [False] * 6 + [True] * 4

    with_car(open_car, scenario, bytes_max=5000)


def test_value_larger_than_all_room_is_gone_at_once(open_car):
    async def scenario(car):
        car.put("acme", [b"id", b"text"], b"x" * 5000, NOW)
        assert await car.get("acme", [b"id"], NOW) == {b"id": None}

    with_car(open_car, scenario, bytes_max=3000)


# on disk


@pytest.fixture
def path(tmp_path):
    return tmp_path / "side-car.db"


async def on_disk(path, secret=SECRET, **options):
    sealer = Sealer(secret, "test")
    limits = {"bytes_max": 1_000_000, "ttl_ms": 1000, **options}
    return await SqliteSideCar.open(path, sealer, clock=FixedClock(), **limits)


def test_values_outlive_the_process_and_are_no_plain_text(path):
    async def main():
        car = await on_disk(path)
        for number in range(50):
            car.put("acme", [b"id%d" % number, b"text%d" % number], b"secret state %d" % number, NOW)
        await car.close()
        written = b"".join(file.read_bytes() for file in path.parent.iterdir())
        for plain in (b"secret state", b"acme", b"id7", b"text7"):
            assert plain not in written
        car = await on_disk(path)
        assert car.owns("acme")
        assert await car.get("acme", [b"id7", b"text9"], NOW) == {
            b"id7": b"secret state 7",
            b"text9": b"secret state 9",
        }
        await car.forget("acme")
        await car.close()
        with sqlite3.connect(path) as reader:
            assert reader.execute("SELECT count(*) FROM kept").fetchone() == (0,)
        reader.close()

    run(main())
    assert path.stat().st_mode & 0o077 == 0


def test_a_row_that_was_moved_changed_or_sealed_with_another_secret_opens_nothing(path):
    async def main():
        car = await on_disk(path)
        car.put("acme", [b"id"], b"state", NOW)
        car.put("rival", [b"id"], b"theirs", NOW)
        await car.close()
        with sqlite3.connect(path) as writer:
            (first,) = writer.execute("SELECT value FROM kept ORDER BY number LIMIT 1").fetchone()
            writer.execute("UPDATE kept SET value = ? WHERE number = 2", (first,))
            writer.execute("UPDATE kept SET value = zeroblob(length(value)) WHERE number = 1")
        writer.close()
        car = await on_disk(path)
        assert await car.get("acme", [b"id"], NOW) == {b"id": None}
        assert await car.get("rival", [b"id"], NOW) == {b"id": None}
        await car.close()
        car = await on_disk(path, secret=bytes(32))
        assert await car.get("acme", [b"id"], NOW) == {}
        await car.close()

    run(main())


def test_damaged_file_is_begun_anew(path):
    path.write_bytes(b"this is no database" * 1000)

    async def main():
        car = await on_disk(path)
        car.put("acme", [b"id"], b"state", NOW)
        assert await car.get("acme", [b"id"], NOW) == {b"id": b"state"}
        await car.close()

    run(main())


def test_disk_that_refuses_costs_state_and_nothing_else(path):
    async def main():
        car = await on_disk(path)
        car.put("acme", [b"kept"], b"state", NOW)
        await asyncio.wait((car._flush,))
        car._connection.execute("PRAGMA query_only = ON")
        car.put("acme", [b"id"], b"state", NOW)
        await asyncio.wait((car._flush,))
        assert await car.get("acme", [b"id"], NOW) == {b"id": b"state"}  # from memory
        with pytest.raises(ServerError):
            await car.forget("acme")
        assert await car.get("acme", [b"id"], NOW) == {}
        car._connection.execute("PRAGMA query_only = OFF")
        await car.forget("acme")
        await car.close()

    run(main())


def test_expired_rows_leave_the_file(path):
    async def main():
        car = await on_disk(path)
        for number in range(20):
            car.put("acme", [b"%d" % number], b"state", NOW + number)
        car.put("acme", [b"last"], b"state", NOW + 5000)
        await car.close()
        with sqlite3.connect(path) as reader:
            assert reader.execute("SELECT count(*) FROM kept").fetchone() == (1,)
            assert reader.execute("SELECT count(*) FROM gone").fetchone() == (20,)
        reader.close()

    run(main())


def test_installation_secret_is_made_once_for_its_owner_alone(tmp_path):
    secret = installation_secret(tmp_path)
    assert len(secret) == 32
    assert installation_secret(tmp_path) == secret
    file = tmp_path / "installation.key"
    assert file.stat().st_mode & 0o077 == 0
    file.write_bytes(b"short")
    with pytest.raises(ServerError, match="32 bytes"):
        installation_secret(tmp_path)
