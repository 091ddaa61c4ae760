"""Prices and the proof of the books from the command line."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from cli_kit import Cli

from llm_router.adapters.data_dir import STORE_NAME


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    made = Cli(tmp_path)
    made.json("keys", "create", "--name", "first")
    return made


def test_prices_are_published_listed_and_shown(cli: Cli) -> None:
    assert "customers pay the providers' prices" in cli.run("prices", "list").stderr
    assert "everybody pays +20 % from" in cli.run("prices", "publish", "20").stdout
    words = ("-7.5", "--team", "red", "--account", "acme", "--models", "gpt-4o*", "--reason", "as agreed")
    made = cli.json("prices", "publish", *words)
    assert (made["scope"], made["scope_id"], made["percent"]) == ("team", "red", -7.5)
    fixed = cli.run(
        "prices", "publish", "--input", "1", "--output", "2.5", "--models", "gpt-4o-mini", "--key", "key_1"
    )
    assert "key key_1 pays $1 in, $2.5 out" in fixed.stdout
    listed = cli.run("prices", "list").stdout
    assert "account" not in listed
    assert "as agreed" in listed
    shown = cli.json("prices", "show", "gpt-4o-mini")["providers"][0]
    assert (shown["price"]["input"], shown["cost"]["input"]) == (0.18, 0.15)
    team = cli.json("prices", "show", "gpt-4o-mini", "--account", "acme", "--team", "red")["providers"][0]
    assert team["price"]["input"] == 0.13875
    assert "$/M IN" in cli.run("prices", "show", "gpt-4o-mini", "--key", "key_1").stdout
    assert "percent must be" in cli.refused("prices", "publish", "-101")
    assert "no-such" in cli.refused("prices", "show", "no-such-model")


def test_of_a_model_past_its_shutdown_the_successor_s_price_is_shown(cli: Cli) -> None:
    shown = cli.json("prices", "show", "gpt-3.5-turbo")
    assert shown["asked"] == "gpt-3.5-turbo"
    assert shown["model"] != "gpt-3.5-turbo"
    heir = cli.json("prices", "show", shown["model"])
    assert heir["note"] is None
    assert shown["providers"] == heir["providers"]
    said = cli.run("prices", "show", "gpt-3.5-turbo").stderr
    assert f"its successor {shown['model']} answers" in said
    assert "dearer" in said


def test_the_books_are_proven(cli: Cli, tmp_path: Path) -> None:
    cli.json("prices", "publish", "20")
    said = cli.run("ledger", "verify")
    assert said.returncode == 0
    assert "every figure agrees" in said.stdout
    head = said.stdout.split("Head: ")[1].strip()
    copy = tmp_path / "copy.db"
    copy.write_bytes((cli.data_dir / STORE_NAME).read_bytes())
    assert cli.run("ledger", "verify", "--file", str(copy), "--head", head).returncode == 0
    with closing(sqlite3.connect(copy)) as connection:
        connection.execute("UPDATE accounts SET posted = posted + 1")
        connection.commit()
    doubt = cli.run("ledger", "verify", "--file", str(copy))
    assert (doubt.returncode, doubt.stdout.startswith("DOUBT in accounts: account default: its balance")) == (
        1,
        True,
    )
    assert '"ok":false' in cli.run("ledger", "verify", "--file", str(copy), "--json").stdout.replace(" ", "")
    assert "--head must be" in cli.refused("ledger", "verify", "--head", "1")
    assert "no ledger at" in cli.refused("ledger", "verify", "--file", str(tmp_path / "none.db"))
    (tmp_path / "other.db").write_bytes(b"")
    assert "some other program" in cli.refused("ledger", "verify", "--file", str(tmp_path / "other.db"))


def test_a_rule_that_was_changed_is_found(cli: Cli, tmp_path: Path) -> None:
    cli.json("prices", "publish", "20")
    copy = tmp_path / "copy.db"
    copy.write_bytes((cli.data_dir / STORE_NAME).read_bytes())
    with closing(sqlite3.connect(copy)) as connection:
        (sql,) = connection.execute(
            "SELECT sql FROM sqlite_schema WHERE name = 'price_rules_update'"
        ).fetchone()
        connection.execute("DROP TRIGGER price_rules_update")
        connection.execute("UPDATE price_rules SET body = replace(body, '12000', '13000')")
        connection.execute(sql)
        connection.commit()
    doubt = cli.run("ledger", "verify", "--file", str(copy))
    assert doubt.returncode == 1
    assert "it is not what the rule" in doubt.stdout
