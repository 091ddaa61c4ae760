"""The last words that a model is asked to begin with, and what a repetition of words proves.

A text may repeat itself: equal items of a list, equal elements of an array, a refrain. If a continuation begins
with words that stand at the end of the text before, either the model repeats them or the text does. It is the
text only if something may begin in front of both copies: where the copy before began, and where the text broke
off. So a model is asked for words that begin within a sentence, where no item, line or element does.
"""

from __future__ import annotations

import re

from llm_router.domain import late

ANCHOR_CHARS = 80
"""About how much of the end a model is asked to repeat."""

ANCHOR_CHARS_MAX = 400

PROOF_MIN = 12
"""Fewer equal characters prove nothing."""

UNIT_MAX = 200
"""No text is taken to say more than this twice in a row."""

_NEAR = 4
"""Equal characters in front of what is repeated that may be so by chance."""

_CANDIDATES_MAX = 48
_STARTS = late.compile(r"\w+|[^\w\s]")


def plain(text: str) -> str:
    """The text with every run of white space made one blank."""
    return re.sub(r"\s+", " ", text)


def anchor(text: str) -> str:
    """The words at the end of a text that a model is to begin with; all of a short one.

    Of those that show where the joint is, the ones nearest to :data:`ANCHOR_CHARS` in length.
    """
    near = text[-ANCHOR_CHARS_MAX:]
    first = len(text) - len(near)
    starts = [first + found.start() for found in _STARTS.finditer(near)]
    by_length = sorted(starts, key=lambda at: abs(len(text) - at - ANCHOR_CHARS))
    words = [at for at in by_length if text[at].isalnum()]
    for at in (*words[:_CANDIDATES_MAX], *by_length[:_CANDIDATES_MAX]):
        if _shows_the_joint(text, at):
            return text[at:]
    return near


def is_too_little(text: str) -> bool:
    """Whether none of a text's last words show where the joint is: it is short, or says the same all the time.
    A model is asked to begin such an answer anew, and to begin it so."""
    return len(text) <= ANCHOR_CHARS_MAX and not _shows_the_joint(text, len(text) - len(anchor(text)))


def _shows_the_joint(text: str, at: int) -> bool:
    """Whether the words from a place on stand but once in the text, and can only be its own end."""
    words = text[at:]
    length = len(plain(words.rstrip()))
    if length < 2 * PROOF_MIN or (at and text[at - 1].isalnum() and text[at].isalnum()):
        return False
    if text.find(words) != at or words.find(words[:PROOF_MIN], 1) >= 0:
        return False
    return not any(may_be_said_twice(text, length, gap=gap, asked=True) for gap in ("", " ", "\n"))


def may_be_said_twice(text: str, length: int, *, gap: str = "", asked: bool = False) -> bool:
    """Whether a text may go on by saying its last words once more, or from within them on.

    Args:
        length: how many characters of the plain text are the last words, white space behind them aside.
        gap: white space that the continuation begins with.
        asked: the model was asked to repeat just these words: that is the likelier reason, and only a
            repetition from one likely place to another speaks against it.
    """
    words = text.rstrip()
    flat = _flat(words[-8 * UNIT_MAX :])
    start = len(flat) - length
    if start < 0 or length > UNIT_MAX:
        return False
    both = asked or (start == 0 and len(words) <= 8 * UNIT_MAX)
    flat += _flat(text[len(words) :])
    periods = [(flat, period, True) for period in _periods(flat[start:])]
    if gap and flat[-1].isspace():
        gap = ""
    return any(
        _repeats(said, period, both=each)
        for said, period, each in (
            (flat, len(flat) - start, both),
            (flat + _flat(gap), len(flat) + len(gap[:1]) - start, both),
            *periods,
        )
    )


def _repeats(flat: str, period: int, *, both: bool) -> bool:
    """Whether a text may go on by saying again what it said so many characters ago.

    It may if it does so already, or if a unit of it may begin where the repeated begins, and where it ends.
    """
    end = len(flat)
    same = 0
    while same < end - period and flat[end - period - same - 1] == flat[end - same - 1]:
        same += 1
    if same >= period:
        return True
    further = flat + flat[end - period :]
    for at in range(end - period - same, min(end - period - same + _NEAR, end) + 1):
        one, other = _may_begin(further[:at]), _may_begin(further[: at + period])
        if (one and other) if both else (one or other):
            return True
    return False


def _periods(text: str) -> list[int]:
    """All lengths by which a text can be shifted onto itself, shorter than itself."""
    fails = [0] * len(text)
    known = 0
    for at in range(1, len(text)):
        while known and text[at] != text[known]:
            known = fails[known - 1]
        known += text[at] == text[known]
        fails[at] = known
    found = list[int]()
    known = fails[-1] if fails else 0
    while known:
        found.append(len(text) - known)
        known = fails[known - 1]
    return found


def _may_begin(before: str) -> bool:
    """Whether a line, an item, a sentence or an element may begin behind a text."""
    words = before[-4:].rstrip(" \t")
    return not words or not words[-1].isalnum()


def _flat(text: str) -> str:
    """The plain text, with the ends of lines kept."""
    return re.sub(r"\s+", lambda found: "\n" if "\n" in found.group() else " ", text)


def raw_length(raw: str, length: int) -> int:
    """How many characters of the raw text stand for so many of the plain one."""
    seen, blank = 0, False
    for place, char in enumerate(raw):
        if char.isspace():
            seen += not blank
            blank = True
        else:
            seen += 1
            blank = False
        if seen > length:
            return place
    return len(raw)
