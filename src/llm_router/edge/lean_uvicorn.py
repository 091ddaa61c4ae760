"""uvicorn without its command line, which nobody here uses: loading that takes longer than all the rest of it.

The package imports it with everything else. What it finds in its place gives way to the real one as soon
as somebody else in this process asks for ``uvicorn.main`` or ``uvicorn.run``.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import Any

_MAIN = "uvicorn.main"
_ITS_OWN = ("main", "run")
"""What the package takes from there, beside its server class."""


def _load() -> None:
    if "uvicorn" in sys.modules:  # somebody has paid for it already
        return
    place_holder: Any = ModuleType(_MAIN)
    place_holder.Server = place_holder.main = place_holder.run = None
    sys.modules[_MAIN] = place_holder
    try:
        package: Any = importlib.import_module("uvicorn")
    finally:
        del sys.modules[_MAIN]
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

from uvicorn import Config, Server  # noqa: E402
from uvicorn.protocols.http.flow_control import FlowControl  # noqa: E402
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol  # noqa: E402

__all__ = ["STATUS_LINE", "Config", "FlowControl", "HttpToolsProtocol", "Server"]
