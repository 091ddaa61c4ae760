"""Chance for what needs no secret: pauses, weights. Ids come from :mod:`llm_router.adapters.ids`."""

from __future__ import annotations

import random

_DICE = random.Random()  # noqa: S311 - nothing depends on nobody guessing it


def throw() -> float:
    """A number from 0 to 1, 1 left out."""
    return _DICE.random()
