"""Patterns that take time in proportion to the text: held to Python's own engine on small texts."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_router.privacy.linear import PatternError, Patterns

ATOMS = [
    "a",
    "b",
    "[ab]",
    ".",
    "(?:ab|c)",
    "(?:a|b)*c",
    "c+",
    "a{2,3}",
    "[^a]",
    r"\w",
    "b?",
    r"\b",
    "^",
    "$",
    "a*?",
]


def covered(text: str, *patterns: str) -> list[str]:
    return [text[start:end] for start, end in Patterns(patterns).spans(text)]


def by_python(pattern: str, text: str) -> set[int]:
    """Every place that stands in any match, of however many there are."""
    found: set[int] = set()
    for start in range(len(text)):
        for end in range(start + 1, len(text) + 1):
            # what follows is still seen by \b and $
            if re.compile(f"(?s:(?<=^.{{{start}}}))(?:{pattern})(?s:(?=.{{{len(text) - end}}}\\Z))").match(
                text, start
            ):
                found |= set(range(start, end))
    return found


@settings(max_examples=150, deadline=None)
@given(st.lists(st.sampled_from(ATOMS), min_size=1, max_size=4), st.text("abc \n", max_size=7))
def test_what_is_covered_is_what_stands_in_any_match(atoms: list[str], text: str) -> None:
    pattern = "".join(atoms).replace("$", r"\Z")
    try:
        patterns = Patterns([pattern])
    except PatternError:
        return
    got = {place for start, end in patterns.spans(text) for place in range(start, end)}
    assert got == by_python(pattern, text)


def test_words_edges_and_case() -> None:
    assert covered("an EMP-123456, EMP-1234567 xEMP-123456", r"\bEMP-\d{6}\b") == ["EMP-123456"]
    assert covered("secret secret", "^secret") == ["secret"]
    assert covered("Emp-1 EMP-2", "(?i)emp-[0-9]") == ["Emp-1", "EMP-2"]
    assert covered("x[y]z", r"[\[\]]", r"\u0078") == ["x[", "]"]
    assert covered("one two", "one", "two") == ["one", "two"]
    assert covered("", "a") == []


def test_what_keeps_a_backtracking_engine_busy_for_ever_is_done() -> None:
    text = "a" * 20_000
    assert covered(text, r"(a+)+b", r"(a|a)*c", r".*foo.*bar", "(?:a{0,20}){0,10}d") == []


@pytest.mark.parametrize(
    "pattern",
    [
        "a**", "(a", "a)", "[a", "(?=a)", r"(a)\1", "a{300}", "a?", "^", r"\b", "a|", "x{", "(?P<n>a)", "*a", "", "[z-a]",
        r"\xZZ", "(?:(?:){200}){200}", "(" * 60 + "a" + ")" * 60, "(?:(?:a{100}){100}){100}", "a" * 501, "\\", "^*a",
    ],
)  # fmt: skip
def test_what_cannot_be_run_is_refused_with_a_reason(pattern: str) -> None:
    with pytest.raises(PatternError, match=r"\w"):
        Patterns([pattern])
