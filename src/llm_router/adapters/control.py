"""How the command line talks to a running gateway: one JSON line there, one back, over a socket file.

    client   {"command": "keys.create", "arguments": {"name": "alice"}}\\n
    gateway  {"result": {...}}\\n    or    {"error": {"code": ..., "message": ..., "details": ...}}\\n

The socket is ``control.sock`` in the data folder, for its owner alone. Where that path is too long
for a socket address, the socket lies in a private folder below the system's temporary one, and
``control.path`` in the data folder says where.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

import msgspec

from llm_router.domain.errors import InvalidRequest, RouterError, ServerError

SOCKET_NAME = "control.sock"
POINTER_NAME = "control.path"

ADDRESS_BYTES_MAX = 100
"""Socket addresses hold 104 (BSD, macOS) to 108 (Linux) bytes, one of them NUL."""

REQUEST_BYTES_MAX = 1024 * 1024
REPLY_BYTES_MAX = 64 * 1024 * 1024
REQUEST_S = 10.0
"""How long a client may take to send its line."""

REPLY_S = 60.0
"""How long a gateway may take to answer."""

CONNECTIONS_MAX = 32
"""Beyond it connections wait for their turn."""

Handler = Callable[[str, Mapping[str, object]], Awaitable[Mapping[str, object]]]


class _Call(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    command: str
    arguments: dict[str, object] = {}


class ControlServer:
    """A socket that answers commands until it is closed. Made by :func:`serve_control`."""

    def __init__(self, data_dir: Path, handler: Handler) -> None:
        self._data_dir = data_dir
        self._handler = handler
        self._turns = asyncio.Semaphore(CONNECTIONS_MAX)
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._path: Path | None = None
        self._folder: Path | None = None
        self._inode = 0

    async def open(self) -> None:
        """Bind and listen, in the place of a socket that a dead gateway left behind.

        Raises:
            ServerError: a live gateway answers there.
            OSError: the data folder cannot be written.
        """
        if await answers(self._data_dir):
            raise ServerError(
                f"another gateway runs on the data folder {self._data_dir}", code="already_running"
            )
        _forget(self._data_dir)
        path = self._data_dir / SOCKET_NAME
        if len(os.fsencode(path)) > ADDRESS_BYTES_MAX:
            path = self._elsewhere()
        listener = _bind(path)
        self._path, self._inode = path, path.stat().st_ino
        self._server = await asyncio.start_unix_server(self._serve, sock=listener, limit=REQUEST_BYTES_MAX)

    async def close(self) -> None:
        """Stop answering and remove the socket. Calls that are under way are cut off."""
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        with contextlib.suppress(OSError):
            if self._path is not None and self._path.stat().st_ino == self._inode:
                _forget(self._data_dir)
                self._path.unlink(missing_ok=True)
        if self._folder is not None:
            _remove(self._folder)

    def _elsewhere(self) -> Path:
        """A short path in a folder of our own, noted in the data folder."""
        import tempfile  # hardly ever needed: a data folder with so long a path is rare

        self._folder = Path(tempfile.mkdtemp(prefix="llm-router-"))
        path = self._folder / SOCKET_NAME
        if len(os.fsencode(path)) > ADDRESS_BYTES_MAX:
            _remove(self._folder)
            self._folder = Path(tempfile.mkdtemp(prefix="llm-router-", dir="/tmp"))
            path = self._folder / SOCKET_NAME
        pointer = self._data_dir / POINTER_NAME
        pointer.unlink(missing_ok=True)
        handle = os.open(pointer, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(os.fsencode(path))
        return path

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None, "start_unix_server runs this in a task"
        self._tasks.add(task)
        try:
            async with self._turns:
                reply = await self._reply(reader)
            if reply is not None:
                writer.write(reply + b"\n")
                await writer.drain()
        except (OSError, asyncio.CancelledError):
            pass  # the client went away, or the gateway stops
        finally:
            self._tasks.discard(task)
            writer.close()
            with contextlib.suppress(OSError, asyncio.CancelledError):
                await writer.wait_closed()

    async def _reply(self, reader: asyncio.StreamReader) -> bytes | None:
        try:
            async with asyncio.timeout(REQUEST_S):
                line = await reader.readuntil(b"\n")
        except (TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            return None  # not a client of ours
        try:
            call = msgspec.json.decode(line, type=_Call)
            result = await self._handler(call.command, call.arguments)
            return msgspec.json.encode({"result": result})
        except msgspec.DecodeError as error:
            return _error(InvalidRequest(f"not a command: {error}"))
        except RouterError as error:
            return _error(error)


async def serve_control(data_dir: Path, handler: Handler) -> ControlServer:
    """Answer commands for the gateway whose data folder this is; close() ends it.

    Raises:
        ServerError: another gateway answers for that folder.
        OSError: the folder cannot be written.
    """
    server = ControlServer(data_dir, handler)
    await server.open()
    return server


async def call_control(
    data_dir: Path, command: str, arguments: Mapping[str, object]
) -> dict[str, object] | None:
    """Run a command in the gateway that uses the data folder; None if none runs.

    Fractional numbers of the answer stay verbatim (``msgspec.Raw``), so that no amount is rounded.

    Raises:
        RouterError: the gateway refused the command, with its code and message.
        ServerError: it did not answer.
    """
    opened = await _connect(data_dir)
    if opened is None:
        return None
    reader, writer = opened
    try:
        async with asyncio.timeout(REPLY_S):
            writer.write(msgspec.json.encode({"command": command, "arguments": arguments}) + b"\n")
            await writer.drain()
            line = await reader.readuntil(b"\n")
    except (TimeoutError, OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        raise ServerError(
            f"the gateway that uses {data_dir} did not answer; its own output says why",
            code="no_answer",
        ) from None
    finally:
        writer.close()
    return _result(line)


def _result(line: bytes) -> dict[str, object]:
    reply = msgspec.json.Decoder(float_hook=_verbatim).decode(line)
    if isinstance(reply, dict) and isinstance(reply.get("result"), dict):
        result: dict[str, object] = reply["result"]
        return result
    error = reply.get("error") if isinstance(reply, dict) else None
    if not isinstance(error, dict):
        raise ServerError("the gateway's answer cannot be read; is it of another version?", code="no_answer")
    raise RouterError(
        str(error.get("message", "")),
        code=str(error.get("code", "server_error")),
        details=error.get("details") or {},
    )


def _verbatim(number: str) -> msgspec.Raw:
    return msgspec.Raw(number.encode())


def _error(error: RouterError) -> bytes:
    body = {"code": error.code, "message": error.message, "details": error.details}
    return msgspec.json.encode({"error": body})


def _bind(path: Path) -> socket.socket:
    """Bind, and close it to others before anybody can connect: it does not listen yet."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.setblocking(False)
        listener.bind(str(path))
        path.chmod(0o600)
    except OSError:
        listener.close()
        raise
    return listener


