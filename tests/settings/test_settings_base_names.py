"""What is known of a model holds for its deployments under names of the operator's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from llm_router.catalog.snapshot import Snapshot, compile_snapshot, load_builtin
from llm_router.routing.plan import Candidate, make_plan
from llm_router.settings import load
from llm_router.wire.dialect import Target
from llm_router.wire.operations import SPOKEN

AZURE = """
[providers.azure]
parameters = { endpoint = "https://mine.openai.azure.com" }
key = "k"
"""
PRICE = "price = { input_per_mtok = 1, output_per_mtok = 2 }"
CHAT = b'{"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}'


@pytest.fixture(scope="module")
def catalog() -> Snapshot:
    return compile_snapshot(load_builtin())


def called(catalog: Snapshot, folder: Path, text: str, model: str, front: str = "openai_chat") -> Candidate:
    file = folder / "router.toml"
    file.write_text(text)
    settings = load(file, {"HOME": "/nowhere"}, catalog)
    snapshot = compile_snapshot(load_builtin(), providers=settings.providers, models=settings.models)
    resolved = snapshot.resolve(model)
    plan = make_plan(
        resolved.model,
        resolved.deployments,
        providers=snapshot.providers,
        active=settings.active,
        front=front,
        needs=frozenset(),
    )
    return plan.candidates[0]


def sent(candidate: Candidate) -> dict[str, Any]:
    target = Target(
        provider=candidate.provider.id,
        model=candidate.deployment.upstream_model,
        dialect=candidate.dialect,
        quirks=candidate.provider.quirks,
        knows=candidate.provider.knows,
        base_names=candidate.deployment.base_names,
    )
    dialect = SPOKEN["openai_chat"]
    body, _ = dialect.edit_request(dialect.inspect(CHAT), target, {})  # type: ignore[attr-defined]
    found: dict[str, Any] = msgspec.json.decode(body)
    return found


def deployment(model: str, provider: str, upstream: str, more: str = "") -> str:
    return (
        f'[[models."{model}".deployments]]\nprovider = "{provider}"\nupstream_model = "{upstream}"\n'
        f"{PRICE}\n{more}\n"
    )


@pytest.mark.parametrize("base", ["gpt-5-mini", "gpt-5-mini-2025-08-07"])
def test_an_own_model_says_which_one_it_is(catalog: Snapshot, tmp_path: Path, base: str) -> None:
    text = AZURE + deployment("ours", "azure", "our-mini", f'base_model = "{base}"')
    body = sent(called(catalog, tmp_path, text, "ours"))
    assert (body["model"], body["max_completion_tokens"]) == ("our-mini", 9)
    assert "max_tokens" not in body


def test_the_edits_of_a_model_reach_a_deployment_of_any_name(catalog: Snapshot, tmp_path: Path) -> None:
    text = AZURE + deployment("gpt-5-mini", "azure", "my-mini")
    body = sent(called(catalog, tmp_path, text, "gpt-5-mini"))
    assert (body["model"], body["max_completion_tokens"]) == ("my-mini", 9)
    assert "max_tokens" not in body


def test_a_second_resource_knows_its_models_too(catalog: Snapshot, tmp_path: Path) -> None:
    second = '[providers.azure-eu]\nextends = "azure"\nkey = "k"\n'
    second += 'parameters = { endpoint = "https://eu.openai.azure.com" }\n'
    text = second + deployment("gpt-5-mini", "azure-eu", "my-mini")
    assert sent(called(catalog, tmp_path, text, "gpt-5-mini"))["max_completion_tokens"] == 9


def test_a_model_of_the_responses_api_is_reached_by_it_under_any_name(
    catalog: Snapshot, tmp_path: Path
) -> None:
    text = AZURE + deployment("gpt-5-pro", "azure", "my-pro")
    assert called(catalog, tmp_path, text, "gpt-5-pro").dialect == "openai_responses"
    unknown = AZURE + deployment("ours", "azure", "my-pro")
    assert called(catalog, tmp_path, unknown, "ours").dialect == "openai_chat"


def test_claude_behind_an_address_of_bedrock_is_still_claude(catalog: Snapshot, tmp_path: Path) -> None:
    arn = "arn:aws:bedrock:eu-west-1:1:application-inference-profile/abc"
    text = '[providers.bedrock]\nparameters = { region = "eu-west-1" }\nkey = "ABSK"\n'
    text += deployment("claude-haiku-4-5", "bedrock", arn)
    found = called(catalog, tmp_path, text, "claude-haiku-4-5", "anthropic_messages")
    assert (found.dialect, found.provider.placement) == ("anthropic_messages", "bedrock_claude")
    assert found.deployment.upstream_model == arn


def test_where_the_name_is_the_usual_one_there_is_none_beside_it(catalog: Snapshot, tmp_path: Path) -> None:
    text = AZURE + deployment("gpt-5-mini", "azure", "gpt-5-mini")
    assert called(catalog, tmp_path, text, "gpt-5-mini").deployment.base_names == ()
