"""The table of commands fits the operations that the gateway runs, and everything that it names is there."""

from __future__ import annotations

import re
from importlib import import_module

import msgspec
import pytest

from llm_router.cli.grammar import Command
from llm_router.cli.table import COMMANDS
from llm_router.engine.operations import OPERATIONS

PLAIN = [command for command in COMMANDS if not command.run and command.operation]


def test_every_command_runs_something() -> None:
    for command in COMMANDS:
        if command.run:
            module, _, function = command.run.partition(":")
            assert callable(getattr(import_module(f"llm_router.cli.{module}"), function))
        else:
            assert command.operation or command.name == "version"


def test_every_operation_has_a_command_and_the_other_way_round() -> None:
    named = {command.operation for command in COMMANDS if command.operation}
    assert named - set(OPERATIONS) == set()
    assert set(OPERATIONS) - named == set()


@pytest.mark.parametrize("command", PLAIN, ids=[command.name for command in PLAIN])
def test_the_arguments_of_a_plain_command_are_those_of_its_operation(command: Command) -> None:
    kind = OPERATIONS[command.operation][0]
    named = {option.argument or option.name for option in command.options} | set(command.fixed)
    assert named <= set(kind.__struct_fields__)
    needed = {field.name for field in msgspec.structs.fields(kind) if field.required}
    assert needed <= named


@pytest.mark.parametrize("command", PLAIN, ids=[command.name for command in PLAIN])
def test_a_plain_command_shows_its_result(command: Command) -> None:
    assert (command.view is None) != (command.done == "")
    assert re.findall(r"\{(\w*)\}", command.done) == re.findall(r"\{(\w+)\}", command.done)
