"""The shipped artefact: its size, its checksum, what it says of itself; reading and scoring prompts."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_router.domain.errors import ServerError
from llm_router.routing.auto.artefact import (
    ARTEFACT_BYTES_MAX,
    HEADS,
    MAGIC,
    Artefact,
    decode_artefact,
    pack,
    shipped,
    unpack,
)
from llm_router.routing.auto.choose import Offer
from llm_router.routing.auto.features import (
    BUCKETS,
    FORM,
    HEAD_BYTES,
    TAIL_BYTES,
    prompt_of,
    read_prompt,
)
from llm_router.routing.auto.local import LABELS_MIN, local_buckets, pack_outcome, unpack_outcome
from llm_router.routing.auto.router import AutoRouter
from llm_router.routing.auto.scoring import GAIN_MIN, Score, linear, score
from llm_router.wire.chat import Message, Text

OFFERS = (
    Offer(id="a/small", model="small", cost_pusd=1_000, quality_tier=1),
    Offer(id="b/large", model="large", cost_pusd=30_000, quality_tier=4),
)

PROOF = "Prove that the sum of two odd integers is even, and then explain why the converse fails."


@pytest.fixture(scope="module")
def artefact() -> Artefact:
    return decode_artefact(shipped())


def test_it_is_small_and_says_where_it_comes_from(artefact: Artefact) -> None:
    assert len(shipped()) <= ARTEFACT_BYTES_MAX == 512 * 1024
    header = artefact.header
    said = header.provenance
    assert said.data
    assert said.licences
    assert said.command.startswith("python tools/train_router.py")
    assert said.prompts > 10_000
    assert header.version.startswith(said.made)
    assert len(header.scales) == len(header.offsets) == HEADS
    assert len(header.gains) == 101
    assert list(header.gains) == sorted(header.gains)


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: data[:-1],
        lambda data: data[:-1] + bytes([data[-1] ^ 1]),
        lambda data: data.replace(b'"reading":', b'"reading":9'),
        lambda data: data.replace(b'"nodes":', b'"nodes":1'),
        lambda data: MAGIC + b"{}\n",
        lambda data: data + bytes(ARTEFACT_BYTES_MAX),
    ],
)
def test_a_damaged_one_is_refused(damage: object) -> None:
    assert callable(damage)
    with pytest.raises(ServerError, match="artefact"):
        decode_artefact(damage(shipped()))


@given(st.lists(st.tuples(*[st.integers(-127, 127)] * 3), max_size=200))
def test_three_sums_travel_in_one(rows: list[tuple[int, int, int]]) -> None:
    total = sum(pack(*row) for row in rows)
    assert unpack(total, len(rows)) == tuple(sum(row[i] for row in rows) for i in range(3))


@given(st.text(max_size=4000))
def test_any_text_is_read_and_scored_and_always_the_same(text: str) -> None:
    found = read_prompt(text)
    assert len(found.form) == len(FORM)
    assert all(0 <= b < BUCKETS for b in found.buckets)
    assert len(set(found.buckets)) == len(found.buckets)
    assert set(read_prompt(text).buckets) == set(found.buckets)
    small = Artefact(**{f: getattr(SHIPPED, f) for f in SHIPPED.__struct_fields__})
    assert score(small, found) == score(SHIPPED, read_prompt(text))


SHIPPED = decode_artefact(shipped())


def test_words_out_of_order_share_their_words_but_not_their_pairs() -> None:
    one, other = read_prompt("alpha beta gamma"), read_prompt("gamma alpha beta")
    shared = set(one.buckets) & set(other.buckets)
    assert len(one.buckets) == len(other.buckets) == 5
    assert len(shared) == 4
    assert set(read_prompt("ALPHA  Beta\ngamma").buckets) == set(one.buckets)


def test_of_a_long_prompt_the_beginning_and_the_end_are_read() -> None:
    middle = "filler " * 2000
    same = read_prompt(f"begin {middle} end of it")
    assert set(same.buckets) & set(read_prompt("begin").buckets)
    assert set(same.buckets) & set(read_prompt("end of it").buckets)
    hidden = middle[:7000] + " needle " + middle[7000:]
    assert read_prompt(f"begin {hidden} end of it").buckets is not None
    assert not set(read_prompt("needle").buckets) <= set(read_prompt(f"begin {hidden} end").buckets)
    most = read_prompt("".join(chr(0x4E00 + i % 20000) for i in range(20_000)))
    assert len(most.buckets) <= 2 * (HEAD_BYTES + TAIL_BYTES) + 2 < 8224


def test_the_prompt_is_the_last_that_the_user_said() -> None:
    messages = (
        Message(role="system", parts=(Text(text="Be terse. " + "x" * 5000),)),
        Message(role="user", parts=(Text(text="first"),)),
        Message(role="assistant", parts=(Text(text="answer"),)),
        Message(role="user", parts=(Text(text="second"), Text(text="part"))),
        Message(role="assistant", parts=(Text(text="calls"),)),
    )
    prompt, system = prompt_of(messages)
    assert prompt == "second\npart"
    assert system.startswith("Be terse.")
    assert len(system) == 512
    assert prompt_of(()) == ("", "")


def test_a_better_tier_is_never_taken_for_a_worse_one() -> None:
    for gain in (-0.4, 0.0, 0.3, 2.0):
        for weak in (0.03, 0.5, 0.97):
            ladder = [Score(weak=weak, gain=gain, tiers=(1, 3)).quality(tier) for tier in range(1, 6)]
            assert ladder == sorted(ladder)
            assert 0 <= ladder[0] < ladder[-1] <= 1
    middle = Score(weak=0.4, gain=0.2, tiers=(1, 3))
    assert middle.quality(1) == pytest.approx(0.4)
    assert middle.quality(3) == pytest.approx(0.6)
    assert middle.quality(None) == middle.quality(1)
    assert GAIN_MIN > 0


def test_all_heads_have_a_say(artefact: Artefact) -> None:
    said = linear(artefact, read_prompt(PROOF).buckets)
    assert len(said) == HEADS
    assert all(abs(s) < 3 for s in said)
    assert len(set(said)) == HEADS


def test_the_state_comes_back_and_the_same_state_decides_the_same() -> None:
    router = AutoRouter(SHIPPED)
    for i in range(40):
        choice = router.choose(router.read(f"question {i} " * (i + 1)), OFFERS, 5)
        router.made(choice)
    read = router.read(PROOF, "Answer in French.")
    features = router.choose(read, OFFERS, 5).features()
    assert len(features) <= 330
    for _ in range(LABELS_MIN + 50):
        router.observe(features, "small", 1, 0.0)
    assert router.changes > LABELS_MIN
    stored = router.dump()
    assert router.changes == 0
    assert b"French" not in stored
    other = AutoRouter(SHIPPED)
    before = other.choose(read, OFFERS, 5)
    assert other.restore(stored)
    assert other.choose(read, OFFERS, 5) == router.choose(read, OFFERS, 5)
    assert other.choose(read, OFFERS, 5) != before
    assert other.dump() == stored
    learned = {s.model: s.quality for s in other.choose(read, OFFERS, 5).ranked}
    assert learned["small"] < read.score.quality(1)


def test_what_belongs_to_another_artefact_is_not_read() -> None:
    router = AutoRouter(SHIPPED)
    foreign = msgspec.json.encode({"artefact": "another", "samples": [], "heads": {}})
    assert not router.restore(foreign)
    assert not router.restore(b"nonsense")
    assert router.traffic.samples == ()


@given(st.text(max_size=2000))
def test_what_is_kept_for_an_outcome_comes_back(text: str) -> None:
    found = read_prompt(text)
    before = score(SHIPPED, found)
    after, buckets = unpack_outcome(pack_outcome(before, found.buckets))
    assert buckets == local_buckets(found.buckets)
    assert after.weak == pytest.approx(before.weak)
    assert after.gain == pytest.approx(before.gain, abs=1e-6)


@given(st.binary(max_size=400))
def test_what_is_no_outcome_is_refused_or_harmless(data: bytes) -> None:
    try:
        after, buckets = unpack_outcome(data)
    except ValueError:
        return
    assert 0 < after.quality(1) <= after.quality(5) <= 1
    assert all(0 <= b < 4096 for b in buckets)
