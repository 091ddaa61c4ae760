#!/usr/bin/env python3
"""Write what docs/cli.md says of the commands' arguments: from the table that the command line itself is made of.

    python tools/cli_page.py           print the page
    python tools/cli_page.py --write   write docs/cli.md

What stands between the marks is written anew; the words around them are kept. A command without a section
gets one.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from llm_router.cli.grammar import SANDBOX, Command, Option
from llm_router.cli.table import BY_NAME, COMMANDS

PAGE = Path(__file__).parent.parent / "docs" / "cli.md"
COMMANDS_MARK, OPTIONS_MARK, END_MARK = "<!-- commands -->", "<!-- options -->", "<!-- end -->"

_MARKED = re.compile(rf"\n*({COMMANDS_MARK}|{OPTIONS_MARK})\n.*?{END_MARK}\n*", re.DOTALL)


def page() -> str:
    """The whole page."""
    head, *sections = re.split(r"^## ", PAGE.read_text(), flags=re.MULTILINE)
    told = {}
    for section in sections:
        title, _, body = section.partition("\n")
        name = title.strip().strip("`").removeprefix("llm-router ")
        told[name] = _MARKED.sub("\n", body).strip()
    gone = [name for name in told if name not in BY_NAME]
    if gone:
        sys.exit(f"docs/cli.md tells of commands that there are not: {', '.join(gone)}")
    parts = [_MARKED.sub("\n", head).strip(), _marked(COMMANDS_MARK, _overview())]
    for name in [*told, *(c.name for c in COMMANDS if c.name not in told and _runs(c))]:
        command = BY_NAME[name]
        parts.append(f"## `llm-router {name}`")
        parts.append(told.get(name) or f"{command.summary[0].upper()}{command.summary[1:]}.")
        parts.append(_marked(OPTIONS_MARK, _options(command)))
    return "\n\n".join(parts) + "\n"


def _runs(command: Command) -> bool:
    """Whether it has a section: the short form of another has none."""
    return f"{command.name} show" not in BY_NAME or " " in command.name


def _marked(mark: str, lines: list[str]) -> str:
    return "\n".join([mark, *lines, END_MARK])


def _overview() -> list[str]:
    rows = [
        f"| [`{c.name}`](#llm-router-{c.name.replace(' ', '-')}) | {c.summary} |"
        for c in COMMANDS
        if _runs(c)
    ]
    return ["| command | what it does |", "|---|---|", *rows]


def _options(command: Command) -> list[str]:
    own = {"--json": command.prints, "--sandbox": "" if command.sandbox == SANDBOX else command.sandbox}
    shared = ", ".join(f"`{flag}`" for flag in command.shared if not own.get(flag))
    rows = [f"| {_flag(option)} | {option.more or _said(option)} |" for option in command.options]
    rows += [f"| `{flag}` | {meaning} |" for flag, meaning in own.items() if meaning]
    if not rows:
        return [f"Flags: {shared}." if shared else "It has no flags."]
    if shared:
        rows.append(f"| {shared} | [as everywhere](#command-line) |")
    return ["| flag | meaning |", "|---|---|", *rows]


def _flag(option: Option) -> str:
    return (
        f"`{option.flags}`"
        if option.flags.startswith("--")
        else f"`{option.metavar or option.flags.upper()}`"
    )


def _said(option: Option) -> str:
    text = option.help.replace("|", "\\|")
    return f"{text}; needed" if option.required else text


if __name__ == "__main__":
    if "--write" in sys.argv[1:]:
        PAGE.write_text(page())
    else:
        print(page(), end="")
