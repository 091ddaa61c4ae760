"""SIGUSR2 and SIGHUP while a gateway starts or begins anew: it answers afterwards."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from http.client import HTTPConnection
from pathlib import Path

import pytest
from gateway_kit import WAIT_S, until
from scripted_upstream import ScriptedUpstream, config_for

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

BOTH = (signal.SIGUSR2, signal.SIGHUP)


def caught(pid: int) -> bool:
    """Whether the process does not leave either signal to its default."""
    told = Path(f"/proc/{pid}/status").read_text()
    mask = int(re.findall(r"^SigCgt:\s*([0-9a-f]+)$", told, re.MULTILINE)[0], 16)
    return all(mask >> (number - 1) & 1 for number in BOTH)


def signalled_until(
    process: subprocess.Popen[bytes], condition: Callable[[], bool], read: Callable[[], str]
) -> None:
    """Send both signals over and over, and see to it that the process does not end."""
    for _ in range(10_000):
        for number in BOTH:
            process.send_signal(number)
        with suppress(subprocess.TimeoutExpired):
            pytest.fail(f"ended with {process.wait(0.02)}: {read()}")
        if condition():
            return
    pytest.fail("it never happened")


@pytest.mark.parametrize("workers", [1, 2])
def test_signals_at_any_moment_leave_a_gateway_that_answers(
    upstream: ScriptedUpstream, tmp_path: Path, workers: int
) -> None:
    said, log = tmp_path / "said", tmp_path / "log"
    (tmp_path / "router.toml").write_text(
        config_for(upstream, {}).replace("[server]\n", f"[server]\nworkers = {workers}\ndrain_s = 1\n", 1)
    )
    with said.open("ab") as out, log.open("ab") as errors:
        process = subprocess.Popen(
            [
                sys.executable, "-m", "llm_router.cli", "serve", "--port", "0",
                "--data-dir", str(tmp_path / "data"), "--config", str(tmp_path / "router.toml"),
            ],
            stdin=subprocess.DEVNULL, stdout=out, stderr=errors,
        )  # fmt: skip

    def starts() -> int:
        return said.read_text().count("answers at http://")

    try:
        until(lambda: caught(process.pid))
        signalled_until(process, lambda: starts() >= 1, log.read_text)  # the start
        signalled_until(process, lambda: starts() >= 2, log.read_text)  # and a restart
        port = int(re.findall(r"answers at http://127\.0\.0\.1:(\d+)", said.read_text())[-1])
        connection = HTTPConnection("127.0.0.1", port, timeout=WAIT_S)
        connection.request("GET", "/healthz")
        assert connection.getresponse().status == 200
        connection.close()
        assert process.poll() is None
        assert "Traceback" not in log.read_text()
        assert "sk-lr-" in said.read_text()
    finally:
        process.kill()
        process.wait(WAIT_S)
