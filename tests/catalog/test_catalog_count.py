"""All that says how many models there are says the same, and it is true."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from llm_router.catalog.snapshot import load_builtin

ROOT = Path(__file__).parents[2]
PLACES = ("README.md", "skill/SKILL.md", "pyproject.toml", "src/llm_router/cli/parser.py", "CHANGELOG.md")


@pytest.mark.parametrize("place", PLACES)
def test_the_number_of_models_is_said_in_one_way_and_true(place: str) -> None:
    said = re.findall(r"\b([0-9]+)\+ (?:language )?models", (ROOT / place).read_text())
    assert said, f"{place} names no number of models"
    assert set(said) == {str(len(load_builtin().models) // 100 * 100)}


def test_the_page_of_providers_has_the_exact_number() -> None:
    assert f"\n{len(load_builtin().models)} models of " in (ROOT / "docs" / "providers.md").read_text()
