"""The command line: ``llm-router``. Start reading at :func:`main`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from llm_router import __version__

FAILURE, USAGE, INTERRUPTED = 1, 2, 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command. Return 0, 1 after a failure that was explained, 130 after Ctrl-C.

    A wrong command line leaves with status 2 (by SystemExit, as argparse does). A reader of the output
    that goes away ends the command without a word.
    """
    try:
        try:
            return _run(argv)
        finally:
            sys.stdout.flush()  # here, since at the interpreter's end a failure would be a traceback
    except OSError as error:
        from llm_router.cli.output import silence

        if not isinstance(error, BrokenPipeError):
            print(f"llm-router: the output cannot be written: {error.strerror or error}", file=sys.stderr)
        silence()
        return FAILURE


def _run(argv: Sequence[str] | None) -> int:
    words = sys.argv[1:] if argv is None else list(argv)
    if words[:1] == ["serve"]:  # before anything that takes time: a signal would end it
        from llm_router.adapters.signals import note

        note()
    from llm_router.cli.parser import build_parser

    parser = build_parser(words[0] if words else "")
    arguments = parser.parse_args(words)
    if arguments.version or arguments.command == "version":
        return _version(as_json=getattr(arguments, "json", False))
    if arguments.command is None:
        parser.print_help()
        return USAGE
    from llm_router.cli.commands import run  # everything else costs time to import

    return run(arguments)


def _version(*, as_json: bool) -> int:
    if as_json:
        import json
        import platform

        print(json.dumps({"version": __version__, "python": platform.python_version()}))
    else:
        print(f"llm-router {__version__}")
    return 0
