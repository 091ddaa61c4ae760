"""What pages say of money, keys, models and acts is true: stopped answers, corrections, revoked keys, copied programs."""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from browser_kit import browsing
from gateway_kit import Gateway
from people_kit import Browser, first_operator

LONG = "[[slow 30ms]] [[long 400]] go"
"""Some twelve seconds: time enough to stop it, and not too much to wait for what is read to its end."""
PICTURE = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


def left_in(text: str) -> Decimal:
    found = re.search(r"\$([\d.]+) left", text)
    assert found is not None, text
    return Decimal(found[1])


@pytest.mark.parametrize(
    ("models", "said"),
    [
        (["gpt-5-mini"], ["What had come by then is charged."]),
        (["gemini-2.5-flash", "gpt-5-nano"], ["the whole answer is charged.", "What had come by then"]),
    ],
)
def test_a_stopped_answer_says_what_it_cost(
    chromium: Any, gateway: Gateway, ada: Browser, models: list[str], said: list[str]
) -> None:
    with browsing(chromium, gateway, cookie=ada.cookie) as watched:
        watched.open("/playground?" + "&".join(f"model={each}" for each in models))
        page = watched.page
        page.get_by_label("Message").fill(LONG)
        page.keyboard.press("Enter")
        for at in range(len(models)):
            page.wait_for_function(
                "at => document.querySelectorAll('.answer .md')[at]?.textContent.length > 20", arg=at
            )
        page.get_by_role("button", name="Stop").click()
        for at, text in enumerate(said):
            answer = page.locator(".answer").nth(at)
            answer.get_by_text(text).wait_for()
            figures = answer.locator(".figures").inner_text()
            assert "Tokens" in figures
            assert "Cost" in figures
        page.locator(".composer", has_text=" left").wait_for()
        have = Decimal(str(ada.get("/credits?account=default").json["data"]["credits_remaining"]))
        assert left_in(page.locator(".composer").inner_text()) == have.quantize(Decimal("0.01"), "ROUND_DOWN")


def test_a_wrong_setting_is_told_beside_the_message_until_something_is_sent(
    chromium: Any, gateway: Gateway, ada: Browser
) -> None:
    with browsing(chromium, gateway, cookie=ada.cookie) as watched:
        watched.open("/playground?model=gpt-5-mini")
        page = watched.page
        page.get_by_text("Tools and structure").click()
        page.get_by_label("Tools", exact=True).fill("[")
        page.get_by_label("Message").fill("hi")
        page.keyboard.press("Enter")
        page.locator(".composer-problem", has_text="this is not JSON").wait_for()
        assert page.locator(".toast").count() == 0
        page.get_by_label("Tools", exact=True).fill("")
        page.get_by_role("button", name="Send").click()
        page.locator(".answer[aria-busy=false]").wait_for()
        assert not page.locator(".composer-problem").is_visible()


PROGRAMS = """async ([path, body]) => {
  const assets = document.querySelector('link[rel=stylesheet]').href.replace(/[^/]*$/, '');
  const { programs } = await import(assets + 'lib/programs.js');
  const { languages, files } = programs(path, body);
  return { files, ...Object.fromEntries(languages.map(([name, , text]) => [name, text])) };
}"""


def ran(text: str, folder: Path, gateway: Gateway, *command: str) -> str:
    done = subprocess.run(
        [*command, text],
        cwd=folder,
        env={**os.environ, "LLM_ROUTER_KEY": gateway.key},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_copied_programs_show_the_answer(
    chromium: Any, gateway: Gateway, ada: Browser, tmp_path: Path
) -> None:
    tool = {"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object"}}}
    say = [{"role": "user", "content": "[[call get_weather]] Say it's `$(fine)`."}]
    with browsing(chromium, gateway, cookie=ada.cookie) as watched:
        watched.open("/models")
        lanes = {"models": ["gpt-5-mini", "gpt-5-nano"], "messages": [{"role": "user", "content": "hi"}]}
        compared = watched.page.evaluate(PROGRAMS, ["/compare", lanes])
        one = {"model": "gpt-5-mini", "messages": say, "tools": [tool], "stream": True}
        called = watched.page.evaluate(PROGRAMS, ["/chat/completions", one])
    shown = ran(compared["python"], tmp_path, gateway, sys.executable, "-c")
    for model in lanes["models"]:
        assert re.search(rf"## {model}: \d+ tokens in, \d+ out, \$0\.000", shown), shown
    assert "{'" not in shown
    assert "get_weather: {" in ran(called["python"], tmp_path, gateway, sys.executable, "-c")
    for name in ("tool_calls", "lane.tokens.prompt"):
        assert name in called["javascript"] + compared["javascript"]


