"""A provider of several dialects is spoken to in the client's own, where that serves the request."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from llm_router.catalog.snapshot import Snapshot, compile_snapshot, load_builtin
from llm_router.domain.model import Capabilities, Deployment, Model, Provider, Quirk, Way
from llm_router.domain.price import Price, Rates
from llm_router.routing.plan import Plan, make_plan
from llm_router.routing.speaking import as_only, serves, speak

QUIRK = Quirk(edit="drop", field="x", why="y")
HUB = Provider(
    id="hub", name="Hub", base_url="https://hub.test/v1", auth="header", auth_name="api-key", quirks=(QUIRK,),
    takes_urls=("image",), knows=("developer",), headers={"a": "b"}, serves=("!only-*",),
    also=(
        Way(dialect="openai_responses", takes_urls=("file",)),
        Way(
            dialect="anthropic_messages", base_url="https://hub.test/anthropic", auth="bearer",
            serves=("claude*",), lacks=("file",), upstream="anthropic/{model}", placement="vertex_claude",
        ),
    ),
)  # fmt: skip
FORMATS = {"openai_chat": "openai_embeddings", "gemini_generate": "gemini_embeddings"}


def at(model: str, dialect: str | None = None) -> Deployment:
    return Deployment(
        id="hub/m", model="m", provider="hub", upstream_model=model, price=None, dialect=dialect
    )


def spoken(model: str, front: str, *needs: str, dialect: str | None = None, **more: Any) -> Any:
    return speak(at(model, dialect), HUB, front, frozenset(needs), **more)


@pytest.mark.parametrize(
    ("model", "front", "needs", "dialect"),
    [
        ("gpt", "openai_chat", (), "openai_chat"),
        ("gpt", "openai_responses", ("tools",), "openai_responses"),
        ("gpt", "anthropic_messages", (), "openai_chat"),  # that way serves claude alone
        ("gpt", "gemini_generate", (), "openai_chat"),
        ("claude-1", "anthropic_messages", ("image",), "anthropic_messages"),
        ("claude-1", "anthropic_messages", ("file",), "openai_chat"),  # which that way lacks
        ("only-1", "openai_chat", (), "openai_responses"),
        ("only-1", "gemini_generate", (), "openai_responses"),
    ],
)
def test_the_clients_own_dialect_where_it_serves(
    model: str, front: str, needs: tuple[str, ...], dialect: str
) -> None:
    assert spoken(model, front, *needs).provider.dialect == dialect


def test_a_way_brings_its_own_and_keeps_what_it_does_not_say() -> None:
    way = spoken("claude-1", "anthropic_messages")
    assert way.deployment.upstream_model == "anthropic/claude-1"
    provider = way.provider
    assert (provider.base_url, provider.placement) == ("https://hub.test/anthropic", "vertex_claude")
    assert (provider.auth, provider.auth_name, provider.headers) == ("bearer", None, {"a": "b"})
    assert (provider.quirks, provider.takes_urls, provider.knows, provider.also) == ((), (), (), ())
    same = as_only(HUB, HUB.also[0])
    assert (same.base_url, same.auth, same.auth_name) == ("https://hub.test/v1", "header", "api-key")
    first = spoken("gpt", "openai_chat")
    assert (first.deployment, first.provider) == (at("gpt"), HUB)


def test_a_deployment_may_name_its_dialect() -> None:
    assert spoken("gpt", "openai_chat", dialect="openai_responses").provider.dialect == "openai_responses"
    assert spoken("gpt", "openai_responses", dialect="openai_chat").provider is HUB
    other = spoken("gpt", "openai_chat", dialect="cohere_chat").provider
    assert (other.dialect, other.base_url, other.quirks) == ("cohere_chat", HUB.base_url, (QUIRK,))


def test_another_operation_is_asked_for_where_there_is_a_format_for_it() -> None:
    way = spoken("gpt", "openai_embeddings", formats=FORMATS)
    assert (way.format, way.provider) == ("openai_embeddings", HUB)
    assert spoken("only-1", "openai_embeddings", formats=FORMATS) is None


def test_patterns() -> None:
    assert serves((), "x")
    assert serves(("!a*",), "b")
    assert not serves(("!a*",), "a1")
    assert serves(("a*", "!a1"), "a2")
    assert not serves(("a*", "!a1"), "a1")
    assert not serves(("a*",), "b")


@pytest.fixture(scope="module")
def snapshot() -> Snapshot:
    return compile_snapshot(load_builtin())


def test_ways_of_the_catalogue(snapshot: Snapshot) -> None:
    def dialect(provider: str, model: str, front: str, *needs: str) -> str:
        found = speak(at(model), snapshot.providers[provider], front, frozenset(needs))
        assert found is not None
        return found.provider.dialect

    assert dialect("openai", "gpt-5", "openai_responses") == "openai_responses"
    assert dialect("openai", "o3-deep-research", "openai_chat") == "openai_responses"
    assert dialect("openai", "gpt-5.3-codex", "gemini_generate") == "openai_responses"
    assert dialect("openai", "gpt-5", "anthropic_messages") == "openai_chat"
    assert dialect("openai", "gpt-6-sol", "anthropic_messages") == "openai_chat"
    assert dialect("openai", "gpt-6-sol", "anthropic_messages", "tools") == "openai_responses"
    assert dialect("openai", "gpt-6-sol", "openai_chat", "tools") == "openai_chat"
    assert dialect("deepseek", "deepseek-v4-pro", "anthropic_messages") == "anthropic_messages"
    assert dialect("deepseek", "deepseek-v4-pro", "anthropic_messages", "image") == "openai_chat"
    assert dialect("openrouter", "anthropic/claude-opus-5", "anthropic_messages") == "anthropic_messages"
    assert dialect("openrouter", "openai/gpt-5", "anthropic_messages") == "openai_chat"
    assert dialect("google", "gemini-2.5-pro", "openai_chat") == "gemini_generate"
    claude = "global.anthropic.claude-opus-5"
    assert dialect("bedrock", claude, "anthropic_messages") == "anthropic_messages"
    assert dialect("bedrock", claude, "openai_chat") == "bedrock_converse"
    assert dialect("bedrock", "openai.gpt-oss-120b-1:0", "openai_chat") == "openai_chat"
    assert dialect("vertex", "claude-opus-5", "openai_chat") == "anthropic_messages"
    assert dialect("vertex", "gemini-2.5-pro", "openai_chat") == "gemini_generate"
    assert dialect("vertex", "meta/llama-4", "gemini_generate") == "openai_chat"


@pytest.mark.parametrize("front", ["openai_chat", "openai_responses", "anthropic_messages"])
@pytest.mark.parametrize("model", ["gpt-6.1-sol", "gpt-6-astra"])
def test_a_model_without_tools_in_one_dialect_is_reached_for_them_in_another(front: str, model: str) -> None:
    snapshot = compile_snapshot(load_builtin())
    found = snapshot.models[model]

    def plan(*needs: str) -> Plan:
        return make_plan(
            found,
            found.deployments,
            providers=snapshot.providers,
            active=("openai",),
            front=front,
            needs=frozenset(needs),
        )

    (candidate,) = plan("tools").candidates
    assert candidate.dialect == "openai_responses"
    assert candidate.deployment.capabilities is not None
    assert candidate.deployment.capabilities.tools
    (plain,) = plan().candidates
    assert plain.dialect == ("openai_responses" if front == "openai_responses" else "openai_chat")


def test_a_model_without_tools_at_a_provider_of_one_dialect_is_not_called_for_them() -> None:
    hub = msgspec.structs.replace(HUB, also=())
    mute = msgspec.structs.replace(
        at("gpt"), capabilities=Capabilities(), price=Price(version="v", rates=Rates(input=1, output=1))
    )
    model = Model(
        id="m",
        name="m",
        family="f",
        developer="d",
        capabilities=Capabilities(tools=True),
        deployments=(mute,),
    )
    plan = make_plan(
        model,
        (mute,),
        providers={"hub": hub},
        active=("hub",),
        front="openai_chat",
        needs=frozenset({"tools"}),
    )
    assert plan.candidates == ()
    assert [rejection.reason for rejection in plan.rejections] == ["calls no tools"]
