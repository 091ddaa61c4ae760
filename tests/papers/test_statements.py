"""Statements: they add up to the ledger whenever they are issued, and their pages say what they hold."""

from __future__ import annotations

import asyncio
import csv
import io
import random
from collections.abc import Awaitable, Callable
from decimal import Decimal
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llm_router.adapters.sqlite.store import SqliteStore
from llm_router.billing.statement_rows import statement_rows
from llm_router.billing.statements import (
    CreditLine,
    Issuer,
    Party,
    Statement,
    TaxRate,
    UsageLine,
    credit_line,
    divide,
    invoice_of,
)
from llm_router.domain.budget import Payer
from llm_router.domain.errors import InvalidRequest, NotFound, ServerError
from llm_router.domain.money import PUSD_PER_USD, parse_usd
from llm_router.domain.record import ExchangeRecord
from llm_router.domain.usage import Usage
from llm_router.engine.moments import iso_time
from llm_router.engine.statement_files import render
from llm_router.engine.statement_pdf import FONTS, pdf_doubt
from llm_router.engine.statements import Statements, bounds

MONTHS = ("2026-09", "2026-10", "2026-11", "2026-12")
VAT = TaxRate(name="VAT", ppm=190_000)


class Hand:
    """A clock that is set."""

    def __init__(self) -> None:
        self.at_ms = bounds(MONTHS[0])[0]

    def now_ms(self) -> int:
        return self.at_ms

    def monotonic_us(self) -> int:
        return 0


Work = Callable[[SqliteStore, Hand, Statements], Awaitable[Any]]


def scenario(folder: Path, work: Work, issuer: Issuer = Issuer()) -> Any:  # noqa: B008 - frozen
    async def main() -> Any:
        clock = Hand()
        store = await SqliteStore.open(folder / "books.db", clock=clock)
        try:
            async with asyncio.timeout(300):
                return await work(store, clock, Statements(books=store, clock=clock, issuer=issuer))
        finally:
            await store.close()

    return asyncio.run(main())


async def used(store: SqliteStore, id_: str, at_ms: int, cost_pusd: int, account: str = "acme") -> None:
    record = ExchangeRecord(
        id=id_, account=account, key="key_1", operation="chat", dialect="openai_chat", asked_model="m",
        model=f"m{cost_pusd % 3}", created_ms=at_ms, status=200, cost_pusd=cost_pusd,
        usage=Usage(input_tokens=3), price_version="v",
    )  # fmt: skip
    await store.hold(id_, Payer(account=account, key="key_1"), cost_pusd, "v", at_ms)
    await store.settle(record)


@pytest.mark.parametrize("seed", range(6))
def test_issued_months_continue_each_other_and_come_to_the_balance(tmp_path: Path, seed: int) -> None:
    """Months are issued at any time after their end, while exchanges of theirs may still be settled."""
    chance = random.Random(seed)

    async def work(store: SqliteStore, clock: Hand, statements: Statements) -> None:
        await store.credit("acme", 10**15, "pay:ord_0:1", "first", clock.at_ms)
        for n in range(60):
            clock.at_ms += chance.randrange(3 * 86_400_000)
            at_ms = clock.at_ms - chance.choice((0, 0, 0, 40 * 86_400_000))  # some were admitted long before
            at_ms = max(at_ms, bounds(MONTHS[0])[0])
            if chance.random() < 0.7:
                await used(store, f"gen-{n}", at_ms, chance.randrange(1, 10**13))
            else:
                amount = chance.choice((-1, 1)) * chance.randrange(1, 10**13)
                await store.credit(
                    "acme", amount, chance.choice((f"pay:o{n}:1", f"x{n}")), "why", clock.at_ms
                )
            for month in MONTHS:
                issued = await statements.issued("acme")
                after = all(s.month < month for s in issued)
                if after and bounds(month)[1] <= clock.at_ms and chance.random() < 0.3:
                    await statements.issue("acme", month)
        clock.at_ms = bounds("2027-01")[1]
        last = await statements.show("acme", "2027-01")
        issued = await statements.issued("acme")
        entries = await store.entries("acme", 10_000)
        assert last.closing_pusd == sum(entry.amount_pusd for entry in entries) == await store.balance("acme")
        for one, other in zip(issued, [*issued[1:], last], strict=True):
            if one.to_ms == other.from_ms:
                assert other.opening_pusd == one.closing_pusd
        for statement in [*issued, last]:
            rows = statement_rows(statement, iso_time)
            amounts = [parse_usd(str(row[-1])) for row in rows[1:-1]]
            assert sum(amounts) == statement.closing_pusd == parse_usd(str(rows[-1][-1]))

    scenario(tmp_path, work)


