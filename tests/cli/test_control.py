"""The control socket: there and back, many at once, left behind, too long a path, refused."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
import tempfile
from collections.abc import Mapping
from pathlib import Path

import msgspec
import pytest

from llm_router.adapters import control
from llm_router.adapters.control import call_control, serve_control
from llm_router.domain.errors import InsufficientCredits, RouterError, ServerError


async def echo(command: str, arguments: Mapping[str, object]) -> Mapping[str, object]:
    return {"command": command, "arguments": arguments}


def test_a_command_goes_there_and_back(tmp_path: Path) -> None:
    async def run() -> None:
        server = await serve_control(tmp_path, echo)
        answer = await call_control(tmp_path, "keys.list", {"a": [1, None, "ü\n"]})
        assert answer == {"command": "keys.list", "arguments": {"a": [1, None, "ü\n"]}}
        await server.close()
        assert await call_control(tmp_path, "keys.list", {}) is None

    asyncio.run(run())
    assert list(tmp_path.iterdir()) == []


def test_no_amount_is_rounded_on_the_way(tmp_path: Path) -> None:
    async def amounts(command: str, arguments: Mapping[str, object]) -> Mapping[str, object]:
        return {"credits_remaining": msgspec.Raw(b"4599999.123456789012"), "whole": 5}

    async def run() -> None:
        server = await serve_control(tmp_path, amounts)
        answer = await call_control(tmp_path, "credits.show", {})
        assert msgspec.json.encode(answer) == b'{"credits_remaining":4599999.123456789012,"whole":5}'
        await server.close()

    asyncio.run(run())


def test_only_its_owner_can_open_the_socket(tmp_path: Path) -> None:
    async def run() -> None:
        server = await serve_control(tmp_path, echo)
        assert stat.S_IMODE((tmp_path / control.SOCKET_NAME).stat().st_mode) == 0o600
        await server.close()

    asyncio.run(run())


def test_many_commands_at_once_are_answered_each_its_own(tmp_path: Path) -> None:
    waiting = asyncio.Event()
    open_calls = 0

    async def together(command: str, arguments: Mapping[str, object]) -> Mapping[str, object]:
        nonlocal open_calls
        open_calls += 1
        if open_calls == control.CONNECTIONS_MAX:
            waiting.set()
        await waiting.wait()
        return arguments

    async def run() -> None:
        server = await serve_control(tmp_path, together)
        calls = [call_control(tmp_path, "x", {"n": n}) for n in range(control.CONNECTIONS_MAX + 8)]
        answers = await asyncio.gather(*calls)
        assert answers == [{"n": n} for n in range(control.CONNECTIONS_MAX + 8)]
        await server.close()

    asyncio.run(run())


def test_a_refusal_keeps_code_message_and_details(tmp_path: Path) -> None:
    async def refuse(command: str, arguments: Mapping[str, object]) -> Mapping[str, object]:
        raise InsufficientCredits("too little", details={"needed": "5"})

    async def run() -> None:
        server = await serve_control(tmp_path, refuse)
        with pytest.raises(RouterError) as caught:
            await call_control(tmp_path, "x", {})
        assert (caught.value.code, caught.value.message) == ("insufficient_credits", "too little")
        assert caught.value.details == {"needed": "5"}
        await server.close()

    asyncio.run(run())


def _leave_dead_socket(path: Path) -> None:
    dead = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    dead.bind(str(path))
    dead.close()


def test_a_socket_left_behind_counts_as_no_gateway_and_is_replaced(tmp_path: Path) -> None:
    _leave_dead_socket(tmp_path / control.SOCKET_NAME)

    async def run() -> None:
        assert await call_control(tmp_path, "x", {}) is None
        server = await serve_control(tmp_path, echo)
        assert await call_control(tmp_path, "x", {}) is not None
        await server.close()

    asyncio.run(run())


def test_a_live_gateway_is_not_displaced(tmp_path: Path) -> None:
    async def run() -> None:
        server = await serve_control(tmp_path, echo)
        with pytest.raises(ServerError, match="another gateway runs"):
            await serve_control(tmp_path, echo)
        assert await call_control(tmp_path, "x", {}) is not None
        await server.close()

    asyncio.run(run())


def test_too_long_a_path_is_served_from_a_private_folder_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = tmp_path / "t"
    short.mkdir()
    data_dir = tmp_path / ("long" * 40)
    data_dir.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(short))

    async def run() -> None:
        server = await serve_control(data_dir, echo)
        pointer = data_dir / control.POINTER_NAME
        assert stat.S_IMODE(pointer.stat().st_mode) == 0o600
        path = Path(os.fsdecode(pointer.read_bytes()))
        assert len(os.fsencode(path)) <= control.ADDRESS_BYTES_MAX
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        assert await call_control(data_dir, "x", {}) is not None
        await server.close()
        assert not path.parent.exists()
        assert list(data_dir.iterdir()) == []
        assert await call_control(data_dir, "x", {}) is None

    asyncio.run(run())


def test_a_stale_pointer_is_replaced(tmp_path: Path) -> None:
    (tmp_path / control.POINTER_NAME).write_text(str(tmp_path / "gone" / "control.sock"))

    async def run() -> None:
        assert await call_control(tmp_path, "x", {}) is None
        server = await serve_control(tmp_path, echo)
        assert await call_control(tmp_path, "x", {}) is not None
        await server.close()

    asyncio.run(run())


@pytest.mark.parametrize("line", [b"hello\n", b"[]\n", b'{"command": 1}\n', b'{"command": "x", "more": 1}\n'])
def test_what_is_no_command_is_told_so(tmp_path: Path, line: bytes) -> None:
    async def run() -> None:
        server = await serve_control(tmp_path, echo)
        reader, writer = await asyncio.open_unix_connection(tmp_path / control.SOCKET_NAME)
        writer.write(line)
        reply = msgspec.json.decode(await reader.readline())
        assert reply["error"]["code"] == "invalid_request"
        writer.close()
        assert await call_control(tmp_path, "x", {}) is not None
        await server.close()

    asyncio.run(run())


def test_a_client_that_hangs_up_or_sends_too_much_does_no_harm(tmp_path: Path) -> None:
    async def run() -> None:
        server = await serve_control(tmp_path, echo)
        path = tmp_path / control.SOCKET_NAME
        _, gone = await asyncio.open_unix_connection(path)
        gone.close()
        reader, much = await asyncio.open_unix_connection(path)
        much.write(b"x" * (control.REQUEST_BYTES_MAX + 1024))
        assert await reader.read() == b""
        much.close()
        assert await call_control(tmp_path, "x", {}) is not None
        await server.close()

    asyncio.run(run())


def test_a_gateway_that_stops_in_mid_command_is_an_error(tmp_path: Path) -> None:
    asked = asyncio.Event()

    async def never(command: str, arguments: Mapping[str, object]) -> Mapping[str, object]:
        asked.set()
        return await asyncio.Future()

    async def run() -> None:
        server = await serve_control(tmp_path, never)
        call = asyncio.create_task(call_control(tmp_path, "x", {}))
        await asked.wait()
        await server.close()
        with pytest.raises(ServerError, match="did not answer"):
            await call

    asyncio.run(run())
