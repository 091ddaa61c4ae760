"""Where a continuation really goes on: what it repeats of the text before it is taken off.

Models that are asked to go on do one of these: they repeat the last words first (which is what they are asked for,
since it tells where the joint is); they go on; they begin anew; they say something before ("Sure, here is the
rest:") or open the fence of a block of code once more. The first words are held back until it is known which. If
it cannot be known, nothing of it is told. White space counts as equal, whatever it is; and so do the forms of quotes and dashes, but in JSON.

    it begins with                                    it is
    what stands at the end, and only can be it        taken off
    what stands at the end, or could be said twice    not told: the model repeats, or the text does
    a preface, then the last words, or all of it      taken off, with the preface
    a preface, then anything else                     not told
    an ellipsis, a bullet, ... then the last words    taken off, if they are those that were asked for; else not told
    the first words of the answer, behind some others not told: it begins anew
    something that stands nowhere before              gone on with
    what resembles the text before, or an excuse      not told: another answer, or a word of the model's own
"""

from __future__ import annotations

import re
from collections.abc import Callable

from llm_router.domain import late
from llm_router.wire.continuing.anchor import (
    PROOF_MIN,
    anchor,
    may_be_said_twice,
    plain,
    raw_length,
)
from llm_router.wire.continuing.partial import JsonText, only_rest, same_value

HEARD_MIN = 16
"""So many first characters that stand in the text before are a likeness to it."""

WINDOW_CHARS = 400
"""Characters that are heard before a continuation that repeats nothing is told: the answer may begin anew in them."""

PREAMBLE_MAX = 240
"""Characters that are held to see whether they are a preamble."""

HELD_CHARS_MAX = 1024 * 1024
"""A continuation in JSON that only its end decides may be so long."""

_BORDERS_MAX = 64
_PREFACE_ENDS_MAX = 4
_EXCUSE = (
    r"(?:sure|certainly|of course|okay|ok|absolutely|right|got it|understood|sorry|apologies|my apologies|"
    r"i apologi[sz]e|i'm sorry|here|continuing|continuation|to continue|picking up)"
)
_PREAMBLE = late.compile(rf"\s*{_EXCUSE}\b[^\n]*?(?::|\n)\s*", re.IGNORECASE)
_PREFACE = late.compile(rf"\s*(?=[A-Z])(?i:{_EXCUSE})\b")
_PREFACE_ENDS = late.compile(r"[:.!?\u2014-]\s+|\n\s*")
_MAY_BE = late.compile(rf"\s*{_EXCUSE}\b[^\n:]*:?\Z", re.IGNORECASE)
_SAYS_SO = late.compile(
    r"rest|continu|remain|left off|cut off|broke|interrupt|where (?:i|we)|apolog|sorry", re.IGNORECASE
)
_WORDS = (
    "sure", "certainly", "of course", "okay", "ok", "absolutely", "right", "got it", "understood", "sorry",
    "apologies", "my apologies", "i apologize", "i apologise", "i'm sorry", "here", "continuing", "continuation",
    "to continue", "picking up",
)  # fmt: skip
_FENCE = late.compile(r"\s*(?:`{3,}|~{3,})[ \t]*([^\s`]*)[^\n`]*\n")
_MAY_BE_FENCE = late.compile(r"\s*(?:`{1,2}|~{1,2}|(?:`{3,}|~{3,})[^\n`]*)\Z")
_FENCES = late.compile(r"^ {0,3}(`{3,}|~{3,})[ \t]*([^\s`]*)[^\n`]*(?:\n|\Z)", re.MULTILINE)
_ELLIPSIS = late.compile(
    r"[\s\u200b-\u200d\ufeff]*(?:\.{2,}|\. \. \.|\u2026|[\[(]\s*(?:\.{2,}|\u2026|cont(?:'d|inued|inuing|inues)?\.?)\s*[\])])",
    re.IGNORECASE,
)
_MARKS = late.compile(
    r"(?:[\s\u200b-\u200d\ufeff\u2060\u00ad.\u2026\[\](){}\u2010-\u2015\-_*~`\"'\u2018-\u201f\u00ab\u00bb>#+|\u2022\u00b7:;,]"
    r"|cont(?:'d|inued|inuing|inues)?\b)*",
    re.IGNORECASE,
)
"""What a model may put in front of words that it says again."""
_TOKENS = late.compile(r"[\u3040-\u30ff\u3400-\u9fff]|[^\W_\u3040-\u30ff\u3400-\u9fff]+")
_UNSEEN = dict.fromkeys((0x200B, 0x200C, 0x200D, 0xFEFF, 0x2060, 0xAD))
_TOKENS_MAX = 12
_FIRST = late.compile(r"\W*\w{1,12}")
_FOLDED = str.maketrans("\u201c\u201d\u2018\u2019\u2013\u2014\u2026", "\"\"''--.")