@pytest.mark.parametrize("chars", [90, 600_000], ids=["small", "large"])
def test_copied_programs_have_their_pictures(
    chromium: Any, gateway: Gateway, ada: Browser, tmp_path: Path, chars: int
) -> None:
    data = PICTURE + bytes(chars)
    url = "data:image/png;base64," + base64.b64encode(data).decode()
    content = [{"type": "text", "text": "it's"}, {"type": "image_url", "image_url": {"url": url}}]
    body = {"model": "gpt-5-mini", "messages": [{"role": "user", "content": content}], "stream": True}
    with browsing(chromium, gateway, cookie=ada.cookie) as watched:
        watched.open("/models")
        found = watched.page.evaluate(PROGRAMS, ["/chat/completions", body])
    assert [each["name"] for each in found["files"]] == (["picture-1.png"] if chars > 1000 else [])
    assert (url in found["curl"]) == (chars < 1000)
    (tmp_path / "picture-1.png").write_bytes(data)
    assert "1 image" in ran(found["python"], tmp_path, gateway, sys.executable, "-c")
    told = ran(found["curl"], tmp_path, gateway, "bash", "-c")
    pieces = [json.loads(line[6:]) for line in told.splitlines() if line.startswith("data: {")]
    assert "1 image" in "".join(
        each["choices"][0]["delta"].get("content") or "" for each in pieces if each["choices"]
    )


def test_a_correction_has_one_sign(chromium: Any, gateway: Gateway, ada: Browser) -> None:
    wanted = {"account": "default", "amount": "-1.25", "reason": "mistake", "ref": "told-truly-1"}
    assert ada.post("/gateway/credits/adjust", wanted).status == 201
    with browsing(chromium, gateway, cookie=ada.cookie) as watched:
        watched.open("/usage")
        page = watched.page
        page.get_by_role("region", name="Statements").locator(".row-link").first.click()
        page.locator("dialog.drawer .facts", has_text="mistake").wait_for()
        facts = page.locator("dialog.drawer .facts").inner_text()
        assert "-$1.25" in facts
        assert "+-" not in facts
        watched.open("/audit")
        row = page.locator("tbody tr", has_text="credits: adjust").first
        assert "everything" not in row.inner_text()
        assert "default" in row.locator("td").first.inner_text()


def test_what_nobody_answers_for_is_not_called_active(chromium: Any, gateway: Gateway, ada: Browser) -> None:
    """The list and the sheet say what the status page says."""
    status = {
        "checked": "2026-01-01T00:00:00Z",
        "unavailable": ["gpt-5-mini"],
        "resting": [{"model": "gpt-5-mini", "provider": "openai", "back": None}],
    }
    assert ada.get("/models/status?account=default").json["unavailable"] == []
    with browsing(chromium, gateway, cookie=ada.cookie) as watched:
        page = watched.page
        page.route("**/api/v1/models/status?*", lambda route: route.fulfill(json=status))
        watched.open("/models?q=gpt-5-mini&model=gpt-5-mini")
        drawer = page.locator("dialog.drawer")
        drawer.locator(".badge", has_text="unavailable").first.wait_for()
        assert "ready" not in drawer.locator("tr", has_text="openai").first.inner_text()
        assert drawer.locator("td", has_text="into the cache for an hour").count() <= 1
        page.keyboard.press("Escape")
        assert "unavailable" in page.locator("main tbody tr").first.inner_text()


def test_keys_tell_what_they_are_for_and_how_long_an_old_text_works(
    chromium: Any, gateway: Gateway, ada: Browser
) -> None:
    manager = ada.post("/keys?account=default", {"name": "provisions", "scopes": ["keys"]}).json["data"]
    turned = ada.post("/keys?account=default", {"name": "turned", "limit": 3}).json["data"]
    assert ada.post(f"/keys/{turned['hash']}/rotate", {"overlap_s": 3600}).status == 200
    gone = ada.post("/keys?account=default", {"name": "gone for good", "limit": 4}).json["data"]
    assert ada.delete(f"/keys/{gone['hash']}").status == 200
    with browsing(chromium, gateway, cookie=ada.cookie) as watched:
        page = watched.page
        watched.open("/keys")
        page.locator("tbody tr", has_text="provisions").locator(".row-link").click()
        drawer = page.locator("dialog.drawer")
        drawer.get_by_text("/api/v1/keys").first.wait_for()
        assert "chat/completions" not in drawer.inner_text()
        page.keyboard.press("Escape")
        row = page.locator("tbody tr", has_text="turned")
        row.get_by_text("the old text works until").wait_for()
        row.get_by_role("button", name="Actions for turned").click()
        page.get_by_role("menuitem", name="End the old text now").click()
        page.get_by_role("button", name="End it").click()
        row.get_by_text("the old text works until").wait_for(state="detached")
        for path in ("/", "/settings/limits"):
            watched.open(path)
            page.get_by_text("turned").first.wait_for()
            assert gone["hash"] not in page.locator("main").inner_text()
            assert "gone for good" not in page.locator("main").inner_text()
    assert ada.delete(f"/keys/{manager['hash']}").status == 200


