"""``llm-router print-config``: what a client needs to use this gateway."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from llm_router.cli.client_configs import RENDERERS, Setup
from llm_router.cli.output import note, print_table
from llm_router.domain.errors import InvalidRequest

KEY_ENV = "LLM_ROUTER_API_KEY"

FAMILIES = {"anthropic": "Claude", "claude-code": "Claude", "gemini": "Gemini", "gemini-cli": "Gemini"}
"""Clients that expect the models of one family; all others get one of the GPT family, if there is any."""

USUAL = {"claude-code": "sonnet"}
"""A word in the name of the model that a client works with by itself."""

FAST = re.compile(r"haiku|luna|nano|mini|lite|flash")
"""Words in the names of models for small tasks."""

_VERSION = re.compile(
    r"(?<![0-9.])([0-9]{1,2})(?:[.-]([0-9]{1,2})(?![0-9]|[bkm]\b))?(?![0-9]|[bkm]\b|\.[0-9])"
)

_USES = {
    "openai": ("sh", "OpenAI's SDKs, and what is built on them"),
    "anthropic": ("sh", "Anthropic's SDKs"),
    "gemini": ("sh", "Google's Gen AI SDKs"),
    "claude-code": ("sh", "Claude Code"),
    "codex": ("TOML", "Codex, ~/.codex/config.toml"),
    "gemini-cli": ("sh", "Gemini CLI"),
    "opencode": ("JSON", "OpenCode, opencode.json"),
    "aider": ("sh", "Aider"),
    "continue": ("YAML", "Continue, ~/.continue/config.yaml"),
    "cursor": ("YAML", "Cursor, to be typed into its settings"),
    "litellm": ("YAML", "LiteLLM's proxy, config.yaml"),
    "openclaw": ("JSON", "OpenClaw's models, ~/.openclaw/openclaw.json"),
    "openclaw-skill": ("JSON", "OpenClaw's skill of this project, ~/.openclaw/openclaw.json"),
    "curl": ("sh", "a first question"),
    "langchain": ("Python", "LangChain"),
    "pydantic-ai": ("Python", "Pydantic AI"),
}


def print_config(arguments: argparse.Namespace) -> int:
    """The configuration alone on standard output, notes on standard error.

    Raises:
        RouterError: a value cannot be used, or the gateway's settings have problems.
    """
    if arguments.client is None:
        print_table(("CLIENT", "FORMAT", "FOR"), [(name, *_USES[name]) for name in RENDERERS])
        return 0
    config = RENDERERS[arguments.client](_setup(arguments))
    print(config.text)
    for line in config.notes:
        note(line)
    return 0


def _setup(arguments: argparse.Namespace) -> Setup:
    for name in ("base_url", "key", "model"):
        text = getattr(arguments, name)
        if text is not None and (not text or not text.isprintable() or " " in text):
            raise InvalidRequest(f"--{name.replace('_', '-')} must be one word of printable characters")
    key_env = arguments.key_env or KEY_ENV
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", key_env):
        raise InvalidRequest(f"--key-env takes the name of a variable, such as {KEY_ENV}")
    entries = _entries(arguments)
    family, word = FAMILIES.get(arguments.client, "GPT"), USUAL.get(arguments.client, "")
    model = arguments.model or _default(entries, family, fast=False, word=word)
    fast = arguments.model or _default(entries, family, fast=True)
    return Setup(
        root=_root(arguments),
        key=arguments.key,
        key_env=key_env,
        model=model,
        fast=fast,
        entry=next((entry for entry in entries if entry["id"] == model), {}),
    )


def _root(arguments: argparse.Namespace) -> str:
    """The address without ``/v1``: the one given, else where the settings make the gateway listen."""
    if arguments.base_url is not None:
        text: str = arguments.base_url if "://" in arguments.base_url else f"http://{arguments.base_url}"
        return text.rstrip("/").removesuffix("/v1").rstrip("/")
    from llm_router.cli.world import find_place

    server = find_place(arguments).server
    host = "127.0.0.1" if server.host in ("0.0.0.0", "::", "") else server.host  # noqa: S104
    return f"http://{f'[{host}]' if ':' in host else host}:{server.port}"


def _entries(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """The models that can be called at the gateway of the settings; all, where none can."""
    from llm_router.cli.world import run_command

    page: dict[str, Any] = run_command(arguments, "models", {})
    listed = [e for e in page["data"] if e["status"] != "shutdown" and _chats(e)]
    return [e for e in listed if e["available"]] or listed


def _chats(entry: dict[str, Any]) -> bool:
    return "text" in entry["architecture"]["output_modalities"] and bool(entry["capabilities"]["tools"])


def _default(entries: Sequence[dict[str, Any]], family: str, *, fast: bool, word: str = "") -> str:
    """The newest model of the family that is no preview: a small one, or one that is not.

    The newest is that of the highest version in its name, since that is known of each; among those of
    one version the latest by its release date, then the most able.

    Raises:
        InvalidRequest: there is no model at all.
    """
    active = [e for e in entries if e["status"] == "active"] or list(entries)
    found = [e for e in active if e["family"] == family] or active
    found = [e for e in found if bool(FAST.search(e["id"])) == fast] or found
    found = [e for e in found if word in e["id"]] or found
    if not found:
        raise InvalidRequest("the gateway has no model that can chat; say one with --model NAME")
    return str(max(found, key=_newness)["id"])


def _newness(entry: dict[str, Any]) -> tuple[Decimal, str, int, str]:
    return version_of(entry["id"]), entry["released"] or "", entry["quality_tier"] or 0, entry["id"]


def version_of(id_: str) -> Decimal:
    """The version in a model's name: 6.1 of ``gpt-6.1-sol``, 5.5 of ``claude-haiku-5-5``; 0 without one.

    Neither dates nor sizes ("70b") are versions.
    """
    found = _VERSION.search(id_)
    return Decimal(f"{found[1]}.{found[2] or 0}") if found is not None else Decimal(0)
