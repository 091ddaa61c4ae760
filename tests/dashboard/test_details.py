"""What pages say in small: wrong codes, balances, names, links from answers, the sandbox, phones, words."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlsplit

import pytest
from browser_kit import Watched, browsing
from gateway_kit import Gateway
from people_kit import Browser, invited

MODEL = "gpt-5-mini"

THREE = "/playground?model=gpt-5-mini&model=claude-haiku-4-5&model=gpt-5-nano"


def refused(watched: Watched, status: int) -> None:
    """The browser itself complains of a refusal, which the page has told."""
    assert watched.complaints
    assert all(str(status) in each for each in watched.complaints), watched.complaints
    watched.complaints.clear()


def test_a_wrong_code_or_password_is_told_where_it_was_typed(
    chromium: Any, gateway: Gateway, ada: Browser
) -> None:
    person = invited(ada, "default", "viewer", "wrong@example.com")
    with browsing(chromium, gateway, cookie=person.cookie) as watched:
        watched.open("/settings/you")
        page = watched.page
        page.get_by_label("Present password").fill("not this one at all")
        page.get_by_label("New password").fill("another long password")
        page.get_by_role("button", name="Change the password").click()
        page.get_by_role("alert").get_by_text("The current password is wrong").wait_for()
        assert page.get_by_label("Present password").get_attribute("aria-invalid") == "true"
        page.get_by_role("button", name="Set up").click()
        page.get_by_role("textbox", name="Code").fill("abcdef")
        page.get_by_role("button", name="Put it in use").click()
        page.locator("dialog").get_by_role("alert").get_by_text("This code is wrong").wait_for()
        assert page.get_by_role("textbox", name="Code").get_attribute("aria-invalid") == "true"
        assert urlsplit(page.url).path == "/settings/you"
        refused(watched, 401)


def test_an_ended_session_leads_to_signing_in(chromium: Any, gateway: Gateway, ada: Browser) -> None:
    person = invited(ada, "default", "viewer", "ended@example.com")
    with browsing(chromium, gateway, cookie=person.cookie) as watched:
        watched.open("/settings/you")
        assert person.post("/sign-out").status == 200
        watched.page.locator(".side nav a[href='/keys']").click()
        watched.page.get_by_text("Your session has ended").wait_for()
        watched.page.get_by_role("heading", name="Sign in").wait_for()
        watched.complaints.clear()


def test_the_balance_beside_several_answers_is_that_of_the_account(
    chromium: Any, gateway: Gateway, ada: Browser
) -> None:
    with browsing(chromium, gateway, cookie=ada.cookie) as watched:
        watched.open(THREE)
        page = watched.page
        page.get_by_label("Message").fill("hi")
        page.keyboard.press("Enter")
        page.locator(".answer[aria-busy=false] .figures", has_text="Cost").nth(2).wait_for()
        page.locator(".composer", has_text=" left").wait_for()
        left = ada.get("/credits?account=default").json["data"]["credits_remaining"]
        shown = re.search(r"\$([\d.]+) left", page.locator(".composer").inner_text())
        assert shown is not None
        assert shown[1] == f"{int(left * 100) / 100:.2f}"


SEARCH = """async () => {
  const assets = document.querySelector('link[rel=stylesheet]').href.replace(/[^/]*$/, '');
  const { search } = await import(assets + 'lib/models.js');
  const model = (id, name, aliases) => ({ id, name, developer: 'maker', family: null, aliases });
  const all = [model('big-5.5', 'Big 5.5', []), model('old-big-5', 'Old Big 5', []), model('big-5', 'Big Five', ['huge'])];
  return ['big-5', 'Big Five', 'big', 'huge', 'old', 'five big'].map((typed) => search(all, typed).map((each) => each.id));
}"""


def test_a_model_that_is_named_exactly_comes_first(chromium: Any, gateway: Gateway) -> None:
    with browsing(chromium, gateway) as watched:
        watched.open("/sign-in")
        found = watched.page.evaluate(SEARCH)
    assert found == [
        ["big-5", "big-5.5", "old-big-5"],
        ["big-5"],
        ["big-5.5", "big-5", "old-big-5"],
        ["big-5"],
        ["old-big-5"],
        ["big-5"],
    ]


def test_what_is_typed_exactly_is_taken(chromium: Any, gateway: Gateway, ada: Browser) -> None:
    with browsing(chromium, gateway, cookie=ada.cookie) as watched:
        watched.open(f"/playground?model={MODEL}")
        page = watched.page
        for typed, shown in (("auto", "auto"), ("gpt-5", "GPT-5"), ("o3", "o3")):
            page.locator(".model-chip button").first.click()
            page.get_by_role("combobox", name="Search models").fill(typed)
            page.keyboard.press("Enter")
            page.locator("dialog").wait_for(state="detached")
            assert page.locator(".model-chip").inner_text().strip() == shown


def test_home_asks_for_the_health_once(chromium: Any, gateway: Gateway, ada: Browser) -> None:
    with browsing(chromium, gateway, cookie=ada.cookie) as watched:
        asked: list[str] = []
        watched.page.on("request", lambda request: asked.append(urlsplit(request.url).path))
        watched.open("/")
        watched.page.wait_for_load_state("networkidle")
        assert asked.count("/api/v1/health") == 1


FITS = "each => each.scrollWidth - each.clientWidth"


def test_tables_fit_a_phone(chromium: Any, gateway: Gateway, ada: Browser) -> None:
    id_ = gateway.chat(MODEL, "hi " * 3000).headers["x-generation-id"]
    with browsing(chromium, gateway, cookie=ada.cookie, phone=True) as watched:
        watched.open("/settings/providers")
        assert watched.page.get_by_role("region", name="Providers").evaluate(FITS) <= 0
        watched.open(f"/logs?range=all&id={id_}")
        cost = watched.page.locator("dialog.drawer").get_by_role("region", name="Cost")
        cost.wait_for()
        assert cost.evaluate(FITS) <= 0


def test_the_sandbox_is_told_everywhere(chromium: Any, gateway: Gateway, ada: Browser) -> None:
    with browsing(chromium, gateway, cookie=ada.cookie) as watched:
        for path in ("/", "/playground", "/settings/providers"):
            watched.open(path)
            assert watched.page.get_by_text("Sandbox: answers are simulated").is_visible()
        for row in watched.page.locator("tbody tr").all():
            if row.locator("td").nth(1).inner_text().strip() == "0":
                assert "can be asked" not in row.inner_text()
    with browsing(chromium, gateway, cookie=ada.cookie, phone=True) as watched:
        watched.open("/keys")
        assert watched.page.locator(".topbar").get_by_text("Sandbox").is_visible()


@pytest.mark.parametrize("path", [f"/playground?model={MODEL}", THREE], ids=["one", "three"])
def test_an_answer_leads_to_its_entry_in_the_log(
    chromium: Any, gateway: Gateway, ada: Browser, path: str
) -> None:
    with browsing(chromium, gateway, cookie=ada.cookie) as watched:
        watched.open(path)
        page = watched.page
        page.get_by_label("Message").fill("Typed, not sent")
        page.get_by_role("button", name="Code", exact=True).click()
        assert "Typed, not sent" in page.locator("dialog pre").inner_text()
        page.keyboard.press("Escape")
        page.locator("dialog").wait_for(state="detached")
        page.get_by_label("Message").press("Enter")
        page.get_by_role("button", name="Why this answer").last.click()
        page.locator("dialog.drawer").get_by_text("What happened").wait_for()


def test_words_agree_with_their_numbers(chromium: Any, gateway: Gateway, ada: Browser) -> None:
    limit = {"scope": "account", "kind": "requests", "amount": 1, "window": "hour", "model": "gpt-4o"}
    assert ada.post("/limits?account=default", limit).status == 201
    budget = {"scope": "account", "amount": 90, "window": "month"}
    assert ada.post("/budgets?account=default", budget).status == 201
    with browsing(chromium, gateway, cookie=ada.cookie) as watched:
        watched.open("/settings/limits")
        watched.page.get_by_text("1 request an hour").wait_for()
        watched.open("/")
        watched.page.get_by_text(re.compile(r"begins anew on .*\d")).first.wait_for()


def test_a_link_for_setting_up_that_is_used_says_so(chromium: Any, gateway: Gateway, ada: Browser) -> None:
    with browsing(chromium, gateway) as watched:
        watched.open("/set-up#used")
        watched.page.get_by_role("heading", name="This gateway is set up").wait_for()
        assert watched.page.get_by_label("Your name").count() == 0


def test_an_error_names_the_field_as_the_page_does(chromium: Any, gateway: Gateway, ada: Browser) -> None:
    with browsing(chromium, gateway, cookie=ada.cookie) as watched:
        watched.open("/keys?new")
        page = watched.page
        page.get_by_label("Name", exact=True).fill("placed")
        page.get_by_text("What it may do").click()
        page.get_by_label("Addresses").fill("nowhere")
        page.get_by_role("button", name="Make the key").click()
        told = page.locator("dialog .field-error:not(:empty)")
        told.wait_for()
        assert "ip_ranges" not in told.inner_text()
        assert "Addresses" in told.inner_text()
        refused(watched, 400)


TOPS = """all => all.filter((each) => each.checkVisibility()).map((each) => {
  const text = document.createTreeWalker(each, NodeFilter.SHOW_TEXT).nextNode();
  const range = document.createRange();
  range.selectNodeContents(text);
  return Math.round(range.getBoundingClientRect().top * 10) / 10;
})"""


def test_headers_of_a_table_stand_on_one_line(chromium: Any, gateway: Gateway, ada: Browser) -> None:
    with browsing(chromium, gateway, cookie=ada.cookie) as watched:
        watched.open("/models")
        tops = watched.page.locator("thead th:not(:has(.offscreen))").evaluate_all(TOPS)
        assert len(tops) > 3
        assert len(set(tops)) == 1, tops


def test_a_file_that_cannot_be_made_here_is_not_offered_again(
    chromium: Any, gateway: Gateway, ada: Browser
) -> None:
    assert gateway.chat(MODEL, "hi").status == 200
    told = {"error": {"code": "font_missing", "message": "No font has the letters"}}
    months = ada.get("/statements?account=default").json
    listed = {"data": [], "missing_formats": {"pdf": "PDF files need the extra"}}
    listed["data"] = [{**each, **dict.fromkeys(("opening", "used", "closing"), 0)} for each in months["data"]]
    with browsing(chromium, gateway, cookie=ada.cookie) as watched:
        page = watched.page
        page.route("**/file?*", lambda route: route.fulfill(status=400, json=told))
        watched.open("/usage")
        page.get_by_role("region", name="Statements").locator(".row-link").first.click()
        drawer = page.locator("dialog.drawer")
        drawer.get_by_role("button", name="CSV").click()
        drawer.get_by_text("No font has the letters").wait_for()
        assert drawer.get_by_role("button", name="CSV: not available here").is_disabled()
        assert drawer.get_by_role("button", name="HTML").is_enabled()
        refused(watched, 400)
        page.route("**/api/v1/statements?*", lambda route: route.fulfill(json=listed))
        watched.open("/usage")
        page.get_by_role("region", name="Statements").locator(".row-link").first.click()
        drawer.get_by_text("PDF files need the extra").wait_for()
        assert drawer.get_by_role("button", name="PDF: not available here").is_disabled()


SPILLED = """() => [...document.querySelectorAll('td, th')]
  .filter((each) => each.scrollWidth > each.clientWidth + 1).map((each) => each.innerText)"""
"""Cells whose text runs over what stands beside them."""


def test_no_cell_spills_on_a_phone(chromium: Any, gateway: Gateway, ada: Browser) -> None:
    budget = {"scope": "account", "amount": 1234, "window": "day"}
    assert ada.post("/budgets?account=default", budget).status == 201
    assert gateway.chat("gpt-5-nano", "hi").status == 200
    with browsing(chromium, gateway, cookie=ada.cookie, phone=True) as watched:
        for path in ("/logs?range=all", "/settings/limits"):
            watched.open(path)
            assert watched.page.locator("tbody tr").count() > 0
            assert watched.page.evaluate(SPILLED) == [], path


COVERED = """button => {
  const [mine, text] = [button, button.parentElement.querySelector('pre')].map((each) => each.getBoundingClientRect());
  return text.right - mine.left;
}"""


def test_a_button_that_copies_covers_no_text(chromium: Any, gateway: Gateway, ada: Browser) -> None:
    with browsing(chromium, gateway, cookie=ada.cookie) as watched:
        watched.open("/team")
        page = watched.page
        page.get_by_role("button", name="Invite", exact=True).click()
        page.get_by_role("dialog").get_by_label("E-mail").fill("covered@example.com")
        page.get_by_role("dialog").get_by_role("button", name="Invite", exact=True).click()
        copies = page.get_by_role("dialog").locator(".code button")
        copies.wait_for()
        assert copies.evaluate(COVERED) <= 0


def test_the_palette_finds_parts_of_the_settings(chromium: Any, gateway: Gateway, ada: Browser) -> None:
    with browsing(chromium, gateway, cookie=ada.cookie) as watched:
        watched.open("/keys")
        page = watched.page
        page.keyboard.press("Control+k")
        page.keyboard.type("budgets and")
        page.keyboard.press("Enter")
        page.get_by_role("button", name="New budget").wait_for()


def test_what_is_not_public_says_where_to_switch_it_on(chromium: Any, gateway: Gateway, ada: Browser) -> None:
    with browsing(chromium, gateway, cookie=ada.cookie) as watched:
        watched.page.goto(f"{watched.url}/status")
        watched.page.get_by_role("link", name="To the gateway's settings").click()
        watched.page.get_by_label("Prices and status are public").wait_for()
        refused(watched, 404)
    with browsing(chromium, gateway) as watched:
        watched.open("/pricing")
        watched.page.get_by_role("link", name="Sign in").wait_for()
        refused(watched, 404)


def test_a_key_has_its_tags_and_tells_when_it_was_used(chromium: Any, gateway: Gateway, ada: Browser) -> None:
    with browsing(chromium, gateway, cookie=ada.cookie) as watched:
        watched.open("/keys?new")
        page = watched.page
        dialog = page.get_by_role("dialog")
        dialog.get_by_label("Name", exact=True).fill("tagged")
        dialog.get_by_text("What it may do").click()
        dialog.get_by_label("Tags").fill("shop, batch")
        dialog.get_by_role("button", name="Make the key").click()
        dialog.get_by_text("Copy it now").wait_for()
        page.keyboard.press("Escape")
        row = page.locator("tbody tr", has_text="tagged")
        row.get_by_text("not within a month").wait_for()
        row.locator(".row-link").click()
        dialog.locator(".facts", has_text="batch").wait_for()
    key = next(each for each in ada.get("/keys?limit=200").json["data"] if each["name"] == "tagged")
    assert sorted(key["tags"]) == ["batch", "shop"]
