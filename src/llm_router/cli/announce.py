"""What a starting gateway says, once: where it is, who may use it, and what to type next."""

from __future__ import annotations

import sys
from collections.abc import Iterator

from llm_router.domain.money import format_usd
from llm_router.settings import Announcement

_LABEL = 10
_SHOWN = 12
_QUESTION = "What is the capital of France?"
"""The first question: the small local model answers it rightly."""


def announce(announcement: Announcement) -> None:
    """Print it on standard output: styled on a terminal, plain elsewhere."""
    text = render(announcement)
    if not sys.stdout.isatty():
        print(text, flush=True)
        return
    from rich.console import Console

    console = Console(highlight=False, soft_wrap=True)
    console.print(_styled(text))


def render(announcement: Announcement) -> str:
    """The announcement as plain text."""
    return "\n".join(_lines(announcement))


def _lines(a: Announcement) -> Iterator[str]:
    yield ""
    yield f"LLM Router {a.version} answers at {a.url}/v1"
    yield ""
    yield from _key_lines(a)
    yield from _provider_lines(a)
    yield _line("Data", str(a.data_dir))
    if a.config is not None:
        yield _line("Config", str(a.config))
    for warning in a.warnings:
        yield _line("Warning", warning)
    if a.first_key is not None:
        yield ""
        yield from _curl_lines(a, a.first_key)
    yield ""


def _key_lines(a: Announcement) -> Iterator[str]:
    if a.setup_url is not None:
        yield _line("Set up", a.setup_url)
        yield _line("", "makes you its operator; good once, and for a day")
    if a.first_key is not None:
        credit = f" with ${format_usd(a.starting_pusd)} of credit" if a.starting_pusd else " without credit"
        yield _line("API key", a.first_key)
        yield _line("", f"your first key{credit}, shown this once; keep it")
        if not a.starting_pusd:
            yield _line("", f"give it some: llm-router credits add 5{_flags(a)}")
        return
    how = f"llm-router keys create --name NAME{_flags(a)}"
    if a.more_keys:
        yield _line("API keys", f"more than {a.keys} exist; another: {how}" if a.keys else f"another: {how}")
    elif a.keys:
        count = "1 exists" if a.keys == 1 else f"{a.keys} exist"
        yield _line("API keys", f"{count}; another: {how}")
    else:
        yield _line("API keys", f"none can be used; make one: {how}")


def _provider_lines(a: Announcement) -> Iterator[str]:
    if a.local is not None:
        suffix = f" ({a.local.note})" if a.local.note else ""
        yield _line("Local", f"{a.local.model} on this machine{suffix}, free of charge")
    if a.sandbox:
        count = a.models if a.local is None else a.models - 1
        answer = "model answers" if count == 1 else "models answer"
        yield _line("Sandbox", f"{count} {answer} from simulated providers; no provider is called")
        for at, rule in enumerate(a.faults):
            yield _line("" if at else "Faults", rule)
        if not a.data_dir_named:
            yield _line("", "keys and credits are the sandbox's own; for other commands add --sandbox")
        return
    if a.active:
        yield _line("Providers", f"{_some(a.active)}: {a.models} model{'' if a.models == 1 else 's'}")
        if a.switches:
            yield _line("", f"for more set {_some(a.switches)} and start again")
        return
    yield _line("Providers", "none is active, since no provider's key is set")
    if a.switches:
        yield _line("", f"set {_some(a.switches, 'or')} and start again")
    if a.local is None:
        yield _line("", "or start without any key:")
        yield _line("", "  llm-router serve --sandbox   simulated answers of every model")
        yield _line("", "  llm-router serve --local     a small real model on this machine")


def _curl_lines(a: Announcement, key: str) -> Iterator[str]:
    if a.example_model is None:
        yield f'  curl {a.url}/v1/models -H "Authorization: Bearer {key}"'
        return
    body = f'{{"model": "{a.example_model}", "messages": [{{"role": "user", "content": "{_QUESTION}"}}]}}'
    yield f"  curl {a.url}/v1/chat/completions \\"
    yield f'    -H "Authorization: Bearer {key}" -H "Content-Type: application/json" \\'
    yield f"    -d '{body}'"


def _flags(a: Announcement) -> str:
    """What other commands need to find this gateway."""
    import shlex

    config = f" --config {shlex.quote(str(a.config))}" if a.config_named else ""
    if a.data_dir_named:
        return f"{config} --data-dir {shlex.quote(str(a.data_dir))}"
    return f"{config} --sandbox" if a.sandbox else config


def _some(names: tuple[str, ...], word: str = "and") -> str:
    """``a, b and c``; the rest of many as a number."""
    shown = [*names[:_SHOWN], *([f"{len(names) - _SHOWN} more"] if len(names) > _SHOWN else [])]
    return f" {word} ".join(part for part in (", ".join(shown[:-1]), shown[-1]) if part)


def _line(label: str, text: str) -> str:
    return f"  {label.ljust(_LABEL)}{text}"


def _styled(text: str) -> object:
    """The plain text with labels dimmed, the title bold and warnings in colour."""
    from rich.text import Text

    styled = Text()
    for line in text.split("\n"):
        label = line[2 : 2 + _LABEL] if line.startswith("  ") else ""
        if line.startswith("LLM Router"):
            styled.append(line, style="bold")
        elif label.strip() == "Warning":
            styled.append(line, style="yellow")
        elif label.strip() == "API key":
            styled.append(line[: 2 + _LABEL], style="dim").append(line[2 + _LABEL :], style="bold green")
        elif line.lstrip().startswith(("curl ", "-H ", "-d ")):
            styled.append(line, style="cyan")
        else:
            styled.append(line[: 2 + _LABEL], style="dim").append(line[2 + _LABEL :])
        styled.append("\n")
    return styled
