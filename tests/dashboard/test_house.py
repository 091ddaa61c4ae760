"""What the operator alone sets, in a real browser: where alerts go, where people sign in, and dry runs."""

from __future__ import annotations

from typing import Any

import pytest
from browser_kit import browsing
from gateway_kit import Gateway, until
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
        page.wait_for_function("() => !document.querySelector('dialog')")
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
        page.get_by_role("cell", name="everything").wait_for()
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


TESTED = {
    "ok": False,
    "issuer": "https://login.example.com",
    "checks": [
        {"check": "description", "ok": True, "found": "https://login.example.com/d", "problem": None},
        {"check": "pkce", "ok": False, "found": None, "problem": "it does not take PKCE"},
    ],
}


def test_single_sign_on_is_set_tested_kept_and_removed(chromium: Any, gateway: Gateway, ada: Browser) -> None:
    with browsing(chromium, gateway, cookie=ada.cookie) as watched:
        page = watched.page
        page.route("**/api/v1/gateway/sso/test", lambda route: route.fulfill(json=TESTED))
        watched.open("/settings/sso")
        page.get_by_label("Issuer", exact=True).fill("https://login.example.com")
        page.get_by_role("button", name="Test").click()
        page.get_by_text("it does not take PKCE").wait_for()
        page.get_by_label("Client ID").fill("gateway")
        page.get_by_label("Client secret").fill("never-shown-again")
        for _ in range(2):
            page.get_by_role("button", name="Add a group").click()
        for row, role in enumerate(("admin", "viewer")):
            page.get_by_label("Group", exact=True).nth(row).fill("engineers")
            page.get_by_label("Role of the group").nth(row).select_option(role)
        page.get_by_role("button", name="Put it in use").click()
        page.get_by_text("One group is there twice").wait_for()
        page.get_by_label("Group", exact=True).nth(1).fill("guests")
        page.get_by_role("button", name="Put it in use").click()
        page.get_by_text("in use", exact=True).wait_for()
        kept = ada.get("/gateway/sso").json
        assert (kept["source"], kept["client_secret_set"]) == ("stored", True)
        assert kept["roles"] == {"engineers": "admin", "guests": "viewer"}
        page.get_by_text("One is kept").wait_for()
        assert "never-shown-again" not in page.content()
        page.get_by_role("button", name="Remove the group guests").click()
        with page.expect_response(lambda answer: answer.request.method == "PUT"):
            page.get_by_role("button", name="Save").click()
        kept = ada.get("/gateway/sso").json
        assert (kept["client_secret_set"], kept["roles"]) == (True, {"engineers": "admin"})
        watched.open("/settings/sso")
        page.get_by_role("button", name="Remove", exact=True).click()
        page.get_by_role("dialog").get_by_role("button", name="Do without").click()
        page.get_by_text("not in use", exact=True).wait_for()
        assert ada.get("/gateway/sso").json["source"] is None


def test_an_issuer_of_the_configuration_is_only_shown(chromium: Any, gateway: Gateway, ada: Browser) -> None:
    found = {**ada.get("/gateway/sso").json, "source": "config", "issuer": "https://login.example.com"}
    with browsing(chromium, gateway, cookie=ada.cookie) as watched:
        page = watched.page
        page.route("**/api/v1/gateway/sso", lambda route: route.fulfill(json=found))
        watched.open("/settings/sso")
        page.get_by_text("https://login.example.com").wait_for()
        assert page.get_by_text("[oidc]").is_visible()
        assert page.get_by_role("button", name="Test").is_visible()
        assert page.locator(".sections form").count() == 0


def test_a_change_is_tried_on_the_last_requests(chromium: Any, gateway: Gateway, ada: Browser) -> None:
    id_ = gateway.chat("gpt-5-mini", "hi").id
    until(lambda: any(each["id"] == id_ for each in ada.get("/exchanges?account=default").json["data"]))
    with browsing(chromium, gateway, cookie=ada.cookie) as watched:
        watched.open("/routing")
        page = watched.page
        change = page.get_by_label("The change, as TOML")
        change.fill('[routing]\nstrategy = "nope"')
        page.get_by_role("button", name="Try the change").click()
        page.get_by_text("routing.strategy: must be one of").wait_for()
        assert change.get_attribute("aria-invalid") == "true"
        assert all("400" in each for each in watched.complaints)
        watched.complaints.clear()
        page.get_by_role("button", name="Without a provider").click()
        page.get_by_role("button", name="Try the change").click()
        row = page.get_by_role("region", name="What changes").locator("tbody tr").first
        row.wait_for()
        assert "goes elsewhere" in row.inner_text()
        row.locator(".row-link").click()
        sheet = page.get_by_role("dialog")
        assert sheet.locator(".plan").nth(0).inner_text().startswith("openai/")
        assert not sheet.locator(".plan").nth(1).inner_text().startswith("openai/")
        assert id_ in (sheet.get_by_role("link", name="See it in the log").get_attribute("href") or "")
