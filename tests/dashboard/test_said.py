"""What is kept of requests and answers in a real browser: switched on, read, deleted; and keys of an account's own."""

from __future__ import annotations

from typing import Any

from browser_kit import Watched, browsing
from gateway_kit import Gateway, until
from people_kit import Browser, invited

MODEL = "gpt-5-mini"
HOSTILE = '<img src=x onerror="alert(1)"><script>alert(2)</script> javascript:alert(3) a@b.example'


def forgive(watched: Watched, status: int) -> None:
    """The browser's own line about an answer that was to be expected is no complaint of the page."""
    watched.complaints[:] = [each for each in watched.complaints if f"status of {status}" not in each]


def test_what_is_said_is_kept_read_and_deleted(chromium: Any, gateway: Gateway, ada: Browser) -> None:
    with browsing(chromium, gateway, cookie=ada.cookie) as watched:
        page = watched.page
        watched.open("/settings/retention")
        page.get_by_text("nothing is kept").first.wait_for()
        page.get_by_role("button", name="Keep them").click()
        sheet = page.locator("dialog")
        sheet.get_by_label("Patterns of more to take out").fill("(a")
        sheet.get_by_role("button", name="Keep them").click()
        sheet.get_by_text("it has a ( without a )").wait_for()
        forgive(watched, 400)
        sheet.get_by_label("Patterns of more to take out").fill(r"EMP-\d{4}")
        sheet.get_by_label("Days").fill("7")
        sheet.get_by_role("button", name="Keep them").click()
        page.get_by_role("button", name="Keep nothing").wait_for()
        assert ada.get("/content?account=default").json["rule"]["retention_days"] == 7

        answer = gateway.chat(MODEL, HOSTILE + " EMP-1234")
        until(lambda: gateway.get(f"/v1/generations/{answer.id}/content").status == 200)
        watched.open(f"/logs?range=all&id={answer.id}")
        drawer = page.locator("dialog.drawer")
        drawer.get_by_role("tab", name="Request").click()
        said = drawer.locator(".said-turn p")
        said.wait_for()
        assert said.inner_text() == HOSTILE.replace("a@b.example", "[redacted:email]") + " [redacted:pattern]"
        drawer.get_by_role("tab", name="Response").click()
        drawer.get_by_text("HTTP 200").wait_for()
        assert "[redacted:email]" in drawer.locator(".said-turn p").inner_text()
        drawer.get_by_role("button", name="Delete what was said").click()
        page.get_by_role("button", name="Delete", exact=True).click()
        drawer.get_by_text("Nothing is kept any more of what was said here").wait_for()

        watched.open("/settings/retention")
        page.get_by_label("What", exact=True).select_option("everything")
        page.get_by_role("button", name="Delete", exact=True).click()
        page.locator("dialog").get_by_role("button", name="Delete", exact=True).click()
        page.get_by_text("Deleted: 0 requests").wait_for()
        page.get_by_role("button", name="Keep nothing").click()
        page.locator("dialog").get_by_role("button", name="Keep nothing").click()
        page.get_by_role("button", name="Keep them").wait_for()
        assert ada.get("/content?account=default").json["rule"] is None


def test_a_request_of_which_nothing_is_kept_says_so(chromium: Any, gateway: Gateway, ada: Browser) -> None:
    answer = gateway.chat(MODEL, "hi")
    with browsing(chromium, gateway, cookie=ada.cookie, phone=True, dark=True) as watched:
        watched.open(f"/logs?range=all&id={answer.id}")
        drawer = watched.page.locator("dialog.drawer")
        drawer.get_by_role("tab", name="Request").click()
        drawer.get_by_text("Nothing is kept of what was said").wait_for()
        forgive(watched, 404)


def test_keys_of_ones_own(chromium: Any, gateway: Gateway, ada: Browser) -> None:
    with browsing(chromium, gateway, cookie=ada.cookie) as watched:
        page = watched.page
        watched.open("/settings/own-keys")
        page.get_by_text("No keys of your own").wait_for()
        page.get_by_role("button", name="Add a key").click()
        sheet = page.locator("dialog")
        sheet.get_by_label("Provider").select_option("groq")
        sheet.get_by_label("Key", exact=True).fill("gsk_of_my_own_123456")
        sheet.get_by_role("button", name="Keep it").click()
        row = page.get_by_role("row", name="Groq")
        row.wait_for()
        assert "gsk_of_my_own" not in page.content()
        row.get_by_role("button", name="Remove").click()
        page.locator("dialog").get_by_role("button", name="Remove").click()
        page.get_by_text("No keys of your own").wait_for()


def test_who_may_not_read_has_no_tabs(chromium: Any, gateway: Gateway, ada: Browser) -> None:
    member = invited(ada, "default", "developer", "dev@said.example")
    with browsing(chromium, gateway, cookie=member.cookie) as watched:
        page = watched.page
        watched.open("/settings/retention")
        page.get_by_text("nothing is kept").wait_for()
        assert page.get_by_role("button", name="Keep them").count() == 0
        assert page.get_by_text("Delete on request").count() == 0
