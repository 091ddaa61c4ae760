"""How long an exchange may take: by the configuration, by its model, by its client's own word.

``x-request-timeout`` (seconds) and the header by which official SDKs tell their own timeout bound the whole
exchange, all attempts and pauses together. ``x-llm-router-timeouts`` bounds its parts:
``connect=2, first-byte=10, idle=20, whole=30, total=60``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import msgspec

from llm_router.domain.errors import InvalidRequest
from llm_router.ports import Deadlines

TOTAL_HEADERS = ("x-request-timeout", "x-stainless-timeout")
"""The first counts. The second is sent by OpenAI's and Anthropic's clients, in seconds, where they know it."""

PARTS_HEADER = "x-llm-router-timeouts"

REASONING_SILENCE_S = 300.0
"""How long a reasoning model may be silent in a stream: hidden thinking takes minutes."""

WHOLE_SHARE = 0.8
"""Of the time that is left, what a whole reply may take while another deployment may still be asked: its silence
is natural, so hardly any that would come is given up, and there is time for another where none comes."""

TOLD_S_MIN = 10
"""Google refuses shorter deadlines: https://github.com/livekit/agents/issues/3723"""

LEAST_S = 0.001
"""What is left of a deadline that has passed meanwhile."""

_SECONDS = re.compile(r"(\d{1,8}(?:\.\d{1,6})?) ?(ms|s)?", re.ASCII)
_PARTS = {
    "connect": "connect_s",
    "first-byte": "first_byte_s",
    "idle": "idle_s",
    "whole": "whole_s",
    "total": "total_s",
}


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """What the client says of the time that it has, in seconds; None where it says nothing."""

    connect_s: float | None = None
    first_byte_s: float | None = None
    idle_s: float | None = None
    whole_s: float | None = None
    total_s: float | None = None


NO_WISH = Wish()


def wish_of(headers: Mapping[str, str]) -> Wish:
    """What a request says in its headers.

    Raises:
        InvalidRequest: one of the gateway's own cannot be read.
    """
    total = parts = None
    for name in TOTAL_HEADERS:
        if total is None and name in headers:
            total = _seconds(headers[name])
            if total is None and name == TOTAL_HEADERS[0]:
                raise InvalidRequest(f"'{name}' must be seconds such as 30 or 2.5.", param=name)
    parts = headers.get(PARTS_HEADER)
    if parts is None:
        return NO_WISH if total is None else Wish(total_s=total)
    return _read_parts(parts, total)


def _read_parts(text: str, total_s: float | None) -> Wish:
    found: dict[str, float] = {} if total_s is None else {"total_s": total_s}
    said: set[str] = set()
    for pair in text.split(","):
        name, _, value = (word.strip().lower() for word in pair.partition("="))
        field, seconds = _PARTS.get(name.replace("_", "-")), _seconds(value)
        if field is None or seconds is None:
            raise InvalidRequest(
                f"'{PARTS_HEADER}' must be like 'connect=2, first-byte=10, idle=20, whole=30, total=60' (seconds; "
                "each may be left out).",
                param=PARTS_HEADER,
            )
        if field in said:
            raise InvalidRequest(f"'{PARTS_HEADER}' says '{name}' twice: say it once.", param=PARTS_HEADER)
        said.add(field)
        found[field] = seconds
    return Wish(**found)


def _seconds(text: str) -> float | None:
    """Seconds above 0; None if it is no such number."""
    found = _SECONDS.fullmatch(text.strip().lower())
    if found is None:
        return None
    seconds = float(found[1]) / (1000 if found[2] == "ms" else 1)
    return seconds if seconds > 0 else None


def total_of(base: Deadlines, wish: Wish) -> float:
    """Seconds that the whole exchange has."""
    return base.total_s if wish.total_s is None else min(wish.total_s, base.total_s)


def tighter(base: Deadlines, wish: Wish) -> bool:
    """Whether the client waits for less long than the configuration would: a timeout is then its own."""
    return (
        (wish.total_s is not None and wish.total_s < base.total_s)
        or (wish.first_byte_s is not None and wish.first_byte_s < base.first_byte_s)
        or (wish.idle_s is not None and wish.idle_s < base.idle_s)
        or (
            wish.whole_s is not None
            and wish.whole_s < (base.total_s if base.whole_s is None else base.whole_s)
        )
        or (wish.connect_s is not None and wish.connect_s < base.connect_s)
    )


def deadlines_of(
    base: Deadlines, wish: Wish, left_s: float, *, stream: bool, reasons: bool, others: bool = False
) -> Deadlines:
    """The deadlines of one call.

    A whole reply comes at its end, and a model that reasons is silent for minutes, so there the gaps are
    bounded by the time of the attempt, or by REASONING_SILENCE_S, unless the model's own configuration or the
    client says otherwise.

    Args:
        left_s: of the exchange's time.
        others: another deployment may still be asked, so that a whole reply may not take all that is left.
    """
    total_s = max(LEAST_S, min(base.total_s, left_s))
    first_s, idle_s = base.first_byte_s, base.idle_s
    if not stream:
        whole_s = wish.whole_s if wish.whole_s is not None else base.whole_s
        if whole_s is None and others:
            whole_s = total_s * WHOLE_SHARE
        total_s = first_s = idle_s = total_s if whole_s is None else min(whole_s, total_s)
    elif reasons:
        first_s = first_s if "first_byte_s" in base.own else max(first_s, REASONING_SILENCE_S)
        idle_s = idle_s if "idle_s" in base.own else max(idle_s, REASONING_SILENCE_S)
    if wish is not NO_WISH:
        first_s = _within(wish.first_byte_s, first_s, total_s)
        idle_s = _within(wish.idle_s, idle_s, total_s)
    connect_s = _within(wish.connect_s, base.connect_s, total_s)
    return Deadlines(
        connect_s=connect_s,
        first_byte_s=first_s,
        idle_s=idle_s,
        silence_s=max(first_s, idle_s, REASONING_SILENCE_S),
        total_s=total_s,
    )


def told(header: str | None, wish: Wish, due_us: int | None, now_us: int) -> dict[str, str]:
    """The client's deadline for a provider that takes one, so that it does not work on for nobody."""
    if header is None or wish.total_s is None or due_us is None:
        return {}
    return {header: str(max(TOLD_S_MIN, -((now_us - due_us) // 1_000_000)))}


def _within(wished_s: float | None, usual_s: float, total_s: float) -> float:
    return usual_s if wished_s is None else min(wished_s, total_s)
