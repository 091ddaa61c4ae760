"""opencode, without a terminal (``opencode run``), with the gateway as a compatible provider."""

from __future__ import annotations

import json
import os
from pathlib import Path

import agent_kit
import kit

row = kit.Client("opencode", version=agent_kit.version_of("opencode-ai"))
OPENCODE = agent_kit.program("opencode")
SETTINGS = Path(os.environ["HOME"]) / ".config" / "opencode"
SETTINGS.mkdir(parents=True)
(SETTINGS / "opencode.json").write_text(
    json.dumps(
        {
            "autoupdate": False,
            "share": "disabled",
            "provider": {
                "router": {
                    "npm": "@ai-sdk/openai-compatible",
                    "name": "LLM Router",
                    "options": {"baseURL": f"{kit.ROOT}/v1", "apiKey": kit.KEY},
                    "models": {model: {"name": model} for model in kit.MODELS.values()},
                }
            },
        }
    )
)


def ask(prompt: str, model: str, folder: Path) -> str:
    return agent_kit.turn([OPENCODE, "run", "-m", f"router/{model}", prompt], folder, {})


@row.each
def whole(model: str) -> None:
    kit.has(ask("Reply with exactly: pong", model, agent_kit.work_folder()), "pong")


@row.each
def session(model: str) -> None:
    folder = agent_kit.work_folder()
    steps = agent_kit.script(
        ("read", {"filePath": str(folder / "note.txt")}),
        ("bash", {"command": agent_kit.COMMAND, "description": "Say hello"}),
    )
    kit.has(ask(steps, model, folder), "simulated")
    agent_kit.wrote(folder)


kit.report(row)
