"""The skill's folder is valid, its words are true, and its programs run."""

from __future__ import annotations

import ast
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from client_kit import CLIENT, SKILL, Gateway
from test_client_sandbox import check_every_command, png

import llm_router_client
from llm_router import __version__
from llm_router.catalog.snapshot import compile_snapshot, load_builtin
from llm_router.domain import errors

ROOT = SKILL.parent
OWN_CODES = {"AUTH_ERROR", "INVALID_INPUT", "NETWORK_ERROR", "STREAM_ERROR"}
PAGES = [
    SKILL / "SKILL.md",
    SKILL / "README.md",
    SKILL / "references" / "recipes.md",
    ROOT / "docs" / "client.md",
]


def split() -> tuple[str, str]:
    _, head, body = (SKILL / "SKILL.md").read_text(encoding="utf-8").split("---\n", 2)
    return head, body


def head() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(split()[0])
    return loaded


def test_name_and_description() -> None:
    found = head()
    assert set(found) == {"name", "description", "version", "license", "metadata"}
    assert found["name"] == "llm-router"
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", found["name"])
    assert "skills/llm-router" in (SKILL / "README.md").read_text()  # the folder it must be copied to
    assert 1 <= len(found["description"]) <= 1024
    assert not set("<>") & set(found["description"])
    assert re.fullmatch(r"\d+\.\d+\.\d+", found["version"])


def test_one_version() -> None:
    assert head()["version"] == llm_router_client.__version__ == __version__


def test_metadata_is_one_line_of_json() -> None:
    """Agents read it with YAML or line by line."""
    line = next(line for line in split()[0].splitlines() if line.startswith("metadata: "))
    metadata = json.loads(line.removeprefix("metadata: "))
    assert metadata == head()["metadata"]
    assert list(metadata) == ["openclaw"]
    assert metadata["openclaw"]["requires"]["bins"] == ["python3", "curl"]


def test_the_environment_is_declared() -> None:
    declared = head()["metadata"]["openclaw"]
    known = {entry["name"]: entry["required"] for entry in declared["envVars"]}
    assert declared["requires"]["env"] == [name for name, required in known.items() if required]
    assert declared["primaryEnv"] in known
    assert all(entry["description"] for entry in declared["envVars"])
    source = CLIENT.read_text(encoding="utf-8")
    read = re.findall(r"os\.environ\.get\(\"(\w+)\"", source)
    assert source.count("os.environ") == len(read)
    assert "getenv" not in source
    assert set(read) == set(known)


def test_the_limits_of_a_skill() -> None:
    files = [path for path in SKILL.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    assert {path.relative_to(SKILL).as_posix() for path in files} == {
        "SKILL.md",
        "README.md",
        "references/recipes.md",
        "scripts/llm_router_client.py",
    }
    assert (SKILL / "SKILL.md").read_text().count("\n") < 500
    assert all(path.stat().st_size < 1 << 20 for path in files)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)#]+)(?:#[\w-]+)?\)", page.read_text()):
        assert link.startswith("https://") or (page.parent / link).is_file(), link


def commands(page: Path) -> list[str]:
    """The command lines of the client on a page."""
    text = re.sub(r"`\.\.\. ", "`llm_router_client.py ", page.read_text())
    found = re.findall(r"llm_router_client\.py ((?:chat|vision|compare|models)\b[^`\n|]*)", text)
    return [command.strip() for command in found]


@pytest.mark.parametrize(
    "page", [PAGES[0], PAGES[1], PAGES[3], ROOT / "README.md"], ids=lambda page: page.name
)
def test_documented_commands_are_understood(page: Path) -> None:
    found = commands(page)
    assert len(found) >= 2
    for command in found:
        llm_router_client._parser().parse_args(shlex.split(command))


def test_every_flag_is_documented() -> None:
    actions = llm_router_client._parser()._actions
    parsers = next(action.choices for action in actions if action.choices is not None)
    documented = (ROOT / "docs" / "client.md").read_text()
    for name, parser in dict(parsers).items():  # type: ignore[call-overload]
        row = next(line for line in documented.splitlines() if line.startswith(f"| `{name}` |"))
        flags = {flag for action in parser._actions for flag in action.option_strings} - {"-h", "--help"}
        assert set(re.findall(r"`(--?[a-z-]+)`", row)) - {"-"} == flags


def test_the_codes_of_errors_exist() -> None:
    classes = [value for value in vars(errors).values() if isinstance(value, type)]
    known = {code for kind in classes if isinstance(code := getattr(kind, "code", None), str)}
    known |= set(errors._CODE.values()) | OWN_CODES
    table = split()[1].partition("## Failures")[2].partition("## Choosing")[0]
    rows = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    named = {code for row in rows for code in re.findall(r"`(\w+)`", row)}
    assert named - known == {"http_502"}
    assert named >= OWN_CODES


