"""The real model answers a real question. Skipped where the extra or the model file is absent."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import msgspec
import pytest

from llm_router.local import DEFAULT_FILE, LocalModel, find_model, start_local

QUESTION = {"messages": [{"role": "user", "content": "What is the capital of France?"}]}


def find_gguf() -> Path | None:
    """The file that LLM_ROUTER_TEST_GGUF names, or one fetched earlier into the usual data folder."""
    named = os.environ.get("LLM_ROUTER_TEST_GGUF")
    if named:
        return Path(named)
    base = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")
    return find_model(base / "llm-router")


@pytest.fixture(scope="module")
def gguf() -> Path:
    if importlib.util.find_spec("xllamacpp") is None:
        pytest.skip("the extra [local] is not installed: pip install '.[local]'")
    path = find_gguf()
    if path is None or not path.is_file():
        pytest.skip("no model file: run llm-router local pull, or set LLM_ROUTER_TEST_GGUF")
    return path


@pytest.fixture(scope="module")
def local(gguf: Path) -> Iterator[LocalModel]:
    with asyncio.Runner() as runner:
        running = runner.run(start_local(gguf.parent, gguf=gguf))
        yield running
        runner.run(running.close())


def ask(local: LocalModel, body: dict[str, object], key: str | None = None) -> bytes:
    headers = {"authorization": f"Bearer {key or local.key}", "content-type": "application/json"}
    request = Request(f"{local.base_url}/chat/completions", msgspec.json.encode(body), headers)
    with urlopen(request, timeout=120) as reply:
        data: bytes = reply.read()
    return data


def test_a_true_answer_with_usage(local: LocalModel) -> None:
    reply = msgspec.json.decode(ask(local, {**QUESTION, "max_tokens": 30}))
    text = reply["choices"][0]["message"]["content"]
    assert text.strip()
    if local.gguf.name == DEFAULT_FILE:
        assert "Paris" in text
    usage = reply["usage"]
    assert usage["prompt_tokens"] > 5
    assert 0 < usage["completion_tokens"] <= 30
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    assert reply["model"] == local.model_id


def test_streams_end_with_usage_when_asked(local: LocalModel) -> None:
    body = {**QUESTION, "max_tokens": 8, "stream": True, "stream_options": {"include_usage": True}}
    lines = [line for line in ask(local, body).decode().splitlines() if line.startswith("data: ")]
    assert lines[-1] == "data: [DONE]"
    last = msgspec.json.decode(lines[-2].removeprefix("data: "))
    assert last["choices"] == []
    assert last["usage"]["completion_tokens"] > 0


def test_json_schema_is_held(local: LocalModel) -> None:
    schema = {"type": "object", "properties": {"capital": {"type": "string"}}, "required": ["capital"]}
    wanted = {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}
    reply = msgspec.json.decode(ask(local, {**QUESTION, "max_tokens": 100, "response_format": wanted}))
    assert isinstance(msgspec.json.decode(reply["choices"][0]["message"]["content"])["capital"], str)


def test_it_asks_for_its_key(local: LocalModel) -> None:
    with pytest.raises(HTTPError) as caught:
        ask(local, QUESTION, key="wrong")
    assert caught.value.code == 401
    caught.value.close()


def test_it_dies_with_a_killed_parent_even_while_it_writes(gguf: Path) -> None:
    code = (
        "import asyncio, json, sys, threading\n"
        "from pathlib import Path\n"
        "from urllib.request import Request, urlopen\n"
        "from llm_router.local import start_local\n"
        "async def main():\n"
        "    local = await start_local(Path('.'), gguf=Path(sys.argv[1]))\n"
        "    body = {'messages': [{'role': 'user', 'content': 'Tell a story.'}], 'stream': True}\n"
        "    body |= {'max_tokens': 1000, 'ignore_eos': True}\n"
        "    head = {'authorization': 'Bearer ' + local.key}\n"
        "    url = local.base_url + '/chat/completions'\n"
        "    reply = await asyncio.to_thread(urlopen, Request(url, json.dumps(body).encode(), head))\n"
        "    reply.readline()\n"
        "    print(local.pid, flush=True)\n"
        "    await asyncio.sleep(1000)\n"
        "asyncio.run(main())\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(gguf)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        parent.send_signal(signal.SIGKILL)
        parent.wait()
    assert _gone(pid)


def _gone(pid: int) -> bool:
    """Wait for the end of a process that is not our child; it may stay as a zombie."""
    try:
        watched = os.pidfd_open(pid)
    except ProcessLookupError:
        return True

    async def wait() -> None:
        ended = asyncio.Event()
        asyncio.get_running_loop().add_reader(watched, ended.set)
        async with asyncio.timeout(20):
            await ended.wait()
        asyncio.get_running_loop().remove_reader(watched)

    try:
        asyncio.run(wait())
    finally:
        os.close(watched)
    return True
