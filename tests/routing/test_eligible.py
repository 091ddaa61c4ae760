"""Hard filters: who may not serve a request, and the reason that is told."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from llm_router.domain.model import Capabilities, Deployment, Model, Provider
from llm_router.domain.price import Price, Rates
from llm_router.routing.eligible import Demand, doubted, refused, unknown_names
from llm_router.routing.plan import Candidate
from llm_router.routing.query import MaxPrice, Wishes

DEMAND = Demand(input_least=10, input_expected=20, output_tokens=None, needs=frozenset())
PRICE = Price(version="1", rates=Rates(input=3_000_000, output=15_000_000))


def named(slug: str) -> str | None:
    return {"p": "p", "q": "q", "openrouter": "openrouter"}.get(slug.lower())


def candidate(**fields: Any) -> Candidate:
    """A deployment at provider ``p``; ``provider__x`` and ``deployment__x`` set fields of those."""
    parts: dict[str, dict[str, Any]] = {"provider": {}, "deployment": {}, "": {}}
    for name, value in fields.items():
        part, _, field = name.rpartition("__")
        parts[part][field] = value
    provider = Provider(
        **{"id": "p", "name": "P", "base_url": "http://x", "docs_url": "http://docs", **parts["provider"]}
    )
    deployment = Deployment(
        **{"id": "p/m", "model": "m", "provider": provider.id, "upstream_model": "m", "price": PRICE}
        | parts["deployment"]
    )
    model = Model(
        id="m", name="M", family="F", developer="D", capabilities=Capabilities(), deployments=(deployment,)
    )
    return Candidate(
        **{"dialect": "openai_chat", "same_dialect": True} | parts[""],
        model=model,
        deployment=deployment,
        provider=provider,
    )


@pytest.mark.parametrize(
    ("wishes", "fields", "reason"),
    [
        ({}, {}, None),
        ({"only": ("q",)}, {}, "provider.only does not name it"),
        ({"only": ("P",)}, {}, None),
        ({"only": ()}, {}, "provider.only does not name it"),
        ({"ignore": ("p",)}, {}, "provider.ignore names it"),
        ({"order": ("q",)}, {}, None),
        ({"order": ("q",), "allow_fallbacks": False}, {}, "provider.order does not name it, and fallbacks are not allowed"),
        ({"order": ("p",), "allow_fallbacks": False}, {}, None),
        ({"only": ("p/fp8",)}, {"deployment__quantization": "fp8"}, None),
        ({"only": ("p/fp8",)}, {"deployment__quantization": "fp4"}, "provider.only does not name it"),
        ({"only": ("p/eu",)}, {"provider__regions": ("eu",)}, None),
        ({"data_collection": "deny"}, {}, "what it does with data is not known"),
        ({"data_collection": "deny"}, {"provider__data_collection": "allow"}, "it may keep or train on what it is sent"),
        ({"data_collection": "deny"}, {"provider__data_collection": "deny"}, None),
        ({"zdr": True}, {}, "it is not known to keep nothing"),
        ({"zdr": True}, {"provider__zero_retention": True}, None),
        ({"quantizations": ("fp8",)}, {}, "its precision is unknown"),
        ({"quantizations": ("unknown",)}, {}, None),
        ({"regions": ("eu",)}, {}, "it runs in an unknown region"),
        ({"regions": ("eu",)}, {"provider__regions": ("us",)}, "it runs in us"),
        ({"max_price": MaxPrice(prompt=2_999_999)}, {}, "its price is above provider.max_price.prompt"),
        ({"max_price": MaxPrice(prompt=3_000_000, completion=15_000_000)}, {}, None),
        ({"max_price": MaxPrice(completion=14_999_999)}, {}, "its price is above provider.max_price.completion"),
    ],
)  # fmt: skip
def test_wishes(wishes: dict[str, Any], fields: dict[str, Any], reason: str | None) -> None:
    assert refused(candidate(**fields), Wishes(**wishes), DEMAND, named) == reason


ROUTER = {"provider__id": "openrouter", "provider__knows": ("routing",)}


@pytest.mark.parametrize(
    ("wishes", "reason"),
    [
        ({"only": ("deepinfra",)}, None),
        ({"order": ("anthropic",), "allow_fallbacks": False}, None),
        ({"data_collection": "deny", "zdr": True, "quantizations": ("fp8",)}, None),
        ({"ignore": ("openrouter",)}, "provider.ignore names it"),
        ({"regions": ("eu",)}, "it runs in an unknown region"),
    ],
)
def test_a_router_is_told_the_wishes_and_meets_them_itself(
    wishes: dict[str, Any], reason: str | None
) -> None:
    assert refused(candidate(**ROUTER), Wishes(**wishes), DEMAND, named) == reason


def test_a_router_that_is_asked_in_another_api_is_told_nothing() -> None:
    router = candidate(**ROUTER, same_dialect=False, dialect="anthropic_messages")
    assert refused(router, Wishes(only=("deepinfra",)), DEMAND, named) == "provider.only does not name it"


def test_a_list_of_somebody_who_can_be_called_here_binds_all_models_of_a_request() -> None:
    own = candidate(provider__docs_url=None)
    for wishes in (Wishes(only=("q",)), Wishes(order=("q",), allow_fallbacks=False)):
        assert refused(own, wishes, DEMAND, named) is None
        assert "does not name it" in (refused(own, wishes, DEMAND, named, active={"p", "q"}) or "")


@pytest.mark.parametrize(
    ("wishes", "reason"),
    [
        ({"only": ("nowhere",)}, None),
        ({"order": ("nowhere", "nobody/fp8"), "allow_fallbacks": False}, None),
        ({"only": ("nowhere", "openrouter")}, None),
        ({"only": ("q",)}, "provider.only does not name it"),
        ({"only": ()}, "provider.only does not name it"),
        ({"only": ("nowhere",), "ignore": ("p",)}, "provider.ignore names it"),
    ],
)
def test_a_list_of_nobody_who_serves_the_model_does_not_bind_a_provider_of_the_operators_own(
    wishes: dict[str, Any], reason: str | None
) -> None:
    own = candidate(provider__docs_url=None)
    other = msgspec.structs.replace(own.deployment, id="q/m", provider="q")
    model = msgspec.structs.replace(own.model, deployments=(own.deployment, other))
    own = msgspec.structs.replace(own, model=model)
    assert refused(own, Wishes(**wishes), DEMAND, named) == reason


def test_a_window_is_too_small_for_certain_or_perhaps() -> None:
    small = candidate(deployment__context_tokens=15)
    assert doubted(small, DEMAND) is not None
    assert refused(small, Wishes(), DEMAND, named) is None
    tiny = candidate(deployment__context_tokens=9)
    assert (
        refused(tiny, Wishes(), DEMAND, named)
        == "its context window of 9 tokens is too small for at least 10"
    )
    asked = msgspec.structs.replace(DEMAND, output_tokens=100)
    assert doubted(candidate(deployment__output_tokens_max=99), asked) == "it writes at most 99 tokens"
    assert doubted(candidate(deployment__output_tokens_max=100), asked) is None


@pytest.mark.parametrize("need", ["image", "audio", "video", "file", "tools", "json_schema", "json_object"])
def test_what_the_catalogue_does_not_name_is_a_doubt(need: str) -> None:
    plain = candidate(
        deployment__capabilities=Capabilities(tools=False, json_object=False, json_schema=False)
    )
    assert doubted(plain, msgspec.structs.replace(DEMAND, needs=frozenset([need]))) is not None
    able = Capabilities(
        input_modalities=("text", "image", "audio", "video", "file"),
        tools=True,
        json_object=True,
        json_schema=True,
    )
    demand = msgspec.structs.replace(DEMAND, needs=frozenset([need]))
    assert doubted(candidate(deployment__capabilities=able), demand) is None


def test_names_that_nobody_has() -> None:
    wishes = Wishes(order=("p", "nobody/fp8"), only=("nowhere",), ignore=("p",))
    assert unknown_names(wishes, named) == ("nobody/fp8", "nowhere")
