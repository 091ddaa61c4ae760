"""Official clients against a running gateway, a model behind each upstream dialect: see docs/client-matrix.md.

Those of the tests' own environment always run. The others run where their environment is there, or
is to be made: ``LLM_ROUTER_CLIENT_MATRIX`` names them, or says ``all``.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

TOOLS = Path(__file__).parent.parent.parent / "tools" / "clients"
sys.path.insert(0, str(TOOLS))


import run  # noqa: E402
import table  # noqa: E402
import world  # noqa: E402

pytestmark = pytest.mark.slow


FORCING = ("litellm (anthropic)", "instructor", "pydantic-ai")
"""Clients that ask for a schema by a forced tool call."""


def _unforced(line: run.Line) -> bool:
    """A forced tool call, which a model behind Ollama's API cannot be held to: a declared loss."""
    return line["upstream"] == "ollama_chat" and line["client"].startswith(FORCING)


OWN = ("openai", "anthropic", "google-genai")
"""In the environment of the tests."""

CACHE = Path.home() / ".cache" / "llm-router-clients"
LIGHT = [name for name, environment in table.ENVIRONMENTS.items() if not environment.heavy]


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[world.Gateway]:
    running = world.Gateway(tmp_path_factory.mktemp("clients"))
    yield running
    running.stop()
    log = running.log_path.read_text()
    assert "Traceback" not in log, log[-4000:]


@pytest.mark.parametrize("name", LIGHT)
def test_client(gateway: world.Gateway, name: str) -> None:
    environment = table.ENVIRONMENTS[name]
    wanted = os.environ.get("LLM_ROUTER_CLIENT_MATRIX", "")
    folder = None
    if name not in OWN:
        asked = wanted == "all" or name in wanted.split(",")
        if not asked and not world.is_built(environment, CACHE):
            pytest.skip(f"not installed: LLM_ROUTER_CLIENT_MATRIX={name} has it installed in {CACHE}")
        try:
            folder = world.build(environment, CACHE)
        except (RuntimeError, subprocess.TimeoutExpired) as error:
            pytest.skip(f"cannot be installed here: {str(error)[:200]}")
    lines = [line for line in run.run_client(environment, gateway, folder) if has_route(gateway, line)]
    assert lines
    failed = [
        f"{x['client']} {x['check']} {x['upstream']}: {x['detail']}"
        for x in lines
        if not (x["ok"] or _unforced(x))
    ]
    assert not failed, "\n".join(failed)


def has_route(gateway: world.Gateway, line: run.Line) -> bool:
    """Whether this gateway serves what the check is about."""
    with urllib.request.urlopen(gateway.root) as reply:
        routes = json.load(reply)["endpoints"]
    if line["check"] == "embeddings":
        return "POST /v1/embeddings" in routes
    return "(responses)" not in line["client"] or "POST /v1/responses" in routes


def test_every_client_has_its_script_and_every_check_its_words() -> None:
    for environment in table.ENVIRONMENTS.values():
        assert (TOOLS / environment.script).is_file(), environment.script
    assert list(table.CHECKS) == list(dict.fromkeys(table.CHECKS))
