"""llm-router ledger salvage: a start that is refused for its journal, what is said, and going on."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing

from cli_kit import Cli


def test_a_journal_that_was_lost_is_told_and_gone_on_without(tmp_path):
    cli = Cli(tmp_path)
    assert cli.run("credits", "add", "5", "--ref", "r1").returncode == 0
    store = cli.data_dir / "llm-router.db"
    journal = store.with_name("llm-router.db.journal")
    nothing = cli.refused("ledger", "salvage", "--reason", "to see")
    assert "the journal is not refused" in nothing
    with closing(sqlite3.connect(store)) as connection:  # as by a process that was cut off
        connection.execute("UPDATE meta SET value = (SELECT value FROM meta WHERE name = 'epoch') "
                           "WHERE name = 'journal_of'")  # fmt: skip
        connection.commit()
    journal.unlink()

    said = cli.run("ledger", "verify")
    assert (said.returncode, said.stdout[:25]) == (1, "DOUBT in journal: the fil")
    told = cli.refused("credits", "show")
    assert "is missing or empty" in told
    assert "llm-router ledger salvage --reason WHY" in told
    done = cli.run("ledger", "salvage", "--reason", "the disk was changed", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["booked"] == []
    assert cli.run("credits", "show").returncode == 0
    proof = cli.run("ledger", "verify")
    assert "The journal is sound; the next start books 0 moves of it." in proof.stdout
    acts = cli.run("audit", "export").stdout
    (act,) = (each for each in map(json.loads, acts.splitlines()) if each["action"] == "ledger.salvage")
    assert "is missing or empty" in act["before"]["journal"]
    assert act["after"]["reason"] == "the disk was changed"
