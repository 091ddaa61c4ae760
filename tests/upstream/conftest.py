"""Run coroutine tests on the event loop under test, with clients and servers that are closed after."""

from __future__ import annotations

import inspect

import pytest
from upstream_world import BOTH, LEAN, Authority, World


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "world" in metafunc.fixturenames:
        only = getattr(metafunc.function, "lean_only", None) or getattr(metafunc.module, "LEAN_ONLY", None)
        pairs = LEAN if only else BOTH
        metafunc.parametrize("world", pairs, indirect=True, ids=["-".join(pair) for pair in pairs])


@pytest.fixture
def world(request: pytest.FixtureRequest) -> World:
    return World(*request.param)


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    arguments = {name: pyfuncitem.funcargs[name] for name in inspect.signature(pyfuncitem.obj).parameters}
    world = arguments.get("world") or World("lean", "asyncio")
    world.run(lambda: pyfuncitem.obj(**arguments))
    return True


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls"))
