"""Drift against a provider's export: each cause is named, and nothing that rounding explains is one."""

from __future__ import annotations

import argparse
import io
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llm_router.billing.bill_sides import Bill, Ours
from llm_router.billing.provider_bills import FORMATS, SLACK_PUSD, BillProblem, Row, day_at, read_bill
from llm_router.billing.reconcile import Counts, Key, compare, model_name, named_in
from llm_router.cli import world
from llm_router.cli.reconcile import reconcile

UTC = ZoneInfo("UTC")
USD = 10**12


def rows(format_: str, text: str, zone: Any = UTC, **chosen: tuple[str, ...]) -> list[Row]:
    return list(read_bill(io.StringIO(text, newline=""), FORMATS[format_], chosen, zone))


def test_usage_and_costs_as_openai_exports_them() -> None:
    usage = (
        "start_time,start_time_iso,model,num_model_requests,input_tokens,output_tokens,input_cached_tokens\n"
        '1793491200,2026-11-01T00:00:00+00:00,gpt-5-mini-2025-08-07,3,"1,200",40,100\n'
    )
    [row] = rows("openai", usage)
    assert (row.day, model_name(row.label)) == ("2026-11-01", "gpt-5-mini")
    assert (row.counts.requests, row.counts.input_tokens, row.counts.output_tokens) == (3, 1200, 40)
    assert row.counts.cost_pusd is None
    costs = 'start_time,amount_value,line_item\n1793491200,1.25e-05,"gpt-5-mini-2025-08-07, input"\n1793491200,,x\n'
    first, second = rows("openai", costs)
    assert (first.day, model_name(first.label), first.counts.cost_pusd) == (
        "2026-11-01",
        "gpt-5-mini",
        12_500_000,
    )
    assert second.counts.cost_pusd is None


def test_usage_and_costs_as_anthropic_exports_them() -> None:
    usage = (
        "usage_date_utc,model_version,usage_input_tokens_no_cache,usage_input_tokens_cache_write_5m,"
        "usage_input_tokens_cache_write_1h,usage_input_tokens_cache_read,usage_output_tokens\n"
        "2026-11-01,claude-sonnet-4-5-20250929,100,10,5,1000,7\n"
    )
    [row] = rows("anthropic", usage)
    assert (row.counts.input_tokens, row.counts.output_tokens) == (1115, 7)
    assert model_name(row.label) == "claude-sonnet-4-5"
    [cost] = rows("anthropic", "usage_date_utc,model,cost_usd\n2026-11-01,Claude Sonnet 4.5,$0.42\n")
    assert (cost.counts.cost_pusd, cost.counts.slack_pusd) == (42 * USD // 100, USD // 200)
    assert named_in(cost.label, ["claude-sonnet-4", "claude-sonnet-4-5"]) == "claude-sonnet-4-5"


def test_costs_as_google_exports_them() -> None:
    text = (
        "Invoice number,1\nInvoice date,2026-12-01\n\n"
        "Project ID,SKU description,Usage start date,Cost ($),Unrounded Cost ($)\n"
        "p,Generate content output token count Gemini 3.5 Flash-Lite text,2026-11-01,0.01,0.0123456\n"
        ",Tax,,0.20,0.2\n"
    )
    [row] = rows("google", text)
    assert row.counts.cost_pusd == 12_345_600_000
    assert named_in(row.label, ["gemini-3.5-flash", "gemini-3.5-flash-lite"]) == "gemini-3.5-flash-lite"


def test_days_are_those_of_the_time_zone() -> None:
    text = "time,model,cost\n2026-11-02T05:00:00Z,m,1\n2026-11-02 05:00:00,m,1\n2026-11-02,m,1\n"
    days = [row.day for row in rows("generic", text, ZoneInfo("America/Los_Angeles"))]
    assert days == ["2026-11-01", "2026-11-01", "2026-11-02"]


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("a,b\n1,2\n", "no line names the columns"),
        ("time,cost\n2026-11-01,1\n", "names the model"),
        ("time,model\n2026-11-01,m\n", "tokens or costs"),
        ("time,model,cost\nyesterday,m,1\n", "no time"),
        ("time,model,cost\n2026-11-01,m,NaN\n", "no amount"),
        ("time,model,cost\n2026-11-01,m,1e999\n", "no amount"),
        ("time,model,cost\n2026-11-01,m,.\n", "no amount"),
        ("time,model,input_tokens\n2026-11-01,m,-5\n", "no whole number"),
        ("time,model,input_tokens\n2026-11-01,m,1.5\n", "no whole number"),
        (f"time,model,cost\n2026-11-01,{'m' * 200_000},1\n", "line 2: this is no CSV"),
        ("time,model,cost\n0001-01-01,m,1\n", "no time"),
        ("time,model,cost\n9999-12-31T00:00:00Z,m,1\n", "no time"),
    ],
)
def test_files_that_cannot_be_read(text: str, what: str) -> None:
    with pytest.raises(BillProblem, match=what):
        rows("generic", text)


