"""Score the gateway on recorded provider traffic: each recording, as each client's strict reader sees it.

    python tools/score_recordings.py [FOLDER] [SET ...] [--faults]

FOLDER holds the sets (default: ../shared/recordings beside the project), SET is a folder in it (default:
dev). It prints one row for each recorded API and one column for each client dialect: recordings without
any fault / recordings. A recording is right for a client only if it is right both streamed and whole.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "recordings"))

from carry import CLIENTS
from judge import judge
from kit import FOLDER, load


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("folder", nargs="?", type=Path, default=FOLDER)
    parser.add_argument("sets", nargs="*", default=["dev"])
    parser.add_argument("--faults", action="store_true", help="print what is wrong")
    options = parser.parse_args()
    right: Counter[tuple[str, str]] = Counter()
    total: Counter[str] = Counter()
    faults: list[str] = []
    for recording in load(*options.sets, folder=options.folder):
        total[recording.api] += 1
        for client in CLIENTS:
            found = [*judge(recording, client, stream=False), *judge(recording, client, stream=True)]
            right[client, recording.api] += not found
            faults += [f"{client} {recording.id}: {fault}" for fault in found]
    if not total:
        print(f"There are no recordings in {options.folder} ({', '.join(options.sets)}).", file=sys.stderr)
        return 1
    print("| recorded API | " + " | ".join(f"{client} client" for client in CLIENTS) + " |")
    print("|---" * (len(CLIENTS) + 1) + "|")
    for api in sorted(total):
        print(f"| {api} | " + " | ".join(f"{right[client, api]}/{total[api]}" for client in CLIENTS) + " |")
    sums = [sum(right[client, api] for api in total) for client in CLIENTS]
    print("| all | " + " | ".join(f"{count}/{total.total()}" for count in sums) + " |")
    if options.faults:
        print("\n".join(faults))
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
