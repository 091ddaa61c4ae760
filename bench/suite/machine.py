"""What the machine offers and accounts: cores, tools, CPU seconds, memory, ports, the interpreter's build."""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
import socket
import subprocess
import sysconfig
import time
from pathlib import Path

TICK_S = 1 / os.sysconf("SC_CLK_TCK")
PACKAGES = {"nginx": "nginx-light", "wrk": "wrk", "taskset": "util-linux"}
"""Debian's packages of the tools that are needed."""


class Missing(Exception):
    """Something that the suite needs is not on this machine; the message says how to get it."""


def need_tools() -> None:
    """Find nginx, wrk and taskset, or install them where that is possible.

    Raises:
        Missing: they are neither there nor to be had.
    """
    missing = [tool for tool in PACKAGES if shutil.which(tool) is None]
    if not missing:
        return
    packages = [PACKAGES[tool] for tool in missing]
    if os.geteuid() == 0 and shutil.which("apt-get"):
        print(f"installing {' '.join(packages)} by apt-get", flush=True)
        # It must not start a service: only the program is needed.
        quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
        for command in (["update", "-qq"], ["install", "-y", "-qq", "--no-install-recommends", *packages]):
            subprocess.run(["apt-get", *command], env=quiet, capture_output=True, check=False)
    missing = [tool for tool in PACKAGES if shutil.which(tool) is None]
    if missing:
        names = " ".join(PACKAGES[tool] for tool in missing)
        raise Missing(f"{' and '.join(missing)} are missing (Debian: apt-get install {names})")


def cores() -> tuple[int, int]:
    """The core of whoever is measured, and that of everything else (the same if there is only one)."""
    allowed = sorted(os.sched_getaffinity(0))
    return allowed[0], allowed[-1]


def processes_of(pid: int) -> list[int]:
    """A process and its children, and theirs."""
    found = [pid]
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in task.read_text().split():
            found += processes_of(int(child))
    return found


def cpu_s(pid: int) -> float:
    """CPU seconds that a process and its children have used, their threads included."""
    return sum(map(own_cpu_s, processes_of(pid)))


def own_cpu_s(pid: int) -> float:
    """CPU seconds of one process, its threads included.

    ``stat`` counts in ticks (10 ms), threads that have ended too; ``schedstat`` counts in nanoseconds, but
    only those that live. The larger of the two is right to the nanosecond while no thread ends.
    """
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    living_ns = 0
    for thread in Path(f"/proc/{pid}/task").glob("*/schedstat"):
        with contextlib.suppress(OSError):  # it ended meanwhile
            living_ns += int(thread.read_text().split()[0])
    return max((int(fields[11]) + int(fields[12])) * TICK_S, living_ns / 1e9)


def memory_mb(pid: int, field: str = "VmRSS") -> float:
    """Resident memory of a process and its children in MB (10**6 bytes); ``VmHWM`` is the most so far."""
    total = 0
    for process in processes_of(pid):
        for line in Path(f"/proc/{process}/status").read_text().splitlines():
            if line.startswith(f"{field}:"):
                total += int(line.split()[1]) * 1024
    return total / 1e6


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(port: int, process: subprocess.Popen[str], seconds: float = 60) -> None:
    """Until something listens there.

    Raises:
        RuntimeError: the process ended, or does not listen in time.
    """
    end = time.monotonic() + seconds
    while time.monotonic() < end and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.01)
    raise RuntimeError(f"{process.args} does not listen on port {port}")


def interpreter() -> str:
    config = sysconfig.get_config_var("CONFIG_ARGS") or ""
    built = "PGO" if "--enable-optimizations" in config else "no PGO"
    return f"CPython {platform.python_version()} ({built}, {'LTO' if '--with-lto' in config else 'no LTO'})"


def processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()
