"""``llm-router serve`` in a process of its own: its announcement, and commands while it runs."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

CONFIG = """
[models.own]
price = 0
[[models.own.deployments]]
provider = "openai"
upstream_model = "own-1"
"""


class Gateway:
    """A gateway with the sandbox, on any free port, and a command line beside it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.usual = folder / ".local" / "share" / "llm-router"
        self.config = folder / "router.toml"
        self.config.write_text(CONFIG)
        self.environ = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "LLM_ROUTER_CONFIG": str(self.config),
        }
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(
            self._words("serve", "--sandbox", "--port", "0"),
            env=self.environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        lines = [self.process.stdout.readline(), self.process.stdout.readline()]
        while (line := self.process.stdout.readline()) and (line.strip() or "  Data" not in "".join(lines)):
            lines.append(line)
        if "API key  " in "".join(lines):
            lines += [self.process.stdout.readline() for _ in range(3)]
        self.announcement = "".join(lines)
        found = re.search(r"http://127\.0\.0\.1:(\d+)/v1", self.announcement)
        assert found is not None, self.announcement
        self.port = found[1]

    def stop(self) -> int:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        for pipe in (self.process.stdout, self.process.stderr):
            if pipe is not None:
                pipe.close()
        return self.process.wait(timeout=30)

    def told(self, words: str) -> str:
        """Read the gateway's standard error until a line holds these words."""
        assert self.process.stderr is not None
        for line in self.process.stderr:
            if words in line:
                return line
        raise AssertionError(f"the gateway ended without a word of {words!r}")

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """A command that means this gateway."""
        return self.run_plain(*words, "--sandbox")

    def run_plain(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self._words(*words), env=self.environ, capture_output=True, text=True, timeout=60, check=False
        )

    def _words(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "llm_router.cli", *words]


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    running = Gateway(tmp_path_factory.mktemp("gateway"))
    yield running
    running.stop()


def test_the_first_start_shows_a_key_and_a_line_that_works_as_it_stands(gateway: Gateway) -> None:
    assert re.search(r"API key   sk-lr-[0-9A-Za-z]{43}\n", gateway.announcement)
    assert "with $5 of credit" in gateway.announcement
    if shutil.which("curl") is None:
        pytest.skip("there is no curl here to run the line with")
    line = gateway.announcement[gateway.announcement.index("curl ") :]
    done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, timeout=60, check=True)
    reply = json.loads(done.stdout)
    assert reply["object"] == "chat.completion"
    assert reply["usage"]["credits_remaining"] < 5


def test_keys_and_credits_work_while_it_runs(gateway: Gateway) -> None:
    made = json.loads(gateway.run("keys", "create", "--name", "second", "--account", "team", "--json").stdout)
    assert made["credits_remaining"] == 0
    added = json.loads(gateway.run("credits", "add", "1.25", "--account", "team", "--json").stdout)
    assert added["credits_remaining"] == 1.25
    assert "warnings" not in added
    listed = json.loads(gateway.run("keys", "list", "--json").stdout)["keys"]
    assert {"first key", "second"} <= {key["name"] for key in listed}
    assert made["key"] not in gateway.run("keys", "list").stdout


def test_the_sandbox_touches_no_real_credit(gateway: Gateway) -> None:
    real = gateway.run_plain("keys", "list")
    assert real.returncode == 1
    assert real.stderr.endswith("add --sandbox for the keys and credits of the sandbox\n")
    assert gateway.run_plain("credits", "add", "3").returncode == 0
    assert "has $3.00 left" in gateway.run_plain("credits", "show").stdout
    assert "$3.00" not in gateway.run("credits", "show").stdout
    made = gateway.run_plain("keys", "create", "--name", "real", "--json")
    assert "real" not in gateway.run("keys", "list").stdout
    assert json.loads(made.stdout)["credits_remaining"] == 8
    stores = sorted(path.parent for path in gateway.folder.rglob("llm-router.db"))
    assert stores == [gateway.usual, gateway.usual / "sandbox"]


