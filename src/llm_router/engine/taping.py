"""What a client said and was told, noted beside the exchange for an account that wants it kept."""

from __future__ import annotations

from llm_router.domain.bodies import BodyRule
from llm_router.ports import Client

Headers = list[tuple[bytes, bytes]]

RAW_MAX = 8 * 1024 * 1024
"""Of an answer longer than this nothing is noted, and of a longer request nothing is kept."""


class Tape:
    """The bodies of one exchange.

    Attributes:
        rule: how they are to be kept. request: as the client sent it.
        status: of the answer; 0 while there is none.
        whole: all of the answer went out; overflow: it was too long to be noted; too_long: the request was.
    """

    def __init__(self, rule: BodyRule, request: bytes) -> None:
        self.rule = rule
        self.too_long = len(request) > RAW_MAX
        self.request = b"" if self.too_long else request
        self.status = 0
        self.answer: list[bytes] = []
        self.size_bytes = 0
        self.whole = False
        self.overflow = False

    def note(self, data: bytes) -> None:
        self.size_bytes += len(data)
        if self.size_bytes > RAW_MAX:
            self.overflow = True
            self.answer.clear()
        elif data:
            self.answer.append(bytes(data))


class Taped:
    """The port Client: another one, with what it is told noted. What it did not take was not told."""

    def __init__(self, client: Client, tape: Tape) -> None:
        self._client = client
        self._tape = tape

    @property
    def started(self) -> bool:
        return self._client.started

    @property
    def last_sent_s(self) -> float:
        return self._client.last_sent_s

    async def start(self, status: int, headers: Headers) -> None:
        await self._client.start(status, headers)
        self._tape.status = status

    async def send(self, data: bytes) -> None:
        await self._client.send(data)
        self._tape.note(data)

    async def finish(self, data: bytes = b"") -> None:
        await self._client.finish(data)
        self._tape.note(data)
        self._tape.whole = True

    async def beat(self, status: int, headers: Headers, data: bytes) -> None:
        await self._client.beat(status, headers, data)
        self._tape.status = self._tape.status or status
