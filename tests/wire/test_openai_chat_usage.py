"""The token arithmetic of OpenAI-like providers."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_router.domain.usage import MAX_COUNT, Provenance, Usage
from llm_router.wire.dialect import Bill
from llm_router.wire.dialects.openai_chat.usage import passed_usage, read_usage, usage_object


def _raw(prompt: Any, completion: Any, total: Any = "sum", **more: Any) -> dict[str, Any]:
    if total == "sum":
        total = prompt + completion
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": total, **more}


CASES: list[tuple[str, dict[str, Any], Usage]] = [
    ("plain", _raw(10, 5), Usage(input_tokens=10, output_tokens=5)),
    ("explicit zero is a count", _raw(0, 0), Usage()),
    (
        "cached inside",
        _raw(10, 5, prompt_tokens_details={"cached_tokens": 4}),
        Usage(input_tokens=6, cache_read_tokens=4, output_tokens=5),
    ),
    (
        "reasoning inside",
        _raw(10, 5, completion_tokens_details={"reasoning_tokens": 3}),
        Usage(input_tokens=10, output_tokens=2, reasoning_tokens=3),
    ),
    (
        "xAI: reasoning outside",
        _raw(213, 2, 471, completion_tokens_details={"reasoning_tokens": 256}),
        Usage(input_tokens=213, output_tokens=2, reasoning_tokens=256),
    ),
    (
        "Gemini: thoughts only in the total",
        _raw(66, 6, 100),
        Usage(input_tokens=66, output_tokens=6, reasoning_tokens=28),
    ),
    (
        "more reasoning than completion, no total for it",
        _raw(61, 18, 79, completion_tokens_details={"reasoning_tokens": 137}),
        Usage(input_tokens=61, output_tokens=18, reasoning_tokens=137),
    ),
    (
        "DeepSeek",
        _raw(
            976,
            61,
            prompt_cache_hit_tokens=896,
            prompt_cache_miss_tokens=80,
            prompt_tokens_details={"cached_tokens": 896},
        ),
        Usage(input_tokens=80, cache_read_tokens=896, output_tokens=61),
    ),
    (
        "Moonshot, Together",
        _raw(9, 1, cached_tokens=8),
        Usage(input_tokens=1, cache_read_tokens=8, output_tokens=1),
    ),
    (
        "Mistral",
        _raw(175, 39, num_cached_tokens=174),
        Usage(input_tokens=1, cache_read_tokens=174, output_tokens=39),
    ),
    (
        "Mistral audio: only in details and total",
        _raw(11, 15, 401, prompt_tokens_details={"audio_tokens": 375}),
        Usage(input_tokens=11, input_audio_tokens=375, output_tokens=15),
    ),
    (
        "OpenAI audio",
        _raw(
            30, 20, prompt_tokens_details={"audio_tokens": 12}, completion_tokens_details={"audio_tokens": 15}
        ),
        Usage(input_tokens=18, input_audio_tokens=12, output_tokens=5, output_audio_tokens=15),
    ),
    (
        "image output",
        _raw(3, 1300, completion_tokens_details={"image_tokens": 1290}),
        Usage(input_tokens=3, output_tokens=10, output_image_tokens=1290),
    ),
    (
        "cache write inside",
        _raw(1300, 9, prompt_tokens_details={"cached_tokens": 10, "cache_write_tokens": 1217}),
        Usage(input_tokens=73, cache_read_tokens=10, cache_write_tokens=1217, output_tokens=9),
    ),
    (
        "cache write by lifetime",
        _raw(
            100,
            1,
            cache_creation_input_tokens=60,
            cache_creation={"ephemeral_1h_input_tokens": 20, "ephemeral_5m_input_tokens": 40},
        ),
        Usage(input_tokens=40, cache_write_tokens=40, cache_write_1h_tokens=20, output_tokens=1),
    ),
    (
        "cache outside the prompt, by the total",
        _raw(10, 5, 5015, cache_read_input_tokens=5000),
        Usage(input_tokens=10, cache_read_tokens=5000, output_tokens=5),
    ),
    (
        "written and read at once",
        _raw(2168, 100, prompt_tokens_details={"cached_tokens": 2161, "cache_write_tokens": 2161}),
        Usage(input_tokens=7, cache_read_tokens=2161, output_tokens=100),
    ),
    ("floats that are whole", _raw(10.0, 5.0, 15.0), Usage(input_tokens=10, output_tokens=5)),
    (
        "completion from the total",
        {"prompt_tokens": 10, "total_tokens": 14},
        Usage(input_tokens=10, output_tokens=4),
    ),
    ("other names", {"input_tokens": 3, "output_tokens": 4}, Usage(input_tokens=3, output_tokens=4)),
    ("a total that is too small", _raw(10, 5, 3), Usage(input_tokens=10, output_tokens=5)),
    ("a total beyond belief", _raw(10, 5, 90_000_000), Usage(input_tokens=10, output_tokens=5)),
    (
        "details that are none",
        _raw(1, 2, prompt_tokens_details=[], completion_tokens_details="x"),
        Usage(input_tokens=1, output_tokens=2),
    ),
    (
        "null details",
        _raw(1, 2, prompt_tokens_details=None, completion_tokens_details={"reasoning_tokens": None}),
        Usage(input_tokens=1, output_tokens=2),
    ),
    (
        "negative details",
        _raw(5, 2, prompt_tokens_details={"cached_tokens": -4}),
        Usage(input_tokens=5, output_tokens=2),
    ),
    ("searches", _raw(1, 1, num_search_queries=3), Usage(input_tokens=1, output_tokens=1, web_searches=3)),
    ("tier", _raw(1, 1, service_tier="flex"), Usage(input_tokens=1, output_tokens=1, service_tier="flex")),
]


@pytest.mark.parametrize(("name", "raw", "usage"), CASES, ids=[case[0] for case in CASES])
def test_arithmetic(name: str, raw: dict[str, Any], usage: Usage) -> None:
    reading = read_usage(raw)
    assert reading.usage == usage
    shown = passed_usage(raw, reading, Bill(usage=usage, cost_pusd=0, credits_remaining_pusd=0))
    assert shown["prompt_tokens"] == usage.prompt_tokens
    assert shown["completion_tokens"] == usage.completion_tokens
    assert shown["total_tokens"] == usage.total_tokens


def test_reasoning_beyond_an_invisible_completion_is_cut_to_it() -> None:
    raw = _raw(4865, 16, completion_tokens_details={"reasoning_tokens": 19})
    reading = read_usage(raw, visible=False)
    assert reading.usage == Usage(input_tokens=4865, reasoning_tokens=16)
    assert reading.flags == ("usage_contradictory",)


@pytest.mark.parametrize(
    "raw",
    [
        _raw(-1, 5, 4),
        _raw(1, -5, 4),
        _raw("10", 5, 15),
        _raw(10, True, 11),
        _raw(10, 1.5, 11.5),
        _raw(10, 1e30, 1e30),
        _raw(MAX_COUNT + 1, 0),
        _raw([], 0, 0),
    ],
)
def test_counts_that_cannot_be_true(raw: dict[str, Any]) -> None:
    reading = read_usage(raw)
    assert reading.usage is None
    assert reading.flags == ("usage_invalid",)


@pytest.mark.parametrize(
    "raw", [None, {}, [], "x", 5, {"total_tokens": 5}, {"prompt_tokens": 5}, {"cost": 1}]
)
def test_what_reports_nothing(raw: object) -> None:
    reading = read_usage(raw)
    assert (reading.usage, reading.flags) == (None, ())


VALUES = st.none() | st.integers(-10, 10**9) | st.floats() | st.text(max_size=3) | st.booleans()
NAMES = (
    "prompt_tokens", "completion_tokens", "total_tokens", "prompt_cache_hit_tokens", "cached_tokens",
    "num_cached_tokens", "cache_read_input_tokens", "cache_creation_input_tokens", "reasoning_tokens",
    "audio_prompt_tokens",
)  # fmt: skip
DETAILS = st.dictionaries(
    st.sampled_from(
        ["cached_tokens", "cache_write_tokens", "audio_tokens", "image_tokens", "reasoning_tokens"]
    ),
    VALUES,
)


@given(
    st.dictionaries(st.sampled_from(NAMES), VALUES),
    DETAILS,
    DETAILS,
    st.booleans(),
)
def test_no_usage_is_ever_negative_or_absurd(
    raw: dict[str, Any], inputs: dict[str, Any], outputs: dict[str, Any], visible: bool
) -> None:
    raw = {**raw, "prompt_tokens_details": inputs, "completion_tokens_details": outputs}
    usage = read_usage(raw, visible=visible).usage
    if usage is not None:
        counts = [getattr(usage, n) for n in usage.__struct_fields__ if n.endswith("_tokens")]
        assert all(0 <= count <= MAX_COUNT for count in counts)
        if usage.prompt_tokens != raw.get("prompt_tokens"):
            assert usage.prompt_tokens <= 2 * MAX_COUNT


def test_the_providers_object_is_kept_beside_the_bill() -> None:
    raw = _raw(10, 5, cost={"request_cost": 0.005}, queue_time=0.25, cost_details={"a": 1})
    shown = passed_usage(
        raw, read_usage(raw), Bill(usage=Usage(), cost_pusd=10**6, credits_remaining_pusd=10**12)
    )
    text = msgspec.json.encode(shown)
    assert b'"cost":0.000001,"credits_remaining":1' in text
    assert b'"upstream_cost":{"request_cost":0.005}' in text
    assert shown["queue_time"] == 0.25
    assert shown["cost_details"] == {"a": 1}
    assert "prompt_tokens_details" not in shown


def test_estimates_are_marked_and_unknown_is_null() -> None:
    estimate = Usage(input_tokens=3, output_tokens=1, provenance=Provenance.ESTIMATED)
    bill = Bill(usage=estimate, cost_pusd=0, credits_remaining_pusd=0)
    raw = _raw(-3, 1, 0, cost=5)
    for shown in (
        usage_object(bill),
        passed_usage(None, read_usage(None), bill),
        passed_usage(raw, read_usage(raw), bill),
    ):
        assert (shown["prompt_tokens"], shown["estimated"]) == (3, True)
    unknown = usage_object(Bill(usage=None, cost_pusd=0, credits_remaining_pusd=0))
    assert unknown["prompt_tokens"] is unknown["completion_tokens"] is unknown["total_tokens"] is None


def test_counts_of_another_dialect_in_this_ones_words() -> None:
    usage = Usage(
        input_tokens=1, cache_read_tokens=2, cache_write_tokens=4, cache_write_1h_tokens=8, input_audio_tokens=16,
        output_tokens=32, reasoning_tokens=64, output_audio_tokens=128, output_image_tokens=256,
    )  # fmt: skip
    shown = usage_object(Bill(usage=usage, cost_pusd=0, credits_remaining_pusd=0))
    assert shown["prompt_tokens"] == 31
    assert shown["completion_tokens"] == 480
    assert shown["prompt_tokens_details"] == {
        "cached_tokens": 2,
        "cache_write_tokens": 12,
        "audio_tokens": 16,
    }
    assert shown["completion_tokens_details"] == {
        "reasoning_tokens": 64,
        "audio_tokens": 128,
        "image_tokens": 256,
    }
