"""The log of an account's exchanges: pages of it, one of them with all that is known, and those that end now."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable

import msgspec

from llm_router.billing.search import Filter
from llm_router.billing.usage_rows import BUCKETS
from llm_router.domain.errors import InvalidRequest, NotFound
from llm_router.domain.record import ExchangeRecord
from llm_router.engine.explanation import explain_record
from llm_router.engine.moments import iso_time
from llm_router.engine.operator import dollars
from llm_router.engine.papers import Papers
from llm_router.engine.state import State
from llm_router.engine.tailing import Tail
from llm_router.ports import Books, PaperBooks

END = b"event: end\ndata: {}\n\n"
"""Ask again now."""

PACE_S = 0.1
"""What ends meanwhile is told together: before each time it is looked up whether the listener may still read it."""

BEAT_S = 15.0
"""Silence after which a listener is sent a comment, so that nobody takes the connection for dead."""

LIVE_MS = 10 * 60_000
"""How long one stream lasts. Whoever goes on asks again, and is checked again."""

Row = dict[str, object]


class Logs:
    """What the endpoints work with. ``state``: what exchanges work with now."""

    def __init__(
        self,
        *,
        books: Books,
        papers: Papers,
        tail: Tail,
        state: Callable[[], State],
        monotonic_us: Callable[[], int],
    ) -> None:
        self.papers = papers
        self._books = books
        self._tail = tail
        self._state = state
        self._monotonic_us = monotonic_us

    async def page(
        self, account: str, wanted: Filter, span: tuple[int, int], before: str | None, limit: int
    ) -> Row:
        """Exchanges, the newest first; ``before``: the ``next`` of the page before.

        A page may have fewer rows than there are, even none, and say where to go on: that is how far one look went.

        Raises:
            InvalidRequest: it is no such place.
        """
        return await page_of_log(self.papers.books, account, wanted, span, before, limit)

    async def record(self, account: str, id_: str) -> ExchangeRecord:
        """An exchange of the account by its id or that of its reply.

        Raises:
            NotFound: it has none of that id.
        """
        record = await self._books.generation(account, id_)
        if record is None:
            raise NotFound(
                f"The account has no exchange '{id_[:100]}': it is the x-generation-id of a reply."
            )
        return record

    async def show(self, account: str, id_: str) -> Row:
        """All that is known of one.

        Raises:
            NotFound
        """
        record = await self.record(account, id_)
        state = self._state()
        return {
            **entry_of(record),
            "usage": {name: getattr(record.usage, name) for name in BUCKETS},
            "usage_provenance": record.usage.provenance.value,
            "losses": list(record.losses),
            "overhead_us": record.overhead_us,
            "native_finish": record.native_finish,
            "attempts_began_ms": [max(0, each.started_ms - record.created_ms) for each in record.attempts],
            "explanation": explain_record(record, state.snapshot, state.active),
        }

    async def live(
        self, account: str, wanted: Filter, who: str = "", *, operator: bool = False
    ) -> AsyncGenerator[bytes, None]:
        """Exchanges as they end, as server-sent events: ``exchange`` with a row of the log, ``skipped`` with how
        many were left out of a queue that nobody emptied, ``end`` when it is time to ask again.

        Args:
            who: the person or key that watches. operator: who runs the gateway.

        Raises:
            Overloaded, RateLimitExceeded: too many watch.
        """
        listener = self._tail.listen(account, wanted, who, operator=operator)
        until_us = self._monotonic_us() + LIVE_MS * 1000
        try:
            yield b": watching\n\n"
            while not listener.closed and self._monotonic_us() < until_us:
                records, skipped = await listener.take(BEAT_S)
                parts = [_event("skipped", {"count": skipped})] if skipped else []
                parts += [_event("exchange", entry_of(record)) for record in records]
                yield b"".join(parts) or b": nothing yet\n\n"
                if parts:
                    await asyncio.sleep(PACE_S)
            yield END
        finally:
            self._tail.end(listener)


async def page_of_log(
    books: PaperBooks, account: str, wanted: Filter, span: tuple[int, int], before: str | None, limit: int
) -> Row:
    """A page of an account's exchanges: see :meth:`Logs.page`.

    Raises:
        InvalidRequest: ``before`` is no such place.
    """
    place = None if before is None else _place(before)
    found = await books.newest(account, wanted, *span, place, limit)
    return {
        "data": [entry_of(record) for record in found.records],
        "has_more": found.next is not None,
        "next": None if found.next is None else f"{found.next[0]}.{found.next[1]}",
        "searched_to": None if found.next is None else iso_time(found.next[0]),
    }


def entry_of(record: ExchangeRecord) -> Row:
    """A row of the log."""
    usage = record.usage
    return {
        "id": record.id,
        "reply_id": record.reply_id,
        "created": iso_time(record.created_ms),
        "created_ms": record.created_ms,
        "key": record.key or None,
        "team": record.team,
        "user": record.user,
        "session": record.session,
        "tags": list(record.tags),
        "api": record.dialect,
        "operation": record.operation,
        "stream": record.stream,
        "asked_model": record.asked_model,
        "model": record.model,
        "provider": record.provider,
        "deployment": record.deployment,
        "status": record.status,
        "error": record.error_code,
        "error_message": record.error_message,
        "finish": record.finish,
        "input_tokens": usage.prompt_tokens,
        "cached_tokens": usage.cache_read_tokens,
        "output_tokens": usage.completion_tokens,
        "cost": dollars(record.cost_pusd),
        "first_token_ms": record.first_token_ms,
        "duration_ms": record.duration_ms,
        "attempts": len(record.attempts),
        "lost": len(record.losses),
        "client_gone": record.client_gone,
        "experiment": record.experiment,
        "arm": record.arm,
        "comparison": record.comparison,
        "flags": list(record.flags),
    }


def _event(name: str, value: Row) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (name.encode(), msgspec.json.encode(value))


def _place(text: str) -> tuple[int, str]:
    """
    Raises:
        InvalidRequest: it is no place in the log.
    """
    number, dot, id_ = text.partition(".")
    if not dot or not (number.isascii() and number.isdigit() and len(number) < 16):
        raise InvalidRequest("'after' must be the 'next' of the page before.", param="after")
    return int(number), id_
