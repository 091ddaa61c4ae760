"""The journal in front of the tables: its file on a bad disk, and what the writer promises by it."""

from __future__ import annotations

import asyncio
import errno
import os
import sqlite3
import zlib
from contextlib import closing, contextmanager

import msgspec
import pytest
from store_cases import ACME, FixedClock, record, run

from llm_router.adapters.sqlite import journal_file, known, writer
from llm_router.adapters.sqlite.boot import audit
from llm_router.adapters.sqlite.journal_file import Held, JournalFile
from llm_router.adapters.sqlite.journaling import apply_singly, begin_of, move_of, op_of
from llm_router.adapters.sqlite.rows import (
    BudgetOp,
    CreditOp,
    FlushOp,
    HoldOp,
    ProbeOp,
    SettleOp,
    StatementOp,
)
from llm_router.adapters.sqlite.schema import GENESIS, connect, create_file, prepare
from llm_router.adapters.sqlite.store import SqliteStore
from llm_router.adapters.sqlite.writer import Writer
from llm_router.billing.ledger import Ledger
from llm_router.billing.rollups import SUM_MAX, rollup_counts, rollup_key
from llm_router.domain.usage import Usage


@pytest.fixture
def path(tmp_path):
    return tmp_path / "books.db"


@pytest.fixture
def file(tmp_path, monkeypatch):
    monkeypatch.setattr(journal_file, "JOURNAL_BYTES", 4096)
    with closing(JournalFile(tmp_path / "moves")) as file:
        yield file


def moves(*names):
    return [Held(name, "acme", 10, "v1", 5) for name in names]


def kept(file):
    return [move.exchange_id for frame in file.read() for move in frame.moves]


class System:
    """The system as the file knows it, whose writes and syncs are scripted: each is a number of bytes
    that are written, an error to raise, or None for all of it."""

    def __init__(self, *writes, syncs=()):
        self.writes = list(writes)
        self.syncs = list(syncs)

    def __getattr__(self, name):
        return getattr(os, name)

    def pwrite(self, descriptor, data, offset):
        step = self.writes.pop(0) if self.writes else None
        if isinstance(step, OSError):
            raise step
        return os.pwrite(descriptor, data if step is None else data[:step], offset)

    def fdatasync(self, descriptor):
        step = self.syncs.pop(0) if self.syncs else None
        if step is not None:
            raise step


def failed(number):
    return OSError(number, os.strerror(number))


@pytest.mark.parametrize(
    "first", [0, 4, 5, 8, 12, 40, failed(errno.EIO), failed(errno.ENOSPC), failed(errno.EFBIG)], ids=str
)
def test_what_is_not_wholly_written_is_not_kept_and_the_next_is(file, monkeypatch, first):
    assert file.append(moves("a"), GENESIS)
    size = file.size
    monkeypatch.setattr(journal_file, "os", System(first))
    assert not file.append(moves("b", "c"), GENESIS)
    assert (kept(file), file.size) == (["a"], size)
    assert file.append(moves("d"), GENESIS)
    assert kept(file) == ["a", "d"]


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC])  # room may be looked for as late as that
def test_a_sync_that_fails_is_an_error(file, monkeypatch, number):
    monkeypatch.setattr(journal_file, "os", System(syncs=[failed(number)]))
    with pytest.raises(OSError, match=r"error|space"):
        file.append(moves("b"), GENESIS)


def test_what_is_left_of_a_longer_frame_is_no_frame(file, monkeypatch):
    assert file.append(moves("a"), GENESIS)
    monkeypatch.setattr(journal_file, "os", System(120))
    assert not file.append(moves(*"bcdefghijk"), GENESIS)
    assert file.append(moves("l"), GENESIS)
    assert kept(file) == ["a", "l"]


def test_a_journal_that_is_full_takes_no_more_until_it_begins_anew(file):
    file.begin(7)
    assert file.append(moves(*(f"e{n}" for n in range(60))), GENESIS)
    assert not file.append(moves(*(f"f{n}" for n in range(200))), GENESIS)
    file.begin(8)
    assert file.append(moves("g"), GENESIS)
    assert kept(file) == ["g"]  # what is left of the generation before is behind it


