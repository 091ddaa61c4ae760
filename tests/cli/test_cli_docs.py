"""docs/cli.md names every command and flag, and no other."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from pathlib import Path

from llm_router.cli.parser import build_parser

DOCS = Path(__file__).parents[2] / "docs" / "cli.md"


def _commands(parser: argparse.ArgumentParser, name: str = "") -> Iterator[tuple[str, set[str]]]:
    """Every command with its flags."""
    children = [a for a in parser._actions if isinstance(a, argparse._SubParsersAction)]
    for action in children:
        for word, child in action.choices.items():
            yield from _commands(child, f"{name} {word}".strip())
    flags = {option for action in parser._actions for option in action.option_strings} - {"-h", "--help"}
    same = [each for action in children if (each := action.choices.get("show")) is not None]
    if not children or (name and flags and all(flags - set(each._option_string_actions) for each in same)):
        yield name, flags


def _documented() -> dict[str, set[str]]:
    sections = re.split(r"^## ", DOCS.read_text(), flags=re.MULTILINE)[1:]
    found = {}
    for section in sections:
        title, _, body = section.partition("\n")
        command = title.strip().strip("`").removeprefix("llm-router ")
        found[command] = set(re.findall(r"`(--[a-z0-9-]+)`", body))
    return found


def _children(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    actions = [a for a in parser._actions if isinstance(a, argparse._SubParsersAction)]
    return {word: child for action in actions for word, child in action.choices.items()}


def _helps(parser: argparse.ArgumentParser) -> list[str]:
    return [parser.format_help(), *(child.format_help() for child in _children(parser).values())]


def test_every_command_and_flag_is_documented() -> None:
    assert _documented() == dict(_commands(build_parser()))


def test_the_parser_of_one_word_is_the_whole_one_without_the_others() -> None:
    whole = _children(build_parser())
    for first, parser in whole.items():
        (word,) = _children(build_parser(first)).items()
        assert (word[0], *_helps(word[1])) == (first, *_helps(parser))
    assert _children(build_parser("no-such-word")).keys() == whole.keys()
