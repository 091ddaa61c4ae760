"""What only the SQLite store does: lock, schema, recovery, failing disks, group commit, key cache."""

from __future__ import annotations

import asyncio
import fcntl
import os
import sqlite3
import stat
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path
from unittest import mock

import pytest
from store_cases import ACME, FixedClock, make_key, record, run

from llm_router.adapters.sqlite import journal, keys, papers, schema, writer
from llm_router.adapters.sqlite.boot import audit
from llm_router.adapters.sqlite.orphans import read_orphans
from llm_router.adapters.sqlite.schema import StoreCorrupt, StoreError, StoreLocked, StoreTooNew
from llm_router.adapters.sqlite.store import SqliteStore
from llm_router.billing.rollups import SUM_MAX
from llm_router.domain.errors import LedgerUnavailable
from llm_router.domain.key import key_digest
from llm_router.domain.money import MAX_PUSD
from llm_router.ports import Settled


@pytest.fixture
def path(tmp_path):
    return tmp_path / "data" / "books.db"


def with_store(path, scenario):
    async def main():
        store = await SqliteStore.open(path, clock=FixedClock())
        try:
            return await scenario(store)
        finally:
            await store.close()

    return run(main())


def edit(path, *statements):
    with closing(sqlite3.connect(path)) as connection, connection:
        for statement in statements:
            connection.execute(statement)


async def funded(store):
    await store.credit("acme", 1000, "r1", "", 1)
    await store.hold("e1", ACME, 300, "v1", 2)
    await store.settle(record("e1", 100))


def test_everything_survives_a_restart(path):
    async def first(store):
        assert store.created
        await funded(store)
        await store.create(*make_key(1))
        await store.revoke("key_1", 50)

    async def second(store):
        assert not store.created
        assert await store.accounts() == [("acme", 900, 0)]
        assert [e.ref for e in await store.entries("acme", 5)] == ["use:e1", "credit:r1"]
        assert (await store.generation("acme", "e1")).cost_pusd == 100
        assert (await store.find(make_key(1)[1])).revoked_ms == 50
        assert (await store.settle(record("e1", 100))).remaining_pusd == 900  # still settled
        with pytest.raises(ValueError, match="already"):
            await store.hold("e1", ACME, 1, "v1", 3)
        assert await store.accounts() == [("acme", 900, 0)]
        await store.credit("acme", 1, "r2", "", 1)
        assert await store.audit() == 3

    with_store(path, first)
    with_store(path, second)


def test_the_file_is_its_owners_only(path):
    with_store(path, funded)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_open_holds_of_a_dead_process_are_voided_and_stay_on_record(path):
    async def first(store):
        await funded(store)
        await store.hold("lost", ACME, 250, "v7", 3)
        assert await store.accounts() == [("acme", 900, 250)]

    async def second(store):
        assert store.orphans == 1
        assert await store.accounts() == [("acme", 900, 0)]
        await store.audit()

    async def third(store):
        assert store.orphans == 0
        # A reconciliation may still settle it, from what is available.
        assert (await store.settle(record("lost", 40))).remaining_pusd == 860

    with_store(path, first)
    with_store(path, second)
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute(
            "SELECT exchange_id, amount, price_version, epoch, state, voided_ms FROM holds"
        ).fetchall()
    assert rows == [("lost", 250, "v7", 1, "orphaned", FixedClock().now_ms())]
    with_store(path, third)
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT count(*) FROM holds").fetchone() == (0,)


def test_a_second_store_in_this_process_or_another_is_refused(path):
    async def scenario(store):
        with pytest.raises(StoreLocked) as caught:
            await SqliteStore.open(path, clock=FixedClock())
        assert str(path) in str(caught.value)
        code = (
            "import asyncio, pathlib, sys\n"
            "from llm_router.adapters.clock import SystemClock\n"
            "from llm_router.adapters.sqlite.store import SqliteStore\n"
            "from llm_router.adapters.sqlite.schema import StoreLocked\n"
            "try:\n"
            "    asyncio.run(SqliteStore.open(pathlib.Path(sys.argv[1]), clock=SystemClock()))\n"
            "except StoreLocked as error:\n"
            "    print(error.pid)\n"
        )
        done = await asyncio.to_thread(
            subprocess.run, [sys.executable, "-c", code, str(path)], capture_output=True, text=True
        )
        return done

    done = with_store(path, scenario)
    assert done.stdout.strip() == str(os.getpid()), done.stderr
    with_store(path, funded)  # free again


