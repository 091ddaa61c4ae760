"""Mutated requests of every client dialect for every provider dialect: refused in words, or written as JSON.

LLM_ROUTER_FUZZ_ROUNDS makes it longer, LLM_ROUTER_FUZZ_SEED another one.
"""

from __future__ import annotations

import json
import random

import pytest
from mutate import ROUNDS, SEED, Seed, mutated
from seed_requests import REQUESTS

from llm_router.domain.errors import ClientError
from llm_router.wire.dialect import Behind, Dialect, Inspected, Target
from llm_router.wire.dialects.registry import DIALECTS

CASES = 150 * ROUNDS
FRONTS = {name: dialect for name, dialect in DIALECTS.items() if isinstance(dialect, Dialect)}


def draw(front: str, salt: str) -> list[bytes]:
    dice = random.Random(f"{SEED} {front} {salt}")
    seeds = [Seed(front, front, "whole", (("", body),)) for body in REQUESTS[front]]
    return [mutated(dice.choice(seeds), dice) for _ in range(CASES)]


def inspected(front: Dialect, data: bytes) -> Inspected | None:
    in_path = ("m", True) if front.name == "gemini_generate" else (None, None)
    try:
        return front.inspect(data, *in_path)
    except ClientError as error:
        refused = error
    assert 400 <= refused.status <= 499, refused
    json.loads(front.encode_error(refused, "gen-1"))
    return None


def written(front: Dialect, behind: Behind, found: Inspected) -> bytes | None:
    """The body for a provider; None if it cannot be said to it."""
    target = Target(provider="p", model="upstream", dialect=behind.name)
    try:
        if front is behind:
            return front.edit_request(found, target, {})[0]
        return behind.encode_request(front.decode_request(found), target)[0]
    except ClientError:
        return None


@pytest.mark.parametrize("name", FRONTS)
def test_requests(name: str) -> None:
    front = FRONTS[name]
    taken = 0
    for data in draw(name, "requests"):
        found = inspected(front, data)
        if found is None:
            continue
        taken += 1
        for behind in DIALECTS.values():
            try:
                body = written(front, behind, found)
                if body is not None and front is not behind:
                    assert isinstance(json.loads(body), dict)
            except Exception as error:
                raise AssertionError(f"{name} -> {behind.name}: {error!r} for {data[-3000:]!r}") from error
    assert taken > CASES // 10, "the mutations leave nothing to translate"


@pytest.mark.parametrize("name", [name for name, dialect in FRONTS.items() if dialect.inspect_count_tokens])
def test_requests_to_count_tokens(name: str) -> None:
    front = FRONTS[name]
    assert front.inspect_count_tokens is not None
    for data in draw(name, "count"):
        try:
            found = front.inspect_count_tokens(data, "m", None)
        except ClientError:
            continue
        assert found.text_bytes >= 0
