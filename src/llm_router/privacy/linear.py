"""Regular expressions that take time proportional to the text, whatever they and the text are.

Python's own engine backtracks: ``(a+)+b`` keeps it busy for years with a line of text, and everybody with it. Patterns
that come from accounts are therefore run here: all of them together become one automaton of positions (V. M. Glushkov,
"The abstract theory of automata", 1961), whose states are made when they are first needed. There is no priority between
ways to match. What is asked is which characters stand in any match of any pattern: for redaction that is the safe side.

    first, follow, last ── which place of a pattern may take the next character, between two kinds of characters
    forward             ── places that a match which began somewhere before may have reached
    backward            ── those of them from which it comes to its end

Characters where both meet are part of a match. References back, conditions and looking around are not regular, and are
refused, as is what may match nothing at all.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

PLACES_MAX = 400
"""Of all patterns together: ``x{5}`` has five."""

ATOMS_MAX = 4000
"""Parts that are read of one pattern, those of copies too."""

REPEAT_MAX = 200
DEPTH_MAX = 40
PATTERN_CHARS_MAX = 500

STEPS_MAX = 400_000
"""States that are made for one text before it is given up: far more than texts of people need."""

MEMORY_MAX = 50_000
"""Steps that are remembered."""

_NONE, _WORD, _OTHER = range(3)
"""What stands beside a boundary: nothing, a character of a word, any other."""


class PatternError(ValueError):
    """It is no pattern that can be run; the message says why."""


class TooHard(Exception):
    """A text took more steps than it may."""


class _Node(NamedTuple):
    """Part of a pattern. ``kind``: place, edge, cat, alt, star (any times), maybe."""

    kind: str
    parts: tuple[_Node, ...] = ()
    at: int = 0
    edge: str = ""


class _Sets(NamedTuple):
    """Of a part, between two kinds of characters: whether it may be empty, and where it begins and ends."""

    empty: bool
    first: int
    last: int


_CLASS_ESCAPES = frozenset("dDwWsS")
_CHAR_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "f": "\f", "v": "\v", "0": "\0"}
_COUNT = re.compile(r"\{(\d{1,4})(,(\d{0,4}))?\}")


class _Parser:
    """Reads a pattern, and gives each place of it a number."""

    def __init__(self, text: str, tests: list[re.Pattern[str]], known: dict[tuple[str, bool], int]) -> None:
        if len(text) > PATTERN_CHARS_MAX:
            raise PatternError(f"it is longer than {PATTERN_CHARS_MAX} characters")
        self._folds = text.startswith("(?i)")
        self._text = text[4:] if self._folds else text
        self._at = 0
        self._depth = 0
        self._atoms = 0
        self._known = known
        self._tests = tests
        self.places: list[int] = []

    def read(self) -> _Node:
        node = self._either()
        if self._at < len(self._text):
            raise PatternError("it has a ) without a (")
        return node

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _either(self) -> _Node:
        parts = [self._row()]
        while self._peek() == "|":
            self._at += 1
            parts.append(self._row())
        return parts[0] if len(parts) == 1 else _Node("alt", tuple(parts))

    def _row(self) -> _Node:
        parts: list[_Node] = []
        while self._peek() not in ("", "|", ")"):
            began = self._at
            atom = self._atom()
            parts.append(self._repeated(atom, began))
        return parts[0] if len(parts) == 1 else _Node("cat", tuple(parts))

    def _repeated(self, atom: _Node, began: int) -> _Node:
        sign = self._peek()
        least, most = 1, 1
        if sign and sign in "*+?":
            self._at += 1
            least, most = {"*": (0, -1), "+": (1, -1), "?": (0, 1)}[sign]
        elif sign == "{":
            found = _COUNT.match(self._text, self._at)
            if found is None:
                raise PatternError("a { must begin a count such as {4} or {2,8}; else write \\{")
            self._at = found.end()
            least = int(found[1])
            most = least if found[2] is None else -1 if not found[3] else int(found[3])
            if max(least, most) > REPEAT_MAX or (most != -1 and most < least):
                raise PatternError(f"a count must be up to {REPEAT_MAX}, the lower number first")
        else:
            return atom
        if self._peek() == "?":  # which of several ways to match comes first makes no difference here
            self._at += 1
        if self._peek() and self._peek() in "*+?{":
            raise PatternError("a count follows a count")
        if atom.kind == "edge":
            raise PatternError("a ^, $ or \\b cannot be repeated")
        return self._copies(atom, began, least, most)

    def _copies(self, atom: _Node, began: int, least: int, most: int) -> _Node:
        """The atom so many times. Every copy is read anew, for it has places of its own."""
        ended = self._at
        used = False

        def copy() -> _Node:
            nonlocal used
            if not used:
                used = True
                return atom
            self._at = began
            return self._atom()

        parts = [copy() for _ in range(least)]
        if most == -1:
            parts.append(_Node("star", (copy(),)))
        else:
            parts += [_Node("maybe", (copy(),)) for _ in range(most - least)]
        self._at = ended
        return parts[0] if len(parts) == 1 else _Node("cat", tuple(parts))

    def _atom(self) -> _Node:
        self._atoms += 1
        if self._atoms > ATOMS_MAX:
            raise PatternError("it is too large, counts multiplied out")
        char = self._peek()
        self._at += 1
        match char:
            case "(":
                return self._group()
            case "[":
                return self._class()
            case "^" | "$":
                return _Node("edge", edge=char)
            case "\\":
                return self._escape()
            case "*" | "+" | "?" | "{":
                raise PatternError(f"nothing stands before {char}")
            case ".":
                return self._place(".")
            case _:
                return self._place(re.escape(char))

    def _group(self) -> _Node:
        if self._text.startswith("?:", self._at):
            self._at += 2
        elif self._peek() == "?":
            raise PatternError("of (?...) only (?:...) is known, and (?i) at its beginning")
        self._depth += 1
        if self._depth > DEPTH_MAX:
            raise PatternError(f"its groups are nested more than {DEPTH_MAX} times")
        node = self._either()
        self._depth -= 1
        if self._peek() != ")":
            raise PatternError("it has a ( without a )")
        self._at += 1
        return node

    def _escape(self) -> _Node:
        char = self._peek()
        if not char:
            raise PatternError("it ends in a single \\")
        self._at += 1
        if char in _CLASS_ESCAPES:
            return self._place(f"\\{char}")
        if char in "bBAZz":
            return _Node("edge", edge={"A": "^", "Z": "$", "z": "$"}.get(char, char))
        return self._place(re.escape(self._character(char)))

    def _character(self, char: str) -> str:
        """What an escape other than one for a class stands for."""
        digits = {"x": 2, "u": 4}.get(char)
        if digits is not None:
            code = self._text[self._at : self._at + digits]
            if not re.fullmatch(f"[0-9A-Fa-f]{{{digits}}}", code):
                raise PatternError(f"\\{char} must have {digits} hexadecimal digits")
            self._at += digits
            return chr(int(code, 16))
        if char in _CHAR_ESCAPES:
            return _CHAR_ESCAPES[char]
        if char.isalnum():
            raise PatternError(f"\\{char} is not known: references and names of groups are not regular")
        return char

    def _class(self) -> _Node:
        began = self._at - 1
        if self._peek() == "^":
            self._at += 1
        if self._peek() == "]":
            self._at += 1
        while self._peek() not in ("]", ""):
            self._at += 2 if self._peek() == "\\" else 1
        if self._peek() != "]":
            raise PatternError("it has a [ without a ]")
        self._at += 1
        return self._place(self._text[began : self._at].replace("[[", "[\\["))

    def _place(self, test: str) -> _Node:
        if len(self.places) > PLACES_MAX:
            raise PatternError(f"it has more than {PLACES_MAX} places, counts multiplied out")
        number = self._known.get((test, self._folds))
        if number is None:
            try:
                compiled = re.compile(test, re.IGNORECASE if self._folds else 0)
            except (re.error, FutureWarning, DeprecationWarning) as error:
                raise PatternError(f"{test} is no class of characters: {error}") from None
            number = self._known[test, self._folds] = len(self._tests)
            self._tests.append(compiled)
        self.places.append(number)
        return _Node("place", at=len(self.places) - 1)


def _shifted(node: _Node, by: int) -> _Node:
    return _Node(node.kind, tuple(_shifted(part, by) for part in node.parts), node.at + by, node.edge)


class Patterns:
    """Several patterns as one automaton.

    Raises:
        PatternError: one of them cannot be run.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        self._tests: list[re.Pattern[str]] = []
        known: dict[tuple[str, bool], int] = {}
        places: list[int] = []
        trees = []
        for text in texts:
            parser = _Parser(text, self._tests, known)
            try:
                tree = parser.read()
            except RecursionError:
                raise PatternError("it is nested too deeply") from None
            trees.append(_shifted(tree, len(places)))
            places += parser.places
            if len(places) > PLACES_MAX:
                raise PatternError(f"all together have more than {PLACES_MAX} places, counts multiplied out")
            if self._may_be_empty(tree):
                raise PatternError("it may match nothing at all")
        self._tree = _Node("alt", tuple(trees))
        self._places = places
        self._edges: dict[int, tuple[int, int, list[int], list[int]]] = {}
        self._matching: dict[str, int] = {}
        self._forward: dict[tuple[int, int, int], int] = {}
        self._backward: dict[tuple[int, int, int], int] = {}
        self._starter = self._starting()
        self._steps = 0

    def _may_be_empty(self, tree: _Node) -> bool:
        return any(_sets(tree, before, after, None).empty for before in range(3) for after in range(3))

    def _starting(self) -> re.Pattern[str] | None:
        """Finds a character with which a match may begin."""
        first = 0
        for between in range(9):
            first |= self._between(between)[0]
        tests = dict.fromkeys(self._tests[place] for at, place in enumerate(self._places) if first >> at & 1)
        if not tests:
            return None
        return re.compile("|".join(f"(?i:{t.pattern})" if t.flags & re.I else t.pattern for t in tests))

    def spans(self, text: str) -> Iterator[tuple[int, int]]:
        """The stretches of text that stand in matches, in their order.

        Raises:
            TooHard: it took too many steps.
        """
        self._steps = 0
        at = 0
        while self._starter is not None:
            found = self._starter.search(text, at)
            if found is None:
                return
            at = found.start()
            reached, ended = self._run(text, at)
            if ended:
                yield from self._covered(text, at, reached)
            at += max(1, len(reached))

    def _run(self, text: str, at: int) -> tuple[list[int], bool]:
        """The places that matches may have reached at each character from there on, until there is none, and whether
        any of them came to its end."""
        reached: list[int] = []
        ended, state, size = False, 0, len(text)
        before = _kind(text[at - 1]) if at else _NONE
        while at < size:
            char = text[at]
            kind = _kind(char)
            state = self._next(state, 3 * before + kind, char)
            if not state:
                break
            reached.append(state)
            at += 1
            after = _kind(text[at]) if at < size else _NONE
            ended = ended or bool(state & self._between(3 * kind + after)[1])
            before = kind
        return reached, ended

    def _covered(self, text: str, at: int, reached: list[int]) -> Iterator[tuple[int, int]]:
        """Of a stretch whose places are known, what stands in a match."""
        marks = bytearray(len(reached))
        state, size = 0, len(text)
        for index in range(len(reached) - 1, -1, -1):
            char = text[at + index]
            kind = _kind(char)
            after = _kind(text[at + index + 1]) if at + index + 1 < size else _NONE
            state = self._before(state, 3 * kind + after, char)
            if state & reached[index]:
                marks[index] = 1
        start = marks.find(1)
        while start != -1:
            end = marks.find(0, start)
            end = len(marks) if end == -1 else end
            yield at + start, at + end
            start = marks.find(1, end)

    def _next(self, state: int, between: int, char: str) -> int:
        matching = self._matches(char)
        key = (state, between, matching)
        found = self._forward.get(key)
        if found is None:
            first, _, follow, _ = self._between(between)
            found = first
            for at in _bits(state):
                found |= follow[at]
            found &= matching
            self._remember(self._forward, key, found)
        return found

    def _before(self, state: int, between: int, char: str) -> int:
        """The places that may take a character, with a match that comes to its end."""
        matching = self._matches(char)
        key = (state, between, matching)
        found = self._backward.get(key)
        if found is None:
            _, last, _, leading = self._between(between)
            found = last
            for at in _bits(state):
                found |= leading[at]
            found &= matching
            self._remember(self._backward, key, found)
        return found

    def _remember(
        self, memory: dict[tuple[int, int, int], int], key: tuple[int, int, int], found: int
    ) -> None:
        self._steps += 1
        if self._steps > STEPS_MAX:
            raise TooHard
        if len(memory) >= MEMORY_MAX:
            memory.clear()
        memory[key] = found

    def _matches(self, char: str) -> int:
        """The places that may take a character."""
        found = self._matching.get(char)
        if found is None:
            fits = [test.fullmatch(char) is not None for test in self._tests]
            found = sum(1 << at for at, place in enumerate(self._places) if fits[place])
            if len(self._matching) >= MEMORY_MAX:
                self._matching.clear()
            self._matching[char] = found
        return found

    def _between(self, between: int) -> tuple[int, int, list[int], list[int]]:
        """First and last places, what may follow each place, and what may lead to it, between two kinds of
        characters."""
        found = self._edges.get(between)
        if found is None:
            follow = [0] * len(self._places)
            sets = _sets(self._tree, between // 3, between % 3, follow)
            leading = [0] * len(self._places)
            for at, after in enumerate(follow):
                for next_ in _bits(after):
                    leading[next_] |= 1 << at
            found = self._edges[between] = (sets.first, sets.last, follow, leading)
        return found


def _sets(node: _Node, before: int, after: int, follow: list[int] | None) -> _Sets:
    """The sets of a part; what follows what is written down in ``follow``."""
    match node.kind:
        case "place":
            return _Sets(False, 1 << node.at, 1 << node.at)
        case "edge":
            return _Sets(_holds(node.edge, before, after), 0, 0)
        case "alt":
            found = [_sets(part, before, after, follow) for part in node.parts]
            first = last = 0
            for each in found:
                first, last = first | each.first, last | each.last
            return _Sets(any(each.empty for each in found), first, last)
        case "star" | "maybe":
            inner = _sets(node.parts[0], before, after, follow)
            if node.kind == "star":
                _link(inner.last, inner.first, follow)
            return _Sets(True, inner.first, inner.last)
        case _:
            whole = _Sets(True, 0, 0)
            for part in node.parts:
                each = _sets(part, before, after, follow)
                _link(whole.last, each.first, follow)
                whole = _Sets(
                    whole.empty and each.empty,
                    whole.first | (each.first if whole.empty else 0),
                    each.last | (whole.last if each.empty else 0),
                )
            return whole


def _link(last: int, first: int, follow: list[int] | None) -> None:
    if follow is not None:
        for at in _bits(last):
            follow[at] |= first


def _holds(edge: str, before: int, after: int) -> bool:
    """Whether a boundary is what the pattern asks for."""
    if edge == "^":
        return before == _NONE
    if edge == "$":
        return after == _NONE
    return ((before == _WORD) != (after == _WORD)) == (edge == "b")


def _kind(char: str) -> int:
    return _WORD if char.isalnum() or char == "_" else _OTHER


def _bits(mask: int) -> Iterator[int]:
    while mask:
        low = mask & -mask
        yield low.bit_length() - 1
        mask ^= low
