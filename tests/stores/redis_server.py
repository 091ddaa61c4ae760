"""A Redis (or Valkey) server of the tests' own, on a unix socket in a folder of its own; it writes no disk."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from pathlib import Path

import pytest

BINARY = shutil.which("redis-server") or shutil.which("valkey-server")
needs_server = pytest.mark.skipif(BINARY is None, reason="no redis-server or valkey-server is installed")


class Server:
    def __init__(self, folder: Path) -> None:
        self.path = folder / "counters.sock"
        self.url = f"unix://{self.path}"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it answers."""
        assert BINARY is not None
        words = ("--port", "0", "--unixsocket", str(self.path), "--save", "", "--appendonly", "no")
        self.process = subprocess.Popen(
            [BINARY, *words], cwd=self.path.parent, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        until = time.monotonic() + 20
        while True:
            try:
                with socket.socket(socket.AF_UNIX) as probe:
                    probe.connect(str(self.path))
                    probe.sendall(b"PING\r\n")
                    assert probe.recv(7) == b"+PONG\r\n"
                    return
            except OSError:
                assert self.process.poll() is None, "it ended"
                assert time.monotonic() < until, "it does not answer"
                time.sleep(0.01)

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None
            self.path.unlink(missing_ok=True)