@pytest.mark.parametrize("tidied", [(".lock",), (".lock", ".journal")], ids=len)
def test_a_store_is_locked_though_its_lock_file_was_tidied_away(path, tidied):
    async def scenario(store):
        await store.credit("acme", 1000, "r1", "", 1)
        await store.hold("e1", ACME, 300, "v1", 2)
        for suffix in tidied:
            path.with_name(path.name + suffix).unlink()
        with pytest.raises(StoreLocked):
            await SqliteStore.open(path, clock=FixedClock())
        assert await store.accounts() == [("acme", 1000, 300)]
        await store.settle(record("e1", 100))
        assert await store.audit() == 2

    with_store(path, scenario)
    with_store(path, lambda store: store.audit())  # free again


def test_who_reads_the_journal_for_a_moment_keeps_nobody_out(path):
    with_store(path, funded)
    reader = os.open(path.with_name(path.name + ".journal"), os.O_RDONLY)
    fcntl.flock(reader, fcntl.LOCK_SH)
    with mock.patch("llm_router.adapters.sqlite.lock.time.sleep", side_effect=lambda _: os.close(reader)):
        with_store(path, lambda store: store.audit())


def test_files_that_are_not_ours_or_too_new_are_refused(path):
    with_store(path, funded)
    edit(path, f"PRAGMA user_version = {schema.SCHEMA_VERSION + 1}")
    with pytest.raises(StoreTooNew, match="later version"):
        with_store(path, funded)
    edit(path, "PRAGMA user_version = 1", "PRAGMA application_id = 1")
    with pytest.raises(StoreCorrupt, match="other program"):
        with_store(path, funded)
    garbage = path.with_name("garbage.db")
    garbage.write_bytes(b"not a database, but long enough to be read as one" * 100)
    with pytest.raises(StoreError, match=r"garbage.db cannot be used \(file is not a database\)"):
        with_store(garbage, funded)
    with pytest.raises(StoreError, match="cannot be opened"):
        with_store(garbage / "below.db", funded)


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE accounts SET posted = posted + 1",
        "UPDATE accounts SET held = held + 1",
        "DELETE FROM accounts",
        "INSERT INTO holds VALUES ('x', 'acme', 5, 'v', 1, 1, 'open', NULL)",
        "INSERT INTO holds VALUES ('x', 'nobody', 5, 'v', 1, 1, 'open', NULL)",
        "INSERT INTO entries VALUES (3, 'x', 'acme', 5, 'grant', 1, '', zeroblob(32), NULL)",
    ],
)
def test_books_that_do_not_add_up_are_not_opened(path, damage):
    with_store(path, funded)
    edit(path, damage)
    with pytest.raises(StoreCorrupt):
        with_store(path, funded)


def test_damage_to_what_was_checked_before_is_found_by_an_audit(path):
    with_store(path, funded)
    with_store(path, lambda store: store.audit())
    edit(
        path,
        "DROP TRIGGER entries_update",
        "UPDATE entries SET amount = amount - 1 WHERE seq = 2",
        "UPDATE accounts SET posted = posted - 1, proved = proved - 1",
    )
    with pytest.raises(StoreCorrupt, match="Entry 2"):
        with_store(path, lambda store: store.audit())


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE entries SET note = 'x' WHERE seq = 1",
        "DELETE FROM entries WHERE seq = 2",
        "INSERT INTO entries VALUES (9, 'x', 'acme', 5, 'grant', 1, '', zeroblob(32), NULL)",
        "INSERT INTO entries VALUES (3, 'use:e1', 'acme', -5, 'use', 1, '', zeroblob(32), NULL)",
        "INSERT INTO entries VALUES (3, 'x', 'acme', 5, 'use', 1, '', zeroblob(32), NULL)",
        "INSERT INTO entries VALUES (3, 'x', 'acme', -5, 'grant', 1, '', zeroblob(32), NULL)",
        "INSERT INTO entries VALUES (3, 'x', 'acme', 0, 'adjust', 1, '', zeroblob(32), NULL)",
        "UPDATE accounts SET posted = -1",
        "UPDATE accounts SET held = posted + 1",
        "INSERT INTO exchanges (id, account, key, created_ms, status, cost, record) "
        "VALUES ('e1', 'a', 'k', 1, 200, 0, '')",
    ],
)
def test_the_database_itself_refuses(path, statement):
    with_store(path, funded)
    with pytest.raises(sqlite3.IntegrityError):
        edit(path, statement)


