"""How many sockets and files this process may have open."""

from __future__ import annotations

import contextlib
import resource


def allow_descriptors() -> None:
    """Take as many as the system grants to this process and its workers.

    What a process starts with is often 1,024, which is meant for programs that use ``select``; a
    gateway needs two for each open stream. Where it is refused, things stay as they are.
    """
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
