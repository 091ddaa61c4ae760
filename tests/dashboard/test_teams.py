"""Teams and accounts in a real browser: what is chosen there binds, and who is in two accounts sees both."""

from __future__ import annotations

import json
from typing import Any

import pytest
from browser_kit import browsing
from gateway_kit import Gateway
from people_kit import Browser, invited

JSON = {"content-type": "application/json"}


def saved(page: Any, button: str, path: str, method: str = "POST") -> Any:
    """Press a button of the dialog, and wait for the answer to what it sends."""

    def fits(answer: Any) -> bool:
        return path in answer.url and answer.request.method == method

    with page.expect_response(fits) as seen:
        page.get_by_role("dialog").get_by_role("button", name=button, exact=True).click()
    page.get_by_role("dialog").wait_for(state="detached")
    return seen.value


@pytest.fixture(scope="module")
def lab(gateway: Gateway, ada: Browser) -> str:
    """An account with credit. Made outside of the browser's thread, where commands have a loop of their own."""
    assert ada.post("/accounts", {"id": "lab", "title": "Lab"}).json["role"] == "owner"
    gateway.command("credits.add", account="lab", amount="5", ref="lab")
    return "lab"


def test_a_team_that_is_chosen_on_the_page_binds(
    chromium: Any, gateway: Gateway, ada: Browser, lab: str
) -> None:
    assert ada.post("/teams?account=lab", {"title": "research"}).status == 201
    dev = invited(ada, "lab", "developer", "dev@lab.example")
    who = dev.get("/me").json["id"]
    with browsing(chromium, gateway, cookie=ada.cookie) as watched:
        page = watched.page
        for _ in range(2):  # what was ticked is ticked when the dialog opens again
            watched.open("/team?account=lab")
            page.get_by_role("button", name="Actions for Developer").click()
            page.get_by_role("menuitem", name="Change role and teams").click()
            page.get_by_role("dialog").get_by_label("research").check()
            assert saved(page, "Save", "/members/", "PATCH").status == 200
            assert dev.get(f"/members/{who}").json["teams"] == ["research"]
        page.get_by_role("button", name="Actions for Developer").click()
        page.get_by_role("menuitem", name="Change role and teams").click()
        assert page.get_by_role("dialog").get_by_label("research").is_checked()
        assert saved(page, "Save", "/members/", "PATCH").json()["teams"] == ["research"]
        page.get_by_role("button", name="Invite", exact=True).click()
        page.get_by_role("dialog").get_by_label("E-mail").fill("new@lab.example")
        page.get_by_role("dialog").get_by_label("research").check()
        with page.expect_response(lambda answer: "/invitations" in answer.url) as seen:
            page.get_by_role("dialog").get_by_role("button", name="Invite", exact=True).click()
        assert (seen.value.status, seen.value.json()["teams"]) == (201, ["research"])
        watched.open("/settings/limits")
        page.get_by_role("button", name="New limit").click()
        page.get_by_role("dialog").get_by_label("Of", exact=True).select_option("team")
        page.get_by_role("dialog").get_by_label("At most").fill("100")
        assert saved(page, "Set the limit", "/limits").json()["scope_id"] == "research"
        page.get_by_role("button", name="New budget").click()
        page.get_by_role("dialog").get_by_label("Of", exact=True).select_option("team")
        page.get_by_role("dialog").get_by_label("US dollars").fill("0")
        assert saved(page, "Set the budget", "/budgets").json()["scope_id"] == "research"
    key = dev.post("/keys", {"name": "mine"}).json
    assert key["data"]["team"] == "research"
    asked = json.dumps({"model": "gpt-5-mini", "messages": [{"role": "user", "content": "hi"}]}).encode()
    refused = gateway.send("POST", "/v1/chat/completions", asked, JSON, key=key["key"])
    assert refused.status == 402, refused.body
    assert "research" in refused.error["message"]


