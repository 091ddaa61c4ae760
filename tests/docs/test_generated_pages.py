"""The generated pages say what the product does."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("tool", "page"),
    [("loss_table", "losses.md"), ("provider_page", "providers.md"), ("mapping_page", "mapping.md")],
)
def test_the_page_is_what_the_tool_writes(tool: str, page: str) -> None:
    spec = importlib.util.spec_from_file_location(tool, ROOT / "tools" / f"{tool}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert (ROOT / "docs" / page).read_text() == module.page(), f"run: python tools/{tool}.py --write"