def test_what_is_issued_stays_and_what_is_late_comes_next(tmp_path: Path) -> None:
    async def work(store: SqliteStore, clock: Hand, statements: Statements) -> None:
        start, end = bounds("2026-09")
        await store.credit("acme", 10**13, "voucher:vou_1", "welcome", start)
        await used(store, "gen-1", start + 5, 1000)
        with pytest.raises(InvalidRequest, match="not over"):
            await statements.issue("acme", "2026-09")
        with pytest.raises(InvalidRequest, match="not begun"):
            await statements.show("acme", "2026-10")
        clock.at_ms = end
        made = await statements.issue("acme", "2026-09")
        assert (made.number, made.closing_pusd, made.credits[0].kind) == (
            "INV-000001",
            10**13 - 1000,
            "voucher",
        )
        await used(store, "gen-late", end - 1, 77)
        assert await statements.show("acme", "2026-09") == await statements.issue("acme", "2026-09") == made
        clock.at_ms = bounds("2026-10")[1]
        after = await statements.issue("acme", "2026-10")
        assert (after.opening_pusd, after.late_used_pusd, after.charged_pusd) == (made.closing_pusd, 77, 77)
        assert after.number == "INV-000002"
        clock.at_ms = bounds("2026-12")[1]
        empty = await statements.issue("acme", "2026-12")  # 2026-11 is left out
        assert (empty.number, empty.invoice, empty.closing_pusd) == (None, None, 10**13 - 1077)
        with pytest.raises(InvalidRequest, match="in their order"):
            await statements.issue("acme", "2026-11")
        assert (await statements.show("acme", "2026-11")).issued_ms is None
        with pytest.raises(NotFound):
            await statements.issue("nobody", "2026-12")
        for month in ("2026-13", "26-01", "2026-1", ""):
            with pytest.raises(InvalidRequest, match="2026-11"):
                await statements.show("acme", month)

    scenario(tmp_path, work)


def test_numbers_have_no_gap_whoever_asks_at_once(tmp_path: Path) -> None:
    async def work(store: SqliteStore, clock: Hand, statements: Statements) -> None:
        names = [f"a{n}" for n in range(6)]
        for name in names:
            await store.credit(name, 10**13, name, "", clock.at_ms)
            await used(store, f"gen-{name}", clock.at_ms, 5, name)
        clock.at_ms = bounds(MONTHS[0])[1]
        made = await asyncio.gather(*(statements.issue(name, MONTHS[0]) for name in names * 2))
        assert sorted({str(s.number) for s in made}) == [f"INV-{n:06d}" for n in range(1, 7)]
        assert made[:6] == made[6:]
        assert [p.number for p in await store.papers("invoices/INV-", 0, 99)] == [1, 2, 3, 4, 5, 6]

    scenario(tmp_path, work)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=60)
