"""llm-router ledger verify: whole books pass, and every way of tampering with the file is found."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import msgspec
import pytest
from store_cases import FixedClock, record, run

from llm_router.adapters.sqlite import schema
from llm_router.adapters.sqlite.prices import versions_of
from llm_router.adapters.sqlite.store import SqliteStore
from llm_router.adapters.sqlite.verify import Verdict, verify
from llm_router.billing.meter import End, meter
from llm_router.billing.own_keys import OwnKeyFee, fee_price
from llm_router.billing.payments import Booking, Order, ref_of
from llm_router.domain.budget import Budget, Payer, Scope, Window
from llm_router.domain.price import Price, Rates
from llm_router.domain.record import AttemptRecord, ExchangeRecord
from llm_router.domain.usage import Usage
from llm_router.engine.orders import document_of

NOW_MS = FixedClock().now_ms()
PRICE = Price(version="p/m@1", rates=Rates(input=10, output=100, cache_read=3), source="somewhere")
OTHER = Price(version="p/advisor@1", rates=Rates(input=1, output=2))
ANN = Payer(account="acme", key="key_1", team="red", user="ann", session="s1")


def charged(id_: str, usage: Usage | None, price: Price = PRICE, **fields: object) -> ExchangeRecord:
    """A record as the engine would write it."""
    bill = meter(
        end=End.DELIVERED, usage=usage, output_chars=40, reasoning_chars=0, input_tokens_estimate=9,
        price=price, price_of={"advisor": OTHER}.get,
    )  # fmt: skip
    attempt = AttemptRecord(
        deployment="p/m", provider="p", upstream_model="m", started_ms=NOW_MS, duration_ms=5,
        outcome="delivered", usage=usage, operator_cost_pusd=bill.cost_pusd // 2,
    )  # fmt: skip
    return record(
        id_, bill.cost_pusd, usage=bill.usage, cost=bill.lines, price_version=price.version,
        other_prices=tuple((model, other.version) for model, other in bill.others), flags=bill.flags,
        attempts=(attempt,), model="m", provider="p", team="red", user="ann", session="s1",
        created_ms=NOW_MS, **fields,
    )  # fmt: skip


async def fill(store: SqliteStore) -> None:
    await store.credit("acme", 10**7, "r1", "first", 1)
    await store.credit("other", 500, "r2", "", 1)
    for scope, id_ in ((Scope.ACCOUNT, "acme"), (Scope.KEY, "key_1"), (Scope.SESSION, "acme")):
        budget = Budget(
            id=f"bud_{scope}", account="acme", scope=scope, scope_id=id_, amount_pusd=10**7,
            window=Window.DAY, rolling=scope is Scope.KEY, time_zone="UTC", created_ms=NOW_MS - 3_600_000,
        )  # fmt: skip
        await store.set_budget(budget, NOW_MS - 3_600_000)
    usages = (
        Usage(input_tokens=20, output_tokens=5),
        Usage(input_tokens=1, cache_read_tokens=50, output_tokens=7),
        Usage(input_tokens=8, output_tokens=2, others=(("advisor", Usage(input_tokens=4, output_tokens=6)),)),
        None,
        Usage(),
    )
    for number, usage in enumerate(usages):
        one = charged(f"e{number}", usage)
        for price in (PRICE, OTHER):
            store.publish(price, NOW_MS)
        await store.hold(one.id, ANN, 10_000, PRICE.version, NOW_MS)
        await store.settle(one)
    await store.credit("acme", -100, "r3", "taken back", 1)
    await store.hold("open", ANN, 77, PRICE.version, NOW_MS)


@pytest.fixture(scope="module")
def books(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with all kinds of rows."""
    path = tmp_path_factory.mktemp("books") / "books.db"

    async def main() -> None:
        store = await SqliteStore.open(path, clock=FixedClock())
        await fill(store)
        assert await store.audit() == 7
        assert verify(path, NOW_MS).doubt is None  # while it is in use
        await store.close()

    run(main())
    return path


