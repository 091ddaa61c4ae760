"""Logs, usage and routing in a real browser: what ends appears and opens with its story."""

from __future__ import annotations

from typing import Any

from browser_kit import SCRIPTS, browsing
from gateway_kit import Gateway
from people_kit import Browser

MODEL = "gpt-5-mini"


def test_a_request_appears_while_one_watches_and_tells_its_story(
    chromium: Any, gateway: Gateway, ada: Browser
) -> None:
    with browsing(chromium, gateway, cookie=ada.cookie) as watched:
        page = watched.page
        watched.open("/logs?range=all")
        page.locator(".live.on").wait_for()
        answer = gateway.chat(MODEL, "hi")
        assert answer.status == 200
        id_ = answer.headers["x-generation-id"]
        page.locator(f"tr[data-id='{id_}'] .row-link").click()
        sheet = page.locator("dialog.drawer")
        sheet.get_by_text("What happened").wait_for()
        assert sheet.get_by_text("delivered").count() == 1
        sheet.get_by_role("button", name="Signed receipt").click()
        sheet.get_by_role("region", name="Receipt").wait_for()
        page.keyboard.press("Escape")
        assert gateway.chat("no-such-model", "hi").status == 404
        page.locator(".log-model", has_text="no-such-model").first.wait_for()
        page.get_by_label("Result").select_option("failed")
        page.locator(f"tr[data-id='{id_}']").wait_for(state="detached")


def test_use_and_a_dry_run(chromium: Any, gateway: Gateway, ada: Browser) -> None:
    assert gateway.chat(MODEL, "hi").status == 200
    with browsing(chromium, gateway, cookie=ada.cookie) as watched:
        page = watched.page
        watched.open("/usage")
        page.get_by_role("region", name="Use in parts").get_by_text(MODEL).wait_for()
        page.get_by_role("button", name="User", exact=True).click()
        page.get_by_role("region", name="Use in parts").get_by_text("no user named").first.wait_for()
        page.get_by_role("region", name="Statements").locator(".row-link").first.click()
        page.locator("dialog.drawer").get_by_text("Closing balance").wait_for()
        watched.open("/routing")
        page.get_by_label("Model, preset or auto").fill(MODEL)
        page.get_by_role("button", name="Ask what would happen").click()
        page.locator(".dry-run").get_by_text("Who can answer").wait_for()
        assert page.locator(".dry-run tbody tr").count() >= 1


def test_descriptions_and_users_are_text(chromium: Any, gateway: Gateway, ada: Browser) -> None:
    """They would do something if anything took them for more than text."""
    description = {"name": "hostile", "models": [MODEL], "description": SCRIPTS[0], "system": SCRIPTS[1]}
    assert ada.post("/presets", description).status in (200, 201)
    budget = {"scope": "user", "scope_id": SCRIPTS[1], "amount": 5, "window": "day"}
    assert ada.post("/budgets", budget).status == 201
    with browsing(chromium, gateway, cookie=ada.cookie) as watched:
        page = watched.page
        for path in (
            "/",
            "/logs?range=all",
            "/usage?by=user",
            "/usage?by=model",
            "/routing",
            "/settings/limits",
        ):
            watched.open(path)
            assert page.locator("#app :is(script, img, iframe, style)").count() == 0, path
        page.get_by_text(SCRIPTS[1]).first.wait_for()
        watched.open("/routing")
        page.get_by_text(SCRIPTS[0]).first.wait_for()
        page.get_by_text("@hostile").first.click()
        page.get_by_role("dialog").get_by_text("Version 1", exact=True).wait_for()
        page.get_by_role("dialog").get_by_text(SCRIPTS[1]).wait_for()
        assert page.get_by_role("dialog").locator(":is(script, img, iframe, style)").count() == 0
