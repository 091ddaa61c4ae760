"""Gemini CLI, without a terminal (``gemini -p``)."""

from __future__ import annotations

import json
import os
from pathlib import Path

import agent_kit
import kit

row = kit.Client("gemini-cli", version=agent_kit.version_of("@google/gemini-cli"))
GEMINI = agent_kit.program("gemini")
SETTINGS = Path(os.environ["HOME"]) / ".gemini"
SETTINGS.mkdir()
(SETTINGS / "settings.json").write_text(
    json.dumps(
        {"security": {"auth": {"selectedType": "gemini-api-key"}}, "general": {"disableAutoUpdate": True}}
    )
)


def ask(prompt: str, model: str, folder: Path, *, key: str = kit.KEY, status: int | None = 0) -> str:
    environ = {"GOOGLE_GEMINI_BASE_URL": kit.ROOT, "GEMINI_API_KEY": key, "GEMINI_TELEMETRY_ENABLED": "false"}
    command = [GEMINI, "--skip-trust", "--approval-mode", "yolo", "-m", model, "-p", prompt]
    return agent_kit.turn(command, folder, environ, status=status)


@row.each
def whole(model: str) -> None:
    kit.has(ask("Reply with exactly: pong", model, agent_kit.work_folder()), "pong")


@row.each
def session(model: str) -> None:
    folder = agent_kit.work_folder()
    steps = agent_kit.script(
        ("read_file", {"file_path": str(folder / "note.txt")}),
        ("run_shell_command", {"command": agent_kit.COMMAND, "description": "Say hello"}),
    )
    kit.has(ask(steps, model, folder), "simulated")
    agent_kit.wrote(folder)


@row.once
def wrong_key() -> None:
    kit.has(ask("hi", "gemini-2.5-flash", agent_kit.work_folder(), key=kit.WRONG_KEY, status=None), "API key")


kit.report(row)