def test_frames_of_a_generation_before_are_not_read(file):
    file.begin(7)
    assert all(file.append(moves(name), GENESIS) for name in "abc")
    file.begin(8)
    assert file.append(moves("d"), GENESIS)  # as long as the one that it takes the place of
    assert kept(file) == ["d"]


class Books:
    """A writer that is driven by hand, with the ledger in front of it."""

    def __init__(self, path):
        create_file(path)
        self.connection = connect(path)
        prepare(self.connection, path)
        begin = begin_of(self.connection)
        self.file = JournalFile(path.with_name(path.name + ".journal"))
        self.file.begin(begin.generation + 1)
        self.told = []
        self.died = []
        self.ledger = Ledger()
        self.checkpoints = connect(path)
        self.writer = Writer(
            connection=self.connection,
            checkpoints=self.checkpoints,
            epoch=0,
            chain=begin.chain,
            deliver=lambda ops, failure: self.told.append((list(ops), failure)),
            file=self.file,
            die=self.died.append,
        )

    def close(self):
        for each in (self.connection, self.checkpoints, self.file):
            each.close()

    def handle(self, *ops):
        """What came of them: for each True, or False for refused."""
        self.told.clear()
        for op in ops:
            self.writer.submit([op])
        self.writer._handle(self.writer._take())
        saved = {id(op): failure is None and op.error is None for some, failure in self.told for op in some}
        return [saved[id(op)] for op in ops]

    def hear(self):
        self.writer.heard()
        self.writer._handle(self.writer._take())

    def count(self, table):
        return self.connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]

    def credit(self, ref="r1", amount=10**6):
        credit = self.ledger.credit("acme", amount)
        return CreditOp(future=None, credit=credit, ref=ref, reason="", now_ms=1)

    def hold(self, id_, amount=10, now_ms=2):
        hold = self.ledger.hold(id_, ACME, amount, 2)
        return HoldOp(future=None, hold=hold, price_version="v1", now_ms=now_ms)

    def settle(self, id_, cost=3, **fields):
        exchange = record(id_, cost, **fields)
        settlement = self.ledger.settle(id_, ACME, cost, 5)
        return SettleOp(
            future=None,
            settlement=settlement,
            row=(
                id_,
                "acme",
                "key_1",
                None,
                5,
                "m",
                200,
                None if settlement.hold is None else settlement.hold.amount_pusd,
                settlement.charged_pusd,
                msgspec.json.encode(exchange).decode(),
            ),
            rollup=rollup_key(exchange),
            sums=rollup_counts(exchange),
            created_ms=5,
            note="v1",
            proof=bytes(32),
        )

    def audit(self):
        self.writer._handle([FlushOp(future=None)])
        assert not self.writer.waits
        return audit(self.connection)


@contextmanager
def books_at(path):
    with closing(Books(path)) as books:
        assert books.handle(books.credit()) == [True]
        yield books


def test_a_budget_ends_the_batch_wherever_it_stands_in_what_was_handed_over(path):
    first, last = FlushOp(future=None), FlushOp(future=None)
    budget = BudgetOp(future=None, budget_id="b", body="{}", now_ms=1, history=lambda _: [])
    with books_at(path) as books:
        books.writer.submit([first, budget, last])
        assert books.writer._take() == [first, budget]
        assert books.writer._take() == [last]


def test_what_is_more_than_a_batch_comes_in_several(path, monkeypatch):
    ops = [FlushOp(future=None) for _ in range(7)]
    with books_at(path) as books:
        monkeypatch.setattr(writer, "BATCH_MAX", 3)
        books.writer.submit(list(ops))
        assert [books.writer._take() for _ in range(3)] == [ops[:3], ops[3:6], ops[6:]]