def test_models_are_those_of_the_running_gateway(gateway: Gateway) -> None:
    models = json.loads(gateway.run("models", "--json").stdout)["data"]
    assert "own" in {model["id"] for model in models}
    assert len(models) > 150


def test_a_changed_file_is_taken_over_and_a_wrong_one_refused_whole(gateway: Gateway) -> None:
    def ids() -> set[str]:
        return {model["id"] for model in json.loads(gateway.run("models", "--json").stdout)["data"]}

    gateway.config.write_text(CONFIG.replace("models.own", "models.other"))
    assert gateway.run("config", "reload").stdout == "The gateway works with the new configuration.\n"
    gateway.told("configuration reloaded")
    assert "other" in ids()
    assert "own" not in ids()

    gateway.config.write_text(CONFIG + "[sever]\n")
    refused = gateway.run("config", "reload")
    assert refused.returncode == 1
    assert 'sever: unknown key; did you mean "server"?' in refused.stderr
    assert "other" in ids()
    refused = gateway.run("config", "reload", "--json")
    checked = gateway.run("config", "check", "--json")
    errors = [json.loads(done.stdout)["error"] for done in (refused, checked)]
    assert errors[0]["code"] == errors[1]["code"] == "invalid_configuration"
    assert errors[0]["problems"] == errors[1]["problems"]
    assert len(errors[0]["problems"]) == 1

    gateway.config.write_text(CONFIG)
    gateway.process.send_signal(signal.SIGHUP)
    gateway.told("configuration reloaded")
    assert "own" in ids()


def test_a_reload_leaves_the_same_words_in_the_log_however_it_was_asked_for(gateway: Gateway) -> None:
    waits = "server.drain_s changed; it takes effect at the next start"
    gateway.config.write_text(CONFIG + "[server]\ndrain_s = 7\n")
    assert f"Warning: {waits}\n" in gateway.run("config", "reload").stderr
    gateway.told("configuration reloaded")
    assert gateway.told("warning: ") == f"warning: {waits}\n"
    gateway.process.send_signal(signal.SIGHUP)
    gateway.told("configuration reloaded")
    assert gateway.told("warning: ") == f"warning: {waits}\n"

    gateway.config.write_text(CONFIG + "[sever]\n")
    assert gateway.run("config", "reload").returncode == 1
    gateway.told("the one in use stays")
    assert "sever: unknown key" in gateway.told("sever")
    gateway.config.write_text(CONFIG)
    assert gateway.run("config", "reload").returncode == 0


def test_a_second_gateway_is_refused_in_one_line(gateway: Gateway, tmp_path: Path) -> None:
    same_data = gateway.run("serve", "--port", "0")
    assert same_data.returncode == 1
    assert re.fullmatch(r"llm-router: .* is in use by process \d+\. .*\n", same_data.stderr)
    for lock in gateway.folder.rglob("llm-router.db.lock"):
        lock.unlink()
    same_data = gateway.run("serve", "--port", "0")
    assert same_data.returncode == 1
    assert re.fullmatch(r"llm-router: .* is in use by another process\. .*\n", same_data.stderr)
    same_port = gateway.run_plain("serve", "--port", gateway.port, "--data-dir", str(tmp_path / "other"))
    assert same_port.returncode == 1
    assert same_port.stderr == (
        f"llm-router: 127.0.0.1:{gateway.port} is in use by another program; stop it, or listen elsewhere "
        f"with --port {int(gateway.port) + 1}\n"
    )


def test_a_later_start_shows_no_key(gateway: Gateway) -> None:
    assert gateway.stop() == 0
    assert not list(gateway.folder.rglob("control.*"))
    assert gateway.run("credits", "show").returncode == 0
    gateway.start()
    assert "sk-lr-" not in gateway.announcement
    assert "another: llm-router keys create --name NAME --sandbox\n" in gateway.announcement
