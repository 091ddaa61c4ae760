"""A kind of fault: its name, what it does, and what a rule may tell it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import msgspec

from llm_router.sandbox.faults.steps import Answer, Step

Group = Literal["connection", "time", "http", "status", "wait", "body", "event", "usage"]

GROUPS: dict[Group, str] = {
    "connection": "Connections that break",
    "time": "Silence and slowness",
    "http": "Wrong HTTP",
    "status": "Errors",
    "wait": "Rate limits, and how long to wait",
    "body": "Wrong bodies",
    "event": "Wrong events and members",
    "usage": "Usage and ids",
}


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What a rule tells a kind; None leaves it to the kind.

    Attributes:
        seconds: of a pause, or of the wait that is told.
        events: of a stream, how many are sent before the fault.
        status: of an error.
    """

    seconds: float | None = None
    events: int | None = None
    status: int | None = None

    def seconds_or(self, usual: float) -> float:
        return usual if self.seconds is None else self.seconds


Make = Callable[[Answer, Options], list[Step]]


class Kind(msgspec.Struct, frozen=True, kw_only=True):
    """Attributes:
    about: one line of documentation, as a sentence without its full stop.
    make: the steps, from the right answer.
    takes: the options that it reads.
    streams, wholes: whether it strikes streamed and whole replies.
    door: nobody listens while it holds, so it is no matter of single requests.
    """

    name: str
    group: Group
    about: str
    make: Make
    takes: frozenset[str] = frozenset()
    streams: bool = True
    wholes: bool = True
    door: bool = False


def kind(
    name: str,
    group: Group,
    about: str,
    make: Make,
    *takes: str,
    streams: bool = True,
    wholes: bool = True,
) -> Kind:
    return Kind(
        name=name,
        group=group,
        about=about,
        make=make,
        takes=frozenset(takes),
        streams=streams,
        wholes=wholes,
    )
