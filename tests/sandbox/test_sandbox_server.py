"""The sandbox as a server: its start, its end, its guests, and its place in somebody's event loop."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from pathlib import Path
from urllib.request import urlopen

import msgspec
import pytest

from llm_router.sandbox import app
from llm_router.sandbox.directives import ORDERS
from llm_router.sandbox.server import RunningSandbox, provider_base_url, start_sandbox

DOCS = Path(__file__).parents[2] / "docs" / "sandbox.md"


async def connect(sandbox: RunningSandbox, order: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Send a streaming chat request by hand."""
    host, _, port = sandbox.base_url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    body = msgspec.json.encode(
        {"model": "gpt-4o", "stream": True, "messages": [{"role": "user", "content": order}]}
    )
    head = f"POST /openai/v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer k\r\ncontent-length: {len(body)}\r\n\r\n"
    writer.write(head.encode() + body)
    await writer.drain()
    return reader, writer


def test_start_and_end() -> None:
    async def run() -> None:
        before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
        sandbox = await start_sandbox()
        assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
        port = int(sandbox.base_url.rpartition(":")[2])
        with pytest.raises(OSError, match="in use"):
            await start_sandbox(port=port)
        await sandbox.close()
        await sandbox.close()
        again = await start_sandbox(port=port)
        await again.close()
        assert len(asyncio.all_tasks()) == 1

    asyncio.run(run())


def test_the_end_does_not_wait_for_a_stalled_stream() -> None:
    async def run() -> None:
        sandbox = await start_sandbox()
        reader, writer = await connect(sandbox, "[[stall 600]] hello")
        assert b"200 OK" in await reader.readline()
        async with asyncio.timeout(10):
            await sandbox.close()
        writer.close()
        await writer.wait_closed()

    asyncio.run(run())


def test_work_for_a_client_that_left_is_dropped() -> None:
    async def run() -> None:
        sandbox = await start_sandbox()
        reader, writer = await connect(sandbox, "[[stall 600]] hello")
        assert b"200 OK" in await reader.readline()
        tasks = list(sandbox._server.server_state.tasks)
        assert len(tasks) == 1
        writer.close()
        await writer.wait_closed()
        async with asyncio.timeout(10):
            await asyncio.gather(*tasks)
        await sandbox.close()

    asyncio.run(run())


def test_long_bodies_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "BODY_BYTES_MAX", 1000)

    async def run() -> bytes:
        sandbox = await start_sandbox()
        reader, writer = await connect(sandbox, "x" * 2000)
        line = await reader.readline()
        writer.close()
        await writer.wait_closed()
        await sandbox.close()
        return line

    assert b"413" in asyncio.run(run())


def test_base_urls() -> None:
    assert provider_base_url("http://h:1", "openai_chat") == "http://h:1/openai/v1"
    assert (
        provider_base_url("http://h:1", "gemini_generate", provider="google") == "http://h:1/at/google/gemini"
    )
    with pytest.raises(ValueError, match="anthropic_messages, bedrock_converse, cohere_chat"):
        provider_base_url("http://h:1", "smoke_signals")


def test_standalone_ends_on_interrupt() -> None:
    code = "from llm_router.sandbox.server import run_standalone; run_standalone(port=0, ready=lambda u, _: print(u, flush=True))"
    default = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)  # noqa: E731 - a background job ignores it
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, preexec_fn=default
    ) as process:
        assert process.stdout is not None
        url = process.stdout.readline().decode().strip()
        with urlopen(url, timeout=30) as reply:
            assert reply.headers["x-llm-router-simulated"] == "true"
        process.send_signal(signal.SIGINT)
        try:
            assert process.wait(30) == 0
        finally:
            process.kill()


def test_every_order_is_documented() -> None:
    text = DOCS.read_text()
    assert [order for order in ORDERS if f"`[[{order}" not in text] == []
