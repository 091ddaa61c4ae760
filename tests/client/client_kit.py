"""A gateway with simulated providers in a process of its own, and the client's command line against it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from scripted_gateway import ScriptedGateway

from llm_router_client import LLMRouterClient

SKILL = Path(__file__).parents[2] / "skill"
CLIENT = SKILL / "scripts" / "llm_router_client.py"

Script = Callable[..., ScriptedGateway]


class Gateway:
    """A gateway in a process of its own, every model simulated."""

    def __init__(self, folder: Path) -> None:
        config = folder / "router.toml"
        config.write_text('[continuation]\nmode = "off"\n')  # a stream that breaks is to reach the client so
        words = ["serve", "--sandbox", "--port", "0", "--data-dir", str(folder / "data")]
        words += ["--config", str(config)]
        self.folder = folder
        self.process = subprocess.Popen(
            [sys.executable, "-m", "llm_router.cli", *words],
            env={"PATH": os.environ["PATH"], "HOME": str(folder)},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self.process.stdout is not None
        said = ""
        while not ({"url", "key"} <= (found := self._find(said)).keys()):
            line = self.process.stdout.readline()
            assert line, f"the gateway ended: {said}"
            said += line
        self.url, self.key = found["url"], found["key"]

    def _find(self, said: str) -> dict[str, str]:
        patterns = {"url": r"http://127\.0\.0\.1:\d+/v1", "key": r"sk-lr-\w+"}
        return {name: match[0] for name, text in patterns.items() if (match := re.search(text, said))}

    def client(self, **options: float) -> LLMRouterClient:
        return LLMRouterClient(self.key, self.url, **options)  # type: ignore[arg-type]

    def run(
        self,
        *words: str,
        python: str = sys.executable,
        stdin: bytes = b"",
        environ: dict[str, str] | None = None,
    ) -> subprocess.CompletedProcess[bytes]:
        """The client's command line against this gateway."""
        variables = {"AISA_API_KEY": self.key, "LLM_ROUTER_BASE_URL": self.url, **(environ or {})}
        return subprocess.run(
            [python, "-W", "error", str(CLIENT), *words],
            input=stdin,
            env={"PATH": os.environ["PATH"], "HOME": str(self.folder), **variables},
            capture_output=True,
            timeout=60,
            check=False,
        )

    def close(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.communicate(timeout=30)
