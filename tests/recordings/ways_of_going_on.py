"""How often a continuation that was asked for in words is taken, by the way in which the model goes on.

Every recorded stream of text is broken off at some places, and the rest is given in each of the ways in which models do
that. What the reader then has is the text as it was, or the error: anything else is counted as wrong. With figures::

    python tests/recordings/ways_of_going_on.py [CUTS OF A STREAM]
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Callable

from every_cut import streams, uncut, unfit
from kit import FOLDER

from llm_router.wire import chat
from llm_router.wire.continuing.anchor import anchor, is_too_little
from llm_router.wire.continuing.overlap import Diverged, Overlap

CUTS = 8
CHARS_MIN = 120
PIECE_CHARS = 7
_CURLY = str.maketrans({'"': "\u201d", "'": "\u2019", "\u201c": '"', "\u201d": '"', "\u2019": "'"})

Way = Callable[[str, str, str], str]
"""What a model says, of the text so far, the words that it was asked for, and the rest."""


def _second_half(last: str) -> str:
    """From the beginning of a word on."""
    found = re.search(r"(?<=\s)\S", last[len(last) // 2 :])
    return last if found is None else last[len(last) // 2 + found.start() :]


def _spaced(last: str) -> str:
    """With other white space between the words."""
    words = last.rstrip()
    return re.sub(r"\s+", "\n ", words) + last[len(words) :]


WAYS: dict[str, Way] = {
    "begins with the words that were asked for": lambda told, last, rest: last + rest,
    "begins with the second half of them": lambda told, last, rest: _second_half(last) + rest,
    "begins with them, in other white space": lambda told, last, rest: _spaced(last) + rest,
    "begins with them, in other quotes": lambda told, last, rest: last.translate(_CURLY) + rest,
    "says something before them": lambda told, last, rest: "Sure, continuing:\n\n" + last + rest,
    "begins with an ellipsis and them": lambda told, last, rest: "... " + last + rest,
    "begins with an ellipsis and the last three words": lambda told, last, rest: (
        "\u2026" + " ".join(told.split(" ")[-3:]) + rest
    ),
    "puts a fence around them and the rest": lambda told, last, rest: f"```\n{last}{rest}\n```",
    "goes on, and repeats nothing": lambda told, last, rest: rest,
    "says something, and goes on": lambda told, last, rest: "Here is the rest:\n\n" + rest,
    "begins anew": lambda told, last, rest: told + rest,
}


def texts() -> list[str]:
    """The answers of recorded streams that are text alone, and no JSON."""
    found = dict[str, None]()
    for recording in streams():
        if unfit(recording) is None:
            parts = uncut(recording, "openai_chat").choices[0].parts
            text = "".join(part.text for part in parts if isinstance(part, chat.Text))
            if len(text) >= CHARS_MIN and text.lstrip()[0] not in "{[":
                found[text] = None
    return list(found)


def went(told: str, said: str, rest: str) -> str:
    """``taken``, ``refused`` or ``wrong``."""
    overlap = Overlap(told, prompted=True)
    try:
        out = "".join(overlap.feed(said[at : at + PIECE_CHARS]) for at in range(0, len(said), PIECE_CHARS))
        out += overlap.close()
    except Diverged:
        return "refused"
    if out == f"{rest}\n```" and "```" in told:  # it ends a block that the answer had left open
        return "taken"
    return "taken" if out == rest else "wrong"


def measured(cuts: int = CUTS) -> tuple[int, dict[str, Counter[str]]]:
    """How many texts there were, and what became of each way."""
    found = {name: Counter[str]() for name in WAYS}
    every = texts()
    for text in every:
        for number in range(1, cuts + 1):
            told, rest = text[: (at := len(text) * number // (cuts + 1))], text[at:]
            last = anchor(told)
            if is_too_little(told) or not rest.strip():
                continue
            for name, way in WAYS.items():
                said = way(told, last, rest)
                if name == "begins with them, in other quotes" and said == last + rest:
                    continue
                found[name][went(told, said, rest)] += 1
    return len(every), found


def main() -> int:
    if not FOLDER.is_dir():
        print("The recordings are not beside the project: there is nothing to break off.")
        return 1
    count, found = measured(int(sys.argv[1]) if len(sys.argv) > 1 else CUTS)
    print(f"{count} texts")
    print("| the model | tried | taken | refused | wrong |\n|---|---|---|---|---|")
    for name, went_ in found.items():
        tried = went_.total()
        shares = " | ".join(f"{went_[how] / tried:.1%}" if tried else "" for how in ("taken", "refused"))
        print(f"| {name} | {tried} | {shares} | {went_['wrong']} |")
    return 1 if any(each["wrong"] for each in found.values()) else 0


if __name__ == "__main__":
    raise SystemExit(main())
