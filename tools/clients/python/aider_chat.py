"""Aider, without a terminal (``aider --message``), over chat completions."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import kit

row = kit.Client("aider", "aider-chat")
AIDER = str(Path(sys.executable).parent / "aider")


def ask(prompt: str, model: str, *words: str, key: str = kit.KEY) -> str:
    command = [AIDER, "--model", f"openai/{model}", "--no-git", "--yes-always", "--no-check-update"]
    command += ["--no-show-model-warnings", "--no-analytics", "--no-pretty", "--message", prompt, *words]
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "OPENAI_API_BASE": f"{kit.ROOT}/v1", "OPENAI_API_KEY": key},
    )
    return done.stdout + done.stderr


@row.each
def stream(model: str) -> None:
    kit.has(ask("Reply with exactly: pong", model), "] pong")


@row.once
def whole() -> None:
    kit.has(ask("Reply with exactly: pong", next(iter(kit.MODELS.values())), "--no-stream"), "] pong")


@row.once
def wrong_key() -> None:
    kit.has(ask("hi", next(iter(kit.MODELS.values())), key=kit.WRONG_KEY), "AuthenticationError")


kit.report(row)
