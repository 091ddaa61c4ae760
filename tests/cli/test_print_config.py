"""Every printed configuration parses in its format and holds address and key once; those for SDKs work."""

from __future__ import annotations

import ast
import json
import os
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml

from llm_router.catalog.listing import models_page
from llm_router.catalog.snapshot import compile_snapshot, load_builtin
from llm_router.cli.client_configs import RENDERERS, Setup
from llm_router.cli.kinds import CLIENTS
from llm_router.cli.print_config import _USES, _default, version_of

ROOT, KEY = "https://gateway.example:8443", "sk-lr-a'b\"c$d"
SETUP = Setup(
    root=ROOT,
    key=KEY,
    key_env="MY_KEY",
    model="gpt-6-sol",
    fast="gpt-6-luna",
    entry={"name": "GPT-6 Sol", "context_length": 1000, "capabilities": {"vision": True}},
)


def _sh(text: str, **environ: str) -> dict[str, str]:
    """The variables that a shell has after the text."""
    code = f"{text}\n{shlex.quote(sys.executable)} -c 'import json, os; print(json.dumps(dict(os.environ)))'"
    done = subprocess.run(
        ["sh", "-euc", code], env={"PATH": os.environ["PATH"], **environ}, capture_output=True, check=True
    )
    found: dict[str, str] = json.loads(done.stdout)
    return found


PARSERS: dict[str, Callable[[str], Any]] = {
    "sh": lambda text: shlex.split(text.replace("\\\n", "")),
    "toml": tomllib.loads,
    "json": json.loads,
    "yaml": yaml.safe_load,
    "python": lambda text: [n.value for n in ast.walk(ast.parse(text)) if isinstance(n, ast.Constant)],
}


