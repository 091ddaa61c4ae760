"""Tables: on a terminal and elsewhere, wide enough and not."""

from __future__ import annotations

import json
import sys

import msgspec
import pytest

from llm_router.cli.output import print_error, print_json, print_table

COLUMNS = ("ID", "N")
ROWS = [("key_1", "5"), ("k", "1000")]
PLAIN = "ID        N\nkey_1     5\nk      1000\n"


def test_elsewhere_than_on_a_terminal_columns_are_plain(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(COLUMNS, ROWS, frozenset({"N"}))
    assert capsys.readouterr().out == PLAIN


@pytest.mark.parametrize(("width", "styled"), [("80", True), ("12", False)])
def test_cells_are_never_cut(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, width: str, styled: bool
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", width)
    monkeypatch.setenv("TERM", "xterm")
    print_table(COLUMNS, ROWS, frozenset({"N"}))
    out = capsys.readouterr().out
    assert "key_1" in out
    assert (out != PLAIN) is styled


def test_a_table_may_be_empty(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(COLUMNS, [])
    assert capsys.readouterr().out == "ID  N\n"


def test_json_keeps_verbatim_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"cost": msgspec.Raw(b"0.000000000001")})
    assert capsys.readouterr().out == '{\n  "cost": 0.000000000001\n}\n'


def test_errors_go_where_they_are_read(capsys: pytest.CaptureFixture[str]) -> None:
    print_error("a", "one\ntwo", as_json=False)
    assert capsys.readouterr() == ("", "llm-router: one\nllm-router: two\n")
    print_error("a", "one", {"problems": ["x"]}, as_json=True)
    out, err = capsys.readouterr()
    assert json.loads(out) == {"error": {"code": "a", "message": "one", "problems": ["x"]}}
    assert err == ""
