"""What arguments of commands are read as. Free of imports that cost start-up time."""

from __future__ import annotations

import argparse

CLIENTS = (
    "openai", "anthropic", "gemini", "claude-code", "codex", "gemini-cli", "opencode", "aider", "continue",
    "cursor", "litellm", "openclaw", "openclaw-skill", "curl", "langchain", "pydantic-ai",
)  # fmt: skip
"""Those that print-config knows; here, so that a wrong one is refused without loading anything."""

WORKERS_MAX = 256


def resamples(text: str) -> int:
    """
    Raises:
        ArgumentTypeError: not between 20 and 10,000.
    """
    if not text.isdigit() or not 20 <= int(text) <= 10_000:
        raise argparse.ArgumentTypeError("must be between 20 and 10000")
    return int(text)


def count(text: str) -> int:
    if text.isascii() and text.isdigit() and len(text) < 16:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is not a whole number")


def few(text: str) -> int:
    if text.isascii() and text.isdigit() and 1 <= int(text) <= 64:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 to 64")


def seconds(text: str) -> float:
    if text.isascii() and text.isdigit() and 1 <= int(text) <= 3600:
        return float(text)
    raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds from 1 to 3600")


def workers(text: str) -> int:
    if text.isascii() and text.isdigit() and 1 <= int(text[:4]) <= WORKERS_MAX:
        return int(text)
    raise argparse.ArgumentTypeError(f"must be a whole number from 1 to {WORKERS_MAX}")


def port(text: str) -> int:
    if text.isascii() and text.isdigit() and len(text) <= 5 and int(text) <= 65535:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is not a port from 0 to 65535")


def share(text: str) -> float:
    """
    Raises:
        ArgumentTypeError: not from 0 to 1.
    """
    try:
        found = float(text)
    except ValueError:
        found = -1.0
    if not 0 <= found <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a part from 0 to 1")
    return found


def names(text: str) -> tuple[str, ...]:
    """Names with commas between them."""
    return tuple(name.strip() for name in text.split(",") if name.strip())


def yes_no(text: str) -> bool:
    """
    Raises:
        ArgumentTypeError: neither yes nor no.
    """
    if text not in ("yes", "no"):
        raise argparse.ArgumentTypeError("must be yes or no")
    return text == "yes"