def test_a_description_names_a_model_word_by_word_and_an_id_no_other_one() -> None:
    assert named_in("GPT-4o mini input", ["gpt-4o", "gpt-4o-mini"]) == "gpt-4o-mini"
    assert named_in("claude3.5 Haiku, output", ["claude-3-5-haiku"]) == "claude-3-5-haiku"
    assert named_in("Turbo3 tokens", ["o3"]) is None
    assert {model_name(name) for name in ("gpt-4-0613", "GPT-4", "gpt-4-2023-06-13, input")} == {"gpt-4"}
    for id_ in ("gpt-5-mini", "gpt-5-mini-2025-08-07, input", "my/gpt-5"):
        assert named_in(id_, ["gpt-5"]) is None


def test_columns_by_name() -> None:
    [row] = rows("generic", "Wann,M,A,B\n2026-11-01,m,1,2\n", time=("wann",), model=("m",), input=("a", "b"))
    assert row.counts.input_tokens == 3
    with pytest.raises(BillProblem, match="no column 'z'"):
        rows("generic", "time,model,cost\n2026-11-01,m,1\n", cost=("z",))


def side(tokens: int | None = 10, cost: int | None = 100, **fields: int) -> Counts:
    return Counts(requests=1, input_tokens=tokens, output_tokens=None, cost_pusd=cost, **fields)


@pytest.mark.parametrize(
    ("theirs", "ours", "lost", "cause"),
    [
        (side(), side(), 0, "equal"),
        (side(cost=105, slack_pusd=5), side(), 0, "equal"),
        (side(tokens=None), side(), 0, "equal"),
        (side(cost=None), side(), 0, "equal"),
        (side(), None, 0, "missing_here"),
        (side(), None, 1, "unknown_outcome"),
        (None, side(), 0, "missing_there"),
        (None, side(tokens=0, cost=0), 0, "equal"),
        (side(tokens=11), side(), 0, "tokens_differ"),
        (side(tokens=11), side(estimated=1), 0, "estimated_usage"),
        (side(tokens=11), side(unknown=1), 0, "unknown_outcome"),
        (side(cost=106, slack_pusd=5), side(), 0, "price_differs"),
        (side(), side(cost=None, unpriced=1), 0, "price_unknown_here"),
    ],
)
def test_each_drift_has_its_cause(theirs: Any, ours: Any, lost: int, cause: str) -> None:
    key = Key("2026-11-01", "m")
    report = compare(
        {} if theirs is None else {key: theirs}, {} if ours is None else {key: ours}, {key: lost}
    )
    assert [line.cause for line in report.lines] == [cause]


def test_days_that_are_cut_elsewhere_make_good_for_each_other() -> None:
    one, other, third = (Key(f"2026-11-0{n}", "m") for n in (1, 2, 3))
    theirs = {one: side(15, 150), other: side(5, 50), third: side(12, 120)}
    report = compare(theirs, {one: side(), other: side(), third: side()}, {})
    assert [line.cause for line in report.lines] == ["day_boundary", "day_boundary", "tokens_differ"]
    assert (report.drift_tokens, report.drift_pusd) == (2, 20)


def test_the_tolerance_is_of_all_together() -> None:
    key = Key("2026-11-01", "m")
    report = compare({key: side(cost=1000)}, {key: side(cost=990)}, {})
    assert not report.within(9_999)
    assert report.within(10_000)
    assert compare({key: side(1000, None)}, {key: side(990)}, {}).within(10_000)
    assert compare({key: side(cost=1000, slack_pusd=10)}, {key: side(cost=990)}, {}).within(0)
    assert not compare({key: side()}, {}, {}).within(5000)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=60)