def test_tabs_have_one_scroll_bar_at_most(chromium: Any, gateway: Gateway, ada: Browser) -> None:
    with browsing(chromium, gateway, cookie=ada.cookie, phone=True) as watched:
        watched.open("/models?model=gpt-5-mini")
        tabs = watched.page.locator("dialog.drawer .tabs")
        tabs.wait_for()
        assert tabs.evaluate("each => each.scrollHeight - each.clientHeight") == 0
        watched.open("/usage")
        out = """each => each.getBoundingClientRect().right
          - each.closest('.card').getBoundingClientRect().right"""
        switch = watched.page.get_by_role("group", name="By", exact=True)
        assert switch.evaluate(out) < -8


def test_who_signs_up_without_credit_is_told_where_to_get_some(
    chromium: Any, gateway: Gateway, ada: Browser
) -> None:
    assert ada.post("/accounts", {"id": "penniless", "title": "Penniless"}).status == 201
    with browsing(chromium, gateway, cookie=ada.cookie) as watched:
        page = watched.page
        page.route("**/api/v1/credits?*", lambda route: route.fulfill(json={"data": {
            "total_credits": 0, "total_usage": 0, "credits_remaining": 0, "held": 0, "owed": 0,
        }}))  # fmt: skip
        watched.open("/?account=penniless")
        page.get_by_text("Credit for the account").wait_for()
        assert page.get_by_role("link", name="Redeem a voucher").get_attribute("href") == "/usage"


def test_a_lockout_says_how_long(chromium: Any, gateway: Gateway, ada: Browser) -> None:
    told = {"error": {"code": "rate_limit_exceeded", "message": "Wait."}}
    with browsing(chromium, gateway) as watched:
        page = watched.page
        page.route(
            "**/api/v1/sign-in",
            lambda route: (
                route.fulfill(status=429, headers={"retry-after": "240"}, json=told)
                if route.request.method == "POST"
                else route.continue_()
            ),
        )
        watched.open("/sign-in")
        page.get_by_label("E-mail").fill("a@example.com")
        page.get_by_label("Password").fill("not this one")
        page.get_by_role("button", name="Sign in").click()
        page.get_by_text("Try again in 4 minutes").wait_for()
        watched.complaints.clear()


SHIFTS = """const later = window.setTimeout;
window.setTimeout = (work, ms, ...more) => later(work, ms === 2000 ? 600000 : ms, ...more);
window.shifted = 0;
new PerformanceObserver((list) => {
  for (const each of list.getEntries()) if (!each.hadRecentInput) window.shifted += each.value;
}).observe({ type: 'layout-shift', buffered: true });"""
"""What parts that come together wait for each other is without end here: this machine may be slow."""


@pytest.mark.parametrize("phone", [False, True], ids=["desk", "phone"])
def test_nothing_jumps(chromium: Any, gateway: Gateway, ada: Browser, phone: bool) -> None:
    assert gateway.chat("gpt-5-mini", "hi").status == 200
    with browsing(chromium, gateway, cookie=ada.cookie, phone=phone) as watched:
        watched.page.add_init_script(SHIFTS)
        for path in ("/routing", "/usage"):
            watched.open(path)
            watched.page.locator("table").first.wait_for()
            assert watched.page.evaluate("window.shifted") == 0, path


@pytest.fixture
def bare(chromium: Any, tmp_path: Path) -> Iterator[tuple[Gateway, Browser]]:
    """A gateway without a provider, and its operator."""
    running = Gateway(tmp_path)
    yield running, first_operator(running)
    assert running.stop() == 0


def test_a_gateway_without_providers_says_what_to_do(chromium: Any, bare: tuple[Gateway, Browser]) -> None:
    gateway, ada = bare
    with browsing(chromium, gateway, cookie=ada.cookie) as watched:
        for path in ("/models", "/playground"):
            watched.open(path)
            watched.page.get_by_text("No model can be asked yet").wait_for()
            link = watched.page.get_by_role("link", name="Give a key")
            assert link.get_attribute("href") == "/settings/providers"
        watched.open("/models?all=1")
        assert watched.page.locator("tbody tr").count() > 100
