"""What the operator alone sets, in a real browser: where alerts go."""

from __future__ import annotations

from typing import Any

import pytest
from browser_kit import browsing
from gateway_kit import Gateway
from people_kit import Browser

CONFIGURED = {
    "name": "webhook", "kind": "webhook", "source": "config", "url": "https://ops.example.com/", "to": None,
    "types": [], "enabled": True, "created": None, "waiting": 0, "last_tried": None, "delivered": None,
    "problem": None,
}  # fmt: skip


@pytest.fixture
def ways(ada: Browser) -> Any:
    """What the API says of the ways in which alerts leave."""
    return lambda: {each["name"]: each for each in ada.get("/gateway/alerts").json["data"]}


def test_where_alerts_go_is_added_tried_changed_and_removed(
    chromium: Any, gateway: Gateway, ada: Browser, ways: Any
) -> None:
    with browsing(chromium, gateway, cookie=ada.cookie) as watched:
        watched.open("/settings/alerts")
        page = watched.page
        page.get_by_role("button", name="Add a way").first.click()
        dialog = page.get_by_role("dialog")
        dialog.get_by_label("By").select_option("mail")
        assert dialog.get_by_label("Secret").is_hidden()
        dialog.get_by_label("By").select_option("webhook")
        dialog.get_by_label("Name").fill("ops")
        dialog.get_by_label("URL").fill("https://10.0.0.1/hook")
        dialog.get_by_label("credits.low").check()
        dialog.get_by_role("button", name="Add it").click()
        dialog.get_by_text("It is shown this once").wait_for()
        secret = dialog.locator("pre").inner_text()
        assert secret.startswith("whsec_")
        page.keyboard.press("Escape")
        assert secret not in page.content()
        assert ways()["ops"]["types"] == ["credits.low"]
        page.get_by_role("button", name="Send a test").click()
        page.get_by_role("cell", name="not a public address").wait_for()
        page.get_by_text("refused", exact=True).wait_for()
        page.get_by_role("button", name="Actions for ops").click()
        page.get_by_role("menuitem", name="Change").click()
        dialog.get_by_label("credits.low").uncheck()
        dialog.get_by_role("button", name="Save").click()
        dialog.wait_for(state="detached")
        assert (ways()["ops"]["types"], ways()["ops"]["url"]) == ([], "https://10.0.0.1/hook")
        page.get_by_role("button", name="Actions for ops").click()
        page.get_by_role("menuitem", name="Switch off").click()
        page.get_by_text("off", exact=True).wait_for()
        assert ways()["ops"]["enabled"] is False
        page.get_by_role("button", name="Actions for ops").click()
        page.get_by_role("menuitem", name="Remove").click()
        dialog.get_by_role("button", name="Remove").click()
        page.get_by_text("Nobody is told").wait_for()
        assert ways() == {}


def test_what_the_configuration_names_is_only_shown_and_tried(
    chromium: Any, gateway: Gateway, ada: Browser
) -> None:
    with browsing(chromium, gateway, cookie=ada.cookie) as watched:
        page = watched.page
        page.route(
            "**/api/v1/gateway/alerts", lambda route: route.fulfill(json={"data": [CONFIGURED], "types": []})
        )
        watched.open("/settings/alerts")
        page.get_by_text("configuration", exact=True).wait_for()
        assert page.get_by_role("button", name="Send a test").is_visible()
        assert page.get_by_role("button", name="Actions for webhook").count() == 0
