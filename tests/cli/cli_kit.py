"""The command line in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any


class Cli:
    """Runs commands with an environment that holds nothing of the machine's."""

    def __init__(self, folder: Path) -> None:
        self.data_dir = folder / "data"
        self.environ = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "LLM_ROUTER_DATA_DIR": str(self.data_dir),
        }

    def run(self, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-W", "error", "-m", "llm_router.cli", *words],
            env={**self.environ, **variables},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def json(self, *words: str) -> Any:
        done = self.run(*words, "--json")
        assert (done.returncode, done.stderr) == (0, ""), done
        return json.loads(done.stdout)

    def refused(self, *words: str, **variables: str) -> str:
        """The one line on standard error of a command that fails."""
        done = self.run(*words, **variables)
        assert (done.returncode, done.stdout) == (1, ""), done
        assert done.stderr.startswith("llm-router: ")
        assert done.stderr.count("\n") == 1
        return done.stderr.removeprefix("llm-router: ").rstrip()
