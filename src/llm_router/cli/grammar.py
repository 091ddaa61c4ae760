"""What a row of the table of commands is, and the parser that is made of the rows.

Kept free of imports that cost start-up time: ``--help`` and ``version`` need nothing else.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

SANDBOX = "the gateway of serve --sandbox, which has keys and credits of its own"


class Option(NamedTuple):
    """An argument of a command.

    Attributes:
        flags: ``--name``, or the name of a positional argument.
        help: for a terminal; more: for the documentation, where it says more.
        read: makes a value of the text. choices: what alone it may be.
        action: argparse's own word, such as ``store_true``.
        apart: options of a command with the same word here exclude each other.
        argument: what the operation calls it, where that is another word.
    """

    flags: str
    help: str
    more: str = ""
    metavar: str | None = None
    default: Any = None
    read: Callable[[str], Any] | None = None
    choices: tuple[str, ...] | None = None
    action: str | None = None
    required: bool = False
    nargs: str | None = None
    const: Any = None
    dest: str | None = None
    apart: str = ""
    argument: str | None = None

    @property
    def name(self) -> str:
        """Under which the parsed value stands."""
        return self.dest or self.flags.lstrip("-").replace("-", "_")


class View(NamedTuple):
    """How people see the result of an operation.

    Attributes:
        rows: the member that holds rows; "" shows the result itself, a line a member.
        columns: heads, each with the member of a row: ``("CREATED", "created")``.
        right: heads whose cells are set flush right.
        empty: what is said where there is no row.
    """

    rows: str
    columns: tuple[tuple[str, str], ...]
    empty: str
    right: frozenset[str] = frozenset()


class Command(NamedTuple):
    """A command.

    Attributes:
        name: its words. summary: what it does, in a line.
        run: ``module:function`` below :mod:`llm_router.cli`; "" runs the operation and shows its result.
        operation: what the gateway is asked for by it (:mod:`llm_router.engine.operations`).
        sandbox: what ``--sandbox`` means to it; None: it has no such flag.
        place: it takes ``--config`` and ``--data-dir``. json: it takes ``--json``.
        prints: what ``--json`` prints, for the documentation.
        view: of a result that is rows. done: what is said of one that is none, with its members in braces.
        fixed: arguments of the operation that are always the same.
    """

    name: str
    summary: str
    run: str = ""
    options: tuple[Option, ...] = ()
    operation: str = ""
    sandbox: str | None = SANDBOX
    place: bool = True
    json: bool = True
    prints: str = ""
    view: View | None = None
    done: str = ""
    fixed: Mapping[str, object] = {}

    @property
    def shared(self) -> tuple[str, ...]:
        """The flags that it has in common with others."""
        flags = ["--json"] * self.json + ["--config", "--data-dir"] * self.place
        return (*flags, *(["--sandbox"] if self.sandbox is not None else []))


class Parser(argparse.ArgumentParser):
    """A parser whose errors are JSON where the caller asked for JSON."""

    _words: Sequence[str] = ()

    def parse_known_args(  # type: ignore[override]  # the overloads of typeshed are about namespaces
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        self._words = sys.argv[1:] if args is None else args
        return super().parse_known_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        if "--json" in self._words:
            print(json.dumps({"error": {"code": "usage", "message": message}}))
        self.print_usage(sys.stderr)
        self.exit(2, f"llm-router: {message}\n")


_Commands = argparse._SubParsersAction  # the only name argparse has for it


def add_commands(parser: Parser, commands: Iterable[Command], groups: Mapping[str, str]) -> None:
    """Have a parser understand the commands. ``groups``: what is said of first words that have actions."""
    words = parser.add_subparsers(dest="command", metavar="COMMAND", parser_class=Parser)
    actions: dict[str, _Commands[Parser]] = {}
    for command in commands:
        first, _, second = command.name.partition(" ")
        if not second:
            made = words.add_parser(first, help=command.summary, description=_described(command))
            _fill(made, command)
            if first in groups:
                actions[first] = made.add_subparsers(dest="action", metavar="ACTION", parser_class=Parser)
            continue
        if first not in actions:
            group = words.add_parser(first, help=groups[first])
            actions[first] = group.add_subparsers(
                dest="action", metavar="ACTION", required=True, parser_class=Parser
            )
        leaf = actions[first].add_parser(second, help=command.summary, description=_described(command))
        _fill(leaf, command)


def _described(command: Command) -> str:
    return f"{command.summary[0].upper()}{command.summary[1:]}."


def _fill(parser: Parser, command: Command) -> None:
    if command.place:
        parser.add_argument("--config", type=Path, metavar="FILE", help="configuration file (TOML)")
        parser.add_argument("--data-dir", type=Path, metavar="DIR", help="folder of the gateway's data")
    if command.sandbox is not None:
        parser.add_argument("--sandbox", action="store_true", help=command.sandbox)
    if command.json:
        parser.add_argument("--json", action="store_true", help="print JSON, errors too")
    apart: dict[str, argparse._MutuallyExclusiveGroup] = {}
    for option in command.options:
        into: argparse._ActionsContainer = parser
        if option.apart:
            if option.apart not in apart:
                apart[option.apart] = parser.add_mutually_exclusive_group()
            into = apart[option.apart]
        into.add_argument(option.flags, **_settings(option))


def _settings(option: Option) -> dict[str, Any]:
    """What argparse is told of an option; what is not said is left to it."""
    given = (
        ("metavar", option.metavar),
        ("default", option.default),
        ("type", option.read),
        ("choices", option.choices),
        ("action", option.action),
        ("nargs", option.nargs),
        ("const", option.const),
        ("dest", option.dest),
        ("required", option.required or None),
    )
    return {"help": option.help, **{name: value for name, value in given if value is not None}}
