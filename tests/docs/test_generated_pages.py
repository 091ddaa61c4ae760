"""The generated pages say what the product does."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

from llm_router.wire.dialect import Dialect
from llm_router.wire.dialects.registry import DIALECTS

ROOT = Path(__file__).parents[2]


def loaded(tool: str) -> Any:
    """The module of a tool."""
    spec = importlib.util.spec_from_file_location(tool, ROOT / "tools" / f"{tool}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("tool", "page"),
    [
        ("loss_table", "losses.md"),
        ("provider_page", "providers.md"),
        ("mapping_page", "mapping.md"),
        ("fault_lab_page", "fault-lab.md"),
        ("cli_page", "cli.md"),
    ],
)
def test_the_page_is_what_the_tool_writes(tool: str, page: str) -> None:
    module = loaded(tool)
    assert (ROOT / "docs" / page).read_text() == module.page(), f"run: python tools/{tool}.py --write"


def test_the_tables_of_losses_cover_every_dialect_in_front_and_behind() -> None:
    module = loaded("loss_table")
    assert set(module.BEHIND) == set(DIALECTS)
    assert set(module.ASKS) == {name for name, spoken in DIALECTS.items() if isinstance(spoken, Dialect)}
