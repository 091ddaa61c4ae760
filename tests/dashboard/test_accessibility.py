"""WCAG 2.2 AA by axe: every screen, dialog, sheet and menu, in light on a desk and in dark on a phone, for three roles."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from importlib import resources
from typing import Any

import pytest
from browser_kit import DESKTOP, PHONE, Watched, browsing
from gateway_kit import Gateway
from people_kit import Browser, invited

pytestmark = pytest.mark.slow

RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]

FIND = """async ([rules, within]) => {
  const frame = () => new Promise((resolve) => requestAnimationFrame(() => resolve()));
  do await frame();
  while (document.getAnimations().some((each) => each.playState === 'running'));
  await frame();
  const found = await axe.run(within ?? document, { runOnly: rules, resultTypes: ['violations'] });
  return found.violations.flatMap((each) => each.nodes.map((node) => `${each.id}: ${node.html.slice(0, 160)}`));
}"""

SPILLED = """() => [...document.querySelectorAll('td, th, .stat, .card-head')]
  .filter((each) => each.scrollWidth > each.clientWidth + 1)
  .map((each) => `spills: ${each.innerText.slice(0, 80)}`)"""
"""Cells and heads whose text runs over what stands beside them."""

ALIKE = """() => {
  const shape = (row) => row.outerHTML
    .replace(/>[^<]+</g, '>text<')
    .replace(/ (id|title|datetime|href|value|style|aria-label|aria-controls|aria-describedby|d)="[^"]+"/g, ' $1="text"');
  for (const body of document.querySelectorAll('tbody')) {
    const seen = new Map();
    for (const row of [...body.rows]) {
      const before = seen.get(shape(row)) ?? 0;
      if (before < 2) seen.set(shape(row), before + 1);
      else row.remove();
    }
  }
}"""
"""Leave two of the rows that are made alike, of the same elements and classes: the others take time, and tell nothing more."""

GO = "path => { history.pushState({}, '', path); dispatchEvent(new PopStateEvent('popstate')); }"
"""To another screen as a link goes there, without loading the document again."""

Act = Callable[[Any], None]
Tour = tuple[tuple[str, tuple[Act, ...]], ...]


def press(name: str) -> Act:
    return lambda page: page.get_by_role("button", name=name).first.click()


def typed(label: str, text: str) -> Act:
    return lambda page: page.get_by_label(label, exact=True).fill(text)


def shows(text: str) -> Act:
    return lambda page: page.get_by_text(text).first.wait_for()


def opened(page: Any) -> None:
    """The first row, in its sheet."""
    page.locator("tbody .row-link").first.click()
    page.locator("dialog.drawer").wait_for()


def within(name: str) -> Act:
    return lambda page: page.locator("dialog").get_by_role("button", name=name).click()


def answered(page: Any) -> None:
    page.get_by_label("Message").fill("Say **something** with `code`.")
    page.keyboard.press("Enter")
    page.locator(".answer[aria-busy=false] .figures", has_text="Cost").first.wait_for()


def unfolded(page: Any) -> None:
    if not page.get_by_label("System prompt").is_visible():
        page.get_by_role("button", name="Settings", exact=True).click()
    page.locator("summary", has_text="Tools and structure").click()


def menu_of(selector: str) -> Act:
    return lambda page: page.locator(selector).first.click()


SCREENS: Tour = (
    ("/sign-in?stay", ()),
    ("/?range=24h", ()),
    ("/nowhere", ()),
    ("/playground?model=gpt-5-mini&model=claude-haiku-4-5", (answered,)),
    ("/playground", (unfolded,)),
    ("/models?q=claude-haiku-4-5", ()),
    ("/models?q=nothing-is-called-that", ()),
    ("/keys", ()),
    ("/logs?range=all", ()),
    ("/logs?model=nothing-is-called-that", ()),
    ("/usage", (menu_of(".chart summary"),)),
    (
        "/routing",
        (typed("Model, preset or auto", "gpt-5-mini"), press("Ask what would"), shows("Who can answer")),
    ),
    (
        "/routing?",
        (press("Without a provider"), press("Try the change"), shows("Fail that did not")),
    ),
    ("/team", ()),
    ("/settings/you", ()),
    ("/settings/account", ()),
    ("/settings/limits", ()),
    ("/settings/own-keys", ()),
    ("/settings/retention", ()),
    ("/settings/providers", ()),
    ("/settings/gateway", ()),
    ("/settings/sso", (press("Add a group"), menu_of("details.more summary"))),
    ("/settings/alerts", ()),
    ("/audit", ()),
)
"""Where to go, and what to do there."""

LAYERS: Tour = (
    ("/keys", (lambda page: page.keyboard.press("Control+k"),)),
    ("/keys", (press("New key"), menu_of("dialog summary"), within("Make the key"))),
    ("/keys", (opened,)),
    ("/keys", (opened, within("Rotate"))),
    ("/keys", (opened, within("Revoke"))),
    ("/keys", (menu_of("td .menu-anchor button"),)),
    ("/playground", (menu_of(".model-chip button"),)),
    ("/playground", (press("Code"),)),
    ("/playground", (press("Save as preset"),)),
    ("/models?q=claude-haiku-4-5", (opened,)),
    ("/logs?range=all&outcome=succeeded", (opened, shows("What happened"))),
    ("/logs?range=all&outcome=failed", (opened, shows("What happened"))),
    ("/usage", (press("Redeem"),)),
    (
        "/usage",
        (lambda page: page.get_by_role("region", name="Statements").locator(".row-link").first.click(),),
    ),
    ("/team", (press("Invite"),)),
    ("/team", (press("New team"),)),
    ("/settings/you", (press("Set up"), menu_of("dialog summary"), shows("Type this secret"))),
    ("/settings/limits", (press("New budget"),)),
    ("/settings/limits", (press("New limit"),)),
    ("/settings/own-keys", (press("Add a key"), shows("It is kept sealed"))),
    ("/settings/retention", (press("Keep them"), shows("From the next request on, of all keys"))),
    ("/settings/gateway", (press("New account"),)),
    ("/settings/alerts", (press("Add a way"),)),
    ("/settings/alerts", (menu_of("td .menu-anchor button"),)),
    ("/audit", (opened,)),
)

PUBLIC: Tour = (
    ("/sign-in", ()),
    ("/sign-in?", (press("Forgot your password"), shows("A new password"))),
    ("/set-up", ()),
    ("/join#x", ()),
    ("/reset#x", ()),
    ("/pricing", (typed("Search models", "claude-haiku-4-5"),)),
    ("/status", ()),
)


@lru_cache(maxsize=1)
def engine() -> str:
    """The text of axe, https://github.com/dequelabs/axe-core."""
    package = pytest.importorskip("axe_playwright_python", reason="axe-playwright-python is not installed")
    return resources.files(package).joinpath("axe.min.js").read_text("utf-8")


