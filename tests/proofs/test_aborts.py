"""Streams that are left at every moment: each settled once, all together what the providers bill."""

from __future__ import annotations

import os

from aborts import aborted

STREAMS = int(os.environ.get("ABORTED_STREAMS", "1500"))
BATCH = 500


def test_aborted_streams_settle_once_each_and_come_to_the_providers_invoice() -> None:
    counts = [aborted(seed, BATCH) for seed in range(STREAMS // BATCH)]
    assert sum(count["left"] for count in counts) > STREAMS // 2
    assert all(count["invoice in p$"] > 0 for count in counts)
