"""A gateway that tells what it holds: ``python bench/suite/watched.py SOCKET serve --sandbox ...``.

Whoever connects to the Unix socket gets one line of JSON, after a collection of garbage: live tasks of the
event loop, open descriptors, threads, blocks of the interpreter's allocator, resident memory in bytes, and
how many objects there are of the commonest types.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import socket
import sys
import threading
from collections import Counter
from pathlib import Path

from llm_router.cli import main


def sample() -> dict[str, object]:
    gc.collect()
    objects = gc.get_objects()
    types = Counter(f"{type(each).__module__}.{type(each).__qualname__}" for each in objects)
    tasks = sum(isinstance(each, asyncio.Task) and not each.done() for each in objects)
    del objects
    resident = next(line for line in Path("/proc/self/status").read_text().splitlines() if "VmRSS" in line)
    return {
        "tasks": tasks,
        "descriptors": len(os.listdir("/proc/self/fd")),
        "threads": threading.active_count(),
        "blocks": sys.getallocatedblocks(),
        "memory_bytes": int(resident.split()[1]) * 1024,
        "types": dict(types.most_common(300)),
    }


def tell(listener: socket.socket) -> None:
    while True:
        connection, _ = listener.accept()
        with connection:
            connection.sendall(json.dumps(sample()).encode() + b"\n")


if __name__ == "__main__":
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(sys.argv[1])
    listener.listen()
    threading.Thread(target=tell, args=(listener,), daemon=True).start()
    sys.exit(main(sys.argv[2:]))
