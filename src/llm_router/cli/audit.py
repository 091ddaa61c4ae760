"""The audit log as lines, for whoever keeps it elsewhere."""

from __future__ import annotations

import argparse
from typing import Any

import msgspec

from llm_router.cli.output import note

PAGE = 1000


def export(arguments: argparse.Namespace) -> int:
    """Write every act, one JSON object a line, the newest first."""
    from llm_router.cli.world import run_command

    count, before = 0, 0
    while True:
        result = run_command(
            arguments, "audit.list", {"account": arguments.account, "before": before, "limit": PAGE}
        )
        acts: Any = result["acts"]
        for act in acts:
            print(msgspec.json.encode(act).decode())
        count += len(acts)
        if len(acts) < PAGE:
            break
        before = acts[-1]["seq"]
    note(f"{count} acts.")
    return 0
