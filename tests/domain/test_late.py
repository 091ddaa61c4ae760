"""Patterns that are compiled when they are first used: what they find, and that each of them can be compiled."""

from __future__ import annotations

import gc
import json
import re
from importlib import import_module
from pkgutil import walk_packages

import pytest

import llm_router
from llm_router.domain import late
from llm_router.wire.dialect import Behind
from llm_router.wire.operations import FORMATS, PROVIDER_DIALECTS, SPOKEN


def test_a_pattern_does_what_it_would_compiled_at_once() -> None:
    pattern = late.compile(r"(?P<word>[a-z]+)(\d)", re.I)
    assert "search" not in vars(pattern)
    found = pattern.search("== Ab1")
    assert found is not None
    assert (found["word"], pattern.sub("x", "a1 b2"), pattern.findall("c3")) == ("Ab", "x x", [("c", "3")])
    assert (pattern.pattern, pattern.groups, dict(pattern.groupindex)) == (
        r"(?P<word>[a-z]+)(\d)",
        2,
        {"word": 1},
    )
    assert "search" in vars(pattern)  # it is the pattern's own now
    raw = late.compile(rb"\d+")
    assert raw.fullmatch(b"12") is not None
    with pytest.raises(AttributeError):
        _ = raw.scanner  # type: ignore[attr-defined]


def test_a_pattern_that_is_wrong_says_so_when_it_is_used() -> None:
    with pytest.raises(re.error):
        late.compile("(").match("")


def test_every_pattern_of_the_gateway_can_be_compiled() -> None:
    for package in ("wire", "privacy", "routing", "edge"):
        for module in walk_packages([f"{llm_router.__path__[0]}/{package}"], f"llm_router.{package}."):
            import_module(module.name)
    patterns = [each for each in gc.get_objects() if type(each) is late._Late and each._source != "("]
    assert len(patterns) > 100
    for pattern in patterns:
        assert isinstance(pattern.pattern, str | bytes)


def test_rows_are_loaded_by_name() -> None:
    table: late.Table[object] = late.Table({"dumps": "json:dumps", "none": "json:nothing"})
    assert (list(table), len(table), "dumps" in table, "loads" in table) == (
        ["dumps", "none"],
        2,
        True,
        False,
    )
    assert table["dumps"] is json.dumps is table["dumps"]
    assert table.get("loads") is None
    with pytest.raises(AttributeError):
        _ = table["none"]


def test_a_module_is_loaded_by_its_members() -> None:
    assert late.module("json").dumps is json.dumps


def test_what_is_spoken_has_the_name_under_which_it_is_found() -> None:
    names = {name: form.name for name, form in SPOKEN.items()}
    assert names == {**{name: name for name in SPOKEN}, "gemini_embed_one": "gemini_embeddings"}
    assert all(isinstance(SPOKEN[form], Behind) for forms in FORMATS.values() for form in forms.values())
    assert set(FORMATS["chat"]) | set(FORMATS["embed"]) == set(PROVIDER_DIALECTS)
