"""What the collector of cycles looks at: not the half a million objects that a process starts with and keeps."""

from __future__ import annotations

import gc

YOUNG_MAX = 20_000
"""Objects that are made and not freed before the collector looks at them. Some 20 belong to each request under
way, and are freed without it when the request is over: looking at those of a few dozen requests after every 700,
as is the default, costs a request of many at a time a fifth of its CPU and finds nothing."""


def begin_start() -> None:
    """Collect nothing while modules are loaded and tables are made: they are there to stay."""
    gc.disable()


def end_start() -> None:
    """Collect cycles again, but only among objects that are made from now on.

    A full collection would else go through everything that was loaded, and hold up all requests meanwhile.
    """
    gc.freeze()
    gc.set_threshold(YOUNG_MAX, *gc.get_threshold()[1:])
    gc.enable()
