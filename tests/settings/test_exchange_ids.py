"""Ids of exchanges: as long as ever, sorted by time, never twice."""

from __future__ import annotations

import re

import pytest

from llm_router.adapters import ids
from llm_router.adapters.ids import DRAWN, ExchangeIds

ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"


def test_ids_sort_by_time_and_hold_it(monkeypatch: pytest.MonkeyPatch) -> None:
    made, new_id = [], ExchangeIds()
    times = [0, 1, 1023, 1024, 2**20 - 1, 2**20, 1_795_000_000_000, 1_795_000_000_001, 2**48 - 1]
    for ms in times:
        monkeypatch.setattr(ids.time, "time_ns", lambda ms=ms: ms * 1_000_000 + 7)
        made.append(new_id())
    assert made == sorted(made)
    for ms, id_ in zip(times, made, strict=True):
        assert re.fullmatch(f"gen-[{ALPHABET}]{{26}}", id_)
        told = 0
        for letter in id_[4:14]:
            told = told * 32 + ALPHABET.index(letter)
        assert told == ms


def test_no_id_comes_twice_and_every_letter_is_drawn() -> None:
    new_id = ExchangeIds()
    made = [new_id() for _ in range(3 * DRAWN)]
    assert len(set(made)) == len(made)
    assert set("".join(id_[14:] for id_ in made)) == set(ALPHABET)
