"""Pages of rows, each with the cursor of the next."""

from __future__ import annotations

from typing import Any


def page_of(rows: list[dict[str, Any]], limit: int, cursor: str = "id") -> dict[str, object]:
    """A page of rows of which one more than ``limit`` were read. ``cursor``: the member that the next page
    begins behind."""
    shown, more = rows[:limit], len(rows) > limit
    return {"data": shown, "has_more": more, "next": shown[-1][cursor] if more else None}
