"""What these proofs share with the tests over HTTP: a gateway in a process, scripted upstreams, an engine in a world of fakes."""

import sys
from pathlib import Path

for suite in ("http", "stores", "engine"):
    folder = str(Path(__file__).parents[1] / suite)
    if folder not in sys.path:
        sys.path.append(folder)
