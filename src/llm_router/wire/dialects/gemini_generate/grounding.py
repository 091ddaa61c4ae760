"""Grounding metadata to citations of the text, and citations back to grounding metadata.

Google's segments count bytes of the UTF-8 text; citations count characters of their part
(https://ai.google.dev/api/generate-content#Segment).
"""

from __future__ import annotations

from typing import Any, NamedTuple

from llm_router.wire.chat import Citation, Text
from llm_router.wire.dialects.gemini_generate.members import NAME


class Spoken(NamedTuple):
    """A text part that was delivered: its number and all of its text."""

    part: int
    text: str


def citations_of(meta: object, spoken: list[Spoken]) -> list[tuple[int, Citation]]:
    """Citations with a URL and a place in the text, by part number."""
    if not isinstance(meta, dict):
        return []
    sources = [_source(chunk) for chunk in _objects(meta.get("groundingChunks"))]
    found: list[tuple[int, Citation]] = []
    for support in _objects(meta.get("groundingSupports")):
        segment, indices = support.get("segment"), support.get("groundingChunkIndices")
        place = _place(segment, spoken) if isinstance(segment, dict) else None
        if place is None:
            continue
        part, start, end = place
        for index in indices if isinstance(indices, list) else []:
            source = sources[index] if _within(index, len(sources)) else None
            if source is not None:
                url, title = source
                found.append((part, Citation(url=url, title=title, start=start, end=end, dialect=NAME)))
    return found


def _objects(value: object) -> list[dict[str, Any]]:
    return [v if isinstance(v, dict) else {} for v in value] if isinstance(value, list) else []


def _source(chunk: dict[str, Any]) -> tuple[str, str | None] | None:
    for kind in ("web", "retrievedContext", "maps", "image"):
        origin = chunk.get(kind)
        if isinstance(origin, dict):
            url = origin.get("uri") or origin.get("sourceUri")
            title = origin.get("title")
            if isinstance(url, str) and url:
                return url, title if isinstance(title, str) and title else None
    return None


def _within(index: object, length: int) -> bool:
    return isinstance(index, int) and not isinstance(index, bool) and 0 <= index < length


def _place(segment: dict[str, Any], spoken: list[Spoken]) -> tuple[int, int, int] | None:
    """(part, start, end) in characters. The quoted text decides what the offsets refer to."""
    start, end = segment.get("startIndex", 0), segment.get("endIndex")
    quoted = segment.get("text")
    if not isinstance(quoted, str) or not quoted:
        quoted = None
    if isinstance(start, int) and isinstance(end, int) and 0 <= start < end:
        whole = "".join(text for _, text in spoken)
        span = _span(whole, start, end)
        if span is not None and (quoted is None or whole[span[0] : span[1]] == quoted):
            return _locate(spoken, *span)
        for part, text in spoken:
            span = _span(text, start, end)
            if span is not None and text[span[0] : span[1]] == quoted:
                return part, *span
    if quoted is not None:
        for part, text in spoken:
            at = text.find(quoted)
            if at >= 0:
                return part, at, at + len(quoted)
    return None


def _span(text: str, start: int, end: int) -> tuple[int, int] | None:
    """Byte offsets as character offsets; None if they lie outside the text or inside a character."""
    if text.isascii():
        return (start, end) if end <= len(text) else None
    data = text.encode("utf-8", "surrogatepass")
    if end > len(data):
        return None
    try:
        head = len(data[:start].decode())
        return head, head + len(data[start:end].decode())
    except UnicodeDecodeError:
        return None


def _locate(spoken: list[Spoken], start: int, end: int) -> tuple[int, int, int] | None:
    """The part in which a span of the whole text begins; its end is cut at the part's."""
    base = 0
    for part, text in spoken:
        if start < base + len(text):
            return part, start - base, min(end - base, len(text))
        base += len(text)
    return None


def grounding_of(texts: list[tuple[int, Text]]) -> dict[str, Any] | None:
    """Grounding metadata that says the citations of text parts; None if there are none.

    ``texts`` pairs each part with its index among the parts of the content.
    """
    urls: dict[str, int] = {}
    chunks: list[dict[str, Any]] = []
    supports: list[dict[str, Any]] = []
    for index, part in texts:
        for citation in part.citations:
            if citation.url is None:
                continue
            if citation.url not in urls:
                urls[citation.url] = len(chunks)
                web = {"uri": citation.url, "title": citation.title}
                chunks.append({"web": {k: v for k, v in web.items() if v is not None}})
            if citation.start is None or citation.end is None:
                continue
            quoted = part.text[citation.start : citation.end]
            start = len(part.text[: citation.start].encode("utf-8", "surrogatepass"))
            end = start + len(quoted.encode("utf-8", "surrogatepass"))
            segment = {"partIndex": index, "startIndex": start, "endIndex": end, "text": quoted}
            supports.append({"segment": segment, "groundingChunkIndices": [urls[citation.url]]})
    if not chunks:
        return None
    return (
        {"groundingChunks": chunks, "groundingSupports": supports}
        if supports
        else {"groundingChunks": chunks}
    )


def searches_of(meta: object, model: str) -> int:
    """Web searches that are billed: each distinct query, or one a prompt before Gemini 3.

    https://ai.google.dev/gemini-api/docs/google-search#pricing (empty queries are not counted).
    """
    queries = meta.get("webSearchQueries") if isinstance(meta, dict) else None
    distinct = {q for q in queries if isinstance(q, str) and q} if isinstance(queries, list) else set()
    return min(len(distinct), 1) if model.startswith(("gemini-1", "gemini-2")) else len(distinct)
