"""Limits from the command line."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli_kit import Cli


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    made = Cli(tmp_path)
    made.json("keys", "create", "--name", "first")
    return made


def test_limits_are_made_changed_listed_and_removed(cli: Cli) -> None:
    (key,) = cli.json("keys", "list")["keys"]
    made = cli.json(
        "limits", "set", "requests", "600", "--team", "red", "--window", "hour", "--model", "gpt-*"
    )
    assert made["id"].startswith("lim_")
    assert [made[name] for name in ("scope", "scope_id", "kind", "amount", "window", "model")] == [
        "team", "red", "requests", 600, "hour", "gpt-*",
    ]  # fmt: skip
    again = cli.json(
        "limits", "set", "requests", "0", "--team", "red", "--window", "hour", "--model", "gpt-*"
    )
    assert (again["id"], again["amount"], again["created"]) == (made["id"], 0, made["created"])
    cli.json("limits", "set", "concurrency", "4", "--key", key["id"])
    said = cli.run("limits", "set", "tokens", "1000").stdout
    assert "the account default may have 1000 tokens a minute, all models" in said
    listed = cli.json("limits", "list")["limits"]
    assert [(one["scope"], one["kind"], one["window"]) for one in listed] == [
        ("team", "requests", "hour"),
        ("key", "concurrency", None),
        ("account", "tokens", "minute"),
    ]
    table = cli.run("limits", "list").stdout
    for shown in (
        "the team red",
        "0 requests an hour",
        "gpt-*",
        f"key {key['id']}",
        "4 requests at the same time",
    ):
        assert shown in table
    assert "is gone" in cli.run("limits", "remove", made["id"]).stdout
    assert len(cli.json("limits", "list")["limits"]) == 2


def test_what_is_no_number_is_refused(cli: Cli) -> None:
    for text in ("-1", "\u0663", "1_0", "1.0"):
        done = cli.run("limits", "set", "requests", text)
        assert done.returncode == 2
        assert "is not a whole number" in done.stderr


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("set", "requests", "999999999999999"), "from 0 to"),
        (("set", "requests", "5", "--key", "key_none"), "has no key"),
        (("set", "concurrency", "5", "--window", "hour"), "no window"),
        (("set", "tokens", "5", "--model", "gtp-*"), "no model fits"),
        (("remove", "lim_none"), "no limit with the id"),
    ],
)
def test_what_is_refused(cli: Cli, words: tuple[str, ...], why: str) -> None:
    done = cli.run("limits", *words)
    assert done.returncode == 1
    assert why in done.stderr
    assert cli.json("limits", "list")["limits"] == []
