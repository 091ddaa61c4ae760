"""What the product imports, a plain install brings: a test environment has more, and would not notice."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]

DISTRIBUTIONS = {
    "google": "google-auth",
    "yarl": "aiohttp",
    "psycopg_pool": "psycopg-pool",
    "fpdf": "fpdf2",
    "argon2": "argon2-cffi",
}
"""Where a module is not named as what brings it."""

SOURCES = sorted((ROOT / "src").rglob("*.py"))


def names(requirements: list[str]) -> set[str]:
    found = (re.match(r"[A-Za-z0-9._-]+", requirement) for requirement in requirements)
    return {match[0].lower().replace("_", "-") for match in found if match}


def imported(tree: ast.AST) -> Iterator[str]:
    """Every module that is imported, but for types alone."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0]
        elif not (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)):
            yield from imported(node)


def distributions(tree: ast.AST) -> set[str]:
    """What is imported of others."""
    modules = {name for name in imported(tree) if name not in sys.stdlib_module_names} - {"llm_router"}
    return {DISTRIBUTIONS.get(name, name).lower().replace("_", "-") for name in modules}


def at_import(tree: ast.Module) -> set[str]:
    """What is imported as soon as the module is: not inside of functions, nor for types alone."""
    body = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    return distributions(ast.Module(body=body, type_ignores=[]))


OPTIONAL = {"adapters/google_library.py", "adapters/redis", "adapters/postgres", "local/"}
"""Modules that are only imported where their extra was asked for."""


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT / "src" / "llm_router")))
def test_a_plain_install_brings_what_is_imported(path: Path) -> None:
    place = str(path.relative_to(ROOT / "src" / "llm_router"))
    tree = ast.parse(path.read_text())
    core = names(PROJECT["dependencies"])
    extras = set().union(*(names(listed) for name, listed in EXTRAS.items() if name != "dev"))
    assert distributions(tree) <= core | extras
    if not any(place.startswith(optional) for optional in OPTIONAL):
        assert at_import(tree) <= core, f"{place} is imported by all, and needs an extra"
