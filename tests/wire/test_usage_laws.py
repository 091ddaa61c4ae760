"""Counts of tokens through every dialect and every pair: no token is lost, none is counted twice."""

from __future__ import annotations

import itertools

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_router.domain.usage import Usage
from llm_router.wire import chat, events
from llm_router.wire.dialect import Bill, Dialect, ReplyContext
from llm_router.wire.dialects.registry import DIALECTS
from llm_router.wire.fold import fold, unfold

FRONTS = [dialect for dialect in DIALECTS.values() if isinstance(dialect, Dialect)]
CONTEXT = ReplyContext(reply_id="chatcmpl-law", model="m", created_s=1_700_000_000)
NO_WRITES = ("gemini_generate",)
"""Dialects that have no word for what is written to a cache: there it is plain input."""

counts = st.integers(0, 100_000)
usages = st.builds(
    Usage,
    input_tokens=counts,
    cache_read_tokens=st.just(0) | counts,
    cache_write_tokens=st.just(0) | counts,
    cache_write_1h_tokens=st.just(0) | counts,
    output_tokens=st.integers(1, 100_000),
    reasoning_tokens=st.just(0) | counts,
)


def through(dialect: Dialect, usage: Usage, *, stream: bool) -> Usage:
    """What a client of the dialect reads of these counts."""
    choice = events.Choice(parts=(chat.Text(text="Ahoy"),), finish=events.Finish.STOP)
    reply = events.Reply(model="m", created_s=1, choices=(choice,), usage=usage)
    bill = Bill(usage=usage, cost_pusd=0, credits_remaining_pusd=0)
    if not stream:
        body, _ = dialect.encode_reply(reply, CONTEXT, bill)
        found = dialect.decode_reply(body).usage
    else:
        encoder = dialect.stream_encoder(CONTEXT)
        told = [event for event in unfold(reply) if not isinstance(event, events.Ended)]
        data = b"".join(encoder.encode(event) for event in told) + encoder.finish(bill)
        decoder = dialect.stream_decoder()
        found = fold([*decoder.feed(data), *decoder.close()]).usage
    assert found is not None
    return found


def written(usage: Usage) -> int:
    return usage.cache_write_tokens + usage.cache_write_1h_tokens


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("dialect", FRONTS, ids=lambda dialect: dialect.name)
@settings(max_examples=60)
@given(usage=usages)
def test_each_dialect_keeps_the_sums(dialect: Dialect, stream: bool, usage: Usage) -> None:
    found = through(dialect, usage, stream=stream)
    assert found.prompt_tokens == usage.prompt_tokens
    assert found.completion_tokens == usage.completion_tokens
    assert found.cache_read_tokens == usage.cache_read_tokens
    assert written(found) == (0 if dialect.name in NO_WRITES else written(usage))
    assert min(msgspec.structs.astuple(found)[:9]) >= 0


@pytest.mark.parametrize(
    ("first", "second"),
    list(itertools.permutations(FRONTS, 2)),
    ids=lambda dialect: dialect.name,
)
@settings(max_examples=25)
@given(usage=usages)
def test_every_pair_keeps_the_sums(first: Dialect, second: Dialect, usage: Usage) -> None:
    seen = through(first, usage, stream=False)
    found = through(second, seen, stream=True)
    assert found.prompt_tokens == seen.prompt_tokens == usage.prompt_tokens
    assert found.completion_tokens == seen.completion_tokens == usage.completion_tokens
    assert found.cache_read_tokens == usage.cache_read_tokens
    fresh = found.input_tokens + found.cache_read_tokens + written(found) + found.input_audio_tokens
    assert fresh == usage.prompt_tokens
