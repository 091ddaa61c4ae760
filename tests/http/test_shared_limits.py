"""Gateways that count their limits at one server: one limit for both, and each alone while it is away."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from gateway_kit import Gateway, until

BINARY = shutil.which("redis-server") or shutil.which("valkey-server")
pytestmark = pytest.mark.skipif(BINARY is None, reason="no redis-server or valkey-server is installed")


class Counting:
    """A server on a unix socket; it writes no disk."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "counters.sock"
        self.start()

    def start(self) -> None:
        assert BINARY is not None
        words = ("--port", "0", "--unixsocket", str(self.path), "--save", "", "--appendonly", "no")
        self.process = subprocess.Popen([BINARY, *words], cwd=self.path.parent, stdout=subprocess.DEVNULL)
        until(self.path.exists)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        self.path.unlink(missing_ok=True)


@pytest.fixture
def counting(tmp_path: Path) -> Iterator[Counting]:
    server = Counting(tmp_path)
    yield server
    server.kill()


def admitted(gateway: Gateway, asks: int) -> int:
    answers = [gateway.chat("gpt-4o-mini", "hi") for _ in range(asks)]
    assert {answer.status for answer in answers} <= {200, 429}
    return sum(answer.status == 200 for answer in answers)


def test_two_gateways_share_a_limit_and_survive_its_server(counting: Counting, tmp_path: Path) -> None:
    config = f'[counters]\nurl = "unix://{counting.path}"\ntimeout_s = 5\nlocal_share = 0.5\n'
    folders = [tmp_path / "first", tmp_path / "second"]
    for folder in folders:
        folder.mkdir()
    first = Gateway(folders[0], "--sandbox", config=config)
    first.command("limits.set", kind="requests", amount=8, window="hour")
    assert first.stop() == 0
    shutil.copytree(first.data_dir, folders[1] / "data")  # the same keys and limits
    first.start()
    second = Gateway(folders[1], "--sandbox", "--workers", "2", config=config)
    second.key = first.key
    try:
        assert admitted(first, 3) == 3
        assert admitted(second, 9) == 5
        assert admitted(first, 1) == 0
        assert "degraded" not in first.get("/readyz").json
        counting.kill()
        # Each has its half of the limit, less what it had.
        assert admitted(first, 5) == 1
        assert admitted(second, 5) == 0
        ready = first.get("/readyz")
        assert (ready.status, ready.json["status"]) == (200, "ready")
        assert "counts limits by itself" in ready.json["degraded"]
        until(lambda: all("degraded" in second.get("/readyz").json for _ in range(6)))  # its workers too
        counting.start()
        until(lambda: "degraded" not in first.get("/readyz").json)
        until(lambda: sum("counters' server" in line for line in first.log.lines) == 2)
        assert admitted(first, 5) == 5  # the new server remembers nothing
    finally:
        assert first.stop() == 0
        assert second.stop() == 0