class Diverged(Exception):
    """It cannot be told how the continuation joins: another answer, or one that says too little of where it begins."""


class Overlap:
    """Finds the joint. Pieces go in; what may be told comes out."""

    def __init__(
        self,
        before: str,
        *,
        prompted: bool,
        trimmed: bool = False,
        json: JsonText | None = None,
        anew: bool = False,
    ) -> None:
        """
        Args:
            before: all the text that was told.
            prompted: the model was asked in words; otherwise its answer was begun for it, and at most the whole
                beginning is repeated.
            trimmed: the model was not given the white space at the end of the text before.
            json: the answer is one JSON value, which was read so far.
            anew: the model was asked to begin the answer once more, so.
        """
        words = before.rstrip()
        self._raw = before
        self._words = words
        self._folds = json is None
        self._before = self._plain(words)
        self._end = len(before) - len(words)  # white space that the client has already
        self._prompted = prompted
        self._trimmed = trimmed
        self._json = json
        self._anew = anew
        self._asked = len(plain(anchor(before).strip())) if prompted and not anew else 0
        self._pieces: list[str] = []
        self._fit: _Fit | None = None  # where all that is held stands in the text before
        self._waits = False  # only the end of the JSON value decides
        self._size = 0
        self._until = 0  # so much is heard before it is looked at again
        self._blank = self._end if not words else 0
        self.decided = not words

    def feed(self, text: str) -> str:
        """What of it may be told now.

        Raises:
            Diverged: it is another answer, or it cannot be told whether it is.
        """
        if self.decided:
            return self._unblanked(text)
        self._pieces.append(text)
        self._size += len(text)
        if self._size > HELD_CHARS_MAX:
            raise Diverged
        if self._waits or self._size < self._until or (self._fit is not None and self._fit.grows(text)):
            return ""
        return self._decide(last=False)

    def close(self) -> str:
        """The rest, when nothing more comes.

        Raises:
            Diverged: as :meth:`feed`.
        """
        return "" if self.decided else self._decide(last=True)

    def _plain(self, text: str) -> str:
        """The text as it is compared: white space is all one, and so are the forms of quotes and dashes, but in
        JSON, whose syntax they are."""
        return plain(text.translate(_FOLDED) if self._folds else text)

    @property
    def _likened(self) -> str:
        return self._raw.translate(_FOLDED) if self._folds else self._raw

    def _held(self) -> str:
        self._pieces = ["".join(self._pieces)]
        return self._pieces[0]

    # -- decisions ---------------------------------------------------------------------------------

    def _decide(self, *, last: bool) -> str:
        held = self._held()
        if self._anew:
            return self._again(held, last=last)
        if not self._prompted:
            return self._begun(held, last=last)
        if not last and self._may_grow(held):
            return ""
        leads = _leads(held)
        for lead in leads:
            cut = self._joint(held[lead:], sure=lead > 0)
            if cut is not None and (lead or cut >= leads[-1] + PROOF_MIN or leads == [0]):
                if self._is_wrapped(held, lead, cut):
                    raise Diverged
                return self._tell(lead + cut, matched=True)
        if self._json is not None:
            return self._in_json(held, leads, last=last)
        marks = _MARKS.match(held)
        if marks is not None and marks.end() and (cut := self._as_asked(held[marks.end() :])) is not None:
            return self._tell(marks.end() + cut, matched=True)
        start = self._goes_on(held)
        if self._says_again(held, start):
            raise Diverged
        if not last and len(held) < start + WINDOW_CHARS:
            return self._listens(start)
        if _ELLIPSIS.match(held) or self._says_words_again(held[start:], 1):
            raise Diverged
        return self._tell(start)

    def _as_asked(self, said: str) -> int | None:
        """How much of it is just the words that were asked for; None if it does not begin with them."""
        asked = self._before[len(self._before) - self._asked :]
        begins = len(asked) >= 2 * PROOF_MIN and self._plain(said).startswith(asked)
        return raw_length(said, len(asked)) if begins else None

    def _says_words_again(self, said: str, least: int) -> bool:
        """Whether the first words, whatever stands in front of them and in whatever letters, are the last ones of
        the text before. ``least``: how many, where marks stand in front; without those two are."""
        marks = _MARKS.match(said)
        count = least if marks is not None and marks.group().strip() else max(least, 2)
        body = said[0 if marks is None else marks.end() :][:WINDOW_CHARS]
        words, known = _tokens(body)[:_TOKENS_MAX], _tokens(self._raw[-WINDOW_CHARS:])
        cut_off = self._raw[-1].isalnum()
        for size in range(count, min(len(words), len(known)) + 1):
            *whole, end = known[-size:]
            same = words[size - 1].startswith(end) if cut_off else words[size - 1] == end
            if same and words[: size - 1] == whole:
                return True
        return False

    def _listens(self, start: int = 0) -> str:
        """Tell nothing before the window is full."""
        self._until = start + WINDOW_CHARS
        return ""

    def _is_wrapped(self, held: str, lead: int, cut: int) -> bool:
        """Whether a fence stands before the joint that the text does not close: its end would be told."""
        if self._json is not None or not any(found.end() == lead for found in _FENCE.finditer(held[:lead])):
            return False
        return _open_fence(self._raw) is None or len(self._plain(held[lead : lead + cut])) >= len(
            self._before
        )

    def _says_again(self, held: str, start: int = 0) -> bool:
        """Whether the first words of the answer, or its last ones, stand somewhere in what was heard."""
        heard = _folded(self._plain(held[start : start + WINDOW_CHARS]))
        size = PROOF_MIN if self._prompted else 2 * PROOF_MIN
        first, last = _folded(self._before.lstrip()[:size]), _folded(self._before[-2 * PROOF_MIN :])
        if len(first) >= PROOF_MIN and first in heard:
            return True
        return self._prompted and len(last) >= 2 * PROOF_MIN and last in heard

    def _begun(self, held: str, *, last: bool) -> str:
        """What goes on behind an answer that was begun for the model: at most all of that is repeated."""
        body = self._plain(held.lstrip())
        before = self._before
        if not last and len(body) <= len(before) and before.startswith(body):
            return ""
        if len(before) < PROOF_MIN or not body.startswith(before):
            if self._says_again(held) or (self._raw[-1].isalnum() and _PREFACE.match(held)):
                raise Diverged
            if not last and len(held) < WINDOW_CHARS:
                return self._listens()
            if _ELLIPSIS.match(held) and self._says_words_again(held, 2):
                raise Diverged
            return self._tell(0)
        if may_be_said_twice(self._likened, len(before)):
            raise Diverged
        return self._tell(raw_length(held, len(before) + held[:1].isspace()), matched=True)

    def _again(self, held: str, *, last: bool) -> str:
        """What follows the beginning, in an answer that was asked for once more.

        Raises:
            Diverged: it begins otherwise.
        """
        for lead in _leads(held) if self._json is not None else (0, *_preambles(held)):
            body, before = self._plain(held[lead:].lstrip()), self._before.lstrip()
            if body.startswith(before) and (last or len(body) > len(before)):
                blank = held[lead : lead + 1].isspace()
                return self._tell(lead + raw_length(held[lead:], len(before) + blank), matched=True)
            if not last and before.startswith(body):
                return ""
        if not last and (len(held) < PREAMBLE_MAX and (_may_be_preamble(held) or _MAY_BE_FENCE.match(held))):
            return ""
        if self._json is None:
            raise Diverged
        if not last:
            self._waits = True
            return ""
        found = {rest for lead in _leads(held) for rest in only_rest(self._raw, self._json, held[lead:], ())}
        if len(found) != 1:
            raise Diverged
        self.decided = True
        return found.pop()

    def _may_grow(self, held: str) -> bool:
        """Whether more of it is needed to decide: all of it stands in the text before, so far."""
        if len(held) < PREAMBLE_MAX and (_may_be_preamble(held) or _MAY_BE_FENCE.match(held)):
            return True
        for lead in _leads(held):
            body = self._plain(held[lead:].lstrip())
            at = self._before.find(body)
            if at >= 0:
                self._fit = _Fit(self._before, at, body, self._plain) if body else None
                return True
        self._fit = None
        return False

    def _joint(self, said: str, *, sure: bool) -> int | None:
        """How much of it repeats the end of the text before; None if nothing does.

        Args:
            sure: it is told only if it is proven; otherwise what is not proven raises.

        Raises:
            Diverged: either it repeats the end, or the text says the same once more.
        """
        body = self._plain(said.lstrip())
        lengths = _borders(self._before, body)
        if lengths:
            length = self._asked if lengths[0] == self._asked or len(lengths) > 1 else lengths[0]
            gap = said[: len(said) - len(said.lstrip())]
            asked = length == self._asked
            if length == lengths[0] and (
                self._opens_again(said) or not may_be_said_twice(self._likened, length, gap=gap, asked=asked)
            ):
                return raw_length(said, length + said[:1].isspace())
        if sure or self._json is not None:
            return None
        if lengths or (
            _short_border(self._plain(self._raw), self._plain(said)) and not self._opens_again(said)
        ):
            raise Diverged
        return None

    def _opens_again(self, said: str) -> bool:
        """Whether it opens a block of code, in one that is open: no text does that."""
        fence = _FENCE.match(said)
        return fence is not None and bool(fence[1]) and _open_fence(self._raw) is not None

    def _goes_on(self, held: str) -> int:
        """Where that begins which goes on with the text and repeats nothing.

        Raises:
            Diverged: it seems to be something else.
        """
        start = 0
        fence = _FENCE.match(held)
        if fence is not None:  # a block of the text's, or one that is put around the rest
            if not self._opens_again(held):
                raise Diverged
            start = fence.end()
            self._joint(held[start:], sure=False)
        said = held[start:]
        if not said.strip() or self._is_other(said):
            raise Diverged
        return start

    def _is_other(self, said: str) -> bool:
        """Whether it resembles what was said before, or is no text of the answer."""
        found = _PREAMBLE.match(said)
        if _PREFACE.match(said) or (found is not None and _SAYS_SO.search(found.group())):
            return True
        body = self._plain(said)
        if len(body) >= HEARD_MIN and _folded(body[:HEARD_MIN]) in _folded(self._before):
            return True
        if said[0].isupper() and self._raw[-1].islower():
            return True  # nothing begins within a word
        first = _FIRST.match(self._before)
        if first is None:
            return False
        begun, word = _folded(body.lstrip()), _folded(first.group().lstrip())
        return begun.startswith(word) and not begun[len(word) : len(word) + 1].isalnum()

    def _in_json(self, held: str, leads: list[int], *, last: bool) -> str:
        """Go on with a JSON value: at once if it can be nothing else, else when all of it is there.

        Raises:
            Diverged: nothing, or several things, make it one value.
        """
        assert self._json is not None
        if last:
            return self._whole_json(held, leads)
        body = self._plain(held)
        doubt = (
            leads != [0]
            or _PREFACE.match(held) is not None
            or _ELLIPSIS.match(held) is not None
            or self._says_again(held)
            or bool(_borders(self._before, body.lstrip()))
            or _short_border(self._plain(self._raw), body)
            or body.lstrip()[:1] == self._before.lstrip()[:1]
            or _folded(body[:HEARD_MIN]) in _folded(self._before)
        )
        if not doubt and len(held) < WINDOW_CHARS:
            return self._listens()
        read = self._json.fork()
        read.feed(held)
        if doubt or read.broken:
            self._waits = True
            return ""
        return self._tell(0)

    def _whole_json(self, held: str, leads: list[int]) -> str:
        assert self._json is not None
        found = dict[object, str]()
        for lead in leads:
            said = held[lead:]
            cuts = (
                []
                if self._json.in_string and self._is_prefaced(held, leads)
                else [0, *_cuts(self._raw, said)]
            )
            for rest in only_rest(self._raw, self._json, said, cuts):
                found.setdefault(same_value(self._raw + rest), rest)
        if len(found) != 1:
            raise Diverged
        self.decided = True
        return next(iter(found.values()))

    def _is_prefaced(self, held: str, leads: list[int]) -> bool:
        """Whether the first words in a string may be the model's own, which no syntax shows."""
        if leads != [0] or _PREFACE.match(held) or _ELLIPSIS.match(held):
            return True
        first = _folded(self._before.lstrip()[:PROOF_MIN])
        return first in _folded(self._plain(held[1 : WINDOW_CHARS + 1]))

    # -- what is told ------------------------------------------------------------------------------

    def _tell(self, cut: int, *, matched: bool = False) -> str:
        self.decided = True
        rest, self._pieces = self._held()[cut:], []
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