@given(
    st.integers(0, 10**16),
    st.lists(st.integers(0, 300_000), max_size=3),
    st.booleans(),
)
def test_invoices_add_up_to_the_cent(charged_pusd: int, rates: list[int], included: bool) -> None:
    taxes = tuple(TaxRate(name=f"t{n}", ppm=ppm) for n, ppm in enumerate(rates))
    made = invoice_of(charged_pusd, Issuer(taxes=taxes, taxes_included=included), "acme")
    assert made.total_cents == made.net_cents + sum(tax.amount_cents for tax in made.taxes)
    assert abs(made.paid_cents * 10**10 - charged_pusd) <= 5 * 10**9
    assert made.due_cents == made.total_cents - made.paid_cents
    assert made.due_cents >= 0
    if included:
        assert made.due_cents == 0
    for tax in made.taxes if not included else ():
        exact = Decimal(made.net_cents) * tax.ppm / 10**6
        assert abs(tax.amount_cents - exact) <= Decimal("0.5")


def test_rounding_is_half_to_even() -> None:
    assert [divide(n, 10) for n in (5, 15, 25, 14, 16, -5, -15)] == [0, 2, 2, 1, 2, 0, -2]


# -- pages --------------------------------------------------------------------------------------------

ISSUER = Issuer(
    address=("Gateway & Sons", "London"),
    tax_id="GB1",
    note="Thanks.",
    customers={"acme": Party(address=("<script>Acme</script>", "Berlin"), taxes=(VAT,), note="Net 14 days.")},
)


def sample(models: int = 3, note: str = "=1+1 <b>") -> Statement:
    usage = tuple(
        UsageLine(model=f"model-{n}", requests=1000 + n, input_tokens=10**7, cached_tokens=5, output_tokens=9,
                  cost_pusd=4 * PUSD_PER_USD + 345_678_901_234)
        for n in range(models)
    )  # fmt: skip
    credit = CreditLine(
        kind="topup", ref="pay:o:1", created_ms=bounds("2026-11")[0], note=note, amount_pusd=10**13
    )
    total = sum(line.cost_pusd for line in usage)
    return Statement(
        account="acme", month="2026-11", from_ms=bounds("2026-11")[0], to_ms=bounds("2026-11")[1], opening_pusd=5,
        late_credits_pusd=0, late_used_pusd=0, credits=(credit,), usage=usage, closing_pusd=5 + 10**13 - total,
        credited_pusd=0, used_pusd=0, issued_ms=bounds("2026-12")[0], number="INV-000007",
        invoice=invoice_of(total, ISSUER, "acme"),
    )  # fmt: skip