def test_the_schema_and_the_domain_agree_on_the_largest_amount(path):
    async def scenario(store):
        await store.credit("acme", MAX_PUSD, "r", "", 1)

    with_store(path, scenario)
    with pytest.raises(sqlite3.IntegrityError):
        edit(path, "UPDATE accounts SET posted = posted + 1")


def test_sums_beyond_63_bits_are_added_exactly(path):
    async def scenario(store):
        for number in range(6):
            await store.credit("acme", MAX_PUSD, f"in{number}", "", 1)
            await store.credit("acme", -MAX_PUSD + 1, f"out{number}", "", 1)
            await store.credit("acme", -1, f"one{number}", "", 1)
        await store.credit("acme", 77, "last", "", 1)
        return await store.audit()

    assert with_store(path, scenario) == 19
    assert with_store(path, lambda store: store.accounts()) == [("acme", 77, 0)]


def test_one_wakeup_of_the_loop_serves_a_whole_batch(path, monkeypatch):
    batches = []
    landed = journal.Journal._landed

    def counting(self, ops, failure):
        batches.append(len(ops))
        landed(self, ops, failure)

    monkeypatch.setattr(journal.Journal, "_landed", counting)

    async def scenario(store):
        await store.credit("acme", 10_000, "r", "", 1)
        await asyncio.gather(*(store.hold(f"e{n}", ACME, 1, "v", 1) for n in range(500)))

    with_store(path, scenario)
    assert sum(batches) == 501
    assert len(batches) < 250  # a handful, unless the machine is busy elsewhere


def test_a_cancelled_hold_can_still_be_settled(path):
    async def scenario(store):
        await store.credit("acme", 1000, "r1", "", 1)
        waiting = asyncio.create_task(store.hold("e1", ACME, 300, "v1", 2))
        await asyncio.sleep(0)  # let it make its move
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert store.available("acme") == 700
        assert (await store.settle(record("e1", 0))).remaining_pusd == 1000

    with_store(path, scenario)


def test_a_cancelled_settlement_happens_all_the_same(path):
    async def scenario(store):
        await store.credit("acme", 1000, "r1", "", 1)
        await store.hold("e1", ACME, 300, "v1", 2)
        waiting = asyncio.create_task(store.settle(record("e1", 120)))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert store._journal.is_settling("e1")  # and whoever waits for it waits for the disk
        assert (await store.settle(record("e1", 120))).remaining_pusd == 880
        assert len(await store.entries("acme", 9)) == 2

    with_store(path, scenario)


def fill_disk(store):
    """Let the database grow no further, as a full disk would."""
    connection = store._journal._writer._connection
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    connection.execute(f"PRAGMA max_page_count = {pages}")
    return lambda: connection.execute("PRAGMA max_page_count = 1000000")