class _Fit:
    """A place of the text before where the continuation so far stands; it is not read again for each piece."""

    def __init__(self, before: str, at: int, body: str, plainly: Callable[[str], str]) -> None:
        self._before = before
        self._plain = plainly
        self._end = at + len(body)
        self._blank = body.endswith(" ")

    def grows(self, text: str) -> bool:
        """Whether it stands there with a further piece too."""
        more = self._plain(text)
        if self._blank and more.startswith(" "):
            more = more[1:]
        if not self._before.startswith(more, self._end):
            return False
        self._end += len(more)
        self._blank = self._blank if not more else more.endswith(" ")
        return True


def _leads(held: str) -> list[int]:
    """Where the answer may begin: at once, or behind a preamble, a fence, or both."""
    found = [0, *_preambles(held)]
    for start in list(found):
        fence = _FENCE.match(held, start)
        if fence is not None:
            found.append(fence.end())
    return sorted(set(found))


def _preambles(held: str) -> list[int]:
    """The places at which a preface may end, the first one first."""
    found = _PREAMBLE.match(held)
    ends = {found.end()} if found is not None and _SAYS_SO.search(found.group()) else set[int]()
    begun = _PREFACE.match(held)
    if begun is not None:
        ends |= {each.end() for each in _PREFACE_ENDS.finditer(held, begun.end(), PREAMBLE_MAX)}
    fence = _FENCE.search(held)  # what a fence is put around ends with one
    known = len(held) if fence is None else fence.start()
    return [end for end in sorted(ends) if end <= known or not held[known:end].strip()][:_PREFACE_ENDS_MAX]


