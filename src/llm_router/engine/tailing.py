"""Exchanges as they end, for those who watch: free while nobody does.

A process tells its own listeners itself. Of listeners of other processes of the gateway it knows the accounts
alone, and hands on the records of those.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Collection

from llm_router.billing.search import Filter
from llm_router.domain.errors import Overloaded, RateLimitExceeded
from llm_router.domain.record import ExchangeRecord
from llm_router.ports import Telemetry

QUEUE_MAX = 256
"""Records that wait for one listener; of more the oldest are left out, and it is told how many."""

LISTENERS_MAX = 100
"""Of one process."""

OPERATORS_LAST = 10
"""So many of them are kept for who runs the gateway."""

OF_ACCOUNT_MAX = 30
"""Of one account, who runs the gateway not counted."""

OF_READER_MAX = 10
"""Of one person or key."""


class Listener:
    """Somebody who watches the exchanges of an account.

    Attributes:
        who: the person or key. operator: who runs the gateway.
        closed: nothing comes any more.
    """

    def __init__(self, account: str, wanted: Filter, who: str, *, operator: bool) -> None:
        self.account = account
        self.who = who
        self.operator = operator
        self.closed = False
        self._wanted = wanted
        self._waiting: deque[ExchangeRecord] = deque()
        self._skipped = 0
        self._something = asyncio.Event()

    def hear(self, record: ExchangeRecord) -> None:
        """An exchange has ended."""
        if not self._wanted.matches(record):
            return
        if len(self._waiting) == QUEUE_MAX:
            self._waiting.popleft()
            self._skipped += 1
        self._waiting.append(record)
        self._something.set()

    def close(self) -> None:
        """Nothing comes any more; what waits may still be taken."""
        self.closed = True
        self._something.set()

    async def take(self, within_s: float) -> tuple[list[ExchangeRecord], int]:
        """What has ended since, and how many were left out; nothing if nothing did for so long."""
        try:
            async with asyncio.timeout(within_s):
                await self._something.wait()
        except TimeoutError:
            return [], 0
        if not self.closed:
            self._something.clear()
        found, skipped = list(self._waiting), self._skipped
        self._waiting.clear()
        self._skipped = 0
        return found, skipped


class Tail:
    """The port Telemetry, in front of another one.

    Args:
        changed: is told of which accounts this process has listeners, whenever that changes.
        hand_on: takes the records of the accounts in ``elsewhere``.

    Attributes:
        elsewhere: accounts that listeners of other processes watch.
    """

    def __init__(
        self,
        telemetry: Telemetry,
        *,
        changed: Callable[[list[str]], None] = lambda _: None,
        hand_on: Callable[[ExchangeRecord], None] = lambda _: None,
    ) -> None:
        self.elsewhere: Collection[str] = ()
        self._telemetry = telemetry
        self._changed = changed
        self._hand_on = hand_on
        self._listeners: dict[str, list[Listener]] = {}
        self._closed = False

    def exchange(self, record: ExchangeRecord) -> None:
        self._telemetry.exchange(record)
        if self._listeners:
            self.hear(record)
        if self.elsewhere and record.account in self.elsewhere:
            self._hand_on(record)

    def hear(self, record: ExchangeRecord) -> None:
        """Tell the listeners of this process."""
        for listener in self._listeners.get(record.account, ()):
            listener.hear(record)

    def listen(self, account: str, wanted: Filter, who: str = "", *, operator: bool = False) -> Listener:
        """Watch an account until :meth:`end`.

        Raises:
            Overloaded: there are too many listeners, or the gateway stops.
            RateLimitExceeded: there are too many of that reader or account.
        """
        self._check_room(account, who, operator=operator)
        listener = Listener(account, wanted, who, operator=operator)
        self._listeners.setdefault(account, []).append(listener)
        if len(self._listeners[account]) == 1:
            self._changed(list(self._listeners))
        return listener

    def _check_room(self, account: str, who: str, *, operator: bool) -> None:
        every = [listener for listeners in self._listeners.values() for listener in listeners]
        if self._closed or len(every) >= LISTENERS_MAX - (0 if operator else OPERATORS_LAST):
            raise Overloaded("Too many watch the log at the moment. Try again later.", retry_after_s=30)
        if sum(listener.who == who for listener in every) >= OF_READER_MAX:
            raise RateLimitExceeded(
                f"You watch the log {OF_READER_MAX} times already: end one of these first.", retry_after_s=30
            )
        others = [listener for listener in every if listener.account == account and not listener.operator]
        if not operator and len(others) >= OF_ACCOUNT_MAX:
            raise RateLimitExceeded(
                f"The log of '{account}' is watched {OF_ACCOUNT_MAX} times already: try again later.",
                retry_after_s=30,
            )

    def end(self, listener: Listener) -> None:
        """Watch no longer."""
        listener.close()
        others = self._listeners[listener.account]
        others.remove(listener)
        if not others:
            del self._listeners[listener.account]
            self._changed(list(self._listeners))

    def close(self) -> None:
        """End all that is watched: the gateway stops."""
        self._closed = True
        for listeners in self._listeners.values():
            for listener in listeners:
                listener.close()
