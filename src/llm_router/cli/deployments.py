"""``llm-router deployments``: how the deployments fare that a running gateway calls."""

from __future__ import annotations

import argparse
from typing import Any

from llm_router.cli.output import note, print_json, print_table


def list_deployments(arguments: argparse.Namespace) -> int:
    from llm_router.cli.world import run_command

    result = run_command(arguments, "deployments", {"every": arguments.all})
    if arguments.json:
        print_json(result)
        return 0
    processes = result["processes"]
    assert isinstance(processes, list), "the command's own result"
    several = len(processes) > 1
    rows = [
        (*((str(process["process"]),) if several else ()), *_row(deployment))
        for process in processes
        for deployment in process["deployments"]
    ]
    if not rows:
        note("No deployment was called yet; --all shows those that can be.")
        return 0
    columns = ("DEPLOYMENT", "STATE", "SHARE", "BUSY", "CALLS", "ERRORS", "TTFT", "TOKENS/S", "BACK", "WHY")
    print_table((*(("PROCESS",) if several else ()), *columns), rows)
    return 0


def _row(shown: dict[str, Any]) -> tuple[str, ...]:
    times = [float(ms) for ms in shown["ttft_ms"].values() if ms is not None]
    rate, speed = shown["error_rate"], shown["tokens_per_s"]
    out = [f"key {key['key']}: {key['reason']}" for key in shown["keys"] if key["back"] is not None]
    state = str(shown["state"]).replace("_", " ")
    return (
        str(shown["deployment"]),
        state if shown["available"] or state != "closed" else "cooling down",
        f"{float(shown['share']):.0%}",
        str(shown["in_flight"]) if shown["limit"] is None else f"{shown['in_flight']}/{shown['limit']}",
        str(shown["calls"]),
        "-" if rate is None else f"{float(rate):.0%}",
        "-" if not times else f"{min(times):.0f} ms",
        "-" if speed is None else f"{float(speed):.0f}",
        "-" if shown["back"] is None else str(shown["back"])[11:19],
        "; ".join([*([str(shown["reason"])] if shown["reason"] else []), *out]) or "-",
    )
