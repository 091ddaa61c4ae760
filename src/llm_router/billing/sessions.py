"""The brake of sessions: what one session may use in all, and whether it repeats itself.

A session is what its header names, of one account. Counts are in memory of this process, of at most
SESSIONS_MAX sessions; one that has sent nothing for SESSION_IDLE_MS is over and begins anew.
"""

from __future__ import annotations

from collections import OrderedDict
from hashlib import sha256

import msgspec

from llm_router.billing.budgets import SESSION_IDLE_MS
from llm_router.domain.errors import SessionBrake
from llm_router.domain.money import format_usd
from llm_router.domain.session import SessionLimits

SESSIONS_MAX = 50_000
"""Sessions counted; who sent nothing for the longest time is forgotten first."""


class Calls(msgspec.Struct, frozen=True, kw_only=True):
    """The tool calls of the last turn of a model that made some.

    Attributes:
        name: of its first call, to be told.
        mark: digest of the names and arguments of all its calls.
        turn: digest of their ids too: the same turn, sent again, has the same.
        run: how many turns with that mark there are in a row, at the end of the conversation.
    """

    name: str
    mark: bytes
    turn: bytes
    run: int


class _Session:
    __slots__ = ("held_pusd", "mark", "run", "spent_pusd", "steps", "tokens", "touched_ms", "turn")

    def __init__(self) -> None:
        self.steps = self.tokens = self.spent_pusd = self.held_pusd = self.run = 0
        self.touched_ms = 0
        self.mark = self.turn = b""


class Sessions:
    """What sessions have used. In memory, one step each."""

    def __init__(self, sessions_max: int = SESSIONS_MAX) -> None:
        self._max = sessions_max
        self._sessions: OrderedDict[tuple[str, str], _Session] = OrderedDict()

    def begin(
        self, account: str, name: str, limits: SessionLimits, tokens: int, calls: Calls | None, now_ms: int
    ) -> int | None:
        """Count a step; return what the session may still hold in picodollars, None if that has no bound.

        ``tokens``: the expected input of the step.

        Raises:
            SessionBrake: a ceiling is reached, or the session repeats itself; nothing is counted.
        """
        session = self._session(account, name, now_ms)
        if calls is not None:
            self._heed(session, calls, limits)
        for kind, used, wanted, most in (
            ("steps", session.steps, 1, limits.steps),
            ("tokens", session.tokens, tokens, limits.tokens),
        ):
            if most is not None and used + wanted > most:
                raise _reached(kind, str(used), str(most))
        room: int | None = None
        if limits.cost_pusd is not None:
            room = limits.cost_pusd - session.spent_pusd - session.held_pusd
            if room <= 0:
                raise cost_reached(limits.cost_pusd - max(0, room), limits.cost_pusd)
        session.steps += 1
        return room

    def hold(self, account: str, name: str, amount_pusd: int) -> None:
        """A step of the session holds so much, of what it was told may be held."""
        session = self._sessions.get((account, name))
        if session is not None:
            session.held_pusd = max(0, session.held_pusd + amount_pusd)

    def end(
        self, account: str, name: str, *, counted: bool, tokens: int, cost_pusd: int, held_pusd: int
    ) -> None:
        """A step has ended. One that was refused before it was sent does not count."""
        session = self._sessions.get((account, name))
        if session is None:
            return
        session.held_pusd = max(0, session.held_pusd - held_pusd)
        session.steps = max(0, session.steps - (0 if counted else 1))
        session.tokens += tokens
        session.spent_pusd += cost_pusd

    def _session(self, account: str, name: str, now_ms: int) -> _Session:
        place = (account, name)
        session = self._sessions.get(place)
        if session is None or now_ms - session.touched_ms >= SESSION_IDLE_MS:
            session = self._sessions[place] = _Session()
        session.touched_ms = now_ms
        self._sessions.move_to_end(place)
        while len(self._sessions) > self._max:
            self._sessions.popitem(last=False)
        return session

    def _heed(self, session: _Session, calls: Calls, limits: SessionLimits) -> None:
        """Count turns that repeat the one before, also where the client sends no history."""
        if calls.turn != session.turn:
            session.run = session.run + 1 if calls.mark == session.mark else 1
            session.mark, session.turn = calls.mark, calls.turn
        check_repeats(calls, max(calls.run, session.run), limits)


def check_repeats(calls: Calls, run: int, limits: SessionLimits) -> None:
    """
    Raises:
        SessionBrake: the same call was made over and over.
    """
    most = limits.repeats
    if not most or run < most:
        return
    raise SessionBrake(
        f"The model has called '{calls.name[:100]}' with the same arguments {run} times in a row, so this "
        "conversation goes in circles. Change something: another instruction, a tool result that says why it "
        "does not help, or end it. Nothing was sent or charged.",
        details={"brake": "repeats", "tool": calls.name[:100], "used": run, "limit": most},
    )


def cost_reached(used_pusd: int, most_pusd: int) -> SessionBrake:
    """The refusal of a step that the session's money does not cover."""
    return _reached("cost", format_usd(used_pusd), format_usd(most_pusd))


def _reached(kind: str, used: str, most: str) -> SessionBrake:
    unit = "$" if kind == "cost" else ""
    return SessionBrake(
        f"The session has reached its ceiling of {unit}{most} {'in all' if unit else kind} ({unit}{used} used). "
        "Begin a new session, or raise the ceiling if the work is worth it. Nothing was sent or charged.",
        details={"brake": kind, "used": msgspec.Raw(used.encode()), "limit": msgspec.Raw(most.encode())},
    )


def digest(*parts: str) -> bytes:
    """Of texts, each apart from the next."""
    state = sha256()
    for part in parts:
        data = part.encode("utf-8", "surrogatepass")
        state.update(b"%d:" % len(data))
        state.update(data)
    return state.digest()
