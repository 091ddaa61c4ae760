"""What a process sees of its own delay."""

from __future__ import annotations

import pytest
from engine_kit import World, answer, run, whole

from llm_router.engine.watching import LOOK_S, Watch
from llm_router.routing.pressure import LOOKS


class Clock:
    def __init__(self) -> None:
        self.us = 1_000_000

    def monotonic_us(self) -> int:
        return self.us

    def now_ms(self) -> int:
        return self.us // 1000


class Over(Exception):
    """The test has seen enough."""


def watch_of(clock: Clock, *pauses_s: float) -> Watch:
    """A watch whose pauses take so long."""
    left = list(pauses_s)

    async def pause(seconds: float) -> None:
        assert seconds == LOOK_S
        if not left:
            raise Over
        clock.us += round(left.pop(0) * 1_000_000)

    return Watch(clock, pause)


def test_a_loop_that_is_late_again_and_again_is_told() -> None:
    async def main() -> None:
        watch = watch_of(Clock(), *[LOOK_S + 0.5] * LOOKS)
        with pytest.raises(Over):
            await watch.run(lambda: 0.4)
        assert watch.pressure.delay_s == pytest.approx(0.5)
        assert watch.pressure.refuses(batch=True)
        calm = watch_of(Clock(), *[LOOK_S + 0.3] * 10)
        with pytest.raises(Over):
            await calm.run(lambda: 0.4)
        assert not calm.pressure.refuses(batch=True)

    run(main())


def test_so_is_a_ledger_that_keeps_a_settlement_waiting() -> None:
    async def main() -> None:
        clock = Clock()
        watch = watch_of(clock, *[LOOK_S] * 10)
        watch.waits.begin("gen-1", clock.us)
        watch.waits.begin("gen-2", clock.us)
        watch.waits.end("gen-2")
        with pytest.raises(Over):
            await watch.run(lambda: 1.0)
        assert watch.pressure.delay_s == pytest.approx(10 * LOOK_S)
        assert watch.pressure.refuses(batch=True)
        watch.waits.end("gen-1")
        watch.look(clock.us - 200_000, 1.0)
        assert watch.pressure.delay_s == 0

    run(main())


def test_nothing_waits_after_an_exchange_however_it_ended() -> None:
    async def main() -> None:
        for down in (False, True):
            world = World()
            world.upstream.scripts["p1"] = [answer(whole())]
            world.books.fail_settlements = int(down)
            await world.serve()
            assert world.engine.watch.waits.oldest_us() is None
            await world.engine.close()

    run(main())
