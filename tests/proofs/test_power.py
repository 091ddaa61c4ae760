"""Images of the ledger's disk as power cuts leave it: nothing is corrupt, nothing acknowledged is lost."""

from __future__ import annotations

import os

import pytest

pytest.importorskip("apsw", reason="recording the writes of SQLite needs the package apsw (extra [dev])")

from power import power

from llm_router.adapters.sqlite import journal_file, schema
from llm_router.adapters.sqlite.schema import StoreCorrupt

IMAGES = int(os.environ.get("POWER_IMAGES", "300"))


def test_no_power_cut_loses_what_was_acknowledged() -> None:
    counts = power(IMAGES)
    assert counts["images"] == IMAGES
    assert counts["acknowledgements checked"] > 10 * IMAGES


def test_the_images_tell_a_store_that_does_not_sync_its_commits(monkeypatch: pytest.MonkeyPatch) -> None:
    pragmas = [pragma.replace("FULL", "NORMAL") for pragma in schema.PRAGMAS]
    monkeypatch.setattr(schema, "PRAGMAS", pragmas)
    with pytest.raises((AssertionError, StoreCorrupt), match=r"is lost|continue other books"):
        power(100)


def test_the_images_tell_a_journal_that_is_not_synced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_file, "_sync", lambda descriptor: None)
    with pytest.raises(
        (AssertionError, schema.StoreCorrupt), match=r"is lost|older than the tables|was emptied"
    ):
        power(100)