def problems(page: Any, *, layer: bool = False) -> list[str]:
    """What axe finds on the page as it is, or in what lies over it."""
    if not page.evaluate("() => 'axe' in window"):
        page.evaluate(engine() + ";0")
    over = "dialog[open], .menu:popover-open" if layer else None
    found: list[str] = page.evaluate(FIND, [RULES, over])
    return found


def look(watched: Watched, tour: Tour, *, layer: bool = False) -> list[str]:
    """Go to each, and look at it in light on a desk and in dark on a phone."""
    page = watched.page
    found = []
    watched.open(tour[0][0])
    for path, acts in tour:
        page.emulate_media(color_scheme="light")
        page.set_viewport_size(DESKTOP)
        page.evaluate(GO, path)
        watched.settled()
        for act in acts:
            act(page)
        watched.settled()
        page.evaluate(ALIKE)
        found += [f"{path}, light: {each}" for each in problems(page, layer=layer)]
        page.emulate_media(color_scheme="dark")
        page.set_viewport_size(PHONE)
        found += [f"{path}, dark: {each}" for each in problems(page, layer=layer)]
        found += [f"{path}, on a phone: {each}" for each in page.evaluate(SPILLED)]
    return found


@pytest.fixture(scope="module")
def used(gateway: Gateway, ada: Browser) -> Gateway:
    """A gateway with something to show everywhere."""
    engine()
    assert gateway.stream("gpt-5-mini", "hi").status == 200
    assert gateway.chat("no-such-model", "hi").status == 404
    assert ada.post("/keys", {"name": "website", "limit": 5, "limit_reset": "daily"}).status == 201
    assert ada.post("/budgets", {"scope": "account", "amount": 20, "window": "month"}).status == 201
    limit = {"scope": "account", "kind": "requests", "amount": 600, "window": "minute"}
    assert ada.post("/limits", limit).status == 201
    assert ada.post("/teams", {"title": "Product"}).status == 201
    assert ada.post("/invitations", {"email": "new@example.com", "role": "viewer"}).status == 201
    way = {"name": "ops", "kind": "webhook", "url": "https://ops.example.com/llm-router"}
    assert ada.post("/gateway/alerts", way).status == 201
    assert ada.patch("/gateway/settings", {"public_pages": True}).status == 200
    return gateway


def test_screens_have_no_violation(chromium: Any, used: Gateway, ada: Browser) -> None:
    with browsing(chromium, used, cookie=ada.cookie) as watched:
        assert look(watched, SCREENS) == []


def test_layers_have_no_violation(chromium: Any, used: Gateway, ada: Browser) -> None:
    with browsing(chromium, used, cookie=ada.cookie) as watched:
        assert look(watched, LAYERS, layer=True) == []


def test_pages_for_anybody_have_no_violation(chromium: Any, used: Gateway) -> None:
    with browsing(chromium, used) as watched:
        assert look(watched, PUBLIC) == []


@pytest.mark.parametrize("role", ["developer", "viewer"])
def test_other_roles_have_no_violation(chromium: Any, used: Gateway, ada: Browser, role: str) -> None:
    person = invited(ada, "default", role, f"{role}@example.com")
    paths = (
        "/",
        "/keys",
        "/usage",
        "/routing",
        "/team",
        "/settings/account",
        "/settings/limits",
        "/settings/retention",
        "/audit",
    )
    with browsing(chromium, used, cookie=person.cookie) as watched:
        assert look(watched, tuple((path, ()) for path in paths)) == []


def test_what_axe_finds_would_be_seen(chromium: Any, used: Gateway) -> None:
    """A control without a name, put there by the test, is found."""
    with browsing(chromium, used) as watched:
        watched.open("/sign-in")
        watched.page.evaluate("() => document.querySelector('main').append(document.createElement('input'))")
        assert any(each.startswith("label: ") for each in problems(watched.page))


ROWS = """() => {
  const body = document.querySelector('main').appendChild(document.createElement('table')).createTBody();
  for (let at = 0; at < 9; at++) {
    const cell = body.insertRow().insertCell();
    if (at < 8) cell.textContent = `row ${at}`;
    else cell.append(document.createElement('input'));
  }
  return body.rows.length;
}"""


def test_rows_that_are_made_otherwise_are_looked_at(chromium: Any, used: Gateway) -> None:
    with browsing(chromium, used) as watched:
        watched.open("/sign-in")
        assert watched.page.evaluate(ROWS) == 9
        watched.page.evaluate(ALIKE)
        assert watched.page.locator("tbody tr").count() == 3
        assert any(each.startswith("label: ") for each in problems(watched.page))
