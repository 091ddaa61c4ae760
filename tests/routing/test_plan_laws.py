"""Laws of plans: finite, no repeats, nothing added or lost, never unpriced, the same input the same order."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_router.domain.model import Capabilities, Deployment, Model, Provider
from llm_router.domain.price import Price, Rates
from llm_router.routing.plan import Candidate, Plan, make_plan

DIALECTS = ("openai_chat", "anthropic_messages", "gemini_generate")
NEEDS = ("image", "audio", "video", "file", "tools", "json_object", "json_schema", "stream", "something new")
PRICE = Price(version="1", rates=Rates(input=1, output=1))

capabilities = st.builds(
    Capabilities,
    input_modalities=st.lists(st.sampled_from(["text", "image", "audio", "file"]), unique=True).map(tuple),
    tools=st.booleans(),
    json_object=st.booleans(),
    json_schema=st.booleans(),
)


@st.composite
def inputs(draw: st.DrawFn) -> dict[str, Any]:
    """Arguments of ``make_plan``: a model with up to eight deployments at as many providers."""
    count = draw(st.sampled_from([0, 1, 2, 4, 6, 8]))
    providers = {
        f"p{n}": Provider(
            id=f"p{n}",
            name=f"P{n}",
            base_url="http://x",
            dialect=draw(st.sampled_from(DIALECTS)),
            developer=draw(st.sampled_from([None, "D", "X"])),
        )
        for n in range(count)
    }
    deployments = [
        Deployment(
            id=f"{name}/m",
            model="m",
            provider=name,
            upstream_model="up",
            price=draw(st.sampled_from([PRICE, PRICE, PRICE, None])),
            dialect=draw(st.sampled_from([None, None, *DIALECTS])),
            capabilities=draw(st.none() | capabilities),
        )
        for name in providers
    ]
    draw(st.randoms()).shuffle(deployments)
    model = Model(
        id="m", name="M", family="F", developer="D",
        capabilities=draw(capabilities), deployments=tuple(deployments),
    )  # fmt: skip
    return {
        "model": model,
        "deployments": deployments,
        "providers": providers,
        "active": frozenset(providers)
        - draw(st.frozensets(st.sampled_from([*providers, "other"]), max_size=2)),
        "front": draw(st.sampled_from(DIALECTS)),
        "needs": draw(st.frozensets(st.sampled_from(NEEDS), max_size=2)),
    }


def plan_of(given_: dict[str, Any]) -> Plan:
    options = {name: value for name, value in given_.items() if name not in ("model", "deployments")}
    return make_plan(given_["model"], given_["deployments"], **options)


@given(inputs())
def test_every_deployment_is_planned_or_rejected_once(given_: dict[str, Any]) -> None:
    plan = plan_of(given_)
    planned = [c.deployment.id for c in plan.candidates]
    rejected = [r.deployment for r in plan.rejections]
    assert sorted(planned + rejected) == sorted(d.id for d in given_["deployments"])
    assert all(rejection.reason for rejection in plan.rejections)


@given(inputs())
def test_nothing_unpriced_or_inactive_is_ever_planned(given_: dict[str, Any]) -> None:
    for candidate in plan_of(given_).candidates:
        assert candidate.deployment.price is not None
        assert candidate.provider.id == candidate.deployment.provider
        assert candidate.provider.id in given_["active"]
        assert candidate.dialect == (candidate.deployment.dialect or candidate.provider.dialect)
        assert candidate.same_dialect == (candidate.dialect == given_["front"])


@given(inputs())
def test_the_same_input_gives_the_same_plan(given_: dict[str, Any]) -> None:
    first = plan_of(given_)
    shuffled = list(given_["providers"].items())
    random.Random(1).shuffle(shuffled)
    other = {**given_, "providers": dict(shuffled), "needs": frozenset(sorted(given_["needs"], reverse=True))}
    assert plan_of(given_) == first == plan_of(other)


def _order(given_: dict[str, Any], candidate: Candidate) -> tuple[object, ...]:
    """Needs met, then the model's own developer, then the client's dialect, then the catalogue's order."""
    return (
        _lacking(given_, candidate.deployment),
        candidate.provider.developer != given_["model"].developer,
        not candidate.same_dialect,
        given_["deployments"].index(candidate.deployment),
    )


def _lacking(given_: dict[str, Any], deployment: Deployment) -> int:
    """How many needs are not met, counted the slow way."""
    can = deployment.capabilities or given_["model"].capabilities
    met = {
        "tools": can.tools,
        "json_schema": can.json_schema,
        "json_object": can.json_object or can.json_schema,
        **{name: name in can.input_modalities for name in ("image", "audio", "video", "file")},
    }
    return sum(1 for need in given_["needs"] if not met.get(need, True))


@settings(max_examples=500)
@given(inputs())
def test_the_order_is_needs_developer_dialect_catalogue(given_: dict[str, Any]) -> None:
    order = [_order(given_, candidate) for candidate in plan_of(given_).candidates]
    assert order == sorted(order)


@given(inputs())
def test_only_what_a_deployment_says_of_itself_excludes_it(given_: dict[str, Any]) -> None:
    """The catalogue may be behind on a model; what is declared of one deployment is meant."""
    plan = plan_of(given_)
    rejected = {rejection.deployment for rejection in plan.rejections}
    for deployment in given_["deployments"]:
        own = deployment.capabilities
        inputs_lacking = own is not None and any(
            need in ("image", "audio", "video", "file") and need not in own.input_modalities
            for need in given_["needs"]
        )
        tools_lacking = own is not None and "tools" in given_["needs"] and not own.tools
        callable_ = deployment.price is not None and deployment.provider in given_["active"]
        assert (deployment.id in rejected) == (not callable_ or inputs_lacking or tools_lacking)


def two(second: Capabilities | None = None, needs: str = "") -> Plan:
    """The plan of a model that can do nothing, at two providers; the second may be able to do more."""
    providers = {n: Provider(id=n, name=n, base_url="http://x") for n in ("a", "b")}
    deployments = [
        Deployment(
            id=f"{n}/m",
            model="m",
            provider=n,
            upstream_model="up",
            price=PRICE,
            capabilities=second if n == "b" else None,
        )
        for n in providers
    ]
    model = Model(
        id="m",
        name="M",
        family="F",
        developer="D",
        capabilities=Capabilities(),
        deployments=tuple(deployments),
    )
    return make_plan(
        model,
        deployments,
        providers=providers,
        active=set(providers),
        front="openai_chat",
        needs=frozenset({needs} - {""}),
    )


@pytest.mark.parametrize(
    ("need", "can"),
    [
        *(
            (form, Capabilities(input_modalities=("text", form)))
            for form in ("image", "audio", "video", "file")
        ),
        ("tools", Capabilities(tools=True)),
        ("json_schema", Capabilities(json_schema=True)),
        ("json_object", Capabilities(json_object=True)),
        ("json_object", Capabilities(json_schema=True)),
    ],
)
def test_who_can_do_it_comes_first(need: str, can: Capabilities) -> None:
    assert [c.provider.id for c in two(can).candidates] == ["a", "b"]
    assert [c.provider.id for c in two(can, need).candidates] == ["b", "a"]
