"""Clients that have ended their sending side while they are being answered.

``shutdown(SHUT_WR)`` behind a request ("I send nothing more", as some tools do) and ``close()`` ("I have left") are
the same to a server: the connection's input ends. Only what is written tells them apart: who has left answers
with a reset. So something is written that no client hears of:

* while nothing of the answer has gone, an interim response (100), which may stand before any final one
  (https://www.rfc-editor.org/rfc/rfc9110#section-15.2), after a moment in which most answers have come;
* within a chunked body, a zero: the next chunk's size begins with it (https://www.rfc-editor.org/rfc/rfc9112#section-7.1).

Nothing reads such a connection any more, so that its reset has to be looked for.
"""

from __future__ import annotations

import asyncio
import select
from typing import Protocol

INTERIM = b"HTTP/1.1 100 Continue\r\n\r\n"
ZERO = b"0"

LOOK_S = 0.25
"""Between two looks whether the connection was reset."""

ASK_AT = (2, 20, 80, 240)
"""The looks with which something is written, counted from one: few, since a client need not bear many of either.
Within a body it is done at once too."""


class Answering(Protocol):
    """The connection, as far as it matters here."""

    transport: asyncio.Transport

    @property
    def busy(self) -> bool:
        """Whether a request is being answered."""

    def probe(self) -> bytes:
        """What may be written now without the client's hearing of it; empty if nothing."""


class HalfClosed:
    """Looks after one such connection until it is answered or gone."""

    def __init__(self, answering: Answering, loop: asyncio.AbstractEventLoop) -> None:
        self._answering = answering
        self._loop = loop
        self._looks = 0
        if answering.probe() == ZERO:
            answering.transport.write(ZERO)
        self._timer = loop.call_later(LOOK_S, self._look)

    def stop(self) -> None:
        self._timer.cancel()

    def _look(self) -> None:
        transport = self._answering.transport
        if transport.is_closing() or not self._answering.busy:
            return
        if _reset(transport):
            transport.abort()
            return
        self._looks += 1
        if self._looks in ASK_AT and (data := self._answering.probe()):
            transport.write(data)
        self._timer = self._loop.call_later(LOOK_S, self._look)


def _reset(transport: asyncio.Transport) -> bool:
    """Whether the other end has let go of the connection altogether."""
    found = select.poll()
    found.register(transport.get_extra_info("socket").fileno(), 0)  # hang-ups and errors are told unasked
    return bool(found.poll(0))
