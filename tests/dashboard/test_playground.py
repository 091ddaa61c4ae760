"""The playground and the catalogue in a real browser: answers side by side, markup that stays text, a model found and tried."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from typing import Any

from browser_kit import browsing
from gateway_kit import Gateway
from people_kit import Browser, invited

HOSTILE = (
    "<script>alert(1)</script> <img src=x onerror=alert(2)> [a](javascript:alert(3)) [b](data:text/html,x) "
    "[c](//evil.example/x) ![d](https://evil.example/x.png) <https://evil.example> [e](vbscript:x) `<b>`"
)

MARKDOWN = """# Head

**bold** *slanted* ~~gone~~ `code` [link](https://a.example/x_(y)) https://b.example/z.

- one
  - two
1. three

| a | b |
|---|--:|
| 1 | 2 |

```js
alert("<b>")
```

> quoted
"""

READ = """async ([text]) => {
  const assets = document.querySelector('link[rel=stylesheet]').href.replace(/[^/]*$/, '');
  const { growing } = await import(assets + 'lib/markdown.js');
  const place = document.createElement('div');
  const draw = growing(place);
  for (let end = 0; end <= text.length; end += 5) draw(text.slice(0, end));
  draw(text);
  const tags = [...new Set([...place.querySelectorAll('*')].map((each) => each.tagName.toLowerCase()))].sort();
  const links = [...place.querySelectorAll('a')].map((each) => [each.getAttribute('href'), each.rel]);
  return { tags, links, text: place.textContent };
}"""


def test_models_answer_side_by_side(chromium: Any, gateway: Gateway, ada: Browser) -> None:
    with browsing(chromium, gateway, cookie=ada.cookie) as watched:
        watched.open("/playground?model=gpt-5-mini&model=claude-haiku-4-5")
        page = watched.page
        page.get_by_label("Message").fill(HOSTILE)
        page.get_by_role("button", name="Send").click()
        page.locator(".answer[aria-busy=false] .figures", has_text="Cost").nth(1).wait_for()
        assert page.locator(".badge", has_text="cheapest").count() == 1
        assert page.locator(".play-log :is(script, img, iframe, b:not(.answer-head b))").count() == 0
        hrefs = page.locator(".play-log a").evaluate_all("all => all.map(each => each.getAttribute('href'))")
        assert all(href.startswith("https://evil.example") for href in hrefs)
        page.get_by_label("Message").fill("And now?")
        page.keyboard.press("Enter")
        page.locator(".answer[aria-busy=false] .figures", has_text="Cost").nth(3).wait_for()
        page.get_by_role("button", name="Code").click()
        assert '"models"' in page.locator("dialog pre").inner_text()


def test_who_is_in_several_teams_chooses_which_one_asks(
    chromium: Any, gateway: Gateway, ada: Browser
) -> None:
    assert ada.post("/accounts", {"id": "several", "title": "Several"}).status == 201
    assert ada.post("/gateway/credits", {"account": "several", "amount": 5}).status == 201
    person = invited(ada, "several", "developer", "several@example.com")
    for title in ("blue", "red"):
        assert ada.post("/teams?account=several", {"title": title}).status == 201
    id_ = person.get("/me").json["id"]
    assert ada.patch(f"/members/{id_}?account=several", {"teams": ["blue", "red"]}).status == 200
    with browsing(chromium, gateway, cookie=person.cookie) as watched:
        watched.open("/playground?model=gpt-5-mini")
        page = watched.page
        for at, title in enumerate(("blue", "red")):
            page.get_by_label("Team that asks").select_option(title)
            page.get_by_label("Message").fill("Hello")
            page.get_by_role("button", name="Send").click()
            page.locator(".answer[aria-busy=false] .figures", has_text="Cost").nth(at).wait_for()
        watched.open("/playground")
        assert page.get_by_label("Team that asks").input_value() == "red"
    assert [row["team"] for row in person.get("/exchanges").json["data"]] == ["red", "blue"]


def test_markdown_becomes_elements_and_nothing_else(chromium: Any, gateway: Gateway, ada: Browser) -> None:
    with browsing(chromium, gateway, cookie=ada.cookie) as watched:
        watched.open("/models")
        good = watched.page.evaluate(READ, [MARKDOWN])
        assert {
            "h3",
            "strong",
            "em",
            "s",
            "code",
            "a",
            "ul",
            "ol",
            "li",
            "table",
            "pre",
            "blockquote",
        } <= set(good["tags"])
        rel = "noopener noreferrer nofollow"
        assert good["links"] == [["https://a.example/x_(y)", rel], ["https://b.example/z", rel]]
        assert 'alert("<b>")' in good["text"]
        bad = watched.page.evaluate(READ, [HOSTILE])
        assert set(bad["tags"]) == {"p", "a", "span", "code"}
        assert {href for href, _ in bad["links"]} == {"https://evil.example/x.png", "https://evil.example"}
        assert "<script>alert(1)</script>" in bad["text"]


def test_a_model_is_found_and_tried(chromium: Any, gateway: Gateway, ada: Browser) -> None:
    with browsing(chromium, gateway, cookie=ada.cookie) as watched:
        watched.open("/models")
        page = watched.page
        page.keyboard.press("/")
        page.keyboard.type("claude-haiku-4-5")
        page.locator("tbody tr").nth(1).wait_for(state="detached")
        page.locator("tbody .row-link").click()
        sheet = page.locator("dialog.drawer")
        sheet.get_by_role("heading", name="Price", exact=True).wait_for()
        sheet.get_by_role("button", name="Try it").click()
        page.locator(".model-chip", has_text="Claude Haiku 4.5").wait_for()


TRICKY = 'It\'s a "test" \\ with ${x} `y` $(z)\nand ü 😀 </script>'

TOOL = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string"}},
                "required": ["city"],
            },
        },
    }
]

GIVE = """([how, where]) => {
  const bytes = Uint8Array.from(atob('iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=='), (each) => each.charCodeAt(0));
  const data = new DataTransfer();
  data.items.add(new File([bytes], 'dot.png', { type: 'image/png' }));
  const told = { bubbles: true, cancelable: true };
  const event = how === 'paste' ? new ClipboardEvent('paste', { ...told, clipboardData: data }) : new DragEvent('drop', { ...told, dataTransfer: data });
  document.querySelector(where).dispatchEvent(event);
}"""


def ask(page: Any, text: str) -> str:
    """Send a message; the last answer's text when it is over."""
    before = page.locator(".answer").count()
    page.get_by_label("Message").fill(text)
    page.keyboard.press("Enter")
    page.locator(".answer[aria-busy=false] .figures", has_text="Cost").nth(before).wait_for()
    return str(page.locator(".answer").last.inner_text())


def run(text: str, key: str, *command: str) -> str:
    done = subprocess.run(
        [*command, text],
        env={**os.environ, "LLM_ROUTER_KEY": key},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_code_that_is_shown_runs(chromium: Any, gateway: Gateway, ada: Browser) -> None:
    with browsing(chromium, gateway, cookie=ada.cookie) as watched:
        watched.open("/playground?model=gpt-5-mini")
        page = watched.page
        page.get_by_label("Temperature").fill("0.7")
        page.get_by_text("Tools and structure").click()
        page.get_by_label("Other members").fill('{"seed": 7, "provider": {"sort": "price"}}')
        page.get_by_label("System prompt").fill("Be 'kind' and \"brief\"")
        assert "You wrote" in ask(page, TRICKY)
        page.get_by_role("button", name="Code", exact=True).click()
        shown = {}
        for name in ("curl", "Python", "JavaScript"):
            page.get_by_role("tab", name=name).click()
            shown[name] = page.locator("dialog pre").inner_text()
    said = "Be 'kind' and \"brief\""
    assert said in run(shown["Python"], gateway.key, sys.executable, "-c")
    if shutil.which("curl"):
        assert "[DONE]" in run(shown["curl"], gateway.key, "bash", "-c")
    assert f'"content": {json.dumps(TRICKY, ensure_ascii=False)}' in shown["JavaScript"]


def test_pictures_tools_and_schemas(chromium: Any, gateway: Gateway, ada: Browser) -> None:
    with browsing(chromium, gateway, cookie=ada.cookie) as watched:
        watched.open("/playground?model=gpt-5-mini")
        page = watched.page
        assert page.get_by_role("button", name="Send").is_disabled()
        page.evaluate(GIVE, ["paste", ".composer textarea"])
        page.evaluate(GIVE, ["drop", ".play-main"])
        page.locator(".thumb").nth(1).wait_for()
        assert "2 images" in ask(page, "What is this?")
        page.get_by_text("Tools and structure").click()
        page.get_by_label("Tools", exact=True).fill(json.dumps(TOOL))
        assert "get_weather" in ask(page, "What is the weather in Paris? Use the tool.")
        page.get_by_label("Result of get_weather").fill("22 degrees")
        page.get_by_role("button", name="Send the results").click()
        page.locator(".answer").last.get_by_text("22 degrees").wait_for()
        page.get_by_role("button", name="New chat").click()
        page.get_by_label("Tools", exact=True).fill("")
        page.get_by_role("button", name="Insert an example").nth(1).click()
        assert '"points"' in ask(page, "Give me a title.")


def test_a_preset_is_saved_and_used(chromium: Any, gateway: Gateway, ada: Browser) -> None:
    with browsing(chromium, gateway, cookie=ada.cookie) as watched:
        watched.open("/playground?model=gpt-5-mini")
        page = watched.page
        page.get_by_label("System prompt").fill("You are a pirate.")
        page.get_by_role("button", name="Save as preset").click()
        page.get_by_label("Name").fill("pirate")
        page.locator("dialog").get_by_role("button", name="Save").click()
        page.get_by_text("Use it as @pirate").wait_for()
        watched.open("/playground?model=@pirate")
        page.get_by_label("System prompt").fill("")
        assert "You are a pirate." in ask(page, "hi")