async def _connect(data_dir: Path) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
    path = _find(data_dir)
    if path is None:
        return None
    try:
        return await asyncio.open_unix_connection(path, limit=REPLY_BYTES_MAX)
    except (FileNotFoundError, ConnectionRefusedError):
        return None  # left behind by a gateway that was killed
    except OSError as error:
        raise ServerError(
            f"cannot talk to the gateway at {path}: {error.strerror or error}", code="no_answer"
        ) from None


async def answers(data_dir: Path) -> bool:
    """Whether a gateway runs on the data folder.

    Raises:
        ServerError: something is there that cannot be talked to.
    """
    opened = await _connect(data_dir)
    if opened is None:
        return False
    opened[1].close()
    return True


def _find(data_dir: Path) -> Path | None:
    pointer = data_dir / POINTER_NAME
    with contextlib.suppress(OSError):
        return Path(os.fsdecode(pointer.read_bytes()))
    path = data_dir / SOCKET_NAME
    return path if path.exists() else None


def _remove(folder: Path) -> None:
    import shutil

    shutil.rmtree(folder, ignore_errors=True)


def _forget(data_dir: Path) -> None:
    """Remove what a gateway leaves in the data folder, and the socket it points to."""
    pointer = data_dir / POINTER_NAME
    with contextlib.suppress(OSError):
        Path(os.fsdecode(pointer.read_bytes())).unlink(missing_ok=True)
    pointer.unlink(missing_ok=True)
    (data_dir / SOCKET_NAME).unlink(missing_ok=True)
