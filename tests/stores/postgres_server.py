"""A PostgreSQL server for the tests: on a socket in a folder of its own, gone when the tests end.

It does not sync to the disk: the tests kill processes, not machines.
"""

from __future__ import annotations

import atexit
import functools
import itertools
import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

USER = "tester"
_numbers = itertools.count(1)


class Server:
    """One server. PostgreSQL refuses to run as root, who runs it as nobody."""

    def __init__(self, binaries: Path) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="llmr-pg-"))
        self._binaries = binaries
        self._as: list[str] = []
        if os.geteuid() == 0:
            shutil.chown(self.folder, "nobody", "nogroup")
            self._as = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"]
            self._as += ["--pdeathsig", "QUIT"]
        self._run("initdb", "-D", str(self.data), "-U", USER, "--no-sync", "-A", "trust", "-E", "UTF8")
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    @property
    def data(self) -> Path:
        return self.folder / "data"

    def url(self, database: str) -> str:
        return f"postgresql://{USER}@/{database}?host={quote(str(self.folder), safe='')}"

    def start(self) -> None:
        command = [*self._as, str(self._binaries / "postgres"), "-D", str(self.data), "-k", str(self.folder)]
        for setting in ("listen_addresses=", "fsync=off", "max_connections=60", "shared_buffers=64MB"):
            command += ["-c", setting]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                command, stdout=log, stderr=log, cwd=self.folder, start_new_session=True
            )
        ready = [str(self._binaries / "pg_isready"), "-q", "-h", str(self.folder), "-U", USER]
        for _ in range(600):
            if subprocess.run([*ready, "-d", "postgres"], check=False).returncode == 0:
                return
            assert self._process.poll() is None, (self.folder / "log").read_text()
            time.sleep(0.05)
        raise AssertionError((self.folder / "log").read_text())

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """SIGINT ends all connections; SIGQUIT is a crash, after which the log is replayed."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait()
            self._process = None

    def remove(self) -> None:
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def sql(self, database: str, text: str) -> str:
        options = ["-X", "-q", "-t", "-A", "-v", "ON_ERROR_STOP=1"]
        return self._run("psql", *options, self.url(database), "-c", text)

    def _run(self, name: str, *arguments: str) -> str:
        done = subprocess.run(
            [*self._as, str(self._binaries / name), *arguments],
            capture_output=True,
            text=True,
            cwd=self.folder,
            check=False,
        )
        assert done.returncode == 0, done.stderr + done.stdout
        return done.stdout.strip()


def binaries() -> Path | None:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda p: int(p.parts[-3]))
    if found:
        return found[-1].parent
    on_path = shutil.which("initdb")
    return None if on_path is None else Path(os.path.realpath(on_path)).parent


@functools.cache
def server() -> Server:
    """The server that all tests share."""
    place = binaries()
    if place is None:
        pytest.skip("PostgreSQL's server is not installed (Debian: apt-get install postgresql)")
    pytest.importorskip("asyncpg", reason="the extra [postgres] is not installed")
    started = Server(place)
    atexit.register(started.remove)
    return started


def new_database() -> str:
    """An empty database."""
    name = f"books_{next(_numbers)}"
    server().sql("postgres", f"CREATE DATABASE {name} STRATEGY FILE_COPY")
    return name


async def open_store(database: str, **options: Any) -> Any:
    from store_cases import FixedClock

    from llm_router.adapters.postgres.link import Target
    from llm_router.adapters.postgres.store import PostgresStore

    return await PostgresStore.open(Target(url=server().url(database)), clock=FixedClock(), **options)
