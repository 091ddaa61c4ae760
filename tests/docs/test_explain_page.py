"""docs/explain.md describes every member of an explanation, and the units of scores."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from llm_router.catalog.snapshot import compile_snapshot, load_builtin
from llm_router.domain.decision import (
    Asks,
    AutoChoice,
    Decision,
    LeftOut,
    Named,
    Stood,
    Weighed,
    Weighing,
    Worth,
)
from llm_router.domain.limit import LimitState
from llm_router.domain.price import CostLine
from llm_router.domain.record import AttemptRecord, ExchangeRecord, Seam
from llm_router.engine.explanation import explain_record
from llm_router.routing.strategies import UNITS

PAGE = (Path(__file__).parents[2] / "docs" / "explain.md").read_text()
OF_OTHERS = ("price_per_mtok", "routing", "fallbacks")
"""Members whose own members are described elsewhere: buckets, the request's own words, kinds of failure."""


def _full() -> ExchangeRecord:
    """A record with something in every part."""
    weighed = Weighed(deployment="openai/gpt-4o", model="gpt-4o", cost_pusd=5, score=5.0)
    return ExchangeRecord(
        id="gen-1", account="a", key="k", operation="chat", dialect="openai_chat", asked_model="openai/gpt-4o",
        model="gpt-4o", deployment="openai/gpt-4o", created_ms=0, status=502, error_code="c", error_message="m",
        cost=(CostLine(bucket="input_tokens", quantity=1, rate_pusd=1, amount_pusd=1),),
        attempts=(
            AttemptRecord(
                deployment="openai/gpt-4o", provider="openai", upstream_model="gpt-4o", started_ms=0, duration_ms=1,
                outcome="failed",
            ),
        ),
        seams=(Seam(at_chars=1, cause="cut"),),
        experiment="e", arm="b",
        decision=Decision(
            asks=Asks(text_bytes=40), routing={"provider": {}}, strategy="cheapest", plan=("openai/gpt-4o",),
            named=(Named(asked="openai/gpt-4o", model="gpt-4o", via="developer"),),
            weighings=(Weighing(strategy="cheapest", candidates=(weighed,), measured=True),),
            auto=AutoChoice(dial=1.0, rank=0.5, offers=(Worth(deployment="openai/gpt-4o", model="gpt-4o", quality=1.0, cost_pusd=5),)),
            left_out=(LeftOut(reason="r", deployments=("azure/gpt-4o",)),),
            stood=(Stood(deployment="openai/gpt-4o", share=0.5),),
            limits=(LimitState(kind="requests", limit=1, remaining=1, reset_ms=None, window=None, scope="key"),),
            hold_pusd=1,
        ),
    )  # fmt: skip


def _names(shown: object) -> Iterator[str]:
    if isinstance(shown, list | tuple):
        for each in shown:
            yield from _names(each)
    if isinstance(shown, dict):
        for name, value in shown.items():
            yield name
            if name not in OF_OTHERS:
                yield from _names(value)


def test_every_member_is_described() -> None:
    snapshot = compile_snapshot(load_builtin())
    shown = explain_record(_full(), snapshot, snapshot.providers)
    for part in ("names", "candidates", "rejected", "attempts", "seams", "limits"):
        assert shown[part], f"the record should say something of {part}"
    words = set(re.findall(r"`([a-z_]+)`", PAGE))
    assert sorted(set(_names(shown)) - words) == []


@pytest.mark.parametrize("strategy", UNITS)
def test_every_unit_is_told(strategy: str) -> None:
    assert f"| `{strategy}` | {UNITS[strategy]} |" in PAGE


def test_what_was_not_counted_is_no_number() -> None:
    snapshot = compile_snapshot(load_builtin())
    shown = msgspec.to_builtins(explain_record(_full(), snapshot, snapshot.providers)["request"])
    assert shown["input_tokens"] is None
    assert shown["input_tokens_expected"] > 0
