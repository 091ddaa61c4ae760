"""A tokenizer for the simulation: up to four letters a token, a mark is a token of its own.

It is nobody's real vocabulary, but it behaves like one: pieces join to the text, and counts are
near what real tokenizers give for English.
"""

from __future__ import annotations

import re

_PIECE = re.compile(r"\s?(?:\w{1,4}|[^\w\s])|\s+")


def pieces(text: str) -> list[str]:
    """The tokens of a text; joined, they are the text."""
    return _PIECE.findall(text)


def count(text: str) -> int:
    """How many tokens a text has."""
    return sum(1 for _ in _PIECE.finditer(text))


def words(text: str) -> list[str]:
    """The text cut before each blank or line end that begins a word: what one stream event carries."""
    found: list[str] = []
    for piece in pieces(text):
        if found and not piece[0].isspace():
            found[-1] += piece
        else:
            found.append(piece)
    return found
