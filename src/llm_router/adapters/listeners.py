"""Listening sockets that outlive a process: taken over from whoever started this one, given to its successor.

Both ways they travel as systemd's socket activation has it: from descriptor 3 on, their number in
``LISTEN_FDS``, the process they are meant for in ``LISTEN_PID``
(https://www.freedesktop.org/software/systemd/man/latest/sd_listen_fds.html).
"""

from __future__ import annotations

import fcntl
import os
import socket
import sys
from collections.abc import MutableMapping, Sequence

from llm_router.adapters.signals import hold_back

FIRST_FD = 3


def inherited(environ: MutableMapping[str, str]) -> list[socket.socket]:
    """The listening sockets that this process was given; none if it was given none. What told of them is
    removed, since it does not concern processes that this one starts."""
    meant_for, count = environ.pop("LISTEN_PID", ""), environ.pop("LISTEN_FDS", "")
    environ.pop("LISTEN_FDNAMES", None)
    if meant_for != str(os.getpid()) or not count.isdigit():
        return []
    found = [socket.socket(fileno=number) for number in range(FIRST_FD, FIRST_FD + int(count))]
    for listener in found:
        listener.set_inheritable(False)
        listener.setblocking(False)
    return found


def succeed(listeners: Sequence[socket.socket], environ: MutableMapping[str, str]) -> None:
    """Begin anew, as the same process with the same command line, with these listening sockets. Connections
    that wait at them are accepted by the program that begins. Does not return."""
    # Out of the way first: a number that one is to get may be another's.
    moved = [fcntl.fcntl(one.fileno(), fcntl.F_DUPFD, FIRST_FD + len(listeners)) for one in listeners]
    for number, descriptor in enumerate(moved, FIRST_FD):
        os.dup2(descriptor, number, inheritable=True)
        os.set_inheritable(descriptor, False)
    environ["LISTEN_PID"], environ["LISTEN_FDS"] = str(os.getpid()), str(len(listeners))
    hold_back()
    sys.stdout.flush()
    sys.stderr.flush()
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], dict(environ))  # noqa: S606
