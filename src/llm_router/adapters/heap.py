"""What the collector of cycles looks at: not the half a million objects that a process starts with and keeps."""

from __future__ import annotations

import gc


def begin_start() -> None:
    """Collect nothing while modules are loaded and tables are made: they are there to stay."""
    gc.disable()


def end_start() -> None:
    """Collect cycles again, but only among objects that are made from now on.

    A full collection would else go through everything that was loaded, and hold up all requests meanwhile.
    """
    gc.freeze()
    gc.enable()