def test_a_key_belongs_to_the_team_that_is_chosen(
    chromium: Any, gateway: Gateway, ada: Browser, lab: str
) -> None:
    for title in ("north", "south"):
        assert ada.post("/teams?account=lab", {"title": title}).status == 201
    dev = invited(ada, "lab", "developer", "both@lab.example")
    who = dev.get("/me").json["id"]
    assert ada.patch(f"/members/{who}?account=lab", {"teams": ["north", "south"]}).status == 200
    with browsing(chromium, gateway, cookie=dev.cookie) as watched:  # must name one of the two
        page = watched.page
        watched.open("/keys?account=lab")
        page.get_by_role("button", name="New key").click()
        page.get_by_role("dialog").get_by_label("Name").fill("of one team")
        team = page.get_by_role("dialog").get_by_label("Team", exact=True)
        assert team.locator("option").all_text_contents() == ["north", "south"]
        team.select_option("south")
        with page.expect_response(lambda answer: "/api/v1/keys" in answer.url) as seen:
            page.get_by_role("dialog").get_by_role("button", name="Make the key").click()
        assert seen.value.json()["data"]["team"] == "south"
    with browsing(chromium, gateway, cookie=ada.cookie) as watched:
        page = watched.page
        watched.open("/keys?account=lab")
        page.get_by_role("button", name="Actions for of one team").click()
        page.get_by_role("menuitem", name="Change").click()
        team = page.get_by_role("dialog").get_by_label("Team", exact=True)
        assert team.input_value() == "south"
        team.select_option("no team")
        assert saved(page, "Save", "/keys/", "PATCH").json()["data"]["team"] is None


def test_an_account_beyond_the_list_is_opened_by_its_id(
    chromium: Any, gateway: Gateway, ada: Browser, lab: str
) -> None:
    with browsing(chromium, gateway, cookie=ada.cookie) as watched:
        page = watched.page
        page.route(
            "**/api/v1/accounts?limit=200",
            lambda route: route.continue_(url=route.request.url.replace("limit=200", "limit=1")),
        )
        watched.open("/keys")
        account = page.get_by_role("combobox", name="Account")
        assert account.locator("option").all_text_contents() == ["default", "Another …"]
        account.select_option("Another …")
        assert account.input_value() == "default"
        name = page.get_by_role("dialog").get_by_label("Account")
        name.fill("nobody's")
        page.get_by_role("dialog").get_by_role("button", name="Open it").click()
        page.get_by_text("There is no open account 'nobody's'.").wait_for()
        name.fill("lab")
        page.get_by_role("dialog").get_by_role("button", name="Open it").click()
        page.get_by_role("dialog").wait_for(state="detached")
        watched.settled()
        assert account.input_value() == "lab"
        watched.open("/team")  # remembered
        assert account.input_value() == "lab"
        assert any("404" in each for each in watched.complaints)
        watched.complaints.clear()


def test_who_is_in_two_accounts_sees_every_screen_of_both(
    chromium: Any, gateway: Gateway, ada: Browser
) -> None:
    assert ada.post("/accounts", {"id": "aaa", "title": "First by its letters"}).status == 201
    two = invited(ada, "default", "owner", "two@example.com")
    token = ada.post("/invitations?account=aaa", {"email": "two@example.com", "role": "owner"}).json["url"]
    assert two.post("/me/invitations", {"token": token.partition("#")[2]}).status == 200
    with browsing(chromium, gateway, cookie=two.cookie) as watched:
        page, asked, wrong = watched.page, [], []
        page.on("request", lambda request: asked.append(request.url))
        page.on("response", lambda answer: answer.status >= 400 and wrong.append(answer.url))
        watched.open("/")
        account = page.get_by_role("combobox", name="Account")
        assert account.input_value() == "default"
        links = page.locator(".side nav a").evaluate_all("all => all.map(each => each.getAttribute('href'))")
        assert "/team" in links
        for path in [
            *links,
            "/settings/account",
            "/settings/limits",
            "/settings/own-keys",
            "/settings/retention",
        ]:
            watched.open(path)
            assert page.get_by_text("This could not be loaded").count() == 0, path
        assert wrong == []
        assert any("/api/v1/members?" in url and "account=default" in url for url in asked)
        watched.open("/team?account=aaa")
        assert (account.input_value(), page.url) == ("aaa", f"{watched.url}/team")
        watched.open("/keys")
        assert account.input_value() == "aaa"
        watched.open("/keys?account=default")
        assert account.input_value() == "default"