@pytest.fixture
def path(books: Path, tmp_path: Path) -> Path:
    """A copy to tamper with."""
    return Path(shutil.copy(books, tmp_path / "copy.db"))


def tamper(path: Path, *statements: str) -> None:
    """Change the file behind the back of its triggers, and put them back."""
    with closing(sqlite3.connect(path)) as connection:
        triggers = connection.execute("SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'").fetchall()
        for name, _ in triggers:
            connection.execute(f"DROP TRIGGER {name}")
        for statement in statements:
            connection.executescript(statement)
        for _, sql in triggers:
            connection.execute(sql)
        connection.commit()


def rechain(path: Path) -> None:
    """What a thief who knows the hashes would do: make the chain fit the entries again."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("DROP TRIGGER entries_update")
        head = schema.GENESIS
        for row in connection.execute(
            "SELECT seq, ref, account, amount, kind, created_ms, note, proof FROM entries ORDER BY seq"
        ).fetchall():
            head = schema.entry_hash(head, *row)
            connection.execute("UPDATE entries SET hash = ? WHERE seq = ?", (head, row[0]))
        with closing(sqlite3.connect(":memory:", isolation_level=None)) as fresh:
            schema.create(fresh)
            (sql,) = fresh.execute("SELECT sql FROM sqlite_schema WHERE name = 'entries_update'").fetchone()
        connection.execute(sql)
        connection.commit()


def reprove(path: Path) -> None:
    """The next thing he would do: make the digests fit the records and prices, then the chain."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("DROP TRIGGER entries_update")
        prices = dict(connection.execute("SELECT version, body FROM price_versions"))
        for id_, text in connection.execute("SELECT id, record FROM exchanges").fetchall():
            found = msgspec.json.decode(text, type=ExchangeRecord)
            proof = schema.proof_of(text, [prices.get(version, "") for version in versions_of(found)])
            connection.execute("UPDATE entries SET proof = ? WHERE ref = ?", (proof, f"use:{id_}"))
        connection.commit()
        connection.execute(
            "CREATE TRIGGER entries_update BEFORE UPDATE ON entries "
            "BEGIN SELECT raise(ABORT, 'entries are never changed'); END"
        )
    rechain(path)


def found(path: Path) -> str:
    verdict = verify(path, NOW_MS)
    assert verdict.doubt is not None, "it was not found"
    return verdict.doubt.check


def test_whole_books_are_proven(path: Path) -> None:
    verdict = verify(path, NOW_MS)
    assert verdict == Verdict(
        entries=7, exchanges=5, rerated=4, accounts=2, rollups=1, budgets=3, seq=7, head=verdict.head,
        journal="absent", journaled=0,
    )  # fmt: skip
    assert verify(path, NOW_MS, (7, verdict.head)).doubt is None
    assert verify(path, NOW_MS, (6, verdict.head)).doubt.check == "head"
    assert verify(path, NOW_MS, (8, verdict.head)).doubt.check == "head"


def test_a_migrated_file_of_before_is_proven_as_far_as_it_goes(path: Path) -> None:
    """Its entries carry no proof: their lines are added up, and the chain of before still holds."""
    tamper(path, "UPDATE entries SET proof = NULL", "UPDATE meta SET value = 8 WHERE name = 'proofs_from'")
    tamper(path, "DELETE FROM price_versions")
    rechain(path)
    verdict = verify(path, NOW_MS)
    assert (verdict.doubt, verdict.unproven, verdict.rerated) == (None, 4, 0)
    tamper(path, "UPDATE exchanges SET record = replace(record, '\"quantity\":20', '\"quantity\":19') ")
    assert found(path) == "exchanges"


RECORD = "UPDATE exchanges SET record = replace(record, '{}', '{}') WHERE id = '{}'"