def test_a_full_disk_stops_new_holds_loses_nothing_and_heals(path, monkeypatch):
    monkeypatch.setattr(journal, "PROBE_S", 0.01)

    async def scenario(store):
        await store.credit("acme", 10**9, "r1", "", 1)
        free = fill_disk(store)
        taken, charged = [], []

        async def spend():
            for number in range(10_000):
                await store.hold(f"e{number}", ACME, 10, "v1", 2)
                taken.append(number)
                await store.settle(record(f"e{number}", 3, error_message="x" * 2000))
                charged.append(number)

        with pytest.raises(LedgerUnavailable):
            await spend()
        # What failed was undone in memory: the balance is that of what was acknowledged.
        spent = 3 * len(charged)
        still_held = 10 * (len(taken) - len(charged))
        assert await store.accounts() == [("acme", 10**9 - spent, still_held)]
        with pytest.raises(LedgerUnavailable):
            await store.audit()  # what waits in the journal would not be seen
        with pytest.raises(LedgerUnavailable):
            await store.hold("next", ACME, 10, "v1", 2)
        with pytest.raises(LedgerUnavailable):
            await store.credit("acme", 1, "r2", "", 1)
        with pytest.raises(LedgerUnavailable):
            await store.create(*make_key(1))
        free()
        while True:
            try:
                await store.hold("later", ACME, 10, "v1", 2)
                break
            except LedgerUnavailable:
                await asyncio.sleep(0.005)
        assert (await store.settle(record("later", 4))).remaining_pusd == 10**9 - spent - still_held - 4
        for number in set(taken) - set(charged):  # can be settled now
            await store.settle(record(f"e{number}", 3))
            spent += 3
        assert await store.accounts() == [("acme", 10**9 - spent - 4, 0)]
        await store.audit()

    with_store(path, scenario)


def test_a_failing_disk_fails_all_that_is_not_in_the_journal(path, monkeypatch):
    def broken(self, ops):
        raise sqlite3.OperationalError("disk I/O error")

    async def scenario(store):
        await store.credit("acme", 1000, "r1", "", 1)
        await store.hold("e0", ACME, 100, "v1", 2)
        with monkeypatch.context() as patched:
            patched.setattr(writer.Writer, "_commit", broken)
            results = await asyncio.gather(
                store.settle(record("e0", 30)),
                *(store.hold(f"e{n}", ACME, 10, "v1", 2) for n in range(1, 6)),
            )
            assert results == [
                Settled(charged_pusd=30, remaining_pusd=970),
                *(960, 950, 940, 930, 920),
            ]
            with pytest.raises(LedgerUnavailable):
                await store.credit("acme", 5, "r2", "", 1)
            with pytest.raises(LedgerUnavailable):
                await store.hold("late", ACME, 10, "v1", 2)
            with pytest.raises(LedgerUnavailable):
                await store.generation("acme", "e0")  # it is there, but not to be read yet
        assert await store.accounts() == [("acme", 970, 50)]

    async def again(store):
        assert store.orphans == 5
        assert (await store.generation("acme", "e0")).cost_pusd == 30
        assert await store.accounts() == [("acme", 970, 0)]
        assert await store.audit() == 2

    with_store(path, scenario)
    with_store(path, again)


def test_after_a_failed_sync_only_a_restart_helps(path, monkeypatch):
    monkeypatch.setattr(journal, "PROBE_S", 0.001)
    probes = asyncio.Event()
    recovered = writer.Writer._recovered

    def failing(self, ops):
        error = sqlite3.OperationalError("disk I/O error")
        error.sqlite_errorcode = sqlite3.SQLITE_IOERR_FSYNC
        raise error

    async def scenario(store):
        loop = asyncio.get_running_loop()

        def counting(self, ops):
            loop.call_soon_threadsafe(probes.set)
            return recovered(self, ops)

        monkeypatch.setattr(writer.Writer, "_recovered", counting)
        died = []
        store._journal._writer._die = died.append  # the process ends here; were it to go on:
        await store.credit("acme", 1000, "r1", "", 1)
        with monkeypatch.context() as patched:
            patched.setattr(writer.Writer, "_commit", failing)
            with pytest.raises(LedgerUnavailable):
                await store.credit("acme", 1, "r2", "", 1)
        assert [error.sqlite_errorcode for error in died] == [sqlite3.SQLITE_IOERR_FSYNC]
        for _ in range(3):
            probes.clear()
            await probes.wait()
        with pytest.raises(LedgerUnavailable):
            await store.hold("e2", ACME, 100, "v1", 2)

    with_store(path, scenario)
    assert with_store(path, lambda store: store.accounts()) == [("acme", 1000, 0)]


