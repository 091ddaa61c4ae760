"""Cohere's citations, both ways. https://docs.cohere.com/v2/docs/rag-citations

A citation names a span of the answer by its characters, and one or more sources: documents of the
request, or results of tools. Each source becomes a citation of its own; the whole is kept with the
first one, for the way back.
"""

from __future__ import annotations

from typing import Any

from llm_router.wire.chat import Citation
from llm_router.wire.dialects.cohere_chat.facts import NAME
from llm_router.wire.lenient import listing, load_object, mapping, text_of
from llm_router.wire.media import is_http_url
from llm_router.wire.verbatim import dump


def is_of_text(fields: dict[str, Any]) -> bool:
    """Whether a citation is one of the answer, not of reasoning or of the tool plan."""
    return fields.get("type") in (None, "", "TEXT_CONTENT")


def read_citations(fields: dict[str, Any]) -> list[Citation]:
    """The canonical citations of one of Cohere's."""
    start, end = _offset(fields.get("start")), _offset(fields.get("end"))
    sources = [mapping(source) for source in listing(fields.get("sources"))] or [{}]
    return [
        Citation(
            url=_url(source),
            title=text_of(_content(source).get("title")) or None,
            start=start,
            end=end,
            cited_text=_snippet(source),
            dialect=NAME,
            raw=dump(fields) if number == 0 else None,
        )
        for number, source in enumerate(sources)
    ]


def own_citations(citations: tuple[Citation, ...], index: int) -> list[dict[str, Any]]:
    """Citations as Cohere wrote them, for the content block of that index."""
    found = [load_object(bytes(c.raw)) for c in citations if c.dialect == NAME and c.raw is not None]
    return [{**fields, "content_index": index} for fields in found if fields is not None]


def _content(source: dict[str, Any]) -> dict[str, Any]:
    return mapping(source.get("document")) or mapping(source.get("tool_output"))


def _url(source: dict[str, Any]) -> str | None:
    found = (_content(source).get("url"), source.get("url"), source.get("id"))
    return next((url for url in found if isinstance(url, str) and is_http_url(url)), None)


def _snippet(source: dict[str, Any]) -> str | None:
    content = _content(source)
    names = ("snippet", "text", "content", "output")
    return next((content[name] for name in names if isinstance(content.get(name), str)), None) or None


def _offset(value: object) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        return None
    return value
