"""Change the money code in small ways, and see whether a test notices.

    python tools/mutate.py [--mutants 200] [--minutes 10] [--seed 1] [MODULE ...]

A mutant is one module of billing/ or domain/ with one change: a comparison, an operator, a number, a word
of logic, min for max. Each is run in a process of its own against the tests of its module, then, if these
pass, against twenty seeds of the simulation. Prints the survivors and the rate.
"""

from __future__ import annotations

import argparse
import ast
import copy
import importlib.abc
import importlib.util
import os
import random
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "llm_router"
TIMEOUT_S = 40
SLOW = "not any_text_and_grows"

TESTS = {
    "domain.money": ("domain/test_money.py", "billing/test_ledger.py"),
    "domain.price": ("domain/test_price.py", "billing/test_meter.py", "billing/test_pricing.py"),
    "domain.usage": ("domain/test_usage.py", "billing/test_meter.py", "wire/test_usage_laws.py"),
    "billing.ledger": ("billing/test_ledger.py", "billing/test_budgets.py"),
    "billing.budgets": ("billing/test_budgets.py",),
    "billing.meter": ("billing/test_meter.py",),
    "billing.policy": ("billing/test_meter.py",),
    "billing.spans": ("billing/test_spans.py", "billing/test_budgets.py"),
    "billing.rollups": ("stores/test_budget_stores.py", "stores/test_ledger_verify.py"),
    "billing.estimate": ("billing/test_estimate.py",),
    "billing.pricing": ("billing/test_pricing.py",),
    "billing.rerate": ("stores/test_ledger_verify.py",),
    "billing.payments": ("billing/test_payments.py",),
    "billing.outputs": ("billing/test_outputs.py",),
}
"""The tests of each module."""

_COMPARE = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
}  # fmt: skip
_BINARY = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.FloorDiv,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult,
}
_NAMES = {"min": "max", "max": "min", "any": "all", "all": "any"}


def changed(node: ast.AST) -> ast.AST | None:
    """The node with its one change; None if it has none."""
    new: Any = copy.deepcopy(node)
    match new:
        case ast.Compare(ops=[op]) if type(op) in _COMPARE:
            new.ops = [_COMPARE[type(op)]()]
        case ast.BinOp(op=op) | ast.AugAssign(op=op) if type(op) in _BINARY:
            new.op = _BINARY[type(op)]()
        case ast.BoolOp():
            new.op = ast.Or() if isinstance(new.op, ast.And) else ast.And()
        case ast.UnaryOp(op=ast.Not() | ast.USub()):
            new = new.operand
        case ast.Constant(value=bool()):
            new.value = not new.value
        case ast.Constant(value=int()):
            new.value += 1
        case ast.IfExp():
            new.body, new.orelse = new.orelse, new.body
        case ast.Name(id=name) if name in _NAMES:
            new.id = _NAMES[name]
        case _:
            return None
    return new


class _Replace(ast.NodeTransformer):
    def __init__(self, number: int) -> None:
        self._left = number
        self.line = 0
        self.what = ""

    def visit(self, node: ast.AST) -> ast.AST:
        new = changed(node)
        if new is not None:
            if self._left == 0:
                self._left -= 1
                self.line = getattr(node, "lineno", 0)
                self.what = f"{ast.unparse(node)}  ->  {ast.unparse(new)}"
                return new
            self._left -= 1
        return self.generic_visit(node)


def places(tree: ast.AST) -> int:
    """How many changes a module has."""
    return sum(changed(node) is not None for node in ast.walk(tree))


def mutant(module: str, number: int) -> tuple[ast.AST, int, str]:
    """A module with its change of that number; the line and what was changed there."""
    tree = ast.parse((SOURCE / f"{module.replace('.', '/')}.py").read_text())
    replace = _Replace(number)
    new = ast.fix_missing_locations(replace.visit(tree))
    return new, replace.line, replace.what


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Gives the mutant in the place of the module."""

    def __init__(self, name: str, tree: ast.AST) -> None:
        self._name = name
        self._tree = tree

    def find_spec(self, name: str, path: Any, target: Any = None) -> Any:
        return importlib.util.spec_from_loader(name, self) if name == self._name else None

    def exec_module(self, module: Any) -> None:
        module.__file__ = str(SOURCE / "mutant.py")
        exec(compile(self._tree, "mutant.py", "exec"), module.__dict__)  # type: ignore[arg-type]


def survives(module: str, tree: ast.AST, tests: list[str]) -> bool:
    """Whether no test notices. Runs in a child of its own."""
    child = os.fork()
    if child == 0:
        os.setpgid(0, 0)
        quiet = os.open(os.devnull, os.O_WRONLY)
        os.dup2(quiet, 1)
        os.dup2(quiet, 2)
        signal.alarm(TIMEOUT_S)
        sys.meta_path.insert(0, _Finder(f"llm_router.{module}", tree))
        sys.dont_write_bytecode = True
        os.environ["SIMULATION_SEEDS"] = "20"
        import pytest

        code = 1
        try:
            options = ["-x", "-q", "-p", "no:cacheprovider", "-k", f"{SLOW} and not auditor and not replays"]
            code = int(pytest.main([*options, *tests]))
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    return status == 0


def chosen(modules: list[str], count: int, dice: random.Random) -> Iterator[tuple[str, int]]:
    """So many of all changes, spread over the modules."""
    every = [
        (module, number)
        for module in modules
        for number in range(places(ast.parse((SOURCE / f"{module.replace('.', '/')}.py").read_text())))
    ]
    yield from dice.sample(every, min(count, len(every)))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("modules", nargs="*", metavar="MODULE", help="domain.money and so on; default: all")
    parser.add_argument("--mutants", type=int, default=200)
    parser.add_argument("--minutes", type=float, default=60.0, help="try no more after so long")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    modules = arguments.modules or list(TESTS)
    os.chdir(ROOT)
    killed = tried = 0
    until_s = time.monotonic() + 60 * arguments.minutes
    for module, number in chosen(modules, arguments.mutants, random.Random(arguments.seed)):
        if time.monotonic() > until_s:
            break
        tree, line, what = mutant(module, number)
        tests = [f"tests/{name}" for name in TESTS[module]]
        alive = survives(module, tree, tests) and survives(module, tree, ["tests/proofs/test_simulation.py"])
        tried += 1
        killed += not alive
        if alive:
            print(f"survived: {module}:{line}  {what}", flush=True)
    print(f"{killed} of {tried} mutants were noticed ({100 * killed / max(1, tried):.1f} %)")


if __name__ == "__main__":
    main()
