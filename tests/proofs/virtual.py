"""An event loop without a clock: when nothing can run, its time jumps to the next timer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

STEP_S = 1e-6
"""What one round of callbacks takes: time that stood still would never be over."""


class Stuck(AssertionError):
    """Everybody waits, and nothing is due: what waits now waits for ever."""


class VirtualLoop(asyncio.BaseEventLoop):
    """Runs callbacks in the order of their virtual time, and those of one moment as they were asked for.

    Work for other threads is done in the loop's own, after ``executor_s()`` of virtual time.
    """

    def __init__(self, executor_s: Callable[[], float]) -> None:
        super().__init__()
        self._now_s = 0.0
        self._executor_s = executor_s
        self._selector = _Jumps(self)
        self.problems: list[dict[str, Any]] = []
        self.set_exception_handler(lambda loop, context: self.problems.append(context))

    def time(self) -> float:
        return self._now_s

    def jump(self, timeout: float | None) -> None:
        """Nothing can run for so long."""
        self._now_s += STEP_S
        if timeout is None:
            raise Stuck("nothing is due any more, and somebody still waits")
        if timeout > 0:
            self._now_s = max(self._now_s + timeout, self._scheduled[0]._when if self._scheduled else 0.0)

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:
        future = self.create_future()
        self.call_later(self._executor_s(), self._execute, future, func, args)
        return future

    def _execute(self, future: asyncio.Future[Any], func: Callable[..., Any], args: tuple[Any, ...]) -> None:
        try:
            result = func(*args)
        except BaseException as error:
            if not future.done():
                future.set_exception(error)
        else:
            if not future.done():
                future.set_result(result)

    def _process_events(self, events: list[Any]) -> None:
        """There are none: no socket belongs to this loop."""

    def _write_to_self(self) -> None:
        """Nobody sleeps that would have to be woken."""


class _Jumps:
    """In the place of the selector."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop

    def select(self, timeout: float | None) -> list[Any]:
        self._loop.jump(timeout)
        return []