TAMPERING = {
    "the amount of a charge": ("UPDATE entries SET amount = -1 WHERE ref = 'use:e0'",),
    "the amount of a grant": ("UPDATE entries SET amount = 10000001 WHERE ref = 'credit:r1'",),
    "a note": ("UPDATE entries SET note = 'x' WHERE ref = 'credit:r1'",),
    "a time": ("UPDATE entries SET created_ms = 5 WHERE seq = 3",),
    "the account of an entry": ("UPDATE entries SET account = 'other' WHERE ref = 'use:e1'",),
    "an entry deleted": ("DELETE FROM entries WHERE seq = 4",),
    "the last entry deleted": ("DELETE FROM entries WHERE seq = 7",),
    "the last charge and its exchange deleted": (
        "DELETE FROM entries WHERE seq > 5; DELETE FROM exchanges WHERE id IN ('e2', 'e3')",
    ),
    "entries exchanged": (
        "UPDATE entries SET seq = 99 WHERE seq = 3; UPDATE entries SET seq = 3 WHERE seq = 4; "
        "UPDATE entries SET seq = 4 WHERE seq = 99",
    ),
    "an entry put in": (
        "INSERT INTO entries VALUES (8, 'credit:x', 'acme', 5, 'grant', 1, '', zeroblob(32), NULL)",
    ),
    "a proof taken out": ("UPDATE entries SET proof = NULL WHERE ref = 'use:e0'",),
    "a hash": ("UPDATE entries SET hash = zeroblob(32) WHERE seq = 7",),
    "the usage in a record": (RECORD.format('"input_tokens":20', '"input_tokens":10', "e0"),),
    "a word in a record": (RECORD.format('"asked_model":"m"', '"asked_model":"n"', "e0"),),
    "a record that is no JSON": ("UPDATE exchanges SET record = '{' WHERE id = 'e4'",),
    "a record of nothing": ("UPDATE exchanges SET record = '{}' WHERE id = 'e4'",),
    "the cost column": ("UPDATE exchanges SET cost = 1 WHERE id = 'e0'",),
    "a free exchange that cost something": (
        RECORD.format('"usage":{', '"cost_pusd":5,"usage":{', "e4") + "; UPDATE exchanges SET cost = 5 WHERE id = 'e4'",
    ),
    "another key's exchange": ("UPDATE exchanges SET key = 'key_2' WHERE id = 'e0'",),
    "a charged exchange deleted": ("DELETE FROM exchanges WHERE id = 'e1'",),
    "a free exchange deleted": ("DELETE FROM exchanges WHERE id = 'e4'",),
    "a balance": ("UPDATE accounts SET posted = posted + 1 WHERE id = 'acme'",),
    "an account deleted": ("DELETE FROM accounts WHERE id = 'other'",),
    "a held amount": ("UPDATE accounts SET held = held + 1 WHERE id = 'acme'",),
    "a hold deleted": ("DELETE FROM holds",),
    "a hold of a dead process": ("UPDATE holds SET epoch = 0",),
    "a hold of a settled exchange": ("UPDATE holds SET exchange_id = 'e0'",),
    "a sum": ("UPDATE rollups SET cost = cost - 1",),
    "a sum of tokens": ("UPDATE rollups SET output_tokens = output_tokens + 1",),
    "the operator's cost": ("UPDATE rollups SET operator_cost = 0",),
    "a row of sums deleted": ("DELETE FROM rollups",),
    "a row of sums too many": ("INSERT INTO rollups SELECT hour + 1, account, key, team, user, model, provider, tags, "
        "0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 FROM rollups",),
    "what is carried along of a sum": ("UPDATE accounts SET proved = proved + 1 WHERE id = 'acme'",),
    "a budget that is no JSON": ("UPDATE budgets SET body = '{' WHERE id = 'bud_key'",),
    "a budget of nothing": ("UPDATE budgets SET body = '{}' WHERE id = 'bud_key'",),
    "a limit that is no JSON": ("INSERT INTO limits VALUES ('lim_1', '{')",),
    "a rule that is no JSON": ("INSERT INTO price_rules VALUES (1, 'rule_1', '{')",),
    "what is spent of a budget": ("UPDATE spends SET spent = spent - 1 WHERE budget = 'bud_account'",),
    "what is spent of a rolling budget": ("UPDATE spends SET spent = spent - 1 WHERE budget = 'bud_key'",),
    "what a session spent": ("UPDATE spends SET spent = spent + 1 WHERE budget = 'bud_session'",),
    "the spending of a budget deleted": ("DELETE FROM spends WHERE budget = 'bud_account'",),
    "a price version missing": ("DELETE FROM price_versions WHERE version = 'p/m@1'",),
    "the price of another model missing": ("DELETE FROM price_versions WHERE version = 'p/advisor@1'",),
    "a price": ("UPDATE price_versions SET body = replace(body, '\"input\":10', '\"input\":11')",),
    "a price that nothing was charged at": (
        "UPDATE price_versions SET body = replace(body, '\"cache_read\":3', '\"cache_read\":3,\"web_search\":9')",
    ),
    "where a price came from": ("UPDATE price_versions SET body = replace(body, 'somewhere', 'elsewhere')",),
    "a price under another name": ("UPDATE price_versions SET version = 'p/m@2' WHERE version = 'p/m@1'",),
    "a price that is none": ("UPDATE price_versions SET body = '[]' WHERE version = 'p/m@1'",),
    "since when there are proofs": ("DELETE FROM meta WHERE name = 'proofs_from'",),
}  # fmt: skip


