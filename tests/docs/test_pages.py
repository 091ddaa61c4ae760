"""Every endpoint, error code and reply header is in the docs, and every link of a page leads somewhere."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

from llm_router.domain import errors
from llm_router.edge.handlers import ROUTES
from llm_router.engine import tracks

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted([*DOCS.glob("*.md"), ROOT / "README.md", *ROOT.glob("skill/*.md")])


def test_every_endpoint_is_described() -> None:
    text = (DOCS / "api.md").read_text()
    missing = [f"{r.method} {r.path}" for r in ROUTES.routes if f"{r.method} {r.path}" not in text]
    assert not missing


def test_every_error_code_is_described() -> None:
    text = (DOCS / "errors.md").read_text()
    codes = {
        cls.code
        for _, cls in inspect.getmembers(errors, inspect.isclass)
        if issubclass(cls, errors.RouterError) and not cls.__subclasses__()
    }
    codes |= {errors.UpstreamError("", kind=kind).code for kind in errors.UpstreamKind}
    missing = sorted(code for code in codes if f"`{code}`" not in text)
    assert not missing


def test_every_reply_header_is_described() -> None:
    source = inspect.getsource(tracks)
    names = set(re.findall(r'["n](x-[a-z-]+)[":]', source))  # behind a line's end, too
    text = (DOCS / "api.md").read_text()
    missing = sorted(
        name for name in names if name not in text and name not in ("x-accel-buffering", "x-should-retry")
    )
    assert names
    assert not missing


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text())
    missing = [link for link in links if not (page.parent / link).exists()]
    assert not missing
