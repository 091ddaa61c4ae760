"""Keys by command: made with all their bounds, changed, and relieved of them."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from llm_router.cli import main


def told(capsys: pytest.CaptureFixture[str], folder: Path, *words: str, status: int = 0) -> Any:
    assert (
        main([*words, "--data-dir", str(folder), "--config", str(folder / "none.toml"), "--json"]) == status
    )
    return json.loads(capsys.readouterr().out, parse_float=Decimal)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "none.toml").write_text("")
    return tmp_path


def test_a_key_has_its_bounds_from_the_start_and_loses_them(folder: Path, capsys: Any) -> None:
    made = told(
        capsys, folder, "keys", "create", "--name", "k", "--scopes", "inference,usage", "--providers", "openai",
        "--ip-ranges", "10.0.0.0/8,2001:db8::/32", "--limit", "2.50", "--limit-reset", "weekly", "--rpm", "5",
    )  # fmt: skip
    assert (made["limit"], made["limit_reset"]) == (Decimal("2.5"), "weekly")
    assert (made["scopes"], made["providers"]) == (["inference", "usage"], ["openai"])
    assert made["ip_ranges"] == ["10.0.0.0/8", "2001:db8::/32"]
    changed = told(
        capsys, folder, "keys", "change", made["id"], "--limit", "7", "--without", "rpm,providers,ip-ranges"
    )
    assert (changed["limit"], changed["limit_reset"]) == (7, "weekly")
    assert (changed["providers"], changed["ip_ranges"]) == (None, None)
    assert changed["limits"]["requests_per_minute"] is None
    bare = told(capsys, folder, "keys", "change", made["id"], "--without", "limit")
    assert (bare["limit"], bare["limit_reset"]) == (None, None)
    assert told(capsys, folder, "keys", "show", made["id"])["scopes"] == ["inference", "usage"]


def test_what_contradicts_itself_changes_nothing(folder: Path, capsys: Any) -> None:
    made = told(capsys, folder, "keys", "create", "--name", "k", "--rpm", "5")
    for words in (("--rpm", "6", "--without", "rpm"), ("--without", "name"), ("--limit", "much")):
        wrong = told(capsys, folder, "keys", "change", made["id"], *words, status=1)
        assert wrong["error"]["code"] == "invalid_request"
    assert told(capsys, folder, "keys", "show", made["id"])["version"] == 1


def test_keys_of_one_account_come_whole(folder: Path, capsys: Any) -> None:
    for number in range(3):
        told(capsys, folder, "keys", "create", "--name", f"k{number}", "--account", "acme")
    told(capsys, folder, "keys", "create", "--name", "other")
    assert [k["name"] for k in told(capsys, folder, "keys", "list", "--account", "acme")["keys"]] == [
        "k0",
        "k1",
        "k2",
    ]
    assert len(told(capsys, folder, "keys", "list")["keys"]) == 4
