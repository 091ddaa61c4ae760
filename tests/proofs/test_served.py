"""A gateway over HTTP: killed under load, and asked by many at once with credit for a few."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import served

pytestmark = pytest.mark.slow

KILLS = int(os.environ.get("GATEWAY_KILLS", "6"))


def test_kill_9_of_the_whole_gateway_loses_nothing_that_a_client_was_told(tmp_path: Path) -> None:
    counts = served.kills(tmp_path, KILLS)
    assert counts["told"] > KILLS
    assert counts["orphans"] > 0  # or the kills came between the requests, and proved little


@pytest.mark.parametrize(("requests", "workers"), [(1000, 1)])
def test_with_credit_for_some_of_many_exactly_those_are_admitted(
    tmp_path: Path, requests: int, workers: int
) -> None:
    assert served.race(tmp_path, requests, 7, workers)["admitted"] == 7