def test_a_hold_that_stays_and_one_that_is_settled_before_it_is_booked_move_the_account_by_what_stays(path):
    with books_at(path) as books:
        held, gone = books.hold("stays", 25), books.hold("gone", 40)
        assert books.handle(held, gone, books.settle("gone", 7), FlushOp(future=None)) == [True] * 4
        accounts = books.connection.execute("SELECT posted, held FROM accounts").fetchall()
        assert accounts == [(10**6 - 7, 25)]
        assert books.count("holds") == 1
        assert books.handle(books.settle("stays", 3), FlushOp(future=None)) == [True] * 2
        accounts = books.connection.execute("SELECT posted, held FROM accounts").fetchall()
        assert accounts == [(10**6 - 10, 0)]


def test_a_batch_with_another_operation_is_one_transaction(path, monkeypatch):
    commits = []
    commit = Writer._commit
    monkeypatch.setattr(Writer, "_commit", lambda self, ops: (commits.append(len(ops)), commit(self, ops))[1])
    with books_at(path) as books:
        commits.clear()
        batch = [
            books.hold("a"),
            FlushOp(future=None),
            books.hold("b"),
            books.settle("a"),
            FlushOp(future=None),
        ]
        assert books.handle(*batch) == [True] * 5
        assert commits == [2]  # one for all who read, behind one frame of the journal
        assert (books.count("holds"), books.count("exchanges")) == (1, 1)
        assert books.handle(books.hold("c"), books.credit("r2"), books.settle("c")) == [True] * 3
        assert commits == [2, 3]
        assert books.audit() == 4


def test_a_charge_of_a_hold_that_was_refused_is_refused_with_it(path):
    """It was made before anybody had heard of the refusal. In the journal it could not be booked later."""
    with books_at(path) as books:
        assert books.handle(books.hold("a"), books.settle("a")) == [True, True]
        again = books.hold("a")
        assert books.handle(again) == [False]
        late = books.settle("a", 5)
        assert books.handle(books.hold("b"), late) == [True, False]
        books.ledger.undo_hold(again.hold)
        books.ledger.undo_settlement(late.settlement)
        assert books.audit() == 2
        books.hear()
        assert books.handle(books.hold("c")) == [True]
        assert not books.writer.waits  # one of the two refusals is still unheard
        books.hear()
        assert books.handle(books.settle("b")) == [True]
        assert books.writer.waits  # journaled again
        assert books.audit() == 3
        assert list(books.ledger.balances()) == [("acme", 10**6 - 6, 10)]


def test_a_hold_on_a_credit_that_was_refused_is_refused_with_it(path):
    with books_at(path) as books:
        refused = books.credit("\ud800", 10**9)
        rich, rest = books.hold("a", 10**8), books.hold("b", 10)
        assert books.handle(refused) == [False]
        assert books.handle(rich, rest) == [False, True]
        books.hear()
        assert books.audit() == 1


def test_a_hold_and_its_charge_in_one_batch_are_refused_together(path):
    with books_at(path) as books:
        assert books.handle(books.hold("a"), books.settle("a")) == [True, True]
        assert books.handle(books.hold("a"), books.settle("a"), books.hold("b")) == [False, False, True]
        assert books.audit() == 2


def test_exchanges_may_come_in_any_order_of_their_ids(path, monkeypatch):
    monkeypatch.setattr(known, "KNOWN_MAX", 5)
    asked = []
    held_of = known.held_of
    monkeypatch.setattr(known, "held_of", lambda reads, ids: (asked.extend(ids), held_of(reads, ids))[1])
    with books_at(path) as books:
        assert books.handle(books.hold("c"), books.hold("b")) == [True, True]
        assert books.handle(books.hold("a")) == [True]
        assert asked == []
        assert books.handle(books.settle("b"), books.settle("a")) == [True, True]
        assert books.handle(books.hold("b")) == [False]
        books.hear()
        books.audit()
        assert books.handle(*(books.hold(f"d{n}") for n in range(4))) == [True] * 4  # forgets them
        asked.clear()
        assert books.handle(books.hold("bb"), books.hold("e")) == [True, True]
        assert asked == ["bb"]
        assert books.handle(books.hold("a")) == [False]
        assert books.handle(books.settle("zz", 0), books.settle("zz", 0)) == [True, False]


