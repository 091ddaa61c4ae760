"""Requests for a dry run, read from lines of JSON: see :mod:`llm_router.engine.cases`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from llm_router.cli.output import UNREADABLE
from llm_router.domain.errors import InvalidRequest, NotFound
from llm_router.engine.cases import case_of_line
from llm_router.engine.dry_run import Case


def read_cases(file: str, embeds: Callable[[str], bool]) -> Iterator[Case]:
    """The requests of a file, or of standard input ("-").

    Args:
        embeds: whether a model is for embeddings only.

    Copies that shadows of experiments were given are no requests, and left out.

    Raises:
        NotFound: the file cannot be read.
        InvalidRequest: a line is no request; it is named.
    """
    try:
        data = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    except OSError as error:
        raise NotFound(f"{file}: {error.strerror}", code="no_file") from None
    for number, line in enumerate(data.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            case = case_of_line(line, embeds)
            if case is not None:
                yield case
        except (InvalidRequest, ArithmeticError, RecursionError, ValueError) as error:
            raise InvalidRequest(f"{file}, line {number}: {_what(error)}", code=UNREADABLE) from None


def _what(error: Exception) -> str:
    """What is wrong with a line. What cannot be decoded or converted is a ValueError of msgspec."""
    match error:
        case InvalidRequest():
            return error.message
        case RecursionError():
            return "its JSON is nested too deeply"
        case msgspec.ValidationError():
            return f"this is no request, explanation or exported row: {error}"
        case msgspec.DecodeError():
            return f"this is no JSON: {error}"
        case UnicodeError():
            return "its text is not Unicode"
        case _:
            return "it holds a number that no request, explanation or exported row comes to"
