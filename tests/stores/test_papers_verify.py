"""llm-router ledger verify proves receipts, statements and invoices too, and finds each that was tampered with."""

from __future__ import annotations

import itertools
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from postgres_server import new_database, open_store, server
from store_cases import FixedClock, run
from test_ledger_verify import NOW_MS, charged, fill, tamper

from llm_router.adapters.sqlite.store import SqliteStore
from llm_router.adapters.sqlite.verify import verify
from llm_router.adapters.stores import verify_database
from llm_router.billing.statements import Issuer, TaxRate
from llm_router.domain.budget import Payer
from llm_router.domain.usage import Usage
from llm_router.engine.receipts import Receipts
from llm_router.engine.statements import Statements, bounds

MONTH_MS = bounds("2027-01")[0]
_numbers = itertools.count()


class Later(FixedClock):
    def now_ms(self) -> int:
        return bounds("2027-03")[1]


async def issue(store: Any) -> None:
    """Papers of all kinds, and books that went on after them."""
    await fill(store)
    receipts = Receipts(books=store, signer=None)  # type: ignore[arg-type]  # nothing is signed here
    await receipts._catch_up("acme")
    issuer = Issuer(taxes=(TaxRate(name="VAT", ppm=190_000),))
    statements = Statements(books=store, clock=Later(), issuer=issuer)
    await store.credit("acme", 77, "pay:of_before:1", "payment of_before", MONTH_MS + 5)
    first = await statements.issue("acme", "2027-01")
    assert first.number == "INV-000001"
    await store.credit("acme", 5, "late", "", MONTH_MS + 9)
    late = charged("e-late", Usage(input_tokens=7, output_tokens=1), key="key_9")
    await store.hold("e-late", Payer(account="acme", key="key_9"), 10**5, "v", NOW_MS)
    await store.settle(late)
    second = await statements.issue("acme", "2027-02")
    assert (second.late_credits_pusd, second.late_used_pusd) == (5, late.cost_pusd)
    await receipts._catch_up("acme")
    await receipts._catch_up("other")


@pytest.fixture(scope="module")
def books(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("papers") / "books.db"

    async def main() -> None:
        store = await SqliteStore.open(path, clock=FixedClock())
        await issue(store)
        await store.credit("acme", 1, "after", "", MONTH_MS + 11)
        await store.close()

    run(main())
    return path


def test_papers_are_proven(books: Path) -> None:
    verdict = verify(books, NOW_MS)
    assert verdict.doubt is None, verdict.doubt
    with closing(sqlite3.connect(books)) as connection:
        assert connection.execute("SELECT count(*) FROM papers").fetchone() == (verdict.papers,)
        kinds = connection.execute("SELECT DISTINCT substr(series, 1, 8) FROM papers ORDER BY 1").fetchall()
    assert [kind for (kind,) in kinds] == ["invoices", "receipts", "statemen"]


def change(old: str, new: str, where: str) -> str:
    return f"UPDATE papers SET body = replace(body, '{old}', '{new}') WHERE {where}"


RECEIPT = "series = 'receipts/acme' AND number = 2"
FIRST = "series LIKE 'statements/%' AND number = 1"
SECOND = "series LIKE 'statements/%' AND number = 2"
BOTH = "id IN ('2027-01', 'acme/2027-01')"
LAST_GAP = (
    "DELETE FROM papers WHERE series = 'receipts/acme' AND number = 1; "
    "UPDATE papers SET number = number - 1 WHERE series = 'receipts/acme'"
)
TAMPERED = [
    (change('"amount":"', '"amount":"9', RECEIPT), "not what its entry"),
    (f"UPDATE papers SET id = 'credit:none' WHERE {RECEIPT}", "is missing"),
    (f"DELETE FROM papers WHERE {RECEIPT}", "number 2 of its series is missing"),
    (f"UPDATE papers SET account = 'other' WHERE {RECEIPT}", "another account"),
    (LAST_GAP, "not what its entry"),
    (change('"closing_pusd":', '"closing_pusd":1', FIRST), "do not add up"),
    (change('"number":"INV-000001"', '"number":"INV-000007"', BOTH), "INV-000007"),
    ("DELETE FROM papers WHERE series LIKE 'invoices/%' AND number = 2", "its invoice INV-000002 is missing"),
    (f"DELETE FROM papers WHERE {SECOND}", "the statement that it is of is missing"),
    (change('"net_cents":0', '"net_cents":1', "id = 'acme/2027-01'"), "figures do not add up"),
    (change('"month":"2027-01"', '"month":"2027-02"', BOTH), "it says that it is INV-000001"),
    (f"UPDATE papers SET account = 'x' WHERE {FIRST}", "in the place of another"),
    (change('"ref":"pay:of_before:1"', '"ref":"pay:of_behind:1"', BOTH), "never as it says"),
    (change('"note":"payment of_before"', '"note":"a gift"', BOTH), "never as it says"),
    (change('"input_tokens":', '"input_tokens":9', BOTH), "counts more of"),
    ("UPDATE papers SET body = '{' WHERE id = '2027-01'", "cannot be read"),
]


@pytest.mark.parametrize(("statement", "what"), TAMPERED, ids=[f"{n}" for n in range(len(TAMPERED))])
def test_tampering_is_found(books: Path, tmp_path: Path, statement: str, what: str) -> None:
    path = Path(shutil.copy(books, tmp_path / "copy.db"))
    tamper(path, statement)
    doubt = verify(path, NOW_MS).doubt
    assert doubt is not None, "it was not found"
    assert (doubt.check, what in doubt.what) == ("papers", True), doubt


def test_a_statement_of_other_charges_is_found(books: Path, tmp_path: Path) -> None:
    """Two models change places, so that every sum stays: the books know better."""
    path = Path(shutil.copy(books, tmp_path / "copy.db"))
    tamper(path, change('"model":"m"', '"model":"x"', BOTH))
    doubt = verify(path, NOW_MS).doubt
    assert doubt is not None
    assert doubt.check == "papers"


@pytest.fixture(scope="module")
def database() -> str:
    database = new_database()

    async def main() -> None:
        store = await open_store(database)
        await issue(store)
        await store.close()

    run(main())
    return database


def proven(database: str) -> Any:
    return run(verify_database(server().url(database), None, NOW_MS, {}))[0]


def test_papers_of_a_database_are_proven(database: str) -> None:
    verdict = proven(database)
    assert (verdict.doubt, verdict.papers > 6) == (None, True)


@pytest.mark.parametrize("n", [0, 2, 5, 7, 12, 14])
def test_tampering_with_a_database_is_found(database: str, n: int) -> None:
    statement, what = TAMPERED[n]
    name = f"{database}_copy{next(_numbers)}"
    server().sql("postgres", f"CREATE DATABASE {name} TEMPLATE {database}")
    off = "ALTER TABLE papers DISABLE TRIGGER USER;"
    on = off.replace("DISABLE", "ENABLE")
    server().sql(name, f"SET search_path = llm_router; {off} {statement}; {on}")
    doubt = proven(name).doubt
    assert doubt is not None, "it was not found"
    assert (doubt.check, what in doubt.what) == ("papers", True), doubt
