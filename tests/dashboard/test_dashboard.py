"""The dashboard in a real browser: the way in, a key, every screen, every role, and names that would be scripts."""

from __future__ import annotations

import re
import time
from typing import Any
from urllib.parse import quote

import pytest
from browser_kit import SCRIPTS, browsing
from gateway_kit import Gateway
from people_kit import PASSWORD, Browser, invited

from llm_router.access.totp import STEP_MS, code_at, secret_of


def test_the_first_way_through(chromium: Any, new_gateway: tuple[Gateway, str]) -> None:
    """The printed link, the first key, the first answer, out and in again."""
    gateway, link = new_gateway
    with browsing(chromium, gateway) as watched:
        page = watched.page
        page.goto(watched.url + link)
        page.get_by_label("Your name").fill("Ada")
        page.get_by_label("E-mail").fill("ada@example.com")
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Begin").click()
        page.get_by_role("heading", name="First steps").wait_for()
        page.locator(".steps").get_by_role("button", name="Make another").click()
        page.get_by_label("Name", exact=True).fill("website")
        page.get_by_role("button", name="Make the key").click()
        shown = page.get_by_role("region", name="Key", exact=True)
        assert re.fullmatch(r"sk-lr-\w{43}", shown.inner_text().strip())
        page.get_by_role("button", name="Done").click()
        page.get_by_role("button", name="Ask now").click()
        page.get_by_text("simulated by the sandbox").wait_for()
        assert page.locator(".answer").inner_text()
        page.get_by_role("button", name="Ada").click()
        page.get_by_role("menuitem", name="Sign out").click()
        page.get_by_label("E-mail").fill("ada@example.com")
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Sign in").click()
        page.get_by_role("heading", name="Home").wait_for()


@pytest.mark.parametrize("looks", [{}, {"dark": True, "phone": True}], ids=["light", "dark on a phone"])
def test_every_screen_is_whole(chromium: Any, gateway: Gateway, ada: Browser, looks: dict[str, bool]) -> None:
    with browsing(chromium, gateway, cookie=ada.cookie, **looks) as watched:
        watched.open("/")
        links = watched.page.locator(".side nav a").evaluate_all(
            "all => all.map(each => each.getAttribute('href'))"
        )
        assert {"/", "/keys", "/team", "/settings", "/audit"} <= set(links)
        for path in [
            *links,
            "/settings/account",
            "/settings/limits",
            "/settings/own-keys",
            "/settings/retention",
            "/settings/providers",
            "/settings/gateway",
            "/settings/alerts",
        ]:
            watched.open(path)
            assert watched.page.get_by_text("This could not be loaded").count() == 0, path
            width = watched.page.evaluate("document.documentElement.scrollWidth - innerWidth")
            assert width <= 0, f"{path} is {width} pixels too wide"


def test_names_are_text(chromium: Any, gateway: Gateway, ada: Browser) -> None:
    for name in SCRIPTS:
        assert ada.post("/keys?account=default", {"name": name}).status == 201
        assert ada.post("/teams?account=default", {"title": name}).status == 201
    assert ada.patch("/me", {"name": SCRIPTS[1]}).status == 200
    assert ada.patch("/accounts/default", {"title": SCRIPTS[0]}).status == 200
    with browsing(chromium, gateway, cookie=ada.cookie) as watched:
        for path in ("/", "/keys", "/team", "/settings/account", "/audit"):
            watched.open(path)
            assert watched.page.locator("#app :is(script, img, iframe, b:not(.clip), style)").count() == 0, (
                path
            )
        watched.open("/keys")
        for name in SCRIPTS:
            assert watched.page.get_by_role("button", name=name, exact=False).count() >= 1, name
        watched.page.locator("button.row-link", has_text=SCRIPTS[1]).click()
        watched.page.locator("dialog.drawer").get_by_text(SCRIPTS[1]).first.wait_for()


@pytest.mark.parametrize(
    ("role", "makes_keys", "missing"),
    [("developer", True, {"/audit"}), ("viewer", False, {"/audit"})],
)
def test_roles_see_what_they_may(
    chromium: Any, gateway: Gateway, ada: Browser, role: str, makes_keys: bool, missing: set[str]
) -> None:
    person = invited(ada, "default", role, f"{role}@example.com")
    with browsing(chromium, gateway, cookie=person.cookie) as watched:
        watched.open("/keys")
        assert (watched.page.get_by_role("button", name="New key").count() > 0) is makes_keys
        links = watched.page.locator(".side nav a").evaluate_all(
            "all => all.map(each => each.getAttribute('href'))"
        )
        assert {"/", "/keys", "/team", "/settings"} <= set(links)
        assert missing.isdisjoint(links)
        for path in links:
            watched.open(path)
            assert watched.page.get_by_text("This could not be loaded").count() == 0, path