class Text(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.words: list[str] = []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.add(tag)

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def test_the_page_shows_all_of_it_and_runs_nothing() -> None:
    page = render(sample(), "html").decode()
    text = Text()
    text.feed(page)
    assert not text.tags & {"script", "b2", "img", "iframe", "link"}
    for word in ("INV-000007", "<script>Acme</script>", "Gateway & Sons", "=1+1 <b>", "$4.345678901234",
                 "$13.037036703702", "VAT 19 %", "Net 14 days.", "Thanks.", "November 2026"):  # fmt: skip
        assert word in text.words, word
    draft = msgspec.structs.replace(sample(), issued_ms=None, number=None, invoice=None)
    assert "Not issued" in render(draft, "html").decode()


def test_headline_figures_are_the_sums_of_their_lines_to_the_last_digit() -> None:
    text = Text()
    text.feed(render(sample(), "html").decode())
    words = text.words
    told = words[words.index("Opening balance") :][:8]
    headline = dict(zip(told[::2], told[1::2], strict=True))
    amounts = {name: parse_usd(shown.replace("$", "").replace(",", "")) for name, shown in headline.items()}
    assert amounts["Added"] == 10**13
    assert amounts["Used"] == -3 * (4 * PUSD_PER_USD + 345_678_901_234)
    assert sum(list(amounts.values())[:3]) == amounts["Closing balance"]
    at = words.index("Usage, exact")
    assert words[at + 1 : at + 4] == ["$13.037036703702", "Net, rounded to cents", "$13.04"]
    assert any("rounded once" in word for word in words)


def test_refused_requests_stand_apart(tmp_path: Path) -> None:
    async def work(store: SqliteStore, clock: Hand, statements: Statements) -> None:
        await store.credit("acme", 10**13, "r", "", clock.at_ms)
        await used(store, "gen-1", clock.at_ms, 3)
        for n, model in enumerate(("m0", None, None)):
            refused = ExchangeRecord(
                id=f"gen-no{n}", account="acme", key="key_1", operation="chat", dialect="openai_chat", asked_model="m",
                model=model, created_ms=clock.at_ms, status=402, error_code="insufficient_credits",
            )  # fmt: skip
            await store.settle(refused)
        shown = await statements.show("acme", MONTHS[0])
        assert [(u.model, u.requests, u.failed) for u in shown.usage] == [("m0", 1, 1), ("", 0, 2)]
        assert [u.model for u in shown.bought] == ["m0"]
        page = render(shown, "html").decode()
        assert "Not counted: 3 requests that were refused or failed." in page
        assert "no model" not in page
        rows = list(csv.DictReader(io.StringIO(render(shown, "csv").decode())))
        usage = [row for row in rows if row["section"] == "usage"]
        assert [(row["item"], row["requests"], row["failed_requests"]) for row in usage] == [
            ("m0", "1", "1"),
            ("(no model)", "0", "2"),
        ]

    scenario(tmp_path, work)


@pytest.mark.parametrize(
    ("ref", "amount", "kind"),
    [
        ("pay:ord_1:1", 5, "topup"),
        ("pay:ord_1:2", -5, "refund"),
        ("pay:ord_1:2:refund", 5, "refund"),
        ("pay:ord_1:3:dispute", -5, "dispute"),
        ("pay:ord_1:3:dispute", 5, "dispute"),
        ("voucher:v", 5, "voucher"),
        ("x", -5, "adjustment"),
        ("x", 5, "credit"),
    ],
)
def test_credits_are_named_by_what_they_were_for(ref: str, amount: int, kind: str) -> None:
    assert credit_line(f"credit:{ref}", amount, 1, "").kind == kind


def test_the_table_defuses_formulas_and_adds_up() -> None:
    rows = list(csv.DictReader(io.StringIO(render(sample(), "csv").decode())))
    assert rows[1]["item"] == "'=1+1 <b>"
    assert sum(parse_usd(row["amount"]) for row in rows[:-1]) == parse_usd(rows[-1]["amount"])
    data = msgspec.json.decode(render(sample(), "json"))
    assert (data["closing"], data["invoice"]["due"]) == (rows[-1]["amount"], "2.48")


@pytest.mark.parametrize("models", [0, 3, 120])
def test_the_pdf_is_one(models: int) -> None:
    pytest.importorskip("fpdf", reason="the extra [pdf] is not installed")
    data = render(sample(models), "pdf")
    assert data.startswith(b"%PDF-")
    assert (data.count(b"/Type /Page\n") > 1) == (models > 50)
    assert render(sample(models), "pdf") == data


def test_letters_without_a_font_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("fpdf", reason="the extra [pdf] is not installed")
    monkeypatch.setattr("llm_router.engine.statement_pdf.FONTS", ("/nowhere/font.ttf",))
    with pytest.raises(ServerError, match="fonts-dejavu-core"):
        render(sample(note="Łódź 東京"), "pdf")


def test_letters_that_the_first_font_lacks_are_never_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("fpdf", reason="the extra [pdf] is not installed")
    if not any(Path(name).is_file() for name in FONTS):
        pytest.skip("no font of the system's is installed")
    monkeypatch.setattr("llm_router.engine.statement_pdf.FURTHER_FONTS", ("/nowhere/font.ttf",))
    strange = sample(note="Łódź \U0001f47e\u682a")
    with pytest.raises(ServerError, match="no font here has the letters '\u682a"):
        render(strange, "pdf")
    assert "\u682a" in str(pdf_doubt(strange))
    assert pdf_doubt(sample(note="Łódź")) is None
    assert render(sample(note="Łódź"), "pdf").startswith(b"%PDF-")
    assert "\u682a" in render(strange, "html").decode()
