"""Reports of use: exact sums, exports in bounded memory, cells that no spreadsheet runs."""

from __future__ import annotations

import asyncio
import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llm_router.adapters.clock import SystemClock
from llm_router.adapters.sqlite.store import SqliteStore
from llm_router.billing.usage_rows import COLUMNS, OPERATOR_ONLY, csv_text
from llm_router.cli.usage import bar
from llm_router.domain.budget import Payer
from llm_router.domain.errors import InvalidRequest
from llm_router.domain.record import AttemptRecord, ExchangeRecord
from llm_router.domain.usage import Usage
from llm_router.engine import reports as reporting
from llm_router.engine.reports import Reports

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS


class Noon:
    """11 January 1970."""

    def now_ms(self) -> int:
        return 10 * DAY_MS + 12 * HOUR_MS

    def monotonic_us(self) -> int:
        return 0


async def used(store: SqliteStore, id_: str, account: str, at_ms: int, cost_pusd: int, **fields: Any) -> None:
    attempt = AttemptRecord(
        deployment="d", provider="p", upstream_model="m", started_ms=1, duration_ms=1, outcome="delivered",
        upstream_id="up-" + id_, operator_cost_pusd=cost_pusd // 2,
    )  # fmt: skip
    values = {"model": "m", "operation": "chat", "dialect": "openai_chat", "asked_model": "=m", **fields}
    record = ExchangeRecord(
        id=id_, account=account, key="key_1", created_ms=at_ms, status=200, cost_pusd=cost_pusd,
        usage=Usage(input_tokens=3, output_tokens=4), attempts=(attempt,), price_version="v", **values,
    )  # fmt: skip
    await store.hold(id_, Payer(account=account, key="key_1"), cost_pusd, "v", at_ms)
    await store.settle(record)


def scenario(folder: Path, work: Any) -> Any:
    async def main() -> Any:
        store = await SqliteStore.open(folder / "books.db", clock=SystemClock())
        try:
            for account in ("acme", "zoo"):
                await store.credit(account, 10**15, account, "", 1)
            for n in range(7):
                await used(
                    store, f"gen-{n}", "acme" if n % 2 else "zoo", n * DAY_MS, 10**12 + n, user=f"u{n % 3}"
                )
            async with asyncio.timeout(300):
                return await work(store, Reports(books=store, clock=Noon()))
        finally:
            await store.close()

    return asyncio.run(main())


def test_sums_by_what_was_asked(tmp_path: Path) -> None:
    async def work(store: SqliteStore, reports: Reports) -> None:
        page: Any = await reports.summary(reports.span(None, None), ("day", "user"), "acme", operator=True)
        assert (page["from"], page["to"]) == ("1970-01-01T00:00:00Z", "1970-01-11T13:00:00Z")
        assert [(r["day"], r["user"]) for r in page["data"]] == [
            ("1970-01-02", "u1"), ("1970-01-04", "u0"), ("1970-01-06", "u2"),
        ]  # fmt: skip
        assert bytes(page["data"][0]["cost"]) == b"1.000000000001"
        assert bytes(page["total"]["cost"]) == b"3.000000000009"
        assert page["total"]["requests"] == 3
        mine: Any = await reports.summary((0, 3 * DAY_MS), (), "zoo", operator=False)
        assert "operator_cost" not in mine["total"]
        assert mine["data"][0]["requests"] == 2
        nothing: Any = await reports.summary((0, 1), ("model",), "nobody", operator=True)
        assert (nothing["data"], nothing["total"]["requests"], nothing["total"]["duration_ms"]) == (
            [],
            0,
            None,
        )
        for by in (("cost",), ("day", "day"), ("day", "hour", "key", "team", "user")):
            with pytest.raises(InvalidRequest, match="'by'"):
                await reports.summary((0, 1), by, None, operator=True)
        with pytest.raises(InvalidRequest, match="before"):
            reports.span("2020-01-02", "2020-01-01")

    scenario(tmp_path, work)


def test_exports_hold_each_exchange_once_page_by_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reporting, "PAGE", 2)

    async def text(reports: Reports, span: Any, account: str | None, format_: str, operator: bool) -> str:
        pieces = [piece async for piece in reports.export(span, account, format_, operator=operator)]
        assert all(piece.count(b"gen-") <= 4 for piece in pieces)  # an id and what is made of it
        return b"".join(pieces).decode()

    async def work(store: SqliteStore, reports: Reports) -> None:
        rows = list(csv.DictReader(io.StringIO(await text(reports, (0, DAY_MS * 6), None, "csv", True))))
        assert [row["id"] for row in rows] == ["gen-1", "gen-3", "gen-5", "gen-0", "gen-2", "gen-4"]
        assert tuple(rows[0]) == COLUMNS
        assert (
            rows[0] | {"cost": "1.000000000001", "asked_model": "'=m", "upstream_id": "up-gen-1"} == rows[0]
        )
        lines = (await text(reports, (0, 10 * DAY_MS), "zoo", "jsonl", False)).splitlines()
        assert [json.loads(line)["id"] for line in lines] == ["gen-0", "gen-2", "gen-4", "gen-6"]
        assert not set(OPERATOR_ONLY) & set(json.loads(lines[0]))
        with pytest.raises(InvalidRequest, match="format"):
            await text(reports, (0, 1), None, "xml", True)

    scenario(tmp_path, work)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=60)
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"))))
def test_no_cell_is_a_formula_and_all_come_back(cells: list[str]) -> None:
    [row] = list(csv.reader(io.StringIO(csv_text([[*cells, "-1.5", "end"]]), newline="")))
    assert row[-2:] == ["-1.5", "end"]
    for cell, read in zip(cells, row, strict=False):
        assert read.removeprefix("'") == cell.removeprefix("'")
        assert not read.startswith(("=", "+", "@", "\t", "\r"))
        assert not read.startswith("-") or read.lstrip("-").replace(".", "").isdigit()


def test_bars_are_as_long_as_their_share() -> None:
    from decimal import Decimal

    assert bar(Decimal(1), Decimal(1), 4) == "████"
    assert bar(Decimal(1), Decimal(32), 4) == "▏"
    assert bar(Decimal(0), Decimal(1), 4) == bar(Decimal(0), Decimal(0), 4) == ""
