"""What was begun stands in the audit log, wherever the process dies."""

from __future__ import annotations

import json
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from llm_router.cli import main

DIES = """
import os, sys
from llm_router.adapters.sqlite.directory import SqliteDirectory
from llm_router.adapters.sqlite.store import SqliteStore
from llm_router.domain.errors import LedgerUnavailable

at, real = sys.argv[1], SqliteDirectory.write

async def write(self, puts, removes, acts):
    if acts and at == "after":
        os._exit(9)
    if acts and at == "full":
        raise LedgerUnavailable("no space")
    if puts and at == "first":
        raise LedgerUnavailable("no space")
    return await real(self, puts, removes, acts)

async def write_key(self, *arguments):
    os._exit(9)

SqliteDirectory.write = write
if at == "before":
    SqliteStore.write_key = write_key

from llm_router.cli import main
sys.exit(main(sys.argv[2:]))
"""


@pytest.fixture
def folder(tmp_path: Path, capsys: Any) -> Path:
    (tmp_path / "none.toml").write_text("")
    told(capsys, tmp_path, "keys", "create", "--name", "there already")
    return tmp_path


def told(capsys: Any, folder: Path, *words: str, status: int = 0) -> Any:
    assert main([*words, *_place(folder), "--json"]) == status
    return json.loads(capsys.readouterr().out, parse_float=Decimal)


def _place(folder: Path) -> list[str]:
    return ["--data-dir", str(folder), "--config", str(folder / "none.toml")]


def dying(at: str, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", DIES, at, *words, *_place(folder)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize(("at", "keys"), [("after", 2), ("before", 1)])
def test_a_crash_between_the_act_and_its_log_leaves_a_trace(
    folder: Path, capsys: Any, at: str, keys: int
) -> None:
    assert dying(at, folder, "keys", "create", "--name", "mine", "--limit", "3").returncode == 9
    assert len(told(capsys, folder, "keys", "list")["keys"]) == keys
    last, first = told(capsys, folder, "audit", "list")["acts"]
    assert (last["action"], last["actor_name"], last["account"]) == ("keys.create", "command line", "default")
    assert last["after"]["outcome"].startswith("not known")
    assert (last["after"]["asked"]["name"], last["after"]["asked"]["limit"]) == ("mine", "3")
    assert "outcome" not in first["after"]
    assert len(told(capsys, folder, "audit", "list")["acts"]) == 2  # it is told once
    assert told(capsys, folder, "audit", "check") == {"ok": True, "acts": 2, "hash": last["hash"]}


def test_a_change_that_was_cut_off_is_told_with_what_was_before(folder: Path, capsys: Any) -> None:
    (key,) = told(capsys, folder, "keys", "list")["keys"]
    assert dying("before", folder, "keys", "change", key["id"], "--name", "other").returncode == 9
    last = told(capsys, folder, "audit", "list")["acts"][0]
    assert (last["action"], last["object"]) == ("keys.change", key["id"])
    assert last["before"]["name"] == "there already"
    assert last["after"]["asked"]["name"] == "other"


def test_who_made_a_key_gets_it_though_the_log_is_full(folder: Path, capsys: Any) -> None:
    made = dying("full", folder, "keys", "create", "--name", "mine", "--json")
    assert made.returncode == 0
    id_ = json.loads(made.stdout)["id"]
    assert id_ in [key["id"] for key in told(capsys, folder, "keys", "list")["keys"]]
    assert told(capsys, folder, "audit", "list")["acts"][0]["after"]["asked"]["name"] == "mine"


def test_nothing_is_done_that_cannot_be_logged(folder: Path, capsys: Any) -> None:
    assert dying("first", folder, "keys", "create", "--name", "mine").returncode == 1
    assert len(told(capsys, folder, "keys", "list")["keys"]) == 1


def test_what_is_refused_is_no_act(folder: Path, capsys: Any) -> None:
    told(capsys, folder, "keys", "create", "--name", "k", "--limit", "much", status=1)
    assert len(told(capsys, folder, "audit", "list")["acts"]) == 1


def test_the_log_is_exported_by_lines(folder: Path, capsys: Any) -> None:
    told(capsys, folder, "keys", "create", "--name", "mine", "--account", "acme")
    assert main(["audit", "export", *_place(folder)]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(act["seq"], act["account"]) for act in lines] == [(2, "acme"), (1, "default")]
    assert main(["audit", "export", "--account", "acme", *_place(folder)]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 1
