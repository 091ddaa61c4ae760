"""Providers that cannot be signed in to, and models that a key may not use."""

from __future__ import annotations

from typing import Any

import pytest
from engine_kit import World, answer, ask, deployment, model, provider, run, whole

from llm_router.catalog.resolve import Resolved
from llm_router.domain.errors import ModelNotAllowed, ProviderNotConfigured, UpstreamError, UpstreamKind
from llm_router.domain.key import Key
from llm_router.engine.refusing import check_model_allowed


class _NoTokens:
    def __init__(self, error: Exception) -> None:
        self.error = error

    async def token(self, credential: str) -> str:
        raise self.error

    async def close(self) -> None: ...


@pytest.mark.parametrize(
    "error",
    [
        ProviderNotConfigured("no library"),
        UpstreamError("refused", kind=UpstreamKind.AUTHENTICATION),
    ],
)
def test_the_next_provider_answers_when_one_cannot_be_signed_in_to(error: Exception) -> None:
    async def main() -> None:
        world = World(model("m", "p1", "p2"), providers=(provider("p1", auth="google"), provider("p2")))
        world.engine.trying._attempts._tokens = _NoTokens(error)
        world.upstream.scripts["p2"] = [answer(whole())]
        await world.serve(ask("m"))
        world.check()
        assert world.client.status == 200
        assert [a.outcome for a in world.record.attempts] == ["failed", "delivered"]
        assert world.upstream.asked == ["p2"]

    run(main())


def test_a_key_is_told_that_the_model_it_asked_for_is_retired() -> None:
    key = Key(id="key_1", account="a", name="k", prefix="sk", created_ms=0, models=("claude-*",))

    def refused(**how: Any) -> str:
        resolved = Resolved(model=model("grok-4.3", "p1"), deployments=(deployment("grok-4.3", "p1"),), **how)
        with pytest.raises(ModelNotAllowed) as caught:
            check_model_allowed(key, resolved)
        return caught.value.message

    retired = refused(asked="grok-4", via="successor")
    assert retired == (
        "This API key may not use the model 'grok-4.3' ('grok-4' is retired; that is its successor). "
        "It may use: claude-*."
    )
    assert "retired" not in refused(asked="grok-4.3", via="id")
    assert len(refused(asked="g" * 5000, via="successor")) < 300
