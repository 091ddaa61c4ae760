"""Continuations in the ways in which models give them: taken, or refused, and never told wrongly."""

from __future__ import annotations

import pytest
from kit import FOLDER
from ways_of_going_on import WAYS, measured

pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason="the recordings are not beside the project")


def test_nothing_is_told_wrongly_and_what_was_asked_for_is_taken() -> None:
    _, found = measured(1)
    assert {name: went["wrong"] for name, went in found.items()} == dict.fromkeys(WAYS, 0)
    for name in ("begins with the words that were asked for", "says something before them"):
        assert found[name]["taken"] >= 0.95 * found[name].total() > 0
    quoted = found["begins with them, in other quotes"]
    assert quoted["taken"] >= 0.9 * quoted.total() > 0
