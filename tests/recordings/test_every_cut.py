"""A seeded sample of the cuts of :mod:`every_cut`; ``LLM_ROUTER_CUTS`` says how many, or ``all``."""

from __future__ import annotations

import os

import every_cut
import pytest
from kit import FOLDER

pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason="the recordings are not beside the project")
CUTS = os.environ.get("LLM_ROUTER_CUTS", "300")


def test_a_recorded_stream_that_is_cut_and_gone_on_with_says_what_the_uncut_one_says() -> None:
    found = every_cut.streams()
    assert found
    outcome = every_cut.run(found, None if CUTS == "all" else int(CUTS))
    assert outcome.wrong == []
    assert outcome.streams > len(found) / 2
    assert {"prefill", "prompt", "call", "again", "json", "calls"} <= set(outcome.ways)