def _borders(before: str, body: str) -> list[int]:
    """How many of the body's first characters repeat the last ones of the text before: all lengths that prove
    something, the longest first. If there are too many, the text is nothing but repetition, and the first two
    stand for them."""
    if len(body) < PROOF_MIN:
        return []
    begun, found = body[:PROOF_MIN], list[int]()
    at = before.find(begun, max(0, len(before) - len(body)))
    while at >= 0 and len(found) < _BORDERS_MAX:
        if body.startswith(before[at:]):
            found.append(len(before) - at)
        at = before.find(begun, at + 1)
    return found


def _short_border(before: str, body: str) -> bool:
    """Whether it begins with the last few characters of the text before."""
    return any(before.endswith(body[:size]) for size in range(1, min(2 * PROOF_MIN, len(body) + 1)))


def _cuts(raw: str, said: str) -> list[int]:
    """All the ways in which it may repeat the end of the text, as characters of it that do."""
    lead = len(said) - len(said.lstrip())
    before, body = plain(raw), plain(said)
    found, end = list[int](), len(raw) - len(raw.rstrip())
    for length in _borders(before.rstrip(), body.lstrip()):
        cut = lead + raw_length(said[lead:], length)
        behind = said[cut : cut + end]
        found.append(cut + len(behind) - len(behind.lstrip()))
    sizes = [size for size in range(1, min(2 * PROOF_MIN, len(body) + 1)) if before.endswith(body[:size])]
    return found + [raw_length(said, size) for size in sizes]


def _open_fence(text: str) -> str | None:
    """The language of the block of code that is open at the end of a text, maybe ""; None if none is."""
    fence, language = "", ""
    for found in _FENCES.finditer(text):
        if not fence:
            if found.group().endswith("\n"):
                fence, language = found[1], found[2]
        elif found[1][0] == fence[0] and len(found[1]) >= len(fence) and not found[2]:
            fence = ""
    return language if fence else None


def _tokens(text: str) -> list[str]:
    """The words of a text, without case and marks; of scripts without blanks the characters."""
    return _TOKENS.findall(_folded(text.translate(_UNSEEN)))


def _folded(text: str) -> str:
    return text.casefold().translate(_FOLDED)


def _may_be_preamble(held: str) -> bool:
    """Whether it begins as a preamble does, and its end has not come."""
    begun = held.lstrip().lower()
    return any(word.startswith(begun) for word in _WORDS) or _MAY_BE.match(held) is not None
