"""Mutated replies of every provider dialect to every client: an error or an answer in good form, never a crash.

LLM_ROUTER_FUZZ_ROUNDS makes it longer, LLM_ROUTER_FUZZ_SEED another one.
"""

from __future__ import annotations

import random

import pytest
from carry import CLIENTS, REQUEST_ID, WholeAsStream, bill_of, context_of, front_of, pieces, relayed
from judge import READERS
from mutate import ROUNDS, SEED, Seed, mutated, reply_seeds
from strict_client import Read

from llm_router.domain.errors import UpstreamError
from llm_router.wire.dialects.registry import DIALECTS
from llm_router.wire.relay import BridgeRelay

SEEDS = list(reply_seeds())
CASES = 60 * ROUNDS


def draw(dialect: str, salt: str) -> list[tuple[Seed, bytes, int]]:
    """(seed, bytes, length of the pieces) of every case; the same ones in every run."""
    dice = random.Random(f"{SEED} {dialect} {salt}")
    seeds = [seed for seed in SEEDS if seed.dialect == dialect]
    drawn = ((seed, mutated(seed, dice)) for seed in (dice.choice(seeds) for _ in range(CASES)))
    return [
        (seed, data, dice.choice((1, 5, 64, 5000)) if len(data) < 20000 else 5000) for seed, data in drawn
    ]


def told_faults(read: Read) -> list[str]:
    return [fault for fault in read.faults if "no input tokens" not in fault]


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("client", CLIENTS)
def test_streams(client: str, dialect: str) -> None:
    front, behind = front_of(client), DIALECTS[dialect]
    for seed, data, step in draw(dialect, "stream"):
        context = context_of(client, json_array=step == 5)
        whole = data.lstrip()[:1] == b"{" and not behind.json_lines
        decoder = WholeAsStream(behind) if whole else behind.stream_decoder()
        carried = relayed(front, BridgeRelay(decoder, front.stream_encoder(context)), pieces(data, step))
        if front is not behind:  # what only this dialect knows is said again as it came, however odd
            check(client, seed, data, carried.status, carried.data, stream=True)
        elif not whole:
            relayed(front, front.pass_relay(context), pieces(data, step))


@pytest.mark.parametrize("dialect", DIALECTS)
def test_whole_replies(dialect: str) -> None:
    behind = DIALECTS[dialect]
    for seed, data, _ in draw(dialect, "whole"):
        if seed.framing not in ("whole", "array"):
            continue
        try:
            reply = behind.decode_reply(data)
        except UpstreamError:
            continue
        for client in CLIENTS:
            front = front_of(client)
            out, _ = front.encode_reply(reply, context_of(client), bill_of(reply.usage))
            if front is not behind:
                check(client, seed, data, 200, out, stream=False)


@pytest.mark.parametrize("client", CLIENTS)
def test_whole_replies_that_pass(client: str) -> None:
    front = front_of(client)
    for _, data, _ in draw(front.name, "whole"):
        try:
            passed = front.pass_reply(data, context_of(client))
        except UpstreamError:
            continue
        if passed.observed.error is None:
            passed.finish(bill_of(passed.observed.usage))


@pytest.mark.parametrize("dialect", DIALECTS)
def test_errors(dialect: str) -> None:
    dice = random.Random(f"{SEED} {dialect} errors")
    for _, data, _ in draw(dialect, "errors"):
        status = dice.choice((0, 200, 302, 400, 401, 404, 413, 429, 500, 503, 529, 600, 999))
        headers = dice.choice(
            ({}, {"retry-after": dice.choice(("x", "-1", "1e9", "nan", "7"))}, {"x-amzn-errortype": "a:b"})
        )
        error = DIALECTS[dialect].decode_error(status, headers, data)
        assert 400 <= error.status <= 599
        for client, reader in READERS.items():
            read = reader.read_error(error.status, front_of(client).encode_error(error, REQUEST_ID))
            assert not read.faults, (client, data[:300], read.faults)


def check(client: str, seed: Seed, data: bytes, status: int, out: bytes, *, stream: bool) -> None:
    """What reached the client is in good form."""
    about = f"{client} <- {seed.dialect} {seed.name} ({seed.framing}): {data[-3000:]!r}\n{out[-1500:]!r}"
    if status >= 400:
        read = READERS[client].read_error(status, out)
    else:
        try:
            read = (READERS[client].read_stream if stream else READERS[client].read_whole)(out)
        except Exception as error:
            raise AssertionError(f"unreadable ({error!r}): {about}") from error
    faults = told_faults(read)
    assert not faults, f"{faults} {about}"
