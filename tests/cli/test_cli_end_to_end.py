"""The command line in a process of its own, against a data folder that no gateway uses."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from cli_kit import Cli

from llm_router import __version__
from llm_router.adapters.clock import SystemClock
from llm_router.adapters.control import serve_control
from llm_router.adapters.data_dir import STORE_NAME
from llm_router.adapters.sqlite.store import SqliteStore
from llm_router.domain.errors import InvalidRequest


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    return Cli(tmp_path)


def test_version(cli: Cli) -> None:
    assert cli.run("version").stdout == f"llm-router {__version__}\n"
    assert cli.run("--version").stdout == f"llm-router {__version__}\n"
    assert cli.json("version")["version"] == __version__


def test_version_loads_nothing_that_costs_time(cli: Cli) -> None:
    code = (
        "import sys; from llm_router.cli import main; main(['version']); "
        "print(sorted({'asyncio', 'rich', 'msgspec', 'sqlite3', 'tomllib', 'uvicorn'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=cli.environ, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"


def test_the_life_of_a_key(cli: Cli) -> None:
    made = cli.json("keys", "create", "--name", "demo", "--rpm", "10", "--expires", "30d", "--strict")
    assert set(made) >= {"id", "key", "name", "prefix", "created", "account"}
    assert made["limits"]["requests_per_minute"] == 10
    assert made["strict"] is True
    assert made["credits_remaining"] == 5

    second = cli.run("keys", "create", "--name", "second")
    assert second.stdout.startswith("sk-lr-")
    assert second.stdout.count("\n") == 1
    assert "only its hash is stored" in second.stderr

    revoked = cli.json("keys", "revoke", made["id"])
    assert revoked["status"] == "revoked"
    listed = cli.json("keys", "list")["keys"]
    assert [(key["name"], key["status"]) for key in listed] == [("demo", "revoked"), ("second", "active")]
    table = cli.run("keys", "list").stdout
    assert made["id"] in table
    assert "10 rpm" in table
    assert made["key"] not in table
    assert not any(made["key"].encode() in path.read_bytes() for path in cli.data_dir.iterdir())


def test_credits(cli: Cli) -> None:
    cli.json("keys", "create", "--name", "demo")
    added = cli.run("credits", "add", "2.5", "--ref", "r1")
    assert (added.stdout, added.stderr) == ("The account default has $7.50 left.\n", "")
    again = cli.json("credits", "add", "2.5", "--ref", "r1", "--reason", "again")
    assert (again["credits_remaining"], again["booked"]) == (7.5, False)
    told = cli.run("credits", "add", "2.5", "--ref", "r1")
    assert told.stderr == "Nothing was added: the reference r1 was booked already.\n"
    assert told.stdout == "The account default has $7.50 left.\n"
    raw = cli.run("credits", "add", "0.000000000001", "--json").stdout
    assert '"credits_remaining": 7.500000000001' in raw
    assert cli.json("credits", "show") == {
        "account": "default",
        "credits_remaining": 7.500000000001,
        "keys": 1,
    }
    assert (
        "no key spends from the account 'new' yet"
        in cli.run("credits", "add", "1", "--account", "new").stderr
    )
    assert "more than 0" in cli.refused("credits", "add", "-5")


def test_the_data_folder_is_its_owners_alone(cli: Cli) -> None:
    cli.json("keys", "create", "--name", "demo")
    assert cli.data_dir.stat().st_mode & 0o077 == 0
    assert all(path.stat().st_mode & 0o077 == 0 for path in cli.data_dir.iterdir())


def test_errors_are_one_line_or_one_object(cli: Cli) -> None:
    assert cli.refused("keys", "list").endswith(
        "yet; llm-router serve makes it; where it runs with --data-dir or --sandbox, give the same here"
    )
    assert not cli.data_dir.exists()
    assert "no gateway runs on the data folder" in cli.refused("config", "reload")
    done = cli.run("keys", "list", "--json")
    assert (done.returncode, done.stderr) == (1, "")
    error = json.loads(done.stdout)["error"]
    assert error["code"] == "no_data"


@pytest.mark.parametrize(
    "words",
    [
        ("keys",),
        ("keys", "create"),
        ("credits", "add"),
        ("serve", "--port", "70000"),
        ("serve", "--prot", "1"),
        ("fly",),
    ],
)
def test_a_wrong_command_line_has_status_2(cli: Cli, words: tuple[str, ...]) -> None:
    done = cli.run(*words)
    assert done.returncode == 2
    assert done.stdout == ""
    done = cli.run(*words, "--json")
    assert done.returncode == 2
    assert json.loads(done.stdout)["error"]["code"] == "usage"


def test_without_a_command_the_help_is_shown(cli: Cli) -> None:
    done = cli.run()
    assert done.returncode == 2
    assert "run the gateway" in done.stdout


def test_a_data_folder_that_cannot_be_is_said(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    where = str(tmp_path / "file")
    for words in (("keys", "create", "--name", "x"), ("serve", "--port", "0")):
        message = cli.refused(*words, "--data-dir", where)
        assert message == (
            f"the data folder {where} is not a folder; choose another with --data-dir or LLM_ROUTER_DATA_DIR"
        )
    assert "cannot be made: Not a directory" in cli.refused(
        "credits", "add", "1", "--data-dir", where + "/below"
    )


def test_a_store_in_use_by_another_is_said(cli: Cli) -> None:
    cli.json("keys", "create", "--name", "demo")

    async def hold_and_call() -> str:
        store = await SqliteStore.open(cli.data_dir / STORE_NAME, clock=SystemClock())
        try:
            return await asyncio.to_thread(cli.refused, "keys", "list")
        finally:
            await store.close()

    assert f"in use by process {os.getpid()}" in asyncio.run(hold_and_call())


def test_a_file_that_is_no_store_is_said(cli: Cli) -> None:
    cli.data_dir.mkdir()
    (cli.data_dir / STORE_NAME).write_bytes(b"no database " * 1000)
    assert "llm-router.db" in cli.refused("keys", "list")


def test_commands_go_to_the_gateway_that_runs(cli: Cli) -> None:
    calls: list[tuple[str, dict[str, object]]] = []

    async def handle(command: str, arguments: Mapping[str, object]) -> Mapping[str, object]:
        calls.append((command, dict(arguments)))
        if command == "config.reload":
            raise InvalidRequest(
                "f.toml: a.b: unknown key\nf.toml: c: is missing", details={"problems": ["x"]}
            )
        return {"keys": []}

    async def run() -> tuple[subprocess.CompletedProcess[str], ...]:
        cli.data_dir.mkdir()
        control = await serve_control(cli.data_dir, handle)
        try:
            return (
                await asyncio.to_thread(cli.run, "keys", "list", "--json"),
                await asyncio.to_thread(cli.run, "config", "reload"),
                await asyncio.to_thread(cli.run, "config", "reload", "--json"),
            )
        finally:
            await control.close()

    listed, refused, refused_json = asyncio.run(run())
    assert json.loads(listed.stdout) == {"keys": []}
    assert [command for command, _ in calls] == ["keys.list", "config.reload", "config.reload"]
    assert not (cli.data_dir / STORE_NAME).exists()
    assert refused.returncode == 1
    assert refused.stderr == "llm-router: f.toml: a.b: unknown key\nllm-router: f.toml: c: is missing\n"
    assert json.loads(refused_json.stdout)["error"]["problems"] == ["x"]


def test_a_wrong_file_elsewhere_does_not_keep_one_from_a_key(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "router.toml"
    path.write_text(
        f'[server]\ndata_dir = "{cli.data_dir}"\n[credits]\nstarting = 2\n[providers.x]\nkey = "env:A"'
    )
    made = cli.json("keys", "create", "--name", "demo", "--config", str(path))
    assert made["credits_remaining"] == 2
    path.write_text("[server]\nprot = 1")
    assert cli.refused("keys", "list", "--config", str(path)).endswith(
        'server.prot: unknown key; did you mean "port"?'
    )


def test_models_need_neither_gateway_nor_data(cli: Cli) -> None:
    done = cli.run("models", OPENAI_API_KEY="k")
    assert done.returncode == 0
    assert done.stdout.splitlines()[0].split()[:2] == ["FAMILY", "MODEL"]
    assert any(line.split()[1:2] == ["gpt-5-mini"] for line in done.stdout.splitlines())
    assert "--all shows all others too" in done.stderr
    assert not cli.data_dir.exists()
    assert cli.json("models")["data"] == []
    everything = cli.json("models", "--all")["data"]
    assert len(everything) > 150
    assert "shutdown" in {model["status"] for model in everything}
    for words in ((), ("--sandbox",)):
        shown = cli.run("models", *words)
        assert " active " in shown.stdout
        assert " shutdown " not in shown.stdout
    assert all(model["status"] != "shutdown" for model in cli.json("models", "--sandbox")["data"])


def test_that_no_provider_is_active_is_said_before_the_list(cli: Cli) -> None:
    both = subprocess.run(
        [sys.executable, "-m", "llm_router.cli", "models"],
        env=cli.environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=True,
    )
    lines = both.stdout.splitlines()
    assert "none of these models can be called yet" in lines[0]
    assert lines[1].startswith("FAMILY")
    assert lines[-1].endswith("--all shows those past their shutdown too.")


def test_models_of_the_sandbox_are_all_but_those_switched_off(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "router.toml"
    path.write_text("[providers.xai]\nenabled = false\n")
    ready = cli.json("models", "--sandbox", "--config", str(path))["data"]
    active = {provider["id"] for model in ready for provider in model["providers"] if provider["available"]}
    assert {"openai", "anthropic"} <= active
    assert "xai" not in active


def test_a_key_may_be_bound_to_models_by_any_of_their_names(cli: Cli) -> None:
    made = cli.json("keys", "create", "--name", "x", "--models", "openai/gpt-5-mini, claude-*")
    assert made["models"] == ["gpt-5-mini", "claude-*"]
    message = cli.refused("keys", "create", "--name", "x", "--models", "gpt-5-minu")
    assert message.startswith("models: Model 'gpt-5-minu' is not available. Nearest: gpt-5-mini")


CONFIG = """
[server]
port = 5050
[providers.acme]
base_url = "https://acme.test/v1"
key = "env:ACME_KEY"
[models.own]
price = 0
[[models.own.deployments]]
provider = "acme"
upstream_model = "o1"
"""


def test_config_check_says_what_is_active_or_everything_that_is_wrong(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "router.toml"
    path.write_text(CONFIG + '[presets.mail]\nmodels = ["owm"]\n')
    variables = {"LLM_ROUTER_CONFIG": str(path), "ACME_KEY": "secret-of-acme"}
    done = cli.run("config", "check", "--json", **variables)
    report = json.loads(done.stdout)
    assert report["ok"] is True
    assert report["warnings"][-1].startswith("presets.mail: Model 'owm' is not available. Nearest: own")
    assert (report["path"], report["port"]) == (str(path), 5050)
    assert report["providers"]["active"] == ["acme"]
    assert report["providers"]["inactive"]["openai"] == "set OPENAI_API_KEY"
    assert report["models"]["callable"] == 1
    assert report["models"]["own"] == ["own"]
    text = cli.run("config", "check", **variables)
    assert "is right" in text.stdout
    assert "this shell's environment and flags, not a gateway that runs" in text.stdout
    assert "Active         acme" in text.stdout
    played = cli.run("config", "check", "--sandbox", **variables).stdout
    assert "Sandbox        every model answers from simulated providers" in played
    assert "Not active" not in played
    assert "secret-of-acme" not in done.stdout + text.stdout

    path.write_text(CONFIG.replace("port", "prot").replace("provider =", "provder ="))
    done = cli.run("config", "check", **variables)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines() == [
        f'llm-router: {path}: server.prot: unknown key; did you mean "port"?',
        f'llm-router: {path}: models.own.deployments[0].provder: unknown key; did you mean "provider"?',
    ]
    problems = json.loads(cli.run("config", "check", "--json", **variables).stdout)["error"]["problems"]
    assert len(problems) == 2


BAD = """
[server]
prot = 1
[credits]
starting = -1
[timeouts]
idle_s = 0
[providers.acme]
base_url = "https://acme.test/v1"
key = "env:ACME_KEY"
"""


@pytest.mark.parametrize(
    "words", [("serve", "--port", "0"), ("models",), ("config", "reload"), ("config", "check")]
)
def test_every_command_says_every_problem(cli: Cli, tmp_path: Path, words: tuple[str, ...]) -> None:
    path = tmp_path / "router.toml"
    path.write_text(BAD)
    done = cli.run(*words, "--config", str(path))
    assert (done.returncode, done.stdout) == (1, "")
    places = [line.removeprefix(f"llm-router: {path}: ").split(": ")[0] for line in done.stderr.splitlines()]
    assert places == ["server.prot", "credits.starting", "timeouts.idle_s", "providers.acme.key"]


def test_credentials_are_no_matter_of_a_key_command(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "router.toml"
    path.write_text(BAD)
    done = cli.run("keys", "list", "--config", str(path))
    assert len(done.stderr.splitlines()) == 3
    assert "ACME_KEY" not in done.stderr


@pytest.mark.parametrize(
    "words",
    [
        ("config", "check", "--json"),
        ("config", "check"),
        ("models", "--all", "--json"),
        ("models", "--all"),
        ("version",),
        ("--help",),
        ("keys", "--help"),
    ],
)
@pytest.mark.parametrize("both", [False, True], ids=["output", "errors too"])
def test_a_reader_that_goes_away_ends_a_command_quietly(
    cli: Cli, tmp_path: Path, words: tuple[str, ...], both: bool
) -> None:
    path = tmp_path / "router.toml"
    path.write_text(BAD if words[0] == "config" else "")
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "llm_router.cli", *words],
            env={**cli.environ, "LLM_ROUTER_CONFIG": str(path)},
            stdout=writer,
            stderr=writer if both else subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )
    finally:
        os.close(writer)
    assert done.returncode == 1
    if not both:
        told = [] if words != ("config", "check") else ["llm-router: "] * 4
        assert [line[:12] for line in done.stderr.splitlines() if "No provider" not in line] == told


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
def test_an_output_that_cannot_be_written_is_said_in_one_line(cli: Cli) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "llm_router.cli", "version"],
            env=cli.environ,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr == "llm-router: the output cannot be written: No space left on device\n"


def test_config_check_finds_what_only_shows_in_the_whole_catalogue(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "router.toml"
    path.write_text('[models.gpt-5]\naliases = ["claude-sonnet-4-5"]')
    assert "is already a name of the model claude-sonnet-4-5" in cli.refused(
        "config", "check", "--config", str(path)
    )