def test_the_syntax_and_imports_of_python_3_9() -> None:
    tree = ast.parse(CLIENT.read_text(encoding="utf-8"), feature_version=(3, 9))
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name.partition(".")[0] for name in imported} <= sys.stdlib_module_names


def old_python() -> str | None:
    """A Python 3.9 of this machine that runs."""
    found = [shutil.which("python3.9"), *Path.home().glob(".pyenv/versions/3.9*/bin/python")]
    for path in filter(None, found):
        done = subprocess.run([path, "-V"], capture_output=True, text=True, check=False)
        if done.stdout.startswith("Python 3.9"):
            return str(path)
    return None


def test_every_command_under_python_3_9(gateway: Gateway, tmp_path: Path) -> None:
    python = old_python()
    if python is None:
        pytest.skip("no python3.9 on this machine")
    (tmp_path / "dot.png").write_bytes(png())
    check_every_command(gateway, str(tmp_path / "dot.png"), python=python)


@pytest.mark.parametrize("page", PAGES[:3], ids=lambda page: page.name)
def test_the_models_that_it_names_are_active(page: Path) -> None:
    data = load_builtin()
    models = compile_snapshot(data, today=data.as_of).models
    families = (
        r"\b(?:gpt|claude|gemini|grok|llama|mistral|qwen|deepseek)-?\d[\w.-]*|\bclaude-[a-z]+-\d[\w.-]*"
    )
    named = {name.rstrip(".") for name in re.findall(families, page.read_text(encoding="utf-8"))}
    assert len(named) >= 4
    assert {name: str(models[name].status) for name in named} == dict.fromkeys(named, "active")


def programs(page: Path) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)


def run_program(gateway: Gateway, program: str, folder: Path) -> str:
    environ = {"AISA_API_KEY": gateway.key, "LLM_ROUTER_BASE_URL": gateway.url, "PATH": os.environ["PATH"]}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        env={**environ, "PYTHONPATH": str(CLIENT.parent)},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, ""), done
    return done.stdout


def test_the_recipes_run(gateway: Gateway, tmp_path: Path) -> None:
    routing, fallback, test = programs(SKILL / "references" / "recipes.md")
    out = run_program(gateway, routing, tmp_path)
    assert [line.split(" for ")[0] for line in out.splitlines()[::2]] == [
        "gpt-5.4-mini",
        "claude-sonnet-4-6",
        "claude-opus-5",
    ]
    assert "failed" not in out
    out = run_program(gateway, fallback, tmp_path)
    assert "skipped model-that-left - model_not_found" in out
    assert "answered: " in out
    for count in (2, 4):  # runs add up
        out = run_program(gateway, test, tmp_path)
        assert (
            len(re.findall(rf"^\S+: {count} of {count} answered, median [\d.]+ s, 0\.0\d+ USD", out, re.M))
            == 3
        )
    lines = [json.loads(line) for line in (tmp_path / "ab_test.jsonl").read_text().splitlines()]
    assert len(lines) == 12
    assert all(line["cost"] > 0 and line["latency"] > 0 for line in lines)


def test_the_programs_of_the_readme_run(gateway: Gateway, tmp_path: Path) -> None:
    (program,) = programs(SKILL / "README.md")
    out = run_program(gateway, program, tmp_path)
    assert "broke off" not in out
    assert "claude-haiku-4-5" in out


@pytest.mark.slow
def test_the_installed_package_brings_the_client(tmp_path: Path) -> None:
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    wheel = [*pip, "wheel", "--no-deps", "--wheel-dir", str(tmp_path), str(ROOT)]
    made = subprocess.run(wheel, capture_output=True, text=True, timeout=300, check=False)
    if made.returncode != 0 and "hatchling" in made.stderr:
        pytest.skip("the build needs hatchling, which cannot be had here")
    assert made.returncode == 0, made.stderr
    (built,) = tmp_path.glob("*.whl")
    subprocess.run([*pip, "install", "--no-deps", "--target", str(tmp_path / "site"), str(built)], check=True)
    installed = tmp_path / "site" / "llm_router_client.py"
    assert installed.read_bytes() == CLIENT.read_bytes()
    program = "from llm_router_client import LLMRouterClient; print(LLMRouterClient('sk-1').last_stream)"
    done = subprocess.run(
        [sys.executable, "-S", "-c", program],
        env={"PYTHONPATH": str(tmp_path / "site")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("None\n", "")
