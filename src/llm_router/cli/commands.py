"""What each command does, and the one place where failures become words."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from importlib import import_module

from llm_router.cli.grammar import Command
from llm_router.cli.output import UNREADABLE, print_error
from llm_router.cli.table import BY_NAME
from llm_router.domain.errors import RouterError

FAILURE, USAGE, INTERRUPTED = 1, 2, 130


def run(arguments: argparse.Namespace) -> int:
    """Run a parsed command; explain its failure, if it fails, in one line that says what to do."""
    as_json = getattr(arguments, "json", False)
    try:
        return _command(arguments)(arguments)
    except RouterError as error:
        print_error(error.code, error.message, error.details, as_json=as_json)
        if error.code == UNREADABLE:
            return USAGE
    except BrokenPipeError:
        raise  # whoever read the output is gone: there is nobody to explain it to
    except OSError as error:
        print_error("system_error", _say_system_error(error), as_json=as_json)
    except KeyboardInterrupt:
        return INTERRUPTED
    return FAILURE


def _command(arguments: argparse.Namespace) -> Callable[[argparse.Namespace], int]:
    """What runs the command, loaded when it is needed."""
    command = command_of(arguments)
    if not command.run:
        from llm_router.cli.asking import run_operation

        return partial(run_operation, command)
    module, _, function = command.run.partition(":")
    found: Callable[[argparse.Namespace], int] = getattr(import_module(f"llm_router.cli.{module}"), function)
    return found


def command_of(arguments: argparse.Namespace) -> Command:
    """The row of a parsed command line."""
    action = getattr(arguments, "action", None)
    return BY_NAME[arguments.command if action is None else f"{arguments.command} {action}"]


def _say_system_error(error: OSError) -> str:
    where = f"{error.filename}: " if error.filename else ""
    return f"{where}{error.strerror or error}"
