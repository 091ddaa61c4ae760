"""Claude Code, without a terminal (``claude -p``)."""

from __future__ import annotations

import json
from pathlib import Path

import agent_kit
import kit

row = kit.Client("claude-code", version=agent_kit.version_of("@anthropic-ai/claude-code"))
CLAUDE = agent_kit.program("claude")


def ask(
    prompt: str, model: str, folder: Path, *words: str, key: str = kit.KEY, status: int | None = 0
) -> str:
    environ = {
        "ANTHROPIC_BASE_URL": kit.ROOT,
        "ANTHROPIC_API_KEY": key,
        "ANTHROPIC_SMALL_FAST_MODEL": model,
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
    }
    command = [CLAUDE, "-p", prompt, "--model", model, "--output-format", "json", *words]
    return agent_kit.turn(command, folder, environ, status=status)


def result(said: str) -> str:
    found = json.loads(said[said.index("{") :])
    assert not found["is_error"], found
    return str(found["result"])


@row.each
def whole(model: str) -> None:
    kit.has(result(ask("Reply with exactly: pong", model, agent_kit.work_folder())), "pong")


@row.each
def session(model: str) -> None:
    folder = agent_kit.work_folder()
    steps = agent_kit.script(
        ("Read", {"file_path": str(folder / "note.txt")}),
        ("Bash", {"command": agent_kit.COMMAND, "description": "Say hello"}),
        ("Write", {"file_path": str(folder / "new.txt"), "content": "[[written]]\n"}),
    )
    said = result(ask(steps, model, folder, "--allowedTools", "Read Bash Write"))
    agent_kit.wrote(folder)
    assert (folder / "new.txt").read_text() == "[[written]]\n"
    kit.has(said, "simulated")


@row.once
def stream() -> None:
    folder = agent_kit.work_folder()
    model = next(iter(kit.MODELS.values()))
    environ = {"ANTHROPIC_BASE_URL": kit.ROOT, "ANTHROPIC_API_KEY": kit.KEY}
    command = [CLAUDE, "-p", "Reply with exactly: pong", "--model", model, "--verbose"]
    command += ["--output-format", "stream-json", "--include-partial-messages"]
    kit.has(agent_kit.turn(command, folder, environ), "content_block_delta", "pong")


@row.once
def turns() -> None:
    folder = agent_kit.work_folder()
    model = next(iter(kit.MODELS.values()))
    ask(kit.NAME_TOLD, model, folder)
    kit.has(result(ask(kit.NAME_ASKED, model, folder, "--continue")), "Your name is Ada")


@row.once
def retry() -> None:
    model = next(iter(kit.MODELS.values()))
    asked = kit.ordered_retry(row.name, model)
    kit.has(kit.waited(lambda: result(ask(asked, model, agent_kit.work_folder()))), "pong")


@row.once
def unknown_model() -> None:
    kit.has(ask("hi", kit.UNKNOWN, agent_kit.work_folder(), status=None), kit.UNKNOWN)


kit.report(row)