@given(
    st.dictionaries(st.integers(1, 9), st.tuples(st.integers(0, 99), st.integers(0, 10**15)), max_size=6),
    st.dictionaries(st.integers(1, 9), st.tuples(st.integers(0, 99), st.integers(0, 10**15)), max_size=6),
)
def test_the_lines_add_up_to_the_whole(theirs: Any, ours: Any) -> None:
    def sides(found: Any) -> dict[Key, Counts]:
        return {Key(f"2026-11-0{n}", "m"): side(*pair) for n, pair in found.items()}

    report = compare(sides(theirs), sides(ours), {})
    assert sum(line.drift_pusd or 0 for line in report.lines) == sum(c for _, c in theirs.values()) - sum(
        c for _, c in ours.values()
    )
    assert len(report.lines) == len(theirs.keys() | ours.keys())


def billed(text: str, start: str | None = None, end: str | None = None) -> Bill:
    bill = Bill(start, end)
    for row in rows("generic", text):
        bill.add(row)
    return bill


CALLS = "time,model,cost,id\n2026-11-01,m,1,a\n2026-11-01,m,2,a\n2026-11-02,n,4,b\n"


def test_a_bill_is_of_calls_as_long_as_every_row_names_one() -> None:
    bill = billed(CALLS)
    assert bill.by_id
    costs = {key.id: counts.cost_pusd for key, counts in bill.lines({"m"}).items()}
    assert costs == {"a": 3 * USD, "b": 4 * USD}
    assert bill.day_of(Key("", "", "b")) == "2026-11-02"
    bill = billed(f"{CALLS}2026-11-02,n,8,\n")
    assert (bill.by_id, bill.names("a")) == (False, False)
    costs = {key: counts.cost_pusd for key, counts in bill.lines({"m"}).items()}
    assert costs == {Key("2026-11-01", "m"): 3 * USD, Key("2026-11-02", "n"): 12 * USD}
    bill = billed(f"{CALLS}2026-12-09,n,8,\n", "2026-11-02", "2026-12-01")
    assert (bill.first, bill.last, bill.by_id) == ("2026-11-01", "2026-12-09", True)
    assert [key.id for key in bill.lines(set())] == ["b"]


@pytest.mark.parametrize("text", [CALLS, CALLS.replace(",a", ",").replace(",b", ",")])
def test_what_nobody_settled_is_of_the_lines_of_its_day(text: str) -> None:
    bill = billed(text)
    ours = Ours(bill, lambda at_ms: day_at(at_ms // 1000, UTC), lambda day: True)
    ours.lose({"id": "x", "at_ms": 1_793_577_600_000, "price_version": "openai/N~1"})  # 2 November
    theirs = bill.lines(set())
    assert {bill.day_of(key) for key in ours.unknown(theirs)} == {"2026-11-02"}
    assert sum(ours.unknown(theirs).values()) == 1


@given(st.integers(0, 10**15 - 1), st.text("0123456789", max_size=14), st.booleans())
def test_amounts_are_exact_with_any_digits(whole: int, part: str, pointed: bool) -> None:
    text = f"{whole}.{part}" if part or pointed else str(whole)
    [row] = rows("generic", f"time,model,cost\n2026-11-01,m,{text}\n")
    exact = Decimal(text) * USD
    assert row.counts.cost_pusd is not None
    assert abs(row.counts.cost_pusd - exact) <= Decimal("0.5")
    assert row.counts.slack_pusd == max(SLACK_PUSD, int(Decimal(10) ** (12 - len(part)) / 2))


def test_one_line_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def pages(arguments: Any, command: str, values: Any, take: Any) -> None:
        row = {"id": "x", "exchange": "gen-1", "at_ms": 1_793_491_200_000, "model": "m", "input_tokens": 1}
        row |= {"output_tokens": 2, "cost_pusd": USD, "estimated": False, "unknown": False}
        assert take({"attempts": [row], "unsettled": [], "next": None}) is None

    monkeypatch.setattr(world, "run_pages", pages)
    (tmp_path / "bill.csv").write_text("time,model,cost\n2026-11-01,m,1\n")
    words = {"provider": "generic", "of": "p", "column": [], "time_zone": None, "tolerance": "0"}
    more = {"start": None, "end": None, "json": False, "all": False}
    assert reconcile(argparse.Namespace(file=tmp_path / "bill.csv", **words, **more)) == 0
    assert ", 1 line: 1 agrees." in capsys.readouterr().out
