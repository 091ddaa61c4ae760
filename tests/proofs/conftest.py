"""What these proofs share with the tests over HTTP: a gateway in a process, and scripted upstreams."""

import sys
from pathlib import Path

for suite in ("http", "stores"):
    folder = str(Path(__file__).parents[1] / suite)
    if folder not in sys.path:
        sys.path.append(folder)
