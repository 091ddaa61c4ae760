"""What requests ask of routing: model strings, and OpenRouter's members."""

from __future__ import annotations

from typing import Any

import pytest

from llm_router.domain.errors import InvalidRequest
from llm_router.routing.query import Asked, MaxPrice, PresetName, Query, Wishes, is_auto, read_query


@pytest.mark.parametrize(
    ("model", "names"),
    [
        ("gpt-5", [Asked(name="gpt-5")]),
        ("openai/gpt-5", [Asked(name="openai/gpt-5")]),
        ("gpt-5|claude-opus-4", [Asked(name="gpt-5"), Asked(name="claude-opus-4")]),
        ("a|b|a", [Asked(name="a"), Asked(name="b")]),
        ("a | b", [Asked(name="a"), Asked(name="b")]),
        ("gpt-5:floor", [Asked(name="gpt-5", sort="price")]),
        ("gpt-5:nitro", [Asked(name="gpt-5", sort="throughput")]),
        ("a:exacto|b:floor", [Asked(name="a", sort="exacto"), Asked(name="b", sort="price")]),
        ("llama3:8b", [Asked(name="llama3:8b")]),
        ("auto:code", [Asked(name="auto:code")]),
        (":floor", [Asked(name=":floor")]),
    ],
)
def test_names_of_a_model_string(model: str, names: list[Asked]) -> None:
    assert read_query(model, {}) == Query(names=tuple(names))


@pytest.mark.parametrize(
    ("model", "preset", "names"),
    [
        ("@mail", PresetName(name="mail"), ()),
        ("@mail:3", PresetName(name="mail", version=3), ()),
        ("@preset/mail", PresetName(name="mail"), ()),
        ("gpt-5@preset/mail", PresetName(name="mail"), (Asked(name="gpt-5"),)),
    ],
)
def test_presets(model: str, preset: PresetName, names: tuple[Asked, ...]) -> None:
    at = None if names else 0
    assert read_query(model, {}) == Query(names=names, preset=preset, preset_at=at)
    assert read_query("gpt-5", {"preset": "mail"}).preset == PresetName(name="mail")


@pytest.mark.parametrize(
    ("model", "models", "names", "at"),
    [
        ("@mail|b", [], ("b",), 0),
        ("a|@mail", [], ("a",), 1),
        ("a|@mail|b", [], ("a", "b"), 1),
        ("@mail", ["b"], ("b",), 0),
        ("a", ["@mail", "b"], ("a", "b"), 1),
    ],
)
def test_a_preset_has_a_place_among_the_models(
    model: str, models: list[str], names: tuple[str, ...], at: int
) -> None:
    query = read_query(model, {"models": models})
    assert tuple(each.name for each in query.names) == names
    assert (query.preset, query.preset_at) == (PresetName(name="mail"), at)


def test_a_request_has_one_preset() -> None:
    with pytest.raises(InvalidRequest, match="two presets"):
        read_query("@mail|@code", {})
    assert read_query("@mail", {"preset": "mail"}).preset == PresetName(name="mail")


def test_the_models_follow_the_model_and_are_not_repeated() -> None:
    query = read_query("a", {"models": ["b", "a", "c:floor"]})
    assert query.names == (Asked(name="a"), Asked(name="b"), Asked(name="c", sort="price"))


def test_auto_is_known_by_its_name() -> None:
    assert is_auto("auto")
    assert is_auto("auto:code")
    assert not is_auto("automatic")


def test_every_wish_is_read() -> None:
    wishes = read_query(
        "a",
        {
            "session_id": "s1",
            "provider": {
                "order": ["OpenAI", "azure", "openai"],
                "only": ["openai"],
                "ignore": [],
                "allow_fallbacks": False,
                "require_parameters": True,
                "sort": {"by": "latency", "partition": "none"},
                "max_price": {"prompt": 1.25, "completion": "10", "request": 0.001, "image": 1},
                "data_collection": "deny",
                "zdr": True,
                "quantizations": ["fp8"],
                "regions": ["EU"],
                "preferred_min_throughput": {"p50": 100, "p90": 50},
                "preferred_max_latency": 2,
            },
        },
    ).wishes
    assert wishes == Wishes(
        order=("openai", "azure"),
        only=("openai",),
        allow_fallbacks=False,
        require_parameters=True,
        sort="latency",
        partition="none",
        max_price=MaxPrice(prompt=1_250_000, completion=10_000_000, request=1_000_000_000),
        data_collection="deny",
        zdr=True,
        quantizations=("fp8",),
        regions=("eu",),
        throughput_min=100.0,
        latency_max_ms=2000.0,
    )


