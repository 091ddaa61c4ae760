"""The playground and the catalogue in a real browser: answers side by side, markup that stays text, a model found and tried."""

from __future__ import annotations

from typing import Any

from browser_kit import browsing
from gateway_kit import Gateway
from people_kit import Browser

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
        sheet.get_by_role("heading", name="Price").wait_for()
        sheet.get_by_role("button", name="Try it").click()
        page.locator(".model-chip", has_text="Claude Haiku 4.5").wait_for()
