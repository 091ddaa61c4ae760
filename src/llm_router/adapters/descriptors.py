"""How many files and connections a process may have open."""

from __future__ import annotations

import contextlib
import resource

DESCRIPTORS_MAX = 1024 * 1024
"""More are not asked for: some systems allow any number, but not all of their functions can bear it."""


def allow_descriptors() -> None:
    """Allow this process, and those that it starts, as many as the system lets it have. What processes begin
    with is often 1024, and a stream takes two."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = DESCRIPTORS_MAX if hard == resource.RLIM_INFINITY else min(hard, DESCRIPTORS_MAX)
    if soft != resource.RLIM_INFINITY and soft < most:
        with contextlib.suppress(OSError, ValueError):  # then it stays as it was
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
