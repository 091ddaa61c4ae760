from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_router.domain.usage import MAX_COUNT, NO_USAGE, Usage, token_count

COUNTS = st.builds(
    Usage,
    **{
        name: st.integers(0, MAX_COUNT)
        for name in Usage.__struct_fields__
        if name not in ("provenance", "service_tier", "others")
    },
)


@given(COUNTS)
def test_every_bucket_is_in_the_total_once(usage):
    buckets = [name for name in Usage.__struct_fields__ if name.endswith("_tokens")]
    assert usage.total_tokens == sum(getattr(usage, name) for name in buckets)
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens


@pytest.mark.parametrize(("value", "count"), [(0, 0), (12, 12), (12.0, 12), (MAX_COUNT, MAX_COUNT)])
def test_counts_that_are_believed(value, count):
    assert token_count(value) == count


@pytest.mark.parametrize(
    "value",
    [-1, -1.0, 1.5, True, False, None, "5", [], {}, math.nan, math.inf, -math.inf, MAX_COUNT + 1, 10**400],
)
def test_counts_that_are_not_believed(value):
    assert token_count(value) is None


def test_no_usage_is_nothing_and_says_so():
    assert NO_USAGE.total_tokens == 0
    assert NO_USAGE.provenance == "none"
