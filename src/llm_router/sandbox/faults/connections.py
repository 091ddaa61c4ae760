"""Connections that break, and providers that are silent or slow."""

from __future__ import annotations

from llm_router.sandbox.faults.kind import Kind, Options, kind
from llm_router.sandbox.faults.steps import (
    Answer,
    Close,
    Pour,
    Reset,
    Send,
    Step,
    Wait,
    begun,
    end,
    middle,
    rest,
    sent,
    start,
    unclosed_start,
    whole,
)

READ_S = 0.2
"""What was sent is read before a reset, which throws away what is on its way."""

SLOW_S = 5.0
DRIP_BYTES = 7
"""Small enough to cut within characters, names and numbers."""


def _break(*, reset: bool) -> list[Step]:
    return [Wait(READ_S), Reset()] if reset else [Close()]


def _in_head(answer: Answer, reset: bool) -> list[Step]:
    data = start(answer).data
    return [Send(data[: len(data) * 2 // 3]), *_break(reset=reset)]


def _within_event(answer: Answer, options: Options) -> list[Step]:
    if not answer.streamed:
        return [start(answer), Send(answer.body[:-1]), Close()]
    at = min(middle(answer, options.events), len(answer.units) - 1)
    unit = answer.units[at]
    return [*begun(answer, at), sent(answer, unit[: len(unit) // 2]), *end(answer)]


def _truncated(answer: Answer, options: Options) -> list[Step]:
    """Sound HTTP around a part of the answer."""
    if answer.streamed:
        return [*begun(answer, options.events), *end(answer)]
    return whole(answer, [answer.body[: len(answer.body) // 2]])


def _without_last_event(answer: Answer, options: Options) -> list[Step]:
    return [*begun(answer, len(answer.units) - 1), *end(answer)]


def _without_last_chunk(answer: Answer, options: Options) -> list[Step]:
    """All of the answer, and no end of the transfer."""
    if answer.streamed:
        return [*begun(answer, len(answer.units)), Close()]
    headers = start(answer, ("transfer-encoding", "chunked"), without=("content-length",)).data
    lines = [line for line in headers.split(b"\r\n") if not line.startswith(b"content-length")]
    return [Send(b"\r\n".join(lines)), Send(b"%x\r\n%s\r\n" % (len(answer.body), answer.body)), Close()]


def _until_close(answer: Answer, options: Options) -> list[Step]:
    return [unclosed_start(answer), *(Send(unit) for unit in answer.units), Close()]


def _left_open(answer: Answer, options: Options) -> list[Step]:
    """The answer to its end marker, in a transfer that never ends."""
    if answer.streamed:
        return [*begun(answer, len(answer.units)), Wait(None)]
    return [unclosed_start(answer), Send(answer.body), Wait(None)]


def _drip(answer: Answer, options: Options) -> list[Step]:
    data = b"".join(step.data for step in whole(answer) if isinstance(step, Send))
    pieces: list[Step] = [Send(data[at : at + DRIP_BYTES]) for at in range(0, len(data), DRIP_BYTES)]
    return [*pieces, Close()]


def _silence(answer: Answer) -> bytes:
    """What says nothing in a reply of that kind."""
    name = answer.form.name
    if not answer.streamed or answer.json_array or name in ("bedrock", "ollama"):
        return b" \n"
    return b": still thinking\n\n"


def _keeps_alive(answer: Answer, options: Options) -> list[Step]:
    """A byte of nothing now and then, for ever."""
    beat: list[Step] = [Wait(1.0), sent(answer, _silence(answer))]
    headers = start(answer) if answer.streamed else unclosed_start(answer)
    return [headers, *beat * 600, Wait(None)]


KINDS: tuple[Kind, ...] = (
    Kind(
        name="refused",
        group="connection",
        about="Nobody listens: the connection is refused. For whole providers, always or `from_s` to `to_s`",
        make=lambda answer, options: [Reset()],
        door=True,
    ),
    kind("close", "connection", "The connection is closed instead of an answer", lambda a, o: [Close()]),
    kind("reset", "connection", "The connection is reset instead of an answer", lambda a, o: [Reset()]),
    kind(
        "close-in-head",
        "connection",
        "Closed within the headers of the answer",
        lambda a, o: _in_head(a, reset=False),
    ),
    kind(
        "reset-in-head",
        "connection",
        "Reset within the headers of the answer",
        lambda a, o: _in_head(a, reset=True),
    ),
    kind(
        "close-after-head",
        "connection",
        "Closed between the headers and the body",
        lambda a, o: [start(a), Close()],
    ),
    kind(
        "reset-after-head",
        "connection",
        "Reset between the headers and the body",
        lambda a, o: [start(a), Wait(READ_S), Reset()],
    ),
    kind(
        "close-in-body",
        "connection",
        "Closed in the middle of the body, after half of it or after `events` events",
        lambda a, o: [*begun(a, o.events), Close()],
        "events",
    ),
    kind(
        "reset-in-body",
        "connection",
        "Reset in the middle of the body, after half of it or after `events` events",
        lambda a, o: [*begun(a, o.events), Wait(READ_S), Reset()],
        "events",
    ),
    kind(
        "truncated",
        "connection",
        "The transfer ends in order, but half of the answer (or all after `events` events) is missing",
        _truncated,
        "events",
    ),
    kind(
        "truncated-in-event",
        "connection",
        "Ends within an event, in order; a whole reply lacks its last byte",
        _within_event,
        "events",
    ),
    kind(
        "no-last-event",
        "connection",
        "A stream without its last event: the end marker, where the form has one",
        _without_last_event,
        wholes=False,
    ),
    kind(
        "no-last-chunk",
        "connection",
        "The whole answer, but the transfer is closed without its end",
        _without_last_chunk,
    ),
    kind(
        "until-close",
        "connection",
        "A sound answer in the old way: no length, it ends with its connection",
        _until_close,
    ),
    kind(
        "silent", "time", "Half-open: the request is taken, and nothing ever comes", lambda a, o: [Wait(None)]
    ),
    kind(
        "silent-after-head",
        "time",
        "The headers come, and then nothing more",
        lambda a, o: [start(a), Wait(None)],
    ),
    kind(
        "stall",
        "time",
        "Silence in the middle of the body for `seconds`, then the rest; without `seconds` for ever",
        lambda a, o: [*begun(a, o.events), Wait(o.seconds), *rest(a, o.events)],
        "seconds",
        "events",
    ),
    kind(
        "slow-first-byte",
        "time",
        "A sound answer that begins late: after `seconds` (5)",
        lambda a, o: [Wait(o.seconds_or(SLOW_S)), *whole(a)],
        "seconds",
    ),
    kind(
        "slow-after-head",
        "time",
        "The headers come at once, the body late: after `seconds` (5)",
        lambda a, o: [start(a), Wait(o.seconds_or(SLOW_S)), *(sent(a, u) for u in a.units), *end(a)],
        "seconds",
    ),
    kind(
        "slow-events",
        "time",
        "A pause of `seconds` (5) before every event of a sound stream",
        lambda a, o: [
            start(a),
            *(step for u in a.units for step in (Wait(o.seconds_or(SLOW_S)), sent(a, u))),
            *end(a),
        ],
        "seconds",
        wholes=False,
    ),
    kind("drip", "time", f"A sound answer in packets of {DRIP_BYTES} bytes", _drip),
    kind(
        "keeps-alive",
        "time",
        "Comments (blanks in a whole reply) every second, and never an answer",
        _keeps_alive,
    ),
    kind(
        "left-open",
        "time",
        "The answer is complete, but the connection stays open without an end",
        _left_open,
    ),
    kind(
        "endless",
        "time",
        "The first part of the answer is repeated for ever; a whole reply never ends",
        lambda a, o: _endless(a),
    ),
)


def _endless(answer: Answer) -> list[Step]:
    if not answer.streamed:
        return [unclosed_start(answer), Send(answer.body[: len(answer.body) // 2]), Pour(b"x" * 65536)]
    at = len(answer.units) // 2
    return [*begun(answer, at), Pour(sent(answer, answer.units[at] * 20).data)]