@pytest.mark.parametrize("statements", TAMPERING.values(), ids=TAMPERING)
def test_tampering_is_found(path: Path, statements: tuple[str, ...]) -> None:
    tamper(path, *statements)
    found(path)


RECHAINED = ("the amount of a charge", "the amount of a grant", "the account of an entry", "the last entry deleted",
    "an entry put in", "a proof taken out", "the usage in a record", "a word in a record", "a price",
    "where a price came from", "a charged exchange deleted", "a price version missing")  # fmt: skip


@pytest.mark.parametrize("what", RECHAINED)
def test_tampering_is_found_though_the_hashes_were_made_anew(path: Path, what: str) -> None:
    tamper(path, *TAMPERING[what])
    rechain(path)
    found(path)


REPROVEN = (
    "the amount of a charge", "the usage in a record", "a price", "a price version missing",
    "a price under another name", "the price of another model missing",
)  # fmt: skip


@pytest.mark.parametrize("what", REPROVEN)
def test_tampering_is_found_though_the_proofs_were_made_anew_too(path: Path, what: str) -> None:
    tamper(path, *TAMPERING[what])
    reprove(path)
    found(path)


def test_who_changes_all_of_it_is_found_by_a_head_that_was_kept(path: Path) -> None:
    """Nothing in the file can tell; what was written down elsewhere does."""
    kept = verify(path, NOW_MS)
    tamper(
        path,
        "UPDATE entries SET amount = amount + 100000 WHERE ref = 'credit:r1'",
        "UPDATE accounts SET posted = posted + 100000, proved = proved + 100000 WHERE id = 'acme'",
    )
    rechain(path)
    assert verify(path, NOW_MS).doubt is None
    assert verify(path, NOW_MS, (kept.seq, kept.head)).doubt.check == "head"


@pytest.mark.parametrize(
    "name", ["entries_update", "entries_delete", "entries_gapless", "price_versions_update"]
)
def test_a_missing_trigger_is_found(path: Path, name: str) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"DROP TRIGGER {name}")
        connection.commit()
    assert found(path) == "file"


def test_the_fee_for_an_own_key_is_a_price_of_its_own(path: Path) -> None:
    """It may be made of a resale price, which nothing was charged by and so is not kept."""

    async def main() -> None:
        store = await SqliteStore.open(path, clock=FixedClock())
        resale = msgspec.structs.replace(PRICE, version="p/m@1~rule_1")
        store.publish(fee_price(resale, OwnKeyFee(ppm=50_000)), NOW_MS)
        await store.close()

    run(main())
    assert verify(path, NOW_MS).doubt is None


