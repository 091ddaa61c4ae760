"""The command line tool ``llm``, with the gateway's models as its users set them up."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import kit

row = kit.Client("llm", "llm")
FOLDER = Path.cwd() / "llm"
FOLDER.mkdir()
(FOLDER / "extra-openai-models.yaml").write_text(
    "\n".join(
        f"- model_id: {model}\n  model_name: {model}\n  api_base: {kit.ROOT}/v1\n  api_key_name: router\n"
        "  vision: true\n  supports_schema: true\n  supports_tools: true\n"
        for model in (*kit.MODELS.values(), kit.UNKNOWN)
    )
)
(FOLDER / "tool.py").write_text(
    'def get_weather(city: str) -> str:\n    "Get the weather of a city."\n    return "sunny"\n'
)
(FOLDER / "picture.png").write_bytes(kit.PNG)


def llm(*words: str, key: str = kit.KEY, status: int = 0) -> str:
    """What the command prints."""
    (FOLDER / "keys.json").write_text(json.dumps({"router": key}))
    done = subprocess.run(
        [str(Path(sys.executable).parent / "llm"), *words],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env={**os.environ, "LLM_USER_PATH": str(FOLDER)},
    )
    assert done.returncode == status, f"status {done.returncode}: {done.stderr[-400:]}"
    return done.stdout + done.stderr


@row.each
def whole(model: str) -> None:
    kit.has(llm("-m", model, "--no-stream", "-s", "Be brief.", "Reply with exactly: pong"), "pong")


@row.each
def stream(model: str) -> None:
    kit.has(llm("-m", model, "Reply with exactly: pong"), "pong")


@row.each
def tools_automatic(model: str) -> None:
    kit.has(llm("-m", model, "--functions", str(FOLDER / "tool.py"), kit.WEATHER_ASKED), "sunny")


@row.each
def vision(model: str) -> None:
    kit.has(llm("-m", model, "-a", str(FOLDER / "picture.png"), "What is this?"), "1 image")


@row.each
def structured(model: str) -> None:
    found = json.loads(llm("-m", model, "--schema", "name, age int", kit.PERSON_TOLD))
    assert found == {"name": "Ada Lovelace", "age": 36}, found


@row.each
def turns(model: str) -> None:
    llm("-m", model, kit.NAME_TOLD)
    kit.has(llm("-m", model, "-c", kit.NAME_ASKED), "Your name is Ada")


@row.once
def wrong_key() -> str:
    said = llm("-m", next(iter(kit.MODELS.values())), "hi", key=kit.WRONG_KEY, status=1)
    kit.has(said, "401")
    return said.strip()[:100]


@row.once
def unknown_model() -> None:
    kit.has(llm("-m", kit.UNKNOWN, "hi", status=1), "404", "not available")


kit.report(row)
