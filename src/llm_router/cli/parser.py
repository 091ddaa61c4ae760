"""The command line's grammar. Kept free of imports that cost start-up time."""

from __future__ import annotations

from llm_router.cli.grammar import Parser, add_commands
from llm_router.cli.table import COMMANDS, GROUPS


def build_parser(first: str = "") -> Parser:
    """The parser of all commands of the table; of those alone that begin with that word, if there are any.

    All of them take 40 ms to make, and 1 MB that a gateway would keep for good.
    """
    named = [command for command in COMMANDS if command.name.partition(" ")[0] == first]
    parser = Parser(
        prog="llm-router",
        description="One key and one API for 300+ language models.",
        epilog="Documentation: docs/cli.md and docs/configuration.md",
    )
    parser.add_argument("--version", action="store_true", help="print the version and exit")
    add_commands(parser, named or COMMANDS, GROUPS)
    return parser
