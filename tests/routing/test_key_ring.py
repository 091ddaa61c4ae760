"""Several keys of a provider: turns by weight, none that is refused is used while another one is not."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from llm_router.domain.errors import UpstreamKind
from llm_router.routing.key_ring import COOLDOWN_MS, COOLDOWN_MS_MAX, KeyRing, pool_of

K = UpstreamKind
SECRETS = [f"sk-secret-number-{n}-of-many" for n in range(4)]
POOL = pool_of(SECRETS)


def test_a_key_is_named_by_its_number_and_a_mark_that_says_nothing() -> None:
    assert [key.mark.split(":")[0] for key in POOL] == ["1", "2", "3", "4"]
    assert len({key.mark for key in POOL}) == 4
    assert not any(secret in key.mark for key in POOL for secret in SECRETS)
    assert pool_of(["ollama", "none"])[0].mark == "1"


@given(st.lists(st.integers(1, 9), min_size=1, max_size=5), st.integers(1, 20))
def test_turns_are_taken_by_weight(weights: list[int], rounds: int) -> None:
    pool = pool_of([f"secret-{n}" for n in range(len(weights))], weights)
    ring = KeyRing()
    picked = Counter(ring.pick("p", pool, 0).number for _ in range(rounds * sum(weights)))
    assert [picked[n] for n in range(1, len(weights) + 1)] == [rounds * weight for weight in weights]


def test_one_that_is_refused_is_left_alone_and_comes_back() -> None:
    ring = KeyRing()
    first = ring.pick("p", POOL[:2], 0)
    assert ring.refused("p", POOL[:2], first, K.AUTHENTICATION, 0, without={first.mark})
    assert {ring.pick("p", POOL[:2], 1).mark for _ in range(4)} == {POOL[1].mark}
    other = ring.pick("q", POOL[:2], 1)
    assert other.mark == first.mark  # of another provider nothing is known
    after_ms = COOLDOWN_MS[K.AUTHENTICATION]
    assert {ring.pick("p", POOL[:2], after_ms).mark for _ in range(4)} == {k.mark for k in POOL[:2]}
    state = ring.states("p", POOL[:2], 1)[0]
    assert (state.back_ms, state.why) == (after_ms, "authentication")
    assert ring.states("p", POOL[:2], after_ms)[0].back_ms is None


def test_when_all_are_refused_the_one_that_is_back_first_is_used() -> None:
    ring = KeyRing()
    for key, wait_ms in zip(POOL, (9_000, 3_000, 5_000, 7_000), strict=True):
        last = ring.refused("p", POOL, key, K.RATE_LIMIT, 0, wait_ms)
    assert last is False
    assert ring.pick("p", POOL, 1) == POOL[1]


def test_each_refusal_in_a_row_doubles_the_pause() -> None:
    ring, key, waits = KeyRing(), POOL[0], []
    for _ in range(20):
        ring.refused("p", POOL, key, K.PAYMENT, 0)
        waits.append(ring.states("p", POOL, -1)[0].back_ms)
    assert waits[:3] == [30_000, 60_000, 120_000]
    assert waits[-1] == COOLDOWN_MS_MAX
    ring.took("p", key)
    ring.refused("p", POOL, key, K.RATE_LIMIT, 0)
    assert ring.states("p", POOL, -1)[0].back_ms == COOLDOWN_MS[K.RATE_LIMIT]


@given(
    st.lists(
        st.tuples(st.booleans(), st.integers(0, 40_000), st.none() | st.integers(0, 60_000)), max_size=60
    )
)
def test_no_key_is_used_in_its_pause_while_another_one_could_be(
    moves: list[tuple[bool, int, int | None]],
) -> None:
    ring, now_ms = KeyRing(), 0
    for refused, pause_ms, cooldown_ms in moves:
        now_ms += pause_ms
        out = {state.mark for state in ring.states("p", POOL, now_ms) if state.back_ms is not None}
        key = ring.pick("p", POOL, now_ms)
        assert key.mark not in out or len(out) == len(POOL)
        if refused:
            ring.refused("p", POOL, key, K.RATE_LIMIT, now_ms, cooldown_ms)
        else:
            ring.took("p", key)
