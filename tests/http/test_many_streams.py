"""As many streams at once as the configuration allows: none waits behind those that came before."""

from __future__ import annotations

import json
import resource
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from gateway_kit import WAIT_S, Gateway
from scripted_upstream import ScriptedUpstream, config_for, frames, head, stalls

STREAMS = 300
FEW_FILES = 256


@pytest.fixture
def crowded(scripted: ScriptedUpstream, tmp_path: Path) -> Iterator[Gateway]:
    """A gateway that was started where a process may at first have few files open, as in many shells."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    config = config_for(scripted, {"connect_s": 2, "first_byte_s": 60, "idle_s": 60, "total_s": 120})
    resource.setrlimit(resource.RLIMIT_NOFILE, (FEW_FILES, hard))
    try:
        gateway = Gateway(tmp_path, config=config)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    yield gateway
    assert gateway.stop() == 0


def test_every_stream_begins_while_all_others_are_open(crowded: Gateway, upstream: ScriptedUpstream) -> None:
    upstream.play("o1", stalls(head(200), frames("openai_chat")[0], frames("openai_chat")[1]))
    clients = []
    try:
        for _ in range(STREAMS):
            client = socket.create_connection(("127.0.0.1", crowded.port), timeout=WAIT_S)
            clients.append(client)
            client.sendall(_request(crowded.key))
        for client in clients:
            assert client.recv(65536).startswith(b"HTTP/1.1 200 ")
    finally:
        for client in clients:
            client.close()


def _request(key: str) -> bytes:
    message = {"role": "user", "content": "Hello"}
    body = json.dumps({"model": "mo", "messages": [message], "stream": True, "max_tokens": 5}).encode()
    lines = (
        "POST /v1/chat/completions HTTP/1.1",
        "host: localhost",
        "content-type: application/json",
        f"authorization: Bearer {key}",
        f"content-length: {len(body)}",
    )
    return "\r\n".join([*lines, "", ""]).encode() + body
