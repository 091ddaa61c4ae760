"""Budgets and migrations from the command line."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from cli_kit import Cli

from llm_router.adapters.data_dir import STORE_NAME
from llm_router.adapters.sqlite.schema import SCHEMA_VERSION


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    made = Cli(tmp_path)
    made.json("keys", "create", "--name", "first", "--team", "red", "--user", "ann")
    return made


def test_budgets_are_made_changed_listed_and_removed(cli: Cli) -> None:
    (key,) = cli.json("keys", "list")["keys"]
    assert (key["team"], key["user"]) == ("red", "ann")
    made = cli.json(
        "budgets", "set", "20", "--team", "red", "--window", "week", "--time-zone", "Europe/Berlin"
    )
    assert made["id"].startswith("bud_")
    assert (made["scope"], made["scope_id"], made["amount"]) == ("team", "red", 20)
    again = cli.json(
        "budgets", "set", "25.5", "--team", "red", "--window", "week", "--time-zone", "Europe/Berlin"
    )
    assert (again["id"], again["amount"], again["created"]) == (made["id"], 25.5, made["created"])
    cli.json("budgets", "set", "0.01", "--key", key["id"], "--window", "day", "--rolling")
    cli.json("budgets", "set", "1", "--session", "--window", "lifetime")
    cli.json("budgets", "set", "0", "--session", key["id"], "--window", "hour")
    listed = cli.json("budgets", "list")["budgets"]
    assert [(b["scope"], b["window"], b["rolling"]) for b in listed] == [
        ("team", "week", False),
        ("key", "day", True),
        ("session", "lifetime", False),
        ("session", "hour", False),
    ]
    assert listed[0]["spends"] == [
        {"session": None, "spent": 0, "held": 0, "left": 25.5, "resets": listed[0]["spends"][0]["resets"]}
    ]
    table = cli.run("budgets", "list").stdout
    for shown in (
        "the team red",
        "$25.5 a week",
        "$0.01 a rolling day",
        "each session of the account default",
    ):
        assert shown in table
    assert "is gone" in cli.run("budgets", "remove", made["id"]).stdout
    assert len(cli.json("budgets", "list")["budgets"]) == 3


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("set", "-1"), "from 0 to"),
        (("set", "five"), "dollars such as"),
        (("set", "5", "--key", "key_none"), "has no key"),
        (("set", "5", "--session", "key_none"), "has no key"),
        (("set", "5", "--time-zone", "Mars/Olympus"), "no time zone"),
        (("set", "5", "--window", "lifetime", "--rolling"), "does not roll"),
        (("remove", "bud_none"), "no budget with the id"),
    ],
)
def test_what_is_refused(cli: Cli, words: tuple[str, ...], why: str) -> None:
    done = cli.run("budgets", *words)
    assert done.returncode == 1
    assert why in done.stderr
    assert cli.json("budgets", "list")["budgets"] == []


def test_data_of_an_earlier_version_is_migrated(cli: Cli) -> None:
    path = cli.data_dir / STORE_NAME
    assert cli.json("migrate") == {"data": str(path), "schema": SCHEMA_VERSION, "applied": []}
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(
            "DROP TRIGGER fold_hours; DROP TABLE sums; DROP TABLE folds; DELETE FROM meta WHERE name = 'folded'; "
            "DROP TABLE papers; DROP INDEX exchanges_time; DROP TABLE budgets; DROP TABLE spends; DROP TABLE rollups; DROP TABLE price_versions; DROP TABLE limits; DROP TABLE price_rules; DROP TABLE documents; DROP INDEX entries_credits; "
            "DROP TABLE replies; DELETE FROM meta WHERE name IN ('replies_to', 'journal'); "
            "CREATE INDEX exchanges_reply ON exchanges (reply_id) WHERE reply_id IS NOT NULL; "
            "ALTER TABLE entries DROP COLUMN proof; DELETE FROM meta WHERE name = 'proofs_from'; "
            "DROP INDEX keys_old; DROP INDEX keys_account; ALTER TABLE keys DROP COLUMN version; "
            "ALTER TABLE keys DROP COLUMN old_digest; ALTER TABLE keys DROP COLUMN old_until_ms; "
            "PRAGMA user_version = 1"
        )
    assert "llm-router migrate" in cli.refused("keys", "list")
    assert cli.run("migrate").stdout.endswith(f"is of schema {SCHEMA_VERSION} now.\n")
    assert len(cli.json("keys", "list")["keys"]) == 1


def test_nothing_to_migrate(tmp_path: Path) -> None:
    assert "no gateway data" in Cli(tmp_path).refused("migrate")
