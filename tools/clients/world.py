"""The gateway that clients are tried against, and the environments that they are installed in."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

from table import Environment

HERE = Path(__file__).parent
INSTALL_S = 900

UPSTREAMS = {
    "openai_chat": ("chat", "deepseek-v3.1"),
    "openai_responses": ("responses", "gpt-5-mini"),
    "anthropic_messages": ("messages", "claude-sonnet-4-5"),
    "gemini_generate": ("gemini", "gemini-2.5-flash"),
    "bedrock_converse": ("converse", "anthropic.claude-sonnet-4-5-20250929-v1:0"),
    "cohere_chat": ("cohere", "command-a-reasoning-08-2025"),
    "ollama_chat": ("ollama", "qwen3:8b"),
}
"""For each upstream dialect the end of our model's name and what its provider calls it."""


def models() -> dict[str, str]:
    """A model of one deployment behind each upstream dialect that the sandbox speaks."""
    from llm_router.sandbox.app import FORMS

    spoken = {form.dialect.name for form in FORMS.values()}
    return {dialect: f"sim-{name}" for dialect, (name, _) in UPSTREAMS.items() if dialect in spoken}


def config() -> str:
    """The configuration of a gateway whose models each have one place."""
    lines = ["[credits]", "starting = 1000"]
    for dialect, model in models().items():
        lines += [f"[providers.at-{model}]", f'dialect = "{dialect}"', 'base_url = "http://127.0.0.1:1"']
        lines += ['auth = "bearer"', 'key = "simulated"', f'[models."{model}"]']
        lines += ["output_tokens_max = 32000", "context_tokens = 200000"]
        lines += ["price = { input_per_mtok = 1, output_per_mtok = 2 }", f'[models."{model}".capabilities]']
        lines += ['input_modalities = ["text", "image", "file"]']
        lines += [f"{name} = true" for name in ("tools", "parallel_tools", "json_object", "json_schema")]
        lines += ["reasoning = true", "sampling = true", "streaming = true"]
        lines += ['reasoning_levels = ["minimal", "low", "medium", "high"]']
        lines += [f'[[models."{model}".deployments]]', f'provider = "at-{model}"']
        lines += [f'upstream_model = "{UPSTREAMS[dialect][1]}"']
    return "\n".join(lines) + "\n"


class Gateway:
    """``llm-router serve --sandbox`` in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "router.toml").write_text(config())
        words = ["serve", "--sandbox", "--port", "0", "--data-dir", str(folder / "data")]
        self.log_path = folder / "gateway.log"
        self._log = self.log_path.open("w")
        self._drain: threading.Thread | None = None
        self._process = subprocess.Popen(
            [sys.executable, "-m", "llm_router.cli", *words, "--config", str(folder / "router.toml")],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            env={"PATH": os.environ["PATH"], "HOME": str(folder)},
        )
        assert self._process.stdout is not None
        said = ""
        for line in self._process.stdout:
            said += line
            if line.startswith("  Config"):
                break
        at = re.search(r"answers at (http://127\.0\.0\.1:\d+)/v1", said)
        key = re.search(r"sk-lr-[0-9A-Za-z]{43}", said)
        if at is None or key is None:
            self.stop()
            raise RuntimeError(f"the gateway did not start:\n{said}{self.log_path.read_text()}")
        self.root, self.key = at[1], key[0]
        self._drain = threading.Thread(target=self._process.stdout.read, daemon=True)
        self._drain.start()

    def stop(self) -> None:
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        self._process.wait(30)
        if self._drain is not None:
            self._drain.join()
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._log.close()


def folder_of(environment: Environment, cache: Path) -> Path:
    """Where an environment is, or would be: one folder for each list of packages."""
    listed = json.dumps([environment.kind, sys.version_info[:2], environment.packages])
    return cache / f"{environment.name}-{hashlib.sha256(listed.encode()).hexdigest()[:10]}"


def is_built(environment: Environment, cache: Path) -> bool:
    return (folder_of(environment, cache) / "complete").exists()


def build(environment: Environment, cache: Path) -> Path:
    """Install an environment unless it is there.

    Raises:
        RuntimeError: the packages cannot be had, or a tool for that is missing.
    """
    folder = folder_of(environment, cache)
    if is_built(environment, cache):
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    if environment.kind == "pip":
        _call([sys.executable, "-m", "venv", str(folder)], folder)
        pip = [
            str(folder / "bin" / "python"),
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
        ]
        _call([*pip, *environment.packages], folder)
    else:
        if shutil.which("npm") is None:
            raise RuntimeError("npm is not installed")
        (folder / "package.json").write_text('{"private": true, "type": "module"}')
        _call(["npm", "install", "--no-audit", "--no-fund", *environment.packages], folder)
    (folder / "complete").touch()
    return folder


def _call(command: list[str], folder: Path) -> None:
    done = subprocess.run(
        command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=INSTALL_S
    )
    if done.returncode:
        raise RuntimeError((done.stderr.strip() or done.stdout.strip())[-800:])


def command_of(environment: Environment, folder: Path | None) -> list[str]:
    """How its script is started. Without a folder in this interpreter's own environment."""
    script = HERE / environment.script
    if script.suffix == ".mjs":
        assert folder is not None
        copied = folder / script.name  # node looks for packages beside the script
        for source in script.parent.glob("*.mjs"):
            shutil.copy(source, folder / source.name)
        return ["node", str(copied)]
    own = folder is not None and environment.kind == "pip"
    return [str(folder / "bin" / "python") if folder is not None and own else sys.executable, str(script)]