def test_sums_beyond_what_one_integer_holds_are_audited(path):
    async def scenario(store):
        for number in range(5):
            await store.credit("acme", MAX_PUSD, f"r{number}", "", 1)
            await store.settle(record(f"e{number}", MAX_PUSD, created_ms=number * 3_600_000))
        assert await store.audit() == 10

    with_store(path, scenario)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE rollups SET cost = cost - 1 WHERE hour = 2")
        connection.commit()

    async def audited(store):
        with pytest.raises(StoreCorrupt, match=r"are -1 p"):
            await store.audit()

    with_store(path, audited)


def test_a_failed_sync_of_the_try_to_go_on_ends_the_process_too(path, monkeypatch):
    died = []

    def full(self, ops):
        raise sqlite3.OperationalError("database or disk is full")

    class Failing:
        in_transaction = False

        def execute(self, sql, values=()):
            error = sqlite3.OperationalError("disk I/O error")
            error.sqlite_errorcode = sqlite3.SQLITE_IOERR_FSYNC
            raise error

    async def scenario(store):
        ended = asyncio.Event()
        loop = asyncio.get_running_loop()
        written_by = store._journal._writer
        written_by._die = lambda error: (died.append(error), loop.call_soon_threadsafe(ended.set))
        with monkeypatch.context() as patched:
            patched.setattr(writer.Writer, "_commit", full)
            with pytest.raises(LedgerUnavailable):
                await store.credit("acme", 1000, "r1", "", 1)
        real, written_by._connection = written_by._connection, Failing()
        async with asyncio.timeout(30):
            await ended.wait()
        written_by._connection = real

    with_store(path, scenario)
    assert [error.sqlite_errorcode for error in died] == [sqlite3.SQLITE_IOERR_FSYNC]


def left(path):
    """A store whose disk failed when two charges were made, and which was closed so: one waits in each
    of two frames."""

    def broken(self, ops):
        raise sqlite3.OperationalError("disk I/O error")

    async def scenario(store):
        await store.credit("acme", 1000, "r1", "", 1)
        for number in range(4):
            await store.hold(f"e{number}", ACME, 100, "v1", 2)
        await store._journal.applied()
        store._journal._writer._commit = broken.__get__(store._journal._writer)
        with pytest.raises(LedgerUnavailable):
            await store.credit("acme", 1, "r2", "", 1)
        for number in range(2):
            settled = await store.settle(record(f"e{number}", 30 + number))
            assert settled.charged_pusd == 30 + number
        with pytest.raises(LedgerUnavailable):
            await store.settle(record("e2"))  # what costs nothing is voided later
        with pytest.raises(LedgerUnavailable):
            await store.settle(record("e0", 30))  # not booked yet: nobody can say
        with pytest.raises(LedgerUnavailable):
            await store.hold("e9", ACME, 1, "v1", 2)
        assert store.trouble == "ledger_unavailable"

    with_store(path, scenario)


def test_a_journal_of_other_books_is_not_read(path):
    left(path)
    aside = path.with_name(path.name + ".journal").read_bytes()
    other = path.parent.parent / "other" / path.name
    with_store(other, funded)
    journal_of_other = other.with_name(other.name + ".journal")
    journal_of_other.write_bytes(aside)
    with pytest.raises(StoreCorrupt, match="continue other books"):
        with_store(other, funded)
    journal_of_other.unlink()
    assert with_store(other, lambda store: store.audit()) == 2


