"""The signals of an operator, SIGHUP and SIGUSR2, which by default would end the process.

None may do so at any moment. From its first act on, a gateway takes down which of them came; when it can heed them it
does, those that came before included. When it gives way to its successor they are held back until that takes them
down. A process's mask is passed on to what it starts, so it is only ever set for that one step; handlers are not.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping
from types import FrameType
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # at the very start of a program nothing waits for asyncio
    from asyncio import AbstractEventLoop

OPERATORS = (signal.SIGHUP, signal.SIGUSR2)


class Noted:
    """A handler that takes down what came."""

    def __init__(self) -> None:
        self.came: set[int] = set()

    def __call__(self, number: int, frame: FrameType | None) -> None:
        self.came.add(number)


def note() -> None:
    """Take down the operator's signals from now on, those that were held back included."""
    if not isinstance(signal.getsignal(OPERATORS[0]), Noted):
        noted = Noted()
        for number in OPERATORS:
            signal.signal(number, noted)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, OPERATORS)


def heed(loop: AbstractEventLoop, acts: Mapping[signal.Signals, Callable[[], None]]) -> None:
    """Act on signals in that loop from now on, and on those that were taken down. They count for nothing when the
    loop has ended: it never leaves them to what they do by default, as the loop's own handlers would. Of those that
    come before the loop has acted on one of their kind, one counts."""
    waiting: set[int] = set()

    def act_on(number: int) -> None:
        waiting.discard(number)
        acts[signal.Signals(number)]()

    def hear(number: int, frame: FrameType | None) -> None:
        if number not in waiting and not loop.is_closed():
            waiting.add(number)
            loop.call_soon_threadsafe(act_on, number)

    for number, act in acts.items():
        before = signal.signal(number, hear)
        if isinstance(before, Noted) and number in before.came:
            loop.call_soon(act)


def hold_back() -> None:
    """Leave the operator's signals to the program that begins in this one's place."""
    signal.pthread_sigmask(signal.SIG_BLOCK, OPERATORS)