def test_bytes_that_rot_are_found(path: Path) -> None:
    data = bytearray(path.read_bytes())
    place = data.find(b"first")
    data[place] ^= 1
    path.write_bytes(data)
    assert found(path) in ("entries", "file")


def test_published_prices_never_change(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        for statement in ("UPDATE price_versions SET first_ms = 1", "DELETE FROM price_versions"):
            with pytest.raises(sqlite3.IntegrityError, match="published prices are never"):
                connection.execute(statement)


def test_a_version_stands_for_one_price(path: Path) -> None:
    async def main() -> None:
        store = await SqliteStore.open(path, clock=FixedClock())
        store.publish(msgspec.structs.replace(PRICE, source="another page"), NOW_MS)  # the same figures
        with pytest.raises(ValueError, match="other rates"):
            store.publish(msgspec.structs.replace(PRICE, rates=Rates(input=11, output=100)), NOW_MS)
        await asyncio.sleep(0)
        await store.close()

    run(main())
    assert verify(path, NOW_MS).doubt is None


@pytest.mark.parametrize(
    "change",
    [
        "DELETE FROM documents WHERE kind = 'order'",
        "UPDATE documents SET body = CAST(replace(CAST(body AS TEXT), '5000', '5001') AS BLOB)",
        "UPDATE documents SET body = CAST(replace(CAST(body AS TEXT), ':1,\"amount', ':2,\"amount') AS BLOB)",
        "UPDATE documents SET body = CAST('{' AS BLOB)",
        "UPDATE documents SET account = 'other'",
    ],
)
def test_payments_are_those_of_their_orders(tmp_path: Path, change: str) -> None:
    path = tmp_path / "paid.db"
    booked = Booking(number=1, amount_pusd=5000, done=True)
    order = Order(
        id="ord_1",
        account="acme",
        amount_cents=1,
        livemode=False,
        via="checkout",
        created_ms=1,
        bookings=(booked,),
    )

    async def main() -> None:
        store = await SqliteStore.open(path, clock=FixedClock())
        assert await store.put_document(document_of(order, 1))
        await store.credit("acme", 5000, ref_of(order, booked), "payment ord_1", 1)
        await store.credit("acme", 700, "pay:by-hand", "", 1)
        await store.close()

    run(main())
    assert verify(path, NOW_MS).doubt is None
    tamper(path, change)
    assert found(path) == "orders"


def test_what_is_spent_in_the_first_minute_of_a_budget_is_proven(tmp_path: Path) -> None:
    path = tmp_path / "young.db"
    budget = Budget(
        id="bud_1", account="acme", scope=Scope.ACCOUNT, scope_id="acme", amount_pusd=10**7,
        window=Window.LIFETIME, rolling=False, time_zone="UTC", created_ms=NOW_MS - 2,
    )  # fmt: skip

    async def main() -> None:
        store = await SqliteStore.open(path, clock=FixedClock())
        await store.credit("acme", 10**7, "r1", "first", 1)
        await store.set_budget(budget, NOW_MS - 2)
        store.publish(PRICE, NOW_MS)
        await store.hold("e1", ANN, 10_000, PRICE.version, NOW_MS)
        await store.settle(charged("e1", Usage(input_tokens=20, output_tokens=5)))
        await store.close()

    run(main())
    assert verify(path, NOW_MS).doubt is None
    tamper(path, "DELETE FROM spends")
    assert found(path) == "budgets"


def test_a_start_tells_what_is_damaged(path: Path) -> None:
    tamper(path, "UPDATE accounts SET proved = proved + 1 WHERE id = 'acme'")
    with pytest.raises(schema.StoreCorrupt, match="is the sum of its entries, but what is carried along"):
        run(SqliteStore.open(path, clock=FixedClock()))
