"""Marks "cache the prompt up to here", as providers of this API spell them.

OpenAI's newest models take ``prompt_cache_breakpoint``
(https://platform.openai.com/docs/guides/prompt-caching); some providers that pass Claude on, or took
over its words, take ``cache_control``. Of the others, some cache every prompt by themselves, so that
nothing is lost with a mark; elsewhere it is a declared loss. Who does what stands in the providers'
data (``knows``).
"""

from __future__ import annotations

import re
from typing import Any, Final

from llm_router.wire.chat import CacheMark, Part, Tool
from llm_router.wire.dialect import Target

_BREAKPOINTS: Final = re.compile(r"(openai[./])?gpt-(5\.[6-9]|[6-9])")
"""Models of OpenAI that know explicit breakpoints."""

_TTLS: Final = ("5m", "1h")


class Marks:
    """The form of marks for one target."""

    def __init__(self, target: Target) -> None:
        self._knows = target.knows
        self._breakpoints = "developer" in target.knows and _BREAKPOINTS.match(target.base) is not None

    @property
    def known(self) -> bool:
        """Whether the target takes marks at all."""
        return self._breakpoints or "cache_control" in self._knows

    def lost(self, part: Part | Tool) -> bool:
        """Whether a mark on it has no form, and the provider would not cache without one."""
        marked = getattr(part, "cache", None) is not None
        return marked and not self.wanted(part) and "caches" not in self._knows

    def wanted(self, part: Part | Tool) -> bool:
        """Whether a mark on it is to be written."""
        if getattr(part, "cache", None) is None:
            return False
        return self.known and "routing" in self._knows if isinstance(part, Tool) else self.known

    def written(self, part: Part | Tool, member: dict[str, Any]) -> dict[str, Any]:
        """The member with the part's mark, if it has one and the target takes it."""
        mark = getattr(part, "cache", None)
        if mark is None or not self.wanted(part):
            return member
        if self._breakpoints:
            return {**member, "prompt_cache_breakpoint": _breakpoint(mark)}
        control = {"type": "ephemeral"} | ({"ttl": mark.ttl} if mark.ttl in _TTLS else {})
        return {**member, "cache_control": control}


def _breakpoint(mark: CacheMark) -> dict[str, str]:
    """OpenAI's shortest lifetime, half an hour, covers shorter ones; an hour has no word of its own."""
    return {"mode": "explicit", "ttl": "12h"} if mark.ttl == "12h" else {"mode": "explicit"}
