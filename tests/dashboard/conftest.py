"""A gateway with its sandbox, its operator, and a browser; without one, these tests are skipped."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

HTTP = str(Path(__file__).parents[1] / "http")
if HTTP not in sys.path:
    sys.path.append(HTTP)

from browser_kit import CHROMIUM  # noqa: E402
from gateway_kit import Gateway  # noqa: E402
from people_kit import Browser, first_operator, setup_token  # noqa: E402


class Chromium:
    """A browser and the thread that it lives in. It keeps an event loop running there, which no other test may meet."""

    def __init__(self, executable: str, start: Any) -> None:
        self.thread = ThreadPoolExecutor(max_workers=1)
        self._playwright = self.thread.submit(lambda: start().start()).result()
        self._browser = self.thread.submit(
            self._playwright.chromium.launch,
            executable_path=executable,
            args=["--no-sandbox", "--disable-dev-shm-usage"],
        ).result()

    def new_context(self, **options: Any) -> Any:
        """In the thread of the browser."""
        return self._browser.new_context(**options)

    def close(self) -> None:
        self.thread.submit(self._browser.close).result()
        self.thread.submit(self._playwright.stop).result()
        self.thread.shutdown()


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> object | None:
    """Run what uses the browser in its thread."""
    chromium = pyfuncitem.funcargs.get("chromium")
    if chromium is None:
        return None
    given = {name: pyfuncitem.funcargs[name] for name in pyfuncitem._fixtureinfo.argnames}
    chromium.thread.submit(pyfuncitem.obj, **given).result()
    return True


@pytest.fixture(scope="module")
def chromium() -> Iterator[Chromium]:
    """The browser itself."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("no Chromium is installed")
    try:
        browser = Chromium(CHROMIUM, playwright.sync_playwright)
    except playwright.Error as error:
        pytest.skip(f"Chromium does not start here: {error.message[:200]}")
    yield browser
    browser.close()


@pytest.fixture(scope="module")
def gateway(chromium: Chromium, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    running = Gateway(tmp_path_factory.mktemp("dashboard"), "--sandbox", config="[credits]\nstarting = 100\n")
    yield running
    assert running.stop() == 0


@pytest.fixture(scope="module")
def ada(gateway: Gateway) -> Browser:
    """The operator, who owns the account ``default``."""
    return first_operator(gateway)


@pytest.fixture
def new_gateway(chromium: Chromium, tmp_path: Path) -> Iterator[tuple[Gateway, str]]:
    """A gateway that nobody has set up, and the path of the link for it."""
    running = Gateway(tmp_path, "--sandbox")
    yield running, f"/set-up#{setup_token(running)}"
    assert running.stop() == 0
