"""What a plan keeps: bounded, in order, every model heard as long as there is room."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from llm_router.routing.arrange import kept


@given(st.lists(st.sampled_from("abcd"), max_size=12), st.none() | st.integers(1, 12))
def test_what_a_plan_keeps(models: list[str], most: int | None) -> None:
    places = kept(models, most)
    assert places == sorted(set(places))
    assert len(places) == (len(models) if most is None else min(most, len(models)))
    asked = list(dict.fromkeys(models))
    heard = {models[place] for place in places}
    assert heard == set(asked if most is None else asked[:most])
    for model in heard:  # of each model the first ones
        own = [at for at, each in enumerate(models) if each == model]
        chosen = [place for place in places if models[place] == model]
        assert chosen == own[: len(chosen)]