def test_entries_that_come_between_two_generations_move_the_chain(path):
    with books_at(path) as books:
        assert books.handle(books.hold("a"), books.settle("a"), FlushOp(future=None)) == [True] * 3
        assert books.handle(books.hold("a")) == [False]  # nothing is in the journal for it
        books.hear()
        assert books.handle(books.credit("r2")) == [True]
        assert books.handle(books.hold("b"), FlushOp(future=None)) == [True, True]
        assert books.handle(books.settle("b")) == [True]
        assert books.audit() == 4


def test_an_exchange_that_went_into_the_tables_at_once_is_known(path):
    with books_at(path) as books:
        assert books.handle(books.hold("b", now_ms=1 << 61), books.settle("b")) == [True, True]
        assert books.handle(books.hold("b")) == [False]
        books.hear()
        assert books.handle(books.credit("r2"), books.hold("c"), books.settle("c")) == [True] * 3
        assert books.handle(books.hold("c")) == [False]


def test_sums_that_nobody_could_add_up_cost_no_charge(path):
    huge = Usage(input_tokens=(1 << 60) - 1, output_tokens=(1 << 59))
    with books_at(path) as books:
        for number in range(20):
            id_ = f"e{number:02}"
            assert books.handle(books.hold(id_), books.settle(id_, usage=huge)) == [True, True]
            assert books.handle(FlushOp(future=None)) == [True]
        assert books.audit() == 21
        sums = books.connection.execute(
            "SELECT requests, input_tokens, output_tokens FROM rollups"
        ).fetchone()
        assert sums == (20, SUM_MAX, SUM_MAX)


def test_what_the_tables_refuse_holds_up_nothing_else(path, capsys):
    with books_at(path) as books:
        held, charged = books.hold("a"), books.settle("a")
        stray = books.hold("b")
        begin = begin_of(books.connection)
        books.connection.execute("BEGIN")
        lost = books.settle("b")  # its hold never was there
        chain = apply_singly(books.connection, [held, lost, charged], 0, begin.chain, 9)
        books.connection.execute("COMMIT")
        assert stray.hold.exchange_id == "b"
        assert "the charge of b in the journal cannot be booked" in capsys.readouterr().err
        assert begin_of(books.connection) == msgspec.structs.replace(begin, chain=chain, generation=9)
        assert audit(books.connection) == 2


def test_a_disk_that_refuses_is_not_taken_for_a_move_that_is_wrong(path):
    with books_at(path) as books:

        class Failing:
            in_transaction = True

            def execute(self, sql, *values):
                if sql.startswith("INSERT INTO exchanges"):
                    raise sqlite3.OperationalError("database or disk is full")
                return books.connection.execute(sql, *values)

            def executemany(self, sql, rows):
                return self.execute(sql) if "exchanges" in sql else books.connection.executemany(sql, rows)

        held, charged = books.hold("a"), books.settle("a")
        begin = begin_of(books.connection)
        books.connection.execute("BEGIN")
        with pytest.raises(sqlite3.OperationalError, match="full"):
            apply_singly(Failing(), [held, charged], 0, begin.chain, 9)
        books.connection.execute("ROLLBACK")
        assert begin_of(books.connection) == begin


def test_a_failed_sync_while_moves_are_booked_one_by_one_ends_the_process(path, monkeypatch):
    def wrong(self, ops):
        raise sqlite3.IntegrityError("one of them is wrong")

    def failing(self, ops):
        error = sqlite3.OperationalError("disk I/O error")
        error.sqlite_errorcode = sqlite3.SQLITE_IOERR_FSYNC
        raise error

    with books_at(path) as books:
        monkeypatch.setattr(Writer, "_commit", wrong)
        books.writer._failure = sqlite3.OperationalError("database or disk is full")
        monkeypatch.setattr(Writer, "_commit_singly", failing)
        assert books.handle(ProbeOp(future=None)) == [False]
        assert [error.sqlite_errorcode for error in books.died] == [sqlite3.SQLITE_IOERR_FSYNC]


