"""Tables in Markdown and JSON."""

from __future__ import annotations

import json
import time
from pathlib import Path

from suite import machine
from suite.rows import Table

HEADINGS = {
    "requests_per_s": ("requests/s", ",.0f"),
    "cpu_ms": ("CPU ms a request", ".3f"),
    "busiest_cpu_ms": ("busiest process, CPU ms a request", ".3f"),
    "cpu_us": ("CPU µs an event", ".1f"),
    "events_per_s": ("events/s", ",.0f"),
    "events_a_read": ("events a read", ".2f"),
    "x_nginx": ("x nginx CPU", ".1f"),
    "p50_us": ("p50 µs", ",.0f"),
    "p99_us": ("p99 µs", ",.0f"),
    "max_us": ("max µs", ",.0f"),
    "added_p50_us": ("p50 over direct", ",.0f"),
    "added_p99_us": ("p99 over direct", ",.0f"),
    "memory_mb": ("resident MB", ",.0f"),
    "memory_most_mb": ("most MB", ",.0f"),
    "events_least": ("events, least of a stream", ".0f"),
    "events_median": ("median", ".0f"),
    "late_p50_ms": ("late p50 ms", ".1f"),
    "late_p99_ms": ("p99 ms", ".1f"),
    "late_max_ms": ("max ms", ".1f"),
    "first_answer_s": ("start to first answer s", ".2f"),
}


def markdown(table: Table) -> str:
    columns: list[str] = []
    for figures in table.figures.values():
        columns += [name for name in figures if name not in columns]
    lines = [
        f"### {table.title}",
        "",
        f"| | {' | '.join(HEADINGS[name][0] for name in columns)} |",
        f"|---|{'---:|' * len(columns)}",
    ]
    for name, figures in table.figures.items():
        cells = [
            format(figures[column], HEADINGS[column][1]) if column in figures else "" for column in columns
        ]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join([*lines, *(f"\n{note}" for note in table.notes), ""])


def heading(command: str) -> str:
    date = time.strftime("%Y-%m-%d", time.gmtime())
    return f"{date}, {machine.interpreter()}, {machine.processor()}, `{command}`\n"


def write_json(path: Path, command: str, tables: dict[str, Table]) -> None:
    document = {
        "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "interpreter": machine.interpreter(),
        "processor": machine.processor(),
        "command": command,
        "tables": {
            name: {"title": table.title, "figures": table.figures, "notes": table.notes}
            for name, table in tables.items()
        },
    }
    path.write_text(json.dumps(document, indent=1) + "\n")
