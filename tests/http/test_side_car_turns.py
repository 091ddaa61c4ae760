"""State goes back to the provider that made it, whatever the client's format has room for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from gateway_kit import Gateway
from scripted_upstream import ScriptedUpstream
from side_car_kit import CLIENTS, ORIGINS, Origin, config_of, first_turn, next_request

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def keeping(scripted: ScriptedUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    gateway = Gateway(tmp_path_factory.mktemp("keeping"), config=config_of(scripted))
    yield gateway
    assert gateway.stop() == 0


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("origin", ORIGINS, ids=lambda origin: origin.id)
@pytest.mark.parametrize("name", CLIENTS)
def test_state_is_there_in_the_next_turn(
    keeping: Gateway, upstream: ScriptedUpstream, name: str, origin: Origin, streamed: bool
) -> None:
    client: Any = CLIENTS[name]
    key = keeping.new_key(account=f"{name}-{origin.id}-{streamed}".replace(" ", "-"))
    keeping.command("credits.add", account=f"{name}-{origin.id}-{streamed}".replace(" ", "-"), amount="5")
    history = first_turn(keeping, upstream, client, origin, streamed, key=key)
    body = next_request(keeping, upstream, client, origin, history, key=key)
    assert origin.state(body) == origin.wanted
