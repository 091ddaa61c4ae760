"""The child process that serves the local model: started, ended, restarted, refused in a sentence."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from llm_router.catalog.schema import CatalogData
from llm_router.catalog.snapshot import compile_snapshot
from llm_router.domain.price import cost_lines
from llm_router.domain.usage import Usage
from llm_router.local import LocalUnavailable, model, start_local
from llm_router.local.catalog import entries
from llm_router.local.handshake import Ready
from llm_router.local.model import LocalModel, LocalOptions, model_id

CHILD = """
import json, sys, time
settings = json.loads(sys.stdin.readline())
{body}
"""
READY = (
    'print(json.dumps({"address": "http://127.0.0.1:%d" % (settings["port"] or 4567), "context_tokens": 2048,'
    ' "tools": False, "parallel_tools": False, "vision": False, "error": None}), flush=True)\n'
)


@pytest.fixture
def gguf(tmp_path: Path) -> Path:
    path = tmp_path / "My Model-1B.Q4.gguf"
    path.write_bytes(b"GGUF rest")
    return path


@pytest.fixture
def child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Put a small script in the place of llama.cpp's child process."""
    start = asyncio.create_subprocess_exec

    def install(body: str) -> None:
        script = tmp_path / "child.py"
        script.write_text(CHILD.format(body=body))

        async def spawn(*_: str, **options: Any) -> asyncio.subprocess.Process:
            return await start(sys.executable, str(script), **options)

        monkeypatch.setattr(asyncio, "create_subprocess_exec", spawn)

    return install


def test_starts_and_ends(gguf: Path, child: Callable[[str], None]) -> None:
    child(READY + "sys.stdin.read()")

    async def run() -> None:
        local = LocalModel(gguf, LocalOptions())
        await local.start()
        assert local.base_url == "http://127.0.0.1:4567/v1"
        assert local.context_tokens == 2048
        assert len(local.key) > 30
        pid = local.pid
        assert pid is not None
        await local.close()
        await local.close()
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)

    asyncio.run(run())


def test_a_child_that_clings_to_life_is_killed(
    gguf: Path, child: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model, "STOP_S", 0.05)
    child(READY + "time.sleep(1000)")

    async def run() -> None:
        local = LocalModel(gguf, LocalOptions())
        await local.start()
        pid = local.pid
        assert pid is not None
        await local.close()
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)

    asyncio.run(run())


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("raise SystemExit(3)", "it ended without a word"),
        ('print(json.dumps({"error": "no such thing"}))', "no such thing"),
        ('print("0.1 E llama_load: bad file", file=sys.stderr); raise SystemExit(1)', "bad file"),
    ],
)
def test_failures_are_one_sentence(gguf: Path, child: Callable[[str], None], body: str, said: str) -> None:
    child(body)

    async def run() -> None:
        with pytest.raises(LocalUnavailable, match=said):
            await LocalModel(gguf, LocalOptions()).start()

    asyncio.run(run())


def test_a_slow_start_has_a_deadline(gguf: Path, child: Callable[[str], None]) -> None:
    child("time.sleep(1000)")

    async def run() -> None:
        local = LocalModel(gguf, LocalOptions(start_s=0.05))
        with pytest.raises(LocalUnavailable, match="was not ready"):
            await local.start()
        assert local.pid is None

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model, "STOP_S", 0.05)
        asyncio.run(run())


class Watched(LocalModel):
    """Tells when a child is up."""

    def __init__(self, gguf: Path, options: LocalOptions) -> None:
        super().__init__(gguf, options)
        self.launched = asyncio.Event()

    async def _launch(self) -> None:
        await super()._launch()
        self.launched.set()


ANY_PORT = READY.replace("or 4567", "or 1024 + os.getpid() % 60000")


def test_a_crash_is_mended_at_the_same_address(
    gguf: Path, child: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model, "RESTART_PAUSE_S", 0)
    child("import os\n" + ANY_PORT + "sys.stdin.read()")

    async def run() -> None:
        local = Watched(gguf, LocalOptions())
        await local.start()
        before, key, pid = local.base_url, local.key, local.pid
        assert pid is not None
        local.launched.clear()
        os.kill(pid, signal.SIGKILL)
        async with asyncio.timeout(20):
            await local.launched.wait()
        assert local.pid not in (None, pid)
        assert (local.base_url, local.key) == (before, key)
        await local.close()

    asyncio.run(run())


def test_endless_crashes_are_given_up(
    gguf: Path, child: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model, "RESTART_PAUSE_S", 0)
    child(READY + "raise SystemExit(9)")

    async def run() -> None:
        local = LocalModel(gguf, LocalOptions())
        await local.start()
        assert local._keeper is not None
        async with asyncio.timeout(20):
            await local._keeper
        assert local.restarts == model.RESTARTS_MAX
        await local.close()

    asyncio.run(run())


def test_without_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(LocalUnavailable, match=r"pip install '\.\[local\]' .* or  pip install xllamacpp"):
        asyncio.run(start_local(tmp_path))


@pytest.mark.parametrize(("content", "said"), [(None, "can't be read"), (b"PK zip", "no GGUF model file")])
def test_files_that_are_no_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes | None, said: str
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: object())
    path = tmp_path / "m.gguf"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(LocalUnavailable, match=said):
        asyncio.run(start_local(tmp_path, gguf=path))


def test_the_real_child_ends_with_its_parent() -> None:
    """Without its settings it must not even load llama.cpp: its parent is gone."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "llm_router.local.serve"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_the_real_child_tells_why_it_cannot_start() -> None:
    settings = {
        "path": "/no/such.gguf", "model_id": "m", "key": "k", "port": 0, "threads": 1, "context_tokens": 512,
    }  # fmt: skip
    with subprocess.Popen(
        [sys.executable, "-m", "llm_router.local.serve"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(msgspec.json.encode(settings) + b"\n")
        process.stdin.flush()
        ready = msgspec.json.decode(process.stdout.readline(), type=Ready)
        assert process.wait() == 1
    assert ready.error


@pytest.mark.parametrize(
    ("name", "public"),
    [
        ("SmolLM2-135M-Instruct.Q4_1.gguf", "smollm2-135m-instruct"),
        ("Qwen3-0.6B Q8_0.gguf", "qwen3-0.6b-q8_0"),
        ("???.gguf", "local"),
    ],
)
def test_public_names(name: str, public: str) -> None:
    assert model_id(Path(name)) == public


def test_catalogue_entries_resolve_and_cost_nothing() -> None:
    ready = Ready(address="http://127.0.0.1:1", context_tokens=4096, tools=True)
    provider, entry = entries(
        model_id="tiny", base_url="http://127.0.0.1:1/v1", ready=ready, default=False, output_tokens_max=4096
    )
    snapshot = compile_snapshot(
        CatalogData(as_of="2026-11-01", providers=(), models=(), prices=()),
        providers=[provider],
        models=[entry],
        today="2026-11-01",
    )
    for name in ("tiny", "local", "local/tiny"):
        found = snapshot.resolve(name)
        assert found.model.id == "tiny"
        assert found.deployments[0].upstream_model == "tiny"
    price = entry.deployments[0].price
    assert price is not None
    assert price.version == "local-0"
    assert cost_lines(price, Usage(input_tokens=10, output_tokens=10, cache_read_tokens=3)) == ()
    assert entry.deployments[0].capabilities == entry.capabilities
    assert entry.capabilities.tools
    assert not entry.capabilities.sees("image")
