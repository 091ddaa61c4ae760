"""The brake of sessions: what one session may use in all, and whether it repeats itself.

A session is what its header names, of one account. One that has sent nothing for SESSION_IDLE_MS is
over and begins anew.
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
"""Sessions counted in memory; who sent nothing for the longest time is forgotten first."""


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


RETRY_AFTER_S = 1.0
"""When to try again what only the holds of other requests were in the way of."""


class Granted(msgspec.Struct, frozen=True, kw_only=True):
    """A step that may begin.

    Attributes:
        room_pusd: what the session had left before it; None if that has no bound.
        held_pusd: what the step may cost of it; others of the session may use the rest.
        others_pusd: what other steps that run hold of it.
    """

    room_pusd: int | None
    held_pusd: int
    others_pusd: int = 0


class Session(msgspec.Struct, kw_only=True):
    """What one session has used.

    Attributes:
        held: of its running steps by their names: picodollars, and the node that runs it.
        run, mark, turn: of the calls that were heard of last, see :class:`Calls`.
    """

    steps: int = 0
    tokens: int = 0
    spent_pusd: int = 0
    held: dict[str, tuple[int, int]] = {}
    run: int = 0
    mark: bytes = b""
    turn: bytes = b""
    touched_ms: int = 0

    def over(self, now_ms: int) -> bool:
        """Whether it has sent nothing for so long that it begins anew."""
        return now_ms - self.touched_ms >= SESSION_IDLE_MS

    def begin(
        self,
        step: str,
        limits: SessionLimits,
        tokens: int,
        calls: Calls | None,
        worst_pusd: int,
        now_ms: int,
        node: int = 0,
    ) -> Granted:
        """Count a step.

        Args:
            tokens: its expected input.
            worst_pusd: the most that it may cost.

        Raises:
            SessionBrake: a ceiling is reached, or the session repeats itself; nothing is counted.
        """
        self.touched_ms = now_ms
        if calls is not None:
            self._heed(calls, limits)
        for kind, used, wanted, most in (
            ("steps", self.steps, 1, limits.steps),
            ("tokens", self.tokens, tokens, limits.tokens),
        ):
            if most is not None and used + wanted > most:
                raise _reached(kind, str(used), str(most))
        room: int | None = None
        others = sum(pusd for pusd, _ in self.held.values())
        if limits.cost_pusd is not None:
            room = limits.cost_pusd - self.spent_pusd - others
            if room <= 0:
                raise cost_reached(min(self.spent_pusd, limits.cost_pusd), others, limits.cost_pusd)
        held_pusd = 0 if room is None else min(room, worst_pusd)
        self.steps += 1
        self.held[step] = (held_pusd, node)
        return Granted(room_pusd=room, held_pusd=held_pusd, others_pusd=others)

    def end(self, step: str, *, counted: bool, tokens: int, cost_pusd: int) -> None:
        """A step has ended. One that was refused before it was sent does not count; one that did not
        begin, or has ended already, changes nothing."""
        if self.held.pop(step, None) is None:
            return
        self.steps = max(0, self.steps - (0 if counted else 1))
        self.tokens += tokens
        self.spent_pusd += cost_pusd

    def _heed(self, calls: Calls, limits: SessionLimits) -> None:
        """Count turns that repeat the one before, also where the client sends no history."""
        if calls.turn != self.turn:
            self.run = self.run + 1 if calls.mark == self.mark else 1
            self.mark, self.turn = calls.mark, calls.turn
        check_repeats(calls, max(calls.run, self.run), limits)


class Sessions:
    """Sessions in memory."""

    def __init__(self, sessions_max: int = SESSIONS_MAX) -> None:
        self._max = sessions_max
        self._sessions: OrderedDict[tuple[str, str], Session] = OrderedDict()

    def session(self, account: str, name: str, now_ms: int) -> Session:
        """The session of that name, a new one if there is none or it is over."""
        place = (account, name)
        session = self._sessions.get(place)
        if session is None or session.over(now_ms):
            session = self._sessions[place] = Session()
        self._sessions.move_to_end(place)
        while len(self._sessions) > self._max:
            self._sessions.popitem(last=False)
        return session

    def known(self, account: str, name: str) -> Session | None:
        return self._sessions.get((account, name))


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


def cost_reached(used_pusd: int, held_pusd: int, most_pusd: int) -> SessionBrake:
    """The refusal of a step that the session's money does not cover. ``held_pusd``: by its steps that run."""
    most = format_usd(most_pusd)
    if not held_pusd or used_pusd >= most_pusd:
        return _reached("cost", format_usd(used_pusd), most)
    return SessionBrake(
        f"What the session has used and holds has reached its ceiling of ${most} in all ({_parts(used_pusd, held_pusd)}). "
        "Try again when its other requests are done. Nothing was sent or charged.",
        details=_figures(used_pusd, held_pusd, most_pusd),
        retry_after_s=RETRY_AFTER_S,
    )


def cost_short(
    needed_pusd: int, room_pusd: int, held_pusd: int, most_pusd: int, affordable_max_tokens: int
) -> SessionBrake:
    """The refusal of a step that what is left of the session's money does not cover. ``held_pusd``: by its
    other steps, which may come back."""
    used, most = most_pusd - room_pusd - held_pusd, format_usd(most_pusd)
    later = held_pusd > 0 and needed_pusd <= most_pusd - used
    first = "Try again when its other requests are done, b" if later else "B"
    if affordable_max_tokens:
        first = f"Set max_tokens to at most {affordable_max_tokens}, {'try again later, ' if later else ''}b"
    return SessionBrake(
        f"The request may cost up to ${format_usd(needed_pusd)}, but the session's ceiling of ${most} leaves "
        f"${format_usd(room_pusd)} ({_parts(used, held_pusd)}). {first}egin a new session, or raise the ceiling if the "
        "work is worth it. Nothing was sent or charged.",
        details=_figures(used, held_pusd, most_pusd),
        retry_after_s=RETRY_AFTER_S if later else None,
    )


def _parts(used_pusd: int, held_pusd: int) -> str:
    used = f"${format_usd(used_pusd)} used"
    return f"{used}, ${format_usd(held_pusd)} held by requests that run" if held_pusd else used


def _figures(used_pusd: int, held_pusd: int, most_pusd: int) -> dict[str, object]:
    """The details of a refusal, verbatim."""
    amounts = {"used": used_pusd, "held": held_pusd, "limit": most_pusd}
    return {"brake": "cost", **{name: msgspec.Raw(format_usd(a).encode()) for name, a in amounts.items()}}


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
