"""Writes docs/client-matrix.md."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from table import CHECKS, ENVIRONMENTS

PAGE = Path(__file__).parent.parent.parent / "docs" / "client-matrix.md"
BEGIN, END = "<!-- results -->", "<!-- end of results -->"


def write_page(lines: list[dict[str, Any]], missing: dict[str, str], upstreams: list[str]) -> None:
    """Put the results between the page's marks; the text around them stays."""
    body = "\n".join([BEGIN, "", *_results(lines, missing, upstreams), "", END])
    text = PAGE.read_text()
    PAGE.write_text(re.sub(f"{BEGIN}.*{END}", lambda _: body, text, flags=re.DOTALL))


def _results(lines: list[dict[str, Any]], missing: dict[str, str], upstreams: list[str]) -> list[str]:
    checks = [name for name in CHECKS if any(line["check"] == name for line in lines)]
    checks += sorted({line["check"] for line in lines} - set(CHECKS))
    clients = dict.fromkeys(line["client"] for line in lines)
    out = [
        f"Run on {datetime.now(UTC):%Y-%m-%d}, models behind {', '.join(f'`{name}`' for name in upstreams)}.",
        "",
    ]
    out += [f"{sum(line['ok'] for line in lines)} of {len(lines)} checks pass.", ""]
    out.append("| client | version | " + " | ".join(name.replace("_", " ") for name in checks) + " |")
    out.append("|---|---|" + "---|" * len(checks))
    for client in clients:
        mine = [line for line in lines if line["client"] == client]
        cells = [_cell([line for line in mine if line["check"] == name]) for name in checks]
        out.append(f"| {client} | {mine[0]['version']} | " + " | ".join(cells) + " |")
    failed = [line for line in lines if not line["ok"]]
    if failed:
        out += ["", "What fails:", ""]
        out += [
            f"- {line['client']}, {line['check']} {line['upstream']}: {_plain(line['detail'])}"
            for line in failed
        ]
    unrun = {**dict.fromkeys(ENVIRONMENTS, ""), **missing}
    unrun = {name: why for name, why in unrun.items() if name in missing}
    if unrun:
        out += ["", "Not run, since it could not be installed:", ""]
        out += [f"- {name}: {_plain(why)}" for name, why in unrun.items()]
    return out


def _cell(found: list[dict[str, Any]]) -> str:
    if not found:
        return ""
    good = sum(line["ok"] for line in found)
    if len(found) == 1:
        return "yes" if good else "**no**"
    return f"{good}/{len(found)}" if good == len(found) else f"**{good}/{len(found)}**"


def _plain(text: str) -> str:
    """One line without what a table or a page would take for its own."""
    return " ".join(text.split())[:300].replace("|", "\\|").replace("<", "&lt;")
