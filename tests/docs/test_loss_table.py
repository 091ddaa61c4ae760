"""docs/losses.md says what the translations really lose."""

from __future__ import annotations

import importlib.util
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_page_is_what_the_tool_writes() -> None:
    spec = importlib.util.spec_from_file_location("loss_table", ROOT / "tools" / "loss_table.py")
    assert spec is not None and spec.loader is not None
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    assert (ROOT / "docs" / "losses.md").read_text() == tool.page(), (
        "the table is out of date: python tools/loss_table.py --write"
    )
