"""The client, scripted gateways, and one real gateway with simulated providers."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator

import pytest
from client_kit import Gateway, Script
from scripted_gateway import ScriptedGateway, Step

import llm_router_client


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the machine's environment reaches the client."""
    for name in list(os.environ):
        if name.lower().endswith("_proxy") or name in ("AISA_API_KEY", "LLM_ROUTER_BASE_URL"):
            monkeypatch.delenv(name)


@pytest.fixture
def scripted() -> Iterator[Script]:
    """Makes scripted gateways and closes them."""
    made: list[ScriptedGateway] = []

    def make(*scripts: Iterable[Step]) -> ScriptedGateway:
        made.append(ScriptedGateway(*scripts))
        return made[-1]

    yield make
    for server in made:
        server.close()


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses between tries, which are not waited for."""
    waited: list[float] = []
    monkeypatch.setattr(llm_router_client.time, "sleep", waited.append)
    return waited


@pytest.fixture(scope="session")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    running = Gateway(tmp_path_factory.mktemp("gateway"))
    yield running
    running.close()
