"""The session of a request: its ceilings, and the tool calls that it repeats."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import msgspec

from llm_router.billing.sessions import Calls, check_repeats, cost_reached, cost_short, digest
from llm_router.domain.budget import Payer
from llm_router.domain.errors import InvalidRequest, MaxCostExceeded, RouterError
from llm_router.domain.money import PUSD_PER_USD
from llm_router.domain.session import SessionLimits, lower
from llm_router.engine.admit import Call
from llm_router.engine.holding import Ceiling, dollars_of
from llm_router.wire.chat import ChatRequest, Message, Text, ToolCall
from llm_router.wire.dialect import Inspected

SESSION_BOUND_HEADERS = ("x-session-max-cost", "x-session-max-steps", "x-session-max-tokens")
_MARKS = (b'"tool_calls"', b'"tool_use"', b'"function_call"', b'"functionCall"', b'"function_call_output"')
"""What stands in the body of every conversation that holds a tool call, in one API or another."""


def heard(call: Call, inspected: Inspected, limits: SessionLimits) -> Calls | None:
    """The tool calls that a request is about, if they are counted."""
    return calls_of(call, inspected) if limits.repeats and call.operation == "chat" else None


def may_repeat(body: bytes) -> bool:
    """Whether a request may be about tool calls that its model made."""
    return (b'"tool_' in body or b'"function' in body) and any(mark in body for mark in _MARKS)


def check_alone(call: Call, inspected: Inspected, limits: SessionLimits) -> None:
    """See to it that a request of no session does not make the same tool call over and over.

    Raises:
        SessionBrake: it does.
    """
    if limits.repeats > 1 and not inspected.repeats:
        return
    calls = heard(call, inspected, limits)
    if calls is not None:
        check_repeats(calls, calls.run, limits)


def limits_of(
    call: Call, payer: Payer, default: SessionLimits, by_key: Mapping[str, SessionLimits]
) -> SessionLimits:
    """The ceilings of a request's session: of its key or of all, which headers can only lower.

    Raises:
        InvalidRequest: a header cannot be read, or there is no session that it could be about.
    """
    found = by_key.get(payer.key, default)
    given = {name: call.headers[name] for name in SESSION_BOUND_HEADERS if name in call.headers}
    if not given:
        return found
    if payer.session is None:
        raise InvalidRequest(
            f"'{next(iter(given))}' is about a session, but none is named: send 'x-session-id' with it.",
            param="x-session-id",
        )
    cost = given.get("x-session-max-cost")
    return SessionLimits(
        cost_pusd=lower(found.cost_pusd, None if cost is None else dollars_of("x-session-max-cost", cost)),
        steps=lower(found.steps, _count(given, "x-session-max-steps")),
        tokens=lower(found.tokens, _count(given, "x-session-max-tokens")),
        repeats=found.repeats,
    )


def _count(given: Mapping[str, str], name: str) -> int | None:
    text = given.get(name)
    if text is None:
        return None
    text = text.strip()
    if not (text.isascii() and text.isdigit() and len(text) <= 12):
        raise InvalidRequest(f"'{name}' must be a whole number such as 40.", param=name)
    return int(text)


def tighter(ceiling: Ceiling | None, room_pusd: int | None, held_pusd: int = 0) -> Ceiling | None:
    """The lower of what the request and what its session may cost. ``held_pusd``: what other requests of the
    session hold."""
    if room_pusd is None or (ceiling is not None and ceiling.amount_pusd <= room_pusd):
        return ceiling
    lowers = ceiling is not None and ceiling.lowers
    return Ceiling(amount_pusd=room_pusd, lowers=lowers, session=True, held_pusd=held_pusd)


def session_refusal(error: MaxCostExceeded, limits: SessionLimits, ceiling: Ceiling) -> RouterError:
    """A refusal because of a ceiling that is the session's, as such."""
    assert limits.cost_pusd is not None
    room_pusd, held_pusd = ceiling.amount_pusd, ceiling.held_pusd
    refusal = cost_reached(limits.cost_pusd - room_pusd - held_pusd, held_pusd, limits.cost_pusd)
    if room_pusd > 0:
        tokens = error.details["affordable_max_tokens"]
        fits = tokens if isinstance(tokens, int) else 0
        needed_pusd = int(Decimal(_text(error.details["needed"])) * PUSD_PER_USD)
        refusal = cost_short(needed_pusd, room_pusd, held_pusd, limits.cost_pusd, fits)
    refusal.details |= {name: error.details[name] for name in ("needed", "affordable_max_tokens")}
    return refusal


def _text(number: object) -> str:
    return bytes(number).decode() if isinstance(number, msgspec.Raw) else str(number)


def calls_of(call: Call, inspected: Inspected) -> Calls | None:
    """The calls of the model's last turn with some, and how often it made the same before; None if it
    made none, or if a user has said something since."""
    if not may_repeat(call.body):
        return None
    try:
        request = call.dialect.decode_request(inspected)
    except RouterError:
        return None  # the attempt will say what is wrong
    if not isinstance(request, ChatRequest):
        return None
    return repeated(request.messages)


def repeated(messages: tuple[Message, ...]) -> Calls | None:
    """See :func:`calls_of`."""
    last: Calls | None = None
    run = 0
    for number in range(len(messages) - 1, -1, -1):
        message = messages[number]
        if message.role == "user" and _speaks(messages, number):
            break
        made = [part for part in message.parts if isinstance(part, ToolCall)]
        if not made:
            continue
        mark = digest(*(text for part in made for text in (part.name, _canonical(part))))
        if last is None:
            last = Calls(name=made[0].name, mark=mark, turn=digest(*(part.id for part in made)), run=0)
        elif mark != last.mark:
            break
        run += 1
    return None if last is None else msgspec.structs.replace(last, run=run)


def _speaks(messages: tuple[Message, ...], number: int) -> bool:
    """Whether a user's message says something new, and does not just go along with tool results."""
    before = messages[number - 1].role if number else ""
    after = messages[number + 1].role if number + 1 < len(messages) else ""
    if "tool" in (before, after):
        return False
    return any(isinstance(part, Text) for part in messages[number].parts)


def _canonical(part: ToolCall) -> str:
    """The arguments in one spelling, whatever the order of members and the blanks."""
    if part.custom:
        return part.arguments
    try:
        value: Any = msgspec.json.decode(part.arguments)
        return msgspec.json.encode(value, order="deterministic").decode()
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return part.arguments
