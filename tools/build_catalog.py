"""Generate ``src/llm_router/catalog/data`` from the price sources and the overlay.

Usage:
    python tools/build_catalog.py [--litellm WHEEL_OR_JSON]            write the data files
    python tools/build_catalog.py [--litellm WHEEL_OR_JSON] --check    verify that they are current
    python tools/build_catalog.py --providers                          write providers.json alone

Sources, both read at build time only: the installed package genai-prices, and the model table
inside the litellm wheel (fetched with pip if no path is given). Where the two contradict each
other, ``tools/catalog/overlay/settlements.toml`` must say which one to believe; the tool lists
what is unsettled, and what was settled without need, and fails.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from catalog.build import Builder
from catalog.genai import GenaiPrices
from catalog.write import files, providers_file

from catalog import litellm_table, overlay

DATA = Path(__file__).resolve().parent.parent / "src" / "llm_router" / "catalog" / "data"


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description="Generate the catalogue's data files.")
    parser.add_argument("--litellm", type=Path, help="the litellm wheel, or its model table as JSON")
    parser.add_argument("--check", action="store_true", help="write nothing; fail if the files differ")
    parser.add_argument(
        "--providers", action="store_true", help="write providers.json alone: no sources needed"
    )
    options = parser.parse_args(argv)
    text = overlay.load()
    if options.providers:
        (DATA / "providers.json").write_bytes(providers_file(text))
        return 0
    builder = Builder(text, GenaiPrices(text.catalogue.as_of), litellm_table.load(options.litellm))
    built = builder.build()
    if builder.problems:
        print("\n".join(builder.problems), file=sys.stderr)
        print(f"{len(builder.problems)} problems: nothing was written", file=sys.stderr)
        return 1
    stale = []
    for name, body in files(built).items():
        path = DATA / name
        if not path.exists() or path.read_bytes() != body:
            stale.append(name)
            if not options.check:
                DATA.mkdir(exist_ok=True)
                path.write_bytes(body)
    word = "differ from what the tool generates" if options.check else "written"
    print(f"{builder.summary()}; {', '.join(stale) or 'no file'} {word}")
    return 1 if stale and options.check else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