def test_moves_wait_in_the_journal_until_somebody_reads(path, monkeypatch):
    monkeypatch.setattr(journal, "APPLY_S", 3600.0)

    def rows(table):
        with closing(sqlite3.connect(path)) as connection:
            return connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]

    async def scenario(store):
        await store.credit("acme", 10**6, "r1", "", 1)
        for number in range(20):
            await store.hold(f"e{number}", ACME, 10, "v1", 2)
            await store.settle(record(f"e{number}", 3))
        await store.hold("open", ACME, 10, "v1", 2)
        assert (rows("exchanges"), rows("holds"), rows("entries")) == (0, 0, 1)
        assert store._journal._writer.waits
        with pytest.raises(ValueError, match="settled already"):
            await store.hold("e3", ACME, 10, "v1", 2)  # that is known without the tables
        found = await asyncio.gather(*(store.generation("acme", f"e{n}") for n in range(20)))
        assert [each.cost_pusd for each in found] == [3] * 20
        assert (rows("exchanges"), rows("holds"), rows("entries")) == (20, 1, 21)
        assert rows("rollups") == 1
        assert not store._journal._writer.waits

    with_store(path, scenario)


def test_moves_go_into_the_tables_by_themselves(path, monkeypatch):
    monkeypatch.setattr(journal, "APPLY_S", 0.001)

    async def scenario(store):
        await store.credit("acme", 1000, "r1", "", 1)
        await store.hold("e1", ACME, 10, "v1", 2)
        for _ in range(30_000):
            if not store._journal._writer.waits:
                break
            await asyncio.sleep(0.001)
        with closing(sqlite3.connect(path)) as connection:
            assert connection.execute("SELECT count(*) FROM holds").fetchone() == (1,)

    with_store(path, scenario)


def test_charges_in_the_journal_are_booked_once_by_the_next_start(path):
    left(path)
    file = path.with_name(path.name + ".journal")
    frames = file.read_bytes()

    async def scenario(store):
        assert await store.accounts() == [("acme", 1000 - 61, 0)]
        assert store.orphans == 2  # those that were not settled
        assert (await store.settle(record("e0", 30))).remaining_pusd == 939
        assert await store.audit() == 3

    with_store(path, scenario)
    file.write_bytes(frames)  # a crash before it was emptied
    with_store(path, scenario_again := (lambda store: store.audit()))
    assert with_store(path, scenario_again) == 3
    assert with_store(path, lambda store: store.accounts()) == [("acme", 939, 0)]


def test_a_torn_frame_of_the_journal_is_none(path):
    left(path)
    file = path.with_name(path.name + ".journal")
    frames = bytearray(file.read_bytes())
    second = 12 + int.from_bytes(frames[4:8], "big")
    frames[second + 20] ^= 1
    file.write_bytes(frames)
    assert with_store(path, lambda store: store.accounts()) == [("acme", 970, 0)]


def test_charges_in_the_journal_are_booked_when_the_disk_writes_again(path, monkeypatch):
    monkeypatch.setattr(journal, "PROBE_S", 0.005)

    def broken(self, ops):
        raise sqlite3.OperationalError("database or disk is full")

    async def scenario(store):
        await store.credit("acme", 1000, "r1", "", 1)
        await store.hold("e1", ACME, 100, "v1", 2)
        with monkeypatch.context() as patched:
            patched.setattr(writer.Writer, "_commit", broken)
            patched.setattr(writer.Writer, "_recovered", lambda self, ops: False)
            with pytest.raises(LedgerUnavailable):
                await store.credit("acme", 1, "r2", "", 1)
            assert (await store.settle(record("e1", 40))).remaining_pusd == 960
        for _ in range(5000):  # a probe of the time before may still say no
            if store.trouble is None:
                break
            await asyncio.sleep(0.005)
        assert (await store.generation("acme", "e1")).cost_pusd == 40
        assert store.available("acme") == 960
        assert await store.audit() == 2
        assert not store._journal._writer.waits

    with_store(path, scenario)


def test_a_full_journal_refuses_as_before(path, monkeypatch):
    monkeypatch.setattr("llm_router.adapters.sqlite.journal_file.JOURNAL_BYTES", 100)

    def broken(self, ops):
        raise sqlite3.OperationalError("disk I/O error")

    async def scenario(store):
        await store.credit("acme", 1000, "r1", "", 1)
        await store.hold("e1", ACME, 100, "v1", 2)
        monkeypatch.setattr(writer.Writer, "_commit", broken)
        with pytest.raises(LedgerUnavailable):
            await store.settle(record("e1", 40))
        assert await store.accounts() == [("acme", 1000, 100)]

    with_store(path, scenario)


