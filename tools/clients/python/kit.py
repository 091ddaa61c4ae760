"""What the scripts of the Python clients share: checks, their upstreams, and one JSON line a result.

A script makes one or more :class:`Client` objects, marks its checks and ends with ``report``. It
runs in the environment of the client that it tries out, so that nothing but the standard library
can be used here. The address, the key and the models come from the environment: see ``run.py``.
"""

from __future__ import annotations

import base64
import importlib.metadata
import json
import os
import struct
import time
import zlib
from collections.abc import Callable
from typing import Any

ROOT = os.environ["LLM_ROUTER_ROOT"]
"""The gateway without a path: ``http://127.0.0.1:PORT``."""

KEY = os.environ["LLM_ROUTER_KEY"]
MODELS: dict[str, str] = json.loads(os.environ["LLM_ROUTER_MODELS"])
"""A model behind each upstream dialect."""

EMBEDDING_MODEL = os.environ.get("LLM_ROUTER_EMBEDDING_MODEL", "text-embedding-3-small")
WRONG_KEY = "sk-lr-" + "0" * 43
UNKNOWN = "no-such-model"
WEATHER_ASKED = "What is the weather in Paris?"
NAME_TOLD = "My name is Ada. Say hello."
NAME_ASKED = "What is my name?"
PERSON_TOLD = "Ada Lovelace is 36 years old."
WEATHER_SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string", "description": "Name of the city"}},
    "required": ["city"],
    "additionalProperties": False,
}


def _png(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + b"\x20\x60\xa0" * width for _ in range(height))
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


PNG = _png(6, 4)
PNG_BASE64 = base64.b64encode(PNG).decode()
PNG_URL = "data:image/png;base64," + PNG_BASE64


class Client:
    """One row of the matrix: a client, perhaps in one of several ways to use it.

    Args:
        name: as the row is called.
        package: whose version is told; "" where ``version`` is.
    """

    def __init__(self, name: str, package: str = "", version: str = "") -> None:
        self.name = name
        self.version = version or importlib.metadata.version(package)
        self._checks: list[tuple[str, bool, Callable[..., Any]]] = []

    def each(self, check: Callable[[str], Any]) -> Callable[[str], Any]:
        """Mark a check that runs with a model behind each upstream dialect."""
        self._checks.append((check.__name__, True, check))
        return check

    def once(self, check: Callable[[], Any]) -> Callable[[], Any]:
        """Mark a check that runs once."""
        self._checks.append((check.__name__, False, check))
        return check

    def run(self) -> None:
        for name, each, check in self._checks:
            for dialect, model in MODELS.items() if each else [("", "")]:
                self._tell(name, dialect, check, (model,) if each else ())

    def _tell(self, name: str, dialect: str, check: Callable[..., Any], arguments: tuple[str, ...]) -> None:
        started = time.monotonic()
        try:
            detail, ok = check(*arguments), True
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                raise
            detail, ok = f"{type(error).__name__}: {error}", False
        line = {
            "client": self.name,
            "version": self.version,
            "check": name.lstrip("_"),
            "upstream": dialect,
            "ok": ok,
        }
        line["detail"] = "" if detail is None else str(detail)[:600]
        line["ms"] = round((time.monotonic() - started) * 1000)
        print(json.dumps(line), flush=True)


def report(*clients: Client) -> None:
    """Run all checks of these clients."""
    for client in clients:
        client.run()


def raises(kind: type[BaseException], call: Callable[[], Any], *, status: int | None = None) -> str:
    """Have the call fail with the client's own exception; what it says.

    Raises:
        AssertionError: it did not fail, or otherwise.
    """
    try:
        call()
    except Exception as error:
        found = getattr(error, "status_code", None) or getattr(error, "code", None)
        told = f"{type(error).__name__} of status {found}: {error}"
        if not isinstance(error, kind) or (status is not None and isinstance(found, int) and found != status):
            raise AssertionError(f"not {kind.__name__} but {told}") from error
        return type(error).__name__
    raise AssertionError(f"no {kind.__name__}")


def has(text: object, *words: str) -> None:
    """See to it that an answer holds these words."""
    assert isinstance(text, str), f"no text but {text!r}"
    for word in words:
        assert word in text, f"{word!r} is not in {text!r}"


def waited(call: Callable[[], Any], least_s: float = 0.9) -> Any:
    """Make a call that has to be tried again after a pause; what it returns."""
    started = time.monotonic()
    result = call()
    took = time.monotonic() - started
    assert took >= least_s, f"the client did not wait: {took:.2f} s"
    return result


def ordered_retry(client: str, model: str) -> str:
    """A prompt whose first try is told to come again in a second. Each client asks in words of its own."""
    return f"[[error 429 after 1 x1]] Reply with exactly: pong. This is {client} for {model} at {time.time_ns()}."
