"""uvicorn without its command line, which nobody here uses: loading that takes longer than all the rest of it.

The package imports it with everything else. What it finds in its place gives way to the real one as soon
as somebody else in this process asks for ``uvicorn.main`` or ``uvicorn.run``.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import Any, cast

_MAIN = "uvicorn.main"
_ITS_OWN = ("main", "run")
"""What the package takes from there, beside its server class."""

_UNREAD = ("logging.config",)
"""What reads a configuration of logs, which nobody here gives: with what it loads, some 0.4 MB."""


def _stand_in(name: str) -> ModuleType:
    """In the place of a module, which is loaded when something of it is asked for."""

    def ask(wanted: str) -> Any:
        if wanted.startswith("__"):
            raise AttributeError(f"module {name!r} has no attribute {wanted!r}")
        return getattr(importlib.import_module(name), wanted)

    found: Any = ModuleType(name)
    found.__getattr__ = ask
    parent, _, child = name.rpartition(".")
    if parent:
        setattr(importlib.import_module(parent), child, found)  # as an import would
    return cast(ModuleType, found)


def _load() -> None:
    if "uvicorn" in sys.modules:  # somebody has paid for it already
        return
    stand_ins = {name: _stand_in(name) for name in _UNREAD if name not in sys.modules}
    sys.modules.update(stand_ins)
    place_holder: Any = ModuleType(_MAIN)
    place_holder.Server = place_holder.main = place_holder.run = None
    sys.modules[_MAIN] = place_holder
    try:
        package: Any = importlib.import_module("uvicorn")
    finally:
        for name in (_MAIN, *stand_ins):
            del sys.modules[name]
    for name in _ITS_OWN:
        delattr(package, name)

    def ask(name: str) -> Any:
        if name in _ITS_OWN:
            real = importlib.import_module(_MAIN)
            package.main, package.run = real.main, real.run  # as the package would have
            return getattr(package, name)
        raise AttributeError(f"module 'uvicorn' has no attribute {name!r}")

    package.__getattr__ = ask
    package.Server = importlib.import_module("uvicorn.server").Server


_load()

import httptools  # noqa: E402
from uvicorn import Config, Server  # noqa: E402
from uvicorn.protocols.http.flow_control import FlowControl  # noqa: E402
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol  # noqa: E402

__all__ = ["STATUS_LINE", "Config", "FlowControl", "HttpToolsProtocol", "Server", "request_parser"]


def request_parser(protocol: HttpToolsProtocol) -> httptools.HttpRequestParser:
    """A parser as uvicorn makes one for a connection: it begins between two requests."""
    parser = httptools.HttpRequestParser(protocol)
    if hasattr(parser, "set_dangerous_leniencies"):  # what follows a request that closes waits for its turn
        parser.set_dangerous_leniencies(lenient_data_after_close=True)
    return parser
