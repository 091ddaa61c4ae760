"""The keyboard alone: menus, the navigation of a phone, and addresses that lead to what one may not see."""

from __future__ import annotations

from typing import Any

from browser_kit import browsing
from gateway_kit import Gateway
from people_kit import Browser, invited

FOCUSED = "() => document.activeElement.innerText.trim() || document.activeElement.ariaLabel"


def test_the_first_and_last_of_a_menu_are_a_key_away(chromium: Any, gateway: Gateway, ada: Browser) -> None:
    with browsing(chromium, gateway, cookie=ada.cookie) as watched:
        watched.open("/keys")
        page = watched.page
        opener = page.locator("td .menu-anchor button").first
        opener.focus()
        page.keyboard.press("Enter")
        items = page.locator(".menu:popover-open [role=menuitem]")
        items.first.wait_for()
        names = [each.strip() for each in items.all_inner_texts()]
        assert page.evaluate(FOCUSED) == names[0]
        page.keyboard.press("End")
        assert page.evaluate(FOCUSED) == names[-1]
        page.keyboard.press("ArrowDown")
        assert page.evaluate(FOCUSED) == names[0]
        page.keyboard.press("End")
        page.keyboard.press("Home")
        assert page.evaluate(FOCUSED) == names[0]
        page.keyboard.press("Escape")
        items.first.wait_for(state="hidden")
        assert opener.evaluate("each => each === document.activeElement")


def test_the_navigation_of_a_phone_takes_and_gives_back_the_focus(
    chromium: Any, gateway: Gateway, ada: Browser
) -> None:
    with browsing(chromium, gateway, cookie=ada.cookie, phone=True) as watched:
        watched.open("/keys")
        page = watched.page
        opener = page.get_by_role("button", name="Menu", exact=True)
        opener.focus()
        page.keyboard.press("Enter")
        assert opener.get_attribute("aria-expanded") == "true"
        assert page.evaluate(FOCUSED) == "Home"
        assert page.locator("main").evaluate("each => each.inert")
        page.keyboard.press("Escape")
        assert opener.get_attribute("aria-expanded") == "false"
        assert page.evaluate(FOCUSED) == "Menu"
        page.keyboard.press("Enter")
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        page.get_by_role("heading", name="Playground").wait_for()
        assert not page.locator("main").evaluate("each => each.inert")


def test_settings_that_a_role_does_not_show_say_so(chromium: Any, gateway: Gateway, ada: Browser) -> None:
    viewer = invited(ada, "default", "viewer", "reader@example.com")
    with browsing(chromium, gateway, cookie=viewer.cookie) as watched:
        watched.open("/settings/providers")
        watched.page.get_by_text("Your role does not show you this").wait_for()
        watched.open("/settings/nothing")
        watched.page.get_by_text("There is no such part").wait_for()
        watched.page.get_by_role("link", name="To your own settings").click()
        watched.page.get_by_label("Present password").wait_for()
