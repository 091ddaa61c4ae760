"""The command line's grammar. Kept free of imports that cost start-up time."""

from __future__ import annotations

from llm_router.cli.grammar import Parser, add_commands
from llm_router.cli.table import COMMANDS, GROUPS


def build_parser() -> Parser:
    """The parser of all commands of the table."""
    parser = Parser(
        prog="llm-router",
        description="One key and one API for 300+ language models.",
        epilog="Documentation: docs/cli.md and docs/configuration.md",
    )
    parser.add_argument("--version", action="store_true", help="print the version and exit")
    add_commands(parser, COMMANDS, GROUPS)
    return parser
