"""``llm-router config check``: every problem at once, or what the configuration comes to."""

from __future__ import annotations

import argparse

from llm_router.catalog.snapshot import Snapshot
from llm_router.cli.output import print_json
from llm_router.settings import Settings


def check(arguments: argparse.Namespace) -> int:
    """
    Raises:
        ConfigError: with every problem.
    """
    from llm_router.adapters.clock import SystemClock
    from llm_router.cli.world import Offer

    offer = Offer(arguments, SystemClock().now_ms())
    settings = offer.settings()
    snapshot = offer.compile(settings)
    if arguments.json:
        print_json(_report(settings, snapshot))
    else:
        print("\n".join(_lines(settings, snapshot, sandbox=arguments.sandbox)))
    return 0


def _callable(settings: Settings, snapshot: Snapshot) -> int:
    active = frozenset(settings.active)
    return sum(any(d.provider in active for d in model.deployments) for model in snapshot.models.values())


def _warnings(settings: Settings, snapshot: Snapshot) -> list[str]:
    from llm_router.engine.saved import doubtful

    return [*settings.warnings, *doubtful(settings.routing, snapshot)]


def _report(settings: Settings, snapshot: Snapshot) -> dict[str, object]:
    server = settings.server
    return {
        "ok": True,
        "path": None if settings.path is None else str(settings.path),
        "host": server.host,
        "port": server.port,
        "data_dir": str(server.data_dir),
        "providers": {"active": list(settings.active), "inactive": dict(settings.inactive)},
        "models": {
            "all": len(snapshot.models),
            "callable": _callable(settings, snapshot),
            "own": [model.id for model in settings.models],
        },
        "warnings": _warnings(settings, snapshot),
    }


def _lines(settings: Settings, snapshot: Snapshot, *, sandbox: bool) -> list[str]:
    server = settings.server
    named = "no file; the defaults hold" if settings.path is None else f"{settings.path} is right"
    lines = [
        f"Configuration  {named}",
        "Looked at      the file and this shell's environment and flags, not a gateway that runs",
        f"Address        {server.host}:{server.port}",
        f"Data           {server.data_dir}",
    ]
    if sandbox:
        lines.append("Sandbox        every model answers from simulated providers; no provider is called")
    else:
        lines += [
            f"Active         {', '.join(settings.active) or 'no provider'}",
            f"Models         {_callable(settings, snapshot)} of {len(snapshot.models)} can be called",
        ]
    if settings.models:
        lines.append(f"Own models     {len(settings.models)} added or changed by the file")
    lines += [f"Warning        {warning}" for warning in _warnings(settings, snapshot)]
    if settings.inactive and not sandbox:
        lines += ["", "Not active:"]
        lines += [f"  {id_:<14} {reason}" for id_, reason in settings.inactive.items()]
    return lines
