"""Where a continuation really goes on: what it repeats of the text before it is taken off.

Models that are asked to go on do one of four things: they go on; they repeat the last words first (which is what
they are asked for, since it tells where the joint is); they begin anew; or they say something before ("Sure, here
is the rest:"). The first words are held back until it is known which. White space counts as equal, whatever it is.
"""

from __future__ import annotations

import re

MATCH_MIN = 12
"""Characters that must be equal to be a repetition, unless the whole text before is shorter."""

ANEW_MIN = 32
"""After so many characters like those of the beginning, an answer that then differs is another answer."""

PREAMBLE_MAX = 240
"""Characters that are held to see whether they are a preamble."""

_PREAMBLE = re.compile(
    r"\s*(?:sure|certainly|of course|okay|ok|absolutely|right|got it|understood|sorry|apologies|my apologies|"
    r"i apologi[sz]e|i'm sorry|here|continuing|continuation|to continue|picking up)\b[^\n]*?(?::|\n)\s*",
    re.IGNORECASE,
)
_SAYS_SO = re.compile(
    r"rest|continu|remain|left off|cut off|broke|interrupt|where (?:i|we)|apolog|sorry", re.IGNORECASE
)
_MAY_BE = re.compile(
    r"\s*(?:sure|certainly|of course|okay|ok|absolutely|right|got it|understood|sorry|apologies|my apologies|"
    r"i apologi[sz]e|i'm sorry|here|continuing|continuation|to continue|picking up)\b[^\n:]*\Z",
    re.IGNORECASE,
)
_WORDS = (
    "sure", "certainly", "of course", "okay", "ok", "absolutely", "right", "got it", "understood", "sorry",
    "apologies", "my apologies", "i apologize", "i apologise", "i'm sorry", "here", "continuing", "continuation",
    "to continue", "picking up",
)  # fmt: skip


class Diverged(Exception):
    """The continuation is another answer: it began anew and then said something else."""


def plain(text: str) -> str:
    """The text with every run of white space made one blank."""
    return re.sub(r"\s+", " ", text)


class Overlap:
    """Finds the joint. Pieces go in; what may be told comes out."""

    def __init__(self, before: str, *, prompted: bool, trimmed: bool = False) -> None:
        """
        Args:
            before: all the text that was told.
            prompted: the model was asked in words; otherwise its answer was begun for it, and at most the whole
                beginning is repeated.
            trimmed: the model was not given the white space at the end of the text before.
        """
        words = before.rstrip()
        self._before = plain(words)
        self._end = len(before) - len(words)  # white space that the client has already
        self._prompted = prompted
        self._trimmed = trimmed
        self._held = ""
        self._blank = self._end if not words else 0
        self.decided = not words

    def feed(self, text: str) -> str:
        """What of it may be told now.

        Raises:
            Diverged: it is another answer.
        """
        if self.decided:
            return self._unblanked(text)
        self._held += text
        return self._decide(last=False)

    def close(self) -> str:
        """The rest, when nothing more comes.

        Raises:
            Diverged: as :meth:`feed`.
        """
        return "" if self.decided else self._decide(last=True)

    def _decide(self, *, last: bool) -> str:
        held = self._held
        start = 0
        if self._prompted:
            if not last and len(held) < PREAMBLE_MAX and _may_be_preamble(held):
                return ""
            found = _PREAMBLE.match(held)
            if found is not None and _SAYS_SO.search(found.group()):
                start = found.end()
        body = plain(held[start:])
        before = self._before
        if not last and self._may_grow(body):
            return ""
        length = _repeated(before, body) if self._prompted else (len(before) if _echoes(before, body) else 0)
        if length:
            return self._tell(start + _raw_length(held[start:], length), matched=True)
        if self._prompted and _common(before, body) >= ANEW_MIN:
            raise Diverged
        return self._tell(start)

    def _may_grow(self, body: str) -> bool:
        """Whether more of it is needed to decide: all of it stands in the text before, so far."""
        if not body.strip():
            return True
        if not self._prompted:
            return len(body) < len(self._before) and self._before.startswith(body)
        return _undecided(self._before, body)

    def _tell(self, cut: int, *, matched: bool = False) -> str:
        self.decided = True
        rest, self._held = self._held[cut:], ""
        if matched or self._trimmed:
            self._blank = self._end
        return self._unblanked(rest)

    def _unblanked(self, text: str) -> str:
        """Text without the white space that the client has already."""
        if not self._blank or not text:
            return text
        known = 0
        while known < min(self._blank, len(text)) and text[known].isspace():
            known += 1
        self._blank = self._blank - known if known == len(text) else 0
        return text[known:]


def _undecided(before: str, body: str) -> bool:
    """Whether the body may still turn out to be a repetition that reaches to the end of the text before."""
    at = before.find(body)
    return at >= 0 and (len(body) < len(before) or at > 0)


def _repeated(before: str, body: str) -> int:
    """How many of the body's first characters repeat the last ones of the text before; 0: none."""
    for length in range(min(len(before), len(body)), min(MATCH_MIN, len(before)) - 1, -1):
        if before.endswith(body[:length]):
            return length
    return 0


def _echoes(before: str, body: str) -> bool:
    return len(before) >= MATCH_MIN and body.startswith(before)


def _common(before: str, body: str) -> int:
    """How many characters both begin with."""
    most = min(len(before), len(body))
    for place in range(most):
        if before[place] != body[place]:
            return place
    return most


def _may_be_preamble(held: str) -> bool:
    """Whether it begins as a preamble does, and its end has not come."""
    begun = held.lstrip().lower()
    return any(word.startswith(begun) for word in _WORDS) or _MAY_BE.match(held) is not None


def _raw_length(raw: str, length: int) -> int:
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
