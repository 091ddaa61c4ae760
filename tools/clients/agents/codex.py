"""Codex, without a terminal (``codex exec``), over the responses API."""

from __future__ import annotations

import os
from pathlib import Path

import agent_kit
import kit

row = kit.Client("codex", version=agent_kit.version_of("@openai/codex"))
CODEX = agent_kit.program("codex")
SETTINGS = Path(os.environ["HOME"]) / ".codex"
SETTINGS.mkdir()
(SETTINGS / "config.toml").write_text(
    f"""model_provider = "router"
[model_providers.router]
name = "LLM Router"
base_url = "{kit.ROOT}/v1"
env_key = "LLM_ROUTER_API_KEY"
wire_api = "responses"
"""
)


def ask(
    prompt: str, model: str, folder: Path, *words: str, key: str = kit.KEY, status: int | None = 0
) -> str:
    command = [CODEX, "exec", *words, "--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox"]
    return agent_kit.turn([*command, "-m", model, prompt], folder, {"LLM_ROUTER_API_KEY": key}, status=status)


@row.each
def whole(model: str) -> None:
    kit.has(ask("Reply with exactly: pong", model, agent_kit.work_folder()), "] pong")


@row.each
def session(model: str) -> None:
    folder = agent_kit.work_folder()
    steps = agent_kit.script(
        ("exec_command", {"cmd": "cat note.txt"}), ("exec_command", {"cmd": agent_kit.COMMAND})
    )
    kit.has(ask(steps, model, folder), "marzipan", "simulated")
    agent_kit.wrote(folder)


@row.each
def vision(model: str) -> None:
    folder = agent_kit.work_folder()
    (folder / "picture.png").write_bytes(kit.PNG)
    kit.has(ask("What is this?", model, folder, "-i", "picture.png"), "1 image")


@row.once
def retry() -> None:
    model = next(iter(kit.MODELS.values()))
    asked = kit.ordered_retry(row.name, model)
    kit.has(kit.waited(lambda: ask(asked, model, agent_kit.work_folder())), "] pong")


@row.once
def wrong_key() -> None:
    kit.has(ask("hi", "gpt-5-mini", agent_kit.work_folder(), key=kit.WRONG_KEY, status=None), "401")


@row.once
def unknown_model() -> None:
    kit.has(ask("hi", kit.UNKNOWN, agent_kit.work_folder(), status=None), "is not available")


kit.report(row)