def test_the_keyboard_reaches_everything(chromium: Any, gateway: Gateway, ada: Browser) -> None:
    with browsing(chromium, gateway, cookie=ada.cookie) as watched:
        watched.open("/")
        page = watched.page
        page.keyboard.press("Control+k")
        page.get_by_role("combobox").wait_for()
        page.keyboard.type("audit")
        page.keyboard.press("Enter")
        page.get_by_role("heading", name="Audit").wait_for()
        page.keyboard.press("Control+k")
        page.keyboard.type("dark colours")
        page.keyboard.press("Enter")
        page.wait_for_function("() => document.documentElement.dataset.theme === 'dark'")


def test_the_policy_holds(chromium: Any, gateway: Gateway) -> None:
    """What the page itself never tries is refused by the browser, too."""
    with browsing(chromium, gateway) as watched:
        watched.open("/sign-in")
        refused = watched.page.evaluate(
            """() => {
                const script = document.createElement('script');
                const tried = [
                    () => { document.body.innerHTML = '<b>x</b>'; },
                    () => { script.text = 'alert(1)'; },
                    () => { script.src = 'https://example.com/x.js'; },
                    () => document.write('<b>x</b>'),
                ];
                return tried.map((each) => { try { each(); return 'done'; } catch { return 'refused'; } });
            }"""
        )
        assert refused == ["refused"] * 4
        watched.complaints.clear()


def test_what_went_wrong_at_an_issuer_is_told_once_and_as_text(
    chromium: Any, gateway: Gateway, ada: Browser
) -> None:
    with browsing(chromium, gateway) as watched:
        told = f"None of your groups may use this gateway. {SCRIPTS[1]}"
        cookie = {
            "name": "llm_router_trouble",
            "value": quote(told),
            "domain": "127.0.0.1",
            "path": "/sign-in",
        }
        watched.page.context.add_cookies([cookie])
        watched.open("/sign-in")
        watched.page.get_by_role("alert").get_by_text(told).wait_for()
        watched.open("/sign-in")
        assert watched.page.get_by_text("None of your groups").count() == 0


QR = """async (texts) => {
  const { modules } = await import(document.querySelector('link[rel=stylesheet]').href.replace(/[^/]*$/, '') + 'lib/qr.js');
  return texts.map((text) => modules(text));
}"""

FULL = (14, 26, 42, 62, 84, 106, 122, 152, 180, 213, 251, 287, 331, 362, 412)
"""As many bytes as versions 1 to 15 take: then there is no filling, which others do otherwise."""


def test_qr_codes_are_those_of_another_encoder(chromium: Any, gateway: Gateway) -> None:
    segno = pytest.importorskip("segno", reason="segno is not installed")
    texts = ["".join(chr(33 + (at * 7 + size) % 90) for at in range(size)) for size in FULL]
    with browsing(chromium, gateway) as watched:
        watched.open("/sign-in")
        found = watched.page.evaluate(QR, [*texts, "x" * 413])
    assert found.pop() is None
    for version, (text, grid) in enumerate(zip(texts, found, strict=True), 1):
        options = {"error": "m", "mode": "byte", "version": version, "boost_error": False}
        codes = (segno.make(text, mask=mask, **options).matrix for mask in range(8))
        assert grid in [[list(row) for row in code] for code in codes], version


def test_a_second_factor_is_scanned_and_asked_for(chromium: Any, gateway: Gateway, ada: Browser) -> None:
    person = invited(ada, "default", "viewer", "factor@example.com")
    with browsing(chromium, gateway, cookie=person.cookie) as watched:
        watched.open("/settings/you")
        page = watched.page
        page.get_by_role("button", name="Set up").click()
        page.get_by_role("img", name="QR code for the authenticator").wait_for()
        page.get_by_text("It cannot be scanned").click()
        secret = page.get_by_role("region", name="Secret").inner_text().replace(" ", "")
        page.get_by_role("textbox", name="Code").fill(
            code_at(secret_of(secret), int(time.time() * 1000) // STEP_MS)
        )
        page.get_by_role("button", name="Put it in use").click()
        page.get_by_role("heading", name="Codes for recovery").wait_for()


SHIFTS = """() => {
  window.shifts = 0;
  const add = (list) => list.getEntries().forEach((each) => { window.shifts += each.value; });
  new PerformanceObserver(add).observe({ type: 'layout-shift' });
}"""

GO = "path => { window.shifts = 0; history.pushState({}, '', path); dispatchEvent(new PopStateEvent('popstate')); }"


def test_nothing_jumps_while_data_comes(chromium: Any, gateway: Gateway, ada: Browser) -> None:
    """What https://web.dev/articles/cls calls poor is never reached, however slow the machine is."""
    assert gateway.chat("gpt-5-mini", "hi").status == 200
    with browsing(chromium, gateway, cookie=ada.cookie, phone=True) as watched:
        watched.open("/audit")
        watched.page.evaluate(SHIFTS)
        found = {}
        for path in (
            "/",
            "/usage",
            "/team",
            "/keys",
            "/logs",
            "/routing",
            "/settings/limits",
            "/settings/gateway",
        ):
            watched.page.evaluate(GO, path)
            watched.settled()
            found[path] = watched.page.evaluate("() => window.shifts")
        assert all(shift < 0.25 for shift in found.values()), found