SYNC_FAILS = """
import asyncio, sqlite3, sys
from store_cases import ACME, FixedClock
from llm_router.adapters.sqlite.store import SqliteStore
from llm_router.adapters.sqlite import journal_file
from llm_router.adapters.sqlite.writer import Writer

def failing(self, ops=None):
    if ops is None:
        raise OSError("Input/output error")
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorcode = sqlite3.SQLITE_IOERR_FSYNC
    raise error

async def main():
    store = await SqliteStore.open(__import__("pathlib").Path(sys.argv[1]), clock=FixedClock())
    await store.credit("acme", 1000, "r1", "", 1)
    if sys.argv[2] == "tables":
        Writer._commit = failing
        await store.credit("acme", 1, "r2", "", 1)
    else:
        journal_file._sync = failing
        await store.hold("e1", ACME, 100, "v1", 2)
    print("went on")

asyncio.run(main())
"""


@pytest.mark.parametrize("where", ["tables", "journal"])
def test_a_failed_sync_ends_the_process_and_the_next_start_reads_what_is_there(path, where):
    done = subprocess.run(
        [sys.executable, "-c", SYNC_FAILS, str(path), where],
        cwd=Path(__file__).parent, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (writer.EXIT_DISK, "")
    assert "this process ends" in done.stderr
    assert with_store(path, lambda store: store.accounts()) == [("acme", 1000, 0)]


def test_orphans_are_listed_with_what_is_known_of_them(path):
    async def first(store):
        await store.credit("acme", 1000, "r1", "", 1)
        await store.hold("e1", ACME, 300, "openai/m@v1", 2)
        await store.hold("e2", ACME, 200, "openai/m@v1", 3)
        await store.settle(record("e2", 5))

    with_store(path, first)
    assert read_orphans(path, 9) == []

    async def second(store):
        (orphan,) = read_orphans(path, 9)
        assert (orphan.exchange_id, orphan.account, orphan.amount_pusd) == ("e1", "acme", 300)
        assert (orphan.price_version, orphan.epoch, orphan.created_ms) == ("openai/m@v1", 1, 2)
        assert orphan.voided_ms == FixedClock().now_ms()
        assert store.orphans == 1

    with_store(path, second)


def test_one_bad_operation_does_not_hurt_its_batch(path):
    async def scenario(store):
        await store.credit("acme", 1000, "r1", "", 1)
        await store.hold("old", ACME, 10, "v1", 2)
        await store.settle(record("old", 1))
        results = await asyncio.gather(
            store.hold("a", ACME, 10, "v1", 2),
            store.hold("old", ACME, 10, "v1", 2),
            store.hold("b", ACME, 10, "v1", 2),
            store.hold("c", ACME, 10, "v1", 2**70),
            store.settle(record("old", 500)),
            return_exceptions=True,
        )
        assert [type(result) for result in results] == [
            int,
            journal.OpRefused,
            int,
            journal.OpRefused,
            Settled,
        ]
        assert await store.accounts() == [("acme", 999, 20)]
        assert (await store.settle(record("a", 5))).remaining_pusd == 984
        await store.audit()

    with_store(path, scenario)


def test_too_many_waiting_operations_are_refused_not_queued(path, monkeypatch):
    monkeypatch.setattr(journal, "PENDING_MAX", 10)

    async def scenario(store):
        await store.credit("acme", 1000, "r1", "", 1)
        results = await asyncio.gather(
            *(store.hold(f"e{n}", ACME, 1, "v1", 2) for n in range(30)), return_exceptions=True
        )
        assert sum(isinstance(result, LedgerUnavailable) for result in results) == 20
        assert await store.accounts() == [("acme", 1000, 10)]

    with_store(path, scenario)


def test_closing_ends_what_was_begun_and_takes_nothing_new(path):
    async def main():
        store = await SqliteStore.open(path, clock=FixedClock())
        await store.credit("acme", 1000, "r1", "", 1)
        holds = [asyncio.create_task(store.hold(f"e{n}", ACME, 1, "v", 1)) for n in range(50)]
        await asyncio.sleep(0)
        await store.close()
        await store.close()
        assert await asyncio.gather(*holds) == list(range(999, 949, -1))
        with pytest.raises(LedgerUnavailable):
            await store.hold("late", ACME, 1, "v", 1)
        with pytest.raises(LedgerUnavailable):
            await store.find(bytes(32))

    run(main())
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT held FROM accounts").fetchone() == (50,)
        audit(connection)


def test_the_log_does_not_grow_without_bound(path, monkeypatch):
    monkeypatch.setattr(writer, "CHECKPOINT_PAGES", 100)

    async def scenario(store):
        await store.credit("acme", 10**9, "r1", "", 1)
        for number in range(600):
            await store.hold(f"e{number}", ACME, 1, "v", 1)
            await store.settle(record(f"e{number}", 1))
        return path.with_name(path.name + "-wal").stat().st_size

    # Some 7,000 pages were written; the log began again whenever it was copied.
    assert with_store(path, scenario) < 3000 * 4096


def test_a_disk_that_cannot_be_read_is_said_to_be(path):
    async def scenario(store):
        store._reads.set_authorizer(lambda *_: sqlite3.SQLITE_DENY)
        with pytest.raises(LedgerUnavailable, match="read"):
            await store.generation("acme", "e1")
        store._reads.set_authorizer(None)
        assert await store.generation("acme", "e1") is None

    with_store(path, scenario)


def test_a_report_does_not_hold_up_requests_that_need_a_key(path, monkeypatch):
    begun, go_on = threading.Event(), threading.Event()

    def long_report(*_):
        begun.set()
        go_on.wait(60)
        return []

    monkeypatch.setattr(papers, "sums", long_report)

    async def scenario(store):
        key, digest = make_key(1)
        await store.create(key, digest)
        report = asyncio.ensure_future(store.sums((), 0, 1, None))
        try:
            assert await asyncio.to_thread(begun.wait, 30)
            assert await asyncio.wait_for(store.find(digest), 30) == key
            assert not report.done()
        finally:
            go_on.set()
            await report

    with_store(path, scenario)


def test_sums_that_no_number_of_the_tables_can_hold_are_bounded(path):
    async def scenario(store):
        with closing(sqlite3.connect(path)) as connection:
            for user in "abc":
                figures = [2**62, 0, 7] + [2**62] * 8
                values = (5, "acme", "k", "", user, "m", "p", "", *figures)
                connection.execute(f"INSERT INTO rollups VALUES ({', '.join('?' * 19)})", values)
            connection.commit()
        most = [SUM_MAX, 0, 21] + [SUM_MAX] * 8
        assert await store.sums((), 0, 9, None) == [((), tuple(most))]
        assert await store.sums(("model",), 0, 9, "acme") == [(("m",), tuple(most))]
        assert await store.sums(("user",), 0, 9, "acme") == [
            ((user,), (2**62, 0, 7, *[2**62] * 8)) for user in "abc"
        ]
        assert await store.sums((), 6, 9, None) == []

    with_store(path, scenario)


def test_the_key_cache_is_bounded_and_guesses_are_not_kept(path):
    async def scenario(store):
        store._keys = keys.KeyCache(3)
        for number in range(6):
            await store.create(*make_key(number))
            await store.find(make_key(number)[1])
            await store.find(key_digest(b"guess %d" % number))
        assert [key.id for key in store._keys._keys.values()] == ["key_3", "key_4", "key_5"]
        assert (await store.find(make_key(0)[1])).id == "key_0"

    with_store(path, scenario)


def test_a_read_that_began_before_a_revocation_does_not_bring_the_key_back(path):
    async def scenario(store):
        key, digest = make_key(1)
        await store.create(key, digest)
        read = store._read

        async def slow(query):
            found = await read(query)
            store._read = read  # only the first read is overtaken
            await store.revoke(key.id, 9)
            return found

        store._read = slow
        assert (await store.find(digest)).revoked_ms == 9
        assert (await store.find(digest)).revoked_ms == 9

    with_store(path, scenario)
