"""Gateways of this test run: one with the sandbox, one before scripted upstreams, one with little patience."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from gateway_kit import Gateway
from scripted_upstream import PLACES, ScriptedUpstream, config_for

NORMAL = {"connect_s": 5, "first_byte_s": 20, "idle_s": 20, "total_s": 60}
IMPATIENT = {"connect_s": 1, "first_byte_s": 0.6, "idle_s": 0.6, "total_s": 2}


@pytest.fixture(scope="session")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway whose providers are all simulated.

    Tests share it, some of them make its providers fail, and a model's name stands for all who serve it: so that
    each test meets the model's own developer, whatever happened before, no failure is held against a provider.
    """
    config = "[credits]\nstarting = 1000\n[health]\nenabled = false\n[routing.concurrency]\nenabled = false\n"
    gateway = Gateway(tmp_path_factory.mktemp("sandbox"), "--sandbox", config=config)
    yield gateway
    assert gateway.stop() == 0


@pytest.fixture(scope="session")
def scripted() -> Iterator[ScriptedUpstream]:
    upstream = ScriptedUpstream()
    yield upstream
    upstream.close()


@pytest.fixture
def upstream(scripted: ScriptedUpstream) -> Iterator[ScriptedUpstream]:
    """The scripted upstreams, with no script and nothing remembered."""
    scripted.reset()
    yield scripted
    scripted.reset()
    assert scripted.failures == []


@pytest.fixture(scope="session")
def hostile(scripted: ScriptedUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway before scripted upstreams, with long deadlines."""
    yield from _gateway(scripted, tmp_path_factory, "hostile", NORMAL)


@pytest.fixture(scope="session")
def impatient(scripted: ScriptedUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """The same with deadlines below a second."""
    yield from _gateway(scripted, tmp_path_factory, "impatient", IMPATIENT)


def _gateway(
    scripted: ScriptedUpstream,
    tmp_path_factory: pytest.TempPathFactory,
    name: str,
    timeouts: dict[str, float],
) -> Iterator[Gateway]:
    gateway = Gateway(tmp_path_factory.mktemp(name), config=config_for(scripted, timeouts))
    yield gateway
    assert gateway.stop() == 0
    for place in PLACES:
        assert place.secret not in gateway.log.text, f"the key of {place.id} is in the log"


MORE = """
[server]
heartbeat_s = 0.2
body_bytes_max = 100000
concurrency_max = 12
"""


@pytest.fixture(scope="session")
def small(scripted: ScriptedUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway with low limits and a quick heartbeat, before the scripted upstreams."""
    timeouts = {"connect_s": 5, "first_byte_s": 20, "idle_s": 20, "total_s": 60}
    config = MORE + config_for(scripted, timeouts).replace("[server]\nheartbeat_s = 0\n", "")
    config += f'[fetch]\nallow_hosts = ["127.0.0.1:{scripted.port}"]\nbytes_max = 100000\ntimeout_s = 5\n'
    gateway = Gateway(tmp_path_factory.mktemp("small"), config=config)
    yield gateway
    assert gateway.stop() == 0


@pytest.fixture(scope="session")
def unfetching(scripted: ScriptedUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway that fetches nothing."""
    config = config_for(scripted, {"total_s": 60}) + "[fetch]\nenabled = false\n"
    gateway = Gateway(tmp_path_factory.mktemp("unfetching"), config=config)
    yield gateway
    assert gateway.stop() == 0