def _strings(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [text for item in value.values() for text in _strings(item)]
    if isinstance(value, list):
        return [text for item in value for text in _strings(item)]
    return [str(value)]


def test_the_names_are_the_same_everywhere() -> None:
    assert tuple(RENDERERS) == CLIENTS == tuple(_USES)
    page = (Path(__file__).parents[2] / "docs" / "clients.md").read_text()
    assert [name for name in CLIENTS if f"`{name}`" not in page] == []


@pytest.mark.parametrize("client", CLIENTS)
def test_it_parses_and_holds_address_and_key_once(client: str) -> None:
    config = RENDERERS[client](SETUP)
    strings = _strings(PARSERS[config.format](config.text))
    assert sum(ROOT in text for text in strings) == 1, strings
    assert sum(KEY in text for text in strings) == 1, strings


@pytest.mark.parametrize("client", CLIENTS)
def test_without_a_key_its_variable_is_named(client: str) -> None:
    config = RENDERERS[client](Setup(root=ROOT, key=None, key_env="MY_KEY", model="m", fast="f", entry={}))
    PARSERS[config.format](config.text)
    assert config.text.count("MY_KEY") == 1
    assert KEY not in config.text


@pytest.mark.parametrize("client", [name for name in CLIENTS if name != "curl"])
def test_shell_settings_reach_the_environment(client: str) -> None:
    config = RENDERERS[client](SETUP)
    if config.format != "sh":
        return
    variables = _sh(config.text, GOOGLE_API_KEY="other")
    assert KEY in variables.values()
    assert any(value in (ROOT, f"{ROOT}/v1") for value in variables.values())
    taken = RENDERERS[client](Setup(root=ROOT, key=None, key_env="MY_KEY", model="m", fast="f", entry={}))
    assert list(_sh(taken.text, MY_KEY="sk-secret").values()).count("sk-secret") == 2
    if client.startswith("gemini"):
        assert "GOOGLE_API_KEY" not in variables


def test_codex_speaks_responses() -> None:
    table = tomllib.loads(RENDERERS["codex"](SETUP).text)
    provider = table["model_providers"][table["model_provider"]]
    assert provider["wire_api"] == "responses"
    assert provider["base_url"] == f"{ROOT}/v1"
    assert table["model"] == "gpt-6-sol"


def test_claude_code_maps_all_tiers_to_a_model_that_is_not_claude() -> None:
    assert RENDERERS["claude-code"](SETUP).text.count("gpt-6-sol") == 3
    claude = Setup(
        root=ROOT, key=KEY, key_env="K", model="claude-sonnet-5", fast="claude-haiku-4-5", entry={}
    )
    assert RENDERERS["claude-code"](claude).text.count("claude-sonnet-5") == 1


def test_openclaw_takes_the_limits_of_the_catalogue() -> None:
    value = json.loads(RENDERERS["openclaw"](SETUP).text)
    (model,) = value["models"]["providers"]["llm-router"]["models"]
    assert model["contextWindow"] == 1000
    assert "maxTokens" not in model
    assert model["input"] == ["text", "image"]
    assert value["agents"]["defaults"]["model"]["primary"] == "llm-router/gpt-6-sol"


def _run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", "llm_router.cli", "print-config", *words],
        env={"PATH": os.environ["PATH"], "HOME": str(folder), "LLM_ROUTER_DATA_DIR": str(folder / "data")},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_command_takes_address_and_model_from_the_settings(tmp_path: Path) -> None:
    config = tmp_path / "router.toml"
    config.write_text('[server]\nhost = "0.0.0.0"\nport = 4567\n')
    done = _run(tmp_path, "opencode", "--config", str(config))
    value = json.loads(done.stdout)
    provider = value["provider"]["llm-router"]
    assert provider["options"] == {
        "baseURL": "http://127.0.0.1:4567/v1",
        "apiKey": "{env:LLM_ROUTER_API_KEY}",
    }
    assert value["model"] == f"llm-router/{next(iter(provider['models']))}"
    assert done.stderr != ""
    assert done.returncode == 0


def test_the_command_lists_clients_and_refuses_what_it_cannot_use(tmp_path: Path) -> None:
    listed = _run(tmp_path)
    assert [line.split()[0] for line in listed.stdout.splitlines()[1:]] == list(CLIENTS)
    assert _run(tmp_path, "emacs").returncode == 2
    assert _run(tmp_path, "codex", "--key", "a", "--key-env", "B").returncode == 2
    for words in (["--key", "two words"], ["--key-env", "a-b"], ["--base-url", ""], ["--model", "a\nb"]):
        done = _run(tmp_path, "codex", *words)
        assert (done.returncode, done.stdout) == (1, "")
        assert words[0] in done.stderr


@pytest.mark.parametrize(
    ("id_", "version"),
    [
        ("gpt-6-sol", "6"),
        ("gpt-6.1-sol", "6.1"),
        ("gpt-4o-mini", "4"),
        ("o3-pro", "3"),
        ("claude-haiku-5-5", "5.5"),
        ("claude-3-5-sonnet", "3.5"),
        ("claude-opus-4", "4"),
        ("claude-sonnet-4-20250514", "4"),
        ("grok-4.20-non-reasoning", "4.20"),
        ("qwen3.8-27b", "3.8"),
        ("gemma-4-31b", "4"),
        ("gpt-oss-120b", "0"),
        ("llama-70b", "0"),
        ("command-a-plus", "0"),
    ],
)
def test_the_version_of_a_model_is_read_from_its_name(id_: str, version: str) -> None:
    assert version_of(id_) == Decimal(version)


@pytest.mark.parametrize(
    ("provider", "family", "word", "fast", "chosen"),
    [
        ("openai", "GPT", "", False, "gpt-6.1-sol"),
        ("openai", "GPT", "", True, "gpt-6-luna"),
        ("anthropic", "Claude", "sonnet", False, "claude-sonnet-5-5"),
        ("anthropic", "Claude", "", True, "claude-haiku-5-5"),
    ],
)
def test_the_newest_model_is_that_of_the_highest_version(
    provider: str, family: str, word: str, fast: bool, chosen: str
) -> None:
    page: Any = models_page(compile_snapshot(load_builtin()), {provider})
    entries = [e for e in page["data"] if e["available"] and e["capabilities"]["tools"]]
    assert _default(entries, family, fast=fast, word=word) == chosen
    assert _default(entries[::-1], family, fast=fast, word=word) == chosen
