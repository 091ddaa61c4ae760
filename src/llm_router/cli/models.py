"""``llm-router models``: what can be called, and what it costs."""

from __future__ import annotations

import argparse
from typing import Any

import msgspec

from llm_router.cli.output import note, print_json, print_table, printable
from llm_router.domain.model import Status

_COLUMNS = ("FAMILY", "MODEL", "CONTEXT", "$/M IN", "$/M OUT", "STATUS", "PROVIDERS")
_NONE_ACTIVE = (
    "No provider is active, so none of these models can be called yet; llm-router config check says why."
)
_RIGHT = frozenset({"CONTEXT", "$/M IN", "$/M OUT"})


def list_models(arguments: argparse.Namespace) -> int:
    """Those that can be called now; when there are none, those that could be; with ``--all`` all of them."""
    from llm_router.cli.world import run_command

    page: dict[str, Any] = run_command(arguments, "models", {})
    entries: list[dict[str, Any]] = page["data"]
    alive = [entry for entry in entries if entry["status"] != Status.SHUTDOWN]
    ready = [entry for entry in alive if entry["available"]]
    if arguments.json:
        print_json({**page, "data": entries if arguments.all else ready})
        return 0
    shown = entries if arguments.all else ready or alive
    if not ready:  # first, since it says how to read the list
        note(_NONE_ACTIVE)
    shown = sorted(shown, key=lambda entry: (entry["family"].lower(), entry["id"]))
    print_table(_COLUMNS, [_row(entry) for entry in shown], _RIGHT)
    if not arguments.all and len(shown) < len(entries):
        also = "all others" if ready else "those past their shutdown"
        note(f"{len(shown)} of {len(entries)} models; --all shows {also} too.")
    return 0


def _row(entry: dict[str, Any]) -> tuple[str, ...]:
    price = entry["price_per_mtok"] or {}
    providers = entry["providers"]
    active = [provider["id"] for provider in providers if provider["available"]]
    idle = [f"({provider['id']})" for provider in providers]
    return (
        printable(entry["family"]),
        entry["id"],
        _tokens(entry["context_length"]),
        _amount(price.get("input")),
        _amount(price.get("output")),
        entry["status"],
        " ".join(active or idle),
    )


def _tokens(count: int | None) -> str:
    if count is None:
        return "-"
    if count >= 1_000_000:
        return f"{count / 1_000_000:.3g}M"
    return f"{count // 1000}k" if count >= 1000 else str(count)


def _amount(value: object) -> str:
    if value is None:
        return "-"
    return bytes(value).decode() if isinstance(value, msgspec.Raw) else str(value)
