"""What a provider that fails costs with several workers: each learns it for itself, and no client hears of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from gateway_kit import Gateway
from scripted_upstream import ScriptedUpstream, answers, config_for, http, whole

pytestmark = pytest.mark.slow

WORKERS, FAILURES_MAX, REQUESTS = 2, 3, 60
"""So many requests that each worker gets some, however the system shares out connections."""


def begin(folder: Path, upstream: ScriptedUpstream) -> Gateway:
    config = config_for(upstream, {"connect_s": 5, "first_byte_s": 60, "idle_s": 60, "total_s": 60})
    config = config.replace("[server]\n", f"[server]\nworkers = {WORKERS}\n", 1)
    circuit = f"[health]\nfailures_max = {FAILURES_MAX}\nopen_s = 3600\nopen_max_s = 3600\n"
    return Gateway(folder, config=config.replace("[health]\nenabled = false\n", circuit, 1))


def failed_calls(gateway: Gateway, upstream: ScriptedUpstream) -> int:
    """Calls to the provider that fails, of as many requests."""
    before = len(upstream.at("o1"))
    assert [gateway.chat("fo").status for _ in range(REQUESTS)] == [200] * REQUESTS
    return len(upstream.at("o1")) - before


def test_each_worker_opens_its_own_circuit(upstream: ScriptedUpstream, tmp_path: Path) -> None:
    upstream.play("o1", answers(http(500, b'{"error": {"message": "no", "type": "server_error"}}')))
    upstream.play("o2", answers(http(200, whole("openai_chat"))))
    gateway = begin(tmp_path, upstream)
    try:
        assert failed_calls(gateway, upstream) == WORKERS * FAILURES_MAX
        assert failed_calls(gateway, upstream) == 0
        gateway.stop()
        gateway.start()  # nothing is kept over a restart
        assert failed_calls(gateway, upstream) == WORKERS * FAILURES_MAX
    finally:
        assert gateway.stop() == 0
