"""Other gateways as optional contenders: ferrogw and LiteLLM from the Python index, Portkey from npm.

Each is installed into a folder of its own, which is kept for the next run, and serves on the loopback with
its own defaults (but for ferrogw's limit of requests a second): none of them holds credit, meters into a durable ledger or repairs replies.
"""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from suite import bodies, machine
from suite.stage import Stage, Target

CHAT = "/v1/chat/completions"
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "llm-router-bench"


class NoPeer(Exception):
    """A peer cannot be installed or started here; the message says why."""


def start(stage: Stage, names: list[str]) -> list[Target]:
    """Those that can be had; the others are named with the reason."""
    targets = []
    for name in names:
        try:
            targets.append(PEERS[name](stage))
        except (NoPeer, subprocess.CalledProcessError, RuntimeError) as error:
            said = getattr(error, "stderr", None) or str(error)
            print(f"without {name}: {said.strip()[-300:]}", flush=True)
    return targets


def ferrogw(stage: Stage) -> Target:
    program = python_package("ferrogw", "ferrogw")
    config = stage.folder / "ferrogw.yaml"
    config.write_text("strategy:\n  mode: single\ntargets:\n  - virtual_key: openai\n")
    environ = {
        "MASTER_KEY": "fgw_bench", "OPENAI_API_KEY": "none", "GATEWAY_CONFIG": str(config), "LOG_LEVEL": "error",
        "RATE_LIMIT_RPS": "1000000", "RATE_LIMIT_BURST": "1000000",
        "OPENAI_BASE_URL": f"http://127.0.0.1:{stage.upstream}",
    }  # fmt: skip
    port = machine.free_port()
    pid = _serve(stage, [program, "serve"], port, {**environ, "PORT": str(port)})
    return Target("ferrogw", port, pid, CHAT, bodies.chat_request("gpt-4o"), "fgw_bench")


def litellm(stage: Stage) -> Target:
    program = python_package("litellm[proxy]", "litellm")
    config = stage.folder / "litellm.yaml"
    config.write_text(
        "model_list:\n  - model_name: bench-model\n    litellm_params:\n      model: openai/bench-model\n"
        f"      api_base: http://127.0.0.1:{stage.upstream}/v1\n      api_key: none\n"
    )
    port = machine.free_port()
    words = ["--config", str(config), "--port", str(port), "--host", "127.0.0.1", "--num_workers", "1"]
    key = "sk-" + secrets.token_hex(32)  # it starts with none that could be guessed
    environ = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "ERROR", "LITELLM_MASTER_KEY": key}
    pid = _serve(stage, [program, *words], port, environ)
    return Target("LiteLLM", port, pid, CHAT, bodies.chat_request(), key)


def portkey(stage: Stage) -> Target:
    if shutil.which("npm") is None:
        raise NoPeer("npm is missing (Debian: apt-get install npm)")
    place = CACHE / "portkey"
    program = place / "node_modules/@portkey-ai/gateway/build/start-server.js"
    if not program.exists():
        place.mkdir(parents=True, exist_ok=True)
        command = ["npm", "install", "--silent", "--no-audit", "--prefix", str(place), "@portkey-ai/gateway"]
        subprocess.run(command, capture_output=True, text=True, check=True)
    port = machine.free_port()
    pid = _serve(stage, ["node", str(program), f"--port={port}", "--headless"], port, {})
    headers = {
        "x-portkey-provider": "openai",
        "x-portkey-custom-host": f"http://127.0.0.1:{stage.upstream}/v1",
    }
    return Target("Portkey", port, pid, CHAT, bodies.chat_request(), "none", headers)


def python_package(requirement: str, program: str) -> str:
    """The path of a program of a package, installed into an environment of its own."""
    place = CACHE / program
    path = place / "bin" / program
    if not path.exists():
        subprocess.run([sys.executable, "-m", "venv", str(place)], capture_output=True, text=True, check=True)
        command = [str(place / "bin/python"), "-m", "pip", "install", "--quiet", requirement]
        subprocess.run(command, capture_output=True, text=True, check=True)
    return str(path)


def _serve(stage: Stage, command: list[str], port: int, environ: dict[str, str]) -> int:
    # Told by the process's own environment, so that nothing else of the run sees it.
    words = [f"{name}={value}" for name, value in environ.items()]
    process = stage.spawn(["env", *words, *command], core=stage.core, quiet=True)
    machine.wait_for(port, process, 120)
    return process.pid


PEERS: dict[str, Callable[[Stage], Target]] = {"ferrogw": ferrogw, "litellm": litellm, "portkey": portkey}
