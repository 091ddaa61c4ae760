"""Rules from a TOML file, or from the name of a preset."""

from __future__ import annotations

import difflib
import math
import re
import tomllib
from collections.abc import Iterable
from pathlib import Path

import msgspec

from llm_router.sandbox.faults.kind import Kind, Options
from llm_router.sandbox.faults.presets import PRESETS
from llm_router.sandbox.faults.registry import KINDS
from llm_router.sandbox.faults.rules import Faults, Known, Rule
from llm_router.settings.problems import ConfigError


class _Table(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A ``[[fault]]`` as it is written."""

    kind: str | list[str]
    provider: str | list[str] = []
    model: str | list[str] = []
    deployment: str | list[str] = []
    dialect: str | list[str] = []
    stream: bool | None = None
    share: float = 1.0
    every: int = 1
    first: int | None = None
    from_s: float = 0.0
    to_s: float = math.inf
    seconds: float | None = None
    events: int | None = None
    status: int | None = None


class _File(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    seed: int = 0
    fault: list[_Table] = []


class FaultPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What a file says."""

    rules: tuple[Rule, ...]
    seed: int = 0

    def begin(self, known: Known | None = None) -> Faults:
        """The faults of a sandbox that starts now."""
        return Faults(self.rules, seed=self.seed, known=known)


def load_faults(name: str) -> FaultPlan:
    """Read the file of that name, or the preset (``outage:openai``).

    Raises:
        ConfigError: there is neither, or the file is wrong; with every problem.
    """
    path = Path(name)
    if path.is_file():
        try:
            return read_faults(path.read_bytes().decode(), str(path))
        except OSError as error:
            raise ConfigError((f"{path}: {error.strerror or error}",)) from None
        except UnicodeDecodeError:
            raise ConfigError((f"{path}: it is not text in UTF-8",)) from None
    preset, _, provider = name.partition(":")
    if preset not in PRESETS:
        known = ", ".join(PRESETS)
        raise ConfigError((f"--faults {name}: there is no such file, and no such preset ({known})",))
    made = PRESETS[preset].toml
    wanted = f'provider = "{provider}"\n' if provider else ""
    return read_faults(made.replace("[[fault]]\n", f"[[fault]]\n{wanted}"), name)


def read_faults(text: str, name: str) -> FaultPlan:
    """Read the rules in a TOML text; ``name`` stands before what is wrong.

    Raises:
        ConfigError: with every problem.
    """
    try:
        file = msgspec.convert(tomllib.loads(text), _File)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError((f"{name}: {error}",)) from None
    except msgspec.ValidationError as error:
        raise ConfigError((f"{name}: {_said(str(error), text)}",)) from None
    problems = [
        f"{name}: fault {number}: {problem}"
        for number, table in enumerate(file.fault, 1)
        for problem in _problems(table)
    ]
    if problems:
        raise ConfigError(tuple(problems))
    return FaultPlan(rules=tuple(map(_rule, file.fault)), seed=file.seed)


_SHAPE = re.compile(r"Expected `([^`]+)`, got `([^`]+)` - at `\$\.?([^`]*)`")
_MISSING = re.compile(r"missing required field `([^`]+)`")
_PLACE = re.compile(r"fault\[(\d+)\]\.?")
_TYPES = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "str": "text",
    "array": "a list",
}


def _said(message: str, text: str) -> str:
    """What does not fit, where and at which line; of an unknown key the nearest that exists."""
    place = _PLACE.search(message)
    number = None if place is None else int(place[1]) + 1
    where = "" if number is None else f"line {_line_of(text, number)}: fault {number}: "
    if "unknown field `" in message:
        key = message.split("`")[1]
        known = _File.__struct_fields__ if place is None else _Table.__struct_fields__
        near = difflib.get_close_matches(key, known, 1)
        return f"{where}unknown key {key!r}" + (f"; nearest: {near[0]}" if near else "")
    if (missing := _MISSING.search(message)) is not None:
        return f"{where}'{missing[1]}' is missing"
    shape = _SHAPE.search(message)
    if shape is None:
        return where + message
    wanted, found = (" or ".join(_TYPES.get(w, w) for w in said.split(" | ")) for said in shape.groups()[:2])
    member = _PLACE.sub("", shape[3]) or "a rule"
    return f"{where}{member} must be {wanted.replace(' or null', '')}, found {found}"


def _line_of(text: str, number: int) -> int:
    """The line at which a rule begins."""
    lines = [at for at, line in enumerate(text.splitlines(), 1) if line.strip().startswith("[[fault]]")]
    return lines[number - 1] if number <= len(lines) else 1


def _names(value: str | list[str]) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value)


def _problems(table: _Table) -> Iterable[str]:
    names = _names(table.kind)
    if not names:
        yield "kind names none"
    for name in names:
        if name not in KINDS:
            near = difflib.get_close_matches(name, KINDS, 3)
            yield f"there is no kind {name!r}" + (f"; nearest: {', '.join(near)}" if near else "")
    kinds = [KINDS[name] for name in names if name in KINDS]
    yield from _option_problems(table, kinds)
    if not 0 <= table.share <= 1:
        yield "share is from 0 to 1"
    if table.every < 1:
        yield "every is 1 or more"
    if table.first is not None and table.first < 1:
        yield "first is 1 or more"
    if not 0 <= table.from_s < table.to_s:
        yield "from_s is 0 or more, and less than to_s"
    if any(kind.door for kind in kinds):
        yield from _door_problems(table, kinds)


def _option_problems(table: _Table, kinds: list[Kind]) -> Iterable[str]:
    for option in ("seconds", "events", "status"):
        value = getattr(table, option)
        if value is not None and kinds and not any(option in kind.takes for kind in kinds):
            yield f"{option} is not read by {' and '.join(kind.name for kind in kinds)}"
    if table.seconds is not None and not 0 <= table.seconds <= 86_400:
        yield "seconds is from 0 to 86400"
    if table.events is not None and table.events < 0:
        yield "events is 0 or more"
    if table.status is not None and not 400 <= table.status <= 599:
        yield "status is from 400 to 599"


def _door_problems(table: _Table, kinds: list[Kind]) -> Iterable[str]:
    """What is refused is never seen, so nothing of it can be counted or matched."""
    if len(kinds) > 1:
        yield "refused stands alone"
    usual = (table.model, table.deployment, table.dialect) == ([], [], []) and table.stream is None
    if not usual or table.share != 1 or table.every != 1 or table.first is not None:
        yield "refused takes provider, from_s and to_s alone: who is refused has not said anything yet"
    if any(set(name) & set("*?[") for name in _names(table.provider)):
        yield "refused takes whole names of providers, no patterns"


def _rule(table: _Table) -> Rule:
    return Rule(
        kinds=tuple(KINDS[name] for name in _names(table.kind)),
        options=Options(seconds=table.seconds, events=table.events, status=table.status),
        providers=_names(table.provider),
        models=_names(table.model),
        deployments=_names(table.deployment),
        dialects=_names(table.dialect),
        stream=table.stream,
        share=table.share,
        every=table.every,
        first=table.first,
        from_s=table.from_s,
        to_s=table.to_s,
    )
