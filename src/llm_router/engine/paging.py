"""Lists by pages, as OpenAI's API gives them."""

from __future__ import annotations

from typing import Any

from llm_router.domain.errors import InvalidRequest

PAGE_MAX = 100
"""Most items on a page."""

PAGE_DEFAULT = 20


def page(items: list[dict[str, Any]], *, limit: int, descending: bool, after: str | None) -> dict[str, Any]:
    """A list object with the items that follow ``after``.

    Raises:
        InvalidRequest: ``after`` is none of them.
    """
    if descending:
        items = items[::-1]
    if after is not None:
        ids = [item["id"] for item in items]
        if after not in ids:
            raise InvalidRequest(f"'after' names no item of this list: '{after[:200]}'.", param="after")
        items = items[ids.index(after) + 1 :]
    shown = items[:limit]
    return {
        "object": "list",
        "data": shown,
        "first_id": shown[0]["id"] if shown else None,
        "last_id": shown[-1]["id"] if shown else None,
        "has_more": len(items) > limit,
    }
