"""Modules of tests are imported by their bare names: two of the same name shadow each other."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

TESTS = Path(__file__).parents[1]


def test_no_two_modules_of_tests_have_the_same_name() -> None:
    names = Counter(path.name for path in TESTS.rglob("*.py") if path.name != "conftest.py")
    assert [name for name, count in names.items() if count > 1] == []


def test_no_module_of_tests_imports_a_conftest() -> None:
    """There are several of that name, and which one is found depends on what else is collected."""
    importing = [
        path.name
        for path in TESTS.rglob("*.py")
        if re.search(r"^\s*(from|import) conftest\b", path.read_text(), re.M)
    ]
    assert importing == []