def test_the_event_loop_is_told_of_a_failure_that_nobody_waited_for(path, monkeypatch):
    def broken(self, ops):
        raise sqlite3.OperationalError("disk I/O error")

    monkeypatch.setattr(writer, "JOURNALED_MAX", 2)
    with books_at(path) as books:
        monkeypatch.setattr(Writer, "_commit", broken)
        assert books.handle(books.hold("a"), books.hold("b")) == [True, True]
        assert [(ops, str(failure)) for ops, failure in books.told[1:]] == [([], "disk I/O error")]
        late = books.hold("c")
        assert books.handle(late, books.settle("a")) == [False, True]  # its hold is durable
        assert books.handle(books.settle("c"), books.settle("b")) == [False, True]


def test_a_move_that_should_not_be_there_is_told_of_and_the_others_are_booked(path, capsys):
    with books_at(path) as books:
        wrong = books.hold("a")
        assert books.handle(wrong, books.settle("a"), books.hold("b")) == [True] * 3
        books.writer._waiting.add(
            [books.hold("d"), HoldOp(future=None, hold=wrong.hold, price_version="v1", now_ms=2)]
        )
        books.writer._waiting.add([HoldOp(future=None, hold=wrong.hold, price_version="v1", now_ms=2)])
        assert books.handle(books.settle("b")) == [True]
        assert books.audit() == 3
        assert capsys.readouterr().err.count("the hold of a in the journal cannot be booked") == 2
        assert books.handle(books.settle("d")) == [True]
        assert books.audit() == 4


def test_moves_become_the_same_operations_again(path):
    with books_at(path) as books:
        ops = [books.hold("a"), books.settle("a"), books.settle("z", 0)]
        frame = msgspec.msgpack.encode((1, 0, GENESIS, [move_of(op) for op in ops]))
        again = [op_of(move) for move in msgspec.msgpack.decode(frame, type=journal_file.Frame).moves]
        assert books.handle(*again) == [True] * 3
        assert books.audit() == 2


def test_a_statement_behind_moves_finds_them_in_the_tables(path):
    with books_at(path) as books:
        assert books.handle(books.hold("a"), books.settle("a")) == [True, True]
        end = StatementOp(future=None, sql="UPDATE exchanges SET status = 201", values=())
        assert books.handle(end) == [True]
        assert end.result == 1


def spool_frame(charges):
    body = msgspec.msgpack.encode(
        [
            [op.settlement, op.row, list(op.rollup), op.sums, op.created_ms, op.note, op.proof]
            for op in charges
        ]
    )
    return b"LRsp" + len(body).to_bytes(4, "big") + zlib.crc32(body).to_bytes(4, "big") + body


def test_charges_in_the_spool_of_an_earlier_version_are_booked_once(path, capsys):
    spool = path.with_name(path.name + ".spool")

    async def earlier():
        store = await SqliteStore.open(path, clock=FixedClock())
        await store.credit("acme", 1000, "r1", "", 1)
        for number in range(3):
            await store.hold(f"e{number}", ACME, 100, "v1", 2)
        await store.close()

    async def later():
        store = await SqliteStore.open(path, clock=FixedClock())
        try:
            found = await asyncio.gather(*(store.generation("acme", f"e{number}") for number in range(3)))
            costs = [None if each is None else each.cost_pusd for each in found]
            return await store.accounts(), store.orphans, costs, await store.audit()
        finally:
            await store.close()

    run(earlier())
    ledger = Ledger([("acme", 1000)])
    old = Books.__new__(Books)
    old.ledger = ledger
    for number in range(3):
        old.hold(f"e{number}", 100)
    frames = spool_frame([old.settle("e0", 30)]) + spool_frame([old.settle("e1", 40)])
    spool.write_bytes(frames + bytes(12) + b"what was there before")
    assert run(later()) == ([("acme", 930, 0)], 1, [30, 40, None], 3)
    assert not spool.exists()
    spool.write_bytes(frames)  # as after a crash before it was removed
    assert run(later()) == ([("acme", 930, 0)], 0, [30, 40, None], 3)
    spool.write_bytes(frames[:-1])  # torn
    assert run(later())[0] == [("acme", 930, 0)]
    assert capsys.readouterr().err == ""