def test_null_is_as_if_it_were_not_there() -> None:
    routing = {"provider": {"order": None, "sort": None, "only": None, "max_price": None}}
    assert read_query("a", routing) == read_query("a", {})


def test_the_older_word_for_the_partition() -> None:
    assert read_query("a", {"route": "sort"}).wishes.partition == "none"
    assert read_query("a", {"route": "fallback"}).wishes.partition == "model"


@pytest.mark.parametrize(
    ("routing", "param", "says"),
    [
        (
            {"provider": {"alow_fallbacks": True}},
            "provider.alow_fallbacks",
            "did you mean 'allow_fallbacks'?",
        ),
        ({"provider": {"sort": {"buy": "price"}}}, "provider.sort.buy", "did you mean 'by'?"),
        ({"provider": {"max_price": {"prompts": 1}}}, "provider.max_price.prompts", "did you mean 'prompt'?"),
        ({"provider": {"xyz": 1}}, "provider.xyz", "there are: order,"),
        ({"provider": []}, "provider", "must be an object"),
        ({"provider": {"order": "openai"}}, "provider.order", "list of provider names"),
        ({"provider": {"order": [1]}}, "provider.order", "list of provider names"),
        ({"provider": {"allow_fallbacks": "no"}}, "provider.allow_fallbacks", "true or false"),
        ({"provider": {"sort": "speed"}}, "provider.sort", '"throughput"'),
        ({"provider": {"max_price": {"prompt": "cheap"}}}, "provider.max_price.prompt", "dollars"),
        ({"provider": {"max_price": {"prompt": -1}}}, "provider.max_price.prompt", "dollars from 0"),
        ({"provider": {"max_price": {"prompt": "NaN"}}}, "provider.max_price.prompt", "dollars from 0"),
        ({"provider": {"data_collection": "never"}}, "provider.data_collection", '"deny"'),
        ({"provider": {"quantizations": ["fp9"]}}, "provider.quantizations", "not 'fp9'"),
        (
            {"provider": {"preferred_max_latency": 0}},
            "provider.preferred_max_latency",
            "above 0 and up to 1000000",
        ),
        ({"provider": {"preferred_max_latency": {"x": 1}}}, "provider.preferred_max_latency.x", "p50"),
        ({"models": "a,b"}, "models", "list of model names"),
        ({"models": [f"m{n}" for n in range(17)]}, "models", "at most 16"),
        ({"route": "fast"}, "route", '"fallback"'),
        ({"session_id": ""}, "session_id", "1 to 256"),
        ({"session_id": 5}, "session_id", "1 to 256"),
        ({"preset": 5}, "preset", "name of a preset"),
        ({"preset": "a b"}, "preset", "@NAME"),
    ],
)
def test_what_is_refused(routing: dict[str, Any], param: str, says: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        read_query("a", routing)
    assert caught.value.param == param
    assert says in caught.value.message


@pytest.mark.parametrize("member", ["order", "only", "ignore", "quantizations", "regions"])
def test_an_empty_list_wishes_nothing(member: str) -> None:
    assert read_query("a", {"provider": {member: []}}).wishes == Wishes()


@pytest.mark.parametrize("model", ["gpt-5:floor:nitro", "gpt-5:floor:floor", "auto:code:nitro:floor"])
def test_a_model_has_one_suffix(model: str) -> None:
    with pytest.raises(InvalidRequest, match="has two suffixes") as caught:
        read_query(model, {})
    assert f"'{model}'" in caught.value.message
    assert ":floor, :nitro, :exacto" in caught.value.message


def test_an_empty_name_is_refused() -> None:
    for model in ("a||b", "a|", "|"):
        with pytest.raises(InvalidRequest, match="names no model"):
            read_query(model, {})
