"""What a gateway loads of its HTTP server, and what it leaves to others."""

from __future__ import annotations

import subprocess
import sys

HEAVY = ("click", "uvicorn.main", "aiohttp", "argon2", "asyncpg", "llm_router.sandbox")


def _python(code: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60
    ).stdout.strip()


def test_a_gateway_loads_nothing_heavy_that_it_may_not_need() -> None:
    code = f"import sys, llm_router.app; print([name for name in {HEAVY} if name in sys.modules])"
    assert _python(code) == "[]"


def test_uvicorn_is_whole_for_whoever_asks_for_the_rest_of_it() -> None:
    code = (
        "import llm_router.edge.lean_uvicorn, uvicorn, uvicorn.server\n"
        "print(uvicorn.Server is uvicorn.server.Server, hasattr(uvicorn, 'none'), uvicorn.run.__module__,"
        " type(uvicorn.main).__name__, uvicorn.main is sys.modules['uvicorn.main'].main)"
    )
    assert _python("import sys\n" + code) == "True False uvicorn.main Command True"


def test_what_configures_logs_is_loaded_when_it_is_asked_for() -> None:
    code = (
        "import sys, llm_router.edge.lean_uvicorn, logging, uvicorn.config as config\n"
        "before = 'logging.handlers' in sys.modules\n"
        "config.logging.config.dictConfig({'version': 1, 'root': {'level': 'ERROR'}})\n"
        "import logging.config\n"
        "print(before, logging.getLogger().level, logging.config is sys.modules['logging.config'])"
    )
    assert _python(code) == "False 40 True"
