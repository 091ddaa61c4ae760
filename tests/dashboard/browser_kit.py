"""A browser before a gateway, which notices whatever a page should not do."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from gateway_kit import Gateway

CHROMIUM = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))),
    None,
)

WAIT_MS = 60_000
"""For whatever a page is to show: machines may be slow."""

DESKTOP = {"width": 1280, "height": 900}
PHONE = {"width": 390, "height": 844}

SCRIPTS = (
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(2)>",
    "<svg/onload=alert(3)>",
    "\"><iframe srcdoc='<script>alert(4)</script>'>",
    "javascript:alert(5)",
    "'-alert(6)-'",
    "{{constructor.constructor('alert(7)')()}}",
    "</title><style>*{display:none}</style>",
    '<a href="javascript:alert(8)">x</a>',
    "&lt;img src=x onerror=alert(9)&gt;",
    "<b>bold</b>",
    "${alert(10)}`",
)
"""Names that would do something if anything took them for more than text."""


class Watched:
    """A page, with what it complained of."""

    def __init__(self, page: Any, gateway: Gateway) -> None:
        self.page = page
        self.complaints: list[str] = []
        self.url = f"http://127.0.0.1:{gateway.port}"
        page.set_default_timeout(WAIT_MS)
        page.on("console", self._said)
        page.on("pageerror", lambda error: self.complaints.append(f"error: {error}"))
        page.on("dialog", self._asked)
        page.on("requestfailed", self._failed)

    def _said(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(f"{message.type}: {message.text}")

    def _asked(self, dialog: Any) -> None:
        self.complaints.append(f"a script asked: {dialog.message}")
        dialog.dismiss()

    def _failed(self, request: Any) -> None:
        if not request.url.startswith((self.url, "blob:", "data:")):
            self.complaints.append(f"asked another host: {request.url}")

    def open(self, path: str) -> None:
        """Go to a path and wait until nothing is being loaded there."""
        self.page.goto(self.url + path)
        self.settled()

    def settled(self) -> None:
        self.page.wait_for_function(
            "() => document.querySelector('h1') && !document.querySelector('.skeleton, [aria-busy=true]')"
        )


@contextmanager
def browsing(
    chromium: Any, gateway: Gateway, *, cookie: str = "", dark: bool = False, phone: bool = False
) -> Iterator[Watched]:
    """A page of its own, in a browser with the cookie of somebody's session. It must have had nothing to complain of."""
    context = chromium.new_context(
        viewport=PHONE if phone else DESKTOP,
        color_scheme="dark" if dark else "light",
        reduced_motion="reduce",
    )
    try:
        if cookie:
            name, _, value = cookie.partition("=")
            context.add_cookies([{"name": name, "value": value, "domain": "127.0.0.1", "path": "/"}])
        watched = Watched(context.new_page(), gateway)
        yield watched
        assert watched.complaints == []
    finally:
        context.close()
