"""What the HTTP server does with requests that are none, or come too slowly, or offer an upgrade."""

from __future__ import annotations

import json
import socket

import pytest

from llm_router.edge import server

BODY = json.dumps(
    {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "What is 2+2?"}]}
).encode()


def talk(url: str, *pieces: bytes) -> bytes:
    host, port = url.removeprefix("http://").split("/")[0].split(":")
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        for piece in pieces:
            try:
                connection.sendall(piece)
            except OSError:
                break
        got = b""
        try:
            while piece := connection.recv(65536):
                got += piece
        except ConnectionResetError:
            pass
        return got


def error_of(reply: bytes) -> dict[str, object]:
    return json.loads(reply.split(b"\r\n\r\n", 1)[1])["error"]


@pytest.mark.parametrize("upgrade", [b"Upgrade: h2c", b"upgrade: websocket", b"UPGRADE: h2c"])
def test_an_offered_upgrade_is_ignored(sandbox, upgrade: bytes) -> None:
    head = (
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings, close\r\n"
        + upgrade
        + b"\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\nContent-Type: application/json\r\n"
        + f"Authorization: Bearer {sandbox.key}\r\nContent-Length: {len(BODY)}\r\n\r\n".encode()
    )
    reply = talk(sandbox.url, head + BODY)
    assert reply.startswith(b"HTTP/1.1 200")
    assert b"chat.completion" in reply


@pytest.mark.parametrize(
    "request_",
    [
        b"GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"nonsense\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ],
)
def test_what_is_no_http_gets_an_error_of_our_form(sandbox, request_: bytes) -> None:
    reply = talk(sandbox.url, request_)
    assert reply.startswith(b"HTTP/1.1 400")
    assert error_of(reply)["code"] == "invalid_request"


def test_a_head_is_bounded(sandbox) -> None:
    reply = talk(sandbox.url, b"GET /healthz HTTP/1.1\r\nX: ", b"a" * 1_000_000)
    assert reply.startswith(b"HTTP/1.1 431")
    reply = talk(sandbox.url, b"GET /healthz HTTP/1.1\r\n", b"X: a\r\n" * 200_000)
    assert reply.startswith(b"HTTP/1.1 431")


def test_an_upgrade_inside_a_body_is_left_alone() -> None:
    data = b"POST / HTTP/1.1\r\nUpgrade: h2c\r\n\r\nline\r\nupgrade: mine"
    kept = server._without_upgrade(data)
    assert kept.endswith(b"line\r\nupgrade: mine")
    assert b"\r\nx-grade: h2c\r\n" in kept
    assert len(kept) == len(data)


def test_head_requests_and_allow(sandbox) -> None:
    reply = talk(sandbox.url, b"HEAD /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert reply.startswith(b"HTTP/1.1 200")
    assert reply.endswith(b"\r\n\r\n")
    reply = talk(sandbox.url, b"DELETE /v1/models HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert reply.startswith(b"HTTP/1.1 405")
    assert b"allow: GET" in reply
