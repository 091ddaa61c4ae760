"""The shipped prices against the two sources, and the tool that carries them over.

The sources are oracles here: each test is skipped where its source is not at hand.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from llm_router.catalog.snapshot import Snapshot, compile_snapshot, load_builtin
from llm_router.domain.price import cost_lines
from llm_router.domain.usage import Usage

TOOLS = Path(__file__).resolve().parents[2] / "tools"


@pytest.fixture(scope="module")
def tool() -> Iterator[Any]:
    """The modules of the tool, importable for this file only."""
    if not TOOLS.is_dir():
        pytest.skip("tools/ is not part of this checkout")
    sys.path.insert(0, str(TOOLS))
    try:
        from catalog import genai, litellm_table, overlay, quotes

        yield {"genai": genai, "litellm": litellm_table, "overlay": overlay, "quotes": quotes}
    finally:
        sys.path.remove(str(TOOLS))


@pytest.fixture(scope="module")
def snapshot() -> Snapshot:
    return compile_snapshot(load_builtin())


CASES = [
    ("openai", "gpt-4o", "openai"),
    ("openai", "gpt-5.2", "openai"),
    ("openai", "gpt-6-sol", "openai"),
    ("anthropic", "claude-haiku-4-5", "anthropic"),
    ("anthropic", "claude-opus-5-5", "anthropic"),
    ("google", "gemini-2.5-pro", "google"),
    ("google", "gemini-3.8-flash", "google"),
    ("xai", "grok-4.7", "x-ai"),
    ("groq", "gpt-oss-120b", "groq"),
    ("together", "kimi-k3", "together"),
]
USAGES = [
    Usage(input_tokens=1000, output_tokens=200),
    Usage(input_tokens=1000, cache_read_tokens=5000, output_tokens=1),
    Usage(input_tokens=300_001, output_tokens=50),
]


@pytest.mark.parametrize(("provider", "model", "theirs"), CASES)
@pytest.mark.parametrize("usage", USAGES, ids=["plain", "cached", "long"])
def test_our_cost_is_what_genai_prices_calculates(
    provider: str, model: str, theirs: str, usage: Usage, snapshot: Snapshot
) -> None:
    genai_prices = pytest.importorskip("genai_prices", reason="genai-prices is not installed")
    from datetime import UTC, datetime

    deployment = snapshot.resolve(f"{provider}/{model}").deployments[0]
    assert deployment.price is not None
    expected = genai_prices.calc_price(
        genai_prices.Usage(
            input_tokens=usage.prompt_tokens,
            cache_read_tokens=usage.cache_read_tokens,
            output_tokens=usage.output_tokens,
        ),
        model_ref=deployment.upstream_model,
        provider_id=theirs,
        genai_request_timestamp=datetime(2026, 11, 22, 12, tzinfo=UTC),
    ).total_price
    ours = sum(line.amount_pusd for line in cost_lines(deployment.price, usage))
    assert ours == expected.scaleb(12)


def test_the_data_are_what_the_tool_generates(tool: dict[str, Any]) -> None:
    pytest.importorskip("genai_prices", reason="genai-prices is not installed")
    wheel = os.environ.get("LITELLM_WHEEL")
    if not wheel:
        pytest.skip("LITELLM_WHEEL does not name the litellm wheel")
    import build_catalog

    assert build_catalog.main(["--litellm", wheel, "--check"]) == 0


@pytest.mark.parametrize(
    ("dollars", "expected"),
    [
        ("0.0000015", 1_500_000),
        ("1.5000000000000002e-07", 150_000),
        ("1.4999999999999999e-07", 150_000),
        ("4.1666666666666664E-8", 41_667),  # a true fraction: never below what it costs
        ("0", 0),
    ],
)
def test_dollars_become_whole_picodollars(dollars: str, expected: int, tool: dict[str, Any]) -> None:
    assert tool["quotes"].picodollars(Decimal(dollars), "x") == expected


def test_negative_dollars_are_refused(tool: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="x: -1 dollars"):
        tool["quotes"].picodollars(Decimal(-1), "x")


def _quote(tool: dict[str, Any], **parts: Any) -> Any:
    return tool["quotes"].Quote(source="s", rates={"input": 1, "output": 2}, **parts)


def test_conflicts_are_found_and_silence_is_none(tool: dict[str, Any]) -> None:
    quotes = tool["quotes"]
    plain = _quote(tool)
    assert quotes.differences(plain, plain) == []
    dearer = quotes.Quote(source="t", rates={"input": 1, "output": 3})
    assert quotes.differences(plain, dearer) == ["output 2 / 3"]
    cached = quotes.Quote(source="t", rates={"input": 1, "output": 2, "cache_read": 1})
    assert quotes.differences(plain, cached) == []
    assert quotes.merged(plain, cached).rates["cache_read"] == 1
    tiered = _quote(tool, tiers={200_000: {"input": 2, "output": 4}})
    assert quotes.differences(plain, tiered) == ["tiers [] / [200000]"]
    almost = _quote(tool, tiers={199_999: {"input": 2, "output": 4}})
    assert quotes.differences(almost, tiered) == []


def test_the_table_of_litellm_is_read_into_buckets_and_tiers(tool: dict[str, Any]) -> None:
    row = {
        "litellm_provider": "acme",
        "input_cost_per_token": Decimal("1e-06"),
        "output_cost_per_token": Decimal("2e-06"),
        "cache_creation_input_token_cost": Decimal("0.0"),
        "cache_creation_input_token_cost_above_1hr": Decimal("3e-06"),
        "input_cost_per_token_above_200k_tokens": Decimal("4e-06"),
        "input_cost_per_token_flex": Decimal("5e-07"),
        "output_cost_per_token_flex": Decimal("1e-06"),
        "supports_vision": True,
    }
    quote = tool["litellm"].LitellmTable({"acme/m": row}, "0").quote(["nope/m", "acme/m"])
    assert quote.rates == {"input": 10**6, "output": 2 * 10**6, "cache_write_1h": 3 * 10**6}
    assert quote.tiers == {200_000: {"input": 4 * 10**6, "output": 2 * 10**6, "cache_write_1h": 3 * 10**6}}
    assert quote.services == {"flex": ({"input": 500_000, "output": 10**6}, {})}


def test_a_free_row_is_no_price(tool: dict[str, Any]) -> None:
    row = {"litellm_provider": "a", "input_cost_per_token": Decimal(0), "output_cost_per_token": Decimal(0)}
    assert tool["litellm"].LitellmTable({"m": row}, "0").quote(["m"]) is None


def test_the_overlay_is_read_strictly(tool: dict[str, Any], tmp_path: Path) -> None:
    text = tool["overlay"].load()
    assert len(text.providers) >= 27
    (tmp_path / "catalogue.toml").write_text('as_of = "2026-01-01"\nproviders = []\nsurprise = 1\n')
    with pytest.raises(tool["overlay"].OverlayError, match="surprise"):
        tool["overlay"].load(tmp_path)
