"""The dashboard's files, as browsers get them, and what programs get in the same places."""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from gateway_kit import Gateway

PAGE = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    running = Gateway(tmp_path_factory.mktemp("dashboard"), "--sandbox")
    yield running
    assert running.stop() == 0


def links(page: str) -> list[str]:
    return re.findall(r'(?:href|src)="([^"]+)"', page)


def test_a_browser_gets_the_page_and_a_program_the_list(gateway: Gateway) -> None:
    page = gateway.send("GET", "/", None, PAGE, key="")
    assert page.status == 200
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert gateway.send("GET", "/", None, {}, key="").json["name"] == "LLM Router"


def test_the_page_is_there_under_every_path_that_is_no_api(gateway: Gateway) -> None:
    assert gateway.send("GET", "/keys", None, PAGE, key="").status == 200
    assert gateway.send("GET", "/keys", None, {}, key="").status == 404
    for path in ("/v1/nothing", "/api/v1/nothing", "/assets/0/nothing.js"):
        assert gateway.send("GET", path, None, PAGE, key="").status == 404


def test_no_script_or_style_stands_in_the_page(gateway: Gateway) -> None:
    answer = gateway.send("GET", "/", None, PAGE, key="")
    text = answer.body.decode()
    assert not re.search(r"<script(?![^>]*\ssrc=)|<style|\sstyle=|\son\w+=", text)
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert all(link.startswith("/assets/") for link in links(text))


def test_files_are_kept_for_good_by_content(gateway: Gateway) -> None:
    page = gateway.send("GET", "/", None, PAGE, key="").body.decode()
    for link in links(page):
        answer = gateway.send("GET", link, None, {"accept-encoding": "gzip"}, key="")
        assert answer.status == 200
        assert "immutable" in answer.headers["cache-control"]
        again = gateway.send("GET", link, None, {"if-none-match": answer.headers["etag"]}, key="")
        assert (again.status, again.body) == (304, b"")
        plain = gateway.send("GET", link, None, {"accept-encoding": "identity"}, key="")
        assert gzip.decompress(answer.body) == plain.body
    other = re.sub("/assets/[0-9a-f]+/", "/assets/0000/", links(page)[0])
    assert gateway.send("GET", other, None, {}, key="").headers["cache-control"] == "no-store"


def test_nothing_outside_is_served(gateway: Gateway) -> None:
    for name in ("../../app.py", "%2e%2e/%2e%2e/app.py", "/etc/passwd", "index.html"):
        assert gateway.send("GET", f"/assets/0/{name}", None, {}, key="").status == 404


def test_the_first_load_is_small(gateway: Gateway) -> None:
    page = gateway.send("GET", "/", None, {**PAGE, "accept-encoding": "gzip"}, key="")
    sizes = [
        len(gateway.send("GET", link, None, {"accept-encoding": "gzip"}, key="").body)
        for link in links(gzip.decompress(page.body).decode())
    ]
    assert len(page.body) + sum(sizes) < 300_000


def test_no_module_can_write_markup() -> None:
    """Elements are made in one place; what would make markup of text is named nowhere."""
    import llm_router

    static = Path(llm_router.__file__).parent / "dashboard" / "static"
    for path in static.rglob("*.js"):
        found = re.search(
            r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|\beval\(|new Function|createContextualFragment|srcdoc",
            path.read_text(),
        )
        assert found is None, f"{path.name}: {found}"
        if path.name != "dom.js":
            assert "createElement" not in path.read_text(), path.name
