"""A running gateway in front of the replay server, with one provider and one model for each recording."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from kit import FOLDER


@contextmanager
def replaying() -> Iterator[int]:
    """The port of a provider that sends the recorded bytes cut at awkward places."""
    spec = importlib.util.spec_from_file_location("replay_server", FOLDER / "replay_server.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    server = module.Server(module.load([str(FOLDER / "dev")]))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def gateway_for(rows: Iterable[tuple[str, str]], replay: int, folder: Path) -> Iterator[tuple[int, str]]:
    """(port, key) of a gateway with a provider and a model for each (recording's id, dialect)."""
    config = folder / "config.toml"
    lines = [
        "[server]", "port = 0", "access_log = false", "[credits]", 'starting = "100000"',
        "[fetch]", "enabled = false",
    ]  # fmt: skip
    for id_, dialect in rows:
        lines += [
            f"[providers.{id_}]", f'dialect = "{dialect}"',
            f'base_url = "http://127.0.0.1:{replay}/rec/{id_}"', 'auth = "none"', "key_required = false",
            'takes_urls = ["image", "file", "audio", "video"]',
            f'[models."{id_}"]', "price = { input_per_mtok = 1, output_per_mtok = 2 }",
            f'[[models."{id_}".deployments]]', f'provider = "{id_}"', 'upstream_model = "m"',
        ]  # fmt: skip
    config.write_text("\n".join(lines))
    process = subprocess.Popen(
        [sys.executable, "-m", "llm_router.cli", "serve", "--config", str(config), "--data-dir", str(folder / "data")],
        stdout=subprocess.PIPE, text=True, env={**os.environ, "NO_COLOR": "1"},
    )  # fmt: skip
    drain = threading.Thread(target=lambda: process.stdout.read(), daemon=True)
    try:
        port = key = None
        for line in process.stdout:
            words = line.split()
            if "answers at" in line:
                port = int(words[-1].rsplit(":", 1)[1].split("/")[0])
            if line.strip().startswith("API key"):
                key = words[-1]
            if "Data" in words:
                break
        drain.start()
        yield port, key
    finally:
        process.terminate()
        process.wait(20)
        drain.join(5)
        process.stdout.close()
