"""Marks "cache the prompt up to here", as providers of this API spell them.

OpenAI's newest models take ``prompt_cache_breakpoint``
(https://platform.openai.com/docs/guides/prompt-caching); some providers that pass Claude on, or took
over its words, take ``cache_control``. Of the others, some cache every prompt by themselves, so that
nothing is lost with a mark; elsewhere it is a declared loss.
"""

from __future__ import annotations

import re
from typing import Any, Final

from llm_router.wire.chat import CacheMark, Part, Tool
from llm_router.wire.dialect import Target

TAKES_CACHE_CONTROL: Final = ("openrouter", "alibaba", "deepinfra")
"""Providers that take Anthropic's ``cache_control`` on content parts.

https://openrouter.ai/docs/features/prompt-caching,
https://www.alibabacloud.com/help/en/model-studio/context-cache,
https://deepinfra.com/docs/prompt-caching
"""

TAKES_TOOL_MARKS: Final = ("openrouter",)
"""Of them, those that take it on tools too."""

CACHES_BY_ITSELF: Final = (
    "openai", "azure", "google", "xai", "deepseek", "moonshot", "zai", "groq", "fireworks", "mistral",
)  # fmt: skip
"""Providers that look for the longest known prefix of every prompt, unasked.

https://platform.openai.com/docs/guides/prompt-caching, https://ai.google.dev/gemini-api/docs/caching,
https://docs.x.ai/docs/models, https://api-docs.deepseek.com/guides/kv_cache,
https://platform.moonshot.ai/docs/introduction, https://docs.z.ai/guides/capabilities/cache,
https://console.groq.com/docs/prompt-caching, https://docs.fireworks.ai/guides/prompt-caching,
https://docs.mistral.ai/api
"""

_BREAKPOINTS: Final = re.compile(r"(openai[./])?gpt-(5\.[6-9]|[6-9])")
"""Models of OpenAI that know explicit breakpoints."""

_TTLS: Final = ("5m", "1h")


class Marks:
    """The form of marks for one target."""

    def __init__(self, target: Target) -> None:
        self._provider = target.provider
        self._breakpoints = "developer" in target.knows and _BREAKPOINTS.match(target.model) is not None

    @property
    def known(self) -> bool:
        """Whether the target takes marks at all."""
        return self._breakpoints or self._provider in TAKES_CACHE_CONTROL

    def lost(self, part: Part | Tool) -> bool:
        """Whether a mark on it has no form, and the provider would not cache without one."""
        marked = getattr(part, "cache", None) is not None
        return marked and not self.wanted(part) and self._provider not in CACHES_BY_ITSELF

    def wanted(self, part: Part | Tool) -> bool:
        """Whether a mark on it is to be written."""
        if getattr(part, "cache", None) is None:
            return False
        return self._provider in TAKES_TOOL_MARKS if isinstance(part, Tool) else self.known

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
