"""Sessions of many nodes: what each has used is one row, decided on under its lock.

One task of a node takes whatever waits, locks the rows of those sessions in order, lets each step
begin or end, and writes them back in one transaction. It does not wait for the disk: the hold of a
step is durable only after the step is, since both stand in one log. Steps of nodes that are closed
count no more for what they held.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Collection

import asyncpg
import msgspec

from llm_router.adapters.postgres.link import FAILURES, Link, Target, unavailable
from llm_router.billing.budgets import SESSION_IDLE_MS
from llm_router.billing.sessions import Calls, Granted, Session
from llm_router.domain.errors import SessionBrake
from llm_router.domain.session import SessionLimits

BEGIN_S = 1.0
"""How long a step waits for the database before it is refused."""

BATCH_S = 2.0
BATCH_MAX = 256
RETRY_S = 0.25
CLOSE_S = 5.0

_LOCK = (
    "INSERT INTO sessions AS s (account, name, state, touched_ms) "
    "SELECT account, name, ''::bytea, 0 FROM unnest($1::text[], $2::text[]) q(account, name) "
    "ORDER BY account, name ON CONFLICT (account, name) DO UPDATE SET touched_ms = s.touched_ms "
    "RETURNING account, name, state"
)
_WRITE = (
    "UPDATE sessions s SET state = n.state, touched_ms = n.touched_ms "
    "FROM unnest($1::text[], $2::text[], $3::bytea[], $4::bigint[]) n(account, name, state, touched_ms) "
    "WHERE s.account = n.account AND s.name = n.name"
)
_ALIVE = "SELECT id FROM nodes WHERE id = ANY($1::bigint[]) AND NOT closed"
_PURGE = "DELETE FROM sessions WHERE touched_ms < $1"

_decoder = msgspec.json.Decoder(Session)


class _Move(msgspec.Struct, kw_only=True, eq=False):
    """A step that begins (``future`` waits for it) or ends."""

    step: str
    account: str
    name: str
    future: asyncio.Future[Granted] | None
    decide: Callable[[Session], Granted | None]
    now_ms: int | None = None
    outcome: Granted | SessionBrake | None = None

    @property
    def place(self) -> tuple[str, str]:
        return self.account, self.name

    @property
    def left(self) -> bool:
        """Nobody waits for its beginning any more."""
        return self.future is not None and self.future.done()


class PostgresSessions:
    """Implements the port SessionBook. ``node``: the number of this process in the database."""

    def __init__(self, target: Target, node: Callable[[], int]) -> None:
        self._link = Link(target, synchronous_commit="off")
        self._node = node
        self._queue: deque[_Move] = deque()
        self._wake = asyncio.Event()
        self._closing = False
        self._task = asyncio.get_running_loop().create_task(self._run(), name="sessions")

    async def close(self) -> None:
        """Write what is waiting, as long as the database lets us."""
        self._closing = True
        self._wake.set()
        await asyncio.wait((self._task,), timeout=CLOSE_S)
        self._task.cancel()
        await asyncio.wait((self._task,))
        await self._link.close()

    async def begin(
        self,
        step: str,
        account: str,
        name: str,
        limits: SessionLimits,
        tokens: int,
        calls: Calls | None,
        worst_pusd: int,
        now_ms: int,
    ) -> Granted:
        def decide(session: Session) -> Granted:
            return session.begin(step, limits, tokens, calls, worst_pusd, now_ms, self._node())

        future = asyncio.get_running_loop().create_future()
        self._submit(
            _Move(step=step, account=account, name=name, future=future, decide=decide, now_ms=now_ms)
        )
        try:
            async with asyncio.timeout(BEGIN_S):
                return await asyncio.shield(future)
        except TimeoutError as error:
            raise unavailable(error) from error
        finally:
            future.cancel()  # if it is not done: it need not begin any more

    def end(self, step: str, account: str, name: str, counted: bool, tokens: int, cost_pusd: int) -> None:
        def decide(session: Session) -> None:
            session.end(step, counted=counted, tokens=tokens, cost_pusd=cost_pusd)

        self._submit(_Move(step=step, account=account, name=name, future=None, decide=decide))

    def _submit(self, move: _Move) -> None:
        self._queue.append(move)
        self._wake.set()

    async def _run(self) -> None:
        while self._queue or not self._closing:
            if not self._queue:
                self._wake.clear()
                await self._wake.wait()
                continue
            moves = [self._queue.popleft() for _ in range(min(BATCH_MAX, len(self._queue)))]
            moves = [move for move in moves if not move.left]
            if not moves:
                continue
            try:
                await self._link.run(lambda c, m=moves: self._commit(c, m), BATCH_S)  # type: ignore[misc]
            except FAILURES as error:
                self._refuse(moves, error)
                if self._closing:
                    return
                await asyncio.sleep(RETRY_S)
            else:
                for move in moves:
                    _tell(move)

    def _refuse(self, moves: list[_Move], error: Exception) -> None:
        """Who waits is told; what ended is tried again, in its order."""
        for move in reversed(moves):
            if move.future is None:
                self._queue.appendleft(move)
            elif not move.future.done():
                move.future.set_exception(unavailable(error))

    async def _commit(self, connection: asyncpg.Connection, moves: list[_Move]) -> None:
        places = sorted({move.place for move in moves})
        async with connection.transaction():
            rows = await connection.fetch(_LOCK, *map(list, zip(*places, strict=True)))
            sessions = {
                (account, name): _decoder.decode(state) if state else Session()
                for account, name, state in rows
            }
            await self._drop_dead(connection, sessions.values())
            for move in moves:
                session = sessions[move.place]
                if move.now_ms is not None and session.over(move.now_ms):
                    session = sessions[move.place] = Session()
                try:
                    move.outcome = move.decide(session)
                except SessionBrake as refusal:
                    move.outcome = refusal
            states = [msgspec.json.encode(sessions[place]) for place in places]
            touched = [sessions[place].touched_ms for place in places]
            await connection.execute(_WRITE, *map(list, zip(*places, strict=True)), states, touched)

    async def _drop_dead(self, connection: asyncpg.Connection, sessions: Collection[Session]) -> None:
        """Forget the steps of nodes that are closed: their holds are voided too."""
        others = {node for session in sessions for _, node in session.held.values()} - {self._node()}
        if not others:
            return
        alive = {id_ for (id_,) in await connection.fetch(_ALIVE, list(others))} | {self._node()}
        for session in sessions:
            session.held = {step: held for step, held in session.held.items() if held[1] in alive}


async def purge(connection: asyncpg.Connection, now_ms: int) -> None:
    """Delete the sessions that are over."""
    await connection.execute(_PURGE, now_ms - SESSION_IDLE_MS)


def _tell(move: _Move) -> None:
    if move.future is None or move.future.done():
        return
    if isinstance(move.outcome, SessionBrake):
        move.future.set_exception(move.outcome)
    elif move.outcome is not None:
        move.future.set_result(move.outcome)
